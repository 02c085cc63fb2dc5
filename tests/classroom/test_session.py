"""What is right in Jupyter is right in the grader: harmless things that notebooks do at their top, each worth full marks."""

import json

import nbformat
import pytest
from conftest import rows, run_grade, solved, stored, text

TOPS = {  # what stands in the cell of the imports, above them: if it fails there, the whole notebook does
    "autoreload": "%load_ext autoreload\n%autoreload 2",
    "faulthandler": "import faulthandler; faulthandler.enable()",
    "faulthandler later": "import faulthandler; faulthandler.dump_traceback_later(600)",
    "fileno": "import os, sys; os.fstat(sys.stdout.fileno()); os.fstat(sys.stderr.fileno()); sys.stdin.read()",
    "streams": "import sys, io; sys.stdout.writelines(['a', 'b']); sys.stderr.flush(); assert sys.stdout.writable()\n"
    "assert isinstance(sys.stdout, io.TextIOBase) and not sys.stdout.closed and sys.stdout.encoding",
    "redirected": "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as f: print(1)\n"
    "assert f.getvalue()",
    "install": "!pip install -q numpy\n%pip install torch\n%conda install x",
    "shell": "!ls -la\nfiles = !echo one\nassert files == ['one']\n!exit 3",
    "python there": "!python -c 'import torch'\nassert _exit_code == 0",
    "matplotlib": "%matplotlib inline\n%config InlineBackend.figure_format = 'retina'\n"
    "import matplotlib.pyplot as p\np.plot([1]); p.show()",
    "figure format first": "%config InlineBackend.figure_formats = ['svg']",
    "widget backend": "%matplotlib widget",
    "figures": "import warnings, matplotlib.pyplot as p\nwith warnings.catch_warnings():\n"
    "    warnings.simplefilter('error')\n"
    "    p.figure(); p.plot([1, 2]); p.savefig('x.png'); p.show()",
    "timeit": "%timeit -n1 -r1 1 + 1\n%time 2 + 2",
    "line magics": "%cd .\n%pwd\n%ls\n%env X=1\n%who\n%xmode Plain\n%precision 3\n%autosave 60\n%colors nocolor",
    "a magic that is not here": "%load_ext line_profiler\n%lprun -f f f()",
    "get_ipython": "assert get_ipython().__class__.__name__ == 'ZMQInteractiveShell'\n"
    "from IPython import get_ipython as g\nassert g()",
    "display": "from IPython.display import display, HTML, Markdown, clear_output, Image\n"
    "display(HTML('<b>'), Markdown('x'))\n"
    "clear_output(wait=True); h = display(1, display_id=True); h.update(2)",
    "every line shown": "from IPython.core.interactiveshell import InteractiveShell\n"
    "InteractiveShell.ast_node_interactivity = 'all'\n1\n2",
    "await": "import asyncio\nawait asyncio.sleep(0)\nasync def one(): return 1\nassert await one() == 1",
    "a task": "import asyncio\nt = asyncio.create_task(asyncio.sleep(0)); asyncio.get_running_loop()",
    "no file": "assert '__file__' not in globals() and __name__ == '__main__'",
    "main": "import sys; assert sys.modules['__main__'].__dict__ is globals()\n"
    "if __name__ == '__main__': print(sys.argv)",
    "pickle": "import pickle\nclass Own: pass\nassert type(pickle.loads(pickle.dumps(Own()))) is Own",
    "run": "open('tool.py', 'w').write('found = 3')\n%run tool.py\nassert found == 3",
    "own module": "open('mine.py', 'w').write('x = 4')\nimport mine, importlib\nassert importlib.reload(mine).x == 4",
    "path": "import os, sys; sys.path.insert(0, os.path.abspath('..')); sys.path.append('.')",
    "elsewhere": "import os; os.makedirs('out', exist_ok=True); os.chdir('out'); open('y', 'w').close(); os.chdir('..')",
    "files": "import tempfile, pathlib, os\n"
    "with tempfile.TemporaryDirectory() as d: pathlib.Path(d, 'x').write_text('x')\n"
    "assert os.path.expanduser('~') != '~' and pathlib.Path.home().is_dir() and os.environ['HOME']",
    "environment": "import os, getpass\n"
    "os.environ['CUDA_VISIBLE_DEVICES'] = ''; os.getcwd(); getpass.getuser(); os.environ.get('PATH')",
    "threads": "import threading, concurrent.futures as c\nt = threading.Thread(target=print); t.start(); t.join()\n"
    "with c.ThreadPoolExecutor(2) as pool: assert list(pool.map(abs, [-1])) == [1]",
    "processes": "import multiprocessing as m\nwith m.Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]",
    "workers": "import torch.utils.data as d, torch\n"
    "assert len(list(d.DataLoader(torch.arange(4), num_workers=1))) == 4",
    "subprocess": "import subprocess, sys\n"
    "assert subprocess.run([sys.executable, '-c', '1'], capture_output=True).returncode == 0",
    "warnings": "import warnings; warnings.filterwarnings('ignore'); warnings.warn('x')",
    "warnings are errors": "import warnings; warnings.simplefilter('error')",
    "logging": "import logging, sys; logging.basicConfig(level='DEBUG', stream=sys.stdout, force=True); logging.info('x')",
    "tqdm": "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass",
    "tqdm.notebook": "from tqdm.notebook import tqdm, trange\nfor _ in trange(3): pass",
    "widgets": "import ipywidgets as w\nfrom IPython.display import display\n"
    "w.IntSlider(); w.interact(lambda x: x, x=3)\n"
    "o = w.Output()\nwith o: print(1)\ndisplay(o)",
    "torch": "import torch\ntorch.manual_seed(0); torch.set_num_threads(2); torch.set_printoptions(precision=3)\n"
    "torch.set_grad_enabled(False); torch.use_deterministic_algorithms(True)",
    "interop": "import torch; torch.set_num_interop_threads(2)",
    "default dtype": "import torch; torch.set_default_dtype(torch.float64)\ntorch.set_default_dtype(torch.float32)",
    "compiled": "import torch\n@torch.compile\ndef twice(x): return 2 * x\nassert twice(torch.ones(1)) == 2",
    "seeds": "import random, numpy as np; random.seed(0); np.random.seed(0); np.set_printoptions(suppress=True)",
    "recursion": "import sys, gc; sys.setrecursionlimit(5000); gc.disable(); gc.collect()",
    "an alarm": "import signal; signal.signal(signal.SIGALRM, lambda *a: None); signal.alarm(60)\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)",
    "tracing": "import tracemalloc, cProfile; tracemalloc.start(); p = cProfile.Profile(); p.enable(); p.disable()",
    "typing": "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P: x: int",
    "stars": "from math import *\nfrom statistics import *",
    "last value": "1 + 1\n_\nIn[0]; Out",
    "sockets": "import socket; a, b = socket.socketpair(); a.send(b'x')\n"
    "a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)",
    "reloads the course": "import importlib, qcourse, qcourse.checks\n"
    "importlib.reload(qcourse); importlib.reload(qcourse.checks)",
    "help": "print?\nlen?",
    "exits": "exit()",
    "old imports": "from qcourse.study.checks import check, hint, solution",
    "new imports": "from qcourse.checks import check, hint, solution, when_done",
    "both": "import qcourse, qcourse.study.checks as c\nqcourse.check; c.check; qcourse.study.checks.hint('01.1')",
}  # fmt: skip
CELLS = {  # whole cells before the first
    "automagic": (["pip install numpy", "ls", "%%time\npass"], ""),
    "writefile": (["%%writefile helpers.py\nhalf = 0.5\n"
    "def absmax(x): return x.abs().max()"], "from helpers import half, absmax"),
    "capture": (["%%capture out\nprint('x')\nimport os"], "assert out.stdout == 'x\\n'; os"),
    "timed cell": (["%%time\nz = 3", "%%timeit -n1 -r1\n1"], "z"),
    "bash": (["%%bash\necho x > made", "%%sh\ntrue"], "assert open('made').read()"),
    "html": (["%%html\n<b>x</b>", "%%javascript\n1", "%%latex\nx", "%%markdown\n# x", "%%script true\nx"], ""),
    "exit and go on": (["import sys\nsys.exit(0)", "quit()"], ""),
    "asks": (["input('name? ')", "import getpass; getpass.getpass()"], ""),
    "errors": (["1/0", "undefined", "import not_installed_here"], ""),
    "reset": (["x = 1", "%reset -f"], "assert 'x' not in globals()"),
    "empty": (["", "   ", "# a comment", "\n\n"], ""),
    "endless await": (["async def spin():\n    import asyncio\n    while True: await asyncio.sleep(0)\n"
    "await spin()"], ""),
    "a task that goes on": (["import asyncio\nasync def spin():\n    while True: await asyncio.sleep(0)\n"
    "t = asyncio.create_task(spin())"], ""),
}  # fmt: skip
FAILING = {"exit and go on", "asks", "errors", "endless await"}
USUAL = "from qcourse import check, hint, solution, when_done"
IMPORTS = (
    USUAL,
    "from qcourse.checks import check, hint, solution, when_done",
    "from qcourse.study.checks import check, hint, solution, when_done",
)  # the last: before the checks moved
ALL = [*TOPS, *CELLS, *IMPORTS]


