"""03.6, the integer matmul that SmoothQuant was made for."""

import torch

from qcourse.checks.compare import difference
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor


def codes(g, M: int, N: int, K: int, top: int = 127) -> tuple:
    """(x_codes, w_codes, x_scale, w_scale), codes between −top and top."""
    x, w = (torch.randint(-top, top + 1, (rows, K), generator=g).to(torch.int8) for rows in (M, N))
    x_scale, w_scale = (0.01 + torch.rand(rows, 1, generator=g) for rows in (M, N))
    return x, w, x_scale, w_scale


def loudest(g) -> list[tuple]:
    """One product of the largest codes: 16129, too much for int8, not for int16; and three, too much for int16."""
    scales = 0.01 + torch.rand(1, 1, generator=g), 0.01 + torch.rand(2, 1, generator=g)
    return [
        (
            torch.full((1, K), 127, dtype=torch.int8),
            torch.tensor([[127], [-127]], dtype=torch.int8).expand(2, K).clone(),
            *scales,
        )
        for K in (1, 3)
    ]


HALF = 2**16  # loud products: 65 536 · 127² still fit int32; cut into 64 lanes, as a processor does, they pass 2²⁴ in each


def long(g) -> list[tuple]:
    """HALF loud products up and then, in another order, down again: fp32 counts neither, and what is left is small."""
    x, w = (torch.randint(100, 127, (rows, HALF), generator=g) for rows in (1, 3))
    back = torch.randperm(HALF, generator=g)
    x, w = torch.cat((x, x[:, back]), 1), torch.cat((w, -w[:, back]), 1)
    w[:, -3:] += torch.randint(1, 60, (3, 3), generator=g)
    scales = (0.01 + torch.rand(rows, 1, generator=g) for rows in (1, 3))
    return [(x.to(torch.int8), w.to(torch.int8), *scales)]


def exact_sum(args, got: Tensor, other: Tensor) -> str | None:
    """|got − other| ≤ s_x · s_w · ¼: a sum of integers is right, or off by 1. (fp32 scales of a sum < 2²⁰ stay below it.)"""
    x, w, x_scale, w_scale = args
    step = x_scale.double() * w_scale.double().T
    found = same_sum(args, got, other)
    wrong = ~((got.double() - other.double()).abs() <= step / 4)
    if found or not wrong.any():
        return found
    m, n = torch.nonzero(wrong)[0].tolist()
    total, yours = (float(v.double()[m, n] / step[m, n]) for v in (other, got))
    return f"y[{m}, {n}]: the sum of {x.shape[1]} products is {total:.0f}, yours is {yours:.7g}: it was rounded on the way"


def scaled(total: Tensor, x_scale: Tensor, w_scale: Tensor) -> Tensor:
    """An accumulator with its scales."""
    return total.float() * x_scale * w_scale.T


def same_sum(args, got: Tensor, other: Tensor) -> str | None:
    """|got − other| ≤ (16 + √K) · 2⁻²⁴ · s_x · s_w · Σ|q_x q_w|: fp32 arithmetic before, after or around the sum."""
    x, w, x_scale, w_scale = (a.double() for a in args)
    room = (x.abs() @ w.abs().T) * x_scale * w_scale.T * (16 + x.shape[1] ** 0.5) * 2.0**-24 + 1e-30
    g, o = got.double(), other.double()
    good = ((g - o).abs() <= room) | (g == o) | (g.isnan() & o.isnan())
    return difference(torch.where(good, o, g), o, where="y")


