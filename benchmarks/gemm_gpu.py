"""Our Triton products beside the best that others offer, on the layers of 7B and 70B models, M = 1 … 4096 tokens.

    python -m benchmarks.gemm_gpu [--layers 7B,70B] [--tokens 1,16,4096] [--json FILE]
    TRITON_INTERPRET=1 python -m benchmarks.gemm_gpu --dry-run       the same road on the CPU, one tiny layer, no meaning

Targets on an H200: W4A16 at M ≤ 16 at least 3.0 × cuBLAS bf16 and 75 % of the bandwidth on 70B layers, never more than 5 %
below gemlite; FP8 at M = 4096 at least 1.6 × bf16 and 95 % of `torch._scaled_mm`. Every product is compared with
fp32 before it is timed. Times are the device's own: a CUDA graph runs one call for each copy of the weights, more copies
than L2 holds, so that weights come from memory as in a model; median and quartiles of 20 replays. Speed-ups are against
cuBLAS bf16 in the same run. Bandwidth is measured by a copy of 1 GB; the share of it counts weights, scales, x and y.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.gemm_kernels import G, Kernel, kernels_of
from qcourse.study import plots
from qcourse.study.evaluate import provenance

LAYERS = {"7B": ((4096, 4096), (11008, 4096), (4096, 11008)), "70B": ((8192, 8192), (28672, 8192), (8192, 28672))}
TOKENS = tuple(1 << i for i in range(13))
REPLAYS = 20
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # dry run: nothing is timed seriously
COLUMNS = ("layer N×K", "M", "kernel", "µs (quartiles)", "× bf16", "GB/s", "share of bandwidth", "error")


def seconds(call: Callable, weights: list) -> list[float]:
    """Time of one call, REPLAYS times, each the mean over all copies of the weights."""
    if INTERPRETED:
        begin = time.perf_counter()
        call(weights[0])
        return [time.perf_counter() - begin] * 2
    graph, (start, end) = torch.cuda.CUDAGraph(), (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.graph(graph):
        for w in weights:
            call(w)
    times = []
    for i in range(-3, REPLAYS):
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times += [start.elapsed_time(end) / 1e3 / len(weights)] if i >= 0 else []
    return times


def measure(k: Kernel, x, bandwidth: float) -> dict:
    """Compare with fp32 (relative Frobenius error: roundings stay below half of the 1 % allowed), then time."""
    prepared = k.prepare(x)
    y, law = k.call(prepared, k.weights[0]), k.law(prepared)
    error = ((y.float() - law).norm() / law.norm()).item()
    if not error < 0.01:
        raise ValueError(
            f"{k.name}: relative error {error:.3g} against fp32: the result is wrong, so its speed means nothing"
        )
    low, median, high = statistics.quantiles(seconds(lambda w: k.call(prepared, w), k.weights), n=4)
    moved = k.nbytes + y.nbytes + (prepared.nbytes if isinstance(prepared, torch.Tensor) else prepared.codes.nbytes)
    return {"kernel": k.name, "seconds": median, "low": low, "high": high, "bytes_per_second": moved / median,
            "share_of_bandwidth": moved / median / bandwidth, "relative_error": error}  # fmt: skip


def copy_bandwidth(device: str, size: int) -> float:
    """Bytes a second, read and written, of a copy of `size` bytes: the fastest of the replays."""
    a, b = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    b.copy_(a)
    return 2 * size / min(seconds(b.copy_, [a]))


def benchmark(layers, tokens, device: str, bandwidth: float):
    """Rows of results, layer by layer, M by M."""
    for N, K in layers:
        W = torch.randn(N, K, device=device) * K**-0.5
        cache = torch.cuda.get_device_properties(0).L2_cache_size if W.is_cuda else 0
        kernels = kernels_of(W, max(2, -(-4 * cache // (N * K // 2))))
        for M in tokens:
            x, base = torch.randn(M, K, device=device).bfloat16(), None
            for k in kernels:
                if k.least > M:
                    continue
                try:
                    row = {"N": N, "K": K, "M": M, **measure(k, x, bandwidth)}
                except (RuntimeError, ValueError) as e:
                    if "ours" in k.name:
                        raise
                    print(f"left out: {k.name} at {N}×{K}, M={M} ({str(e).splitlines()[0]})", file=sys.stderr)
                    continue
                base = row["seconds"] if base is None else base  # cuBLAS bf16 comes first
                yield row | {"speedup": base / row["seconds"]}


def line(r: dict) -> str:
    """One result as a row of the table."""
    micro = "{:.1f} ({:.1f}–{:.1f})".format(*(1e6 * r[key] for key in ("seconds", "low", "high")))
    cells = (f"{r['N']}×{r['K']}", r["M"], r["kernel"], micro, f"{r['speedup']:.2f}", f"{r['bytes_per_second'] / 1e9:.0f}",
             f"{r['share_of_bandwidth']:.0%}", f"{r['relative_error']:.1e}")  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def plot(results: list[dict]):
    """Speed-up over cuBLAS bf16 against M, on the largest layer that was measured."""
    N, K = max(((r["N"], r["K"]) for r in results), key=lambda shape: shape[0] * shape[1])
    rows = [r for r in results if (r["N"], r["K"]) == (N, K)]
    tokens = sorted({r["M"] for r in rows})
    by_kernel = {}
    for r in rows:
        by_kernel.setdefault(r["kernel"], {})[r["M"]] = r["speedup"]
    series = {name: [s.get(M, float("nan")) for M in tokens] for name, s in by_kernel.items()}
    return plots.lines(tokens, series, f"Speed-up over cuBLAS bf16, W ({N}, {K})", "tokens M", "times", logx=True)


def main() -> None:
    """Measure, print as the rows come, write JSON and a plot as well. Without CUDA: one sentence and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--layers", default="7B,70B", type=lambda s: [shape for name in s.split(",") for shape in LAYERS[name]]
    )
    parser.add_argument("--tokens", default=TOKENS, type=lambda s: tuple(map(int, s.split(","))))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    if not args.dry_run and not torch.cuda.is_available():
        print("benchmarks.gemm_gpu needs a CUDA device, and torch sees none here: not measured.", file=sys.stderr)
        sys.exit(2)
    if args.dry_run != INTERPRETED:
        parser.error("--dry-run and TRITON_INTERPRET=1 (Triton's interpreter) go together")
    if args.json and args.json.exists():
        parser.error(f"{args.json} exists: choose another file")
    device, layers, tokens = ("cpu", [(48, 128)], (1, 20)) if args.dry_run else ("cuda", args.layers, args.tokens)
    bandwidth = copy_bandwidth(device, 1 << (20 if args.dry_run else 30))
    about = provenance(device) | {"command": shlex.join(["python", "-m", "benchmarks.gemm_gpu", *sys.argv[1:]])}
    installed = [name for name in ("triton", "gemlite") if importlib.util.find_spec(name)]
    about["versions"] |= {name: importlib.metadata.version(name) for name in installed}
    print(f"{about['device']}, {about['date']}, {about['versions']}, copy {bandwidth / 1e9:.0f} GB/s\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    results = []
    for row in benchmark(layers, tokens, device, bandwidth):
        print(line(row), flush=True)
        results.append(row)
        if args.json:  # after every row, so that an interrupted run is not lost
            args.json.write_text(json.dumps(about | {"bandwidth": bandwidth, "group_size": G, "results": results}, indent=1))
    if args.json:
        plot(results).savefig(args.json.with_suffix(".png"))


if __name__ == "__main__":
    with torch.inference_mode():
        main()
