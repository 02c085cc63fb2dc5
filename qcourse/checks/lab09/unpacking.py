"""09.2 unpack_int3(qweight) → int8 codes (N, K): eight codes out of three bytes."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab09.unpacking_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.packing.bits import pack_bytes, unpack_bytes
from qcourse.shapes import Tensor


def expected(qweight: Tensor) -> Tensor:
    """By the package's own unpacker."""
    return unpack_bytes(qweight, 3, qweight.shape[1] * 8 // 3).to(torch.int8) - 4


def some(g, N: int, threes: int) -> tuple:
    """Any bytes: all of them are codes."""
    return (draw.codes(g, 0, 255, N, 3 * threes, dtype=torch.uint8),)


def every_code_everywhere(g) -> tuple:
    """Eight rows of eight codes: each code once in each place."""
    rows = (torch.arange(8)[:, None] + torch.arange(8)) % 8
    return (pack_bytes(torch.randperm(8, generator=g)[rows], 3),)


UNPACK_INT3 = Task(
    id="09.2",
    function="unpack_int3",
    title="Eight codes in three bytes",
    points=4,
    expected=expected,
    properties=(
        Property("three bytes a row", lambda g: [some(g, 3, 1), some(g, 6, 1)]),
        Property("several shapes", lambda g: [some(g, 3, 2), some(g, 6, 3), some(g, 2, 8), some(g, 33, 4)], 2),
        Property("every code in every place", lambda g: [every_code_everywhere(g)]),
    ),
    mistakes=MISTAKES,
    hint="Three bytes are one number of 24 bits: the first counts ones, the second 256s, the third 65,536s. Once you have "
    "it, code j lies at bits 3j … 3j+2, wherever the bytes end. What was added before the codes were stored?",
    returns=("codes",),
    words=("qweight",),
)
