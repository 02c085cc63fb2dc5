"""The report: numbers that a spreadsheet reads as numbers, pages that show a student only their own."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest

from qcourse.classroom.pages import class_page, page_name, student_page, total
from qcourse.classroom.report import grades_csv, write_report
from qcourse.classroom.style import histogram

LABS = {"01": [{"id": "01.1", "title": "a <b>", "points": 4}, {"id": "01.2", "title": "c", "points": 2}],
        "02": [{"id": "02.1", "title": "d", "points": 3}]}  # fmt: skip


def result(student, lab="01", scores=(1.0, 0.5), **more):
    tasks = [t | {"outcome": "right" if s == 1 else "wrong", "score": s, "passed": {"zeros & <ones>": s == 1},
                  "mistake": None if s == 1 else "max instead of absmax", "message": "<script>alert(1)</script>"}
             for t, s in zip(LABS[lab], scores, strict=False)]  # fmt: skip
    base = {"student": student, "lab": lab, "file": "x.ipynb", "status": "graded", "reason": "", "notes": [], "errors": []}
    return base | {"tasks": tasks, "isolation": ["limits only"]} | more


RESULTS = [result("ann"), result("ann", "02", (1 / 3,)), result("=1+1", notes=["@odd"]), result("<script>", reason="torn")]


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader.tags


def test_grades_are_numbers_and_names_are_not_formulas():
    rows = list(csv.DictReader(io.StringIO(grades_csv(RESULTS, LABS))))
    assert list(rows[0]) == ["student", "lab", "01.1", "01.2", "02.1", "total", "max", "status", "reason"]
    assert (rows[0]["01.1"], rows[0]["01.2"], rows[0]["02.1"], rows[0]["total"], rows[0]["max"]) == ("4", "1", "", "5", "6")
    assert rows[1]["02.1"] == rows[1]["total"] == "1"
    assert rows[2]["student"] == "'=1+1" and rows[2]["reason"] == "'@odd"
    assert all(float(r["total"]) <= float(r["max"]) for r in rows)


@pytest.mark.parametrize(
    "html", [class_page(RESULTS, LABS), student_page("<script>", [RESULTS[3]]), student_page("a", RESULTS[:2])]
)
def test_pages_are_whole_escaped_and_self_contained(html):
    tags = read(html)
    assert not [t for t, _ in tags if t in ("script", "link", "iframe", "img", "object")]
    assert not [a for _, attrs in tags for a in attrs.values() if re.match(r"https?:|//|javascript:", a or "")]
    assert "viewport" in html and "prefers-color-scheme: dark" in html and "url(" not in html


def test_the_class_page_counts_misconceptions_and_shows_every_task():
    html = class_page(RESULTS, LABS)
    assert html.count("<svg") == 3 and "max instead of absmax" in html and "torn" in html and "limits only" in html


def test_a_histogram_holds_everybody():
    html = histogram([0.0, 0.19, 0.2, 0.99, 1.0, 1.0], "t")
    assert sum(int(n) for n in re.findall(r'text-anchor="middle">(\d+)</text>', html)) == 6
    assert "100 %" in html


def test_files_on_disk(tmp_path):
    (tmp_path / "feedback").mkdir()
    (tmp_path / "feedback" / "gone.html").touch()
    write_report(tmp_path, RESULTS, LABS)
    assert {p.name for p in (tmp_path / "feedback").iterdir()} == {page_name(s) for s in ("ann", "=1+1", "<script>")}
    ann = (tmp_path / "feedback" / page_name("ann")).read_text()
    assert "Lab 01" in ann and "Lab 02" in ann and "=1+1" not in ann


def test_names_that_look_alike_have_pages_of_their_own():
    assert page_name("Jo/an") != page_name("Jo an") and re.fullmatch(r"[\w-]+\.html", page_name("../\u2603" * 50))


def test_partial_credit_adds_up():
    assert total(result("x", scores=(0.25, 0.5))) == (2.0, 6)


def test_a_row_is_a_line_and_no_cell_is_a_formula():
    bad = [
        "a\rb",
        "a\nb",
        "a\r\nb",
        "=1",
        "+1",
        "-1",
        "@x",
        " =1",
        "\t=1",
        "\uff1d1",
        "\u202e=1",
        'a","b',
        "a;b",
        "\x00",
        "\u2028",
    ]
    text = grades_csv([result(name, reason=name, notes=[name], look=[name]) for name in bad], LABS)
    lines = text.splitlines()
    assert len(lines) == len(bad) + 1 and all(c.isprintable() for line in lines for c in line)
    for row in list(csv.reader(io.StringIO(text)))[1:]:
        assert len(row) == 8 and row[:1] != [""]
        assert not row[0].lstrip(" \u3000").startswith(("=", "+", "-", "@", "\uff1d")), row


def test_a_teacher_reads_what_a_student_does_not():
    one = result("ann", look=["this name looks like bob: one student, or two?"], notes=["cell [3] never ended"])
    assert "bob" in class_page([one], LABS) and "bob" in grades_csv([one], LABS)
    page = student_page("ann", [one])
    assert "bob" not in page and "never ended" in page
