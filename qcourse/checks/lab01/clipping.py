"""01.6 mse_scale(W, num_bits, fractions) → the scale (N, 1): the fraction of absmax with the least squared error."""

import torch

from qcourse.checks import draw, nearest
from qcourse.checks.lab01.searches import MISTAKES, candidates, expected, trial
from qcourse.checks.task import Property, Task


def same(args, got, other):
    """The same scale, or another candidate that is as good: sums of K squares in float32 are exact to (K + 8)·2⁻²³."""
    W, num_bits, fractions = args
    zero = (W == 0).all(1, keepdim=True)
    got = nearest.free_zeros(zero, got, other).double()
    possible = candidates(W, num_bits, fractions)
    legal = ((got - possible).abs() <= nearest.SCALE_RTOL * possible).any(1, keepdim=True)
    errors = [trial(W, s.double(), 2 ** (num_bits - 1) - 1) for s in (got, other)]
    as_good = legal & ((errors[0] - errors[1]).abs() <= (W.shape[1] + 8) * 2.0**-23 * errors[1])
    return nearest.scales(zero, torch.where(as_good, other.double(), got), other)


FRACTIONS = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4]


def heavy(g, N, K):
    """Rows of different sizes with a few weights far out, where clipping pays differently in each."""
    W = draw.normal(g, N, K) * torch.linspace(0.5, 4, N).unsqueeze(1)
    W[:, 0] *= torch.linspace(1, 5, N)
    return W


def winner(g, K, num_bits, fractions, best):
    """A row (1, K) for which `fractions[best]` is clearly the best: on its grid, but for one weight at absmax."""
    limit, tries = 2 ** (num_bits - 1) - 1, 64
    for _ in range(100):
        two = torch.randint(-limit, limit + 1, (tries, 2), generator=g)  # few codes: no other grid comes near all of them
        codes = two.gather(1, torch.randint(0, 2, (tries, K), generator=g))
        codes = codes * torch.randint(0, 2, (tries, K), generator=g).mul(2).sub(1)
        rows = codes * fractions[best] / limit
        rows[torch.arange(tries), torch.randint(0, K, (tries,), generator=g)] = 1.0 - 2.0 * draw.integer(g, 0, 1)
        errors = trial(rows, candidates(rows, num_bits, fractions), limit)
        second = torch.cat((errors[:, :best], errors[:, best + 1 :]), 1).amin(1)
        clear = second > 1.01 * errors[:, best]
        if clear.any():
            return rows[int(clear.int().argmax())].view(1, -1) * 10 ** draw.uniform(g, -1, 1)
    raise RuntimeError(f"no row of {K} for which {fractions[best]} is the best of {fractions}")


def every_fraction(g):
    """Each fraction is the best of some row, the first and the last ones too; not always in descending order."""
    cases = []
    for K, num_bits, fractions in ((16, 3, [1.0, 0.8, 0.6]), (64, 3, [1.0, 0.5, 0.75, 0.9]), (64, 2, [1.0, 0.7])):
        order = torch.randperm(len(fractions), generator=g).tolist()
        cases.append((torch.cat([winner(g, K, num_bits, fractions, best) for best in order]), num_bits, fractions))
    return cases


def zero_row(g):
    """A dead channel."""
    W = heavy(g, 3, 16)
    W[draw.integer(g, 0, 2)] = 0
    return [(W, 4, FRACTIONS)]


MSE_SCALE = Task(
    id="01.6",
    function="mse_scale",
    title="How far should the range reach?",
    points=4,
    expected=expected,
    properties=(
        Property("3 bits", lambda g: [(heavy(g, 4, 16), 3, FRACTIONS), (heavy(g, 12, 64), 3, FRACTIONS)], 2),
        Property("4 bits", lambda g: [(heavy(g, 3, 16), 4, FRACTIONS), (heavy(g, 8, 128), 4, FRACTIONS)]),
        Property(
            "other fractions", lambda g: [(heavy(g, n, k), 4, [1.0, 0.92, 0.84, 0.76, 0.68]) for n, k in ((3, 16), (6, 96))]
        ),
        Property("each fraction is the best somewhere", every_fraction),
        Property("a row of zeros", zero_row),
    ),
    mistakes=MISTAKES,
    hint="Try every fraction: its scale, its codes (in the grid!), its weights, its squared error, one number for each "
    "row. Keep a row's scale when its error is the smallest so far.",
    returns=("scale",),
    same=same,
)
