"""What a teacher opens: grades.csv, one feedback page a student, and the class on one page."""

import csv
import io
import shutil
import unicodedata
from collections import defaultdict
from pathlib import Path

from qcourse.classroom.names import visible
from qcourse.classroom.pages import class_page, page_name, points, remarks, student_page, total
from qcourse.classroom.results import write


def write_report(out: Path, results: list[dict], labs: dict[str, list[dict]]) -> None:
    """Write OUT/grades.csv, OUT/summary.html and OUT/feedback/*.html from the results; pages of an earlier run go."""
    write(out / "grades.csv", grades_csv(results, labs))
    write(out / "summary.html", class_page(results, labs))
    folder = out / "feedback"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    of_student = defaultdict(list)
    for result in results:
        of_student[result["student"]].append(result)
    for student, own in of_student.items():
        write(folder / page_name(student), student_page(student, own))


def grades_csv(results: list[dict], labs: dict[str, list[dict]]) -> str:
    """One row a student and lab; a column for every task of the labs that occur; empty where a task is another lab's."""
    used = sorted({r["lab"] for r in results} & labs.keys())
    columns = [t["id"] for lab in used for t in labs[lab]]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["student", "lab", *columns, "total", "max", "status", "reason"])
    for r in results:
        got = {t["id"]: f"{points(t):g}" for t in r["tasks"]}
        reached, most = total(r)
        cells = [
            r["student"],
            r["lab"],
            *(got.get(c, "") for c in columns),
            f"{reached:g}",
            f"{most:g}",
            r["status"],
            remarks(r),
        ]
        rows.writerow([harmless(c) for c in cells])
    return text.getvalue()


def harmless(cell: str) -> str:
    """A cell of one line that no spreadsheet takes for a formula, and that nothing in it can rewrite.

    >>> harmless('=HYPERLINK("http://x")')
    '\\'=HYPERLINK("http://x")'
    """
    line = visible(cell).replace("\n", " ").replace("\t", " ")
    return f"'{line}" if unicodedata.normalize("NFKC", line).lstrip().startswith(("=", "+", "-", "@")) else line
