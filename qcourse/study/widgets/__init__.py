"""What the reader touches: predictions, sliders, bits. Each works without ipywidgets too, as plain text.

With QCOURSE_STATIC set, this run makes the edition for reading: nothing is asked, every widget is what it shows first.
"""

import os


def static() -> bool:
    """Whether this run makes the edition for reading."""
    return bool(os.environ.get("QCOURSE_STATIC"))
