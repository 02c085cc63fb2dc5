"""11.4 permute_qk(q, k, heads, kv_heads, to) → rows of both in the other order: "pairs" (llama.cpp) or "halves"."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab11.rows_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor


def expected(q: Tensor, k: Tensor, heads: int, kv_heads: int, to: str) -> tuple[Tensor, Tensor]:
    """Row by row: channel j of half p is channel 2j + p of the pairs."""
    return moved(q, heads, to), moved(k, kv_heads, to)


def moved(t: Tensor, heads: int, to: str) -> Tensor:
    """One tensor."""
    out, D = torch.empty_like(t), len(t) // heads
    for row in range(len(t)):
        head, channel = divmod(row, D)
        pair = head * D + 2 * (channel % (D // 2)) + channel // (D // 2)
        if to == "pairs":
            out[pair] = t[row]
        else:
            out[row] = t[pair]
    return out


def numbers(g, shape: tuple, dtype: torch.dtype) -> Tensor:
    """Random bytes; or numbers that tell their row, which has a random name, before the point, and their column after it."""
    if dtype == torch.uint8:
        return draw.codes(g, 0, 255, *shape, dtype=dtype)
    behind = torch.arange(shape[1:].numel() if len(shape) > 1 else 1).reshape(shape[1:]) / 100
    return (torch.randperm(shape[0], generator=g).reshape(-1, *[1] * (len(shape) - 1)) + behind).reshape(shape).to(dtype)


def layer(g, to: str, heads=4, kv_heads=2, m=2, behind=None, dtype=torch.float32) -> tuple:
    """q and k. A head has 2m · heads/kv_heads channels, so that k's rows could also be cut into q's heads. behind: the
    axes after the first; None: so many columns that they could be permuted as well."""
    D = 2 * m * heads // kv_heads
    behind = (4 * heads,) if behind is None else behind
    q, k = (numbers(g, torch.Size((n * D, *behind)), dtype) for n in (heads, kv_heads))
    return q, k, heads, kv_heads, to


def in_general(to: str):
    """Grouped queries, in heads of 8, 12 and 6 channels."""
    return lambda g: [layer(g, to), layer(g, to, 6, 2, 2), layer(g, to, 3, 1, 1)]


def plain(g) -> list[tuple]:
    """As many kv heads as heads; one head."""
    return [layer(g, "pairs", 2, 2, 4), layer(g, "halves", 3, 3, 3), layer(g, "pairs", 1, 1, 5), layer(g, "halves", 1, 1, 3)]


PERMUTE_QK = Task(
    id="11.4",
    function="permute_qk",
    title="The rows of Q and K",
    points=4,
    expected=expected,
    properties=(
        Property("to pairs, with grouped queries", in_general("pairs"), 2),
        Property("to halves, with grouped queries", in_general("halves"), 2),
        Property("as many kv heads as heads", plain),
        Property("biases", lambda g: [layer(g, to, 4, 2, 2, ()) for to in ("pairs", "halves")]),
        Property(
            "rows of blocks, float16, and a third axis",
            lambda g: [
                layer(g, "pairs", 4, 1, 1, (draw.integer(g, 3, 9),), torch.uint8),
                layer(g, "halves", 2, 1, 2, (5,), torch.float16),
                layer(g, "halves", 4, 2, 2, (2, 3), torch.uint8),
            ],
        ),
    ),
    mistakes=MISTAKES,
    hint="Rows of one head: first all a, then all b. Cut the first axis into three (which head, which half, which channel), "
    "exchange two of them, and lay it flat again. For the way back, which three sizes does the axis have?",
    returns=("q", "k"),
)
