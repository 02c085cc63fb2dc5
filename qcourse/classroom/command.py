"""`qcourse grade SUBMISSIONS --out REPORT`."""

import secrets
from collections import Counter
from dataclasses import fields
from pathlib import Path

from qcourse.classroom.limits import Limits
from qcourse.options import Outcome, Parser, a_file, a_place, above_zero, number

EXAMPLES = """\
Every notebook runs in a sandbox of its own, is judged, and goes into grades.csv, a feedback page for each student, and
summary.html. Stopped, even by kill -9, the same command goes on. See docs/classroom.md.

examples:
  qcourse grade submissions/ --out report
  qcourse grade canvas.zip --out report --workers 4
  qcourse grade submissions/ --out report --scheduler tcp://host:8786
  qcourse grade submissions/ --out report --patients patients.csv
"""
PATIENTS = """\
Lab 13 ends with a patient of the clinic. This gives each student of a roster (a text file or a CSV, names in the first
column) a number that draws one: the same number, the same bug in the same places, on every machine. Hand the numbers out,
keep the table, and grade with it. The table is never overwritten; the class number is printed, for those who come later.

examples:
  qcourse patients roster.csv --out patients.csv
  qcourse patients roster.csv --out patients.csv --class-number 2026
"""


def add_grade(p: Parser) -> None:
    """What is graded, where the report goes, how much at a time; every limit is an option."""
    p.epilog, p.fails = EXAMPLES, "some notebooks could not be graded; the same command tries these again"
    p.add_argument("submissions", type=Path, metavar="SUBMISSIONS", help="a notebook or a folder a student; or an LMS's zip")
    p.add_argument("--out", type=a_place, required=True, metavar="OUT", help="folder of the report; continued if unfinished")
    p.add_argument("--workers", type=number(int, 1), metavar="N", help="notebooks graded at a time (default: one a core)")
    p.add_argument("--seed", type=int, metavar="N", help="of the hidden tests (default: drawn once and kept in OUT)")
    p.add_argument("--seeds", type=number(int, 1, 20), metavar="N", help="draws of each task's hidden tests (default 3)")
    p.add_argument(
        "--patients", type=a_file, metavar="TABLE", help="lab 13: of `qcourse patients`; each must treat their own"
    )
    p.add_argument("--scheduler", metavar="ADDRESS", help="a dask scheduler, tcp://host:8786: grade on its workers")
    group = p.add_argument_group("limits for one submission")
    for f in fields(Limits):
        name = f"--{f.name.replace('_', '-')}"
        group.add_argument(name, type=above_zero(f.type), default=f.default, metavar="N", help=f"default {f.default}")
    p.set_defaults(run=run_grade)


def run_grade(args) -> Outcome:
    """Grade, then say in a few lines what came of it and where it lies."""
    from qcourse.classroom.grade import grade
    from qcourse.classroom.patients import read_table, without_work

    limits = Limits(**{f.name: getattr(args, f.name) for f in fields(Limits)})
    told = args.workers, args.seed, args.scheduler, limits, not args.quiet, args.seeds, args.patients
    results = grade(args.submissions, args.out, *told)
    count = Counter(r["status"] for r in results)
    lines = [", ".join(f"{n} {status}" for status, n in sorted(count.items()))]
    lines += [f"isolation: {note}" for note in sorted({n for r in results for n in r["isolation"]})]
    lines.append(f"{args.out}/grades.csv, {args.out}/summary.html, {args.out}/feedback/")
    if args.patients is not None and (missing := without_work(read_table(args.patients), results)):
        rest = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        lines.append(f"in {args.patients}, without a lab 13 (or spelled otherwise): {', '.join(missing[:8])}{rest}")
    lines += ["failed ones are tried again when the same command is run again"] * bool(count["failed"])
    return Outcome("\n".join(lines), {"out": str(args.out), "counts": count, "results": results}, int(bool(count["failed"])))


def add_patients(p: Parser) -> None:
    """Whose they are, where the table goes."""
    p.epilog = PATIENTS
    p.add_argument("roster", type=a_file, metavar="ROSTER", help="a text file, a name a line; or a .csv, names first")
    p.add_argument("--out", type=a_place, required=True, metavar="TABLE", help="student,patient as CSV; a new file")
    p.add_argument(
        "--class-number", type=number(int, 0), metavar="N", help="other numbers for another class (default: drawn)"
    )
    p.set_defaults(run=run_patients)


def run_patients(args) -> Outcome:
    """Draw a number for each, and write them down."""
    from qcourse.classroom.patients import hand_out, read_roster, write_table
    from qcourse.study.numbered import MOST

    chosen = secrets.randbelow(MOST) if args.class_number is None else args.class_number
    patients = hand_out(read_roster(args.roster), chosen)
    write_table(args.out, patients)
    told = f"class number {chosen}: the same one draws for those who come later (--class-number {chosen}, another --out)"
    return Outcome(
        f"{len(patients)} patients in {args.out}; grade lab 13 with --patients {args.out}\n{told}",
        {"class_number": chosen, "patients": patients},
    )
