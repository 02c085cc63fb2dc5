"""This machine's read bandwidth, and how long one token's matrix–vector product takes at each width.

Measured, with warm-up, median and spread. The weight is rotated among copies, so that most caches miss, because a
decode step never finds the weights in cache. Numbers differ from run to run: quote ratios.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from qcourse.gemm.choose import choose
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import pack


@dataclass(frozen=True)
class Timing:
    """Seconds a call: median, and the quartiles as its spread."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median * 1e3:.2f} ms ({self.low * 1e3:.2f}–{self.high * 1e3:.2f})"


def measure(call: Callable[[int], object], repeats: int = 15, warmup: int = 3) -> Timing:
    """Time `call(i)` for i = 0, 1, … after `warmup` calls that do not count."""
    seconds = []
    for i in range(-warmup, repeats):
        begin = time.perf_counter()
        call(i)
        if i >= 0:
            seconds.append(time.perf_counter() - begin)
    low, median, high = statistics.quantiles(seconds, n=4)
    return Timing(median, low, high)


def read_bandwidth(megabytes: int = 256) -> float:
    """Bytes a second that all threads together read from memory: the fastest of several passes over a large buffer."""
    buffer = torch.ones(megabytes << 20, dtype=torch.uint8).view(torch.float32)
    return buffer.nbytes / min(one_pass(buffer) for _ in range(8))


def one_pass(buffer: torch.Tensor) -> float:
    """Seconds of one pass that must look at every element."""
    begin = time.perf_counter()
    buffer.amax()
    return time.perf_counter() - begin


def arithmetic(dtype: torch.dtype, size: int = 2048) -> float:
    """FLOP/s of this machine's matrix product: the fastest of several products of two (size, size) matrices."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return 2 * size**3 / measure(lambda i: a @ b, repeats=5, warmup=2).low


def seconds(M: int, N: int, K: int, weight_bytes: float, bandwidth: float, flops: float) -> float:
    """The roofline: y = x @ W.T takes at least as long as reading W, and as doing 2·M·N·K operations.

    >>> seconds(1, 4096, 4096, 2 * 4096**2, bandwidth=32e9, flops=200e9) > seconds(1, 4096, 4096, 4096**2 / 2, 32e9, 200e9)
    True
    """
    return max(weight_bytes / bandwidth, 2 * M * N * K / flops)


COPIES = 4


def gemm_cases(N: int = 11008, K: int = 4096, M: int = 1) -> dict[str, tuple[int, Callable[[int], object]]]:
    """name → (weight bytes, call) for y = x @ W.T of M tokens: bf16 by torch, int8 and int4 (G = 128) by `gemm.choose`."""
    x = torch.randn(M, K).bfloat16()
    W = torch.randn(N, K)
    bf16 = [W.bfloat16() for _ in range(COPIES)]
    cases = {"bf16": (2 * N * K, lambda i: x @ bf16[i % COPIES].T)}
    for name, preset in (("int8", "W8A16"), ("int4", "W4A16")):
        p = pack(quantize(W, PRESETS[preset].weights))
        copies = [replace(p, data=p.data.clone(), scale=p.scale.clone()) for _ in range(COPIES)]
        kernel = choose(p)
        cases[name] = (p.nbytes, lambda i, kernel=kernel, copies=copies: kernel(x, copies[i % COPIES]))
    return cases
