"""What the reader touches: predictions, sliders, bits. Each works without ipywidgets too, as plain text.

With QCOURSE_STATIC set, this run makes the edition for reading: nothing is asked, every widget is what it shows first.
"""

import os
import sys


def static() -> bool:
    """Whether this run makes the edition for reading."""
    return bool(os.environ.get("QCOURSE_STATIC"))


def in_notebook() -> bool:
    """Whether a person works here, in a kernel: a grader's process is none."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")
