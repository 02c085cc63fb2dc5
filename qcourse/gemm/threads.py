"""Rows of a matrix product, divided among threads: torch's own team where it can be borrowed, a pool where not.

After `os.fork` in a process that has used either, the child hangs in its first parallel product; torch's own operators do,
too. Start children with "spawn".
"""

import ctypes
import threading
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

from qcourse.gemm.jit import task

SMALL = 1 << 18  # multiplications below which waking another thread costs more than it brings
SMALL_IN_PYTHON = 1 << 20  # the same where each thread has to take Python's lock first
CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache(1)
def openmp():
    """torch's own OpenMP library, if it can be called (Linux: a libgomp, or a libomp that speaks its language)."""
    try:
        loaded = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
        found = [name for name in sorted(loaded) if Path(name).name.startswith(("libgomp", "libomp", "libiomp"))]
        library = ctypes.CDLL(next((n for n in found if "torch" in n), found[0]))
        library.GOMP_parallel.argtypes = (CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        return library
    except (OSError, IndexError, AttributeError):
        return None


@CALLBACK
def member(key) -> None:
    """What each thread of the team runs: the job of that key. An error must not unwind through C, so it is kept."""
    errors = None
    try:
        work, errors = JOBS[key]
        work()
    except BaseException as e:
        if errors is not None:
            errors.append(e)


def run(loop: task, a: array, N: int, work: int, pieces: int = 1) -> None:
    """A compiled `task` on all of the N rows that `a` describes, in as many threads as torch uses, or in this one if `work`
    is small. a[0] and a[1] are where its threads agree: the next piece of the rows, and how many pieces there are. pieces: a
    thread; more than one where rows cost so much that a thread that is late should not be waited for."""
    if loop.call is None:
        loop.ready()
    threads, began = torch.get_num_threads() if work >= SMALL else 1, time.perf_counter()
    a[0], a[1], there = 0, min(threads * pieces, N), a.buffer_info()[0]
    if threads == 1:
        loop.call(there)
    elif team() is not None:
        team()(loop.address, there, threads, 0)
    else:
        for done in [pool(threads).submit(loop.call, there) for _ in range(threads)]:
            done.result()
    if WATCHED:
        WATCHED[-1].append((loop.__name__, time.perf_counter() - began))


WATCHED: list[list] = []  # where the time of every task is written down, while somebody wants to know


@contextmanager
def watched() -> Iterator[list[tuple[str, float]]]:
    """Every task that runs in this block: (name, seconds), in order."""
    WATCHED.append([])
    try:
        yield WATCHED[-1]
    finally:
        WATCHED.pop()


@lru_cache(1)
def team():
    """What runs a C function in every thread of torch's team (GOMP_parallel), or None where there is none to call."""
    library = openmp()
    if library is None:
        return None
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    return kind(ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value)


JOBS: dict[int, tuple] = {}


def in_team(work, threads: int) -> None:
    """Run `work()` in every thread of torch's OpenMP team at once, or in a pool where there is none to call.

    torch's threads stay awake for some milliseconds after each of its operators, waiting for the next. Threads of our
    own would have to share the cores with them, and lose; so we use those.
    """
    library, errors = openmp(), []
    if library is None:
        for done in [pool(threads).submit(work) for _ in range(threads)]:
            done.result()
        return
    key = id(errors)
    JOBS[key] = work, errors
    try:
        library.GOMP_parallel(member, key, threads, 0)
    finally:
        del JOBS[key]
    if errors:
        raise errors[0]


@lru_cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Worker threads, kept. Inside each, torch's own operators use that one thread: rows are divided here already.

    `torch.set_num_threads` also sets what threads started *later* begin with, so all are started here and that is put back.
    """
    before, started = torch.get_num_threads(), threading.Barrier(threads)
    workers = ThreadPoolExecutor(threads, "qcourse-gemm", initializer=torch.set_num_threads, initargs=(1,))
    list(workers.map(lambda _: started.wait(), range(threads)))
    torch.set_num_threads(before)
    return workers


def rows_in_threads(call, N: int, work: int) -> None:
    """`call(n0, n1)` on pieces of the N rows, in as many threads as torch uses; in this one alone if `work` is small."""
    threads = min(torch.get_num_threads(), N)
    if threads <= 1 or work < SMALL_IN_PYTHON:
        call(0, N)
        return
    pieces, finished = iter([(N * i // threads, N * (i + 1) // threads) for i in range(threads)]), []

    def take() -> None:
        for n0, n1 in pieces:  # shared: each thread takes the next one
            call(n0, n1)
            finished.append(n0)

    in_team(take, threads)
    if len(finished) < threads:  # an interrupt that fell between two lines of Python
        raise KeyboardInterrupt("a matrix product was interrupted")
