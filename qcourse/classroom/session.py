"""A student's session behaves like a notebook's kernel: what a notebook may do at its top in Jupyter, it may do here.

Like ipykernel's: the working directory can be written to and is first on `sys.path`; `get_ipython`, `display`, magics,
top-level await inside a running event loop, figures inline, and stdout and stderr that have a `fileno`. Unlike it: nothing
is drawn or sent, `input` has nobody to ask, `%pip` installs nothing, and a line magic or an extension that is not installed
here is passed over.
"""

import asyncio
import io
import os
import sys
from typing import Any

INSTALL = ("pip", "conda", "mamba", "micromamba", "uv")
TRIFLES = (*INSTALL, "autosave", "clear", "connect_info", "qtconsole", "less", "more", "man")


class Sink(io.TextIOBase):
    """stdout and stderr: counts what is written and keeps none of it. `fd`: for those who ask for a real file."""

    encoding, errors, softspace = "utf-8", "replace", 0

    def __init__(self, limit: int, fd: int):
        super().__init__()
        self.written, self.limit, self.fd = 0, limit, fd

    def write(self, text: str) -> int:
        """Count. Raises TypeError for what is not text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.written += len(text)
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Of the null device."""
        return self.fd

    def set_parent(self, parent: Any) -> None:
        """A kernel's stream has it."""


def no_input(*_args, **_kwargs):
    """`input` and `getpass`: nobody sits there. Raises StdinNotImplementedError."""
    from IPython.core.error import StdinNotImplementedError

    raise StdinNotImplementedError("nobody can be asked in a graded notebook")


def make_shell():
    """The session: one IPython shell, under the name of a kernel's, without history, colours or files."""
    import builtins
    import getpass

    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Minimal"
    config.IPKernelApp = Config()  # by this key tqdm and others know a kernel
    shell = shell_class().instance(config=config)
    builtins.input = getpass.getpass = builtins.raw_input = no_input
    sys.path.insert(0, "")  # as in a kernel: the working directory, wherever it is moved to
    sys.argv[:] = ["ipykernel_launcher.py"]
    _no_pictures(shell)
    return shell


def shell_class():
    """A class that the libraries which look at its name take for a kernel's."""
    from IPython.core.interactiveshell import InteractiveShell

    class ZMQInteractiveShell(InteractiveShell):
        system = InteractiveShell.system_raw  # a terminal cannot be had here

        def enable_gui(self, gui=None):
            """`%matplotlib qt`, `%gui`: there is no window to prepare."""

        def ask_exit(self):
            """`exit` in a cell; the next cell is run."""

        def run_line_magic(self, magic_name, line, _stack_depth=1):
            """A magic; one that needs something that is not installed here is passed over, and says so."""
            if magic_name in TRIFLES or self.find_line_magic(magic_name) is None:
                print(f"%{magic_name} does nothing in a graded notebook")
                return None
            try:
                return super().run_line_magic(magic_name, line, _stack_depth=_stack_depth + 1)
            except (ImportError, RuntimeError) as missing:
                if magic_name not in ("load_ext", "reload_ext", "matplotlib", "pylab"):
                    raise
                print(f"%{magic_name} {line}: {missing}")

    return ZMQInteractiveShell


def _no_pictures(shell) -> None:
    """Figures inline, as in a kernel, so that each cell closes its own; they are not rendered."""
    from IPython.core.pylabtools import select_figure_formats
    from matplotlib_inline.backend_inline import configure_inline_support
    from matplotlib_inline.config import InlineBackend

    inline = InlineBackend.instance(parent=shell)
    if inline not in shell.configurables:
        shell.configurables.append(inline)
    import matplotlib

    matplotlib.use("module://matplotlib_inline.backend_inline")
    configure_inline_support(shell, "module://matplotlib_inline.backend_inline")
    select_figure_formats(shell, set())


def run_source(shell, source: str):
    """One cell inside the running event loop, as a kernel runs it; IPython's result."""

    async def run():
        if shell.should_run_async(source, transformed_cell=(whole := shell.transform_cell(source))):
            return await shell.run_cell_async(source, store_history=True, transformed_cell=whole)
        return shell.run_cell(source, store_history=True, silent=False)

    loop = getattr(shell, "cells_loop", None)
    if loop is None or loop.is_closed() or loop.is_running():
        loop = shell.cells_loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(run())
    except BaseException:  # stopped in the middle of an await: what was left in the loop is left behind with it
        shell.cells_loop = None
        raise


def stdout_and_stderr(limit: int) -> Sink:
    """Put sinks where the streams were; one counter for both."""
    sink = sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = Sink(limit, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115 (as long as the process)
    return sink
