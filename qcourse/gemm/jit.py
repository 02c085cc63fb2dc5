"""Compiled loops: what every CPU kernel of the course stands on (their vectors: gemm.vectors, their threads: gemm.threads).

`task` turns a plain Python loop into machine code through numba, which installs as a wheel and brings its own compiler
(LLVM), so no C compiler is needed and the loop stays readable. Of what installs that way it was the one that won.
The machine code is cached beside the loops (or in the user's cache where that folder is read-only).
Without numba `gemm.choose` and `gemm.w8a8` fall back to torch, with one warning.
"""

import ctypes
import hashlib
import inspect
import logging
import threading
import time
import warnings
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import numpy as np

log = logging.getLogger("qcourse")
compiling = threading.Lock()
KERNELS: list = []  # every task that was made
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
    raise NotImplementedError("only inside a compiled loop")


def rounded(value, out):
    """fp32 → what the array `out` holds: itself, or bf16 bits (uint16), rounded to nearest even; inside a kernel."""
    raise NotImplementedError("only inside a compiled loop")


PARTS: list = []  # not yet known to numba


def part(function):
    """A plain function that compiled loops may call; it is compiled into each."""
    plain = inspect.unwrap(function)
    PARTS.append(plain)
    return plain


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


def learn() -> None:
    """Tell numba what it does not know yet: the two above, and every new `part`."""
    from numba.extending import register_jitable

    teach_numba()
    while PARTS:
        register_jitable(PARTS.pop())


class task:
    """A loop behind a C function, `void loop(int64_t *a)`: addresses and sizes in, nothing out (results have addresses too).

    A call costs no more than its arithmetic, and torch's own threads can run it without Python (gemm.threads.run). The loop
    takes its arrays out of `a` with `arguments.matrix`; what types they have is a constant of the loop.
    """

    def __init__(self, loop, fast: set[str] | bool = FAST):
        self.loop, self.call, self.cached, self.versions, self.fast = inspect.unwrap(loop), None, True, 0, fast
        self.__doc__, self.__name__ = loop.__doc__, loop.__name__  # (unwrap: the tests' shape checker wraps everything)
        self.loop.__qualname__ += f"_{edition()}"  # in the name of the cache's file: numba itself watches only the loop's
        KERNELS.append(self)

    def ready(self) -> "task":
        """Compile it, or load it from the cache, unless that was done. A cache that cannot be used is done without."""
        with compiling:
            if self.call is None:
                began = time.perf_counter()
                try:
                    self.made = as_c_function(self.loop, self.fast, cache=True)
                except Exception:  # no folder to write to, or a file there that is cut short
                    self.made, self.cached = as_c_function(self.loop, self.fast, cache=False), False
                self.address, self.versions = self.made.address, 1
                self.call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)
                if not self.made.cache_hits:
                    said(self.__name__, time.perf_counter() - began, self.cached)
        return self


def exact(loop) -> task:
    """A task that rounds after every operation, in the order in which they are written, as C does: for bytes that must be
    equal to another program's. (Its parts must be its own: one that a `task` calls too may be compiled the fast way.)"""
    return task(loop, fast=False)


@lru_cache(None)
def loop(module: str, name: str, *constants) -> task:
    """The task that `name` of qcourse.gemm.`module` makes for these constants, made once. The module is imported only now,
    because it needs numba."""
    return getattr(import_module(f"qcourse.gemm.{module}"), name)(*constants)


@lru_cache(1)
def edition() -> str:
    """What tells these loops' machine code from that of any other version of their sources."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def as_c_function(loop, fast: set[str] | bool, cache: bool):
    """`loop` behind a C function pointer."""
    import numba

    learn()
    signature = numba.types.void(numba.types.CPointer(numba.types.int64))
    return numba.cfunc(signature, nopython=True, fastmath=fast, error_model="numpy", cache=cache)(loop)


def said(name: str, seconds: float, cached: bool) -> None:
    """Say on the log what was compiled."""
    kept = "kept for the next time" if cached else "no cache could be written: again in every process"
    log.warning("compiled %s for this CPU in %.1f s (%s)", name, seconds, kept)
