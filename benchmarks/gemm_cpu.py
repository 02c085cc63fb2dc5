"""How fast are the CPU kernels? Beside torch's own and llama.cpp's, in one run: int4, int8, W8A8 at M = 1 … 512 tokens, for
a matrix as in a large model (11008, 4096) and one as in a small one (576, 1536).

    python -m benchmarks.gemm_cpu [--out FOLDER] [--quick]     Markdown, FOLDER/gemm-cpu-DATE.json and .png
    python -m benchmarks.gemm_cpu --tune                       measure where kernels cross over, and keep it (gemm.choose)

The contenders take turns within every round, so that a busy machine is busy for all of them, and each call gets another
copy of its weight, as in a real decode step, so that no cache keeps it. Quote ratios, not milliseconds.

llama.cpp's products (benchmarks.ggml_peer) join where ik-llama-cpp-python is installed; the capture says when it is not.
"dequantize, matmul" is our own fast decoder writing all of Ŵ, then torch: what a kernel has to beat to deserve its name.
"""

import argparse
import json
import os
import platform
import random
import shlex
import statistics
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks import ggml_peer
from benchmarks.gemm_cpu_report import decode_table, plot, sweep_table
from qcourse.gemm import cpu
from qcourse.gemm.choose import choose, describe
from qcourse.gemm.crossover import crossover, set_crossover
from qcourse.gemm.operand import Operand
from qcourse.gemm.threads import rows_in_threads
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import PackedWeight, pack
from qcourse.study import roofline
from qcourse.study.crossover import measure_crossover

SHAPES = {(11008, 4096): 128, (576, 1536): 128}  # (N, K): G
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def copies(p: PackedWeight, n: int) -> list[PackedWeight]:
    """The same weight at n places in memory."""
    return [replace(p, tensors={name: t.clone() for name, t in p.tensors.items()}) for _ in range(n)]