def with_top(prefix, cells=()):
    book = solved()
    at = next(i for i, c in enumerate(book.cells) if c.cell_type == "code")
    book.cells[at].source = (
        f"{prefix}\n{book.cells[at].source}" if "__future__" in prefix or prefix else book.cells[at].source
    )
    for i, code in enumerate(cells):
        book.cells.insert(at + i, nbformat.v4.new_code_cell(code, id=f"top{i}"))
    return text(book)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    base = tmp_path_factory.mktemp("tops")
    (base / "in").mkdir()
    books = {name: with_top(top) for name, top in TOPS.items()}
    books |= {name: with_top(prefix, cells) for name, (cells, prefix) in CELLS.items()}
    assert USUAL in str(solved().cells)
    books |= {line: text(solved()).replace(USUAL.encode(), line.encode()) for line in IMPORTS}
    for i, data in enumerate(books.values()):
        (base / "in" / f"top{i:02}.ipynb").write_bytes(data)
    run_grade(base / "in", "--out", base / "out", "--seed", 11, "--seeds", 1, "--workers", 2, "--cell-seconds", 30)
    table, kept = rows(base / "out"), stored(base / "out")
    return {name: (table[f"top{i:02}"], kept[f"top{i:02}"]) for i, name in enumerate(books)}


@pytest.mark.parametrize("name", ALL)
def test_a_harmless_top_costs_nothing(graded, name):
    row, result = graded[name]
    assert row["total"] == row["max"], json.dumps(result["errors"])
    assert bool(result["errors"]) == (name in FAILING), result["errors"]


def test_what_failed_is_what_fails_in_a_kernel_too(graded):
    kinds = [e["message"].split(":")[0] for e in graded["asks"][1]["errors"]]
    assert kinds == ["StdinNotImplementedError"] * 2
    kinds = [e["kind"] for e in graded["errors"][1]["errors"]]
    assert kinds == ["ZeroDivisionError", "NameError", "ModuleNotFoundError"]
    assert "not_installed_here" in graded["errors"][0]["reason"]  # the teacher's machine may lack what the student's has
    assert [e["kind"] for e in graded["endless await"][1]["errors"]] == ["TimeLimit"]
    assert "never ended" in graded["endless await"][0]["reason"]
