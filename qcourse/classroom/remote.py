"""The judge's side of a student's process: run the notebook in it, restart it when it dies, call its functions.

`Remote` keeps one process alive for a notebook. `Proxy` is what `judge(task, fn, seed)` gets as `fn`: it looks like the
student's function, and raises RemoteError where the function raised, hung, or took its process down.
"""

import time
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from qcourse.checks.watch import RemoteError
from qcourse.classroom import wire
from qcourse.classroom.census import moment
from qcourse.classroom.codec import HEADER, CodecError, decode, encode
from qcourse.classroom.limits import Limits
from qcourse.classroom.sandbox import obituary
from qcourse.classroom.zygote import Zygote, undisturbed

MB = 1 << 20
WATCHED = 4  # calls of a task during which its process looks whether the package is called; it slows them
TICK = 0.01  # seconds, in which /proc counts when a process began
MOST_ERRORS = 50  # cells whose error is reported; a notebook may hold a hundred thousand


class SandboxFailed(BaseException):
    """The grader's own fault, not the student's. Not an Exception, so that no check takes it for a wrong answer."""


class Remote:
    """A notebook in a sandboxed process. Use as a context manager; the process ends with it."""

    def __init__(self, zygote: Zygote, cells: list[str], limits: Limits, hidden: list[str]):
        self.zygote, self.cells, self.limits, self.hidden = zygote, cells, limits, hidden
        self.began, self.starts, self.pid, self.socket = time.monotonic(), 0, None, None
        self.skipped: dict[int, dict] = {}  # cell index → why it is left out: it killed its process or could not be stopped
        self.errors: dict[int, dict] = {}  # cell index → its error
        self.notes: list[str] = []
        self.written = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def left(self) -> float:
        """Seconds of the submission's total that are left."""
        return self.limits.total_seconds - (time.monotonic() - self.began)

    def ready(self) -> None:
        """Have a process in which every cell was run. Raises RemoteError when the notebook cannot be brought to its end."""
        while self.pid is None:
            if self.starts > self.limits.restarts:
                raise RemoteError("Died", f"its process had to be started more than {self.limits.restarts} times")
            self._start()
            for index, source in enumerate(self.cells):
                if index in self.skipped:
                    continue
                try:
                    self._run_cell(index, source)
                except RemoteError as e:
                    self.skipped[index] = {"kind": e.kind, "message": e.message, "traceback": ""}
                    break

    def _start(self) -> None:
        self.starts += 1
        with undisturbed():
            self.pid, self.socket = self.zygote.start(self.limits, self.hidden)
        try:
            hello = decode(wire.receive(self.socket, MB, 30.0))
            if "failed" in hello:
                raise wire.Gone(hello["failed"])
            self.notes = [str(n) for n in hello["notes"]]
        except (wire.Gone, wire.TooLong, TimeoutError, CodecError) as e:
            raise SandboxFailed(f"the sandbox did not start: {e}; it {self.close(1.0)}") from None

    def _run_cell(self, index: int, source: str) -> None:
        seconds = min(self.limits.cell_seconds, self.left())
        if seconds <= 0:
            raise RemoteError("TimeLimit", f"all {self.limits.total_seconds:g} s of this submission are used up")
        reply = self.ask({"do": "cell", "source": source, "seconds": seconds}, seconds)
        self.errors.pop(index, None)
        if reply.get("ok") is not True and len(self.errors) < MOST_ERRORS:
            self.errors[index] = {k: str(reply.get(k, ""))[:4000] for k in ("kind", "message", "traceback")}

    def ask(self, request: dict, seconds: float) -> dict:
        """One question, one answer, decoded strictly. Raises RemoteError when the process dies, hangs or talks nonsense.

        What a question that was stopped left running is ended: it would take the time and the memory of the next ones.
        """
        began = moment() - TICK
        try:
            wire.send(self.socket, encode(request), seconds + self.limits.grace)
            limit = int(self.limits.message_mb * MB)
            data = wire.receive(self.socket, limit, seconds + self.limits.grace)
            reply = decode(data, HEADER)
            if not isinstance(reply, dict):
                raise CodecError("an answer that is not an answer")
            self.written = reply["written"] if type(reply.get("written")) is int else self.written
            if reply.get("kind") == "TimeLimit":
                with undisturbed():
                    self.zygote.quieten(self.pid, began)
            return reply
        except wire.Gone:
            raise RemoteError("Died", f"the process {self.close(1.0)}") from None
        except TimeoutError:
            self.close()
            raise RemoteError("TimeLimit", f"no answer within {seconds:.3g} s; the process was ended") from None
        except (CodecError, wire.TooLong) as e:
            self.close()
            raise RemoteError("Died", f"its process answered with {e}") from None
        except BaseException:  # the judge's own alarm, in the middle of a frame: this conversation cannot go on
            self.close()
            raise

    def close(self, wait: float = 0.0) -> str:
        """End the process, if there is one, after `wait` seconds; how it ended."""
        if self.pid is None:
            return ""
        with undisturbed():
            pid, self.pid = self.pid, None
            self.socket.close()
            status, why = self.zygote.stop(pid, wait)
        return why or obituary(status)


