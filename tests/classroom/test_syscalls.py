"""What a student's process can no longer do to get more than its limits, tried inside a real sandbox."""

import json
import platform
import subprocess
import sys

import pytest
from conftest import ROOT

from qcourse.classroom.isolation import PACKAGE
from qcourse.classroom.syscalls import MACHINES, program

HIDDEN = PACKAGE / "cli.py"

CELL = """
import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)

def tries(what):
    try:
        return repr(eval(what))
    except OSError as e:
        return type(e).__name__

def call(name, *args):
    if getattr(libc, name)(*args) == -1:
        raise OSError(ctypes.get_errno(), name)

def buffer():
    one, _ = socket.socketpair()
    before = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before

def folders():
    try:
        for i in range(100_000):
            os.mkdir(f"d{i}")
    except OSError:
        return "refused"

def waits(here):
    import threading, time
    burning = [threading.Thread(target=time.sleep, args=(30,), daemon=True) for _ in range(20)]
    for thread in burning:
        thread.start()
    for _ in range(1500):  # until somebody has looked
        if os.getpriority(os.PRIO_PROCESS, 0) == 19:
            break
        time.sleep(0.01)
    return os.getpriority(os.PRIO_PROCESS, 0)
"""
SCRIPT = """
import json, sys
from qcourse.classroom import sandbox
if {bare}: sandbox.probe = lambda root: "the kernel says no"
from qcourse.classroom.limits import Limits
from qcourse.classroom.zygote import Zygote
zygote = Zygote()
from qcourse.classroom.remote import Proxy, Remote
with Remote(zygote, [{cell!r}], Limits(), [{hidden!r}]) as remote:
    said = {{what: Proxy(remote, "01.1", "tries")(what) for what in {tries!r}}}
    said["nice"] = Proxy(remote, "01.1", "waits")(0)
    said["notes"] = remote.notes
print(json.dumps(said))
"""
REFUSED = [
    "os.memfd_create('x')",
    "call('shmget', 0, 1 << 30, 0o1600)",
    "call('msgget', 0, 0o1600)",
    "call('unshare', 0x10000000)",
    "call('mount', b'x', b'/tmp', b'tmpfs', 0, None)",
    "call('ptrace', 0, 0, 0, 0)",
    "socket.socket(socket.AF_INET)",
    "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
    "call('syscall', 56 if os.uname().machine == 'x86_64' else 220, 0x10000000 | 17, 0, 0, 0, 0)",  # clone
]
WORKS = [
    "os.waitpid(os.fork() or os._exit(0), 0)[1]",
    "os.system('true')",
    "len(socket.socketpair())",
    "buffer()",
    "len(mmap.mmap(-1, 9))",
]


@pytest.mark.skipif(
    platform.machine() not in MACHINES or sys.platform != "linux", reason="the report says there is no filter"
)
@pytest.mark.parametrize("bare", [False, True])
def test_what_no_lab_needs_is_refused(bare):
    tries = [*REFUSED, *WORKS, f"len(open({str(HIDDEN)!r}).read())", "folders()"]
    script = SCRIPT.format(bare=bare, cell=CELL, hidden=str(HIDDEN), tries=tries[: -1 if bare else None])
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert not [n for n in said["notes"] if "no filter" in n]
    assert {what: said[what] for what in REFUSED} == dict.fromkeys(REFUSED, "PermissionError")
    assert [said[what] for what in WORKS] == ["0", "0", "2", "True", "9"]
    assert said.get("folders()", "'refused'") == "'refused'"
    assert said[tries[-2]] == ("PermissionError" if bare else "0")  # a zip of submissions is a file
    assert said["nice"] == 19  # a crowd of threads gives way to the other students


def run(lines, number, audit, *args):
    """A BPF machine of six instructions; what the filter says to a call with its first arguments."""
    at, a = 0, 0
    data = {0: number, 4: audit} | {16 + 8 * i: arg for i, arg in enumerate([*args, 0, 0, 0][:3])}
    while True:
        code, yes, no, k = lines[at]
        if code == 0x06:
            return k
        if code in (0x20, 0x54):
            a = data[k] if code == 0x20 else a & k
            at += 1
            continue
        hit = {0x15: a == k, 0x35: a >= k, 0x45: bool(a & k)}[code]
        at += 1 + (yes if hit else no)


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_the_filter_says_no_to_these_and_yes_to_the_rest(machine):
    audit, refused, clone, socket, socketpair, setsockopt = MACHINES[machine]
    lines, allow, no, pretend = program(machine), 0x7FFF0000, 0x00050001, 0x00050000
    assert len(lines) < 256 and all(at + 1 + max(line[1:3]) <= len(lines) for at, line in enumerate(lines))
    for number in range(500):
        expected = no if number in refused.values() else 0x00050026 if number == 435 else allow
        assert run(lines, number, audit, 1, 1) == expected
        assert run(lines, number, audit + 1, 1, 1) == no  # another architecture's numbers mean other calls
    assert run(lines, 0x40000000 + 1, audit) == no
    assert run(lines, clone, audit, 0x10000011) == no and run(lines, clone, audit, 0x01200011) == allow
    for call in (socket, socketpair):
        stream, datagram, packets, nonblocking = (run(lines, call, audit, 1, kind) for kind in (1, 2, 5, 0x80801))
        assert (stream, datagram, packets, nonblocking) == (allow, no, no, allow)
        assert run(lines, call, audit, 2, 1) == no
    options = {(1, 7): pretend, (1, 8): pretend, (1, 2): allow, (6, 7): allow, (0, 8): allow}
    assert {o: run(lines, setsockopt, audit, 3, *o) for o in options} == options
