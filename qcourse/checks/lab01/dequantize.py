"""01.2 dequantize(codes, scale) → the weights (N, K) in float32."""

import torch

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Task


def dequantized(codes, scale):
    """In float64, which holds every product exactly."""
    return (codes.double() * scale.double()).float()


def positive(g, *shape, dtype=torch.float32):
    """Scales, of sizes 0.001 … 0.1."""
    return (10 ** (2 * torch.rand(*shape, generator=g) - 3)).to(dtype)


def square(g):
    """As many rows as columns, so that no shape gives a wrong axis away."""
    return [(draw.codes(g, -127, 127, n, n), positive(g, n, 1)) for n in (3, 8)]


def shapes(g):
    """Wide and tall."""
    return [(draw.codes(g, -127, 127, n, k), positive(g, n, 1)) for n, k in ((1, 9), (33, 4), (6, 64))]


def one_scale(g):
    """A single scale for all, (1, 1)."""
    return [(draw.codes(g, -127, 127, 5, 7), positive(g, 1, 1))]


def half_scales(g):
    """As most files store them."""
    return [(draw.codes(g, -127, 127, 6, 10), positive(g, 6, 1, dtype=d)) for d in (torch.bfloat16, torch.float16)]


DEQUANTIZE = Task(
    id="01.2",
    function="dequantize",
    title="Back to weights",
    points=2,
    expected=dequantized,
    properties=(
        Property("square matrices", square),
        Property("several shapes", shapes),
        Property("one scale for all", one_scale),
        Property("scales stored in 16 bits", half_scales),
    ),
    mistakes=(
        Mistake(
            "divided instead of multiplied",
            lambda codes, scale: codes.float() / scale.float(),
            "A code counts steps, and s is the size of a step in weight units. If you walked 20 steps of 0.7 m, how "
            "far is that: 20 / 0.7 or something else?",
            "Invariant 2: the pair (round(W/s), s) means ŵ = s·q.",
        ),
        Mistake(
            "the scale runs along K",
            lambda codes, scale: codes.float() * scale.float().reshape(1, -1),
            "Each column got its own factor, although scale[n] belongs to row n. Broadcasting lines axes up from the "
            "right: which shape has a vector that goes down the rows?",
            "Invariant 2, granularity: one scale for each row of W (N, K).",
        ),
        Mistake(
            "the scale forgotten",
            lambda codes, scale: codes.float(),
            "These are the codes themselves. What is the weight of code 1 in a row whose steps are 0.01 wide?",
            "Invariant 2: codes mean nothing without the scale beside them.",
        ),
        Mistake(
            "multiplied in 16 bits",
            lambda codes, scale: codes * scale,
            "int8 times bfloat16 is bfloat16 in torch, and 127 · s needs more than its 8 significant bits. Where "
            "should the product be computed, so that only one rounding (the quantization) is left?",
            "ŵ = s·q exactly: a stored scale may be short, the product may not.",
            also=(lambda codes, scale: codes.to(scale.dtype) * scale,),
        ),
    ),
    hint="One multiplication and one thought about dtypes: which axis does the scale vary along, and what is the dtype "
    "of an int8 times a bfloat16?",
    rtol=1e-6,  # one float32 rounding is 2^-24 = 6e-8
    returns=("W_hat",),
)
