"""quantize_nvfp4, and the known mistakes of 05.5: the same with one thing changed."""

import torch

from qcourse.checks.lab05 import e2m1, floats
from qcourse.checks.task import Mistake


def loudest(blocks):
    """absmax."""
    return blocks.abs().amax(-1)


def value(c):
    """What a scale's bits stand for."""
    return floats.E4M3[c.clamp(max=126)]


def divided(W, step):
    """W / step; 0 where the scale is stored as 0."""
    return torch.where(step == 0, 0, W / step)


def quantizer(
    codes=e2m1.codes,
    G=16,
    absmax=loudest,
    overall=None,
    second=lambda a: a.max() / (6 * 448),
    first=lambda a, s2: a / 6 / s2,
    least=0,
    step=lambda c, s2, a: value(c) * s2,
    steps=divided,
    given=lambda s2: s2,
    wide=lambda t, G: t.repeat_interleave(G, 1),
):
    """quantize_nvfp4 in fp64: absmax → s₂ (`second`) → each block's scale (`first`) → its step → codes."""

    def quantize_nvfp4(W):
        blocks = W.double().reshape(len(W), -1, G)
        a = absmax(blocks)
        s2 = second((overall or absmax)(blocks))
        c = floats.nearest(first(a, s2).nan_to_num(0), floats.E4M3).clamp(min=least)
        x = steps(W.double(), wide(step(c, s2, a), G))
        return codes(x), c.to(torch.uint8), torch.as_tensor(given(s2)).float()

    return quantize_nvfp4


def limits():
    """Another largest code than 6, in both scales or in one of them."""
    for L in (7.5, 7, 8, 4):
        both = {"second": lambda a, L=L: a.max() / (L * 448), "first": lambda a, s2, L=L: a / L / s2}
        yield from (both, {"first": both["first"]}, {"second": both["second"]})


def full(x):
    """Codes for which NaN is the largest."""
    return e2m1.codes(x.nan_to_num(9))


def per_row(shape):
    """One global scale a row."""
    return quantizer(second=lambda a: a.amax(1, keepdim=True) / 2688, given=lambda s2: s2.view(shape))


