"""06.5 gptq(W, H, scale, limit) → int8 codes (N, K), column by column."""

import torch

from qcourse.checks.lab06 import runs
from qcourse.checks.lab06.code_mistakes import CODES
from qcourse.checks.lab06.column_mistakes import REPAIRS
from qcourse.checks.lab06.layers import layer
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

SLIPS = (*REPAIRS, *CODES)
FOUR_BITS = "always the grid of 4 bits"  # right at limit = 7, or another mistake: told apart at 3 and 1


def regression(W: Tensor, H: Tensor, scale: Tensor, limit: int) -> Tensor:
    """The codes, with no factor and no inverse: what is left of H says what the rest can best do about each error.

    Least (w − ŵ) H (w − ŵ)ᵀ with the first j + 1 columns fixed: w_rest += e · H[j, rest] H[rest, rest]⁻¹.
    """
    W, H, scale = W.double().clone(), H.double(), scale.double()
    codes, G = torch.zeros(W.shape, dtype=torch.int8), W.shape[1] // scale.shape[1]
    for j in range(W.shape[1]):
        q = torch.round(W[:, j] / scale[:, j // G]).clamp(-limit, limit)
        e, codes[:, j] = W[:, j] - q * scale[:, j // G], q.to(torch.int8)
        if j + 1 < W.shape[1]:
            W[:, j + 1 :] += torch.outer(e, torch.linalg.solve(H[j + 1 :, j + 1 :], H[j + 1 :, j]))
    return codes


def expected(W, H, scale, limit=7):
    """By regression."""
    return regression(W, H, scale, limit)


def mistaken(slips: tuple, limit: int) -> tuple:
    """The runs of each mistake that may differ from the right one under this limit."""
    return tuple(slip.runs for slip in slips if limit != 7 or slip.name != FOUR_BITS)


def case(g, N: int, K: int, groups: int, limit: int = 7, apart: bool = False) -> tuple:
    """(W, H, scale, limit); limit left out where it is 7."""
    given = layer(g, N, K, groups, limit, wrong=mistaken(SLIPS, limit), apart=apart)
    return given if limit == 7 else (*given, limit)


GPTQ = Task(
    id="06.5",
    function="gptq",
    title="Column by column",
    points=5,
    expected=expected,
    properties=(
        Property("four groups of three", lambda g: [case(g, 4, 12, 4, apart=True)], 2),
        Property("one group, and one of two columns", lambda g: [case(g, 3, 8, 1), case(g, 2, 8, 4)]),
        Property("3 bits and 2 bits", lambda g: [case(g, 4, 12, 3, 3), case(g, 3, 8, 2, 1)]),
        Property("32 columns", lambda g: [case(g, 3, 32, 4)], 2),
    ),
    mistakes=tuple(slip.as_mistake(runs.by_columns) for slip in SLIPS),
    hint="It is 06.3 in a loop over the columns, with row j of U in place of the inverse's: divide the error by U[j, j], "
    "and repair with U[j, j + 1:]. Column j has the scale of group j // G. Work on a copy of W.",
    returns=("codes",),
)
