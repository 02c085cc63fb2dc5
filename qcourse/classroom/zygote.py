"""A process that has torch, numpy, matplotlib and IPython loaded, knows no checks, and does nothing but fork students.

Importing torch costs seconds, forking costs milliseconds. The zygote is forked from a judge *before* the judge imports the
checks, so that their answers are in no student's memory. The judge holds the other end of its socket; when that closes
(the judge ended, or was killed), the zygote kills its students and ends.
"""

import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from qcourse.classroom.limits import Limits
from qcourse.classroom.warden import Ward, Warden

PRELOAD = (
    "torch", "numpy", "matplotlib", "matplotlib.pyplot", "IPython.core.interactiveshell", "safetensors.torch", "ipywidgets",
    "qcourse.numerics.quantize", "qcourse.packing.packed", "qcourse.gemm.reference", "qcourse.models.loader",
    "qcourse.study.plots", "qcourse.classroom.student", "qcourse.classroom.sandbox", "matplotlib_inline.backend_inline",
)  # fmt: skip


@contextmanager
def undisturbed():
    """No alarm in this block: a question asked and not waited for would leave its answer to the next one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Zygote:
    """The judge's handle: `start` forks a student, `stop` kills it and says how it ended."""

    def __init__(self):
        for name in PRELOAD:
            import_module(name)
        assert not [m for m in sys.modules if m.startswith("qcourse.checks.lab")], "checks before the zygote"
        gc.collect()
        gc.freeze()
        self.socket, theirs = socket.socketpair()
        if os.fork() == 0:
            self.socket.close()
            try:
                _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self.isolation = self._ask({"do": "probe"})["refused"]

    def _ask(self, request: dict, fds: tuple = ()) -> dict:
        socket.send_fds(self.socket, [json.dumps(request).encode()], fds)
        answer = self.socket.recv(65536)
        if not answer:
            raise ConnectionError("the zygote is gone")
        return json.loads(answer)

    def start(self, limits: Limits, hidden: list[str]) -> tuple[int, socket.socket]:
        """A new student's process: (pid, our end of its socket)."""
        ours, theirs = socket.socketpair()
        with theirs:
            pid = self._ask({"do": "start", "limits": vars(limits), "hidden": hidden}, (theirs.fileno(),))["pid"]
        return pid, ours

    def quieten(self, pid: int, since: float) -> None:
        """End what the student's process started since that `moment`; the process itself goes on."""
        self._ask({"do": "quieten", "pid": pid, "since": since})

    def stop(self, pid: int, wait: float = 0.0) -> tuple[int, str]:
        """End the process and all that it started; its exit status (128 + signal if it was killed), and why it was ended.

        wait: seconds to let it end by itself first, so that the status is its own.
        """
        answer = self._ask({"do": "stop", "pid": pid, "wait": wait})
        return answer["status"], answer["why"]


def _serve(control: socket.socket) -> None:
    """Fork on request until the judge is gone, and look after those that were forked."""
    from qcourse.classroom.isolation import PR_SET_CHILD_SUBREAPER, prctl
    from qcourse.classroom.sandbox import probe

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    root = Path(tempfile.mkdtemp(prefix="qcourse-root-"))
    refused, warden = "not probed", Warden()
    try:
        while True:
            if not select.select([control], [], [], warden.pause())[0]:
                warden.look()
                continue
            data, fds, _, _ = socket.recv_fds(control, 65536, 1)
            if not data:
                return
            request = json.loads(data)
            match request["do"]:
                case "probe":
                    refused = probe(root)
                    answer = {"refused": refused}
                case "start":
                    home = tempfile.mkdtemp(prefix="qcourse-student-") if refused else "/tmp/home"
                    pid = _fork(request, fds[0], None if refused else root, home)
                    warden.wards[pid] = Ward(pid, home, Limits(**request["limits"]))
                    answer = {"pid": pid}
                case "quieten":
                    warden.quieten(request["pid"], request["since"])
                    answer = {}
                case "stop":
                    status, ward = warden.end(request["pid"], request["wait"])
                    _tidy(ward.home, refused)
                    answer = {"status": status, "why": ward.why}
            control.sendall(json.dumps(answer).encode())
    finally:
        for pid in list(warden.wards):
            _tidy(warden.end(pid, 0)[1].home, refused)
        shutil.rmtree(root, ignore_errors=True)


def _tidy(home: str, refused: str | None) -> None:
    """Remove a home that was made on disk; in namespaces it was memory, and went with the process."""
    if refused:
        shutil.rmtree(home, ignore_errors=True)


def _fork(request: dict, fd: int, root: Path | None, home: str) -> int:
    """Fork a student who speaks on `fd`."""
    from qcourse.classroom import sandbox, student
    from qcourse.classroom.codec import encode
    from qcourse.classroom.wire import send

    if pid := os.fork():
        os.close(fd)
        return pid
    try:
        limits = Limits(**request["limits"])
        notes = sandbox.enter(limits, root, home, [Path(p) for p in request["hidden"]], keep=fd)
        student.serve(socket.socket(fileno=fd), limits, notes)
    except BaseException as e:  # closed on failure: nothing is run half isolated
        send(socket.socket(fileno=fd), encode({"failed": f"{type(e).__name__}: {e}"}))
    finally:
        os._exit(sandbox.SETUP_FAILED)