MISTAKES = (
    Mistake(
        "the global scale upside down",
        quantizer(given=lambda s2: 1 / s2),
        "You returned the number by which the weights were *divided* out: compressed-tensors stores that one, as "
        "weight_global_scale. Here, as in ModelOpt, it multiplies on the way back. What is ŵ for the loudest weight, "
        "with yours?",
        "`scale` multiplies on dequantize: ŵ = q · c · s₂.",
        also=(
            quantizer(second=lambda a: 2688 / a.max()),
            quantizer(second=lambda a: 2688 / a.max(), first=lambda a, s2: a / 6 * s2),
        ),
    ),
    Mistake(
        "codes made before the scale was rounded",
        quantizer(step=lambda c, s2, a: a / 6),
        "You divided by the exact scale of the block, and stored a rounded one. E4M3 has three bits of mantissa, so they "
        "differ by up to 6 %, and every code is multiplied by the wrong one. Which scale will the reader of your file "
        "have?",
        "Codes fit the scale that is stored.",
    ),
    Mistake(
        "blocks of 32",
        quantizer(G=32),
        "32 weights share your scales, as in MXFP4. NVFP4 has twice as many scales.",
        "NVFP4: 16 weights along K share a scale.",
    ),
    Mistake(
        "another largest code than 6",
        quantizer(step=lambda c, s2, a: value(c) * s2, **next(limits())),
        "Your scale does not put the loudest weight of a block on the largest code. 7.5, 7 and 8 belong to int4. Where "
        "does E2M1 end?",
        "scale = absmax / 6: the loudest weight lands on the largest number, 6.",
        also=tuple(quantizer(**change) for change in list(limits())[1:]),
    ),
    Mistake(
        "a factor left out of the global scale",
        quantizer(second=lambda a: a.max() / 6),
        "The scale of your loudest block is not 448, so E4M3's range is not used, and quiet blocks fall below its "
        "smallest number. s₂ has to undo both ranges, that of the codes and that of the scales. Which two numbers are "
        "they?",
        "s₂ = max|W| / (6 · 448).",
        also=(
            quantizer(second=lambda a: a.max() / 448),
            quantizer(second=lambda a: a.max()),
            quantizer(second=lambda a: torch.tensor(1.0).double()),
        ),
    ),
    Mistake(
        "6 left out of the block's scale",
        quantizer(first=lambda a, s2: a / s2),
        "The scale of your loudest block wants to be 2688 and saturates at 448; so do all others that are not much "
        "quieter. A block's scale is the size of one step. How many steps does its loudest weight have?",
        "c = max|w| / (6 · s₂), at most 448.",
    ),
    Mistake(
        "448 in the block's scale, too",
        quantizer(first=lambda a, s2: a / 2688 / s2),
        "Your loudest block has the scale 1, and E4M3 goes up to 448. s₂ has divided by 448 already. What is left for a "
        "block?",
        "c = max|w| / (6 · s₂), at most 448.",
    ),
    Mistake(
        "s₂ left out at one place",
        quantizer(step=lambda c, s2, a: value(c)),
        "A step is c · s₂. At one place you have only one of the two: where the block's scale is made, or where the "
        "weights are divided by it. What are the units of each of your three numbers?",
        "ŵ = q · c · s₂, so q = w / (c · s₂) and c = max|w| / (6 · s₂).",
        also=(quantizer(first=lambda a, s2: a / 6), quantizer(step=lambda c, s2, a: s2 + 0 * a)),
    ),
    Mistake(
        "the scale's bits taken for its value",
        quantizer(step=lambda c, s2, a: c.double() * s2),
        "You calculated with the byte: 0x7E is 126 as an integer and 448 as E4M3. Which of your functions turns the one "
        "into the other?",
        "A scale's code is not its value: decode first.",
    ),
    Mistake(
        "a scale of 0 divided by",
        quantizer(steps=lambda W, step: W / step),
        "A block much quieter than the loudest has a scale below half of E4M3's smallest number, 2⁻⁹: it is stored as 0. "
        "Then w / 0 is infinite, and 0 / 0 is NaN. Which codes does such a block have, if all it can mean is zero?",
        "A block whose scale is stored as 0 has codes 0.",
        also=(quantizer(full, steps=lambda W, step: W / step),),
    ),
    Mistake(
        "quiet blocks lifted to the smallest scale",
        quantizer(least=1),
        "You keep scales from becoming 0 (ModelOpt does so, too). Here the nearest E4M3 number is asked for, and of "
        "0.0001 that is 0. What happens to the codes then?",
        "c = E4M3(max|w| / (6 · s₂)), the nearest, even if it is 0.",
        also=(quantizer(least=8), quantizer(least=0x38)),
    ),
    *e2m1.mistakes(lambda codes: quantizer(codes)),
    Mistake(
        "multiplied by the scale",
        quantizer(steps=lambda W, step: W * step),
        "You made small weights smaller still. A scale is the weight of one step, so how many steps is w?",
        "`scale` multiplies on the way back, so it divides here.",
    ),
    Mistake(
        "scales laid beside the wrong weights",
        quantizer(wide=lambda t, G: t.repeat(1, G)),
        "All scales of a row came first, and then all of them again. But weights 0 … 15 share the first one. What "
        "repeats each element, and what the whole row?",
        "Granularity: weight k has the scale of block ⌊k/16⌋.",
    ),
    Mistake(
        "one global scale a row",
        per_row((-1, 1)),
        "You have N global scales. A kernel that multiplies the whole matrix reads one number; the blocks are there for "
        "all finer differences.",
        "NVFP4: one float32 a matrix.",
        also=(per_row((-1,)),),
    ),
    Mistake(
        "max instead of absmax",
        quantizer(absmax=lambda b: b.amax(-1).clamp(min=0)),
        "Your scale looks only at the largest weight of the block. Which weight lies farthest from zero in [−4, 1, 2]?",
        "The range must contain every weight of the block.",
        also=(
            quantizer(absmax=lambda b: b.amax(-1)),
            quantizer(absmax=lambda b: b.amax(-1).clamp(min=0), overall=loudest),
            quantizer(absmax=lambda b: b.amax(-1), overall=loudest),
        ),
    ),
)
