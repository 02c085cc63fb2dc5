"""A whole class's download from an LMS, every lab that has tasks; and what becomes of odd ones."""

import json
import re
import zipfile

import pytest
from conftest import ROOT, add, rows, run_grade, solved, text

from qcourse.classroom.grade import Unit, complete, plan, refusal
from qcourse.classroom.limits import Limits
from qcourse.classroom.results import Store
from qcourse.classroom.submissions import Found, collect
from tools.labs import notebook, solve

SOURCES = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.py"))
LABS = {"01": [{"id": "01.1", "title": "t", "points": 4}], "02": []}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Canvas's zip: jane solved every lab, and handed lab 01 in twice, the wrong one first; li handed in late, and a PDF."""
    base = tmp_path_factory.mktemp("lms")
    with zipfile.ZipFile(base / "download.zip", "w") as archive:
        for source in SOURCES:
            book = text(notebook(solve(source.read_text(encoding="utf-8"))))
            archive.writestr(f"doejane_11_21_{source.stem}-{'2' if source.stem[:2] == '01' else '1'}.ipynb", book)
        archive.writestr("doejane_11_20_01_fake_quant-1.ipynb", text(solved()).replace(b"127", b"128"))
        archive.writestr("li_LATE_12_22_01_fake_quant.ipynb", text(add(solved(), "1/0")))
        archive.writestr("ng_13_23_essay.pdf", b"%PDF")
    run_grade(base / "download.zip", "--out", base / "out", "--seed", 1)
    return base / "out"


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_a_solved_lab_has_full_marks_in_the_sandbox(report, source):
    results = [json.loads(p.read_text()) for p in (report / ".results").glob("[0-9a-f]*.json")]
    mine = next(r for r in results if r["student"] == "doejane (11)" and r["lab"] == source.stem[:2])
    assert mine["errors"] == [] and len(mine["tasks"]) == len(
        re.findall("BEGIN SOLUTION", source.read_text(encoding="utf-8"))
    )
    assert [t["id"] for t in mine["tasks"] if t["outcome"] != "right"] == [], mine["tasks"]


def test_notes(report):
    table = (report / "grades.csv").read_text()
    assert "01_fake_quant-2.ipynb counts, not 01_fake_quant-1.ipynb" in table
    li = rows(report)["li (12)"]
    assert li["reason"] == "handed in late" and li["total"] == li["max"]
    assert "no notebook (.ipynb) among: essay.pdf" in rows(report)["ng (13)"]["reason"]


def test_a_page_a_student_with_every_lab(report):
    pages = {p.name.split("-")[0]: p.read_text() for p in (report / "feedback").iterdir()}
    assert set(pages) == {"doejane_11", "li_12", "ng_13"}
    assert all(f"<h2>Lab {s.stem[:2]}" in pages["doejane_11"] for s in SOURCES)
    assert "ZeroDivisionError" in pages["li_12"] and "Not graded." in pages["ng_13"]


def test_of_two_the_last_one_counts_and_a_broken_one_does_not_hide_a_good_one(tmp_path):
    book = b'{"cells": [{"cell_type": "code", "source": "check(\'01.1\', f)"}]}'
    (tmp_path / "a").mkdir()
    for name, data in (
        ("01_lab-1.ipynb", book),
        ("01_lab-2.ipynb", book + b" "),
        ("02_lab.ipynb", b"{"),
        ("notes.ipynb", b"{}"),
    ):
        (tmp_path / "a" / name).write_bytes(data)
    units = plan(collect(tmp_path, 1000), LABS, 1, Limits())
    assert [(u.lab, u.found.name, u.reason is None) for u in units] == [
        ("", "notes.ipynb", False), ("01", "01_lab-2.ipynb", True), ("02", "02_lab.ipynb", False)]  # fmt: skip
    assert units[1].notes == ("handed in more than once; 01_lab-2.ipynb counts, not 01_lab-1.ipynb",)


def test_a_failure_of_the_grader_is_not_the_students_and_is_not_kept(tmp_path):
    store = Store(tmp_path, 1)
    unit = Unit("a", "01", Found("a", "x.ipynb", tmp_path), "mark", None, ())
    result = complete(unit, {"failed": "the sandbox did not start"}, LABS, store)
    assert (result["status"], result["reason"]) == ("failed", "the sandbox did not start")
    assert store.get("a", "01", "mark") is None
    assert refusal(unit, LABS, "torn")["tasks"][0]["score"] == 0
