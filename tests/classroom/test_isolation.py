"""What is in force, and what happens where the kernel gives no namespaces."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT, told_by

from qcourse.classroom.isolation import PACKAGE, visible
from qcourse.classroom.limits import Limits
from qcourse.classroom.sandbox import obituary

BARE = """
import json
from pathlib import Path
from qcourse.classroom import sandbox
sandbox.probe = lambda root: "the kernel says no"
from qcourse.classroom.limits import Limits
from qcourse.classroom.zygote import Zygote
zygote = Zygote()
from qcourse.classroom.remote import Proxy, Remote
from qcourse.checks.watch import RemoteError
import torch
CELLS = ['''
import os, socket
def tries(what):
    try:
        return repr(eval(what))
    except Exception as e:
        return f"{type(e).__name__}: {e}"
''', '''
def hoards(x):
    pile = []
    while True: pile.append(bytearray(1 << 26))
''', "def double(x): return 2 * x"]
said = {}
with Remote(zygote, CELLS, Limits(memory_mb=512), [%r]) as remote:
    for what in %r:
        said[what] = Proxy(remote, "01.1", "tries")(what)
    try:
        Proxy(remote, "01.1", "hoards")(torch.ones(1))
    except RemoteError as e:
        said["hoard"] = e.kind
    said["double"] = Proxy(remote, "01.1", "double")(torch.ones(1)).tolist()
    said["notes"], said["home"] = remote.notes, Proxy(remote, "01.1", "tries")("os.getcwd()")
said["left"] = Path(eval(said["home"])).exists()
print(json.dumps(said))
"""


def test_without_namespaces_limits_hold_and_the_report_says_so(tmp_path):
    (tmp_path / "secret").write_text("x")
    tries = {
        f"open({str(tmp_path / 'secret')!r})": "PermissionError",
        f"os.listdir({str(tmp_path)!r})": "PermissionError",
        f"open({str(PACKAGE / 'checks/judge.py')!r})": "PermissionError",
        "open('/tmp/written-by-a-student', 'w')": "PermissionError",
        "socket.create_connection(('127.0.0.1', 9), 1)": "PermissionError",
        "os.kill(os.getppid(), 9)": "PermissionError",
        "open('mine', 'w')": "<_io.TextIOWrapper",
        "__import__('qcourse.checks.judge')": "ModuleNotFoundError",
    }
    script = BARE % (str(tmp_path), list(tries))
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    for what, answer in tries.items():
        assert said[what].startswith(answer), (what, said[what])
    assert said["double"] == [2.0] and not said["left"]
    assert said["hoard"] == "MemoryError" or sys.platform == "darwin"
    assert said["notes"][0].startswith("limits only (no namespaces here")


def test_the_allow_list_shows_the_package_and_not_the_repository(monkeypatch):
    tests = str(ROOT / "tests")  # where pytest adds to the path, a judge's process does not
    monkeypatch.setattr(sys, "path", [str(ROOT), *(p for p in sys.path if not p.startswith(tests))])
    shown = visible()
    assert any(PACKAGE.is_relative_to(p) for p in shown)
    assert not any((ROOT / name).is_relative_to(p.resolve()) for p in shown for name in ("solutions", "tests", ".git"))


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (137, "killed"), (139, "segmentation"), (152, "CPU"), (111, "isolated")]
)
def test_obituaries(code, words):
    assert words in obituary(code)


def test_limits_are_checked():
    with pytest.raises(ValueError, match="cell_seconds = 0"):
        Limits(cell_seconds=0)


DAEMON = """
CELL = '''
import os, time
def leaves(mb):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(3, 200)
            hoard = bytearray(b"x") * (mb << 20)
            time.sleep(600)
        os._exit(0)
    os.wait()
    return 1
def waits(seconds):
    time.sleep(seconds)
'''
with Remote(zygote, [CELL], Limits(), []) as remote:
    said["left"] = Proxy(remote, "01.1", "leaves")(1)
    pids = [int(f.name) for f, _ in tree(remote.pid)]
said["during"], said["after"] = len(pids), [p for p in pids if Path(f"/proc/{p}").exists()]
with Remote(zygote, [CELL], Limits(memory_mb=128, task_seconds=60), []) as remote:
    try:
        for _ in range(4):
            Proxy(remote, "01.1", "leaves")(60)
        Proxy(remote, "01.1", "waits")(59)
    except RemoteError as e:
        said["end"] = e.message
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is whose child")
@pytest.mark.parametrize("bare", [False, True])
def test_a_daemon_ends_with_its_student_and_its_memory_counts(bare):
    """Forked twice, in a session of its own, with every file closed: it is still below the process that was started."""
    said = told_by(DAEMON, bare)
    assert said["left"] == 1 and said["during"] >= 3 and said["after"] == []
    assert "MB of memory" in said["end"]
