"""From a fresh fork to a student's process: namespaces where there are any, limits, an empty home, a silent terminal."""

import os
import platform
import resource
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from qcourse.classroom import isolation, syscalls
from qcourse.classroom.limits import Limits

FULL = "namespaces: no network, no other processes, read-only course, nothing else of this machine's files"
BARE = "limits only (no namespaces here): code that wants to can read this user's files and reach the network"
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "USER": "student", "LOGNAME": "student", "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", "TORCH_COMPILE_DISABLE": "1",
}  # fmt: skip
SETUP_FAILED = 111


def probe(root: Path) -> str | None:
    """None if full isolation works here, else why not: tried once, in a child that is thrown away."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _into_namespaces(Limits(), root, [])
            os.write(writer, b"ok")
        except BaseException as e:
            os.write(writer, f"{type(e).__name__}: {e}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return None if said == "ok" else said or "the kernel ended the attempt"


def enter(limits: Limits, root: Path | None, home: str, hidden: list[Path], keep: int) -> list[str]:
    """Turn this fresh fork into a student's process; returns notes on what is in force.

    root: where to mount the small file system; None where namespaces are refused. home: the working directory, made here
    inside such a root, else there already. keep: the one file descriptor that stays.
    """
    os.setsid()
    _close_all_but(keep)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a kernel; the zygote ignores it
    if root is not None:
        notes = [FULL, *_into_namespaces(limits, root, hidden)]
        os.mkdir(home, 0o700)
    else:
        notes = [BARE]
        _keep_together()
    os.chdir(home)
    os.environ.clear()
    path = f"{os.path.dirname(sys.executable)}:{ENVIRONMENT['PATH']}"  # `!python`, like a kernel's
    places = {"HOME": home, "TMPDIR": home, "IPYTHONDIR": f"{home}/.ipython", "MPLCONFIGDIR": f"{home}/.matplotlib"}
    os.environ.update(ENVIRONMENT | places | {"PATH": path})
    tempfile.tempdir = None
    _limit(limits, alone=root is not None)
    isolation.prctl(isolation.PR_SET_NO_NEW_PRIVS, 1)
    notes += filter(None, [syscalls.restrict()])
    if root is None:
        _watch_over(home, [*isolation.SECRETS, *hidden])
    return notes


def _into_namespaces(limits: Limits, root: Path, hidden: list[Path]) -> list[str]:
    """Three processes: this one waits; the next is process 1 of the namespaces and waits; the third returns from here."""
    stranger = 61184 + os.getpid() % 4000  # systemd's range of user ids that belong to nobody
    refused = isolation.unshare()
    if pid := os.fork():
        _wait_for(pid)
    refused += isolation.build_root(root, limits.scratch_mb, hidden)
    isolation.drop_privileges(stranger)
    isolation.prctl(isolation.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
    if pid := os.fork():
        isolation.prctl(isolation.PR_SET_DUMPABLE, 0)
        _wait_for(pid)
    isolation.prctl(isolation.PR_SET_PDEATHSIG, signal.SIGKILL)
    isolation.prctl(isolation.PR_SET_DUMPABLE, 1)  # its own /proc/self belongs to it again after the change of user
    return refused


def _keep_together() -> None:
    """Without namespaces: this process stays above the student's, and whatever that leaves behind comes back to it."""
    isolation.prctl(isolation.PR_SET_CHILD_SUBREAPER, 1)
    if pid := os.fork():
        _wait_for(pid)
    isolation.prctl(isolation.PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for(pid: int) -> None:
    """Reap children until `pid` ends; then end in the same way. Never returns."""
    os.closerange(0, 1024)
    while True:
        done, status = os.wait()
        if done == pid:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _close_all_but(keep: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, keep)
    os.closerange(keep + 1, max(1024, keep + 64))


def _limit(limits: Limits, alone: bool) -> None:
    """alone: this user id (or user namespace) is the student's only, so that its processes can be counted."""
    mb = 1 << 20
    try:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        now = 8192 * mb
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_FSIZE": limits.scratch_mb * mb,
        "RLIMIT_NOFILE": 256,
        "RLIMIT_AS": now + limits.memory_mb * mb,
    }
    kernel = tuple(int(n) for n in platform.release().split("-")[0].split(".")[:2] if n.isdigit())
    if alone and kernel >= (5, 14):  # counted for each user namespace since then
        wanted["RLIMIT_NPROC"] = limits.processes
    for name, value in wanted.items():
        hard = resource.getrlimit(getattr(resource, name))[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(
            getattr(resource, name), (value, value + (name == "RLIMIT_CPU" and hard == resource.RLIM_INFINITY))
        )
    if sys.platform == "linux":
        with (
            suppress(OSError),
            open("/proc/self/oom_score_adj", "w") as f,
        ):  # if memory does run out, this process goes, not the grader
            f.write("1000")


def _watch_over(home: str, hidden: list[Path]) -> None:
    """Without namespaces: refuse what Python's audit events show. Stops the careless, not the determined."""
    shut = tuple(str(Path(p).resolve()) for p in hidden)

    def refuse(event: str, args: tuple) -> None:
        if event in ("socket.connect", "socket.bind", "os.kill", "os.killpg"):
            raise PermissionError(f"{event} is not allowed in a graded notebook")
        if event in ("open", "os.remove", "os.rename", "os.listdir", "os.scandir") and isinstance(args[0], str | bytes):
            path = os.path.realpath(os.fsdecode(args[0]))
            writes = event in ("os.remove", "os.rename") or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR))
            if path.startswith(shut) or (writes and not path.startswith((home, os.path.realpath(home), "/dev/null"))):
                raise PermissionError(f"{event} outside of the notebook's own folder")

    sys.addaudithook(refuse)


def obituary(code: int) -> str:
    """Why a process ended, from its exit status.

    >>> obituary(128 + 9)
    'was killed (SIGKILL: out of memory, or by its own hand)'
    """
    named = {
        signal.SIGKILL: "was killed (SIGKILL: out of memory, or by its own hand)",
        signal.SIGXCPU: "used up its CPU time",
        signal.SIGXFSZ: "wrote too large a file",
        signal.SIGSEGV: "crashed (segmentation fault)",
        signal.SIGABRT: "aborted",
    }
    code = 128 - code if code < 0 else code
    if code == SETUP_FAILED:
        return "could not be isolated, and was not run"
    return named.get(code - 128, f"ended itself with exit code {code}" if code < 128 else f"died of signal {code - 128}")
