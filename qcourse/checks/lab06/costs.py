"""06.2 output_error(W, W_hat, H) → (N,): what a row's rounding costs at the output."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab06.layers import moments
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor


def cost(found=lambda e, H: (e @ H * e).sum(1), error=lambda w, v: w - v):
    """output_error in fp64, with its sum or its error changed."""

    def output_error(W, W_hat, H):
        return found(error(W.double(), W_hat.double()), H.double()).float()

    return output_error


def term_by_term(W, W_hat, H):
    """The sum, written out."""
    e, H = (W.double() - W_hat.double()).tolist(), H.double().tolist()
    every = [[row[j] * H[j][k] * row[k] for j in range(len(H)) for k in range(len(H))] for row in e]
    return torch.tensor([sum(terms) for terms in every], dtype=torch.float64).float()


def rounded(g: torch.Generator, N: int, K: int) -> tuple[Tensor, Tensor, Tensor]:
    """(W, Ŵ, H): rows of different sizes, rounded to a few steps, so that no row is without error."""
    W = torch.randn(N, K, generator=g) * (0.2 + torch.rand(N, 1, generator=g))
    step = W.abs().amax(1, keepdim=True) / draw.uniform(g, 1.2, 2.8)
    return W, torch.round(W / step) * step, moments(g, K)


def twins(g) -> list[tuple]:
    """Two channels that nearly always say the same: opposite errors cancel at the output, equal ones add up."""
    W, r, e = torch.randn(2, 2, generator=g), draw.uniform(g, 0.8, 0.95), draw.uniform(g, 0.1, 0.5)
    return [(W, W + torch.tensor([[e, -e], [e, e]]), torch.tensor([[1.0, r], [r, 1.0]]))]


def one_column(g) -> list[tuple]:
    """An error in a single column of each row."""
    W, H = torch.randn(3, 5, generator=g), moments(g, 5)
    W_hat = W.clone()
    W_hat[torch.arange(3), torch.randperm(5, generator=g)[:3]] += 0.3
    return [(W, W_hat, H)]


MISTAKES = (
    Mistake(
        "the error of the weights",
        cost(lambda e, H: e.square().sum(1)),
        "You added up the squares of w − ŵ, and H was not needed. But nobody looks at weights: an error in a channel that "
        "is nearly silent costs nothing, and two errors may cancel. How large is the mean of (x · (w − ŵ))²?",
        "The output error: (w − ŵ) H (w − ŵ)ᵀ.",
        also=(cost(lambda e, H: e.square().mean(1)), cost(lambda e, H: e.square().sum(1).sqrt())),
    ),
    Mistake(
        "the diagonal of H alone",
        cost(lambda e, H: (e.square() * H.diagonal()).sum(1)),
        "Each channel pays for its own error, and none for what two errors do together. If two channels always say the "
        "same, +e in one weight and −e in the other leave the output as it is. Which entries of H know of that?",
        "(w − ŵ) H (w − ŵ)ᵀ = Σ_j Σ_k e_j H_jk e_k: every pair of channels.",
    ),
    Mistake(
        "every pair of rows",
        cost(lambda e, H: e @ H @ e.T),
        "You have a number for each pair of rows (N, N). Two rows are two output channels, and no output mixes them. Which "
        "entries of your matrix are asked for?",
        "One number a row: (N,).",
    ),
    Mistake(
        "the sum over all rows",
        cost(lambda e, H: (e @ H * e).sum()),
        "You added up all rows. Each output channel has an error of its own, and GPTQ makes each small by itself. Which "
        "axis must stay?",
        "One number a row: (N,).",
        also=(cost(lambda e, H: (e @ H * e).sum(1).mean()),),
    ),
    Mistake(
        "one number a column",
        cost(lambda e, H: (e @ H * e).sum(0)),
        "You have K numbers, one for each input channel. The sum has to run over the channels, and leave the rows. Which "
        "axis of (N, K) is which?",
        "One number a row: (N,).",
        also=(cost(lambda e, H: e @ H * e),),
    ),
    Mistake(
        "the inverse of H",
        cost(lambda e, H: (e @ torch.linalg.inv(H) * e).sum(1)),
        "You weigh the errors by H⁻¹: a loud channel counts little in it. But an error beside a loud input is the "
        "expensive one. The inverse comes later, when the error is to be repaired.",
        "The output error: (w − ŵ) H (w − ŵ)ᵀ.",
    ),
    Mistake(
        "the root taken",
        cost(lambda e, H: (e @ H * e).sum(1).sqrt()),
        "You have the size of the error, asked for is its mean square. (A root makes nothing wrong, only the unit.)",
        "The output error: (w − ŵ) H (w − ŵ)ᵀ, a mean square.",
    ),
    Mistake(
        "a mean over the channels",
        cost(lambda e, H: (e @ H * e).mean(1)),
        "You divided by K. The output is a *sum* over the channels, and its error, too: more channels, more error. H has "
        "been divided by the number of tokens already.",
        "The output error: (w − ŵ) H (w − ŵ)ᵀ, a sum over channels.",
    ),
    Mistake(
        "multiplied by H on one side only",
        cost(lambda e, H: (e @ H).sum(1)),
        "(w − ŵ) H is a vector, and you added it up. A cost cannot be negative. What is it multiplied by once more?",
        "The output error: (w − ŵ) H (w − ŵ)ᵀ.",
        also=(cost(lambda e, H: (e @ H).square().sum(1)), cost(lambda e, H: (e @ H).norm(dim=1))),
    ),
    Mistake(
        "the cost of Ŵ, not of what was lost",
        cost(error=lambda w, v: v),
        "You put a weight itself between the two factors: that is how loud the output is, not how wrong. What is the error "
        "of a weight?",
        "The output error: (w − ŵ) H (w − ŵ)ᵀ.",
        also=(
            cost(error=lambda w, v: w),
            lambda W, W_hat, H: (
                (W.double() @ H.double() * W).sum(1) - (W_hat.double() @ H.double() * W_hat).sum(1)
            ).float(),
        ),
    ),
)

OUTPUT_ERROR = Task(
    id="06.2",
    function="output_error",
    title="What rounding costs",
    points=3,
    expected=term_by_term,
    properties=(
        Property("a few rows", lambda g: [rounded(g, 2, 3), rounded(g, 4, 6)], 2),
        Property("an error in one column only", one_column),
        Property("two channels that say the same", twins),
        Property("one row, and many", lambda g: [rounded(g, 1, 8), rounded(g, 9, 16)]),
    ),
    mistakes=MISTAKES,
    hint="First e = w − ŵ, (N, K). e @ H has the shape of e. Multiply it by e, element by element, and one sum is left: "
    "over which axis?",
    # float32: at most 4K · 2⁻²⁴ · Σ|e_j H_jk e_k|, which is at most 40 times the cost (H's condition): below 2e-4 for K = 16
    rtol=1e-3,
    returns=("error",),
)
