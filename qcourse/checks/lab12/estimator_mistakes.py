"""The known mistakes of 12.5: the estimator with another forward value, or another gradient."""

import torch

from qcourse.checks.task import Mistake


def rounded(x, limit, s):
    """Ŵ from x = W / s."""
    return x.round().clamp(-limit, limit) * s


def masked(x, limit, s, grad):
    """The gradient inside, zero outside."""
    return torch.where(x.abs() <= limit, grad, 0)


def estimator(forward=rounded, backward=masked, swapped=False):
    """straight_through with other halves, in float64: `forward(x, limit, s)`, `backward(x, limit, s, grad)`, x = W / s."""

    def wrong(W, scale, limit, grad):
        s = scale.double()
        x = W.double() / s
        both = forward(x, limit, s), backward(x, limit, s, grad.double())
        return both[::-1] if swapped else both

    return wrong


def where(condition):
    """The gradient where `condition(x, limit, s)` holds."""
    return lambda x, limit, s, grad: torch.where(condition(x, limit, s), grad, 0)


def passed(x, limit, s, grad):
    """The gradient everywhere."""
    return grad


def zero(x, limit, s, grad):
    """No gradient."""
    return 0 * grad


def unclamped(x, limit, s):
    """Rounded, and no more."""
    return x.round() * s


def in_units_of_w(x, limit, s):
    """The clamp after the scale came back."""
    return (x.round() * s).clamp(-limit, limit)


MISTAKES = (
    Mistake(
        "the true gradient of rounding",
        estimator(backward=zero),
        "Your gradient is zero everywhere, and that is what mathematics says: a staircase is flat almost everywhere. So "
        "nothing would ever learn. What does the straight-through estimator pretend that round does?",
        "Straight-through: the gradient passes the rounding as if it were not there.",
    ),
    Mistake(
        "the gradient passes outside, too",
        estimator(backward=passed),
        "A weight beyond the last code is clamped: moving it a little changes nothing, and the clamp's slope there is a "
        "real zero, not an artefact of rounding. Which of the two, round or clamp, is the one to be forgiven?",
        "Straight-through forgives the rounding. The clamp keeps its own slope: 1 inside, 0 outside.",
    ),
    Mistake(
        "the gradient multiplied by the scale, or divided by it",
        estimator(backward=lambda x, limit, s, grad: masked(x, limit, s, grad * s)),
        "Ŵ = s · clamp(round(W / s)): the chain rule gives a factor s on the way out, and another one for W / s. Which "
        "is the other, and what is their product?",
        "The slope of s · (W / s) is 1.",
        also=(
            estimator(backward=lambda x, limit, s, grad: masked(x, limit, s, grad / s)),
            estimator(backward=lambda x, limit, s, grad: grad * s),
            estimator(backward=lambda x, limit, s, grad: grad / s),
        ),
    ),
    Mistake(
        "the mask compares W, not W / scale",
        estimator(backward=where(lambda x, limit, s: (x * s).abs() <= limit)),
        "`limit` counts steps, and W is measured in weights. A weight of 0.9 is far outside if a step is 0.05, and well "
        "inside if a step is 4. How many steps is a weight?",
        "Inside means |W / scale| ≤ limit: both in steps.",
        also=(estimator(backward=where(lambda x, limit, s: x.abs() <= limit * s)),),
    ),
    Mistake(
        "the mask upside down",
        estimator(backward=where(lambda x, limit, s: x.abs() > limit)),
        "Your gradient passes where the weight is clamped, and is stopped where the grid could follow it. Which of the two "
        "kinds of weight can still change Ŵ by moving?",
        "The slope of a clamp is 1 inside, 0 outside.",
    ),
    Mistake(
        "the mask at one end only",
        estimator(backward=where(lambda x, limit, s: x <= limit)),
        "Of the weights beyond the ends of the grid you stopped those at one end. What happens to a weight of −5 steps on a "
        "grid that ends at −3?",
        "A symmetric grid has two ends: |W / scale| ≤ limit.",
        also=(estimator(backward=where(lambda x, limit, s: x >= -limit)),),
    ),
    Mistake(
        "weights on the last code stopped",
        estimator(backward=where(lambda x, limit, s: x.round().abs() < limit)),
        "You stop every weight whose code is the last one, also those that lie within the grid. In a ternary layer these "
        "are all weights that are not zero. Which weights does the clamp really change?",
        "Inside means |W / scale| ≤ limit; whoever is rounded to the last code from within stays free.",
    ),
    Mistake(
        "the gradient clamped",
        estimator(backward=lambda x, limit, s, grad: grad.clamp(-limit, limit)),
        "You clamped the gradient as if it were a weight. Nothing has to be said about its size. What decides whether it "
        "passes is where its weight lies.",
        "Straight-through: the gradient passes unchanged, or not at all.",
        also=(estimator(backward=lambda x, limit, s, grad: masked(x, limit, s, grad.clamp(-limit, limit))),),
    ),
    Mistake(
        "codes instead of values",
        estimator(lambda x, limit, s: rounded(x, limit, 1)),
        "Your Ŵ counts steps: −3, 0, 2. The layer multiplies x by weights. What is the weight of one step?",
        "Ŵ = scale · code: `scale` multiplies on the way back.",
    ),
    Mistake(
        "Ŵ not clamped",
        estimator(unclamped),
        "You rounded weights to codes that the grid does not have. A ternary file has no place for a 4. Where does a weight "
        "beyond the last code go?",
        "codes = clamp(round(W / scale), −limit, limit).",
        also=(
            estimator(unclamped, passed),
            estimator(in_units_of_w),
            estimator(in_units_of_w, passed),
            estimator(in_units_of_w, where(lambda x, limit, s: (x * s).abs() <= limit)),
        ),
    ),
    Mistake(
        "one code too many below",
        estimator(lambda x, limit, s: x.round().clamp(-limit - 1, limit) * s),
        "Your grid reaches from −limit − 1: two's complement has that code, this grid does not. How many codes has a "
        "ternary weight?",
        "A symmetric grid: −limit … limit, 2 · limit + 1 codes.",
        also=(estimator(lambda x, limit, s: x.round().clamp(-limit - 1, limit) * s, passed),),
    ),
    Mistake(
        "truncated instead of rounded",
        estimator(lambda x, limit, s: x.trunc().clamp(-limit, limit) * s),
        "0.9 of a step became 0. Cutting off moves every weight in one direction, by half a step on average. What is "
        "nearest?",
        "A grid's error is at most half a step, where it rounds.",
        also=(estimator(lambda x, limit, s: x.floor().clamp(-limit, limit) * s),),
    ),
    Mistake(
        "the two results in the other order",
        estimator(swapped=True),
        "Both are right, in the other order. What does the specification promise first?",
        "The specification: (Ŵ, the gradient of W).",
    ),
)
