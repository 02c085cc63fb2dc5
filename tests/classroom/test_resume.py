"""kill -9 in the middle: nothing is lost, nothing is graded twice, nobody is left running."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress

import pytest
from conftest import ROOT, add, command, rows, run_grade, solved, stored, text

from qcourse.classroom.results import Store, fingerprint, write

STUDENTS = [f"student{i}" for i in range(6)]


def children(pid):
    """Every process below `pid`, by its id."""
    found, todo = [], [pid]
    while todo:
        folder = f"/proc/{todo.pop()}/task"
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            for thread in os.listdir(folder):
                with open(f"{folder}/{thread}/children") as f:
                    todo += (below := [int(p) for p in f.read().split()])
                    found += below
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def wait(condition, seconds=600.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_a_killed_grading_goes_on_where_it_was(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in STUDENTS:
        pause = 0 if name < "student3" else 5  # the grader is killed while it waits for the fourth, however busy it is here
        (folder / f"{name}.ipynb").write_bytes(text(add(solved(), f"import time\ntime.sleep({pause})")))
    grader = subprocess.Popen(command(folder, "--out", out, "--workers", 1, "--quiet"), cwd=ROOT)
    wait(lambda: len(list((out / ".results").glob("[0-9a-f]*.json"))) >= 3)
    wait(lambda: len(children(grader.pid)) >= 3)  # a judge, its zygote, a student
    below = children(grader.pid)
    grader.send_signal(signal.SIGKILL)
    grader.wait()
    done = stored(out)
    assert 2 <= len(done) < len(STUDENTS) and not (out / "grades.csv").exists()
    wait(lambda: not any(map(alive, below)))
    when = {p: p.stat().st_mtime_ns for p in (out / ".results").glob("[0-9a-f]*.json")}
    seed = json.loads((out / ".results" / "grading.json").read_text())

    run_grade(folder, "--out", out, "--quiet")
    assert {p: p.stat().st_mtime_ns for p in when} == when
    assert json.loads((out / ".results" / "grading.json").read_text()) == seed
    table = rows(out)
    assert list(table) == STUDENTS and {r["status"] for r in table.values()} == {"graded"}
    assert len({r["total"] for r in table.values()}) == 1 and float(table["student0"]["total"]) > 0

    (folder / "student0.ipynb").write_bytes(text(solved()).replace(b"127", b"128"))  # handed in again: only that one is new
    run_grade(folder, "--out", out, "--quiet")
    changed = [p for p in when if p.stat().st_mtime_ns != when[p]]
    assert len(changed) == 1 and float(rows(out)["student0"]["total"]) < float(table["student0"]["total"])


def test_folders_that_are_something_else(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ipynb").write_bytes(text(solved()))
    said = run_grade(tmp_path / "in", "--out", tmp_path / "mine", code=2)
    assert "not empty and not a grading of ours" in said and os.listdir(tmp_path / "mine") == ["thesis.tex"]
    with pytest.raises(ValueError, match="is a file"):
        Store(tmp_path / "in" / "a.ipynb", None)
    assert "lies inside" in run_grade(tmp_path / "in", "--out", tmp_path / "in" / "out", code=2)
    assert "a folder of notebooks, or the zip" in run_grade(tmp_path / "in" / "a.ipynb", "--out", tmp_path / "out", code=2)


def test_one_grader_a_folder_and_one_seed(tmp_path):
    with Store(tmp_path, 7).locked(), pytest.raises(ValueError, match="another `qcourse grade`"):
        Store(tmp_path, 7).locked().__enter__()
    with pytest.raises(ValueError, match="begun with seed 7"):
        Store(tmp_path, 8)
    assert Store(tmp_path, None).seed == 7


def test_a_result_is_valid_only_for_what_it_was_made_from(tmp_path):
    store, mark = Store(tmp_path, 1), fingerprint(b"book", 1, {"cell_seconds": 1})
    store.put({"student": "a", "lab": "01", "fingerprint": mark})
    assert store.get("a", "01", mark) and not store.get("a", "02", mark) and not store.get("b", "01", mark)
    for other in (fingerprint(b"edited", 1, {"cell_seconds": 1}), fingerprint(b"book", 2, {"cell_seconds": 1}),
                  fingerprint(b"book", 1, {"cell_seconds": 2})):  # fmt: skip
        assert store.get("a", "01", other) is None
    store.path("a", "01").write_text('{"student": "a", "fing')  # torn by hand: graded again, no crash
    assert store.get("a", "01", mark) is None
    write(tmp_path / "x", "\udce9")
    assert (tmp_path / "x").read_text() == "\\udce9"
