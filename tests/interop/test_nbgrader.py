"""The real nbgrader takes lab 01 as it is, collects two submissions, autogrades, exports; its scores are ours.

`make interop-classroom`. Nothing of nbgrader is replaced: its own command line, from `generate_assignment` to `export`.
"""

import csv
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader")

from tools.labs import ROOT, cells, solve, starter

LAB, NOTEBOOK = "lab01", "01_fake_quant"
SOURCE = (ROOT / "solutions" / f"{NOTEBOOK}.py").read_text(encoding="utf-8")
MISTAKES = (("W.abs().amax(dim=1", "W.amax(dim=1"), ("codes.float() * scale.float()", "codes.float() / scale.float()"))


def nbgrader(course, *args):
    command = [sys.executable, "-m", "nbgrader", *args]
    result = subprocess.run(command, cwd=course, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def submission(release: Path, student: str) -> str:
    """The released notebook, worked on: ann solves it; bob makes two mistakes, leaves one task, changes a locked check."""
    book = nbformat.read(release, as_version=4)
    solved = [text for kind, text in cells(solve(SOURCE)) if kind == "code"]
    code = [c for c in book.cells if c.cell_type == "code"]
    assert len(code) == len(solved)
    for cell, text in zip(code, solved, strict=True):
        if "raise NotImplementedError" not in cell.source or (student == "bob" and "def mse_scale" in cell.source):
            continue
        for right, wrong in MISTAKES if student == "bob" else ():
            text = text.replace(right, wrong)
        cell.source = text
    if student == "bob":
        code[-1].source = "check = lambda *args: 100"
        next(c for c in code if c.source.startswith('check("01.1"')).source = "4"
    return nbformat.writes(book)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder after nbgrader's whole pipeline."""
    course = tmp_path_factory.mktemp("course")
    (course / "nbgrader_config.py").write_text((ROOT / "docs" / "nbgrader_config.py").read_text())
    (course / "source" / LAB).mkdir(parents=True)
    (course / "source" / LAB / f"{NOTEBOOK}.ipynb").write_text(starter(SOURCE, "01"), encoding="utf-8")
    nbgrader(course, "generate_assignment", LAB)
    archive = course / "downloaded" / LAB / "archive"
    archive.mkdir(parents=True)
    for number, student in enumerate(("ann", "bob")):
        book = submission(course / "release" / LAB / f"{NOTEBOOK}.ipynb", student)
        (archive / f"{student}_{number}7_{number}99_{NOTEBOOK}-1.ipynb").write_text(book, encoding="utf-8")
    nbgrader(course, "zip_collect", LAB)
    nbgrader(course, "autograde", LAB)
    nbgrader(course, "export", "--to", "grades.csv")
    return course


def test_what_is_released_is_what_was_written(course):
    """nbgrader empties its own kind of solution cells; ours keep their signature, docstring and message."""
    source = nbformat.read(course / "source" / LAB / f"{NOTEBOOK}.ipynb", as_version=4)
    release = nbformat.read(course / "release" / LAB / f"{NOTEBOOK}.ipynb", as_version=4)
    assert [c.source for c in release.cells] == [c.source for c in source.cells]
    locked = [c for c in release.cells if c.metadata.get("nbgrader", {}).get("grade")]
    assert len(locked) == 6 and all(c.source.startswith("check(") and not c.metadata["editable"] for c in locked)


def test_nbgrader_and_we_agree(course, tmp_path):
    script = "import sys; from qcourse.classroom import grade; grade(*sys.argv[1:], progress=False)"
    subprocess.run([sys.executable, "-c", script, course / "submitted", tmp_path / "out"], cwd=ROOT, check=True, timeout=900)
    with open(tmp_path / "out" / "grades.csv", newline="") as f:
        ours = {row["student"]: row for row in csv.DictReader(f)}
    with open(course / "grades.csv", newline="") as f:
        theirs = {row["student_id"]: row for row in csv.DictReader(f) if row["assignment"] == LAB}
    assert set(ours) == set(theirs) == {"ann", "bob"}
    for student in ours:
        assert float(ours[student]["max"]) == float(theirs[student]["max_score"])
        assert float(ours[student]["total"]) == pytest.approx(float(theirs[student]["score"]))
    assert float(ours["ann"]["total"]) == float(ours["ann"]["max"]) > float(ours["bob"]["total"]) > 0
    points = by_task(course)
    for student in ours:
        assert points[student] == {t: pytest.approx(float(ours[student][t])) for t in points[student]}


def by_task(course):
    """nbgrader's score of each check cell, by student and task."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        return {
            s.student.id: {f"01.{g.name.split('-')[1]}": g.score for n in s.notebooks for g in n.grades}
            for s in book.assignment_submissions(LAB)
        }
