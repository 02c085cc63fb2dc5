"""06.3 round_and_repair(W, H_inv, j, scale, limit) → the codes of column j, and W after the step."""

import numpy as np
import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab06.layers import moments
from qcourse.checks.lab06.step_mistakes import MISTAKES
from qcourse.checks.task import Property, Task

FROM_TIE = 0.05  # of a step, at least: a quotient in float32 is off by 1e-6 of one


def one_by_one(W, H_inv, j, scale, limit=7):
    """The step in plain Python: every weight of a row to the right of j."""
    rows, row, codes = W.tolist(), H_inv[j].tolist(), []
    for w, s in zip(rows, scale.tolist(), strict=True):
        codes.append(max(-limit, min(limit, int(np.rint(w[j] / s)))))
        e = (w[j] - codes[-1] * s) / row[j]
        w[j:] = [codes[-1] * s, *(w[k] - e * row[k] for k in range(j + 1, len(row)))]
    return torch.tensor(codes, dtype=torch.int8), torch.tensor(rows)


def same(args, got, other) -> str | None:
    """Codes exactly; weights to 1e-5 of the largest, several hundred times what float32 rounds them by."""
    room = 1e-5 * (1 + other[1].abs().max().item())
    return difference(got[0], other[0], where="codes") or difference(got[1], other[1], atol=room, where="W")


def case(g: torch.Generator, N: int, K: int, j: int, limit: int = 7) -> tuple:
    """(W, H_inv, j, scale, limit), N ≥ 4: column j has a weight beyond each end of the grid, and of those on it some of
    either sign are rounded up and some down.

    H_inv is the inverse over all columns: what stands in it left of j belongs to columns that are done.
    """
    W = torch.randn(N, K, generator=g) * (0.3 + torch.rand(N, 1, generator=g))
    aside = FROM_TIE + (0.5 - 2 * FROM_TIE) * torch.rand(N, generator=g)  # from the nearest code
    up, sign = torch.arange(N) % 2 == 0, torch.where(torch.arange(N) // 2 % 2 == 0, 1.0, -1.0)
    code = torch.randint(0, limit, (N,), generator=g) + up.int()
    x = (code + torch.where(up, -aside, aside)) * sign
    x[:2] = (limit + 0.6 + torch.rand(2, generator=g)) * torch.tensor([1.0, -1.0])
    x = x[torch.randperm(N, generator=g)]
    scale = 0.02 + 0.2 * torch.rand(N, generator=g)
    W[:, j] = x * scale
    inverse = torch.linalg.inv(moments(g, K).double())
    given = W, ((inverse + inverse.T) / 2).float(), j, scale
    return given if limit == 7 else (*given, limit)


def ends(g) -> list[tuple]:
    """The first column, and the last, which repairs nobody."""
    K = draw.integer(g, 4, 7)
    return [case(g, 7, K, 0), case(g, 7, K, K - 1)]


ROUND_AND_REPAIR = Task(
    id="06.3",
    function="round_and_repair",
    title="One column, and its repair",
    points=4,
    expected=one_by_one,
    properties=(
        Property("a column in the middle", lambda g: [case(g, 6, 4, 1), case(g, 7, 6, 3)], 2),
        Property("the first column, and the last", ends),
        Property("3 bits and 2 bits", lambda g: [case(g, 6, 5, 2, 3), case(g, 7, 5, 1, 1)]),
        Property("24 columns", lambda g: [case(g, 8, 24, draw.integer(g, 3, 20))]),
    ),
    mistakes=MISTAKES,
    hint="Round column j, know ŵ_j, divide the error by H_inv[j, j]: one number a row. How much of it column k gets stands "
    "in row j of H_inv: an outer product, for the columns from j + 1 on. Work on a copy of W.",
    returns=("codes", "W"),
    same=same,
)
