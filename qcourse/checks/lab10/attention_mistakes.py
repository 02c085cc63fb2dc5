"""The known mistakes of 10.5: attention, or its error, with one thing changed."""

from functools import partial

import torch

from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor


def attend(q, K, V, root=0.5, share=lambda s: s.softmax(-1), mask=None) -> Tensor:
    """What the queries gather; divided by D to the power `root`."""
    scores = q @ K.T / K.shape[1] ** root
    if mask is not None:
        seen = torch.ones_like(scores).tril(mask(*scores.shape)).bool()
        scores = scores.masked_fill(~seen, -torch.inf)
    return share(scores) @ V


def relative(other: Tensor, exact: Tensor) -> Tensor:
    """‖other − exact‖ / ‖exact‖."""
    return (other - exact).norm() / exact.norm()


def errors(gather=attend, error=relative, pairs=None):
    """attention_error in float64; `pairs` of (q, K, V, K_hat, V_hat): what is gathered with which K and V."""

    def wrong(q, K, V, K_hat, V_hat):
        q, K, V, K_hat, V_hat = (t.double() for t in (q, K, V, K_hat, V_hat))
        both = ((K_hat, V), (K, V_hat)) if pairs is None else pairs(K, V, K_hat, V_hat)
        exact = gather(q, K, V)
        return tuple(float(error(gather(q, *pair), exact)) for pair in both)

    return wrong


def of_scores(share=lambda s: s):
    """The keys' error before the values are gathered; that of the values right."""

    def wrong(q, K, V, K_hat, V_hat):
        score = partial(attend, V=torch.eye(len(K)).double(), share=share)
        keys = relative(score(q.double(), K_hat.double()), score(q.double(), K.double()))
        return float(keys), errors()(q, K, V, K_hat, V_hat)[1]

    return wrong


def of_themselves(q, K, V, K_hat, V_hat):
    """The errors of K and V."""
    return tuple(float(relative(b.double(), a.double())) for a, b in ((K, K_hat), (V, V_hat)))


def values_themselves(q, K, V, K_hat, V_hat):
    """The keys' error through attention, the values' error not."""
    return errors()(q, K, V, K_hat, V_hat)[0], of_themselves(q, K, V, K_hat, V_hat)[1]


MISTAKES = (
    Mistake(
        "softmax forgotten",
        errors(partial(attend, share=lambda s: s)),
        "Your scores go into the sum as they are, negative ones too. Attention takes a weighted *mean* of the values. "
        "What makes shares of scores, positive and adding up to 1?",
        "Attention: softmax(q Kᵀ / √D) V.",
        also=(errors(partial(attend, share=torch.exp)), errors(partial(attend, share=torch.sigmoid))),
    ),
    Mistake(
        "√D forgotten",
        errors(partial(attend, root=0.0)),
        "Your scores are √D times too large (or too small), so the softmax is too sharp or too flat, and the error "
        "with it. By what does the model divide them?",
        "Attention: softmax(q Kᵀ / √D) V.",
        also=(errors(partial(attend, root=1.0)), errors(partial(attend, root=-0.5)), errors(partial(attend, root=0.25))),
    ),
    Mistake(
        "the softmax over the queries",
        errors(partial(attend, share=lambda s: s.softmax(0))),
        "Your shares add up to 1 over the queries. Each query distributes its own attention over the tokens: along "
        "which axis of the scores (M, T) lie those?",
        "Every row of the shares adds up to 1.",
    ),
    Mistake(
        "a causal mask",
        errors(partial(attend, mask=lambda M, T: 0)),
        "You hide tokens from some queries. All T tokens are older than all M queries here: who may see whom?",
        "What is in the cache is in the past.",
        also=(
            errors(partial(attend, mask=lambda M, T: T - M)),
            errors(partial(attend, mask=lambda M, T: -1, share=lambda s: s.softmax(-1).nan_to_num(0))),
        ),
    ),
    Mistake(
        "the error of the scores, not of the output",
        of_scores(),
        "You compare the scores, or the shares. An error there may fall on tokens that hardly count, or on values that "
        "are alike. What does the next layer get to see?",
        "The error is judged where it counts: at the output.",
        also=(of_scores(lambda s: s.softmax(-1)),),
    ),
    Mistake(
        "the error of K and V themselves",
        of_themselves,
        "You compare K̂ with K and V̂ with V. No query occurs in that. A key's error goes through a softmax, a value's "
        "through a mean over many tokens: what is left of them afterwards?",
        "The error is judged where it counts: at the output.",
        also=(values_themselves, lambda *args: (of_themselves(*args)[0], errors()(*args)[1])),
    ),
    Mistake(
        "both rounded at once",
        errors(pairs=lambda K, V, K_hat, V_hat: ((K_hat, V_hat), (K_hat, V_hat))),
        "One of your two numbers contains the rounding of both, K and V, so that nobody can tell which of them does "
        "the harm. What stays exact while the keys are judged?",
        "One thing at a time: (K̂, V) and (K, V̂).",
        also=(
            errors(pairs=lambda K, V, K_hat, V_hat: ((K_hat, V), (K_hat, V_hat))),
            errors(pairs=lambda K, V, K_hat, V_hat: ((K_hat, V_hat), (K, V_hat))),
        ),
    ),
    Mistake(
        "the two in the other order",
        errors(pairs=lambda K, V, K_hat, V_hat: ((K, V_hat), (K_hat, V))),
        "Both numbers are right, and come back in the other order. What does the specification promise first?",
        "The specification: (by the keys, by the values).",
    ),
    Mistake(
        "a mean of the queries' errors",
        errors(error=lambda other, exact: ((other - exact).norm(dim=1) / exact.norm(dim=1)).mean()),
        "You divided query by query (or number by number) and then took a mean: one query that gathers next to nothing "
        "has the same say as all others, and its error is divided by next to nothing. When is to be divided?",
        "Add up everything first, divide once: ‖ô − o‖ / ‖o‖.",
        also=(
            errors(error=lambda other, exact: ((other - exact) / exact).abs().mean()),
            errors(error=lambda other, exact: ((other - exact).norm(dim=1) / exact.norm(dim=1)).max()),
        ),
    ),
    Mistake(
        "squared, or in other units",
        errors(error=lambda other, exact: relative(other, exact) ** 2),
        "You return the ratio of the squares, or of the magnitudes, or no ratio at all. ‖ ‖ is the root of the sum of "
        "squares: an output that is off by a tenth has the error 0.1.",
        "The relative error: ‖ô − o‖ / ‖o‖, Euclid's norm.",
        also=(
            errors(error=lambda other, exact: (other - exact).norm()),
            errors(error=lambda other, exact: (other - exact).square().mean()),
            errors(error=lambda other, exact: (other - exact).square().sum()),
            errors(error=lambda other, exact: (other - exact).square().mean().sqrt()),
            errors(error=lambda other, exact: (other - exact).abs().sum() / exact.abs().sum()),
            errors(error=lambda other, exact: (other - exact).abs().mean()),
            errors(error=lambda other, exact: (other - exact).abs().max() / exact.abs().max()),
        ),
    ),
    Mistake(
        "relative to something else",
        errors(error=lambda other, exact: (other - exact).norm() / other.norm()),
        "You divide by the norm of what came out after the rounding, or compare the norms alone. The measure is what "
        "would have come out without it, and the difference is taken number by number. Which of the two stands below?",
        "The relative error: ‖ô − o‖ / ‖o‖.",
        also=(errors(error=lambda other, exact: (other.norm() - exact.norm()).abs() / exact.norm()),),
    ),
)
