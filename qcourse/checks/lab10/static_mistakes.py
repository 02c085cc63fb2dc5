"""The known mistakes of 10.6: a static scale with one thing changed."""

import torch

from qcourse.checks.task import Mistake
from qcourse.numerics.grids import E4M3
from qcourse.shapes import Tensor

LIMIT = 448.0
VALUES = E4M3.decode(torch.arange(127, dtype=torch.uint8)).double()  # 0 … 448


def nearest(v: Tensor) -> Tensor:
    """The nearest number of E4M3, by its table (the lower of two that are as near); beyond 464 there is none: NaN."""
    magnitude = v.double().abs()
    found = VALUES[torch.bucketize(magnitude, (VALUES[1:] + VALUES[:-1]) / 2)] * v.sign()
    return torch.where(magnitude <= 464, found, torch.nan).to(v.dtype)


def cut(v: Tensor) -> Tensor:
    """±448."""
    return v.clamp(-LIMIT, LIMIT)


def a_head(seen: Tensor, x: Tensor) -> Tensor:
    """absmax (H, 1, 1)."""
    return seen.abs().amax((1, 2), keepdim=True)


def flat(s: Tensor, x: Tensor) -> Tensor:
    """Scales as (H,)."""
    return s.flatten()


def stored(
    loudness=a_head,
    limit=LIMIT,
    guard=1.0,
    store=lambda x, s: nearest(cut(x / s)),
    scale_of=lambda s, x: s.flatten(),
):
    """store_fp8 with one thing changed. `guard`: the scale of a silent head; None: what comes of it."""

    def wrong(x, seen):
        s = loudness(seen, x) / limit
        s = s if guard is None else torch.where(s == 0, guard, s)
        return scale_of(s, x), store(x, s).float()

    return wrong


def everywhere(s: Tensor, x: Tensor) -> Tensor:
    """One scale, written down for every head."""
    return s.expand(len(x), 1, 1).flatten()


def bits_and_more(store):
    """The same slip with a silent head guarded, and without."""
    return stored(store=store), stored(store=store, guard=None)


