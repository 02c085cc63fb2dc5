"""Judges at work: one `Judge` is a process of `worker.py`; `run_local` keeps one busy on each core."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from qcourse.classroom.isolation import PACKAGE
from qcourse.classroom.limits import Limits

PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "DYLD_LIBRARY_PATH")


class JudgeDied(Exception):
    """A judge's process ended, or gave no answer in time."""


class Judge:
    """A trusted process that grades one notebook at a time; started on first use, and again after it died."""

    def __init__(self):
        self.process: subprocess.Popen | None = None

    def ask(self, job: dict, seconds: float) -> dict:
        """Hand over one job, wait for its result. Raises JudgeDied."""
        if self.process is None:
            self._start()
        process = self.process
        alarm = threading.Timer(seconds, process.kill)
        alarm.start()
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        finally:
            alarm.cancel()
        if not line.endswith(b"\n"):
            self.close()
            raise JudgeDied("the grader's own process ended while grading this")
        return json.loads(line)

    def _start(self) -> None:
        env = {k: os.environ[k] for k in PASSED_ON if k in os.environ}  # no tokens, no paths of the teacher's
        env |= {"LANG": "C.UTF-8", "PYTHONPATH": str(PACKAGE.parent), "PYTHONSAFEPATH": "1", "MPLBACKEND": "Agg"}
        env |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TORCH_COMPILE_DISABLE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qcourse.classroom.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        """End the process; its students end with it."""
        if self.process is not None:
            process, self.process = self.process, None
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def grade_job(judge: Judge, job: dict) -> dict:
    """The result of one job; `{"failed": why}` when two judges in a row died of it."""
    limits = Limits(**job["limits"])
    for _ in range(2):
        try:
            return judge.ask(job, 2 * limits.total_seconds + 120)
        except JudgeDied as e:
            why = str(e)
    return {"failed": why}


def lab_table(judge: Judge) -> dict[str, list[dict]]:
    """Every lab's tasks (id, title, points), asked of a judge: this process stays free of torch."""
    return judge.ask({"do": "labs"}, 300.0)


def run_local(
    keys: list, job_of: Callable[[object], dict], workers: int | None, first: Judge
) -> Iterator[tuple[object, dict]]:
    """(key, result) as they are finished. job_of(key) is called when a judge is free: few notebooks are in memory.

    `first` is a judge that is running already; it is closed with the others.
    """
    mine, spare, judges = threading.local(), [first], [first]

    def work(key):
        if not hasattr(mine, "judge"):
            try:
                mine.judge = spare.pop()
            except IndexError:
                mine.judge = Judge()
                judges.append(mine.judge)
        return grade_job(mine.judge, job_of(key))

    pool = ThreadPoolExecutor(min(workers or os.cpu_count() or 1, len(keys)))
    try:
        futures = {pool.submit(work, key): key for key in keys}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for judge in judges:
            judge.close()
