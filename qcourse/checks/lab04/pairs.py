"""04.4, is b worse than a: a difference with its paired standard error."""

import math

import torch

from qcourse.checks.task import Mistake, Property, Task


def windows(g, n: int, equal: bool = False, worse: float = 2.0) -> tuple:
    """Nats of two models on n windows: the windows differ by hundreds of nats, the models by a few."""
    num_bytes = torch.full((n,), 640) if equal else torch.randint(200, 900, (n,), generator=g)
    nats = num_bytes.double() * (0.3 + 0.4 * torch.rand(n, generator=g, dtype=torch.float64))
    d = worse + torch.randn(n, generator=g, dtype=torch.float64) * (1 + num_bytes / 300)
    return nats, nats + d, num_bytes


LN2 = math.log(2)


def bits(num_bytes) -> float:
    """Divides nats into bits a byte."""
    return LN2 * int(num_bytes.sum())


def paired(a, b, num_bytes, *, unit=LN2, correction=1, power=0.5) -> tuple[float, float]:
    """(difference, standard error); the keywords are what can be got wrong."""
    d, total = b.double() - a.double(), unit * int(num_bytes.sum())
    return float(d.sum()) / total, len(d) ** power * float(d.std(correction=correction)) / total


def of_ratios(a, b, num_bytes) -> tuple[float, float]:
    """Each window's own bits a byte, then their mean and its standard error."""
    r = (b - a).double() / num_bytes / math.log(2)
    return float(r.mean()), float(r.std()) / math.sqrt(len(r))


def unpaired(a, b, num_bytes) -> tuple[float, float]:
    """The two models' own standard errors, added as if the texts had been different ones."""
    own = [float(x.double().std()) * math.sqrt(len(x)) / bits(num_bytes) for x in (a, b)]
    return paired(a, b, num_bytes)[0], math.hypot(*own)


PAIRED_DIFFERENCE = Task(
    id="04.4",
    function="paired_difference",
    title="Is b really worse than a?",
    points=3,
    expected=lambda nats_a, nats_b, num_bytes: paired(nats_a, nats_b, num_bytes),
    properties=(
        Property("windows of equal size", lambda g: [windows(g, 5, True), windows(g, 64, True)]),
        Property("windows of different sizes", lambda g: [windows(g, 6), windows(g, 40)], 2),
        Property("b is better", lambda g: [windows(g, 12, worse=-3.0)]),
    ),
    mistakes=(
        Mistake(
            "unpaired error bars",
            unpaired,
            "Your error bar is made of the spread between windows, which both models share: a hard window is hard for "
            "both. Look at the column d = b − a of the picture. How far apart are *those* numbers?",
            "Pairing: what both models share cancels before the error is estimated.",
        ),
        Mistake(
            "the sign turned round",
            lambda nats_a, nats_b, num_bytes: paired(nats_b, nats_a, num_bytes),
            "You say how much worse a is. The question was about b: the baseline comes first, and damage is positive.",
            "The specification: b − a.",
        ),
        Mistake(
            "nats called bits",
            lambda nats_a, nats_b, num_bytes: paired(nats_a, nats_b, num_bytes, unit=1.0),
            "Both numbers are 31 % too small. The inputs are nats, the answer is asked for in bits. How many nats has "
            "a bit?",
            "A bit is ln 2 nats.",
        ),
        Mistake(
            "the spread of the windows instead of the error of their sum",
            lambda nats_a, nats_b, num_bytes: paired(nats_a, nats_b, num_bytes, power=1),
            "Your second number does not shrink when there are more windows. The standard deviation says how much "
            "*one* window differs. How does a sum of n independent ones spread, and what does the mean make of it?",
            "A standard error falls with the square root of the number of windows.",
            also=(lambda nats_a, nats_b, num_bytes: paired(nats_a, nats_b, num_bytes, power=0),),
        ),
        Mistake(
            "a mean of the windows' ratios",
            of_ratios,
            "Each window's bits a byte got one vote, a window of 200 bytes as much as one of 900. Which two sums does "
            "the formula divide?",
            "Protocol: total bits over total bytes, never a mean of means.",
            also=(
                lambda nats_a, nats_b, num_bytes: (
                    of_ratios(nats_a, nats_b, num_bytes)[0],
                    paired(nats_a, nats_b, num_bytes)[1],
                ),
            ),
        ),
        Mistake(
            "n instead of n − 1",
            lambda nats_a, nats_b, num_bytes: paired(nats_a, nats_b, num_bytes, correction=0),
            "Your standard error is a little too small, and the fewer windows, the more. NumPy's `std` divides by n "
            "unless told otherwise. The mean was estimated from the same windows: how many of them are left to say "
            "something about the spread?",
            "An unbiased variance of n values divides by n − 1.",
        ),
    ),
    hint="One subtraction first: d, window by window. From then on there is only one list of n numbers; a and b are "
    "not needed any more. Its sum gives the difference, its standard deviation the error.",
    rtol=1e-3,
    returns=("difference", "standard error"),
)
