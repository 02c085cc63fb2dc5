"""01.6 mse_scale(W, num_bits, fractions) → the scale (N, 1): the fraction of absmax with the least squared error."""

import torch

from qcourse.checks import draw, nearest
from qcourse.checks.task import Mistake, Property, Task


def trial(W, scale, limit):
    """Squared error of each row under `scale` (N, C): (N, C), in float64."""
    W, s = W.double().unsqueeze(1), scale.double().unsqueeze(-1)  # (N, 1, K), (N, C, 1)
    return ((s * torch.round(W / s).clamp(-limit, limit) - W) ** 2).sum(-1)


def candidates(W, num_bits, fractions):
    """Every scale a row may get, (N, C); 1 for rows of zeros."""
    absmax = W.double().abs().amax(1, keepdim=True)
    scale = absmax * torch.tensor(fractions, dtype=torch.float64) / (2 ** (num_bits - 1) - 1)
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def expected(W, num_bits, fractions):
    """All candidates at once, in float64."""
    scale = candidates(W, num_bits, fractions)
    best = trial(W, scale, 2 ** (num_bits - 1) - 1).argmin(1, keepdim=True)
    return scale.gather(1, best).float()


def same(args, got, other):
    """The same scale, or another candidate whose error is the same to 1e-5: two may be as good as each other."""
    W, num_bits, fractions = args
    zero = (W == 0).all(1, keepdim=True)
    got = nearest.free_zeros(zero, got, other).double()
    possible = candidates(W, num_bits, fractions)
    legal = ((got - possible).abs() <= nearest.SCALE_RTOL * possible).any(1, keepdim=True)
    errors = [trial(W, s.double(), 2 ** (num_bits - 1) - 1) for s in (got, other)]
    as_good = legal & ((errors[0] - errors[1]).abs() <= 1e-5 * errors[1])
    return nearest.scales(zero, torch.where(as_good, other.double(), got), other)


def variant(clamp=True, error=lambda d, s: d**2, reduce=lambda e: e.sum(1, keepdim=True), guard=True, give=lambda s, f: s):
    """mse_scale as a loop over the fractions, with one thing changed."""

    def wrong(W, num_bits, fractions):
        W, limit = W.float(), 2 ** (num_bits - 1) - 1
        absmax = W.abs().amax(1, keepdim=True)
        best, least = torch.zeros_like(absmax), torch.full_like(absmax, torch.inf)
        for f in fractions:
            s = absmax * f / limit
            s = torch.where(s == 0, torch.ones_like(s), s) if guard else s
            q = torch.round(W / s)
            e = reduce(error(s * (q.clamp(-limit, limit) if clamp else q) - W, s)).expand_as(absmax)
            best, least = torch.where(e < least, give(s, f), best), torch.where(e < least, e, least)
        return best

    return wrong


def first(W, num_bits, fractions):
    """No search: absmax."""
    scale = W.float().abs().amax(1, keepdim=True) / (2 ** (num_bits - 1) - 1)
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def argmin_nan(W, num_bits, fractions):
    """Search by argmin without a guard: torch takes NaN for the least, and the scale is 0 anyway."""
    scale = candidates(W, num_bits, fractions)
    return torch.where((W == 0).all(1, keepdim=True), 0.0, expected(W, num_bits, fractions)) if scale.numel() else scale


FRACTIONS = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4]


def heavy(g, N, K):
    """Rows of different sizes with a few weights far out, where clipping pays differently in each."""
    W = draw.normal(g, N, K) * torch.linspace(0.5, 4, N).unsqueeze(1)
    W[:, 0] *= torch.linspace(1, 5, N)
    return W


def zero_row(g):
    """A dead channel."""
    W = heavy(g, 3, 24)
    W[draw.integer(g, 0, 2)] = 0
    return [(W, 4, FRACTIONS)]


MISTAKES = (
    Mistake(
        "no search: always absmax",
        first,
        "You return the scale that clips nothing. Does the fraction 1.0 always have the least squared error, for 3 "
        "bits too? Notebook 01 §5 has the curve.",
        "The least Σ(w - ŵ)², not the least clipping: fewer bits, shorter range.",
        also=(variant(error=lambda d, s: d.abs(), reduce=lambda e: e.amax(1, keepdim=True)),),
    ),
    Mistake(
        "one fraction for all rows",
        variant(reduce=lambda e: e.sum().view(1, 1)),
        "You summed the error over the whole matrix and let all rows share the winner. A row with an outlier and a row "
        "without: do they want to be clipped at the same place?",
        "Invariant 2, granularity: what is chosen for a row depends on that row.",
        also=(variant(reduce=lambda e: e.mean().view(1, 1)),),
    ),
    Mistake(
        "no clamp in the trial",
        variant(clamp=False),
        "Your trial lets codes grow beyond the grid, so a shorter range costs nothing and the shortest wins. What "
        "would the file store for a weight of twice the range?",
        "An error is measured on what is stored: round, clamp, multiply back.",
    ),
    Mistake(
        "the error counted in steps",
        variant(error=lambda d, s: (d / s) ** 2),
        "You compared codes with W/s, and so every scale measures with its own ruler: the coarser, the smaller the "
        "number. In which unit can two scales be compared?",
        "Σ(w - ŵ)² in weight units.",
    ),
    Mistake(
        "absolute error instead of squared",
        variant(error=lambda d, s: d.abs()),
        "You summed |w - ŵ|, which forgives an outlier more easily than its square does. Which one was asked for?",
        "MSE: the mean of the squares. Twice as far off counts four times.",
    ),
    Mistake(
        "the fraction instead of the scale",
        variant(give=lambda s, f: torch.full_like(s, f)),
        "0.8 of what? Your search found where the range ends; what is the width of one step then?",
        "A scale has the unit weight per code.",
    ),
    Mistake(
        "no guard for a row of zeros",
        variant(guard=False),
        "A dead channel makes every candidate 0, every error NaN, and NaN is neither smaller nor larger than anything. "
        "Which scale would do as well as any other there?",
        "Every stored scale is finite and greater than 0.",
        also=(argmin_nan,),
    ),
)

MSE_SCALE = Task(
    id="01.6",
    function="mse_scale",
    title="How far should the range reach?",
    points=4,
    expected=expected,
    properties=(
        Property("3 bits", lambda g: [(heavy(g, 4, 16), 3, FRACTIONS), (heavy(g, 12, 64), 3, FRACTIONS)], 2),
        Property("4 bits", lambda g: [(heavy(g, 8, 128), 4, FRACTIONS)]),
        Property("other fractions", lambda g: [(heavy(g, 6, 96), 4, [1.0, 0.92, 0.84, 0.76, 0.68])]),
        Property("a row of zeros", zero_row),
    ),
    mistakes=MISTAKES,
    hint="Try every fraction: its scale, its codes (in the grid!), its weights, its squared error, one number for each "
    "row. Keep a row's scale when its error is the smallest so far.",
    returns=("scale",),
    same=same,
)
