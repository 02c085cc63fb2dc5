"""The judge's process: `python -m qcourse.classroom.worker`. Jobs come as JSON lines on stdin, results leave on stdout.

    {"do": "labs"}                                → {"01": [{"id", "title", "points"}, ...], ...}
    {"do": "grade", "notebook": base64, "name", "lab", "seed", "limits", "hidden"}   → what `grade_notebook` returns

It is told nothing about students. When stdin closes, it and everything below it ends.
"""

import base64
import hashlib
import json
import os
import queue
import re
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

from qcourse.classroom.limits import Limits
from qcourse.classroom.notebook import parse
from qcourse.classroom.zygote import Zygote

MOST_TEXT = 8000  # characters of one task's message


def labs() -> dict[str, list[dict]]:
    """Every lab's tasks, for the columns of the grades and the points of those who did not get that far."""
    from qcourse.checks.task import TASKS

    return {n: [{"id": t.id, "title": t.title, "points": t.points} for t in TASKS.lab(n)] for n in TASKS.labs}


def grade_notebook(zygote: Zygote, data: bytes, name: str, lab: str, seed: int, limits: Limits, hidden: list[str]) -> dict:
    """Run one notebook in the sandbox and judge its tasks. Never raises for what the notebook does."""
    from qcourse.checks.task import TASKS
    from qcourse.checks.watch import RemoteError
    from qcourse.classroom.remote import Remote

    book = parse(data, name)
    with Remote(zygote, book.cells, limits, hidden) as remote:
        tasks = []
        for task in TASKS.lab(lab):
            with suppress(RemoteError):  # it is raised again when the function is called
                remote.ready()  # on the notebook's time, not on the task's
            tasks.append(judge_task(remote, task, seed))
        notes = list(book.notes)
        for index, why in sorted(remote.skipped.items()):
            notes.append(f"cell [{index + 1}] was left out: {why['message']}")
        if remote.written > limits.output_kb * 1024:
            notes.append(f"printed {remote.written:,} characters; {limits.output_kb} KB were allowed, the rest was dropped")
        errors = [{"cell": i + 1, **e} for i, e in sorted(remote.errors.items())]
        return {"tasks": tasks, "notes": notes, "errors": errors, "isolation": remote.notes}


def judge_task(remote, task, seed: int) -> dict:
    """One task's result as data; a judge that stumbles over an answer counts it as wrong, and says so."""
    from qcourse.checks.judge import judge
    from qcourse.classroom.remote import Proxy

    began = time.monotonic()
    budget = remote.limits.task_seconds
    patient = replace(task, seconds=budget + 2 * remote.limits.grace)  # the proxy keeps the time
    proxy = Proxy(remote, task.id, task.function)
    try:
        result = judge(patient, proxy, hidden_seed(seed, task.id)).data()
    except Exception as e:
        passed = {p.name: False for p in task.properties}
        message = f"your answer could not be compared ({type(e).__name__}: {str(e)[:200]})"
        result = {"outcome": "wrong", "passed": passed, "score": 0.0, "mistake": None, "message": message}
    if proxy.over is not None and proxy.over.kind == "Missing":
        message = f"{proxy.over.message}. Was its cell deleted, or did it fail before the definition?"
        result |= {"outcome": "not attempted", "score": 0.0, "message": message}
    result["message"] = result["message"].replace(f"within {patient.seconds:g} s", f"within {budget:g} s")
    kept = {k: result[k] for k in ("outcome", "passed", "score", "mistake", "message")}
    if len(kept["message"]) > MOST_TEXT:
        kept["message"] = f"{kept['message'][:MOST_TEXT]} …"
    kept["message"] = re.sub(r"\s*\(seed \d+\)\s*$", "", kept["message"])  # hidden stays hidden, for whoever hands in later
    return {"id": task.id, "title": task.title, "points": task.points, "seconds": round(time.monotonic() - began, 2)} | kept


def hidden_seed(seed: int, task_id: str) -> int:
    """A task's own seed: the same for every student of a grading, unknown to all of them."""
    return int.from_bytes(hashlib.sha256(f"{seed} {task_id}".encode()).digest()[:4], "little")


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
                result = grade_notebook(zygote, data, job["name"], job["lab"], job["seed"], limits, job["hidden"])
            except SandboxFailed as e:
                result = {"failed": str(e)}
        out.write(json.dumps(result) + "\n")
        out.flush()


def _listen(jobs: queue.Queue) -> None:
    """The grader is gone when stdin ends, and then a judge in the middle of a notebook must not go on."""
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
