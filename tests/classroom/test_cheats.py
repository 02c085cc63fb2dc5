"""Answers made to cost the judge more than the student, and notebooks made to take the other students' time."""

import re
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import add, rows, run_grade, solved, starter, stored, text

from qcourse.checks.judge import judge
from qcourse.checks.task import TASKS
from qcourse.classroom.codec import HEADER, CodecError, decode
from qcourse.classroom.isolation import PACKAGE, SECRETS, visible
from qcourse.classroom.remote import MOST_ERRORS
from qcourse.classroom.submissions import DEEPEST, MOST, collect
from qcourse.classroom.worker import MOST_TEXT

MB = 1 << 20
FORGED = """
import qcourse.classroom.student as student
student.answer = lambda shell, asked, request: {REPLY}
"""
HEADER_BOMB = """
import qcourse.classroom.student as student, qcourse.classroom.codec as codec
usual = student.encode
def encode(value):
    if isinstance(value, dict) and value.get("value") == "bomb":
        header = b"[" + b"{}," * 15_000_000 + b"{}]"
        return len(header).to_bytes(4, "little") + header
    return usual(value)
student.encode = encode
def dequantize(codes, scale): return "bomb"
"""
BURNS = """
import os, time
for _ in range(50):
    if os.fork() == 0:
        while True: pass
time.sleep(60)
"""
SEARCH = """
import gc, os, sys, types, importlib.util
found, frame = [], sys._getframe()
while frame:
    found += [name for name in frame.f_locals if name in ("expected", "seed", "task", "judge")]
    frame = frame.f_back
found += [f.__qualname__ for f in gc.get_objects() if isinstance(f, types.FunctionType) and ".checks." in str(f.__module__)]
for path in PATHS:
    try:
        spec = importlib.util.spec_from_file_location("stolen", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec)); found.append(path)
    except OSError:
        pass
searched = set()
for top in ("/", COURSE):
    for folder, inside, files in os.walk(top):
        inside[:] = [d for d in inside if os.path.join(folder, d) not in OPEN]  # what lies there differs between machines
        searched.add(folder)
        found += [f"{folder}/{f}" for f in files if f.startswith(("01_fake", "lab01", "per_channel."))
                  and "starters" not in folder]
assert {COURSE, "/tmp/home"} <= searched or "/tmp/home" not in os.getcwd(), searched
for index, target in enumerate(("/proc/1/root", "/proc/1/cwd", "/proc/1/mem", "../../../..")):
    os.symlink(target, f"link{index}")
    try:
        found += [name for name in os.listdir(f"link{index}") if name in ("home", "boot", "srv")]
    except OSError:
        pass
assert not found, found
"""


def many_errors():
    book = solved()
    extra = [nbformat.v4.new_code_cell("raise Exception('x' * 4000)", id=f"e{i}") for i in range(3 * MOST_ERRORS)]
    book.cells += extra
    return text(book)


LIMITS = ["--seed", 4, "--cell-seconds", 20, "--task-seconds", 10, "--grace", 2]


def paths_of(checks):
    return [str(p) for p in (checks / "lab01" / "linear.py", *checks.glob("lab01/__pycache__/*.pyc"))]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    base = tmp_path_factory.mktemp("cheats")
    folder, out = base / "in", base / "out"
    folder.mkdir()
    checks = SECRETS[0]
    assert (checks / "lab01" / "linear.py").exists()
    shown = {str(p) for p in visible() if p != PACKAGE} | {"/proc", "/sys", "/dev"}
    search = (
        SEARCH.replace("PATHS", repr(paths_of(checks))).replace("OPEN", repr(shown)).replace("COURSE", repr(str(PACKAGE)))
    )
    replies = {
        "echoes": '{"ok": True, "value": request["args"][0], "changed": {0: request["args"][0] * 0, 1: None, 9: 1}}',
        "claims a change": '{"ok": False, "kind": "ModifiedInput", "message": "not a number", "traceback": ""}',
        "numbers": '{"ok": True, "value": 10**4000}',
        "infinite": '{"ok": True, "value": float("inf"), "written": 10**4000}',
    }
    cheats = {name: text(add(starter(), FORGED.replace("{REPLY}", reply))) for name, reply in replies.items()}
    long = "def dequantize(codes, scale): return tuple(['long' * 30] * 100_000)"
    slow = [f"import time; time.sleep({s})" for s in (6, 6)]  # more than a task's time, less than a cell's
    cheats |= {
        "header bomb": text(add(solved(), HEADER_BOMB)),
        "empty": text(add(solved(), "def dequantize(codes, scale): return __import__('torch').empty((1 << 28, 0))")),
        "long": text(add(solved(), long)),
        "searches": text(add(solved(), search)),
        "many errors": many_errors(),
        "slow before": text(add(add(solved(), slow[0]), slow[1])),
        "burns": text(add(solved(), BURNS)),
    }
    for name, data in cheats.items():
        (folder / f"{name}.ipynb").write_bytes(data)
    said = run_grade(folder, "--out", out, "--workers", 2, *LIMITS)
    assert "Traceback" not in said, said
    return out


@pytest.mark.parametrize("name", ["echoes", "claims a change", "numbers", "infinite"])
def test_a_forged_answer_is_worth_nothing(graded, name):
    assert rows(graded)[name]["total"] == "0" and rows(graded)[name]["status"] == "graded"


@pytest.mark.parametrize("name", ["header bomb", "empty", "long"])
def test_an_answer_costs_its_own_task_only(graded, name):
    scores = {t["id"]: t["score"] for t in stored(graded)[name]["tasks"]}
    assert [task for task, score in scores.items() if score < 1] == ["01.2"]
    assert all(len(t["message"]) < MOST_TEXT + 10 for t in stored(graded)[name]["tasks"])


