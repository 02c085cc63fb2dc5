"""07.1 salient_channels(x, share) → int64 (n,): the loudest channels by mean |x|, in rising order."""

import math

import numpy as np
import torch

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor

JUST_MISS = ("steady", "spike", "spike", "one sign", "bump", "bump")  # kinds of those that are not among the loudest


def pattern(g, M: int, kind: str) -> Tensor:
    """M numbers with mean |u| = 1: steady with both signs alike, one spike, one bump, one sign only,
    or loud every third token.
    """
    u = 0.8 + 0.4 * torch.rand(M, generator=g)
    if kind == "spike":
        u = 0.1 * u
        u[draw.integer(g, 0, M - 1)] = M
    if kind == "bump":
        u = 0.5 + 0.5 * u
        u[draw.integer(g, 0, M - 1)] = 2.5
    if kind == "bursts":
        u = torch.where(torch.arange(M) % 3 == draw.integer(g, 0, 2), u, 0.02 * u)
    sign = 1.0 - 2.0 * (torch.arange(M) % 2)
    return u / u.mean() * (1 if kind == "one sign" else sign)


def sample(g, M: int, K: int, n: int, part: float = 0.5, top: str = "steady", below=JUST_MISS) -> tuple:
    """(x, share): share · K = n + part. Loudnesses between 1 and 2.5, each apart from the next by 1 % or more.

    The n loudest are of kind `top`; of the others the first are of the kinds `below`, the rest steady.
    """
    ladder = torch.linspace(0, 1, K) + 0.3 / K * torch.rand(K, generator=g)
    loudness = torch.exp(-0.9 * ladder)  # falling
    kinds = [top] * n + list(below)[: max(K - n, 0)]
    kinds += ["steady"] * (K - len(kinds))
    x = torch.stack([size * pattern(g, M, kind) for size, kind in zip(loudness, kinds, strict=True)], 1)
    size = 10 ** draw.uniform(g, -2, 1)
    return (size * x[:, torch.randperm(K, generator=g)]).contiguous(), (n + part) / K


def several(g, n: int, **how):
    """A sample of 12 to 20 tokens, n salient channels of at most 24."""
    return sample(g, draw.integer(g, 12, 20), n + draw.integer(g, 8, 24 - n), n, **how)


def count(share: float, K: int) -> int:
    """n."""
    return max(1, math.floor(share * K))


def expected(x, share) -> Tensor:
    """In fp64, by sorting pairs."""
    loudness = np.abs(x.numpy().astype(np.float64)).sum(0)
    order = sorted(range(x.shape[1]), key=lambda k: -loudness[k])
    return torch.tensor(sorted(order[: count(share, x.shape[1])]))


def by(measure, n=count, largest=True):
    """The channels with the largest of another measure, or another number of them."""

    def wrong(x, share):
        loudness = measure(x)
        return torch.topk(loudness, n(share, len(loudness)), largest=largest).indices.sort().values

    return wrong


def mean(x):
    """mean |x|."""
    return x.abs().mean(0)


def tokens(n):
    """The loudest rows; n(share, M, K) of them."""
    return lambda x, share: by(lambda x: x.abs().mean(1), lambda share, M: n(share, M, x.shape[1]))(x, share)


def no_channel(x, share):
    """argsort()[-0:] is everything."""
    n = math.floor(share * x.shape[1])
    return mean(x).argsort()[-n:].sort().values


