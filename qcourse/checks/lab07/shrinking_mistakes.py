"""shrink, and the known mistakes of 07.5: the same with one thing changed."""

import torch

from qcourse.checks.task import Mistake


def threshold(beta: float, p: float) -> float:
    """Where |e| = |e|^(p − 1) / β."""
    return beta ** (-1 / (2 - p))


def shrunk(
    less=lambda a, beta, p: a ** (p - 1) / beta,
    cut=lambda r, a: torch.relu(r),
    sign=lambda e: torch.sign(e),
    size=lambda e: e.abs(),
):
    """shrink in fp64: what is taken off, what becomes of the rest, and the sign; size(e) stands for |e|."""

    def shrink(e, beta, p):
        e = e.double()
        a = size(e)
        return sign(e) * cut(a - less(a, beta, p), e)

    return shrink


def kept_whole(limit):
    """e itself where it is larger than a limit(β, p)."""
    return lambda e, beta, p: torch.where(e.abs() > limit(beta, p), e, 0.0)


def outside(e, beta, p):
    """relu around the sign, too."""
    a = e.double().abs()
    return torch.relu(e.double().sign() * (a - a ** (p - 1) / beta))


def masked(e, beta, p):
    """Multiplied by the truth of a comparison."""
    a = e.double().abs()
    return e.double().sign() * (a - a ** (p - 1) / beta) * (a > threshold(beta, p))


def signed_power(e, beta, p):
    """|e|, but the power of e."""
    e = e.double()
    return e.sign() * torch.relu(e.abs() - e ** (p - 1) / beta)


MISTAKES = (
    Mistake(
        "a hard threshold",
        kept_whole(threshold),
        "You keep large errors as they are, and drop the small ones. Shrinking takes something from the large ones as "
        "well: how much, at |e|?",
        "shrink: |e| − |e|^(p−1)/β of what is above the threshold.",
        also=(kept_whole(lambda beta, p: 1 / beta),),
    ),
    Mistake(
        "the same taken from every error",
        shrunk(lambda a, beta, p: 1 / beta),
        "You take 1/β from every error, however large: that is p = 1, the ordinary soft threshold. With p < 1 a large "
        "error is taken over almost whole, and a small one loses more. On what does the amount depend?",
        "The amount is |e|^(p−1)/β: it falls as |e| grows.",
        also=(shrunk(lambda a, beta, p: threshold(beta, p) + 0 * a),),
    ),
    Mistake(
        "the sign lost",
        shrunk(sign=lambda e: 1.0),
        "Every answer is positive. An error of −0.3 that is taken over is still −0.3, less a little.",
        "shrink(−e) = −shrink(e).",
    ),
    Mistake(
        "negative errors become 0",
        shrunk(size=lambda e: e, less=lambda a, beta, p: a.abs() ** (p - 1) / beta, sign=lambda e: 1.0),
        "Your cut at 0 sees the sign, so that negative errors fall below it. Cut the *magnitude*, and put the sign back "
        "afterwards.",
        "shrink(−e) = −shrink(e).",
        also=(outside, shrunk(sign=lambda e: torch.relu(e).sign())),
    ),
    Mistake(
        "the power of a negative number",
        shrunk(lambda e, beta, p: e ** (p - 1) / beta, size=lambda e: e, sign=lambda e: 1.0),
        "A negative number has no real power of p − 1: your negative errors are NaN. Of what does the formula take the "
        "power?",
        "The amount is |e|^(p−1)/β, of the magnitude.",
        also=(signed_power,),
    ),
    Mistake(
        "the exponent p instead of p − 1",
        shrunk(lambda a, beta, p: a**p / beta),
        "You take |e|^p / β, which grows with the error. The helper is to forgive large errors, so what is taken from "
        "them has to fall. Which exponent does the formula have, and which sign has it for p < 1?",
        "The amount is |e|^(p−1)/β: it falls as |e| grows.",
        also=(shrunk(lambda a, beta, p: a ** (1 - p) / beta), shrunk(lambda a, beta, p: a ** (p - 2) / beta)),
    ),
    Mistake(
        "multiplied by β",
        shrunk(lambda a, beta, p: a ** (p - 1) * beta),
        "With your line a large β takes everything away. β rises from step to step, so that *less* and less is taken "
        "off: on which side of the fraction does it stand?",
        "The amount is |e|^(p−1)/β.",
        also=(shrunk(lambda a, beta, p: (a / beta) ** (p - 1)), shrunk(lambda a, beta, p: (a * beta) ** (p - 1))),
    ),
    Mistake(
        "the factor p of the derivative",
        shrunk(lambda a, beta, p: p * a ** (p - 1) / beta),
        "The derivative of |e|^p is p · |e|^(p−1), and it is a good thought. HQQ's formula has no such factor; it is "
        "part of its β.",
        "The amount is |e|^(p−1)/β.",
    ),
    Mistake(
        "not cut at 0",
        shrunk(cut=lambda r, e: r),
        "A small error becomes a large one of the other sign: |e| − |e|^(p−1)/β is below 0 there. What is a small error to "
        "become?",
        "shrink: never beyond 0.",
        also=(shrunk(cut=lambda r, e: r.abs()), shrunk(cut=lambda r, e: torch.where(e == 0, 0.0, r))),
    ),
    Mistake(
        "NaN where e is 0",
        masked,
        "0^(p−1) is infinite, and 0 · ∞ and 0 / 0 are NaN. Where e is 0, you multiply an infinity by 0, or divide 0 by "
        "itself. In which order do the steps let the cut at 0 catch it?",
        "shrink(0) = 0, exactly.",
        also=(shrunk(sign=lambda e: e / e.abs()),),
    ),
    Mistake(
        "what is left instead of what is taken over",
        lambda e, beta, p: e.double() - shrunk()(e, beta, p),
        "Small errors come back as they were, large ones nearly gone: that is what remains *after* the helper has taken "
        "over its part. Asked for is the helper.",
        "shrink: 0 for small errors.",
    ),
)
