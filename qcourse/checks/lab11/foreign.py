"""11.1 read_gptq(qweight, qzeros, scales, g_idx, bits) → W (N, K): version 1, channels in any order."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab11.foreign_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.packing import layouts
from qcourse.packing.order import order_of
from qcourse.shapes import Tensor

# (q − z) has at most 9 bits, a float16 scale 11: their product is exact in float32, in whatever order it is formed.
RTOL = 1e-6


def expected(qweight: Tensor, qzeros: Tensor, scales: Tensor, g_idx: Tensor, bits: int = 4) -> Tensor:
    """By the package's own layout, in float64."""
    codes, zeros = layouts.unpack_gptq(qweight, bits), layouts.unpack_gptq_zeros(qzeros, bits, version=1)
    g = g_idx.long()
    return ((codes.double() - zeros.double()[:, g]) * scales.double().T[:, g]).float()


def scattered(g, K: int, G: int) -> Tensor:
    """Groups of G channels, in an order that is neither the natural one nor its own inverse."""
    in_order = torch.arange(K, dtype=torch.int32) // G
    while True:
        g_idx = in_order[torch.randperm(K, generator=g)]
        order = order_of(g_idx, G)
        if order is not None and not torch.equal(in_order[order], g_idx):
            return g_idx


def file(g, N: int, K: int, G: int, bits: int = 4, act_order: bool = False, symmetric: bool = False) -> tuple:
    """A layer's four tensors. Some word of both has its highest bit set: it is a negative int32."""
    top = 2**bits - 1
    codes = draw.codes(g, 0, top, N, K, dtype=torch.uint8)
    zeros = draw.codes(g, 1, top, N, K // G, dtype=torch.uint8)
    codes[0, 32 // bits - 1], zeros[32 // bits - 1, 0] = top, top  # stored: top − 1
    if symmetric:
        zeros = torch.full_like(zeros, 2 ** (bits - 1))
    scales = (0.004 + 0.03 * torch.rand(K // G, N, generator=g)).half()
    g_idx = scattered(g, K, G) if act_order else torch.arange(K, dtype=torch.int32) // G
    return layouts.pack_gptq(codes, bits), layouts.pack_gptq_zeros(zeros, bits, version=1), scales, g_idx, bits


READ_GPTQ = Task(
    id="11.1",
    function="read_gptq",
    title="A GPTQ tensor that somebody else wrote",
    points=5,
    expected=expected,
    properties=(
        Property(
            "4 bits, groups in order",
            lambda g: [file(g, 8, 8, 4), file(g, 16, 16, 8), file(g, 8, 32, 16), file(g, 24, 16, 4)],
            2,
        ),
        Property("a symmetric file", lambda g: [file(g, 16, 16, 8, symmetric=True), file(g, 8, 24, 8, symmetric=True)]),
        Property("one group a row", lambda g: [file(g, 16, 16, 16), file(g, 8, 48, 48)]),
        Property(
            "groups in any order",
            lambda g: [file(g, 16, 16, 8, act_order=True), file(g, 8, 48, draw.integer(g, 1, 2) * 8, act_order=True)],
            2,
        ),
        Property("8 bits", lambda g: [file(g, 8, 8, 4, 8), file(g, 12, 16, 8, 8), file(g, 4, 24, 8, 8, act_order=True)]),
    ),
    mistakes=MISTAKES,
    hint="Take it in three steps: all codes as a matrix (K, N), all zero points as a matrix (K/G, N), and only then the "
    "formula. Which row of scales and zero points belongs to input channel k? `g_idx` has one answer for each k.",
    rtol=RTOL,
    returns=("W",),
    words=("qweight", "qzeros"),
)
