"""Per-channel quantizers with one thing changed: the known mistakes of 01.1."""

import torch

from qcourse.checks.task import Mistake


def row_absmax(W):
    """How far each row reaches from zero, (N, 1)."""
    return W.abs().amax(1, keepdim=True)


def variant(absmax=row_absmax, limit=127, nearest_code=torch.round, guard=True, clamp=(-127, 127), clipped=True):
    """quantize_per_channel with one thing changed."""

    def wrong(W, clip=1.0):
        W = W.float()
        scale = absmax(W) * (clip if clipped else 1) / limit
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


def wrapped_then_clamped(W, clip):
    """Converts first and clamps afterwards, when it is too late."""
    codes, scale = variant(clamp=None)(W, clip)
    return codes.clamp(-127, 127), scale


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
        "0.5 added, then cut off",
        variant(nearest_code=lambda t: torch.trunc(t + 0.5)),
        "Adding 0.5 and cutting off the fraction rounds numbers above zero. Try it on -0.8: where does -0.8 + 0.5 lie, and "
        "in which direction does a conversion to integers cut?",
        "Invariant 2: |w - ŵ| ≤ s/2, on both sides of zero.",
    ),
    Mistake(
        "clip unused",
        variant(clipped=False),
        "The second argument makes no difference in your function. Where does the range of a row end when clip is 0.5, and "
        "which numbers have to know that?",
        "The range ends at clip · absmax: the scale follows it, and what lies beyond saturates.",
    ),
    Mistake(
        "the code -128 used",
        variant(clamp=(-128, 127)),
        "int8 reaches -128, but its mirror image 128 does not exist. A weight far below the range becomes one step longer "
        "than its twin far above it: which outermost codes did the task name?",
        "The restricted grid is symmetric: -127 … 127.",
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
