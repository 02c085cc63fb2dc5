"""Inside the sandbox: an IPython shell that runs the cells it is sent, then answers "call f with these arguments".

Nothing here is trusted: the student's code shares this process and may rewrite all of it. What it cannot do is reach the
judge, who sees only the answers' bytes and keeps its own clock. Requests and answers are dicts in the language of `codec`.
"""

import builtins
import os
import signal
import socket
import sys
import traceback
import types
import warnings
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any

from qcourse.classroom.codec import CodecError, decode, encode
from qcourse.classroom.limits import Limits
from qcourse.classroom.session import make_shell, run_source, stdout_and_stderr
from qcourse.classroom.wire import receive, send

OURS = ("qcourse.checks", "qcourse.classroom")  # who asks, and who carries the question


class TimeLimit(BaseException):
    """The time is over. Not an Exception, so that `except Exception` does not swallow it."""


class Recorded:
    """What `check` gives in a graded notebook: the question is noted, the answer comes with the grade."""

    def __getattr__(self, name: str) -> Any:
        return {"outcome": "not attempted", "score": 0.0, "passed": {}, "mistake": None}.get(name, "")

    def __repr__(self) -> str:
        return "recorded; the grader runs its own checks"


def stub_checks() -> dict[str, Any]:
    """Put a stand-in where `qcourse.checks` was; returns the dict in which it notes id → function."""
    asked: dict[str, Any] = {}
    stub = types.ModuleType("qcourse.checks", "Checks are run by the grader.")
    stub.__path__ = []

    def check(task_id="", fn=None, *_args, **_kwargs):
        asked[str(task_id)] = fn
        return Recorded()

    def __getattr__(name):  # hint, solution; when_done draws no figure here
        if name.startswith("__"):  # `hasattr(module, "__file__")` asks every module, %autoreload for one
            raise AttributeError(f"module 'qcourse.checks' has no attribute {name!r}")
        return lambda *_args, **_kwargs: Recorded()

    stub.check, stub.__getattr__ = check, __getattr__
    stub.__all__ = ["check", "hint", "solution", "when_done"]
    stub.__spec__ = ModuleSpec("qcourse.checks", None, is_package=True)
    for name in [m for m in sys.modules if m.startswith("qcourse.checks.")]:
        del sys.modules[name]
    sys.modules[stub.__name__] = stub
    import qcourse

    qcourse.checks = stub  # `qcourse.study.checks`, the old name, imports it from here
    return asked


@contextmanager
def limited(seconds: float):
    """Raise TimeLimit in this block after `seconds`, and again every 0.1 s should it be swallowed."""

    def ring(_signal, _frame):
        raise TimeLimit(f"stopped after {seconds:.3g} s")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def report(error: BaseException) -> dict:
    """An error as data: kind (the nearest built-in class), message, and the lines of the notebook that led there."""
    kind = next((c.__name__ for c in type(error).__mro__ if c.__module__ == "builtins" or c is TimeLimit), "Exception")
    name = type(error).__name__
    try:
        message = str(error)[:2000]
    except BaseException:
        message = "(its message could not be printed)"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<ipython-input")]
    lines = [f"cell [{f.filename.split('-')[2]}], line {f.lineno}, in {f.name}:   {f.line}" for f in frames]
    if isinstance(error, SyntaxError):
        lines.append(f"line {error.lineno}:   {(error.text or '').strip()[:200]}")
    message = message if kind == name else f"{name}: {message}"
    return {"ok": False, "kind": kind, "message": message, "traceback": "\n".join([*lines[:4], *lines[4:][-4:]])[:4000]}


def run_cell(shell, source: str, seconds: float) -> dict:
    """One cell, as a notebook would run it (magics, top-level await). An error is reported; the shell goes on."""
    shell.ast_transformers[:] = []  # one cell does not rewrite the next
    try:
        with limited(seconds):
            result = run_source(shell, source)
    except BaseException as error:
        return report(error)
    error = result.error_before_exec or result.error_in_exec
    return {"ok": True} if error is None else report(error)


def borrowing(fn, seen: list[str]):
    """`fn`, noting the first function of the package that a call of it enters: information for the teacher, no proof."""

    def watched(*args):
        def see(frame, event, _):
            name = frame.f_globals.get("__name__")
            if event == "call" and isinstance(name, str) and name.startswith("qcourse.") and not name.startswith(OURS):
                importing = frame
                while importing is not None and importing.f_code.co_name != "<module>":
                    importing = importing.f_back
                if importing is None or not str(importing.f_globals.get("__name__")).startswith("qcourse"):
                    seen.append(f"{name}.{frame.f_code.co_qualname}")
                    sys.setprofile(None)

        sys.setprofile(see)
        try:
            return fn(*args)
        finally:
            sys.setprofile(None)

    return watched


def answer(shell, asked: dict, request: dict) -> dict:
    """Call a function of the notebook; also say which arguments it changed."""
    name, args = request["function"], request["args"]
    fn = shell.user_ns.get(name)
    if not builtins.callable(fn):
        fn = asked.get(request["task"])
    if not builtins.callable(fn):
        return {"ok": False, "kind": "Missing", "message": f"the notebook defines no function `{name}`", "traceback": ""}
    before, value, uses = [encode(a) for a in args], None, []
    try:
        with limited(request["seconds"]):
            for _ in range(request["repeats"]):
                value = (borrowing(fn, uses) if request["watch"] else fn)(*args)
        after = [encode(a) for a in args]
        changed = {i: a for i, a in enumerate(args) if after[i] != before[i]}
        return {"ok": True, "value": decode(encode(value)), "changed": changed, "uses": uses}
    except CodecError as error:
        return {"ok": False, "kind": "TypeError", "message": f"`{name}` returned {error}", "traceback": ""}
    except BaseException as error:
        return report(error)


def serve(sock: socket.socket, limits: Limits, notes: list[str]) -> None:
    """Answer requests until the judge closes the socket; never returns."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("default")
    sink = stdout_and_stderr(limits.output_kb * 1024)
    asked, shell, me = stub_checks(), make_shell(), os.getpid()
    send(sock, encode({"ok": True, "notes": notes}))
    try:
        while True:
            request = decode(receive(sock, 1 << 30))
            if request["do"] == "cell":
                reply = run_cell(shell, request["source"], request["seconds"])
            else:
                reply = answer(shell, asked, request)
            if os.getpid() != me:  # forked by the notebook: one answers, not two
                return
            send(sock, encode(reply | {"written": sink.written}))
    finally:
        os._exit(0)