class Proxy:
    """One task's function, called in the student's process. After it hung or killed its process, it does so for good."""

    def __init__(self, remote: Remote, task_id: str, function: str, seconds: float | None = None):
        self.remote, self.task, self.function = remote, task_id, function
        self.left = remote.limits.task_seconds if seconds is None else seconds
        self.over: RemoteError | None = None
        self.uses: list[str] = []  # functions of the package that the student's called, as its process says
        self.watched = 0

    def __call__(self, *args) -> Any:
        """The function's value for `args`. Raises RemoteError."""
        return self._call(args, 1)[0]

    def seconds(self, args: tuple, repeats: int) -> float:
        """Seconds a call, by the judge's clock: `repeats` calls minus the round trip."""
        self._call(args, 1)
        _, empty = self._call(args, 0)
        _, full = self._call(args, repeats)
        return max(full - empty, 0.0) / repeats

    def _call(self, args: tuple, repeats: int) -> tuple[Any, float]:
        if self.over is not None:
            raise self.over
        try:
            self.remote.ready()
            seconds = min(self.left, self.remote.left())
            if seconds <= 0:
                raise RemoteError("TimeLimit", "no time left for this task")
            began = time.perf_counter()
            request = {"do": "call", "task": self.task, "function": self.function, "args": args, "seconds": seconds}
            self.watched += 1
            watch = self.watched <= WATCHED and not self.uses
            reply = self.remote.ask(request | {"repeats": repeats, "watch": watch}, seconds)
        except RemoteError as e:
            self.over = e
            raise
        spent = time.perf_counter() - began
        self.left -= spent
        if isinstance(told := reply.get("uses"), list):
            self.uses += [name[:100] for name in told[:1] if isinstance(name, str) and name not in self.uses]
        if reply.get("ok") is not True:
            error = RemoteError(*(str(reply.get(k, ""))[:4000] for k in ("kind", "message", "traceback")))
            if error.kind in ("TimeLimit", "Missing", "MemoryError") or "can't allocate memory" in error.message:
                self.over = error  # trying again would only take as long
            raise error
        if isinstance(reply.get("changed"), dict):
            for index, value in reply["changed"].items():
                if type(index) is int and 0 <= index < len(args):
                    change(args[index], value)
        return reply.get("value"), spent


def change(mine: Any, theirs: Any) -> None:
    """Make the judge's copy of an argument what the student's function made of it, so that the judge notices."""
    with suppress(Exception):  # another shape or type: nothing that could be noticed in place
        if isinstance(mine, torch.Tensor):
            mine.copy_(theirs)
        elif isinstance(mine, np.ndarray):
            np.copyto(mine, theirs)
        elif isinstance(mine, list):
            mine[:] = theirs
        elif isinstance(mine, dict):
            mine.clear()
            mine.update(theirs)
