"""The methods of the cheatsheet: who needs data is read from the registries, what each wins from the captures; and what
limits you → what to take.

The words (what is minimized, what it costs, when to take it) are those of the modules in qcourse.methods and of notebooks
03, 06, 07 and 12.
"""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass

from qcourse.methods import autoround, awq, imatrix, qat
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.study.families import TRANSFORMS
from qcourse.study.widgets.decide import DECISIONS

NONE, INPUTS, PAIRS = "no", "yes: each input channel", "yes: XᵀX of the inputs"


@dataclass(frozen=True)
class Method:
    """A row. least: what it minimizes · won: (capture, pairs of before and after), names of what was measured there."""

    name: str
    does: str
    least: str
    cost: str
    when: str
    won: tuple[str, tuple[tuple[str, str], ...]]


def default(function, name: str):
    """The default of an argument: numbers of the sheet are those of the code."""
    return inspect.signature(function).parameters[name].default


SMALL = "smollm2-methods"
FOUR, TWO, FOUR_F, TWO_F = (f"W{b}A16_{zero}_G64" for zero in ("ASYM", "FZERO") for b in (4, 2))


def added(name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A quantizer or AWQ on SmolLM2 at 4 and at 2 bits."""
    return SMALL, tuple((scheme, f"{scheme}+{name}") for scheme in ((FOUR_F, TWO_F) if name == "hqq" else (FOUR, TWO)))


METHODS: tuple[Method, ...] = (
    Method("rtn", "round each weight to its nearest value", "|w − ŵ|, each weight by itself", "one pass over W",
           "first, always; enough at 8 bits",
           ("smollm2-zoo", (("W4A16_CHANNEL", "W4A16_G64"), ("W4A16_G64", "W4A16_ASYM_G64")))),
    Method("hqq", "fit zero points that have fractions", "Σ |w − ŵ|^p with p < 1", "a few passes over W",
           "no text at hand, and the kernel takes zero points in floats", added("hqq")),
    Method("imatrix", "search the scales", "Σ E[x²]·(w − ŵ)²: the diagonal of H",
           f"{default(imatrix.imatrix, 'steps')} roundings", "GGUF; a cheap first step", added("imatrix")),
    Method("gptq", "round a column, repair with those that are left", "(w − ŵ) H (w − ŵ)ᵀ, H = XᵀX",
           "a factor of (K, K), one pass over W", "4 and 3 bits, any grid", added("gptq")),
    Method("autoround", "learn which way each weight is rounded", "the same, by signed gradients",
           f"{default(autoround.autoround, 'iters')} steps of 2·N·K²", "3 and 2 bits, if there is time", added("autoround")),
    Method("awq", "scale up columns that meet loud inputs", "the layer's output error, over α; then what to clip",
           f"{awq.GRID} trials a layer", "4-bit weights; folded, costs nothing at run time", added("awq")),
    Method("smoothquant", "move loudness from x into W", "no search: s = max|x|^α / max|w|^(1−α)",
           "a pass over text, a fold", "int8 activations, above all static ones",
           ("smollm2-both", (("W8A8_STATIC", "W8A8_STATIC+smoothquant@0.8"), ("W8A8", "W8A8+smoothquant")))),
    Method("rotation", "turn x and W by a Hadamard matrix", "no search: loud channels spread over all",
           "a fold; R3 and R4 at run time", "4-bit activations, KV caches",
           ("smollm2-rotated", (("W4A4", "W4A4+rotation+online"), ("W8A8_STATIC", "W8A8_STATIC+rotation+online")))),
    Method("qat", "train through the rounding", "KL to the 16-bit model, straight through", "a training run",
           "2 bits and ternary", ("shipped-qat", (("TERNARY", "TERNARY+qat@150"), ("W2A16_G64", "W2A16_G64+qat@150")))),
)  # fmt: skip

INVARIANTS = (  # of the course, in its order (notebook 00, §7), each in a line
    "Fewer weight bits, fewer bytes a step: decode is faster.",
    "Codes and a scale: finer scales, smaller error, more bits.",
    "Weights alone save bytes; both sides narrow save arithmetic.",
    "The format must match the kernel that multiplies it.",
    "One interface: the model's code knows no format.",
    "The KV cache is an axis of its own: FP8 halves its bytes.",
)
LIMITS: dict[str, tuple[str, str]] = DECISIONS | {
    "No GPU, llama.cpp": (
        "GGUF: Q4_K or Q4_0, with an importance matrix",
        "Invariant 4: the file's blocks are what its kernels read.",
    ),
    "No text to calibrate on": (
        "RTN with zero points in small groups, or HQQ; rotation",
        "Invariant 2: granularity is bought with bits alone. Everything else looks at inputs.",
    ),
    "Fewer than 4 bits": (
        "AutoRound or GPTQ with zero points; at 2 bits and below, training (QAT)",
        "Invariant 2: few levels leave little to round well; and most kernels stop at 4 (invariant 4).",
    ),
}


def needs(name: str) -> str:
    """Whether a method looks at a text: read from QUANTIZERS, from what a transform calls, from what training is handed."""
    if name in QUANTIZERS:
        q = QUANTIZERS[name]
        return PAIRS if q.hessian else INPUTS if q.data else NONE
    if name in TRANSFORMS:
        return INPUTS if "calibrate" in TRANSFORMS[name].__code__.co_names else NONE
    return "yes: a text to train on" if "ids" in inspect.signature(qat.train).parameters else NONE


def kind(name: str) -> str:
    """Quantizer (chooses codes), transform (comes before), or training."""
    return "quantizer" if name in QUANTIZERS else "transform" if name in TRANSFORMS else "training"


def won(method: Method, captures: Mapping[str, dict]) -> list[tuple[str, float, str, float]]:
    """What a method wins: (scheme, added bits/byte before, the scheme after where it is another, added after).
    captures: name → results. Raises KeyError for what was not measured there."""
    capture, pairs = method.won
    results = captures[capture]
    before, after = ([results[pair[i]]["added_bits_per_byte"] for pair in pairs] for i in (0, 1))
    others = ["" if b.startswith(f"{a}+") else b for a, b in pairs]
    return [(a, x, other, y) for (a, _), x, other, y in zip(pairs, before, others, after, strict=True)]


def invariants(why: str) -> str:
    """The numbers of the invariants that a reason names: "1, 4"."""
    numbers = re.findall(r"nvariants? (\d)(?: and (\d))?", why)
    return ", ".join(n for pair in numbers for n in pair if n)
