"""01.1 quantize_per_channel(W, clip) → int8 codes (N, K), scale (N, 1)."""

import torch

from qcourse.checks import draw, nearest
from qcourse.checks.task import Mistake, Property, Task
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


def row_absmax(W):
    """How far each row reaches from zero, (N, 1)."""
    return W.abs().amax(1, keepdim=True)


def variant(absmax=row_absmax, limit=127, nearest_code=torch.round, guard=True, clamp=(-127, 127)):
    """quantize_per_channel with one thing changed."""

    def wrong(W, clip=1.0):
        W = W.float()
        scale = absmax(W) * clip / limit
        scale = torch.where(scale == 0, torch.ones_like(scale), scale) if guard else scale
        codes = nearest_code(W / scale)
        return (codes.clamp(*clamp) if clamp else codes.to(torch.int32)).to(torch.int8), scale

    return wrong


def sixteen_bits(W, clip=1.0):
    """Never leaves the input's own dtype."""
    scale = W.abs().amax(1, keepdim=True) * clip / 127
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return torch.round(W / scale).clamp(-127, 127).to(torch.int8), scale


def sixteen_bit_scale(W, clip=1.0):
    """Only the scale is computed in the input's dtype."""
    scale = (W.abs().amax(1, keepdim=True) * clip / 127).float()
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return torch.round(W.float() / scale).clamp(-127, 127).to(torch.int8), scale


def float_codes(W, clip=1.0):
    """Right numbers, four bytes each."""
    codes, scale = variant()(W, clip)
    return codes.float(), scale


def small(g):
    """Few enough numbers to follow by hand."""
    return [(draw.rows(g, 2, 4), 1.0), (draw.rows(g, 4, 4), 1.0)]


def shapes(g):
    """Wide, tall, odd."""
    return [(draw.rows(g, n, k), 1.0) for n, k in ((1, 32), (48, 3), (16, 65))]


def half(g):
    """The dtypes that checkpoints are stored in."""
    return [(draw.rows(g, 5, 24, dtype), 1.0) for dtype in (torch.bfloat16, torch.float16)]


def zero_row(g):
    """One dead channel among live ones, and a matrix of nothing."""
    W = draw.rows(g, 4, 6)
    W[draw.integer(g, 0, 3)] = 0
    return [(W, 1.0), (torch.zeros(1, 3), 1.0)]


def clipped(g):
    """A range shorter than the weights."""
    return [(draw.rows(g, n, 12), round(draw.uniform(g, 0.5, 0.9), 2)) for n in (2, 9)]


MISTAKES = (
    Mistake(
        "max instead of absmax",
        variant(absmax=lambda W: W.amax(1, keepdim=True)),
        "Your scale looks only at the largest weight, but the weight that lies farthest from zero may be negative. "
        "What becomes of the row [-4, 1] when its range ends at 1?",
        "Invariant 2: |w - ŵ| ≤ s/2 holds inside the range, so the range must contain every weight.",
    ),
    Mistake(
        "128 steps instead of 127",
        variant(limit=128),
        "int8 reaches -128 on one side only; on the other it ends at 127. Onto which code does your scale put the "
        "largest positive weight, and does that code exist?",
        "Invariant 2: the outermost weight lands on the outermost code, ±127 here.",
        also=(variant(limit=128, clamp=(-128, 127)), variant(limit=128, clamp=None)),
    ),
    Mistake(
        "one scale for the whole tensor",
        variant(absmax=lambda W: W.abs().amax().expand(len(W), 1)),
        "All rows share one scale here, and the loudest row sets it. If one row is a hundred times smaller than "
        "another, how many of the 255 codes does it still use?",
        "Invariant 2, granularity: error falls from tensor to channel to group. This is per tensor.",
        also=(variant(absmax=lambda W: W.abs().amax()), variant(absmax=lambda W: W.abs().amax().view(1, 1))),
    ),
    Mistake(
        "a scale for each column (along K)",
        variant(absmax=lambda W: W.abs().amax(0, keepdim=True)),
        "You reduced over N and kept K: a scale for each input. In y = x Wᵀ the sum runs over K. Which scale can be "
        "taken out of that sum, one that changes with k or one that does not?",
        "Invariant 2, granularity: a channel is a row of W (N, K), one of N outputs.",
        also=(variant(absmax=lambda W: W.abs().amax(0)),),
    ),
    Mistake(
        "truncated instead of rounded",
        variant(nearest_code=torch.trunc),
        "A conversion to integers cuts off the fraction; it does not go to the nearest one. How far from 0.99 is the "
        "code it gets, in steps, and what does the law allow?",
        "Invariant 2: |w - ŵ| ≤ s/2. Truncation allows a whole step, always towards zero.",
        also=(variant(nearest_code=torch.floor),),
    ),
    Mistake(
        "codes outside the grid wrap around",
        variant(clamp=None),
        "With clip < 1 some weights lie beyond the last code, and int8 does not stop there by itself: 140 becomes "
        "-116. What must be true of a number at the moment it is converted?",
        "Saturation: a weight beyond the range becomes the outermost code, never one of the other sign.",
        also=(lambda W, clip=1.0: wrapped_then_clamped(W, clip), variant(clamp=(-999, 999))),  # direct: saturates on ARM
    ),
    Mistake(
        "no guard for a row of zeros",
        variant(guard=False),
        "A dead channel has absmax 0, hence scale 0, and 0/0 is NaN, which an integer cannot even hold. Its codes are "
        "0 whatever the scale is. So which scales would be harmless?",
        "Every stored scale is finite and greater than 0.",
    ),
    Mistake(
        "computed in 16 bits",
        sixteen_bits,
        "bfloat16 keeps 8 significant bits, and your arithmetic stayed in the dtype that came in. What is the step "
        "between neighbouring bfloat16 numbers near 100, and how large is one code step?",
        "The scale is stored in float32, and codes are computed in float32, whatever W's dtype.",
        also=(sixteen_bit_scale,),
    ),
    Mistake(
        "codes kept as floats",
        float_codes,
        "The numbers are right, but each one still takes four bytes. What was quantization for?",
        "One code, one byte: the dtype is int8.",
        also=(lambda W, clip=1.0: (variant()(W, clip)[0].to(W.dtype), variant()(W, clip)[1]),),
    ),
    Mistake(
        "the reciprocal as scale",
        lambda W, clip=1.0: (variant()(W, clip)[0], 1 / variant()(W, clip)[1]),
        "What you return has the unit codes per weight. Which of the two, s or 1/s, turns a code back into a weight "
        "when it is multiplied with it?",
        "House rule of the field: `scale` always multiplies on dequantize; a reciprocal is called inv_scale.",
    ),
)


def wrapped_then_clamped(W, clip):
    """Converts first and clamps afterwards, when it is too late."""
    codes, scale = variant(clamp=None)(W, clip)
    return codes.clamp(-127, 127), scale


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
