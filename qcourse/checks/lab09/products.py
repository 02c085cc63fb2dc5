"""09.3 apply_int3(x, codes, scale, bias) → y = x Ŵᵀ + bias, in x's dtype."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab09.products_mistakes import MISTAKES, product
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

ROUNDING = 2.0**-24


def sums(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Σ |ŵ| |x| + |bias|: what rounding errors are in proportion to."""
    W = codes.double() * scale.double().repeat_interleave(codes.shape[1] // scale.shape[1], 1)
    found = x.double().abs() @ W.abs().T
    return found if bias is None else found + bias.double().abs()


def same(args, got: Tensor, other: Tensor) -> str | None:
    """Within what may be rounded, of the largest sum of magnitudes (or of the other answer, if that is larger).

    fp32: (K + 16) · 2⁻²⁴, a sum of K terms in any order and a few roundings a term (Higham 2002, §3.1). bf16: 2⁻⁸ each for
    ŵ, for a group's sum, its product with the scale, every addition of one, the bias and the result: (groups + 5) · 2⁻⁸.
    The cases of bf16 have products of one sign and a bias of that size, so that a mistake is far larger.
    """
    x, codes, scale, _ = args
    if x.dtype == torch.bfloat16 and got.dtype != other.dtype:
        name = {t: str(t.dtype).removeprefix("torch.") for t in (got, other)}
        return f"y: the dtype is {name[got]}, expected {name[other]}"
    half = x.dtype == torch.bfloat16
    room = (scale.shape[1] + 5) * 2.0**-8 if half else (codes.shape[1] + 16) * ROUNDING
    g, o = got.double(), other.double()
    size = torch.maximum(sums(*args).amax(), o.abs().amax())
    near = ((g - o).abs() <= room * size) | (g == o) | (g.isnan() & o.isnan())
    return difference(torch.where(near, o, g), o, where="y")


def scales(g, N: int, groups: int) -> Tensor:
    """bf16 (N, groups): in every row one group's scale is 1.5 times or more the next smaller one's."""
    ladder = 0.02 * 1.6 ** torch.arange(groups) * (1 + 0.04 * torch.rand(N, groups, generator=g))
    return ladder.gather(1, torch.rand(N, groups, generator=g).argsort(1)).bfloat16()


def layer(g, M: int, N: int, K: int, G: int, bias: bool = True) -> tuple:
    """(x, codes, scale, bias): no x is small, every code occurs."""
    sign = torch.where(torch.rand(M, K, generator=g) < 0.5, -1.0, 1.0)
    x = (1 + torch.rand(M, K, generator=g)) * sign
    codes = draw.codes(g, -4, 3, N, K)
    codes[0, :4] = torch.tensor([-4, 3, 1, -1], dtype=torch.int8)
    b = (0.5 + torch.rand(N, generator=g)) * torch.where(torch.arange(N) % 2 == 0, 1.0, -1.0)
    return x, codes, scales(g, N, K // G), b if bias else None


def positive(g, M: int, N: int, K: int, G: int, bias: bool = True) -> tuple:
    """The same in bf16, with products of one sign: no sum is smaller than its parts. The bias is as large as a sum."""
    x, _, scale, _ = layer(g, M, N, K, G)
    args = x.abs().bfloat16(), draw.codes(g, 1, 3, N, K), scale, None
    b = sums(*args).mean(0) * (0.6 + 0.3 * torch.rand(N, generator=g))
    return (*args[:3], b.bfloat16() if bias else None)


APPLY_INT3 = Task(
    id="09.3",
    function="apply_int3",
    title="y = x Ŵᵀ, and nothing else",
    points=4,
    expected=lambda x, codes, scale, bias: product(x, codes, scale, bias),
    properties=(
        Property("as many outputs as groups", lambda g: [layer(g, 3, 4, 16, 4), layer(g, 5, 3, 24, 8)]),
        Property("as many outputs as inputs", lambda g: [layer(g, 3, 8, 8, 4), layer(g, 2, 16, 16, 4)]),
        Property("several shapes", lambda g: [layer(g, 1, 5, 48, 12), layer(g, 7, 2, 64, 16), layer(g, 4, 6, 32, 4)], 2),
        Property("no bias", lambda g: [layer(g, 3, 5, 24, 8, False), layer(g, 2, 7, 32, 8, False)]),
        Property("x in bf16", lambda g: [positive(g, 3, 5, 24, 8), positive(g, 2, 6, 16, 4, False)]),
    ),
    mistakes=MISTAKES,
    hint="Two steps: what the codes stand for, Ŵ (N, K), and one product. A scale of (N, K/G) has to meet K columns: "
    "which of them does it serve? Then the bias, if there is one, and the dtype that the next layer expects.",
    same=same,
    returns=("y",),
)
