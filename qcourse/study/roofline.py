"""This machine's read bandwidth, and how long one token's matrix–vector product takes at each width.

Measured, with warm-up, median and spread. The weight is rotated among copies, so that most caches miss, because a
decode step never finds the weights in cache. Numbers differ from run to run: quote ratios.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


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


COPIES = 4


def gemv_cases(N: int = 11008, K: int = 4096) -> dict[str, tuple[int, Callable[[int], object]]]:
    """name → (weight bytes, call) for y = x @ W.T with one token, by torch's own CPU kernels, random weights.

    int8 and int4 are torch's packed operators for the CPU (G = 128 for int4); a torch without them leaves them out.
    """
    x = torch.randn(1, K).bfloat16()
    bf16 = [torch.randn(N, K).bfloat16() for _ in range(COPIES)]
    cases = {"bf16": (2 * N * K, lambda i: x @ bf16[i % COPIES].T)}
    if hasattr(torch, "_weight_int8pack_mm"):
        int8 = [torch.randint(-127, 128, (N, K), dtype=torch.int8) for _ in range(COPIES)]
        scale = torch.rand(N).bfloat16()
        cases["int8"] = (N * K + 2 * N, lambda i: torch._weight_int8pack_mm(x, int8[i % COPIES], scale))
    if hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu"):
        codes = torch.randint(0, 16, (N, K), dtype=torch.int32)
        int4 = [torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1) for _ in range(COPIES)]
        both = torch.rand(K // 128, N, 2).bfloat16()  # scale and zero point of each group
        mm = torch.ops.aten._weight_int4pack_mm_for_cpu
        cases["int4"] = (N * K // 2 + both.nbytes, lambda i: mm(x, int4[i % COPIES], 128, both))
    return cases
