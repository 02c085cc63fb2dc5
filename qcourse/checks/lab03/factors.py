"""03.3, how much of a channel's loudness moves: SmoothQuant's factors."""

import torch

from qcourse.checks.lab03.channels import randn, silence
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor


def layer(g, K: int, readers: list[int], alpha: float) -> tuple:
    """(act_absmax, weights, α): loud activations and their readers, N rows each."""
    return randn(g, 9, K).abs().amax(0), [randn(g, N, K) * 0.05 for N in readers], alpha


def extremes(g) -> list[tuple]:
    """Loudnesses far apart, so that s goes from below 1e-5 (a bound of the method's own program) to above 1e5."""
    x, w = torch.tensor([2e-7, 3e-4, 2.0, 4e4, 1e7]), torch.tensor([2e4, 3e3, 0.3, 1e-4, 1e-5])
    cases = []
    for alpha in (0.5, 0.4, 0.7):
        sizes = (1 + torch.rand(2, 5, generator=g)) * torch.stack((x, w))
        quieter = torch.rand(2, 5, generator=g) * torch.tensor([[1.0], [-1.0]])
        cases.append((sizes[0], [torch.cat((quieter[:1], -torch.ones(1, 5))) * sizes[1], quieter[1:] * sizes[1]], alpha))
    return cases


def silent_channels(g) -> list[tuple]:
    """Channel 1 is silent in x, channel 3 is read by nobody, channel 4 is both."""
    x, weights, _ = layer(g, 6, [4, 5], 0.5)
    weights = [silence(W, 3, 4) for W in weights]
    return [(silence(x, 1, 4), weights, alpha) for alpha in (0.3, 0.75)]


def columns(weights: list[Tensor]) -> Tensor:
    """max |w| of each input column over all readers."""
    return torch.cat(weights).abs().amax(0)


def factors(x: Tensor, w: Tensor, alpha: float) -> Tensor:
    """The formula with its guard, for any two loudnesses: the frame of most mistakes."""
    s = x**alpha / w ** (1 - alpha)
    return torch.where((x == 0) | (w == 0), torch.ones_like(s), s)


def half_guarded(x: Tensor, w: Tensor, alpha: float, which: str) -> Tensor:
    """Guarded only where `which` of x and w is silent."""
    s = x**alpha / w ** (1 - alpha)
    return torch.where((x if which == "x" else w) == 0, torch.ones_like(s), s)


def clamped(low: float, high: float):
    """The factors kept between two bounds."""
    return lambda act_absmax, weights, alpha: factors(act_absmax, columns(weights), alpha).clamp(low, high)


def exact(act_absmax, weights, alpha) -> Tensor:
    """In fp64, rounded once."""
    return factors(act_absmax.double(), columns(weights).double(), alpha).float()


