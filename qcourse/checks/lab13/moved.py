"""13.2 what_moved(codes, zeros, twin_codes, twin_zeros) → what became of the twin's codes, one of WORDS."""

from collections import Counter

import torch

from qcourse.checks import draw
from qcourse.checks.lab13.moved_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

WORDS = ("nothing", "zero points", "nibbles", "rows", "another")


def expected(codes: Tensor, zeros: Tensor, twin_codes: Tensor, twin_zeros: Tensor) -> str:
    """With Python's lists, in the order of WORDS."""
    (c, t), (z, tz) = (tuple(a.tolist() for a in pair) for pair in ((codes, twin_codes), (zeros, twin_zeros)))
    moves = {a - b for row, other in zip(z, tz, strict=True) for a, b in zip(row, other, strict=True)}
    if c == t:
        return "nothing" if moves == {0} else "zero points" if moves in ({1}, {-1}) else "another"
    if c == [[row[k ^ 1] for k in range(len(row))] for row in t] and moves == {0}:
        return "nibbles"
    mine, theirs = (Counter(tuple(a + b) for a, b in zip(*pair, strict=True)) for pair in ((c, z), (t, tz)))
    return "rows" if mine == theirs else "another"


def layer(g, N: int, K: int, G: int) -> tuple[Tensor, Tensor]:
    """Codes (N, K) of 4 bits and zero points (N, K/G) of 2 … 13, whose rows and columns are all different."""
    while True:
        codes, zeros = draw.codes(g, 0, 15, N, K, dtype=torch.uint8), draw.codes(g, 2, 13, N, K // G, dtype=torch.uint8)
        if (zeros == zeros[0]).all(1).sum() == 1 and len(codes.unique(dim=0)) == N and len(codes.unique(dim=1)[0]) == K:
            return codes, zeros


def pairs(t: Tensor, dim: int = 1, size: int = 2) -> Tensor:
    """Neighbours along an axis exchanged; size: runs of this many numbers reversed."""
    t = t.movedim(dim, -1)
    return t.unflatten(-1, (-1, size)).flip(-1).flatten(-2).movedim(-1, dim).contiguous()


def case(g, change, N: int = 8, K: int = 16, G: int = 8) -> tuple:
    """(codes, zeros, twin_codes, twin_zeros): `change(codes, zeros)` → the patient's."""
    codes, zeros = layer(g, N, K, G)
    mine = change(codes.clone(), zeros.clone())
    return (*mine, codes, zeros)


def one_off(g, t: Tensor) -> Tensor:
    """A single number changed by one."""
    at = draw.integer(g, 0, len(t) - 1), draw.integer(g, 0, t.shape[1] - 1)
    t[at] ^= 1
    return t


def shuffled(g, n: int) -> Tensor:
    """An order of n ≥ 4 that is not as it was, nor neighbours exchanged, nor upside down; the first moves."""
    at = torch.arange(n)
    while True:
        order = torch.randperm(n, generator=g)
        if order[0] != 0 and not any(torch.equal(order, bad) for bad in (at, at ^ 1, at.flip(0))):
            return order


def of_zeros(g) -> list[tuple]:
    """One up, one down; two; by one, not all alike; one of them only; nothing at all."""
    signs = lambda z: (torch.arange(z.numel()).reshape(z.shape) % 2 * 2 - 1).to(torch.int8)  # noqa: E731
    return [
        case(g, lambda c, z: (c, z + 1)),
        case(g, lambda c, z: (c, z - 1), 6, 24),
        case(g, lambda c, z: (c, z)),
        case(g, lambda c, z: (c, z + 2)),
        case(g, lambda c, z: (c, (z.to(torch.int8) + signs(z)).to(torch.uint8))),
        case(g, lambda c, z: (c, one_off(g, z)), 8, 32),
        case(g, lambda c, z: (c, torch.where(torch.arange(z.numel()).reshape(z.shape) % 2 == 0, z + 2, z))),
    ]


def of_codes(g) -> list[tuple]:
    """Neighbours along K, and other exchanges of columns; a code that is off; another matrix."""
    return [
        case(g, lambda c, z: (pairs(c), z)),
        case(g, lambda c, z: (pairs(c), z), 5, 32),
        case(g, lambda c, z: (pairs(c, 1, 8), z)),
        case(g, lambda c, z: (pairs(c, 1, 4), z)),
        case(g, lambda c, z: (c.roll(1, 1), z)),
        case(g, lambda c, z: (c.roll(-1, 1), z)),
        case(g, lambda c, z: (one_off(g, c), z)),
        case(g, lambda c, z: (one_off(g, pairs(c)), z)),
        case(g, lambda c, z: (pairs(c), z + 1)),
        case(g, lambda c, z: layer(g, 8, 16, 8)),
    ]


def of_rows(g) -> list[tuple]:
    """Another order with the zero points along; without them; neighbours; a row that is there twice, on one side or both."""
    order = shuffled(g, 8)
    twice, twin = torch.tensor([0, 1, 2, 3, 3, 1, 0, 2]), torch.tensor([3, 1, 1, 0, 2, 3, 2, 2])  # one set, two counts
    codes, zeros = layer(g, 8, 16, 8)
    columns = torch.stack([shuffled(g, 8) for _ in range(16)], 1)
    return [
        case(g, lambda c, z: (c[order], z[order])),
        case(g, lambda c, z: (pairs(c, 0), pairs(z, 0)), 6, 24),
        case(g, lambda c, z: (c.flip(0), z.flip(0)), 7, 16),
        case(g, lambda c, z: (c[order], z)),
        case(g, lambda c, z: (c[order], z[order.argsort().roll(1)])),
        case(g, lambda c, z: (pairs(c, 0), z)),
        case(g, lambda c, z: (c[order].roll(1, 1), z[order])),
        case(g, lambda c, z: (c.gather(0, columns), z)),
        (codes[twice], zeros[twice], codes[twin], zeros[twin]),
        (codes[[0, 1, 2, 2]], zeros[[0, 1, 2, 2]], codes[:4], zeros[:4]),
        (codes[[1, 0, 2, 1]], zeros[[1, 0, 2, 1]], codes[[1, 1, 0, 2]], zeros[[1, 1, 0, 2]]),
    ]


def one_group(g) -> list[tuple]:
    """Each answer once, on the smallest layer that has it: one zero point a row."""
    order = shuffled(g, 4)
    changes = (
        lambda c, z: (c[order], z[order]),
        lambda c, z: (pairs(c), z),
        lambda c, z: (c, z - 1),
        lambda c, z: (c, z),
        lambda c, z: layer(g, 4, 8, 8),
    )
    return [case(g, change, 4, 8, 8) for change in changes]


WHAT_MOVED = Task(
    id="13.2",
    function="what_moved",
    title="Whose codes are these?",
    points=5,
    expected=expected,
    properties=(
        Property("the twin's codes, and zero points", of_zeros, 2),
        Property("neighbours along K, or other columns", of_codes, 2),
        Property("rows in another order, or other rows", of_rows, 2),
        Property("small layers, one of each", one_group),
    ),
    mistakes=MISTAKES,
    hint="Make what the twin would look like after each accident, and compare code by code: as it is, with neighbours along "
    "K exchanged, with rows in any order. Each question is about codes and zero points. Which should come first?",
    returns=("answer",),
)
