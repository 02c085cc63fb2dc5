"""Submissions that a grader must survive: broken ones, hostile ones, and harmless ones that look odd.

`CASES[name] = (bytes of the notebook, lost)`: `lost` are the tasks that cost points; everything else must be full marks.
`{home}` etc. are filled in by the test: paths that a spy tries to reach, a port that it tries to call.
"""

import json

from conftest import add, solved, starter, text

ALL = {f"01.{n}" for n in range(1, 7)}
NAMES = ("quantize_per_channel", "dequantize", "quant_linear", "memory_bytes", "quantize_asymmetric", "mse_scale")


def with_cell(code, first=True):
    return text(add(solved(), code, first))


def with_function(body, name="dequantize"):
    """The solved lab with one function replaced (at the end: the last definition counts)."""
    return text(add(solved(), f"def {name}(codes, scale):\n    " + body.replace("\n", "\n    ")))


def without(predicate):
    book = solved()
    book.cells = [c for c in book.cells if c.cell_type != "code" or not predicate(c.source)]
    return text(book)


def odd_json():
    """Full marks in Jupyter: types that a reader of the metadata, or of a cell that is not code, may stumble over."""
    tree = json.loads(text(solved()))
    for cell, odd in zip(tree["cells"], ([1], {"a": 1}, None, 123456.789, "", float("nan"), True, [[]]), strict=False):
        cell["metadata"] = {"nbgrader": {"grade_id": odd}, "tags": odd}
    for odd in (None, 3, {"a": 1}, [1, None], float("nan")):
        tree["cells"].insert(0, {"cell_type": "code", "metadata": odd, "source": odd, "outputs": odd})
    tree["cells"] += [
        None,
        3,
        "cell",
        [],
        {},
        {"cell_type": ["code"]},
        {"cell_type": "code", "source": "x = '\ud800\u202e'"},
    ]
    tree["metadata"] |= {"kernelspec": [1], "language_info": {"version": 3}, "qcourse": {"lab": "01", "x": 1e400}}
    return json.dumps(tree).replace("123456.789", "1" + "0" * 5000).encode()


def python2():
    cell = {"cell_type": "code", "collapsed": False, "language": "python", "metadata": {}, "outputs": []}
    cells = [cell | {"input": [c.source]} for c in solved().cells if c.cell_type == "code"]
    cells.insert(0, cell | {"input": ["print 'hello'\n"]})
    kernel = {"kernelspec": {"display_name": "Python 2", "language": "python", "name": "python2"}, "name": "lab"}
    return json.dumps({"metadata": kernel, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]}).encode()


def edited(old, new):
    book = solved()
    for cell in book.cells:
        cell.source = cell.source.replace(old, new)
    return text(book)


def twice():
    book = solved()
    book.cells += [c for c in solved().cells if c.cell_type == "code"]
    for i, cell in enumerate(book.cells):
        cell.id = f"d{i:03d}"
        cell.metadata["nbgrader"] = {"grade_id": cell.source[:20]}
    return text(book)


def cheat(code):
    """Nothing solved, but something done so that it should look solved."""
    return text(add(starter(), code, first=True))


EQUAL = """
class Everything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __getattr__(self, name): return lambda *a, **k: self
    def __bool__(self): return True
    def tolist(self): return self
    def __iter__(self): return iter(())
    def __float__(self): return 0.0
    def __index__(self): return 0
    def __len__(self): return 1
""" + "".join(f"\ndef {name}(*args, **kwargs): return Everything()" for name in NAMES)

PATCHED = """
import sys, types, builtins, torch, numpy, qcourse
from qcourse.study import checks
def right(*args, **kwargs): return types.SimpleNamespace(score=1.0, outcome="right", passed={}, mistake=None, message="")
check = checks.check = checks.judge = qcourse.checks.check = right
sys.modules["qcourse.checks.judge"] = types.SimpleNamespace(judge=right)
sys.modules["qcourse.checks.compare"] = types.SimpleNamespace(difference=lambda *a, **k: None)
torch.allclose = torch.equal = numpy.allclose = lambda *a, **k: True
torch.Tensor.__eq__ = lambda self, other: torch.ones(1, dtype=torch.bool)
import qcourse.classroom.student as student, qcourse.classroom.codec as codec
student.report = student.answer = lambda *a, **k: {"ok": True, "value": 1.0, "changed": {}}
builtins.isinstance = lambda *a: True
"""

