"""The judge's process: `python -m qcourse.classroom.worker`. Jobs come as JSON lines on stdin, results leave on stdout.

    {"do": "labs"}                                → {"01": [{"id", "title", "points"}, ...], ...}
    {"do": "grade", "notebook": base64, "name", "lab", "patient", "seed", "seeds", "limits", "hidden"}
                                                  → what `grade_notebook` returns

It is told nothing about students. When stdin closes, it and everything below it ends.
"""

import base64
import json
import os
import queue
import re
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

from qcourse.classroom.draws import settled
from qcourse.classroom.limits import Limits
from qcourse.classroom.notebook import parse
from qcourse.classroom.patients import LAB
from qcourse.classroom.zygote import Zygote

MOST_TEXT = 8000  # characters of one task's message
MOST_NOTES = 12  # lines on one notebook's cells
KEPT = ("outcome", "passed", "score", "mistake", "message")
ODD = ("SyntaxError", "IndentationError", "TabError", "ModuleNotFoundError", "ImportError")


def labs() -> dict[str, list[dict]]:
    """Every lab's tasks, for the columns of the grades and the points of those who did not get that far."""
    from qcourse.checks.task import TASKS

    return {n: [{"id": t.id, "title": t.title, "points": t.points} for t in TASKS.lab(n)] for n in TASKS.labs}


def grade_notebook(
    zygote: Zygote, data: bytes, name: str, lab: str, seed: int, limits: Limits, hidden: list[str], seeds: int = 3,
    patient: int | None = None,
) -> dict:  # fmt: skip
    """Run a notebook in the sandbox, judge its tasks on `seeds` draws each. `patient`: the number that its report of lab 13
    must be on. Never raises for what the notebook does."""
    from qcourse.checks.task import TASKS, assigning
    from qcourse.checks.watch import RemoteError
    from qcourse.classroom.remote import Remote

    book = parse(data, name)
    with Remote(zygote, book.cells, limits, hidden) as remote, assigning(patient):
        tasks, look = [], []
        for task in TASKS.lab(lab):
            with suppress(RemoteError):  # it is raised again when the function is called
                remote.ready()  # on the notebook's time, not on the task's
            result, seen = judge_task(remote, task, seed, seeds)
            tasks.append(result)
            look += [note for note in seen if note not in look]
        errors = [{"cell": i + 1, **e} for i, e in sorted(remote.errors.items())]
        notes = [*book.notes, *odd_cells(remote)]
    return {"tasks": tasks, "notes": notes, "look": look, "errors": errors, "isolation": remote.notes}


def odd_cells(remote) -> list[str]:
    """What a teacher should know of the cells: left out, never ended, not Python, or missing something that is not here."""
    notes = []
    for index, why in sorted(remote.skipped.items()):
        notes.append(f"cell [{index + 1}] was left out: {why['message']}")
    for index, error in sorted(remote.errors.items()):
        if error["kind"] == "TimeLimit":
            notes.append(f"cell [{index + 1}] never ended: {error['message']}")
        elif error["kind"] in ODD:
            notes.append(f"cell [{index + 1}] {error['kind']}: {error['message'].splitlines()[0][:200]}")
    if remote.written > remote.limits.output_kb * 1024:
        most = remote.limits.output_kb
        notes.append(f"printed {remote.written:,} characters; {most} KB were allowed, the rest was dropped")
    return notes if len(notes) <= MOST_NOTES else [*notes[:MOST_NOTES], f"and {len(notes) - MOST_NOTES} more of this kind"]


def judge_task(remote, task, seed: int, seeds: int = 3) -> tuple[dict, list[str]]:
    """One task's result over its draws, as data; and what a teacher should look at."""
    began, notes = time.monotonic(), []

    def once(number: int) -> dict:
        result = one_draw(remote, task, number)
        notes.extend(n for n in result["notes"] if n not in notes)
        return result

    result, look = settled(task, seed, seeds, once)
    message = re.sub(r"\s*\(seed \d+\)\s*$", "", result["message"])  # hidden stays hidden, for whoever hands in later
    result["message"] = message if len(message) <= MOST_TEXT else f"{message[:MOST_TEXT]} …"
    kept = {k: result[k] for k in KEPT}
    told = {"id": task.id, "title": task.title, "points": task.points, "seconds": round(time.monotonic() - began, 2)}
    return told | kept, [*notes, *look]


