"""12.2 fast_hadamard(x) → x @ hadamard(K), in K · log₂K additions a token."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab12.sylvester_mistakes import reversed_bits, signs
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor

ROUNDING = 2.0**-24


def same(args, got, other):
    """Within what float32 may be off in any order of summation: (K + 32) · 2⁻²⁴ · Σ|x| / √K of a token, or of its answer.

    K roundings are those of the slowest sum; 32 cover a matrix, roots or halves of √2 that are rounded themselves.
    """
    x = args[0].double()
    K = x.shape[-1]
    sums = x.abs().sum(-1, keepdim=True) / K**0.5
    size = torch.maximum(sums, other.double().abs().amax())  # an answer that is not scaled is rounded on its own scale
    near = (got.double() - other.double()).abs() <= (K + 32) * ROUNDING * size
    return difference(torch.where(near, other.double(), got.double()), other, where="y")


def transformed(x: Tensor) -> Tensor:
    """By the matrix, in float64."""
    K = x.shape[-1]
    return x.double() @ signs(K) / K**0.5


def sums_and_differences(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """One butterfly."""
    return a + b, a - b


def strides(K: int) -> list[int]:
    """1, 2, 4 … K/2."""
    return [1 << i for i in range(K.bit_length() - 1)]


def butterflies(stages=strides, scale=lambda K: K**0.5, pair=sums_and_differences):
    """fast_hadamard with other strides, another scale, or another butterfly, in float64."""

    def wrong(x):
        rows, K = x.shape
        y = x.double()
        for stride in stages(K):
            y = y.reshape(rows, -1, 2, stride)
            y = torch.stack(pair(y[:, :, 0], y[:, :, 1]), 2).reshape(rows, K)
        return y / scale(K)

    return wrong


def scaled(stages, scales=None):
    """Stages left out, with each of the scales that come with it."""
    for scale in scales or (lambda K: K**0.5, lambda K: 2 ** (len(stages(K)) / 2), lambda K: 1):
        yield butterflies(stages, scale)


def overwritten(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The sum written where `a` stood, before the difference was taken."""
    return a + b, (a + b) - b


def tokens(x: Tensor) -> Tensor:
    """Along the other axis, as far as it has a power of two."""
    return (signs(len(x)) / len(x) ** 0.5) @ x.double()


def rows_first(x: Tensor) -> Tensor:
    """H @ x, which needs as many tokens as channels."""
    return transformed(torch.eye(x.shape[1])) @ x.double()


def x_of(g, M: int, K: int) -> tuple:
    """Tokens of different sizes, no number near zero."""
    x = draw.normal(g, M, K)
    return (torch.where(x.abs() < 0.05, 0.5, x) * (0.5 + torch.rand(M, 1, generator=g)),)


MISTAKES = (
    Mistake(
        "not scaled",
        butterflies(scale=lambda K: 1),
        "Sums and differences make a token longer: √2 times at each stage, √K times in all. What has become of the 1/√K of "
        "the matrix?",
        "A rotation keeps lengths: |x H| = |x|.",
    ),
    Mistake(
        "scaled wrongly",
        butterflies(scale=lambda K: K),
        "All your numbers are off by one factor. log₂K stages make a token √K times longer; you took off something else: K "
        "(a half at each stage), √2 once, or √K at each stage. Which scale, once or at each stage, undoes it?",
        "A rotation keeps lengths: √2 a stage, √K in all.",
        also=(
            butterflies(scale=lambda K: 2**0.5),
            butterflies(scale=lambda K: K ** (0.5 * (K.bit_length() - 1))),
            butterflies(scale=lambda K: K**-0.5),
        ),
    ),
    Mistake(
        "over the tokens instead of the channels",
        tokens,
        "You mixed the tokens with each other, and left each channel alone: a loud channel is as loud as it was. Along "
        "which axis of x (M, K) lie the channels of one token?",
        "y = x H: a token is a row, and a row is rotated.",
        also=(rows_first, lambda x: tokens(x) * (len(x) / x.shape[1]) ** 0.5),
    ),
    Mistake(
        "one stride only",
        butterflies(lambda K: strides(K)[:1]),
        "Each of your numbers is made of two. After one stage a channel has met one other, and there are K of them. With "
        "how many has it met after the second stage, and what must its stride be?",
        "log₂K stages, strides 1, 2, 4 … K/2: every channel meets every other.",
        also=(
            *list(scaled(lambda K: strides(K)[:1]))[1:],
            *scaled(lambda K: strides(K)[-1:]),
            *scaled(lambda K: [1] * len(strides(K)), (lambda K: K**0.5, lambda K: 1, lambda K: K)),
            *scaled(lambda K: [K // 2] * len(strides(K)), (lambda K: K**0.5, lambda K: 1, lambda K: K)),
        ),
    ),
    Mistake(
        "a stage missing",
        butterflies(lambda K: strides(K)[:-1]),
        "One of your stages is missing, the first or the last: a channel reaches only half of all. For K = 8 the strides "
        "are 1, 2 and 4. Which of them does your loop never see?",
        "log₂K stages, strides 1, 2, 4 … K/2.",
        also=(*list(scaled(lambda K: strides(K)[:-1]))[1:], *scaled(lambda K: strides(K)[1:])),
    ),
    Mistake(
        "the sum overwritten before the difference",
        butterflies(pair=overwritten),
        "You wrote a + b where a stood, and then took the difference with what you found there. A butterfly needs both old "
        "numbers twice. Which of them must be kept aside?",
        "A butterfly: (a, b) → (a + b, a − b), both of the old a and b.",
        also=(
            butterflies(pair=lambda a, b: ((a - b) + a, a - b)),
            butterflies(pair=lambda a, b: (a + b, a + b + b)),
            butterflies(pair=lambda a, b: (a + b, a - (a + b))),
        ),
    ),
    Mistake(
        "the difference the wrong way round",
        butterflies(pair=lambda a, b: (a + b, b - a)),
        "Your differences have the other sign, b − a. That is a rotation, too, but not Sylvester's, and the weights were "
        "turned by his. Which of the two does the row (1, −1) of H subtract?",
        "A butterfly: (a, b) → (a + b, a − b).",
        also=(butterflies(pair=lambda a, b: (a - b, a + b)),),
    ),
    Mistake(
        "the results in another order",
        lambda x: transformed(x)[:, reversed_bits(x.shape[1])],
        "The numbers are right, and in another order. Splitting into halves puts results into halves, splitting into even "
        "and odd places puts them into even and odd places: you took in one way and laid down in the other.",
        "y = x H, entry by entry: where a and b were read, a + b and a − b are written.",
    ),
)

FAST_HADAMARD = Task(
    id="12.2",
    function="fast_hadamard",
    title="The same in K log K",
    points=4,
    expected=lambda x: transformed(x).float(),
    properties=(
        Property("as many tokens as channels", lambda g: [x_of(g, 4, 4), x_of(g, 8, 8), x_of(g, 16, 16)], 2),
        Property("one token", lambda g: [x_of(g, 1, 8), x_of(g, 1, 32)]),
        Property("several shapes", lambda g: [x_of(g, *s) for s in ((8, 2), (3, 1), (5, 16), (2, 64), (3, 128))]),
    ),
    mistakes=MISTAKES,
    hint="Take neighbours in pairs, (a, b), and replace them by (a + b, a − b). That is x times a matrix with blocks of "
    "two. Then do the same with pairs that are 2 apart, 4 apart … How often, and what makes a token longer on the way?",
    returns=("y",),
    same=same,
)