SMOOTH_SCALES = Task(
    id="03.3",
    function="smooth_scales",
    title="How much to move",
    points=3,
    expected=exact,
    properties=(
        Property("one reader, α away from a half", lambda g: [layer(g, 3, [3], 0.25), layer(g, 16, [16], 0.8)], 2),
        Property("α = 0.5", lambda g: [layer(g, 5, [7], 0.5)]),
        Property("three readers of the same x", lambda g: [layer(g, 4, [2, 4, 4], 0.3), layer(g, 8, [8, 4, 4], 0.6)], 2),
        Property("the ends, α = 0 and α = 1", lambda g: [layer(g, 6, [3, 6], 0.0), layer(g, 6, [3, 6], 1.0)]),
        Property("silent channels get the factor 1", silent_channels),
        Property("very loud and very faint channels", extremes),
    ),
    mistakes=(
        Mistake(
            "α reversed",
            lambda act_absmax, weights, alpha: factors(act_absmax, columns(weights), 1 - alpha),
            "At α = 1 all the loudness should leave x, so that max|x| / s is the same in every channel. What do your "
            "factors do there? The two exponents have changed places. (At α = 0.5 nobody would notice.)",
            "SmoothQuant, eq. 4: α is the exponent of the activations.",
        ),
        Mistake(
            "the reciprocal of s",
            lambda act_absmax, weights, alpha: 1 / factors(act_absmax, columns(weights), alpha),
            "x is going to be *divided* by s. If a channel is 100 times too loud, should its s be large or small?",
            "Migration: x' = x / s must be calmer than x.",
        ),
        Mistake(
            "the weights reduced over the wrong axis",
            lambda act_absmax, weights, alpha: factors(
                act_absmax, torch.stack([W.abs().amax(1) for W in weights]).amax(0), alpha
            ),
            "You took the largest weight of each *row*, an output channel. But s is indexed by k, the input channel, "
            "and meets the weights column by column. W is (N, K): which axis must disappear?",
            "Migration: w[n, k] · s[k]. A factor belongs to a column of W.",
        ),
        Mistake(
            "only the first reader counts",
            lambda act_absmax, weights, alpha: factors(act_absmax, columns(weights[:1]), alpha),
            "q, k and v read the same x, and x can be divided only once. Which weights does the one s have to know?",
            "Migration: one x / s, hence one s for all its readers.",
        ),
        Mistake(
            "the mean |w| instead of the maximum",
            lambda act_absmax, weights, alpha: factors(act_absmax, torch.cat(weights).abs().mean(0), alpha),
            "A quantization scale is set by the loudest weight, not by the usual one. Which statistic of a column "
            "says how much room the weight grid has left?",
            "Invariant 2: the scale follows the absmax.",
        ),
        Mistake(
            "the sign of the weights kept",
            lambda act_absmax, weights, alpha: factors(act_absmax, torch.cat(weights).amax(0), alpha),
            "A column whose strongest weight is −0.9 is as hard to quantize as one with +0.9. What does your maximum "
            "see of it? (And a column of negative weights only would even give s a root of a negative number.)",
            "Invariant 2: a symmetric grid must cover both signs.",
        ),
        Mistake(
            "a silent channel divides by zero, or is divided by it",
            lambda act_absmax, weights, alpha: act_absmax**alpha / columns(weights) ** (1 - alpha),
            "Where x is silent your s is 0, where W is silent it is infinite. One step later x is divided by it. What "
            "factor leaves such a channel as it is?",
            "Migration: s must be positive and finite, or x / s is not a number.",
            also=(
                lambda act_absmax, weights, alpha: half_guarded(act_absmax, columns(weights), alpha, "x"),
                lambda act_absmax, weights, alpha: half_guarded(act_absmax, columns(weights), alpha, "w"),
            ),
        ),
        Mistake(
            "a tiny factor for a silent channel",
            lambda act_absmax, weights, alpha: (
                act_absmax.clamp(min=1e-5) ** alpha / columns(weights).clamp(min=1e-5) ** (1 - alpha)
            ),
            "Clamping avoids the zero, but leaves a factor that is thousands of times too small or too large, and W is "
            "multiplied by it. There is nothing to move here: which factor says so?",
            "The specification: a silent channel has s = 1.",
        ),
        Mistake(
            "the factors kept within bounds",
            clamped(1e-2, 1e2),
            "Your factors stop at a bound that the formula does not have. What is left in x when a channel is a million "
            "times too loud, and its factor may be a thousand at most?",
            "SmoothQuant, eq. 4: s is positive and finite, and nothing else is asked of it.",
            also=(
                *(clamped(bound, 1 / bound) for bound in (1e-1, 1e-3, 1e-4, 1e-5)),
                *(clamped(bound, float("inf")) for bound in (1e-2, 1e-5)),
            ),
        ),
    ),
    hint="Two loudnesses meet in the formula, both with K entries. The one of the weights is a maximum over everything that "
    "reads channel k: all rows of all readers. Then treat the channels in which one of the two is zero.",
    rtol=1e-4,
    returns=("s",),
)