def one_draw(remote, task, number: int) -> dict:
    """A task judged on one draw; a judge that stumbles over an answer counts it as wrong, and says so."""
    from qcourse.checks.judge import judge
    from qcourse.classroom.remote import Proxy, SandboxFailed

    limits = remote.limits
    allowed = max(limits.task_seconds, task.seconds)
    patient = replace(task, seconds=allowed + 2 * limits.grace)  # the proxy keeps the time
    proxy = Proxy(remote, task.id, task.function, allowed)
    try:
        told = judge(patient, proxy, number).data(hide_seed=True)
        result = {"notes": list(told["notes"])} | {k: told[k] for k in KEPT}
    except OSError as e:  # no place to write a patient to: ours, not the student's
        raise SandboxFailed(f"the judge cannot write: {e}") from e
    except Exception as e:
        message = f"your answer could not be compared ({type(e).__name__}: {str(e)[:200]})"
        nothing = {p.name: False for p in task.properties}
        result = {"outcome": "wrong", "passed": nothing, "score": 0.0, "mistake": None, "message": message, "notes": []}
    if proxy.uses and not task.borrows and not result["notes"]:
        result["notes"] = [f"{task.id} calls the package: {', '.join(proxy.uses)}"]
    result |= {"hung": proxy.over is not None, "final": False}
    result["message"] = result["message"].replace(f"within {patient.seconds:g} s", f"within {allowed:g} s")
    if proxy.over is not None and proxy.over.kind == "Missing":
        message = f"{proxy.over.message}. Was its cell deleted, or did it fail before the definition?"
        result |= {"outcome": "not attempted", "score": 0.0, "message": message, "final": True}
    elif remote.left() <= 0:
        result |= {"message": out_of_time(remote, result), "final": True}
        result["outcome"] = "not attempted" if result["score"] == 0 else result["outcome"]
    return result


def out_of_time(remote, result: dict) -> str:
    """What a task says when the notebook's time ran out, whatever the function is like."""
    if result["outcome"] == "right":
        return result["message"]
    endless = [i + 1 for i, e in (remote.errors | remote.skipped).items() if e["kind"] == "TimeLimit"]
    cells = f" Cells that took all their time: {', '.join(map(str, sorted(endless)[:10]))}." if endless else ""
    total = f"{remote.limits.total_seconds:g} s"
    return f"The notebook's time ({total}) was used up before this task was tried to the end: it is not judged.{cells}"


def main() -> None:
    """Answer jobs until stdin closes."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints by accident does not end up between two results
    import torch

    torch.set_num_threads(1)
    zygote = Zygote()  # before the checks are imported, so that no student's process holds them
    from qcourse.classroom.remote import SandboxFailed

    jobs: queue.Queue = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while True:
        job = jobs.get()
        if job["do"] == "labs":
            result = labs()
        else:
            data, limits = base64.b64decode(job["notebook"]), Limits(**job["limits"])
            try:
                told = job["name"], job["lab"], job["seed"], limits, job["hidden"], job.get("seeds", 3)
                result = grade_notebook(zygote, data, *told, job.get("patient"))
            except (SandboxFailed, Exception) as e:  # the first is not an Exception
                result = {"failed": str(e) if isinstance(e, SandboxFailed) else f"{type(e).__name__}: {e}"[:500]}
            forget_patients(job["lab"])
        out.write(json.dumps(result) + "\n")
        out.flush()


def forget_patients(lab: str) -> None:
    """With the last word on a patient its folders go."""
    if lab == LAB:
        from qcourse.checks.lab13.own_patient import drawn

        drawn.cache_clear()


def _listen(jobs: queue.Queue) -> None:
    """The grader is gone when stdin ends, and then a judge in the middle of a notebook must not go on."""
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
