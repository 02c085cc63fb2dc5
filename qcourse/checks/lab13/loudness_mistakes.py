"""The known mistakes of 13.4: a decision about a fold, or a mend, with one thing changed."""

import torch

from qcourse.checks.lab13.loudness_variants import (
    bare,
    factor,
    logs,
    louder,
    measured,
    mended,
    nearest,
    nearest_plainly,
    noisy,
    noisy_s,
    sign,
    slope,
    thirds,
    totals,
    untouched,
)
from qcourse.checks.task import Mistake

MISTAKES = (
    Mistake(
        "the wrong way round",
        mended(up=lambda s: 1 / s, down=lambda s: s),
        "A gain that is too large by s became too large by s². If a norm was not divided, its output is too loud: is its "
        "gain to be made larger or smaller?",
        "Forgotten: gain / s. Twice: gain · s.",
    ),
    Mistake(
        "one accident only",
        mended(lambda *loud: max(measured(*loud), 0)),
        "One of the two accidents you mend, the other passes as healthy. A fold can be missing, and it can be there once "
        "too often; the slope has a sign. What does a norm look like that was divided twice?",
        "Slope +1: a fold forgotten. Slope −1: applied twice.",
        also=(mended(lambda *loud: min(measured(*loud), 0)),),
    ),
    Mistake(
        "both mended alike",
        mended(lambda *loud: abs(measured(*loud))),
        "You found that something is wrong with the fold, and mend it in one way, whichever it is. Too loud and too quiet "
        "need opposite factors. Which sign decides?",
        "Forgotten: gain / s. Twice: gain · s.",
        also=(mended(lambda *loud: -abs(measured(*loud))),),
    ),
    Mistake(
        "a healthy norm mended, too",
        mended(lambda *loud: sign(slope(*loud))),
        "Your decision knows two answers, and a healthy norm gets one of them. Its slope is near 0 and never 0: noise has "
        "a sign. Between which two numbers do you call a norm healthy?",
        "A slope near 0: nothing happened, and nothing is mended.",
        also=(
            mended(lambda *loud: 1 if slope(*loud) > 0.5 else -1),
            mended(lambda *loud: -1 if slope(*loud) < -0.5 else 1),
            mended(lambda *loud: 1),
            mended(lambda *loud: -1),
        ),
    ),
    Mistake(
        "no room for noise",
        untouched,
        "The gain came back as it was. If you asked whether the patient's loudness *is* that of bf16: it is, up to a few in "
        "a hundred, for it was measured. How near is near enough, when three candidates are this far apart?",
        "Measured numbers are compared with room for their noise.",
        also=(mended(lambda *loud: 0, end=lambda t: t.bfloat16().float()),),
    ),
    Mistake(
        "one loudness for the whole norm",
        *totals(torch.mean)[:1],
        "You compared sums, means or the loudest channel. s is above 1 in some channels and below in others, and the loud "
        "ones drown the rest: a norm can get quieter by a fold that was forgotten. In what do all channels agree?",
        "log(patient/twin) follows log(plain/twin) over the channels: that slope decides.",
        also=(
            *totals(torch.mean)[1:],
            *totals(torch.amax),
            *totals(torch.median),
            mended(lambda *loud: thirds(float(torch.stack(logs(*loud)).mean(1)[1] / torch.stack(logs(*loud)).mean(1)[0]))),
            mended(lambda p, t, b: 1 if p.mean() > t.mean() else -1),
            mended(lambda p, t, b: 1 if p.max() > t.max() else -1),
        ),
    ),
    Mistake(
        "channel by channel",
        mended(nearest),
        "You decided for each channel by itself. Where s is hardly more than 1, the noise is larger than the difference, "
        "and the channel votes at random. Was a fold forgotten in a channel, or in a norm?",
        "One decision for the norm, from all its channels.",
        also=(
            mended(nearest_plainly),
            mended(louder),
            mended(lambda *loud: torch.where(louder(*loud) == 0, 1.0, louder(*loud))),
        ),
    ),
    Mistake(
        "the noise folded in",
        noisy,
        "You multiplied by twin/patient, channel by channel. That gives the loudness of the twin on the text that you "
        "measured, and every error of the measurement stays in the gain for good. Which two of the three were measured "
        "without noise?",
        "s = plain / twin is exact; the patient's loudness only says which way.",
        also=(mended(s=noisy_s),),
    ),
    Mistake(
        "another power of s",
        mended(up=lambda s: s * s, down=lambda s: 1 / s),
        "The right direction, and too far, or not far enough. A fold that was applied twice is there once too often: by "
        "how many factors s is the gain off?",
        "Forgotten: gain / s. Twice: gain · s.",
        also=(
            mended(up=lambda s: s * s, down=lambda s: 1 / (s * s)),
            mended(down=lambda s: 1 / (s * s)),
            mended(up=lambda s: s.sqrt(), down=lambda s: 1 / s.sqrt()),
            mended(up=lambda s: s.sqrt()),
        ),
    ),
    Mistake(
        "0 / 0 in silent channels",
        mended(s=bare),
        "A channel that is silent in all three gives 0/0, which is NaN, and one NaN in a sum makes it NaN. A NaN is neither "
        "larger nor smaller than anything. What is s, where there is nothing to measure?",
        "Where the twin is silent, s is 1.",
        also=(
            mended(lambda p, t, b: 0 if (t == 0).any() else measured(p, t, b)),
            mended(lambda p, t, b: 0 if (t == 0).any() else measured(p, t, b), s=bare),
            mended(lambda p, t, b: -1 if (t == 0).any() else measured(p, t, b), s=bare),
            mended(lambda p, t, b: 1 if (t == 0).any() else measured(p, t, b), s=bare),
        ),
    ),
    Mistake(
        "rounded back to bf16",
        lambda gain, patient, twin, plain: mended()(gain, patient, twin, plain).to(gain.dtype).float(),
        "Your gain has 8 bits of precision, as it had in the file. The mend is a product, and what the file holds is "
        "decided by whoever writes it. Which dtype does the table ask for?",
        "float32 comes back.",
        also=(
            lambda gain, patient, twin, plain: mended(s=lambda p, t, b: factor(p, t, b).to(gain.dtype).double())(
                gain, patient, twin, plain
            ).to(gain.dtype),
        ),
    ),
)
