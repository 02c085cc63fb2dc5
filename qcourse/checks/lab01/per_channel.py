"""01.1 quantize_per_channel(W, clip) → int8 codes (N, K), scale (N, 1)."""

import torch

from qcourse.checks import draw, nearest
from qcourse.checks.lab01.channels import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.numerics.granularity import per_channel
from qcourse.numerics.scaling import block_absmax, positive


def expected(W, clip=1.0):
    """The package's blocks and zero guard, rounded through float64."""
    scale = positive(block_absmax(per_channel.blocks(W)) * clip / 127).view(-1, 1)
    codes = torch.round(W.double() / scale.double()).clamp(-127, 127)
    return codes.to(torch.int8), scale


def same(args, got, other):
    """Scales to float32, zero rows aside; codes up to the rounding of ties."""
    W = args[0].double()
    zero = (W == 0).all(1, keepdim=True)
    found = nearest.scales(zero, got[1], other[1])
    return found or nearest.codes(W / other[1].double(), got[0], other[0])


def small(g):
    """Few enough numbers to follow by hand."""
    return [(draw.rows(g, 2, 4), 1.0), (draw.rows(g, 4, 4), 1.0)]


def shapes(g):
    """Wide, tall, odd."""
    return [(draw.rows(g, n, k), 1.0) for n, k in ((1, 32), (48, 3), (16, 65))]


def half(g):
    """The dtypes that checkpoints are stored in."""
    return [(draw.rows(g, n, k, dtype), 1.0) for dtype in (torch.bfloat16, torch.float16) for n, k in ((2, 8), (5, 48))]


def zero_row(g):
    """One dead channel among live ones, and a matrix of nothing."""
    W = draw.rows(g, 4, 6)
    W[draw.integer(g, 0, 3)] = 0
    return [(W, 1.0), (torch.zeros(1, 3), 1.0)]


def clipped(g):
    """A range shorter than the weights."""
    return [(draw.rows(g, n, 12), round(draw.uniform(g, 0.5, 0.9), 2)) for n in (2, 9)]


QUANTIZE_PER_CHANNEL = Task(
    id="01.1",
    function="quantize_per_channel",
    title="A scale for each row",
    points=4,
    expected=expected,
    properties=(
        Property("small matrices", small, 2),
        Property("several shapes", shapes),
        Property("bfloat16 and float16 weights", half),
        Property("a row of zeros", zero_row),
        Property("a clipped range", clipped),
    ),
    mistakes=MISTAKES,
    hint="Work row by row. How far from zero does the row reach (in float32, kept as a column)? How large is then one "
    "of 127 steps, and which whole number of steps is nearest to each weight? Then ask what a row of zeros does to a "
    "division.",
    returns=("codes", "scale"),
    same=same,
)