INT8_MATMUL = Task(
    id="03.6",
    function="int8_matmul",
    title="Multiply in integers",
    points=3,
    expected=lambda x_codes, w_codes, x_scale, w_scale: (
        (x_codes.double() @ w_codes.double().T) * x_scale.double() * w_scale.double().T
    ).float(),
    properties=(
        Property("small codes, where nothing can overflow", lambda g: [codes(g, 2, 2, 3, 3), codes(g, 2, 4, 6, 3)]),
        Property("the loudest codes there are", loudest),
        Property("full range, K = 64 … 512", lambda g: [codes(g, 3, 5, 64), codes(g, 4, 4, 200), codes(g, 2, 6, 512)], 2),
        Property("one token", lambda g: [codes(g, 1, 3, 4), codes(g, 1, 8, 32)]),
        Property("a long sum, exact to the last unit", long, verify=exact_sum),
    ),
    mistakes=(
        Mistake(
            "the sum kept in int8",
            lambda x, w, x_scale, w_scale: scaled(x @ w.T, x_scale, w_scale),
            "int8 times int8 stays int8 in your matmul, so every sum wraps around at 128: what you see is the lowest "
            "8 bits of the truth. How large can 127 · 127 get, and what about K of them?",
            "Invariant 3: int8 × int8 → int32. The accumulator must hold the sum.",
        ),
        Mistake(
            "the sum kept in int16",
            lambda x, w, x_scale, w_scale: scaled(x.short() @ w.short().T, x_scale, w_scale),
            "One product fits int16, three loud ones do not: the sum wraps at 32 768. How many bits does a sum of K "
            "products of 15 bits need?",
            "Invariant 3: int8 × int8 → int32. The accumulator must hold the sum.",
        ),
        Mistake(
            "the sum in half precision",
            lambda x, w, x_scale, w_scale: scaled(x.half() @ w.half().T, x_scale, w_scale),
            "fp16 ends at 65 504 and counts exactly only up to 2048. Codes are integers so that their sum can be exact. "
            "Which type keeps it so?",
            "Invariant 3: int8 × int8 → int32. The sum is exact, and only the scales round.",
            also=(lambda x, w, x_scale, w_scale: scaled(x.bfloat16() @ w.bfloat16().T, x_scale, w_scale),),
        ),
        Mistake(
            "the sum in fp32",
            lambda x, w, x_scale, w_scale: scaled(x.float() @ w.float().T, x_scale, w_scale),
            "fp32 holds every integer up to 2²⁴ = 16 777 216, which a thousand loud products exceed. From there on the last "
            "digits are rounded away, and what cancels later cannot bring them back. Which type keeps them?",
            "Invariant 3: int8 × int8 → int32. The sum is exact, and only the scales round.",
            also=(
                lambda x, w, x_scale, w_scale: (x.float() * x_scale) @ (w.float() * w_scale).T,
                lambda x, w, x_scale, w_scale: ((x.float()[:, None] * w.float()).sum(-1)) * x_scale * w_scale.T,
            ),
        ),
        Mistake(
            "the token's scale forgotten",
            lambda x, w, x_scale, w_scale: (x.int() @ w.int().T) * w_scale.T,
            "The weight's scale is there. But x is in codes as well: two tokens with the same codes and different scales "
            "get the same y from you. What did each token's numbers look like before they were codes?",
            "Invariant 2: a code means s · q, on both sides.",
        ),
        Mistake(
            "the scales forgotten",
            lambda x, w, x_scale, w_scale: (x.int() @ w.int().T).float(),
            "The integer sum is right. But it counts in steps, not in units of y. How large is one step of x's codes, and "
            "one of w's?",
            "Invariant 2: a code means s · q.",
        ),
        Mistake(
            "the weight's scale laid along the tokens",
            lambda x, w, x_scale, w_scale: (x.int() @ w.int().T) * x_scale * w_scale,
            "w_scale is a column, (N, 1), and so it was stretched along the wrong axis of y (M, N): output n got the scale "
            "of row m. (With M = N nothing even complains.) Which axis of y does n run along?",
            "Invariant 2: a scale belongs to its own output channel.",
            also=(lambda x, w, x_scale, w_scale: (x.int() @ w.int().T) * x_scale.T * w_scale,),
        ),
        Mistake(
            "the weight's scale forgotten",
            lambda x, w, x_scale, w_scale: (x.int() @ w.int().T) * x_scale,
            "Both factors of each product were divided by a scale of their own when they became codes. You have given "
            "back only the token's.",
            "Invariant 2: a code means s · q, on both sides.",
        ),
    ),
    hint="Widen before you multiply, not after: once a sum has wrapped, no cast brings it back. Then bring in one scale a "
    "row and one a column; draw the shapes (M, 1) and (N, 1) beside y (M, N).",
    same=same_sum,
    returns=("y",),
    seconds=10.0,
)
