"""07.4 search_alpha(x, W, group_size, num_bits) → the best α of i / 20, i = 0 … 19, and its error."""

import torch

from qcourse.checks.lab07.errors import RTOL
from qcourse.checks.lab07.rounding import rounded
from qcourse.checks.lab07.search_cases import (
    TWENTY,
    at_the_end,
    equal,
    first_rise,
    inside,
    layer,
    output_errors,
    weight_errors,
)
from qcourse.checks.task import Mistake, Property, Task


def expected(x, W, group_size, num_bits) -> tuple:
    """One α after the other, in fp64, each channel's factor by itself."""
    tried = []
    for i in range(20):
        t = [max((sum(abs(v) for v in column) / len(column)) ** (i / 20), 1e-4) for column in x.double().T.tolist()]
        s = torch.tensor(t, dtype=torch.float64) / (max(t) * min(t)) ** 0.5
        d = rounded(W.double() * s, group_size, num_bits) / s - W.double()
        tried.append(((d @ x.double().T).square().sum().item(), i))
    error, i = min((e, i) for e, i in tried if e <= min(tried)[0] * (1 + 1e-12))
    return i / 20, error


def first_least(errors) -> int:
    """Of the (nearly) least errors, the first."""
    return int((errors <= errors.min() * (1 + 1e-9)).nonzero()[0])


def search(alphas=TWENTY, judged=output_errors, pick=first_least, give=lambda a, E, i: (a[i].item(), E[i].item())):
    """search_alpha with one thing changed: what is tried, judged by what, which is picked, what is returned."""

    def search_alpha(x, W, group_size, num_bits):
        case = x, W, group_size, num_bits, alphas
        return give(alphas, output_errors(*case), pick(judged(*case)))

    return search_alpha


def with_the_weights(x, W, group_size, num_bits):
    """The best for the weights, and their error."""
    E = weight_errors(x, W, group_size, num_bits, TWENTY)
    i = first_least(E)
    return TWENTY[i].item(), E[i].item()


def scaled_weights(*case):
    """The error of W · s."""
    return weight_errors(*case, scaled=True)


def last_least(errors) -> int:
    """Of the (nearly) least errors, the last."""
    return int((errors <= errors.min() * (1 + 1e-9)).nonzero()[-1])


MISTAKES = (
    Mistake(
        "only one α tried",
        search(torch.tensor([0.5])),
        "α = 0.5 is a good guess for many layers, and not for this one. Twenty values are to be tried, and the best of them "
        "wins.",
        "AWQ: α by search, for every layer.",
    ),
    Mistake(
        "the largest error",
        search(pick=lambda E: int(E.argmax())),
        "You return the α that does most harm. Which way does your comparison point?",
        "α* = arg *min* E.",
    ),
    Mistake(
        "judged by the weights",
        search(judged=weight_errors),
        "Your α leaves the weights as good as possible. But the weights were never the point: what the layer *gives* is to "
        "change little, on inputs like x.",
        "AWQ: the error of the output.",
        also=(with_the_weights, search(judged=scaled_weights)),
    ),
    Mistake(
        "stopped at the first rise",
        search(pick=first_rise),
        "You stopped where the error rose for the first time. It jumps with every code that jumps, so a small rise says "
        "nothing about what comes after. How many values are to be tried, in any case?",
        "E(α) is not smooth: all twenty are tried.",
        also=(search(pick=lambda E: min(first_rise(E) + 1, len(E) - 1)),),
    ),
    Mistake(
        "of equal errors, a later α",
        search(pick=last_least),
        "When nothing is gained, nothing should be moved. With ≤ every α that is as good replaces the one before it. Which "
        "comparison keeps the first?",
        "Of equal errors, the smallest α.",
    ),
    Mistake(
        "α = 1 tried, too",
        search(torch.arange(21) / 20),
        "Your twenty-first value won. The grid of AWQ ends at 19/20: how many numbers does your range give?",
        "α = i / 20, i = 0 … 19.",
    ),
    Mistake(
        "α = 0 not tried",
        search(TWENTY[1:]),
        "If moving does not help, the best is not to move. Your search cannot say so: where does it begin?",
        "α = i / 20, i = 0 … 19.",
        also=(search(torch.arange(1, 21) / 20),),
    ),
    Mistake(
        "other steps than a twentieth",
        search(torch.arange(20) / 19),
        "Your α is none of 0, 0.05, 0.1 … or not all of those were tried. (Twenty numbers from 0 to 1, both ends "
        "included, are nineteenths.)",
        "α = i / 20, i = 0 … 19.",
        also=(search(torch.arange(10) / 10), search(torch.arange(11) / 10), search(torch.arange(5) / 4)),
    ),
    Mistake(
        "the number of the α",
        search(give=lambda a, E, i: (i, E[i].item())),
        "You return i, the place in the list. Which exponent was tried there?",
        "α = i / 20.",
        also=(search(give=lambda a, E, i: (i + 1, E[i].item())),),
    ),
    Mistake(
        "the two results in the other order",
        search(give=lambda a, E, i: (E[i].item(), a[i].item())),
        "Both numbers are right, but they come back in the other order. What does the specification promise first?",
        "The specification: (α, error).",
    ),
    Mistake(
        "the error of another α",
        search(give=lambda a, E, i: (a[i].item(), E[-1].item())),
        "Your α is right, and beside it stands what another one left, the last that was tried, or the first. The best error "
        "has to be kept together with its α.",
        "E belongs to the α that is returned.",
        also=(
            search(give=lambda a, E, i: (a[i].item(), E[0].item())),
            search(give=lambda a, E, i: (a[i].item(), E.mean().item())),
        ),
    ),
)

SEARCH_ALPHA = Task(
    id="07.4",
    function="search_alpha",
    title="The search",
    points=4,
    expected=expected,
    properties=(
        Property("the least of twenty", lambda g: [layer(g, inside, 8, 4, 16, 8, 3), layer(g, inside, 12, 6, 32, 16, 4)], 2),
        Property("the grid ends at 0.95", lambda g: [layer(g, at_the_end, 8, 4, 16, 8, 3)]),
        Property("of equal errors, the smallest α", lambda g: [equal(g, 3), equal(g, 4)], edge=True),
    ),
    mistakes=MISTAKES,
    hint="A loop that calls your own two functions, and two variables: the best α so far, and the error it leaves. When are "
    "they replaced, and when not?",
    rtol=RTOL,
    returns=("alpha", "error"),
    seconds=20.0,  # a hundred small products, which are slow where two threads wait for a core that is busy
)
