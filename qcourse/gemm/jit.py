"""Compiled loops and the threads that run them: what every CPU kernel of the course stands on.

`kernel` turns a plain Python loop into machine code through numba, which installs as a wheel and brings its own
compiler (LLVM), so no C compiler is needed and the loop stays readable. Of what installs that way it was the one that
won: LLVM turns `acc += int32(code) * int32(x)` over 16-bit numbers into vpmaddwd/vpdpwssd by itself.
The machine code is cached beside the source (or in the user's cache where that folder is read-only).
Without numba every door falls back to torch, with one warning.
"""

import ctypes
import inspect
import logging
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

log = logging.getLogger("qcourse")
compiling = threading.Lock()
SMALL = 1 << 20  # multiplications below which waking another thread costs more than it brings
CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
FAST = {"reassoc", "contract", "nsz"}  # may reorder sums; NaN and inf keep their meaning


@lru_cache(1)
def has_jit() -> bool:
    """Whether numba can be imported; says so once if it cannot."""
    try:
        import numba  # noqa: F401
    except ImportError:
        warnings.warn("numba is not installed: CPU kernels fall back to torch, slower (pip install numba)", stacklevel=3)
        return False
    return True


def as_float(value):
    """bf16 bits (a uint16) or a float → fp32, inside a kernel: which of the two is known when it is compiled."""
    raise NotImplementedError("only for loops compiled by `kernel`")


def rounded(value, out):
    """fp32 → what the array `out` holds: itself, or bf16 bits (uint16), rounded to nearest even; inside a kernel."""
    raise NotImplementedError("only for loops compiled by `kernel`")


def bf16_bits(value):
    """The upper half of an fp32, rounded to nearest even as torch rounds; a NaN stays one."""
    bits = np.uint32(np.float32(value).view(np.uint32))
    return np.uint16(0x7FC0) if value != value else np.uint16((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16)


@lru_cache(1)
def teach_numba() -> None:
    """Tell numba what `as_float` and `rounded` mean."""
    from numba import types
    from numba.extending import overload, register_jitable

    to_bits = register_jitable(inspect.unwrap(bf16_bits))

    @overload(rounded, inline="always")
    def choose_out(value, out):
        if isinstance(out.dtype, types.Integer):
            return lambda value, out: to_bits(value)
        return lambda value, out: np.float32(value)

    @overload(as_float, inline="always")
    def choose(value):
        if isinstance(value, types.Integer):
            return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
        return lambda value: np.float32(value)


def compiled(loop, cache: bool):
    """`loop` as a numba dispatcher that releases the GIL."""
    import numba

    teach_numba()
    return numba.njit(loop, nogil=True, fastmath=FAST, error_model="numpy", cache=cache)


class kernel:
    """A loop over rows n0 … n1, compiled when it is first called, which is announced on the log `qcourse`."""

    def __init__(self, loop):
        self.loop, self.run = inspect.unwrap(loop), None  # the tests' shape checker wraps every function
        self.__doc__, self.__name__, self.py_func = loop.__doc__, loop.__name__, self.loop

    def __call__(self, *args):
        """Run the loop; the last two arguments are the range of rows."""
        if self.run is None:
            with compiling:
                self.compile(args)
        return self.run(*args)

    def compile(self, args) -> None:
        """Load from the cache or compile for the types of `args` (an empty range of rows: nothing is computed)."""
        if self.run is not None:  # another thread was first
            return
        began = time.perf_counter()
        try:
            run = compiled(self.loop, cache=True)
        except RuntimeError:  # no folder that numba may write its cache to
            run = compiled(self.loop, cache=False)
        run(*args[:-1], args[-2])
        if not sum(run.stats.cache_hits.values()):
            seconds = time.perf_counter() - began
            log.warning("compiled %s for this CPU in %.1f s (cached: the next time takes none)", self.__name__, seconds)
        self.run = run


@lru_cache(1)
def openmp():
    """torch's own OpenMP library, if it can be called (Linux: a libgomp, or a libomp that speaks its language)."""
    try:
        loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
        found = [name for name in sorted(loaded) if Path(name).name.startswith(("libgomp", "libomp", "libiomp"))]
        library = ctypes.CDLL(next((n for n in found if "torch" in n), found[0]))
        library.GOMP_parallel.argtypes = (CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        return library
    except (OSError, IndexError, AttributeError):
        return None


@CALLBACK
def member(key) -> None:
    """What each thread of the team runs: the job of that key. An error must not unwind through C, so it is kept."""
    work, errors = JOBS[key]
    try:
        work()
    except BaseException as e:
        errors.append(e)


JOBS: dict[int, tuple] = {}


def in_team(work, threads: int) -> None:
    """Run `work()` in every thread of torch's OpenMP team at once, or in a pool where there is none to call.

    torch's threads stay awake for some milliseconds after each of its operators, waiting for the next. Threads of our
    own would have to share the cores with them (measured: twice as slow between torch's operators); so we use those.
    """
    library, errors = openmp(), []
    if library is None:
        for done in [pool(threads).submit(work) for _ in range(threads)]:
            done.result()
        return
    key = id(errors)
    JOBS[key] = work, errors
    library.GOMP_parallel(member, key, threads, 0)
    del JOBS[key]
    if errors:
        raise errors[0]


@lru_cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Worker threads, kept. Inside each, torch's own operators use that one thread: rows are divided here already."""
    return ThreadPoolExecutor(threads, "qcourse-gemm", initializer=torch.set_num_threads, initargs=(1,))


def rows_in_threads(call, N: int, work: int) -> None:
    """`call(n0, n1)` on pieces of the N rows, in as many threads as torch uses; in this one alone if `work` is small."""
    threads = min(torch.get_num_threads(), N)
    if threads <= 1 or work < SMALL:
        call(0, N)
        return
    pieces = iter([(N * i // threads, N * (i + 1) // threads) for i in range(threads)])

    def take() -> None:
        for n0, n1 in pieces:  # shared: each thread takes the next one
            call(n0, n1)

    in_team(take, threads)
