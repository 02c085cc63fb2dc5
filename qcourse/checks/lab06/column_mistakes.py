"""What goes wrong with the repair of the other columns: runs with one decision changed, the same for 06.5 and 06.6."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qcourse.checks.lab06 import runs
from qcourse.checks.lab06.layers import changed
from qcourse.checks.task import Mistake


@dataclass(frozen=True)
class Slip:
    """A mistake whose programs are runs; `runs` have parameters for all that both tasks are given."""

    name: str
    runs: tuple[Callable, ...]
    hint: str
    invariant: str

    def as_mistake(self, task: Callable) -> Mistake:
        """As a mistake of one task: `by_columns` or `by_blocks`."""
        first, *others = map(task, self.runs)
        return Mistake(self.name, first, self.hint, self.invariant, tuple(others))


def rows(of: Callable) -> Callable:
    """A run that repairs by the rows of(H)."""
    return changed(inside=lambda H, block: of(H))


def squared(H: np.ndarray) -> np.ndarray:
    """Row j of the shrinking inverse, as it is: U_jj times row j of U."""
    U = runs.factor(H)
    return U * U.diagonal()[:, None]


def upper(H: np.ndarray) -> np.ndarray:
    """The upper triangular factor of H itself."""
    return np.linalg.cholesky(H).T


def other_factor(H: np.ndarray) -> np.ndarray:
    """V, upper triangular, with V Vᵀ = H⁻¹: the inverse of H's own factor."""
    return np.linalg.inv(upper(H))


STEP = "The step: w_k −= (w_j − ŵ_j) / U[j, j] · U[j, k] for k > j."
RTN = changed(inside=lambda H, block: np.zeros_like(H))

REPAIRS = (
    Slip(
        "the codes of round-to-nearest",
        (RTN,),
        "Your codes are those of the weights as they came: no repair has reached a code. Perhaps all columns are rounded "
        "before the first repair, or the original W is rounded and not the repaired one, or the part of U that you read is "
        "zero. Which numbers must column j hold when its turn comes?",
        "Column j is rounded after the repairs of all columns before it.",
    ),
    Slip(
        "the repair with the wrong sign",
        (rows(lambda H: -runs.over_diagonal(runs.factor(H))),),
        "Your repair pushes the output the same way as the rounding did, so every error is made twice. Take two channels "
        "that always say the same: ŵ_j came out too small. Off-diagonal entries of H⁻¹ are negative there. Must w_k grow or "
        "shrink?",
        STEP,
    ),
    Slip(
        "repaired by H instead of its inverse",
        (
            rows(lambda H: runs.over_diagonal(H)),
            rows(lambda H: runs.over_diagonal(upper(H))),
            rows(lambda H: H),
            rows(upper),
        ),
        "You repair with H itself, or with its factor. H says how much two channels have in common; how much of an error "
        "column k can take over *beside all others* stands in its inverse. Which of your functions factors that?",
        STEP,
    ),
    Slip(
        "not divided by the diagonal",
        (rows(runs.factor), rows(squared)),
        "The error goes into the repair as it is. For k = j the step has to take off exactly w_j − ŵ_j, so that column j "
        "lands on its grid. What does yours take off there?",
        STEP,
    ),
    Slip(
        "divided by U's diagonal once too often",
        (
            rows(lambda H: runs.over_diagonal(runs.factor(H)) / runs.factor(H).diagonal()[:, None]),
            rows(lambda H: runs.factor(H) / np.sqrt(runs.factor(H).diagonal())[:, None]),
        ),
        "In 06.3 the error was divided by H_inv[j, j]. That number is U[j, j]², and row j of U has been divided by its root "
        "already. What is left to divide by, so that the step for k = j takes off w_j − ŵ_j?",
        STEP,
    ),
    Slip(
        "an inverse that never shrinks",
        (rows(lambda H: runs.over_diagonal(np.linalg.inv(H))),),
        "You take row j of H⁻¹, the inverse over *all* columns. It counts on columns that are rounded already and can help "
        "no more. Whose inverse does the step at j need? The factor holds its rows for every j at once.",
        "OBS: after column j has been rounded, it leaves H, and the inverse is another one.",
    ),
    Slip(
        "the factor in the other order",
        (rows(lambda H: runs.over_diagonal(other_factor(H))),),
        "Your U is upper triangular, and U Uᵀ is H⁻¹. Asked for is Uᵀ U. Yours is made of the inverses over the *first* "
        "channels, 0 … j, and the step at j needs that over those that are left, from j on.",
        "Uᵀ U = H⁻¹, U upper triangular.",
    ),
    Slip(
        "only the next column repaired",
        (rows(lambda H: runs.over_diagonal(runs.factor(H)) * np.eye(len(H), k=1)),),
        "Column j + 1 hears of the error, and those behind it do not. The least output error needs all of them: what does "
        "row j of U hold beyond j + 1?",
        STEP,
    ),
    Slip(
        "rows repaired instead of columns",
        (runs.across_rows,),
        "You round one row of W after the other, and repair the rows below. But a row is an output channel: y_n is made of "
        "row n alone, and no other row can mend it. Along which axis of W does the sum of x Wᵀ run?",
        "(w − ŵ) H (w − ŵ)ᵀ is a sum over input channels, for each row by itself.",
    ),
    Slip(
        "the error measured from the original weight",
        (changed(error=lambda now, first, q, s: first - q * s),),
        "You round the repaired column, and then compare with the weight as it came. But the repairs before j have moved it "
        "on purpose. Which weight did this rounding miss?",
        STEP,
    ),
    Slip(
        "the code taken off the weight",
        (changed(error=lambda now, first, q, s: now - q),),
        "You subtract a code, a number like −5, from a weight, a number like −0.3. What does the code stand for?",
        "ŵ = code · scale.",
    ),
    Slip(
        "the error in steps",
        (changed(error=lambda now, first, q, s: now / s - q),),
        "Your error is a number of steps, at most a half, and it is taken from weights. A group of tiny weights has tiny "
        "steps: what does half a unit do to them?",
        "ŵ = code · scale, and the error is w − ŵ, in units of the weight.",
    ),
)
