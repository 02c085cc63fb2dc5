"""What each method makes of the one weight that counts: only its matrix is rounded, all else stays in 16 bits.

found       where it is, and how loud its input channel is beside the median one (mean |x|)
bf16        the reference
a way       what that weight became, what its group of 64 lost, the matrix's error, that of its output on held-out text (all
            tokens; those behind the first), and the bits a byte that the model loses
times c     that weight alone, times c: nothing is rounded at all

Experiment "one-weight" (study.experiments). Source of the rule: Yu et al. 2024 (arXiv:2411.07191). Notebook 07.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from qcourse.layers.config import scheme_of
from qcourse.layers.sequential import output_error
from qcourse.methods.awq import search_clip, search_scales
from qcourse.methods.calibration import InputStats
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import dequantize, fake_quantize
from qcourse.shapes import Float, Tensor
from qcourse.study.insides import listening, super_weights
from qcourse.study.perplexity import paired_difference, perplexity, windows

G = 64
ROW, SYM, ASYM, FZERO = (scheme_of(f"W4A16_{kind}").weights for kind in ("CHANNEL", "G64", "ASYM_G64", "FZERO_G64"))


def chosen(quantizer: str, args) -> Callable:
    """A way: the codes of one quantizer."""
    return lambda W, seen, later: dequantize(QUANTIZERS[quantizer].run(W, args, seen, "W"))


def scaled(W: Float[Tensor, "N K"], seen: InputStats, later: InputStats) -> Float[Tensor, "N K"]:
    """AWQ's factors, then its clipping, then rounding; the factors taken out again."""
    s = search_scales(seen, [W], ASYM).s
    return fake_quantize(search_clip(W * s, seen.sample / s, ASYM), ASYM) / s


def clipped(W: Float[Tensor, "N K"], x: Float[Tensor, "M K"]) -> Float[Tensor, "N K"]:
    """AWQ's clipping without its factors, judged by the inputs x."""
    return fake_quantize(search_clip(W, x, ASYM), ASYM)


WAYS: dict[str, Callable] = {  # (W, statistics of all tokens, of all but the first of each window) → Ŵ
    "W4A16_CHANNEL": chosen("rtn", ROW),
    "W4A16_CHANNEL, scales by the weights' squared error": chosen("rtn", ROW.with_(scaling="mse")),
    "W4A16_G64": chosen("rtn", SYM),
    "W4A16_ASYM_G64": chosen("rtn", ASYM),
    "W4A16_FZERO_G64+hqq": chosen("hqq", FZERO),
    "W4A16_ASYM_G64+imatrix": chosen("imatrix", ASYM),
    "W4A16_ASYM_G64+awq": scaled,
    "W4A16_ASYM_G64+gptq": chosen("gptq", ASYM),
    "W4A16_ASYM_G64+autoround": chosen("autoround", ASYM),
    "W4A16_ASYM_G64, clipped": lambda W, seen, later: clipped(W, seen.sample),
    "W4A16_ASYM_G64, clipped without first tokens": lambda W, seen, later: clipped(W, later.sample),
}
TIMES = {f"times {c:g}": c for c in (0.75, 0.5, 0.25, 0)}


@contextmanager
def instead(layer, W: Float[Tensor, "N K"]) -> Iterator[None]:
    """A 16-bit Linear with another weight, until the block ends."""
    kept = layer.weight.data
    try:
        layer.weight.data = W.to(kept.dtype)
        yield
    finally:
        layer.weight.data = kept


@contextmanager
def heard(layer) -> Iterator[tuple[InputStats, InputStats]]:
    """Statistics of a layer's input, with Hessians, while text runs: of all tokens, and without the first of each window."""
    both = tuple(InputStats(layer.input_size, with_hessian=True) for _ in range(2))

    def hear(_, x, out):
        both[0].update(x)
        both[1].update(x[:, 1:])

    with listening([layer], hear):
        yield both


def fate(W: Tensor, W_hat: Tensor, row: int, column: int, held: tuple[InputStats, InputStats]) -> dict:
    """What became of one weight, of the other 63 of its group, of the matrix and of its output."""
    start = column // G * G
    others = [k for k in range(start, start + G) if k != column]
    lost = W_hat - W
    return {
        "value": W_hat[row, column].item(),
        "neighbours": (lost[row, others].norm() / W[row, others].norm()).item(),
        "weights": (lost.norm() / W.norm()).item(),
        "output": output_error(W, W_hat, held[0]),
        "output behind the first token": output_error(W, W_hat, held[1]),
    }


def fates(
    source: Path | str, done: Mapping, n: int, seq_len: int, ways: list[str] | None = None
) -> Iterator[tuple[str, dict]]:
    """(key, numbers): "found", "bf16", then each of `ways` (default: all of WAYS and TIMES) that is not `done`."""
    left = [w for w in (ways or [*WAYS, *TIMES]) if w not in done]
    if not left:
        return
    model = load_model(source, dequantize=True).float()
    sample, text = windows(source, n, seq_len, "calibration").ids[:, :-1], windows(source, n, seq_len)
    found = done.get("found") or super_weights(model, sample, 1)[0]
    layer, row, column = model.linears()[found["layer"]], found["row"], found["column"]
    with heard(layer) as (seen, later), torch.inference_mode():
        for part in sample.split(4):
            model(part)
    with heard(layer) as held:
        reference = perplexity(model, text, batch=4)
    if "found" not in done:
        mean = seen.mean_abs
        yield "found", found | {"mean_abs": mean[column].item(), "median_mean_abs": mean.median().item()}
    if "bf16" not in done:
        yield "bf16", {"bits_per_byte": reference.bits_per_byte, "stderr": reference.stderr}
    W = layer.weight.data.float().clone()
    for name in left:
        W_hat = W.clone() if name in TIMES else WAYS[name](W, seen, later)
        if name in TIMES:
            W_hat[row, column] *= TIMES[name]
        with instead(layer, W_hat):
            added = paired_difference(reference, perplexity(model, text, batch=4))
        numbers = {"added_bits_per_byte": added.mean, "added_stderr": added.stderr}
        yield name, fate(W, W_hat, row, column, held) | numbers
