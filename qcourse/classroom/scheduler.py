"""More than one machine: the same jobs through dask.distributed, `qcourse grade --scheduler tcp://…`.

Each dask worker keeps judges of its own (one a thread); a job carries the notebook's bytes, so no folder has to be shared.
A worker that disappears has its jobs given to another one by dask; a result is kept once, here, under its submission's key.
"""

import threading
from collections.abc import Callable, Iterator

from qcourse.classroom.pool import Judge, grade_job
from qcourse.cluster import connect, course_version

_mine = threading.local()


def grade_here(job: dict, course: str) -> dict:
    """Runs on a dask worker. `course` must be the version that the worker has, or two students meet two exams."""
    if course_version() != course:
        return {"failed": "a worker has another version of the course; install the same on every machine"}
    if not hasattr(_mine, "judge"):
        _mine.judge = Judge()
    return grade_job(_mine.judge, job)


def run_dask(keys: list, job_of: Callable[[object], dict], address: str, course: str) -> Iterator[tuple[object, dict]]:
    """(key, result) as they are finished; a few jobs for each thread are under way at a time."""
    from distributed import as_completed

    waiting = list(reversed(keys))
    with connect(address) as client:
        threads = sum(client.nthreads().values()) or 1
        under_way = {}

        def submit():
            key = waiting.pop()
            future = client.submit(grade_here, job_of(key), course, pure=False, retries=3)
            under_way[future.key] = key
            return future

        done = as_completed([submit() for _ in range(min(len(waiting), 3 * threads))])
        for future in done:
            key = under_way.pop(future.key)
            error = future.exception()
            yield key, {"failed": f"lost by the workers: {error}"[:300]} if error is not None else future.result()
            if waiting:
                done.add(submit())
