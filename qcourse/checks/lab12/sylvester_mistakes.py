"""The known mistakes of 12.1: the same doubling with one thing changed."""

import torch

from qcourse.checks.task import Mistake, Refuse
from qcourse.shapes import Tensor


def signs(n: int, size: int | None = None) -> Tensor:
    """±1 (size, size), float64, by the ones that the binary numbers of row and column have in common; size: n."""
    i = torch.arange(n if size is None else size)
    common = i[:, None] & i[None, :]
    return 1 - 2.0 * (sum(common >> bit & 1 for bit in range(8)) % 2).double()


def quarters(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """[[a, b], [c, d]]."""
    return torch.cat((torch.cat((a, b), 1), torch.cat((c, d), 1)))


def sylvester(H: Tensor) -> Tensor:
    """One doubling."""
    return quarters(H, H, H, -H)


def norm(H: Tensor) -> Tensor:
    """The scale that makes rows 1 long."""
    return H / len(H) ** 0.5


def identity(H: Tensor) -> Tensor:
    """A doubling that forgets what it doubles: blocks of the identity."""
    eye = torch.eye(len(H), dtype=H.dtype)
    return quarters(eye, eye, eye, -eye)


def built(double=sylvester, scale=norm):
    """hadamard with one thing changed."""

    def wrong(n):
        if n & (n - 1):
            raise Refuse(f"n={n}")
        H = torch.ones(1, 1, dtype=torch.float64)
        while len(H) < n:
            H = double(H)
        return scale(H)

    return wrong


def ordered(order):
    """Its rows in another order."""
    return built(scale=lambda H: norm(H)[order(len(H))])


def reversed_bits(n: int) -> Tensor:
    """Each index read from the other end, as an FFT leaves it."""
    bits = n.bit_length() - 1
    i = torch.arange(n)
    return sum(((i >> b & 1) << (bits - 1 - b) for b in range(bits)), torch.zeros_like(i))


def by_changes(n: int) -> Tensor:
    """By how often the sign changes along a row: Walsh's order."""
    H = signs(n)
    return (H[:, 1:] != H[:, :-1]).sum(1).argsort()


def sized(size, cut: bool = False, own: bool = False):
    """No refusal: built of `size(n)`; `cut`: to n rows and columns; `own`: divided by the root of n, not of its own size."""

    def wrong(n):
        if not n & (n - 1):
            return norm(signs(n))
        H = signs(n, size(n))
        return (H[:n, :n] if cut else H) / (n if own else len(H)) ** 0.5

    return wrong


def above(n: int) -> int:
    """The next power of two."""
    return 1 << n.bit_length()


def below(n: int) -> int:
    """The one before."""
    return 1 << (n.bit_length() - 1)


def nearest(n: int) -> int:
    """The nearer one, counted in doublings."""
    return above(n) if n * n > below(n) * above(n) else below(n)


MISTAKES = (
    Mistake(
        "not scaled",
        built(scale=lambda H: H),
        "Your entries are ±1, so a row is √n long, and a vector that goes through it comes out √n times longer. How long is "
        "a vector after a rotation?",
        "A rotation keeps lengths: H · Hᵀ = 1.",
        also=(built(scale=lambda H: H.long()), built(scale=lambda H: H.int()), built(scale=lambda H: H.to(torch.int8))),
    ),
    Mistake(
        "scaled by 1/n",
        built(scale=lambda H: H / len(H)),
        "You divided by n. The squares of the entries of a row then sum to n · 1/n² = 1/n. What has to stand below the "
        "±1 so that they sum to 1?",
        "H · Hᵀ = 1: n squares of one row sum to 1.",
    ),
    Mistake(
        "scaled once instead of at each doubling, or the other way round",
        built(scale=lambda H: H / 2**0.5),
        "You divided by the right root at the wrong place. Each doubling makes rows √2 longer, all of them together √n. "
        "Either √2 stands inside the loop, or √n behind it. Which of the two did you mix?",
        "H · Hᵀ = 1: √2 a doubling, √n in all.",
        also=(
            built(lambda H: sylvester(H) / (2 * len(H)) ** 0.5, lambda H: H),
            built(scale=lambda H: H / len(H) ** (0.5 * max(len(H).bit_length() - 1, 0))),
        ),
    ),
    Mistake(
        "no minus",
        built(lambda H: quarters(H, H, H, H)),
        "All your entries have one sign, so all rows are the same row: the matrix has rank 1, and nothing can bring back "
        "what went through it. Which of the four blocks tells the lower half from the upper one?",
        "Rows of a rotation are at right angles: H · Hᵀ = 1.",
    ),
    Mistake(
        "the minus in another block",
        built(lambda H: quarters(H, H, -H, H)),
        "Your matrix may be a rotation, too, but it is not Sylvester's. Where his minus stands, H equals its own transpose "
        "and its own inverse, and row 0 has no minus at all. In which block is that?",
        "Sylvester: [[H, H], [H, −H]].",
        also=(
            built(lambda H: quarters(H, -H, H, H)),
            built(lambda H: quarters(-H, H, H, H)),
            built(lambda H: quarters(H, -H, -H, -H)),
            built(lambda H: quarters(H, -H, -H, H)),
        ),
    ),
    Mistake(
        "blocks of the identity or of zeros",
        built(identity, lambda H: H / 2**0.5 if len(H) > 1 else H),
        "Most of your entries are zero: a channel reaches one or two others, and a loud one stays loud. The four blocks are "
        "copies of the matrix that you have so far. What have you laid there instead?",
        "Every entry of H is ±1/√n: each channel goes to all channels alike.",
        also=(
            built(identity),
            built(identity, lambda H: H),
            built(lambda H: torch.block_diag(H, -H), lambda H: H),
            built(lambda H: torch.block_diag(H, -H)),
            built(lambda H: torch.block_diag(H, H), lambda H: H),
        ),
    ),
    Mistake(
        "the rows in another order",
        ordered(by_changes),
        "You have all the rows, in another order: by how often their sign changes, perhaps, or with the bits of the index "
        "reversed. It is a rotation as good as this one, but two programs that share weights have to share the order.",
        "Sylvester: the entry (i, j) has the sign of (−1)^(ones that i and j have in common, in binary).",
        also=(ordered(reversed_bits),),
    ),
    Mistake(
        "no refusal",
        sized(above),
        "For n = 6 you returned something: a matrix of another size, or one that is no rotation. Whoever multiplies by it "
        "learns of it later, or never. By what is a power of two told from other numbers?",
        "Doubling reaches powers of two only; what is not one is refused with ValueError.",
        also=(
            sized(above, own=True),
            sized(below),
            sized(below, own=True),
            sized(nearest),
            sized(nearest, own=True),
            sized(above, cut=True),
            sized(above, cut=True, own=True),
        ),
    ),
)
