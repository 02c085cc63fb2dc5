"""awq_scales, and the known mistakes of 07.2: the same with one thing changed."""

import torch

from qcourse.checks.task import Mistake


def mean(x):
    """mean |x|, fp64."""
    return x.double().abs().mean(0)


def centred(t):
    """Largest and smallest reciprocal."""
    return t / (t.max() * t.min()).sqrt()


def scales(measure=mean, power=lambda m, a: m**a, guard=lambda t: t.clamp(min=1e-4), centre=centred):
    """awq_scales with one thing changed."""
    return lambda x, alpha: centre(guard(power(measure(x), alpha)))


def one_for_the_dead(x, alpha):
    """A dead channel is left as it is; the others are centred among themselves."""
    m = mean(x)
    return torch.where(m == 0, 1.0, m**alpha / (m[m > 0].max() ** alpha * m[m > 0].min() ** alpha).sqrt())


MISTAKES = (
    Mistake(
        "the maximum instead of the mean",
        scales(lambda x: x.double().abs().amax(0)),
        "A maximum belongs to SmoothQuant, where x itself is rounded and has to fit a grid. Here x stays as it is; it "
        "only tells how often a column's error is heard, and how loudly. Which statistic is that?",
        "AWQ: m_k = mean |x_k|.",
    ),
    Mistake(
        "the mean without magnitudes",
        scales(lambda x: x.double().mean(0)),
        "In your mean the tokens cancel: a channel that swings between −9 and 9 looks silent, and the mean of a "
        "negative one has no root. What has to go first?",
        "AWQ: first the magnitude, then the mean.",
        also=(scales(lambda x: x.double().mean(0).abs()),),
    ),
    Mistake(
        "a root mean square",
        scales(lambda x: x.double().square().mean(0).sqrt()),
        "You squared before you averaged, so loud tokens count more than they should. Which average does the formula take?",
        "AWQ: m_k = mean |x_k|.",
        also=(scales(lambda x: x.double().square().mean(0)), scales(lambda x: x.double().std(0))),
    ),
    Mistake(
        "one factor a token",
        scales(lambda x: x.double().abs().mean(1)),
        "You averaged along the rows and got M numbers. s meets columns of W, and has one entry for each k: which axis "
        "has to disappear?",
        "The letters: s is (K,).",
    ),
    Mistake(
        "the power taken before the mean",
        scales(lambda x: x, lambda x, a: (x.double().abs() ** a).mean(0)),
        "The mean of the powers is not the power of the mean. Which comes first in the formula?",
        "AWQ: s_k = (mean |x_k|)^α.",
    ),
    Mistake(
        "α is not an exponent",
        scales(power=lambda m, a: m * a),
        "You multiplied by α, and the centring divides that out again: your factors are the same for every α. What is a "
        "factor of 100 to become at α = 0.5?",
        "AWQ: s_k = m_k^α.",
    ),
    Mistake(
        "the exponent turned round",
        scales(power=lambda m, a: m ** (1 - a)),
        "At α = 0 nothing may be moved, and at α = 1 everything. At one of them, or at both, you do something else.",
        "AWQ: α = 0 gives s = 1.",
        also=(scales(power=lambda m, a: m**-a), scales(centre=lambda t: 1 / centred(t))),
    ),
    Mistake(
        "not centred",
        scales(centre=lambda t: t),
        "Your powers are right, and stay as they are. If all inputs are loud, all factors are large and the whole W "
        "grows. What puts the largest and the smallest at the same distance from 1?",
        "AWQ: max s · min s = 1.",
    ),
    Mistake(
        "the root left out of the centring",
        scales(centre=lambda t: t / (t.max() * t.min())),
        "Take t = [4, 1]: what should come out, so that max · min is 1, and what does? The product of two numbers has "
        "the unit of t².",
        "AWQ: s = t / √(max t · min t).",
    ),
    Mistake(
        "centred by something else",
        scales(centre=lambda t: t / t.mean()),
        "You divided by one number, as you should, but by another one. The largest factor and the smallest have to "
        "become reciprocals of each other.",
        "AWQ: max s · min s = 1.",
        also=(
            scales(centre=lambda t: t / t.max()),
            scales(centre=lambda t: t / t.min()),
            scales(centre=lambda t: t / t.sum()),
            scales(centre=lambda t: t / t.norm()),
            scales(centre=lambda t: t / t.median()),
            scales(centre=lambda t: t / t.log().mean().exp()),
            scales(centre=lambda t: t / ((t.max() + t.min()) / 2)),
            scales(centre=lambda t: t / t.max().sqrt()),
        ),
    ),
    Mistake(
        "a dead channel is not guarded",
        scales(guard=lambda t: t),
        "Where a channel is 0 for all tokens, your smallest t is 0, and so is what you divide by. One such channel, "
        "and all factors are infinite or NaN. What does the formula do before it divides?",
        "t_k = max(m_k^α, 1e-4): s must be positive and finite.",
        also=(scales(lambda x: centred(mean(x)), guard=lambda t: t, centre=lambda t: t),),
    ),
    Mistake(
        "the guard before the power",
        scales(lambda x: mean(x).clamp(min=1e-4), guard=lambda t: t),
        "You lifted m to 1e-4, and then took the power of that: at α = 0.5 a dead channel counts as 1e-2. To what does "
        "the formula apply its max?",
        "t_k = max(m_k^α, 1e-4), the power first.",
        also=tuple(scales(lambda x, c=c: mean(x).clamp(min=c), guard=lambda t: t) for c in (1e-5, 1e-6, 1e-8, 1e-12)),
    ),
    Mistake(
        "another value for a dead channel",
        one_for_the_dead,
        "A dead channel needs no protection, so any factor would be harmless to x. But max and min see it, and with "
        "them all other factors. Which value is it to count as?",
        "t_k = max(m_k^α, 1e-4).",
        also=(
            scales(guard=lambda t: torch.where(t == 0, 1.0, t)),
            *(scales(guard=lambda t, c=c: t.clamp(min=c)) for c in (1e-3, 1e-5, 1e-6, 1e-8)),
        ),
    ),
    Mistake(
        "1e-4 only where it is exactly 0",
        scales(guard=lambda t: torch.where(t == 0, 1e-4, t)),
        "A channel that is nearly dead, 1e-6, gets a smaller factor than one that is quite dead. The formula does "
        "not ask whether t is 0; it takes the larger of two numbers.",
        "t_k = max(m_k^α, 1e-4).",
    ),
    Mistake(
        "1e-4 added",
        scales(guard=lambda t: t + 1e-4),
        "You add 1e-4 to every t. That keeps zeros away, but moves all others a little. The formula takes the "
        "larger of two numbers.",
        "t_k = max(m_k^α, 1e-4).",
        also=(scales(lambda x: mean(x) + 1e-4, guard=lambda t: t),),
    ),
)
