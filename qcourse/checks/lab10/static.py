"""10.6 store_fp8(x, seen) → (scale (H,) from what was seen, the E4M3 numbers that are stored (H, T, D))."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.lab10.static_mistakes import LIMIT, MISTAKES, VALUES, nearest
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

APART = 1e-3  # relative: no x / scale is this near to the middle of two numbers of E4M3
SCALE_RTOL = 1e-6


def expected(x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Head by head, in float64."""
    scale = torch.tensor([float(head.double().abs().max()) / LIMIT or 1.0 for head in seen], dtype=torch.float64)
    stored = [nearest((head.double() / s).clamp(-LIMIT, LIMIT)) for head, s in zip(x, scale, strict=True)]
    return scale.float(), torch.stack(stored).float()


def same(args, got, other):
    """Scales to float32; the stored numbers to the bit (a zero has no sign), for none is near a tie."""
    return difference(got[0], other[0], rtol=SCALE_RTOL, where="scale") or difference(got[1], other[1], where="stored")


def clear(x: Tensor, scale: Tensor) -> Tensor:
    """x with some numbers changed by a hundredth until x / scale is in the middle of nothing."""
    middles = (VALUES[1:] + VALUES[:-1]) / 2
    for _ in range(50):
        v = (x.double() / scale.double()[:, None, None]).abs()
        near = ((v[..., None] / middles - 1).abs() < APART).any(-1)
        if not near.any():
            break
        x = torch.where(near, x * 1.01, x)
    return x


def heads(g, H: int, T: int, D: int, S: int, beyond: bool = False, silent: bool = False) -> tuple:
    """(x, seen): heads of loudness 0.3 to 3 and 1,000 to 10,000 in turn, the loudest number negative in every second one.

    x lies within what was seen, and not at its end; `beyond`: some numbers are 1.2 to 4 times larger; `silent`: one head
    where nothing was seen.
    """
    loud = 10 ** (torch.rand(H, 1, 1, generator=g) + torch.arange(H).view(-1, 1, 1) % 2 * 3.5 - 0.5)
    loud = loud.flip(0) if draw.integer(g, 0, 1) else loud
    seen = draw.normal(g, H, S, D)
    top = 1.3 * seen.abs().amax((1, 2))
    for h in range(H):
        place = draw.integer(g, 0, S - 1), draw.integer(g, 0, D - 1)
        seen[h][place] = top[h] if (h + H) % 2 else -top[h]
    reach = top[:, None, None] * (1.8 * torch.rand(H, T, D, generator=g) - 0.9)
    if beyond:
        far = torch.rand(H, T, D, generator=g) < 0.15
        far[:, 0, 0] = True
        reach = torch.where(far, reach.sign() * top[:, None, None] * (1.2 + 2.8 * torch.rand(H, T, D, generator=g)), reach)
    x, seen = reach * loud, seen * loud
    if silent:
        seen[draw.integer(g, 0, H - 1)] = 0
    scale = seen.abs().amax((1, 2)) / LIMIT
    return clear(x, torch.where(scale == 0, 1.0, scale)), seen


STORE_FP8 = Task(
    id="10.6",
    function="store_fp8",
    title="A scale that was there before",
    points=4,
    expected=expected,
    properties=(
        Property("one head", lambda g: [heads(g, 1, 3, 4, 5), heads(g, 1, 6, 8, 12)]),
        Property("several heads, one loud, one quiet", lambda g: [heads(g, 2, 3, 4, 6), heads(g, 4, 4, 4, 4)], 2),
        Property("louder than anything that was seen", lambda g: [heads(g, 2, 3, 4, 6, True), heads(g, 3, 5, 8, 7, True)]),
        Property("one token", lambda g: [heads(g, 2, 1, 4, 3), heads(g, 3, 1, 8, 20)]),
        Property("a head in which nothing was seen", lambda g: [heads(g, 3, 4, 4, 5, silent=True)]),
    ),
    mistakes=MISTAKES,
    hint="Two steps that know nothing of each other. Long before: one number a head, from `seen` alone. Now: divide by "
    "it, cut off at ±448, round. What does a head that was silent divide by?",
    returns=("scale", "stored"),
    same=same,
)
