"""Each student a patient of the clinic (lab 13): a table student → number, made from a roster, read by the grader.

    qcourse patients roster.csv --out patients.csv          names → student,patient
    qcourse grade SUBMISSIONS --out REPORT --patients patients.csv

A number draws a patient whole (`study.clinic`), so the table is all that has to be kept; the class's own number makes
those of two years different. Whom a submission belongs to is the grader's question (`names.owner`); here only names are
compared.
"""

import csv
import re
from pathlib import Path

from qcourse.classroom.names import readable
from qcourse.study.numbered import MOST, for_student

HEAD = ("student", "patient")
HEADER = re.compile(r"(full|first|last|user|student)?[ _]?(students?|name|id|user|username|e-?mail)")
LAB = "13"  # whose last task is the patient
LMS_NUMBER = re.compile(r" \(\d+\)$")


def read_roster(path: Path) -> list[str]:
    """Names in order: the first column of a .csv file, each line of any other; a header is passed over.

    Raises FileNotFoundError, or ValueError for a file that is no text, holds no name, one twice, or one that a spreadsheet
    would take for a formula.
    """
    rows = table_of(path, path.suffix.lower() == ".csv")
    names = [row[0] for row in rows[bool(rows) and HEADER.fullmatch(rows[0][0].lower()) is not None :]]
    if not names:
        raise ValueError(f"{path}: no name in it; a text file with a student a line expected, or a .csv")
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise ValueError(f"{path}: {twice[0]!r} stands there more than once; two students need two names")
    if odd := [n for n in names if n[0] in "=+-@"]:
        raise ValueError(f"{path}: {odd[0][:80]!r} begins as a spreadsheet's formula does; a name expected")
    return names


def hand_out(names: list[str], class_number: int) -> dict[str, int]:
    """name → number of the patient."""
    return {name: for_student(name, class_number) for name in names}


def write_table(path: Path, patients: dict[str, int]) -> None:
    """student,patient. Raises FileExistsError: students work on the numbers that were handed out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "x", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([HEAD, *patients.items()])


def read_table(path: Path) -> dict[str, int]:
    """What `write_table` wrote. Raises FileNotFoundError, or ValueError naming the line that is none of it."""
    rows = table_of(path, True)
    if not rows or tuple(rows[0]) != HEAD:
        raise ValueError(f"{path}: the first line must be {','.join(HEAD)}, as `qcourse patients` writes it")
    found: dict[str, int] = {}
    for row in rows[1:]:
        number = row[1] if len(row) == 2 and re.fullmatch(r"[0-9]{1,10}", row[1]) else ""
        if not number or int(number) >= MOST or row[0] in found:
            why = "a second time" if row[0] in found else f"a name and a number below {MOST} expected"
            raise ValueError(f"{path}: {','.join(row)[:80]!r}: {why}")
        found[row[0]] = int(number)
    return found


def table_of(path: Path, is_csv: bool) -> list[list[str]]:
    """The rows of a text or CSV file, names as the grader spells them (`names.readable`); empty lines are left out.

    Raises ValueError for a file that is none, and for a row without a name.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            lines = f.read().splitlines()
            semicolons = any(";" in line for line in lines) and not any("," in line for line in lines)
            rows = csv.reader(lines, delimiter=";" if semicolons else ",", strict=True) if is_csv else ([x] for x in lines)
            rows = [[cell.strip() for cell in row] for row in rows]
    except (UnicodeDecodeError, csv.Error) as e:
        raise ValueError(f"{path} cannot be read as text ({e}); a CSV in UTF-8 expected") from None
    rows = [row for row in rows if any(row)]
    if nameless := [row for row in rows if not row[0]]:
        raise ValueError(f"{path}: {','.join(nameless[0])[:80]!r}: a name in the first column expected")
    return [[readable(row[0]), *row[1:]] for row in rows]


def patient_of(patients: dict[str, int], student: str, lms: bool = False) -> int | None:
    """A student's number, by the name as the grader has it; from an LMS, also without its number. None: unknown."""
    return patients.get(student, patients.get(LMS_NUMBER.sub("", student)) if lms else None)


def without_work(patients: dict[str, int], results: list[dict]) -> list[str]:
    """The names of a table that no graded notebook of LAB was found for: not handed in yet, or spelled otherwise."""
    known = {r["student"] for r in results if r["lab"] == LAB}
    return [name for name in patients if name not in known | {LMS_NUMBER.sub("", student) for student in known}]
