"""What goes wrong between blocks: runs with the lazy part changed. For 06.6 alone."""

import numpy as np

from qcourse.checks.lab06 import runs
from qcourse.checks.lab06.column_mistakes import STEP, Slip, squared
from qcourse.checks.lab06.layers import changed

LATER = (
    "After a block, W[:, end:] −= errors @ U[start:end, end:], with the block's own rows and its own errors over U[j, j]."
)
NOTHING = {"beyond": lambda H, block: np.zeros_like(H)}


def local(H: np.ndarray, block: int, diagonal: bool = True, row: bool = True) -> np.ndarray:
    """Repairs that find U's diagonal, or its row within the block, by the place in the block instead of the column."""
    U, K = runs.factor(H), len(H)
    j = np.arange(K)
    i = j % block
    found = U.copy()
    if row:
        for start in range(0, K, block):
            size = min(block, K - start)
            found[start : start + size, start : start + size] = U[:size, :size]
    return found / U.diagonal()[i if diagonal else j][:, None]


def first_rows(H: np.ndarray, block: int) -> np.ndarray:
    """The rest repaired by the first `block` rows of U, whichever block it is."""
    U = runs.factor(H)
    return U[np.arange(len(H)) % block] / U.diagonal()[:, None]


def own_factors(H: np.ndarray, block: int) -> np.ndarray:
    """The factor of each block's own H, as if there were no other columns."""
    out = np.zeros_like(H)
    for start in range(0, len(H), block):
        j = slice(start, start + block)
        out[j, j] = runs.over_diagonal(runs.factor(H[j, j]))
    return out


def own_diagonals(H: np.ndarray, block: int) -> np.ndarray:
    """Rows of U, over the diagonal of each block's own factor."""
    blocks = [runs.factor(H[i : i + block, i : i + block]).diagonal() for i in range(0, len(H), block)]
    return runs.factor(H) / np.concatenate(blocks)[:, None]


def last_only(H: np.ndarray, block: int) -> np.ndarray:
    """Repairs of the rest by the last column of each block alone."""
    return runs.repairs(H, block) * (np.arange(len(H)) % block == block - 1)[:, None]


def by_rows_of_u(beyond) -> object:
    """A run whose rest is repaired by beyond(H) and its block rightly."""
    return changed(beyond=lambda H, block: beyond(H))


LAZY = (
    Slip(
        "each block alone",
        (changed(**NOTHING),),
        "Inside a block your repair is right, and it ends there: the next block begins as if nothing had been rounded. What "
        "has to happen to W[:, end:] when a block is done?",
        LATER,
    ),
    Slip(
        "a factor for each block",
        (
            changed(inside=own_factors, **NOTHING),
            changed(inside=own_factors, beyond=own_diagonals),
            changed(inside=own_factors, beyond=runs.repairs),
        ),
        "You factor the part of H that belongs to the block, as if there were no other columns. U is made once, from all of "
        "H; a block only reads its part of it, U[start:end, start:end].",
        "Uᵀ U = H⁻¹ for all K columns: the inverse of a part is not a part of the inverse.",
    ),
    Slip(
        "inside the block nothing repaired",
        (changed(inside=lambda H, block: np.zeros_like(H), beyond=runs.repairs),),
        "The columns behind the block are repaired, those inside it are not. Only what lies *beyond* the block may wait: "
        "what must column j + 1 hold when its turn comes?",
        "Column j is rounded after the repairs of all columns before it, those of its own block too.",
    ),
    Slip(
        "the rest repaired twice",
        (by_rows_of_u(lambda H: 2 * runs.over_diagonal(runs.factor(H))),),
        "Inside the block you repair all columns to the right, and when the block is done those beyond it once more. Which "
        "columns may the step inside the block touch?",
        LATER,
    ),
    Slip(
        "the rest repaired by the first rows of U",
        (changed(beyond=first_rows),),
        "Each error belongs to one column, and that column's row of U says how it is repaired. Your product takes the same "
        "rows for every block. Which rows are those of the block that begins at `start`?",
        LATER,
    ),
    Slip(
        "the rest repaired by errors that were not divided",
        (by_rows_of_u(runs.factor), by_rows_of_u(squared)),
        "Inside the block the error is divided by U[j, j], in the product for the rest it is not. It is the same step, put "
        "off: which of the two numbers do you have to keep?",
        LATER,
    ),
    Slip(
        "the rest repaired with the wrong sign",
        (by_rows_of_u(lambda H: -runs.over_diagonal(runs.factor(H))),),
        "Inside the block the repair is taken off, beyond it it is added. It is the same step, put off. Which sign has it?",
        LATER,
    ),
    Slip(
        "the rest repaired by the last error alone",
        (changed(beyond=last_only),),
        "Beyond the block only the error of its last column arrives. Those of the others have been overwritten: where do "
        "you keep an error until the block is done?",
        LATER,
    ),
    Slip(
        "the block's errors measured from its beginning",
        (changed(kept=lambda now, before, e, q, s: before - q * s),),
        "For the rest you compare Ŵ with the block as it was when it *began*. But column j has been repaired since, before "
        "it was rounded. Which error belongs to column j: the one at its turn, or that?",
        STEP,
    ),
    Slip(
        "the last columns left out",
        (changed(leftover=False),),
        "block does not divide K, and the columns that are left over have codes 0. Where does the last block begin, and "
        "where does it end?",
        "Every column is rounded: the last block is as long as what is left.",
    ),
    Slip(
        "U read at the place in the block",
        (
            changed(inside=local, beyond=lambda H, block: local(H, block, row=False)),
            changed(inside=lambda H, block: local(H, block, row=False), beyond=lambda H, block: local(H, block, row=False)),
            changed(inside=lambda H, block: local(H, block, diagonal=False), beyond=runs.repairs),
            changed(inside=local, beyond=runs.repairs),
        ),
        "In the first block all is right, and then U's rows no longer belong to their columns. Its i-th column is column "
        "start + i of W. By which of the two numbers do you read U?",
        LATER,
    ),
    Slip(
        "scale read at the place in the block",
        (changed(group=lambda j, i, G, groups: i // G),),
        "In the first block all is right, and then the first groups' scales come again. By which number do you look for the "
        "group: the place in the block, or the column?",
        "Granularity: column j has the scale of group ⌊j/G⌋, whatever the block.",
    ),
)
