"""One call of the student's function: timed, stopped when it does not end, its traceback cut down to the student's lines.

The limit is a signal on the main thread (SIGALRM, raised again until it gets through) and an exception sent into a worker
thread elsewhere. Both reach Python code and torch between two operations; one endless operation inside C cannot be stopped.
"""

import copy
import ctypes
import signal
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from qcourse.checks.compare import difference
from qcourse.checks.task import Refuse

NOT_THEIRS = (str(Path(__file__).parents[1]), "<frozen", *(sysconfig.get_path(p) for p in ("stdlib", "purelib", "platlib")))
AGAIN = 0.02  # seconds between two raises of TimeLimit, should the student's code swallow one


class TimeLimit(BaseException):
    """The time is over. Not an Exception, so that the student's `except Exception` does not swallow it."""


class RemoteError(Exception):
    """What a remote proxy raises when the student's process raised, ran out of time or died.

    `kind`: the exception's class name there, or "TimeLimit", "Died", or "ModifiedInput" (message: the argument's index).
    """

    def __init__(self, kind: str, message: str = "", traceback_text: str = ""):
        super().__init__(message)
        self.kind, self.message, self.traceback_text = kind, message, traceback_text


@dataclass(frozen=True)
class Call:
    """What came of one call: a value, or the kind of an error with its message and trimmed traceback.

    `refusal`: the error is a task's `Refuse`, which stands for ValueError.
    """

    value: Any = None
    kind: str | None = None
    bases: tuple[str, ...] = ()
    message: str = ""
    trace: str = ""
    modified: int | None = None
    seconds: float = 0.0
    refusal: bool = False


def call(fn: Callable, args: tuple, seconds: float = 3.0) -> Call:
    """`fn(*args)` on copies of the arguments, for at most `seconds`. Never raises, except KeyboardInterrupt."""
    mine = copy.deepcopy(args)
    began = time.perf_counter()
    try:
        result = Call(limited(fn, mine, seconds))
    except TimeLimit as stop:
        result = Call(kind="TimeLimit", message=f"stopped after {seconds:.1f} s", trace=trimmed(stop))
    except RemoteError as error:
        if error.kind == "ModifiedInput":
            return Call(modified=int(error.message or 0))
        result = Call(kind=error.kind, bases=(error.kind,), message=error.message, trace=error.traceback_text)
    except (Exception, SystemExit) as error:
        kinds, refusal = [c.__name__ for c in type(error).__mro__], isinstance(error, Refuse)
        kind = "ValueError" if refusal else kinds[0]
        result = Call(None, kind, tuple(kinds), message_of(error), trimmed(error), refusal=refusal)
    return replace(result, seconds=time.perf_counter() - began, modified=modified(args, mine))


def modified(before: tuple, after: tuple) -> int | None:
    """Index of the first argument that is no longer what it was, or None."""
    return next((i for i, (a, b) in enumerate(zip(before, after, strict=True)) if difference(b, a)), None)


def message_of(error: BaseException) -> str:
    """str(error), also for exceptions whose own text raises."""
    try:
        return str(error)
    except Exception:
        return "(its message could not be printed)"


def limited(fn: Callable, args: tuple, seconds: float):
    """`fn(*args)`, or TimeLimit after `seconds`."""
    main = threading.current_thread() is threading.main_thread()
    return (_by_signal if main and hasattr(signal, "setitimer") else _by_thread)(fn, args, max(seconds, 0.001))


def _by_signal(fn, args, seconds):
    armed = True

    def ring(_signal, _frame):
        if armed:
            raise TimeLimit

    old = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    began = time.perf_counter()
    try:
        return fn(*args)
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        if left:  # somebody else's alarm was running: give it back what is left of its time
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.perf_counter() - began), 0.001), interval)


def _by_thread(fn, args, seconds):
    box = {}

    def work():
        try:
            box["value"] = fn(*args)
        except BaseException as error:
            box["error"] = error

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(seconds)
    late = worker.is_alive()
    for _ in range(100):  # it may swallow some; after two seconds it is left behind (a daemon)
        if not worker.is_alive():
            break
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(TimeLimit))
        worker.join(AGAIN)
    if late:
        raise box["error"] if isinstance(box.get("error"), TimeLimit) else TimeLimit
    if "error" in box:
        raise box["error"]
    return box["value"]


def trimmed(error: BaseException) -> str:
    """The student's frames of a traceback, innermost last: neither ours nor the libraries'."""
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(NOT_THEIRS):
            lines.append(f"line {frame.lineno}, in {frame.name}" + (f":   {frame.line}" if frame.line else ""))
    return "\n".join(lines if len(lines) <= 8 else [*lines[:4], "…", *lines[-4:]])


def timed(fn: Callable, args: tuple, repeats: int = 5) -> float:
    """Seconds a call: the median of `repeats`, after one to warm up. A remote proxy measures there (`fn.seconds`)."""
    if hasattr(fn, "seconds"):
        return fn.seconds(args, repeats)
    fn(*args)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        fn(*args)
        times.append(time.perf_counter() - began)
    return median(times)
