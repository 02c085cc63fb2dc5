"""This machine's read bandwidth, and how long one token's matrix–vector product takes at each width.

Measured, with warm-up, best, median and spread. The weight is rotated among copies, so that most caches miss, because a
decode step never finds the weights in cache. Other programs only ever add time, and they come and go: rivals are timed in
turns (`interleaved`), and `load` says whether anybody else is at work. Numbers differ from run to run: quote ratios.
"""

import hashlib
import statistics
import threading
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
    """Seconds a call: the median, the quartiles as its spread, and the best."""

    median: float
    low: float
    high: float
    best: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        """From single calls, at least two."""
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(median, low, high, min(seconds))

    def __str__(self) -> str:
        return f"{self.median * 1e3:.2f} ms ({self.low * 1e3:.2f}–{self.high * 1e3:.2f})"


def interleaved(
    calls: dict[str, Callable[[int], object]], repeats: int = 15, warmup: int = 3, limit: float = 3.0
) -> dict[str, Timing]:
    """Time rivals in turns, `call(i)` for i = 0, 1, … after `warmup` rounds that do not count. A slow moment meets all.

    After `limit` seconds no further round is begun, but two rounds always count: slow machines measure less often.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + limit
    for i in (*range(-warmup, 0), *range(repeats)):
        if time.perf_counter() > end and (i < 0 or i >= 2):
            continue
        for name, call in calls.items():
            begin = time.perf_counter()
            call(i)
            took = time.perf_counter() - begin
            if i >= 0:
                seconds[name].append(took)
    return {name: Timing.of(s) for name, s in seconds.items()}


def measure(call: Callable[[int], object], repeats: int = 15, warmup: int = 3) -> Timing:
    """Time one call, as `interleaved` does."""
    return interleaved({"": call}, repeats, warmup)[""]


@dataclass(frozen=True)
class Load:
    """The share of processor time that `threads` threads got while all of them only computed."""

    threads: int
    share: float

    @property
    def busy(self) -> bool:
        """True when a tenth or more went to something else."""
        return self.share < 0.9

    def __str__(self) -> str:
        got = f"{self.threads} computing thread{'s' * (self.threads > 1)} got {self.share:.0%} of their time"
        if self.busy:
            return f"this machine is busy: {got}, other programs took the rest. Its times are too long: measure again later."
        return f"this machine is quiet: {got}"


def load(milliseconds: float = 200) -> Load:
    """Is anybody else at work? As many threads as torch uses compute for a moment: processor time against the clock."""
    threads, block, shares = torch.get_num_threads(), bytes(1 << 20), []

    def work() -> None:
        begin, begin_cpu, wall = time.perf_counter(), time.thread_time(), 0.0
        while wall < milliseconds / 1e3:
            hashlib.sha256(block)  # releases the interpreter's lock
            wall = time.perf_counter() - begin
        shares.append((time.thread_time() - begin_cpu) / wall)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return Load(threads, min(1.0, statistics.mean(shares)))


@dataclass(frozen=True)
class Rate:
    """Bytes (or operations) a second: the best of several readings, their median and quartiles."""

    best: float
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.best / 1e9:.1f} G/s at best, half of the readings in {self.low / 1e9:.1f}–{self.high / 1e9:.1f}"


def rate(amount: float, timing: Timing) -> Rate:
    """`amount` done in each timed call."""
    return Rate(amount / timing.best, amount / timing.median, amount / timing.high, amount / timing.low)


def bandwidth(megabytes: int = 256, repeats: int = 15) -> Rate:
    """Bytes a second that all threads together read from memory, in several passes over a large buffer."""
    buffer = torch.ones(megabytes << 20, dtype=torch.uint8).view(torch.float32)
    return rate(buffer.nbytes, measure(lambda i: buffer.amax(), repeats, warmup=1))  # amax must look at every element


def read_bandwidth(megabytes: int = 256) -> float:
    """The best reading of `bandwidth`."""
    return bandwidth(megabytes, repeats=8).best


def arithmetic(dtype: torch.dtype, size: int = 1024, repeats: int = 9) -> Rate:
    """FLOP/s of torch's x @ W.T, the product of a layer, in several products of two (size, size) matrices."""
    x, W = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return rate(2 * size**3, measure(lambda i: x @ W.T, repeats, warmup=2))


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
        copies = [replace(p, tensors={n: t.clone() for n, t in p.tensors.items()}) for _ in range(COPIES)]
        products = [choose(copy) for copy in copies]
        cases[name] = (p.nbytes, lambda i, products=products: products[i % COPIES](x))
    return cases
