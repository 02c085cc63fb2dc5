"""A class of students: their notebooks are made from the solution of lab 01, and graded by the real command."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools.labs import BEGIN, END, notebook, strip

ROOT = Path(__file__).parents[2]
WHOLE = (ROOT / "solutions" / "01_fake_quant.py").read_text()
SOURCE = re.match(r'(?s).*\ncheck\("[\d.]+", \w+\)\n', WHOLE)[0]  # up to its last check: what closes a lab loads a model
SCRIPT = """
from qcourse.cli import main
main()
"""


PRELUDE = """
import json, time
from pathlib import Path
from qcourse.classroom import sandbox
if {bare}: sandbox.probe = lambda root: "the kernel says no"
from qcourse.classroom.limits import Limits
from qcourse.classroom.zygote import Zygote
zygote = Zygote()
from qcourse.checks.watch import RemoteError
from qcourse.classroom.census import tree
from qcourse.classroom.remote import Proxy, Remote
said = {{}}
"""


def told_by(script, bare):
    """What a judge's script notes in `said`: PRELUDE, with or without namespaces, in a process of its own."""
    whole = PRELUDE.format(bare=bare) + script + "print(json.dumps(said))"
    result = subprocess.run([sys.executable, "-c", whole], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def solved():
    """Lab 01 with every task right, without the figures that close it."""
    return notebook(SOURCE.replace(BEGIN, "").replace(END, ""))


def starter():
    """Lab 01 as it is handed out."""
    return notebook(strip(SOURCE, "01"))


def add(book, code, first=False):
    """The notebook with one more code cell, after the imports or at the end."""
    at = 2 if first else len(book.cells)
    book.cells.insert(at, nbformat.v4.new_code_cell(code, id=f"extra{at}"))
    return book


def text(book):
    """The bytes of its file."""
    return nbformat.writes(book).encode()


def command(*args):
    """The `qcourse grade` command line as a list."""
    return [sys.executable, "-W", "error", "-c", SCRIPT, "grade", *map(str, args)]


def run_grade(*args, code=0):
    """Run it; returns what it printed."""
    result = subprocess.run(command(*args), cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def rows(out):
    """grades.csv by student."""
    with open(out / "grades.csv", newline="", encoding="utf-8") as f:
        return {row["student"]: row for row in csv.DictReader(f)}


def stored(out):
    """The kept results by student."""
    found = [json.loads(p.read_text()) for p in (out / ".results").glob("*.json")]
    return {r["student"]: r for r in found if "student" in r}


@pytest.fixture(scope="session")
def task_ids():
    return [f"01.{n}" for n in range(1, len(re.findall(BEGIN, SOURCE)) + 1)]
