"""How fast and how lean is `quantize`? Beside the same work written as plain in-place torch ops, in the same run.

    python -m benchmarks.quantize        prints a Markdown table

Matrix: 4096 × 11008 fp32 → int4, G = 128. Targets: at most 3 × the plain time, at most 2 × the input as extra memory.
Extra memory is the growth of the process's peak resident size, measured in a fresh process for each side.
"""

import multiprocessing
import platform
import resource
import statistics
import sys
import time

import torch

from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS

N, K, G = 4096, 11008, 128
ARGS = PRESETS["W4A16"].weights


def ours(W: torch.Tensor):
    """The package."""
    return quantize(W, ARGS)


def plain(W: torch.Tensor):
    """The same codes and scales in five in-place torch ops, without checks."""
    blocks = W.view(N, K // G, G)
    scale = blocks.abs().amax(-1, keepdim=True).div_(7.5).bfloat16().float()
    return blocks.div(scale).round_().clamp_(-8, 7).to(torch.int8), scale


def peak_kilobytes() -> int:
    """Largest resident size of this process so far (Linux: kilobytes; macOS: bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def measure_memory(name: str) -> float:
    """Peak growth over the input's bytes."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=memory_child, args=(name, queue))
    process.start()
    growth = queue.get()
    process.join()
    return growth / (4 * N * K)


def memory_child(name: str, queue) -> None:
    """Body of the fresh process."""
    W = torch.randn(N, K)
    before = peak_kilobytes()
    {"ours": ours, "plain": plain}[name](W)
    queue.put(1024 * (peak_kilobytes() - before))


def main() -> None:
    """Interleave the two sides, so that a busy machine is busy for both."""
    extra = {name: measure_memory(name) for name in ("plain", "ours")}  # first: a child inherits its parent's peak
    W = torch.randn(N, K)
    seconds = {"ours": [], "plain": []}
    for i in range(8):
        for name, call in (("ours", ours), ("plain", plain)):
            begin = time.perf_counter()
            call(W)
            if i:
                seconds[name].append(time.perf_counter() - begin)
    median = {name: statistics.median(s) for name, s in seconds.items()}
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {N}×{K} fp32 → int4 G={G}\n")
    print("| | median [ms] | ratio to plain | peak extra memory / input |\n|---|---|---|---|")
    for name in ("plain", "ours"):
        ratio = median[name] / median["plain"]
        print(f"| {name} | {median[name] * 1e3:.0f} | {ratio:.2f} | {extra[name]:.2f} |")


if __name__ == "__main__":
    main()
