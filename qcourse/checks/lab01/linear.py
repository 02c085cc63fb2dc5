"""01.2 dequantize(codes, scale) and 01.3 quant_linear(x, codes, scale, bias)."""

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


def linear(x, codes, scale, bias=None):
    """The law: dequantize, then multiply; in float64."""
    y = x.double() @ (codes.double() * scale.double()).T
    return (y if bias is None else y + bias.double()).float()


def near(args, got, other):
    """Float32 sums of K products differ by at most K·2⁻²³ of the sum of magnitudes, in whatever order they are added."""
    x, codes, _, bias = args
    size = other.abs().max().item() + (0.0 if bias is None else bias.abs().max().item())
    tolerance = codes.shape[1] * 2.0**-23 * size + 1e-30
    wrong = ~((got.double() - other.double()).abs() <= tolerance)
    if not wrong.any():
        return None
    m, n = torch.nonzero(wrong)[0].tolist()
    return f"y[{m}, {n}]: expected {other[m, n].item():.7g}, got {got[m, n].item():.7g}   (tolerance {tolerance:.2g})"


def layer(g, M, N, K, bias=True, dtype=torch.float32):
    """(x, codes, scale, bias) of a layer."""
    b = draw.normal(g, N, size=2.0) if bias else None
    return (draw.normal(g, M, K, dtype=dtype), draw.codes(g, -127, 127, N, K), positive(g, N, 1), b)


def variant(where_scale=lambda y, s: y * s.T, where_bias=lambda y, b: y + b):
    """quant_linear with the scale, or the bias, put elsewhere."""

    def wrong(x, codes, scale, bias=None):
        y = where_scale(x.float() @ codes.float().T, scale.float())
        return y if bias is None else where_bias(y, bias)

    return wrong


def bias_scaled(x, codes, scale, bias=None):
    """(x qᵀ + b)·s."""
    y = x.float() @ codes.float().T
    return (y if bias is None else y + bias) * scale.T


QUANT_LINEAR = Task(
    id="01.3",
    function="quant_linear",
    title="A layer that keeps its weights in int8",
    points=3,
    expected=linear,
    properties=(
        Property("square everything", lambda g: [layer(g, 4, 4, 4), layer(g, 6, 6, 6)]),
        Property("several shapes", lambda g: [layer(g, *s) for s in ((1, 8, 32), (7, 3, 64), (2, 24, 5))]),
        Property("without a bias", lambda g: [layer(g, 3, 5, 16, bias=False)]),
        Property("bfloat16 activations", lambda g: [layer(g, 5, 6, 48, dtype=torch.bfloat16)]),
    ),
    mistakes=(
        Mistake(
            "a scale for each token",
            variant(where_scale=lambda y, s: y * s),
            "y is (M, N): your scale went down the tokens. It belongs to the output channels. Along which axis of y do "
            "those run, and what happens to your line when M is not N?",
            "Invariant 2: y[m, n] = s[n] · Σₖ x[m, k] q[n, k]. The scale leaves the sum because it does not depend on k.",
            also=(lambda x, codes, scale, bias=None: linear(x, codes, scale.reshape(1, -1), bias),),
        ),
        Mistake(
            "the scale forgotten",
            variant(where_scale=lambda y, s: y),
            "You multiplied activations with codes. The sum is right up to a factor for each output: which one?",
            "Invariant 2: codes mean nothing without the scale beside them.",
        ),
        Mistake(
            "the bias scaled too",
            bias_scaled,
            "The scale turns steps into weights, and the bias was never counted in steps. Which of the two terms of y "
            "should it reach?",
            "y = (x qᵀ)·s + b: only what was quantized is dequantized.",
        ),
        Mistake(
            "divided by the scale",
            variant(where_scale=lambda y, s: y / s.T),
            "s has the unit weight per code. Your sum counts codes: does dividing by s bring it back to weights?",
            "Invariant 2: ŵ = s·q, in a matrix product as well.",
        ),
        Mistake(
            "the bias forgotten",
            variant(where_bias=lambda y, b: y),
            "Without a bias your layer is right. What does it do with the fourth argument when it is there?",
            "A quantized layer computes what the layer computed: y = x Wᵀ + b.",
        ),
    ),
    hint="Dequantizing first is right. But look at the sum over k: does the scale depend on k? If not, it can wait "
    "until after the product, N multiplications a token instead of N·K. And mind the dtypes: a matrix product wants "
    "both sides alike.",
    returns=("y",),
    same=near,
)
