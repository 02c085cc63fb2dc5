"""Searches for a scale, for 01.6: the right one, and those with one thing changed."""

import torch

from qcourse.checks.task import Mistake


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


def rows(e):
    """The error of each row."""
    return e.sum(1, keepdim=True)


def variant(
    clamp=True,
    error=lambda d, s: d**2,
    reduce=rows,
    guard=True,
    give=lambda s, f: s,
    tried=slice(None),
    more=0,
    lower=0,
    upper=0,
):
    """mse_scale as a loop over the fractions, with one thing changed."""

    def wrong(W, num_bits, fractions):
        W, limit = W.float(), 2 ** (num_bits - 1) - 1 + more
        absmax = W.abs().amax(1, keepdim=True)
        best, least = torch.zeros_like(absmax), torch.full_like(absmax, torch.inf)
        for f in fractions[tried]:
            s = absmax * f / limit
            s = torch.where(s == 0, torch.ones_like(s), s) if guard else s
            q = torch.round(W / s)
            e = reduce(error(s * (q.clamp(-limit - lower, limit - upper) if clamp else q) - W, s)).expand_as(absmax)
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
        "the last fraction never tried",
        variant(tried=slice(0, -1)),
        "For some row the last fraction of the list is the best, and you never get there. Where does your loop end, or "
        "which candidate is compared but not kept?",
        "The least error over *all* candidates.",
    ),
    Mistake(
        "the first fraction never tried",
        variant(tried=slice(1, None)),
        "For some row clipping nothing is the best, and you never look at it. Which error does your search begin with?",
        "The least error over *all* candidates.",
    ),
    Mistake(
        "2^(B-1) steps instead of 2^(B-1) - 1",
        variant(more=1),
        "In 3 bits your range is divided into 4 steps, and the grid of this task has codes -3 … 3. On which code does the "
        "end of the range lie?",
        "Invariant 2: the end of the range is the outermost code.",
        also=(variant(more=1, upper=1), variant(more=1, lower=-1, upper=1)),
    ),
    Mistake(
        "one code more below zero",
        variant(lower=1),
        "Your trial uses the code -2^(B-1), so a weight below the range costs less than its twin above it. Which codes does "
        "the restricted grid have?",
        "An error is measured on what is stored: codes -(2^(B-1) - 1) … 2^(B-1) - 1.",
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