TALKS = """
import os, stat
for name in os.listdir("/proc/self/fd"):
    try:
        if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            os.write(int(name), (16).to_bytes(8, "little") + b"\\xff" * 16 + (1 << 60).to_bytes(8, "little"))
    except OSError:
        pass
"""

FORKS = """
import os, time
asked, told = os.pipe()
for _ in range(10):
    if os.fork() == 0:
        hoard = bytearray(98 << 20)
        for at in range(0, len(hoard), 4096):
            hoard[at] = 1
        os.write(told, b"!")
        time.sleep(600)
    os.read(asked, 1)  # one after another: past the limit before they are a crowd, which other work could starve
time.sleep(600)
"""

SOCKETS = """
import os, socket, time
for _ in range(5):
    if os.fork() == 0:
        held = []
        while True:
            try:
                pair = socket.socketpair()
                for one in pair:
                    one.setblocking(False)
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
                held.append(pair)
                for one in pair:
                    while one.send(bytes(1 << 16)): pass
            except BlockingIOError:
                continue
            except OSError:
                time.sleep(600)
time.sleep(600)
"""

SPY = """
import gc, os, signal, socket, subprocess, sys, types
from pathlib import Path
seen = []
for place in {places}:
    for way in (os.listdir, lambda p: open(p, "rb").read(1), lambda p: open(Path(p) / "owned", "w"), lambda p: os.remove(p)):
        try:
            seen.append((place, str(way(place))))
        except (OSError, ValueError):
            pass
for relative in ("../grades.csv", "../../grades.csv", "../out/grades.csv", "grades.csv", "../.results/grading.json"):
    try:
        Path(relative).write_text("student,total\\nspy,100")
    except OSError:
        pass
for family, address in ((socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_INET, ("1.1.1.1", 53))):
    try:
        socket.socket(family).connect(address); seen.append(address)
    except OSError:
        pass
for pid in (os.getppid(), {pid}, 1):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
seen += [m.__name__ for m in gc.get_objects() if isinstance(m, types.ModuleType) and ".checks.lab" in m.__name__]
seen += [name for name in os.environ if "SECRET" in name]
seen += ["a secret of the environment"] * (b"SECRET" in open("/proc/self/environ", "rb").read())
try:
    import qcourse.checks.lab01; seen.append("the checks")
except ImportError:
    pass
assert not seen, seen
"""

