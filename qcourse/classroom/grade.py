"""grade(SUBMISSIONS, OUT): everybody's notebook run in the sandbox, judged, and reported. Each exactly once."""

import base64
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from qcourse.classroom.limits import Limits
from qcourse.classroom.names import all_visible, visible
from qcourse.classroom.notebook import NotANotebook
from qcourse.classroom.patients import read_table
from qcourse.classroom.pool import Judge, lab_table, run_local
from qcourse.classroom.report import write_report
from qcourse.classroom.results import Store
from qcourse.classroom.scheduler import run_dask
from qcourse.classroom.submissions import collect
from qcourse.classroom.units import Unit, plan
from qcourse.cluster import course_version

MB = 1 << 20


def grade(
    submissions: Path,
    out: Path,
    workers: int | None = None,
    seed: int | None = None,
    scheduler: str | None = None,
    limits: Limits | None = None,
    progress: bool = True,
    seeds: int | None = None,
    patients: Path | None = None,
) -> list[dict]:
    """Grade what is in `submissions`, write the report to `out`, and return one result a student and lab.

    Run again with the same `out`, it goes on where it was stopped (also by kill -9). workers: judges at a time, one a core
    if left out. seed: of the hidden tests; drawn once for each `out` if left out. seeds: draws for each task, 3 if left
    out. scheduler: address of a dask scheduler. patients: the table of `qcourse patients`; each student's own is asked for.
    Raises ValueError or FileNotFoundError for folders and files that cannot be what they are said to be.
    """
    limits = limits or Limits()
    submissions, out = Path(submissions), Path(out)
    handed_out = None if patients is None else read_table(Path(patients))
    if out.resolve().is_relative_to(submissions.resolve()):
        raise ValueError(f"--out {out} lies inside {submissions}: its pages would be taken for submissions")
    if submissions.is_file() and not zipfile.is_zipfile(submissions):
        raise ValueError(f"{submissions}: a folder of notebooks, or the zip that Canvas or Moodle makes, expected")
    files = collect(submissions, int(limits.notebook_mb * MB))
    store = Store(out, seed, seeds, patients is not None)
    with store.locked(), closing(Judge()) as judge:
        labs = lab_table(judge)
        units = plan(files, labs, store.seed, limits, store.seeds, handed_out)
        results = {u: refusal(u, labs) for u in units if u.reason is not None}
        runnable = [u for u in units if u.reason is None]
        results |= {u: with_notes(u, r) for u in runnable if (r := store.get(u.student, u.lab, u.mark)) is not None}
        todo = [u for u in runnable if u not in results]
        job = job_maker(store, limits, [submissions, out, *filter(None, [patients])])
        for unit, answer in counted(run(todo, job, workers, scheduler, judge), len(results), len(units), progress):
            results[unit] = complete(unit, answer, labs, store)
        ordered = [results[u] for u in units]
        write_report(out, ordered, labs)
    return ordered


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
            "patient": unit.patient,
            "seed": store.seed,
            "seeds": store.seeds,
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
        return refusal(unit, labs, answer["failed"], "failed")
    result = heading(unit, "graded", "") | all_visible(answer)
    store.put(result)
    return with_notes(unit, result)


def with_notes(unit: Unit, result: dict) -> dict:
    """A kept result with what is known of its file now: what else lies in the folder may have changed since."""
    return result | {"notes": [*unit.notes, *result["notes"]], "look": [*unit.look, *result["look"]]}


def heading(unit: Unit, status: str, reason: str) -> dict:
    """What every result begins with."""
    return {
        "student": unit.student,
        "lab": unit.lab,
        "file": unit.found.name,
        "fingerprint": unit.mark,
        "status": status,
        "reason": visible(reason),
        "notes": [],
        "look": [],
    }


def refusal(unit: Unit, labs: dict, reason: str | None = None, status: str = "refused") -> dict:
    """The result of a notebook that was not run: zero points, and why."""
    tasks = [
        t | {"outcome": "not attempted", "passed": {}, "score": 0.0, "mistake": None, "message": "", "seconds": 0.0}
        for t in labs.get(unit.lab, [])
    ]
    result = heading(unit, status, reason or unit.reason or "") | {"tasks": tasks, "errors": [], "isolation": []}
    return with_notes(unit, result)
