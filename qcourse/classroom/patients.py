"""Each student a patient of the clinic (lab 13): a table student → number, made from a roster, read by the grader.

    qcourse patients roster.csv --out patients.csv          a column of names → student,patient
    qcourse grade SUBMISSIONS --out REPORT --patients patients.csv

A number draws a patient whole (`study.clinic`), so the table is all that has to be kept; the class's own number makes
those of two years different. Whom a submission belongs to is the grader's question (`names.owner`); here only names are
compared.
"""

import csv
import hashlib
import re
import secrets
from pathlib import Path

HEAD = ("student", "patient")
NAMES = ("student", "name", "id", "user", "username", "email")  # what the first cell of a roster's header may say
MOST = 1 << 31  # numbers are below it, as study.clinic.for_student gives them
LAB = "13"  # whose last task is the patient
LMS_NUMBER = re.compile(r" \(\d+\)$")


def number_for(student: str, class_number: int) -> int:
    """The same as `study.clinic.for_student`, here without torch: a test compares them."""
    words = f"{class_number} {student}".encode()
    return int.from_bytes(hashlib.sha256(words).digest()[:8], "little") % MOST


def read_roster(path: Path) -> list[str]:
    """Names from the first column of a text or CSV file, in order; a header is passed over.

    Raises FileNotFoundError, or ValueError for a file that is no text, holds no name, or holds one twice.
    """
    rows = table_of(path)
    if rows and rows[0][0].lower() in NAMES:
        rows = rows[1:]
    names = [row[0] for row in rows]
    if not names:
        raise ValueError(f"{path}: no name in its first column; a text file with a student a line expected, or a CSV")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"{path}: {twice[0]!r} stands there more than once; two students need two names")
    return names


def hand_out(names: list[str], class_number: int | None = None) -> dict[str, int]:
    """name → number of the patient; class_number: drawn if left out."""
    class_number = secrets.randbelow(MOST) if class_number is None else class_number
    return {name: number_for(name, class_number) for name in names}


def write_table(path: Path, patients: dict[str, int]) -> None:
    """student,patient. Raises FileExistsError: students work on the numbers that were handed out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "x", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([HEAD, *patients.items()])


def read_table(path: Path) -> dict[str, int]:
    """What `write_table` wrote. Raises FileNotFoundError, or ValueError naming the line that is none of it."""
    rows = table_of(path)
    if not rows or tuple(rows[0]) != HEAD:
        raise ValueError(f"{path}: the first line must be {','.join(HEAD)}, as `qcourse patients` writes it")
    found: dict[str, int] = {}
    for row in rows[1:]:
        if len(row) != 2 or not (row[1].isascii() and row[1].isdigit() and int(row[1]) < MOST) or row[0] in found:
            why = "a second time" if row[0] in found else f"a name and a number below {MOST} expected"
            raise ValueError(f"{path}: {','.join(row)[:80]!r}: {why}")
        found[row[0]] = int(row[1])
    return found


def table_of(path: Path) -> list[list[str]]:
    """The cells of a CSV or text file, without empty lines and the blanks around them."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            rows = [[cell.strip() for cell in row] for row in csv.reader(f)]
    except (UnicodeDecodeError, csv.Error) as e:
        raise ValueError(f"{path} cannot be read as text ({e}); a CSV in UTF-8 expected") from None
    return [row for row in rows if row and row[0]]


def patient_of(patients: dict[str, int], student: str) -> int | None:
    """A student's number: by the name as the grader has it, or without the LMS's number behind it; None if unknown."""
    return patients.get(student, patients.get(LMS_NUMBER.sub("", student)))