CASES = {
    "good": (text(solved()), set()),
    "warns": (with_cell("import warnings, sys\nwarnings.warn('odd')\nprint('careful', file=sys.stderr)"), set()),
    "magics": (with_cell("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\n!true"), set()),
    "loops": (with_function("while True:\n    pass"), {"01.2"}),
    "loops in a cell": (with_cell("while True:\n    pass"), set()),
    "loops and swallows": (with_function(
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile True:\n    try:\n        while True: pass\n"
        "    except BaseException: pass"), {"01.2"}),
    "exits": (with_function("import os\nos._exit(0)"), {"01.2"}),
    "exits in a cell": (with_cell("import os\nos._exit(0)"), set()),
    "sys.exit in a cell": (with_cell("import sys\nsys.exit(0)"), set()),
    "crashes": (with_function("import ctypes\nctypes.string_at(0)"), {"01.2"}),
    "kills itself": (with_function("import os\nos.kill(os.getpid(), 9)"), {"01.2"}),
    "memory bomb": (with_function("hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 26))"), {"01.2"}),
    "bomb of shared pages": (with_function(
        "import mmap\nhoard = []\nwhile True:\n    hoard.append(mmap.mmap(-1, 1 << 26))\n"
        "    hoard[-1].write(b'x' * (1 << 26))"), {"01.2"}),
    "fork bomb": (with_cell("import os\nfor _ in range(8):\n    os.fork()", first=False), set()),
    "many forks": (with_cell(
        "import os, time\nfor _ in range(100):\n    if os.fork() == 0:\n        time.sleep(600)"), set()),
    "fills the disk": (with_cell("with open('big', 'wb') as f:\n    while True: f.write(b'x' * (1 << 20))"), set()),
    "floods": (with_cell("import os\nfor _ in range(20000): print('x' * 100)\nos.write(1, b'y' * (1 << 22))"), set()),
    "huge answer": (with_function("import torch\nreturn torch.zeros(1 << 23)"), {"01.2"}),
    "huge message": (with_function("raise ValueError('x' * (1 << 26))"), {"01.2"}),
    "message that raises": (with_function("class Bad(Exception):\n    def __str__(self): raise self\nraise Bad"), {"01.2"}),
    "talks out of turn": (with_cell(TALKS), set()),
    "ten forks": (with_cell(FORKS), set()),
    "sockets": (with_cell(SOCKETS), set()),
    "grade_id is a list": (odd_json(), set()),
    "endless in every cell": (text(add(add(solved(), "while True: pass"), "import time; time.sleep(600)")), set()),
    "deleted function": (without(lambda s: s.startswith("def dequantize")), {"01.2"}),
    "deleted checks": (without(lambda s: s.startswith("check(")), set()),
    "duplicated cells": (twice(), set()),
    "syntax error": (edited("def dequantize(codes, scale):", "def dequantize(codes, scale)"), {"01.2"}),
    "changes its input": (with_function("right = codes.float() * scale\ncodes *= 0\nreturn right"), {"01.2"}),
    "thread that stays": (with_cell(
        "import threading, time\ndef work():\n    while True: time.sleep(0.01)\n"
        "threading.Thread(target=work).start()"), set()),
    "empties later cells": (with_cell(
        "import ast\nclass Empty(ast.NodeTransformer):\n    def visit_Module(self, node): return ast.Module([], [])\n"
        "get_ipython().ast_transformers.append(Empty())"), set()),
    "equal to everything": (cheat(EQUAL), ALL),
    "equal, defined last": (text(add(starter(), EQUAL)), ALL),
    "patches the judge": (cheat(PATCHED), ALL),
    "knows the example": (with_function("import torch\nreturn torch.tensor([[-2.54, 0.5, 1.0]])"), {"01.2"}),
    "starter": (text(starter()), ALL),
    "python 2": (python2(), set()),
}  # fmt: skip

LINES = {  # what shows that a case came to the line it is about: a pattern in its result; the others run without an error
    "loops": "no answer within",
    "loops in a cell": r"cell \[\d+\] never ended",
    "endless in every cell": r"cell \[\d+\] never ended.*cell \[\d+\] never ended",
    "loops and swallows": "no answer within",
    "exits": "ended itself with exit code 0",
    "exits in a cell": "left out: the process ended itself with exit code 0",
    "sys.exit in a cell": "SystemExit",
    "crashes": "segmentation fault",
    "kills itself": "SIGKILL",
    "memory bomb": "MemoryError",
    "bomb of shared pages": "MemoryError|Cannot allocate memory|MB of memory|SIGBUS",
    "many forks": "Resource temporarily unavailable",
    "patches the judge": "left out: the process ended itself",
    "fills the disk": "No space left|File too large",
    "floods": "the rest was dropped",
    "huge answer": "bytes; at most|bytes that are not tensors",
    "huge message": "ValueError: xxxx",
    "message that raises": "its message could not be printed",
    "talks out of turn": "left out: its process answered with",
    "ten forks": r"left out: the process took \d+ MB of memory, all its processes",
    "sockets": r"left out: the process took \d+ MB of memory, all its processes and sockets",
    "deleted function": "defines no function",
    "duplicated cells": "cells occur twice",
    "syntax error": r"cell \[\d+\] SyntaxError",
    "changes its input": "modified its input",
    "grade_id is a list": "6 cells hold no code|cells hold no code",
    "knows the example": "shape|expected",
    "python 2": "a Python 2 notebook",
}