MISTAKES = (
    Mistake(
        "the scale of what comes instead of what was seen",
        stored(lambda seen, x: x.abs().amax((1, 2), keepdim=True)),
        "Your scale is made from the tokens that are to be stored. That is dynamic, and then every token must carry "
        "its scale with it: a static one is fixed before the first token comes. Which argument knows the past?",
        "Static: the scale is a constant of the model, found on calibration text.",
        also=(
            stored(lambda seen, x: x.abs().amax((1, 2), keepdim=True), guard=None),
            stored(lambda seen, x: torch.cat((seen, x), 1).abs().amax((1, 2), keepdim=True)),
            stored(lambda seen, x: x.abs().amax(2, keepdim=True), scale_of=lambda s, x: s.squeeze(-1)),
            stored(lambda seen, x: x.abs().amax(2, keepdim=True), scale_of=lambda s, x: s),
        ),
    ),
    Mistake(
        "one scale for all heads",
        stored(lambda seen, x: seen.abs().max(), scale_of=everywhere),
        "All your heads share one scale, and the loudest sets it. A float format forgives that for a while: what "
        "becomes of a head that is a thousand times quieter? How many scales has H heads?",
        "One scale a head: (H,).",
        also=(stored(lambda seen, x: seen.abs().max()), stored(lambda seen, x: seen.abs().max(), scale_of=lambda s, x: s)),
    ),
    Mistake(
        "a scale for every channel or every token",
        stored(lambda seen, x: seen.abs().amax(1, keepdim=True), scale_of=lambda s, x: s.squeeze(1)),
        "Your scales follow the channels (or the tokens of the calibration text). A kernel multiplies a head's scores "
        "by one number. Over which two axes of seen (H, S, D) does the maximum run?",
        "One scale a head: (H,).",
        also=(
            stored(lambda seen, x: seen.abs().amax(1, keepdim=True), scale_of=lambda s, x: s),
            stored(lambda seen, x: seen.abs().amax(1, keepdim=True), scale_of=lambda s, x: s.amax((1, 2))),
        ),
    ),
    Mistake(
        "the maximum without magnitudes",
        stored(lambda seen, x: seen.amax((1, 2), keepdim=True)),
        "The loudest number of a head may be negative, and your maximum does not see it. What has to go before the "
        "largest is looked for?",
        "absmax: first the magnitude, then the maximum.",
        also=(
            stored(lambda seen, x: seen.amax((1, 2), keepdim=True), guard=None),
            stored(lambda seen, x: seen.abs().mean((1, 2), keepdim=True)),
        ),
    ),
    Mistake(
        "multiplied by the scale",
        stored(store=lambda x, s: nearest(cut(x * s))),
        "You multiplied, or returned 448/absmax. In this course, and in vLLM's files, a scale multiplies on the way "
        "*out*: x̂ = scale · stored. What does it do on the way in?",
        "stored = x / scale.",
        also=(
            stored(store=lambda x, s: nearest(x * s)),
            stored(scale_of=lambda s, x: 1 / s.flatten()),
            stored(store=lambda x, s: nearest(cut(x * s)), scale_of=lambda s, x: 1 / s.flatten()),
            stored(store=lambda x, s: nearest(cut(x * s)), guard=None),
        ),
    ),
    Mistake(
        "no scale at all",
        stored(lambda seen, x: torch.full((len(seen), 1, 1), LIMIT)),
        "Your scale is 1, what an engine takes when a file has none. A quiet head then lands among the subnormal "
        "numbers, and a loud one is cut off. Which number is to become 448?",
        "scale = absmax / 448: the loudest number is the last one of the format.",
        also=(
            stored(store=lambda x, s: nearest(cut(x))),
            stored(store=lambda x, s: nearest(x)),
            stored(lambda seen, x: torch.full((len(seen), 1, 1), LIMIT), store=lambda x, s: nearest(x)),
        ),
    ),
    Mistake(
        "not cut off before the rounding",
        stored(store=lambda x, s: nearest(x / s)),
        "A token may be louder than all calibration text. Beyond 464 E4M3 has no number, and a cast that does not "
        "saturate gives NaN: one such key, and a whole row of attention is NaN. What has to come first?",
        "clamp to ±448, then round.",
        also=(
            stored(store=lambda x, s: cut(nearest(x / s))),
            stored(store=lambda x, s: nearest(x / s).nan_to_num(0)),
            stored(store=lambda x, s: nearest((x / s).clamp(max=LIMIT))),
        ),
    ),
    Mistake(
        "cut off before the scale",
        stored(store=lambda x, s: nearest(cut(cut(x) / s))),
        "You cut x off at ±448, and then divided. 448 is the end of the *format*; x is in the units of the keys. In "
        "which units does the limit count?",
        "clamp(x / scale, ±448).",
        also=(stored(store=lambda x, s: nearest(cut(x) / s)),),
    ),
    Mistake(
        "another limit than 448",
        stored(limit=240.0),
        "Your loudest number becomes another one than 448. (240 is the end of AMD's older E4M3, 480 would be its NaN's "
        "place, 127 belongs to int8.) Which is the largest number of this E4M3?",
        "E4M3's largest number is 448 = 2⁸ · 1.75.",
        also=(
            *(stored(limit=limit) for limit in (480.0, 127.0, 256.0, 464.0, 128.0, 127.5, 57344.0)),
            stored(limit=240.0, store=lambda x, s: nearest((x / s).clamp(-240, 240))),
            stored(limit=127.0, store=lambda x, s: nearest((x / s).clamp(-127, 127))),
        ),
    ),
    Mistake(
        "rounded to whole numbers, or not at all",
        stored(store=lambda x, s: cut(x / s)),
        "What you store is no number of E4M3: it is x / scale itself, or that rounded to integers, as int8 would. "
        "Between 256 and 448 the format has six steps of 32. Which helper is given above?",
        "Stored is e4m3(…): a number that 8 bits can name.",
        also=(
            stored(store=lambda x, s: cut(x / s).round()),
            stored(store=lambda x, s: cut((x / s).round())),
            stored(store=lambda x, s: x / s),
        ),
    ),
    Mistake(
        "what is read instead of what is stored",
        stored(store=lambda x, s: nearest(cut(x / s)) * s),
        "That is x̂, as attention reads it. In the cache lie numbers of E4M3, up to 448; the scale stays outside.",
        "The specification: stored, and x̂ = scale · stored.",
        also=(stored(store=lambda x, s: nearest(cut(x / s)) * s, guard=None),),
    ),
    Mistake(
        "no guard for a silent head",
        stored(guard=None),
        "Where nothing was seen, absmax is 0: x / 0 is infinite, and 0 / 0 is NaN. The specification says which scale "
        "such a head gets. (One of 1e-12 would cut off everything that comes.)",
        "Every stored scale is finite and greater than 0.",
        also=(
            stored(guard=1e-12),
            stored(guard=1e-8),
            stored(guard=None, store=lambda x, s: nearest(cut((x / s).nan_to_num(0)))),
        ),
    ),
    Mistake(
        "the two results in the other order",
        lambda x, seen: stored()(x, seen)[::-1],
        "Both are right, in the other order. What does the specification promise first?",
        "The specification: (scale, stored).",
    ),
)
