"""04.4, is b worse than a: a difference with its paired standard error."""

import math

import torch

from qcourse.checks.task import Mistake, Property, Task


def windows(g, n: int, equal: bool = False, worse: float = 2.0, dtype=torch.float64) -> tuple:
    """Nats of two models on n windows: the windows differ by hundreds of nats, the models by a few."""
    num_bytes = torch.full((n,), 640) if equal else torch.randint(200, 900, (n,), generator=g)
    nats = num_bytes.double() * (0.3 + 0.4 * torch.rand(n, generator=g, dtype=torch.float64))
    noise = torch.randn(n, generator=g, dtype=torch.float64) * (1 + num_bytes / 300)
    d = worse + noise - noise.mean()  # so that Σ d = n · worse: a sum that cancels would be known to few digits
    return nats.to(dtype), (nats + d).to(dtype), num_bytes


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
        Property("windows of equal size", lambda g: [windows(g, 4, True), windows(g, 64, True)]),
        Property(
            "windows of different sizes", lambda g: [windows(g, 5), windows(g, 40), windows(g, 8, dtype=torch.float32)], 2
        ),
        Property("b is better", lambda g: [windows(g, 6, worse=-3.0), windows(g, 12, worse=-1.0)]),
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
            "the sign of each difference removed",
            lambda nats_a, nats_b, num_bytes: (
                float((nats_b.double() - nats_a.double()).abs().sum()) / bits(num_bytes),
                paired(nats_a, nats_b, num_bytes)[1],
            ),
            "A window on which b is better counts against b in your sum. Two equal models would look different. What "
            "happens to noise in a sum when it keeps its sign?",
            "Pairing: what is noise cancels, what is damage adds up.",
            also=(
                lambda nats_a, nats_b, num_bytes: (abs((p := paired(nats_a, nats_b, num_bytes))[0]), p[1]),
                lambda nats_a, nats_b, num_bytes: paired(0 * nats_a, (nats_b.double() - nats_a.double()).abs(), num_bytes),
            ),
        ),
        Mistake(
            "the two results in the other order",
            lambda nats_a, nats_b, num_bytes: paired(nats_a, nats_b, num_bytes)[::-1],
            "Both numbers are right, but the error bar comes first. What does the specification promise first?",
            "The specification: (difference, standard error).",
        ),
        Mistake(
            "the variance instead of the standard deviation",
            lambda nats_a, nats_b, num_bytes: (
                paired(nats_a, nats_b, num_bytes)[0],
                math.sqrt(len(nats_a)) * float((nats_b.double() - nats_a.double()).var()) / bits(num_bytes),
            ),
            "Your error is in nats squared. Which root brings it back to the unit of the difference?",
            "A standard error has the unit of what it is the error of.",
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
            also=tuple(
                (lambda nats_a, nats_b, num_bytes, power=power: paired(nats_a, nats_b, num_bytes, power=power))
                for power in (0, -0.5)
            ),
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
