"""GPTQ on one layer of 4096 × 4096 with 128 samples, beside the algorithm as it was published, in the same run.

    python -m benchmarks.gptq [--reference FOLDER] [--size 4096] [--samples 128] [--tokens 512] [--out FILE]

Both gather the Hessian of the same samples and round the same W to int4, G = 128, no act_order. "theirs" is the paper's
algorithm as its authors' code arranges it (Cholesky, inverse, Cholesky of the inverse; a rank-1 update of the block for
every column), in fp32; with --reference, a checkout of IST-DASLab/gptq, it is that code itself. Both are warmed up on a
small layer; the figures are seconds of the two halves and their ratio, and the output errors on the samples.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import sys
import time
import types
from pathlib import Path

import torch
from torch import nn

from qcourse.methods.calibration import InputStats
from qcourse.methods.gptq import gptq
from qcourse.numerics.granularity import per_group
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import dequantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.study.evaluate import provenance

G, BLOCK, DAMP = 128, 128, 0.01


class Published:
    """The paper's algorithm 1 in plain torch, fp32: `add_batch`, then `round`."""

    def __init__(self, layer: nn.Linear):
        self.layer, K = layer, layer.in_features
        self.H, self.samples = torch.zeros(K, K), 0

    def add_batch(self, x: torch.Tensor) -> None:
        """A running mean of 2·xᵀx over samples (T, K)."""
        self.H *= self.samples / (self.samples + 1)
        self.samples += 1
        x = (2 / self.samples) ** 0.5 * x
        self.H += x.T @ x

    def round(self) -> None:
        """W ← Ŵ."""
        W, H = self.layer.weight.data.clone(), self.H
        K = len(H)
        H[range(K), range(K)] += DAMP * H.diagonal().mean()
        U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)
        Q = torch.zeros_like(W)
        for i in range(0, K, BLOCK):
            j = slice(i, i + BLOCK)
            block, u, errors = W[:, j].clone(), U[j, j], torch.zeros(len(W), BLOCK)
            for k in range(BLOCK):
                w = block[:, k]
                if k % G == 0:
                    s = W[:, i + k : i + k + G].abs().amax(1) / 7.5
                Q[:, i + k] = (w / s).round().clamp(-8, 7) * s
                errors[:, k] = (w - Q[:, i + k]) / u[k, k]
                block[:, k:] -= errors[:, k : k + 1] @ u[k : k + 1, k:]
            W[:, i + BLOCK :] -= errors @ U[j, i + BLOCK :]
        self.layer.weight.data = Q


def reference(folder: Path):
    """`Published`'s interface over the authors' own class."""
    sys.modules.setdefault("transformers", types.ModuleType("transformers"))  # it wants a name of it, and never uses it here
    sys.modules["transformers"].Conv1D = type("Conv1D", (), {})
    found = []
    for name in ("quant", "gptq"):  # the second imports the first by this name
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        with contextlib.redirect_stdout(io.StringIO()):
            spec.loader.exec_module(sys.modules[name])
        found.append(sys.modules[name])
    quant, theirs = found
    torch.cuda.synchronize = lambda *_: None  # called without a GPU, too

    class Reference:
        def __init__(self, layer):
            self.inner = theirs.GPTQ(layer)
            self.inner.quantizer = quant.Quantizer()
            self.inner.quantizer.configure(4, perchannel=True, sym=True, mse=False)

        def add_batch(self, x):
            self.inner.add_batch(x.unsqueeze(0), None)

        def round(self):
            with contextlib.redirect_stdout(io.StringIO()):
                self.inner.fasterquant(blocksize=BLOCK, percdamp=DAMP, groupsize=G)

    return Reference


def time_theirs(make, W: torch.Tensor, samples: list[torch.Tensor]) -> tuple[float, float, torch.Tensor]:
    """(seconds for the Hessian, seconds for rounding, Ŵ)."""
    layer = nn.Linear(W.shape[1], W.shape[0], bias=False)
    layer.weight.data = W.clone()
    begin, them = time.perf_counter(), make(layer)
    for x in samples:
        them.add_batch(x)
    middle = time.perf_counter()
    them.round()
    return middle - begin, time.perf_counter() - middle, layer.weight.data


def time_ours(W: torch.Tensor, samples: list[torch.Tensor]) -> tuple[float, float, torch.Tensor]:
    """The same of the package."""
    begin, stats = time.perf_counter(), InputStats(W.shape[1], with_hessian=True)
    for x in samples:
        stats.update(x)
    middle = time.perf_counter()
    q = gptq(W, QuantizationArgs(IntGrid(4), per_group(G), scale=torch.float32), stats, act_order="none")
    return middle - begin, time.perf_counter() - middle, dequantize(q)


def main() -> None:
    """Print the table; keep it with --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, help="a checkout of IST-DASLab/gptq")
    for name, default in (("size", 4096), ("samples", 128), ("tokens", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args()
    theirs = reference(args.reference) if args.reference else Published
    torch.manual_seed(0)
    mix = torch.randn(args.size, args.size) * torch.logspace(0, -2, args.size).unsqueeze(1)
    samples = [torch.randn(args.tokens, args.size) @ mix for _ in range(args.samples)]
    W, small = torch.randn(args.size, args.size), torch.randn(256, 256)
    with torch.inference_mode():
        for run in (time_ours, lambda *a: time_theirs(theirs, *a)):
            run(small, [x[:, :256] for x in samples[:2]])
        rows = {"theirs": time_theirs(theirs, W, samples), "ours": time_ours(W, samples)}
        cost = {name: sum(((Q - W) @ x.T).square().sum().item() for x in samples[:8]) for name, (*_, Q) in rows.items()}
    for name, (gather, rounding, _) in rows.items():
        print(f"{name:7s} Hessian {gather:7.1f} s   rounding {rounding:7.1f} s   all {gather + rounding:7.1f} s")
    ratio = sum(rows["ours"][:2]) / sum(rows["theirs"][:2])
    print(f"ours / theirs: {ratio:.2f} of the time; output error {cost['ours'] / cost['theirs']:.4f} of theirs")
    if args.out:
        found = {n: {"hessian_s": a, "rounding_s": b, "output_error": cost[n]} for n, (a, b, _) in rows.items()}
        setting = {k: v for k, v in vars(args).items() if k in ("size", "samples", "tokens")}
        command = "python -m benchmarks.gptq" + (" --reference CHECKOUT" if args.reference else "")
        peer = "IST-DASLab/gptq" if args.reference else "published algorithm"
        record = provenance("cpu") | {"command": command, "settings": setting | {"theirs": peer}, "results": found}
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
