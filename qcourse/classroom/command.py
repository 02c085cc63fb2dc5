"""`qcourse grade SUBMISSIONS --out REPORT`."""

import argparse
from collections import Counter
from dataclasses import fields
from pathlib import Path

from qcourse.classroom.limits import Limits


def add_grade(commands) -> None:
    """Add `grade` to the subparsers of the command line; every limit is an option."""
    p = commands.add_parser(
        "grade",
        help="grade a folder of notebooks (or Canvas's or Moodle's zip)",
        description="Run every notebook in a sandbox of its own, judge it, and write grades.csv, a feedback page for each "
        "student, and summary.html. Stopped, even by kill -9, the same command goes on. See docs/classroom.md.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("submissions", type=Path, help="folder: a notebook or a folder for each student; or an LMS's zip")
    p.add_argument("--out", type=Path, required=True, help="folder of the report; an unfinished one is continued")
    p.add_argument("--workers", type=int, help="notebooks graded at a time (one a core if left out)")
    p.add_argument("--seed", type=int, help="of the hidden tests (drawn once and kept in OUT if left out)")
    p.add_argument("--seeds", type=int, help="draws of each task's hidden tests, all from --seed (3 if left out)")
    p.add_argument("--scheduler", help="a dask scheduler, tcp://host:8786: grade on its workers")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    group = p.add_argument_group("limits for one submission")
    for f in fields(Limits):
        group.add_argument(f"--{f.name.replace('_', '-')}", type=f.type, default=f.default, metavar="N", help="limit")
    p.set_defaults(run=run_grade)


def run_grade(args) -> None:
    """Grade, then say in a few lines what came of it and where it lies."""
    from qcourse.classroom.grade import grade

    limits = Limits(**{f.name: getattr(args, f.name) for f in fields(Limits)})
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers {args.workers}: at least 1")
    if args.seeds is not None and not 1 <= args.seeds <= 20:
        raise ValueError(f"--seeds {args.seeds}: 1 to 20")
    results = grade(args.submissions, args.out, args.workers, args.seed, args.scheduler, limits, not args.quiet, args.seeds)
    count = Counter(r["status"] for r in results)
    print(", ".join(f"{n} {status}" for status, n in sorted(count.items())))
    for note in sorted({n for r in results for n in r["isolation"]}):
        print(f"isolation: {note}")
    print(f"{args.out}/grades.csv, {args.out}/summary.html, {args.out}/feedback/")
    if count["failed"]:
        print("failed ones are tried again when the same command is run again")