SALIENT_CHANNELS = Task(
    id="07.1",
    function="salient_channels",
    title="Who is loud",
    points=3,
    expected=expected,
    properties=(
        Property("channels that are loud all the time", lambda g: [several(g, 3), several(g, 4), several(g, 5)], 2),
        Property(
            "channels that are loud in bursts",
            lambda g: [several(g, 3, top="bursts", below=("steady",)), several(g, 5, top="bursts", below=("steady",))],
        ),
        Property(
            "share · K is cut down", lambda g: [several(g, 2, part=0.8), several(g, 3, part=0.75), several(g, 4, part=0.25)]
        ),
        Property("at least one", lambda g: [(several(g, 1)[0], share) for share in (0.01, 0.03)]),
    ),
    mistakes=(
        Mistake(
            "the maximum instead of the mean",
            by(lambda x: x.abs().amax(0)),
            "One loud token is enough to bring a channel onto your list. A maximum is what a *scale* has to cover; but an "
            "error in a weight is multiplied by its channel at every token. What does it cost on the whole text?",
            "AWQ: a channel's salience is its mean magnitude.",
        ),
        Mistake(
            "the mean without magnitudes",
            by(lambda x: x.mean(0)),
            "A channel that swings between −9 and 9 has the mean 0, and yours passes for silent. An error in its weight is "
            "heard all the same. What has to go before the average is taken?",
            "AWQ: mean |x|, first the magnitude, then the mean.",
            also=(by(lambda x: x.mean(0).abs()),),
        ),
        Mistake(
            "another statistic than the mean magnitude",
            by(lambda x: x.square().mean(0)),
            "Your measure is close, but not the one that was asked for. Squares give a few loud tokens too much to say, a "
            "median none at all. Which average does the formula take, of what?",
            "AWQ: mean |x|.",
            also=(by(lambda x: x.abs().median(0).values), by(lambda x: x.std(0)), by(lambda x: x.abs().quantile(0.5, 0))),
        ),
        Mistake(
            "rows instead of channels",
            tokens(lambda share, M, K: count(share, M)),
            "You averaged along each row: that tells how loud a *token* is. There are K channels, and each is a column of "
            "x. Which axis has to disappear?",
            "The letters: x is (M, K), and a channel is one k.",
            also=(tokens(lambda share, M, K: count(share, K)),),
        ),
        Mistake(
            "the quietest channels",
            by(mean, largest=False),
            "You took the other end of the list. Whose weights need protection, those that meet large inputs or small ones?",
            "An error in w[n, k] reaches the output times x[m, k].",
        ),
        Mistake(
            "in order of loudness",
            lambda x, share: torch.topk(mean(x), count(share, x.shape[1])).indices,
            "These are the right channels, in the order of a ranking. They are to come in rising order of k, as one would "
            "store them.",
            "The specification: indices in rising order.",
            also=(lambda x, share: mean(x).argsort()[-count(share, x.shape[1]) :],),
        ),
        Mistake(
            "rounded up, or to the nearest",
            by(mean, lambda share, K: math.ceil(share * K)),
            "You have one channel more than was asked for. share · K is rarely a whole number; ⌊ ⌋ has an answer to that.",
            "n = ⌊share · K⌋, but at least 1.",
            also=(by(mean, lambda share, K: max(1, round(share * K))), by(mean, lambda share, K: int(share * K) + 1)),
        ),
        Mistake(
            "no channel at all, or all of them",
            by(mean, lambda share, K: math.floor(share * K)),
            "1 % of 20 channels is less than one, and your number of channels becomes 0. (A slice that begins at −0 is the "
            "whole list.) Which number was to be the least?",
            "n = ⌊share · K⌋, but at least 1.",
            also=(no_channel,),
        ),
        Mistake(
            "how loud instead of where",
            lambda x, share: torch.topk(mean(x), count(share, x.shape[1])).values,
            "Those are the loudnesses. To protect the columns, one has to know which they are.",
            "The specification: int64 indices.",
            also=(
                lambda x, share: torch.topk(mean(x), count(share, x.shape[1])).values.sort().values,
                lambda x, share: mean(x)[expected(x, share)],
            ),
        ),
        Mistake(
            "a mask instead of indices",
            lambda x, share: torch.zeros(x.shape[1], dtype=torch.bool).index_fill(0, expected(x, share), True),
            "You say of every channel whether it is salient: K answers. Asked for are the places of those that are.",
            "The specification: int64 indices, n of them.",
        ),
    ),
    hint="Two reductions: one over the tokens, which leaves a number a channel, and one that picks the largest of those. "
    "Mind what goes before the average, and in which order the indices are to come.",
    rtol=1e-5,  # indices are whole numbers below 32; the loudnesses that some give instead are not
    returns=("channels",),
)
