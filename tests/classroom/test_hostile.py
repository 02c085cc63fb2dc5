"""The whole hostile set, graded by one command: each gets its grade or a clear reason, and the others are unaffected."""

import hashlib
import json
import os
import re
import socket
import sys
import zipfile

import pytest
from conftest import ROOT, add, rows, run_grade, solved, stored, text
from hostile_set import CASES, LINES, SPY

LIMITS = ["--cell-seconds", "6", "--task-seconds", "6", "--grace", "2", "--memory-mb", "512", "--message-mb", "16"]


def tree(folder):
    return {
        p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file() and p.stat().st_size < 1e7
    }


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Everything in one folder, one command; what it printed, the report's folder, and what a spy's port heard."""
    base = tmp_path_factory.mktemp("class")
    folder, out = base / "submissions", base / "out"
    folder.mkdir()
    for name, (data, _) in CASES.items():
        (folder / f"{name}.ipynb").write_bytes(data)
    (folder / "torn.ipynb").write_bytes(text(solved())[:5000])
    (folder / "empty.ipynb").touch()
    (folder / "deep.ipynb").write_bytes(b"[" * 100_000)
    (folder / "latin.ipynb").write_bytes('{"cells": ["é"]}'.encode("latin-1"))
    with open(folder / "huge.ipynb", "wb") as f:
        f.truncate(200 * 2**20)  # sparse
    (folder / "link.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "other lab.ipynb").write_bytes(text(solved()).replace(b"01.", b"77."))
    (folder / "<img src=x onerror=alert(1)>.ipynb").write_bytes(text(solved()))
    (folder / "=HYPERLINK(1).ipynb").write_bytes(text(solved()))
    with open(os.fsencode(folder) + b"/andr\xe9.ipynb", "wb") as f:
        f.write(text(solved()))
    (folder / "essay").mkdir()
    (folder / "essay" / "essay.pdf").write_bytes(b"%PDF")
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_fake_quant.ipynb", b" " * (100 * 2**20))
    with zipfile.ZipFile(folder / "climber.zip", "w") as archive:
        archive.writestr("../../climbed.ipynb", text(solved()))
    places = [ROOT / "solutions", ROOT / "tests", ROOT / "qcourse/checks/lab01/__init__.py", ROOT / ".git", folder,
              folder / "good.ipynb", out, base, "/etc/shadow", os.path.expanduser("~/.ssh"), "/tmp/owned"]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server:
        spy = SPY.format(places=list(map(str, places)), port=server.getsockname()[1], pid=os.getpid())
        (folder / "spy.ipynb").write_bytes(text(add(solved(), spy)))
        before, os.environ["QCOURSE_TEST_SECRET"] = tree(folder), "1"
        try:
            said = run_grade(folder, "--out", out, "--workers", 2, "--seed", 5, *LIMITS)
        finally:
            del os.environ["QCOURSE_TEST_SECRET"]
        assert tree(folder) == before
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert not list(base.rglob("owned")) and not list(base.parent.rglob("climbed.ipynb"))
    return said, out


@pytest.mark.parametrize("name", [*CASES, "spy"])
def test_each_gets_its_grade(graded, name, task_ids):
    _, out = graded
    result, lost = stored(out)[name], CASES.get(name, (b"", set()))[1]
    scores = {t["id"]: t["score"] for t in result["tasks"]}
    assert {task for task in task_ids if scores[task] < 1} == lost, result
    assert all(scores[task] < 1 for task in lost) and rows(out)[name]["status"] == "graded"


@pytest.mark.parametrize("name", [name for name in CASES if name != "fork bomb"])  # which of its processes fails is a race
def test_each_reaches_the_line_it_is_about(graded, name):
    result = stored(graded[1])[name]
    if name in LINES:
        assert re.search(LINES[name], json.dumps(result, ensure_ascii=False)), result
    else:
        assert result["errors"] == [] and not [n for n in result["notes"] if "left out" in n]


def test_the_tree_is_ended_near_its_limit(graded):
    """Looked at twenty times a second: ten forks of 98 MB, 980 together, are ended soon after 512."""
    for name in ("ten forks", "sockets"):
        used = [int(n) for n in re.findall(r"took (\d+) MB", " ".join(stored(graded[1])[name]["notes"]))]
        assert used and min(used) > 512


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torn", "not JSON"),
        ("empty", "it is empty"),
        ("deep", "not JSON"),
        ("latin", "not UTF-8"),
        ("huge", "200.0 MB; at most 20 MB"),
        ("link", "a link, not a file"),
        ("pipe", "not an ordinary file"),
        ("other lab", "lab 77 has no tasks"),
        ("essay", "no notebook"),
        ("bomb", "unpacked; at most"),
        ("climber", "leads out of the archive"),
    ],
)
def test_what_cannot_be_graded_says_why(graded, name, reason):
    row = rows(graded[1])[name]
    assert row["status"] == "refused" and reason in row["reason"] and row["total"] == "0"


@pytest.mark.parametrize(
    ("name", "outcome", "words"),
    [
        ("loops", "raised", "no answer within"),
        ("loops and swallows", "raised", "no answer within"),
        ("exits", "raised", "ended itself with exit code 0"),
        ("crashes", "raised", "segmentation fault"),
        ("kills itself", "raised", "killed"),
        ("memory bomb", "raised", "Memory"),
        ("bomb of shared pages", "raised", ""),
        ("deleted function", "not attempted", "defines no function `dequantize`"),
        ("syntax error", "not attempted", "defines no function `dequantize`"),
        ("changes its input", "wrong", "modified its input"),
        ("huge answer", "raised", "at most"),
    ],
)
def test_the_student_reads_what_happened(graded, name, outcome, words):
    task = next(t for t in stored(graded[1])[name]["tasks"] if t["id"] == "01.2")
    assert task["outcome"] == outcome and words in task["message"]


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("exits in a cell", "was left out: the process ended itself with exit code 0"),
        ("floods", "the rest was dropped"),
        ("loops in a cell", "never ended"),
        ("syntax error", "SyntaxError"),
        ("duplicated cells", "cells occur twice"),
        ("python 2", "a Python 2 notebook"),
    ],
)
def test_the_teacher_reads_what_was_odd(graded, name, note):
    assert note in rows(graded[1])[name]["reason"]


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's; elsewhere the report says what is not in force")
def test_a_spy_sees_nothing(graded):
    said, out = graded
    assert "isolation: namespaces" in said, "no namespaces here"
    assert stored(out)["spy"]["errors"] == []


def test_names_do_no_harm(graded):
    said, out = graded
    table = rows(out)
    assert table["'=HYPERLINK(1)"]["total"] == table["andr\\xe9"]["total"] == table["good"]["total"]
    pages = [p.read_text() for p in [out / "summary.html", *(out / "feedback").iterdir()]]
    assert not [p for p in pages if "<img" in p] and "&lt;img src=x" in pages[0]
    assert len(pages) == 1 + len(table) and "Traceback" not in said


def test_no_student_reads_of_another(graded):
    names = [n for n in CASES if len(n) > 8]
    for page in (graded[1] / "feedback").iterdir():
        html = page.read_text()
        others = [n for n in names if n in html and f"<h1>{n}</h1>" not in html]
        assert not others, (page.name, others)


def test_nothing_is_graded_twice(graded):
    _, out = graded
    before = {p: p.stat().st_mtime_ns for p in (out / ".results").glob("*.json")}
    table = (out / "grades.csv").read_text()
    folder = out.parent / "submissions"
    run_grade(folder, "--out", out, *LIMITS)
    assert {p: p.stat().st_mtime_ns for p in (out / ".results").glob("*.json")} == before
    assert (out / "grades.csv").read_text() == table
