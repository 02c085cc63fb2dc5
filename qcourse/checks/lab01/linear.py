"""01.3 quant_linear(x, codes, scale, bias) → y (M, N) in float32."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab01.dequantize import dequantized, positive
from qcourse.checks.task import Mistake, Property, Task
from qcourse.checks.written import apart


def linear(x, codes, scale, bias=None):
    """The law: dequantize, then multiply; in float64."""
    y = x.double() @ (codes.double() * scale.double()).T
    return (y if bias is None else y + bias.double()).float()


def near(args, got, other):
    """Float32 sums of K products differ by at most (K + 4)·2⁻²³ of the sum of their magnitudes, in whatever order.

    K + 4: the products, the scale twice, the bias, the result; 2⁻²³ is twice one rounding. For a mistake's answer, whose
    magnitudes are its own, its largest number stands for them.
    """
    x, codes, scale, bias = args
    size = linear(x.abs(), codes.abs(), scale, None if bias is None else bias.abs()).double()
    if other.shape != size.shape or not torch.equal(other, linear(*args)):
        largest = other.double().abs().max() + (0.0 if bias is None else bias.double().abs().max())
        size = largest.expand(other.shape)
    tolerance = (codes.shape[1] + 4) * 2.0**-23 * size + 1e-30
    wrong = ~((got.double() - other.double()).abs() <= tolerance)
    if not wrong.any():
        return None
    m, n = torch.nonzero(wrong)[0].tolist()
    return f"y[{m}, {n}]: {apart(other[m, n].item(), got[m, n].item())}   (tolerance {tolerance[m, n].item():.2g})"


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


def sixteen_bits(x, codes, scale, bias=None):
    """The product in x's dtype, everything else in float32."""
    y = (x @ codes.to(x.dtype).T).float() * scale.T
    return y if bias is None else y + bias


def not_transposed(x, codes, scale, bias=None):
    """Wᵀ forgotten: where N = K, the sum runs over the wrong axis and nothing complains."""
    y = (x.float() @ codes.float()) * scale.T
    return y if bias is None else y + bias


def upside_down(where_bias):
    """y as (N, M)."""

    def wrong(x, codes, scale, bias=None):
        y = (codes.float() @ x.float().T) * scale
        return y if bias is None else where_bias(y, bias)

    return wrong


QUANT_LINEAR = Task(
    id="01.3",
    function="quant_linear",
    title="A layer that keeps its weights in int8",
    points=3,
    expected=linear,
    properties=(
        Property("square everything", lambda g: [layer(g, 4, 4, 4), layer(g, 6, 6, 6)]),
        Property("several shapes", lambda g: [layer(g, *s) for s in ((2, 3, 5), (1, 8, 32), (7, 3, 64), (2, 24, 5))]),
        Property("without a bias", lambda g: [layer(g, 2, 3, 4, bias=False), layer(g, 3, 5, 16, bias=False)]),
        Property("bfloat16 activations", lambda g: [layer(g, m, 6, k, dtype=torch.bfloat16) for m, k in ((2, 8), (5, 48))]),
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
            "the product not transposed",
            not_transposed,
            "W is (N, K), and you multiplied x (M, K) with it as it stands. That only fits when N is K, and then the sum "
            "runs over the outputs. Over which axis of W does the formula sum?",
            "y = x Wᵀ: the sum runs over k, the last axis of both.",
            also=(
                lambda x, codes, scale, bias=None: not_transposed(x, dequantized(codes, scale), torch.ones(1, 1), bias),
                lambda x, codes, scale, bias=None: not_transposed(x, codes, scale.T, bias),
            ),
        ),
        Mistake(
            "y lies on its side",
            upside_down(lambda y, b: y + b),
            "Your result is (N, M): a row for each output. Asked for is a row for each token. And once y is turned: along "
            "which axis does the bias run?",
            "y (M, N) = x Wᵀ: tokens down, outputs across.",
            also=(upside_down(lambda y, b: y + b.view(-1, 1)),),
        ),
        Mistake(
            "multiplied in 16 bits",
            sixteen_bits,
            "x came in bfloat16, and your product stayed there: 8 significant bits for a sum of K products. Which dtype did "
            "the task ask for, and where must the conversion stand?",
            "Accumulate wider than you store: y is computed in float32.",
            also=(
                lambda x, codes, scale, bias=None: sixteen_bits(x, dequantized(codes, scale), torch.ones(1, 1), bias),
                lambda x, codes, scale, bias=None: linear(x, codes, scale, bias).to(x.dtype),
            ),
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