@pytest.mark.parametrize("name", ["slow before", "burns", "searches", "many errors"])
def test_what_a_notebook_does_before_its_tasks_is_not_on_their_time(graded, name):
    result, row = stored(graded)[name], rows(graded)[name]
    assert row["status"] == "graded" and row["total"] == row["max"], result
    if name == "burns":  # stopped by its own process, or with it, where the fifty leave it no time to answer
        assert "never ended" in row["reason"] or "left out" in row["reason"]
    else:
        assert len(result["errors"]) == (MOST_ERRORS if name == "many errors" else 0), result["errors"]


def test_the_head_of_a_message_is_limited_before_it_is_parsed():
    bomb = b"[" + b"{}," * (HEADER // 3) + b"{}]"
    with pytest.raises(CodecError, match="at most"):
        decode(len(bomb).to_bytes(4, "little") + bomb, HEADER)


@pytest.mark.parametrize(
    "answer",
    [10**400, (10**400,) * 3, {"k" * 10**6: 1}, torch.empty(1 << 28, 0), torch.zeros(3).to(torch.float8_e5m2), 1j,
     np.array([None]), torch.full((4, 1), torch.nan), torch.eye(3).to_sparse()],
    ids=range(9),
)  # fmt: skip
@pytest.mark.parametrize("task", [t for t in TASKS if t != "08.3"])
def test_the_judge_survives_any_answer_and_writes_little(task, answer):
    result = judge(TASKS[task], lambda *args: answer, 3)
    assert result.outcome in ("wrong", "raised") and result.score < 0.5 and len(result.message) < 20_000


def test_handing_the_arguments_back_folds_nothing():
    assert judge(TASKS["03.5"], lambda gain, weights, s: (gain, weights), 3).score == 0


def test_a_remembered_answer_is_of_no_use_in_the_race():
    race = next(p for p in TASKS["08.3"].properties if "fast" in p.name)
    cases = race.cases(torch.Generator().manual_seed(0))
    (x, words, *_), (x2, words2, *_) = next(cases), next(cases)
    assert not torch.equal(x, x2) and not torch.equal(words, words2)


def test_a_flood_of_notebooks_is_one_row(tmp_path):
    with zipfile.ZipFile(tmp_path / "ann.zip", "w") as archive:
        for i in range(MOST + 1):
            archive.writestr(f"{i}.ipynb", "{}")
    (tmp_path / "bob.ipynb").write_text("{}")
    found = {f.student: f.problem for f in collect(tmp_path, MB)}
    assert found == {"ann": f"{MOST + 1} notebooks; at most {MOST} are read", "bob": None}


def test_folders_that_cannot_be_walked_say_so(tmp_path, monkeypatch):
    import os

    (tmp_path / "bob.ipynb").write_text("{}")
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "locked").mkdir()
    Path(tmp_path, "deep", *"x" * (DEEPEST + 5)).mkdir(parents=True)
    usual = os.scandir
    refused = PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "scandir", lambda p: (_ for _ in ()).throw(refused) if str(p).endswith("locked") else usual(p))
    found = {f.student: f.problem or "" for f in collect(tmp_path, MB)}
    assert found["bob"] == "" and "not followed" in found["link"]
    assert "Permission denied" in found["locked"] and f"more than {DEEPEST} folders" in found["deep"]


def test_when_the_time_is_used_up_no_task_is_blamed(tmp_path):
    (tmp_path / "in").mkdir()
    endless = add(add(solved(), "while True: pass", first=True), "while True: pass")
    (tmp_path / "in" / "ann.ipynb").write_bytes(text(endless))
    run_grade(tmp_path / "in", "--out", tmp_path / "out", "--cell-seconds", 4, "--total-seconds", 6, "--seed", 1)
    result, row = stored(tmp_path / "out")["ann"], rows(tmp_path / "out")["ann"]
    assert {t["outcome"] for t in result["tasks"]} == {"not attempted"} and row["total"] == "0"
    for task in result["tasks"]:
        assert re.search(r"time \(6 s\) was used up .* Cells that took all their time: \d+", task["message"]), task
        assert "never ends" not in task["message"]
    page = (tmp_path / "out" / "summary.html").read_text()
    for place in (row["reason"], page[page.index("What needs a look") :]):
        assert re.search(r"cell \[\d+\] never ended", place)


def test_calls_of_the_package_are_for_the_teacher_to_see(tmp_path):
    (tmp_path / "in").mkdir()
    calls = "import qcourse.numerics.quantize as q\nright = dequantize\ndef dequantize(codes, scale):\n    try:\n"
    calls += "        q.quantize(codes.float(), None)\n    except Exception:\n        pass\n"
    (tmp_path / "in" / "ann.ipynb").write_bytes(text(add(solved(), calls + "    return right(codes, scale)")))
    (tmp_path / "in" / "bob.ipynb").write_bytes(text(solved()))
    run_grade(tmp_path / "in", "--out", tmp_path / "out", "--seed", 1)
    table = rows(tmp_path / "out")
    assert "01.2 calls the package: qcourse.numerics.quantize.quantize" in table["ann"]["reason"]
    assert table["ann"]["total"] == table["ann"]["max"] and table["bob"]["reason"] == ""  # information, no points
    pages = {p.name[:3]: p.read_text() for p in (tmp_path / "out" / "feedback").iterdir()}
    assert "calls the package" not in pages["ann"]
    assert "calls the package" in (tmp_path / "out" / "summary.html").read_text()