class Weights:
    """Every form of one random weight (N, K), several copies each."""

    def __init__(self, N: int, K: int, G: int):
        W = torch.randn(N, K)
        self.shape, self.W = (N, K, G), W
        self.bf16 = [W.bfloat16() for _ in range(2)]
        self.fp32 = [W]
        self.blocks = {n: copies(pack(quantize(W, PRESETS[n].weights)), 3) for n in BLOCKS}
        int8 = pack(quantize(W, PRESETS["W8A16"].weights))
        self.int4, self.int8 = copies(pack(quantize(W, PRESETS["W4A16"].weights)), 4), copies(int8, 3)
        self.codes = [(p.data.int() - 128).to(torch.int8) for p in self.int8]
        unsigned = torch.randint(0, 16, (N, K), dtype=torch.int32)
        self.torch4 = [torch.ops.aten._convert_weight_to_int4pack_for_cpu(unsigned, 1) for _ in range(4)]
        self.torch4_scale = torch.rand(K // G, N, 2)
        self.torch8_scale = torch.rand(N)


BLOCKS = ("W4A8_G128", "W4A8_G32", "W8A8_G128")  # int8 activations with one scale a block


def dequantize_then_matmul(x: torch.Tensor, p: PackedWeight, W_hat: torch.Tensor) -> torch.Tensor:
    """Decode all of Ŵ into `W_hat` (kept from call to call), then one product."""
    decoder, (N, K) = cpu.Decoder(p, x.dtype), p.shape

    @torch.inference_mode()
    def work(n0: int, n1: int) -> None:
        buffer = decoder.buffer()
        for a in range(n0, n1, cpu.ROWS):
            b = min(a + cpu.ROWS, n1)
            W_hat[a:b] = decoder.rows(a, b, buffer)

    rows_in_threads(work, N, N * K)
    return decoder.order(x) @ W_hat.T


def peers(w: Weights, M: int) -> dict:
    """name → call(i) of llama.cpp's products, where they are installed (they take fp32)."""
    if ggml_peer.library() is None:
        return {}
    found = {}
    for kind in ggml_peer.TYPES if M <= 64 else ():
        product = ggml_peer.Product(kind, w.W.numpy(), M, 3, torch.get_num_threads())
        product.input[:] = torch.randn(M, w.shape[1]).numpy()
        found[f"llama.cpp {kind}"] = product
    return found


def contenders(w: Weights, M: int, dtype: torch.dtype) -> dict:
    """name → call(i) for M tokens of `dtype`."""
    N, K, G = w.shape
    x, plain = torch.randn(M, K).to(dtype), w.bf16 if dtype == torch.bfloat16 else w.fp32
    x8, s4, s8 = torch.randint(-127, 128, (M, K), dtype=torch.int8), w.torch4_scale.to(dtype), w.torch8_scale.to(dtype)
    int4, W_hat = torch.ops.aten._weight_int4pack_mm_for_cpu, torch.empty(N, K, dtype=dtype)
    int4s, int8s = [choose(p) for p in w.int4], [choose(p) for p in w.int8]
    fours, eights = [Operand.of(p) for p in w.int4], [Operand.of(p) for p in w.int8]
    blocks = {n: [choose(p, PRESETS[n].input_activations) for p in ps] for n, ps in w.blocks.items()}
    in_blocks = {n: (lambda i, ps=ps: ps[i % 3](x)) for n, ps in blocks.items()}
    return (
        peers(w, M)
        | in_blocks
        | {
            "torch 16/32-bit": lambda i: x @ plain[i % len(plain)].T,
            "int4 chosen": lambda i: int4s[i % 4](x),
            "int4 int_dot": lambda i: cpu.int_dot(x, fours[i % 4]),
            "int4 blocked": lambda i: cpu.blocked(x, fours[i % 4]),
            "int4 dequantize, matmul": lambda i: dequantize_then_matmul(x, w.int4[i % 4], W_hat),
            "int4 torch": lambda i: int4(x, w.torch4[i % 4], G, s4),
            "int8 chosen": lambda i: int8s[i % 3](x),
            "int8 int_dot": lambda i: cpu.int_dot(x, eights[i % 3]),
            "int8 blocked": lambda i: cpu.blocked(x, eights[i % 3]),
            "int8 torch": lambda i: torch._weight_int8pack_mm(x, w.codes[i % 3], s8),
            "w8a8 ours": lambda i: cpu.int8_dots(x8, w.codes[i % 3]),
            "w8a8 torch": lambda i: torch._int_mm(x8, w.codes[i % 3].T),
        }
    )


def race(calls: dict, rounds: int) -> dict[str, tuple[float, float, float]]:
    """name → (median, first and third quartile) seconds; everybody runs once in each round, in another order each time."""
    seconds, order, shuffle = {name: [] for name in calls}, list(calls), random.Random(0).shuffle
    for i in range(-1, rounds):
        shuffle(order)
        for name in order:
            began = time.perf_counter()
            calls[name](i)
            if i >= 0:
                seconds[name].append(time.perf_counter() - began)
    quartiles = {name: statistics.quantiles(s, n=4) for name, s in seconds.items()}
    return {name: (q[1], q[0], q[2]) for name, q in quartiles.items()}


def hopeless(name: str, M: int, dtype: torch.dtype) -> bool:
    """Who is left out because it would only cost minutes: integer loops beyond 32 tokens, llama.cpp's beyond 64, and torch's
    packed ones on fp32."""
    ours, packed = ("int4 int_dot", "int8 int_dot", "w8a8 ours"), ("int4 torch", "int8 torch")
    return (
        M > 32
        and name in ours
        or M > 64
        and name.startswith("llama.cpp")
        or M > 2
        and dtype == torch.float32
        and name in packed
    )


def measured(w: Weights, tokens: tuple[int, ...]) -> dict:
    """dtype of x → M → name → (median, quartiles)."""
    results, small = {}, w.W.numel() < 1 << 22
    for dtype in (torch.bfloat16, torch.float32):
        for M in tokens:
            calls = {n: c for n, c in contenders(w, M, dtype).items() if not hopeless(n, M, dtype)}
            rounds = 100 if small else 30 if M == 1 else max(5, 11 - M // 64)
            results.setdefault(str(dtype).removeprefix("torch."), {})[str(M)] = race(calls, rounds)
            for call in calls.values():
                if isinstance(call, ggml_peer.Product):
                    call.close()
    return results


def run(quick: bool) -> dict:
    """All measurements, with what they were made on; those of the small matrix under "small"."""
    bandwidth, tokens, found = roofline.read_bandwidth(), (1, 16, 128) if quick else TOKENS, []
    for (N, K), G in SHAPES.items():
        w = Weights(N, K, G)
        size = {"bf16": 2 * N * K, "int4": w.int4[0].nbytes, "int8": w.int8[0].nbytes}
        found.append({"shape": [N, K, G], "bytes": size, "seconds": measured(w, tokens)})
    bandwidth = max(bandwidth, roofline.read_bandwidth())
    facts = {"device": cpu_name(), "threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability()}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numba": __import__("numba").__version__}
    versions[ggml_peer.PACKAGE] = version(ggml_peer.PACKAGE) if ggml_peer.library() else "not installed"
    return {
        **facts, "date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions,
        "command": shlex.join(["python", "-m", "benchmarks.gemm_cpu", *sys.argv[1:]]),
        "read_bandwidth": bandwidth, "crossover": crossover(), **found[0], "small": found[1],
    }  # fmt: skip


def cpu_name() -> str:
    """The processor's name where Linux tells it, and the number of cores."""
    info = Path("/proc/cpuinfo")
    names = [s.split(":")[1].strip() for s in info.read_text().splitlines() if "model name" in s] if info.exists() else []
    return f"CPU {(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} cores"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--quick", action="store_true", help="M = 1, 16, 128 only")
    parser.add_argument("--tune", action="store_true", help="measure the cross-overs and keep them for this machine")
    args = parser.parse_args()
    if args.tune:
        set_crossover(measure_crossover())
        print(describe())
        return
    with torch.inference_mode():
        r = run(args.quick)
    where = f"{r['device']}, {r['threads']} threads, {r['capability']}"
    print(f"{where}, reads {r['read_bandwidth'] / 1e9:.1f} GB/s\n\n{decode_table(r)}")
    for part in (r, r["small"]):
        for dtype, by_tokens in part["seconds"].items():
            print("\n" + sweep_table(by_tokens, f"ms, W {tuple(part['shape'][:2])}, {dtype} x"))
    args.out.mkdir(parents=True, exist_ok=True)
    out = args.out / f"gemm-cpu-{r['date'][:10]}"
    out.with_suffix(".json").write_text(json.dumps(r, indent=1) + "\n")
    plot(r).savefig(out.with_suffix(".png"))
    print(f"\nwritten to {out}.json and .png")


if __name__ == "__main__":
    main()
