"""grade(SUBMISSIONS, OUT): everybody's notebook run in the sandbox, judged, and reported. Each exactly once."""

import base64
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from qcourse.classroom.limits import Limits
from qcourse.classroom.notebook import NotANotebook, parse
from qcourse.classroom.pool import Judge, lab_table, run_local
from qcourse.classroom.report import write_report
from qcourse.classroom.results import Store, course_version, fingerprint
from qcourse.classroom.scheduler import run_dask
from qcourse.classroom.submissions import Found, collect

MB = 1 << 20


@dataclass(frozen=True)
class Unit:
    """One student's notebook for one lab: what gets one row in the grades."""

    student: str
    lab: str
    found: Found
    mark: str  # fingerprint of what its result depends on
    reason: str | None  # why it cannot be run
    notes: tuple[str, ...]


def grade(
    submissions: Path,
    out: Path,
    workers: int | None = None,
    seed: int | None = None,
    scheduler: str | None = None,
    limits: Limits | None = None,
    progress: bool = True,
) -> list[dict]:
    """Grade what is in `submissions`, write the report to `out`, and return one result a student and lab.

    Run again with the same `out`, it goes on where it was stopped (also by kill -9). workers: judges at a time, one a core
    if left out. seed: of the hidden tests; drawn once for each `out` if left out. scheduler: address of a dask scheduler.
    Raises ValueError or FileNotFoundError for folders that cannot be what they are said to be.
    """
    limits = limits or Limits()
    submissions, out = Path(submissions), Path(out)
    if out.resolve().is_relative_to(submissions.resolve()):
        raise ValueError(f"--out {out} lies inside {submissions}: its pages would be taken for submissions")
    files = collect(submissions, int(limits.notebook_mb * MB))
    store = Store(out, seed)
    with store.locked(), closing(Judge()) as judge:
        labs = lab_table(judge)
        units = plan(files, labs, store.seed, limits)
        results = {u: refusal(u, labs, store.seed) for u in units if u.reason is not None}
        runnable = [u for u in units if u.reason is None]
        results |= {u: r for u in runnable if (r := store.get(u.student, u.lab, u.mark)) is not None}
        todo = [u for u in runnable if u not in results]
        job = job_maker(store, limits, [submissions, out])
        for unit, answer in counted(run(todo, job, workers, scheduler, judge), len(results), len(units), progress):
            results[unit] = complete(unit, answer, labs, store)
        ordered = [results[u] for u in units]
        write_report(out, ordered, labs)
    return ordered


def plan(files: list[Found], labs: dict, seed: int, limits: Limits) -> list[Unit]:
    """One unit for each student and lab; of several files the last one counts."""
    chosen: dict[tuple[str, str], Unit] = {}
    for found in sorted(files, key=lambda f: (f.student, f.order, f.name)):
        lab, mark, reason = "", "", None
        try:
            data = found.read(int(limits.notebook_mb * MB))
            lab = parse(data, found.name).lab or ""
            mark = fingerprint(data, seed, vars(limits))
            if lab not in labs:
                said = f"lab {lab} has no tasks to grade" if lab else "no cell checks a task, and its name names no lab"
                reason = f"which lab is it? {said}; known: {', '.join(labs)}"
        except NotANotebook as e:
            reason = str(e)
            lab = parse_name(found.name)
        earlier = chosen.pop((found.student, lab), None)
        notes = ("handed in late",) if found.late else ()
        if earlier is not None:
            notes += (f"handed in more than once; {found.name} counts, not {earlier.found.name}",)
        chosen[found.student, lab] = Unit(found.student, lab, found, mark, reason, notes)
    return sorted(chosen.values(), key=lambda u: (u.student, u.lab))


def parse_name(name: str) -> str:
    """The lab that a file's name names, for files that cannot be read; "" if it names none."""
    return parse(b'{"cells": []}', name).lab or ""


def job_maker(store: Store, limits: Limits, hidden: list[Path]) -> Callable[[Unit], dict]:
    """What a judge is told: the notebook, never whose it is."""

    def job_of(unit: Unit) -> dict:
        try:
            data = unit.found.read(int(limits.notebook_mb * MB))
        except NotANotebook:  # it went away since it was listed
            data = b""
        return {
            "do": "grade",
            "notebook": base64.b64encode(data).decode(),
            "name": f"{unit.lab}_lab.ipynb",
            "lab": unit.lab,
            "seed": store.seed,
            "limits": vars(limits),
            "hidden": [str(p.resolve()) for p in hidden],
        }

    return job_of


def run(todo: list[Unit], job_of: Callable, workers: int | None, scheduler: str | None, judge: Judge):
    """(unit, answer) pairs from this machine's cores, or from a dask cluster."""
    if not todo:
        return iter(())
    if scheduler is not None:
        return run_dask(todo, job_of, scheduler, course_version())
    return run_local(todo, job_of, workers, judge)


def counted(pairs, done: int, total: int, progress: bool):
    """The same pairs, behind a progress bar that counts what an earlier run finished."""
    from tqdm import tqdm

    with tqdm(total=total, initial=done, desc="grading", unit="notebook", disable=not progress) as bar:
        for pair in pairs:
            yield pair
            bar.update()


def complete(unit: Unit, answer: dict, labs: dict, store: Store) -> dict:
    """A judge's answer as a result, kept at once. A failure of the grader itself is not kept: the next run tries again."""
    if "failed" in answer:
        return refusal(unit, labs, store.seed, answer["failed"], "failed")
    result = heading(unit, "graded", "") | answer
    result["notes"] = [*unit.notes, *answer["notes"]]
    store.put(result)
    return result


def heading(unit: Unit, status: str, reason: str) -> dict:
    """What every result begins with."""
    return {
        "student": unit.student,
        "lab": unit.lab,
        "file": unit.found.name,
        "fingerprint": unit.mark,
        "status": status,
        "reason": reason,
        "notes": list(unit.notes),
    }


def refusal(unit: Unit, labs: dict, seed: int, reason: str | None = None, status: str = "refused") -> dict:
    """The result of a notebook that was not run: zero points, and why."""
    tasks = [
        t | {"outcome": "not attempted", "passed": {}, "score": 0.0, "mistake": None, "message": "", "seconds": 0.0}
        for t in labs.get(unit.lab, [])
    ]
    return heading(unit, status, reason or unit.reason or "") | {"tasks": tasks, "errors": [], "isolation": []}
