"""06.4 inverse_factor(H) → U (K, K), upper triangular, with Uᵀ U = H⁻¹."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab06.layers import moments
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor

# Of a column's length. The factor of a matrix that is off by d of its size is off by about κ · d, and float32 inverts H with
# d about K · κ · 2⁻²⁴: with κ = 20 and K ≤ 16 that is 4e-4. (Seen: below 1e-5.)
ROOM = 2e-3
CONDITION = 20.0


def signed(U: Tensor) -> Tensor:
    """Each row with the sign that makes its diagonal positive: U and −U have the same Uᵀ U."""
    U = U.double()
    return torch.where(U.diagonal() < 0, -1.0, 1.0)[:, None] * U


def same(args, got: Tensor, other: Tensor) -> str | None:
    """Within ROOM of each column's length, up to the signs of rows."""
    got, other = signed(got), signed(other)
    close = (got - other).abs() <= ROOM * other.norm(dim=0)
    return difference(torch.where(close, other, got), other, where="U")


def row_by_row(H):
    """Row j: the first row of the inverse of what is left of H, over the root of its first element."""
    H = H.double()
    U = torch.zeros_like(H)
    for j in range(len(H)):
        row = torch.linalg.inv(H[j:, j:])[0]
        U[j, j:] = row / row[0].sqrt()
    return U.float()


def of(make):
    """A factor in fp64 of (H, H⁻¹)."""
    return lambda H: make(H.double(), torch.linalg.inv(H.double())).float()


def root(H, inverse):
    """The symmetric root of H⁻¹."""
    values, vectors = torch.linalg.eigh(inverse)
    return (vectors * values.sqrt()) @ vectors.T


def backwards(H, inverse):
    """What comes of the factor of H read backwards, when nothing is turned back."""
    return torch.linalg.inv(torch.linalg.cholesky(H.flip(0, 1)))


upper, lower = (lambda A: torch.linalg.cholesky(A).T), torch.linalg.cholesky

MISTAKES = (
    Mistake(
        "the lower triangular factor",
        of(lambda H, inverse: lower(inverse)),
        "Your matrix has its zeros above the diagonal. Row j of U has to hold what column j does to the columns *behind* "
        "it; yours holds what those before it would do.",
        "U is upper triangular.",
        also=(of(lambda H, inverse: torch.linalg.inv(lower(H))),),
    ),
    Mistake(
        "the factor of H, not of its inverse",
        of(lambda H, inverse: upper(H)),
        "Yours is a factor of H. The step of 06.3 reads rows of the inverse. Which matrix has to come out of Uᵀ U?",
        "Uᵀ U = H⁻¹.",
        also=(of(lambda H, inverse: lower(H)), of(lambda H, inverse: lower(H.flip(0, 1)).flip(0, 1))),
    ),
    Mistake(
        "the factors in the other order",
        of(lambda H, inverse: torch.linalg.inv(upper(H))),
        "U Uᵀ is H⁻¹ with your matrix, and Uᵀ U is not. Yours is made of the inverses over the *first* channels, 0 … j; the "
        "step at j needs that over the *last* ones, from j on. What comes out if H is read from its last channel on?",
        "Uᵀ U = H⁻¹.",
    ),
    Mistake(
        "not turned back",
        of(backwards),
        "You factored H read from the last channel to the first, which is a good way, and forgot to turn the result back: "
        "its first row belongs to the last channel.",
        "Row j of U belongs to channel j.",
        also=(of(lambda H, inverse: backwards(H, inverse).T), of(lambda H, inverse: lower(H.flip(0, 1)))),
    ),
    Mistake(
        "the inverse itself",
        of(lambda H, inverse: inverse),
        "That is H⁻¹ (or a half of it), not a factor. Its row j is the row of the inverse with *all* columns; after j "
        "columns have been rounded, another inverse is asked for. The factor's rows belong to all of these, one for each j.",
        "Uᵀ U = H⁻¹.",
        also=(of(lambda H, inverse: inverse.triu()), of(lambda H, inverse: inverse.tril())),
    ),
    Mistake(
        "a root that is not triangular",
        of(root),
        "Your matrix times itself is H⁻¹, and it has no zeros. Without them row j would repair columns that are done. Of "
        "all roots of H⁻¹, one is upper triangular.",
        "U is upper triangular.",
    ),
    Mistake(
        "rows divided by their diagonal",
        of(lambda H, inverse: upper(inverse) / upper(inverse).diagonal()[:, None]),
        "Your diagonal holds ones. In the end the step does divide row j by U[j, j], but U[j, j] itself is needed there, "
        "too, and Uᵀ U is no longer H⁻¹. Divide later.",
        "Uᵀ U = H⁻¹.",
    ),
    Mistake(
        "rows not divided by the root",
        of(lambda H, inverse: upper(inverse) * upper(inverse).diagonal()[:, None]),
        "Your rows are those of the shrinking inverse, as they are. With them Uᵀ U is not H⁻¹: the diagonal would count "
        "with its square. What is each row divided by?",
        "U[j, k] = H_inv_j[j, k] / √H_inv_j[j, j].",
        also=(of(lambda H, inverse: upper(inverse) / upper(inverse).diagonal().sqrt()[:, None]),),
    ),
    Mistake(
        "each entry by itself",
        of(lambda H, inverse: inverse.abs().sqrt().triu()),
        "You took roots (or reciprocals) of the numbers in a matrix. The inverse and the factor of a matrix are others: "
        "they undo a *product* of matrices. Which function of torch.linalg does that?",
        "Uᵀ U = H⁻¹, with a product of matrices.",
        also=(
            of(lambda H, inverse: inverse.sqrt().triu()),
            of(lambda H, inverse: inverse.sqrt()),
            of(lambda H, inverse: 1 / upper(H)),
        ),
    ),
)


def case(g, K: int) -> tuple:
    """(H,)."""
    return (moments(g, K, CONDITION),)


INVERSE_FACTOR = Task(
    id="06.4",
    function="inverse_factor",
    title="All the inverses at once",
    points=4,
    expected=row_by_row,
    properties=(
        Property("two and three channels", lambda g: [case(g, 2), case(g, 3)], 2),
        Property("more", lambda g: [case(g, draw.integer(g, 4, 9)), case(g, 16)], 2),
        Property("channels that have nothing in common", lambda g: [(torch.diag(0.2 + torch.rand(4, generator=g)),)]),
    ),
    mistakes=MISTAKES,
    hint="A Cholesky factor is lower triangular, L Lᵀ = A. So with A = H⁻¹ the one that is asked for is its transpose. "
    "(Better with small numbers: factor H read from the last channel to the first, turn the factor back, invert that.)",
    returns=("U",),
    same=same,
)
