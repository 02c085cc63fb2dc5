"""05.3 e8m0_scale(W) → uint8 (N, K/32): the shared exponent of MXFP4."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab05.exponent_mistakes import MISTAKES
from qcourse.checks.task import Property, Refuse, Task
from qcourse.shapes import Tensor


def exponent(W: Tensor) -> Tensor:
    """⌊log2 of the loudest⌋ − 2 of each block, −127 … 127, int32; of zeros, some exponent."""
    absmax = W.double().abs().unflatten(1, (-1, 32)).amax(-1)
    return (torch.frexp(absmax).exponent - 1 - 2).clamp(-127, 127)


def expected(W):
    """By frexp in fp64."""
    if W.shape[1] % 32:
        raise Refuse(f"K={W.shape[1]} is no multiple of 32")
    return (exponent(W) + 127).to(torch.uint8)


def scales(W: Tensor, got: Tensor, other: Tensor) -> str | None:
    """How two sets of scale codes differ; in a block of zeros any two below 255 do not."""
    blocks = (W == 0).unflatten(1, (-1, 32)).all(-1) if W.shape[1] % 32 == 0 else torch.zeros(1, dtype=torch.bool)
    if blocks.shape == got.shape == other.shape:
        got = torch.where(blocks & (got < 255) & (other < 255), other, got)
    return difference(got, other, bits=8, where="scale")


def weight(g, N: int, K: int) -> Tensor:
    """Blocks of sizes 2⁻⁹ … 2⁴, the loudest weight of each negative in every second one."""
    W = torch.randn(N, K // 32, 32, generator=g).clamp(-4, 4)
    k = torch.randint(32, (N, K // 32, 1), generator=g)
    sign = torch.where((torch.arange(N).view(-1, 1, 1) + torch.arange(K // 32).view(-1, 1)) % 2 == 0, -1.0, 1.0)
    W = W.scatter(-1, k, sign * (4.2 + 3.8 * torch.rand(N, K // 32, 1, generator=g)))
    return (W * torch.exp2(torch.randint(-11, 2, (N, K // 32, 1), generator=g).float())).flatten(1)


def loudest(g, N: int, blocks: int, magnitudes: Tensor) -> Tensor:
    """The loudest weight of each block is one of `magnitudes`, the others at most 0.9 of it."""
    absmax = magnitudes[torch.randint(len(magnitudes), (N, blocks, 1), generator=g)]
    W = absmax * (1.8 * torch.rand(N, blocks, 32, generator=g) - 0.9)
    k = torch.randint(32, (N, blocks, 1), generator=g)
    sign = torch.where(torch.rand(N, blocks, 1, generator=g) < 0.5, -1.0, 1.0)
    return W.scatter(-1, k, sign * absmax).flatten(1)


def powers(g):
    """2⁻¹⁰ … 2⁸."""
    return [(loudest(g, 2, 3, torch.exp2(torch.arange(-10.0, 9.0))),)]


def below(g):
    """The float32 just below a power of two, where float32's log2 is already the power's: not near 1."""
    k = torch.cat((torch.arange(-10.0, -3.0), torch.arange(5.0, 9.0)))
    return [(loudest(g, 3, 2, torch.exp2(k) * (1 - 2.0**-24)),)]


def zero_block(g):
    """One block of zeros among others."""
    W = weight(g, 3, 96)
    k = 32 * draw.integer(g, 0, 2)
    W[draw.integer(g, 0, 2), k : k + 32] = 0
    return [(W,)]


def tiny(g):
    """Below 2⁻¹²⁵ the exponent would be below −127; beside it something a little louder."""
    k = torch.tensor([-125.9, -125.5, -123.5, -122.5, -80.5])
    return [(torch.cat((loudest(g, 3, 1, torch.exp2(k[:2])), loudest(g, 3, 2, torch.exp2(k))), 1),)]


def refused(g):
    """K is no multiple of 32."""
    return [(weight(g, 4, 96)[:, :k].clone(),) for k in (80, 48)]


E8M0_SCALE = Task(
    id="05.3",
    function="e8m0_scale",
    title="A scale that is an exponent",
    points=4,
    expected=expected,
    properties=(
        Property("one block a row, or two", lambda g: [(weight(g, 2, 32),), (weight(g, 1, 64),)], 2),
        Property("several shapes", lambda g: [(weight(g, *s),) for s in ((32, 32), (64, 64), (3, 96), (16, 160))], 2),
        Property("the loudest is a power of two", powers),
        Property("the loudest is the float below a power of two", below),
        Property("a block of zeros", zero_block),
        Property("weights around 2⁻¹²⁵", tiny),
        Property("a ragged last block is refused", refused),
    ),
    mistakes=MISTAKES,
    hint="Of the loudest weight of a block you need only the exponent. A logarithm finds it nearly always; what finds it "
    "always? Then two numbers: one leaves room for the exponent of the codes, one makes the result fit a byte.",
    returns=("scale",),
    bits=8,
    same=lambda args, got, other: scales(args[0], got, other),
)
