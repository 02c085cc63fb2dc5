"""11.2 convert_zeros(qzeros, version) → qzeros of the other version of GPTQ, 4 bits."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab11.versions_mistakes import MISTAKES
from qcourse.checks.task import Property, Refuse, Task
from qcourse.packing import layouts
from qcourse.packing.bits import pack_words, unpack_words
from qcourse.shapes import Tensor


def expected(qzeros: Tensor, version: int) -> Tensor:
    """Unpacked as what they are, packed as what they shall be, by the package's own layout."""
    numbers = unpack_words(qzeros, 4, 8 * qzeros.shape[-1])
    if (numbers == (15 if version == 2 else 0)).any():
        which = (
            "a stored 15 is z = 16, for which version 2" if version == 2 else "z = 0 is stored as −1, for which version 1"
        )
        raise Refuse(f"{which} has no four bits")
    return layouts.pack_gptq_zeros(layouts.unpack_gptq_zeros(qzeros, version=3 - version), version=version)


def stored(g, low: int, high: int, groups: int, N: int) -> Tensor:
    """Numbers low … high; the least and the largest are neighbours, the highest of some word is 8 or more."""
    found = draw.codes(g, low, high, groups, N, dtype=torch.uint8)
    at = 8 * draw.integer(g, 0, N // 8 - 1) + draw.integer(g, 0, 6)
    row = draw.integer(g, 0, groups - 1)
    found[row, at], found[row, at + 1], found[0, 7] = high, low, draw.integer(g, 9, 13)
    return found


def words(g, low: int, high: int, groups: int, N: int) -> Tensor:
    """Likewise, packed."""
    return pack_words(stored(g, low, high, groups, N), 4)


def one_too_many(g, number: int, low: int, high: int, version: int) -> list[tuple]:
    """A number that the other version cannot hold: once, anywhere; once in the lowest place; once in the highest."""
    found = []
    for groups, N, place in ((2, 16, draw.integer(g, 1, 6)), (1, 8, 0), (3, 8, 7)):
        zeros = stored(g, low, high, groups, N)
        zeros[draw.integer(g, 0, groups - 1), 8 * draw.integer(g, 0, N // 8 - 1) + place] = number
        found.append((pack_words(zeros, 4), version))
    return found


def symmetric(g) -> list[tuple]:
    """7 everywhere, or 8."""
    shape = draw.integer(g, 1, 3), 8 * draw.integer(g, 1, 2)
    return [(pack_words(torch.full(shape, z, dtype=torch.uint8), 4), version) for z, version in ((7, 2), (8, 1))]


CONVERT_ZEROS = Task(
    id="11.2",
    function="convert_zeros",
    title="From version 1 to version 2, without a borrow",
    points=4,
    expected=expected,
    properties=(
        Property("to version 2", lambda g: [(words(g, 0, 14, n, N), 2) for n, N in ((1, 8), (2, 16), (4, 24))], 2),
        Property("to version 1", lambda g: [(words(g, 1, 15, n, N), 1) for n, N in ((1, 8), (2, 16), (4, 24))], 2),
        Property("a symmetric file, both ways", symmetric),
        Property("a stored 15 has no place in version 2: refused", lambda g: one_too_many(g, 15, 0, 14, 2)),
        Property("a stored 0 has no place in version 1: refused", lambda g: one_too_many(g, 0, 1, 15, 1)),
    ),
    mistakes=MISTAKES,
    hint="Look at the eight numbers of a word one by one, and ask of each: does it still fit four bits when one is added? "
    "Once all of them do, no sum can reach its neighbour. What does that say about adding to the whole word?",
    returns=("qzeros",),
    bits=32,
    words=("qzeros",),
)
