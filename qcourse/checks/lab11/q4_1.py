"""11.3 read_q4_1(blocks) → W (N, K): d·q + m, 32 weights in 20 bytes."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab11.q4_1_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

# d·q is exact in float32 (11 + 4 bits); one rounding when m is added, also of a fused one: 2⁻²⁴ of the result.
RTOL = 1e-6


def expected(blocks: Tensor) -> Tensor:
    """Byte by byte, in float64."""
    raw = blocks.reshape(len(blocks), -1, 20).numpy()
    d, m = (raw[..., i : i + 2].copy().view("<f2")[..., 0].astype("f8")[..., None] for i in (0, 2))
    low, high = (raw[..., 4:] % 16 * d + m, raw[..., 4:] // 16 * d + m)
    W = torch.empty(*raw.shape[:2], 32, dtype=torch.float64)
    W[..., :16], W[..., 16:] = torch.from_numpy(low), torch.from_numpy(high)
    return W.flatten(1).float()


def blocks(g, N: int, many: int) -> tuple[Tensor]:
    """Rows of blocks whose scales and minima all differ; every code occurs."""
    size = (N, many, 1)
    d = (0.01 + 0.05 * torch.rand(*size, generator=g)).half()
    m = (-0.1 - 0.8 * torch.rand(*size, generator=g)).half()
    qs = draw.codes(g, 0, 255, N, many, 16, dtype=torch.uint8)
    qs[0, 0, draw.integer(g, 0, 14) :][:2] = torch.tensor([0xF0, 0x1E], dtype=torch.uint8)
    return (torch.cat((d.view(torch.uint8), m.view(torch.uint8), qs), -1).flatten(1),)


def constant(g) -> list[tuple]:
    """d = 0: every weight of the block is m."""
    found = blocks(g, 2, 2)[0]
    found[:, 20:22] = 0
    return [(found,)]


READ_Q4_1 = Task(
    id="11.3",
    function="read_q4_1",
    title="A block of GGUF",
    points=4,
    expected=expected,
    properties=(
        Property("one block a row", lambda g: [blocks(g, 1, 1), blocks(g, 4, 1)], 2),
        Property(
            "several blocks a row",
            lambda g: [blocks(g, 1, 3), blocks(g, 3, 2), blocks(g, draw.integer(g, 2, 6), draw.integer(g, 4, 6))],
            2,
        ),
        Property("a block of equal weights", constant),
    ),
    mistakes=MISTAKES,
    hint="Give the blocks an axis of their own first: (N, K/32, 20). Two of those bytes *are* a float16: they need not be "
    "converted, but looked at differently. Then the nibbles: which 16 weights do the low ones hold?",
    rtol=RTOL,
    returns=("W",),
    words=("blocks",),
)
