"""Compiled loops: what every CPU kernel of the course stands on (its threads: gemm.threads).

`kernel` turns a plain Python loop into machine code through numba, which installs as a wheel and brings its own
compiler (LLVM), so no C compiler is needed and the loop stays readable. Of what installs that way it was the one that
won: LLVM turns `acc += int32(code) * int32(x)` over 16-bit numbers into vpmaddwd/vpdpwssd by itself.
The machine code is cached beside the loops (or in the user's cache where that folder is read-only); numba's cache
watches the file of the loops, not this one: after a change here, touch cpu_loops.py.
Without numba `gemm.choose` and `gemm.w8a8` fall back to torch, with one warning.
"""

import inspect
import logging
import threading
import time
import warnings
from functools import lru_cache

import numpy as np

log = logging.getLogger("qcourse")
compiling = threading.Lock()
KERNELS: list["kernel"] = []
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


PARTS: list = []


def part(function):
    """A plain function that compiled loops may call; it is compiled into each."""
    PARTS.append(inspect.unwrap(function))
    return PARTS[-1]


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
    for function in PARTS:
        register_jitable(function)

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
    """A loop over rows n0 … n1, compiled for the types that it is called with; each time it takes is said on the log."""

    def __init__(self, loop):
        self.loop, self.run, self.cached = inspect.unwrap(loop), None, True
        self.versions = self.compiles = 0
        self.__doc__, self.__name__ = loop.__doc__, loop.__name__  # (unwrap: the tests' shape checker wraps everything)
        KERNELS.append(self)

    def __call__(self, *args):
        """Run the loop; the last two arguments are the range of rows."""
        if self.run is None:
            return self.first(args)
        began, result = time.perf_counter(), self.run(*args)
        if self.versions != len(self.run.overloads):  # new types: compiled within that call
            self.announce(time.perf_counter() - began)
        return result

    def first(self, args):
        """Load from the cache or compile, then run. A cache that cannot be used, or is broken, is done without."""
        began = time.perf_counter()
        with compiling:
            try:
                self.run = self.run or compiled(self.loop, cache=True)
                self.run(*args[:-1], args[-2])  # an empty range: nothing is computed yet
            except Exception:  # no folder to write to, or a file there that is cut short
                self.run, self.cached = compiled(self.loop, cache=False), False
                self.run(*args[:-1], args[-2])
            self.announce(time.perf_counter() - began)
        return self.run(*args)

    def announce(self, seconds: float) -> None:
        """Say what was compiled, unless it came from the cache."""
        self.versions, compiled_before = len(self.run.overloads), self.compiles
        self.compiles = self.versions - sum(self.run.stats.cache_hits.values())
        if self.compiles > compiled_before:
            kept = "kept for the next time" if self.cached else "no cache could be written: again in every process"
            log.warning("compiled %s for this CPU in %.1f s (%s)", self.__name__, seconds, kept)
