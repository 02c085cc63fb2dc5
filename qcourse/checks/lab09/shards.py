"""09.6 row_parallel_shard(qweight, scale, rank, world, group_size) → one rank's columns: their bytes, and their scales."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab09.shards_mistakes import MISTAKES
from qcourse.checks.task import Property, Refuse, Task
from qcourse.shapes import Tensor


def expected(qweight: Tensor, scale: Tensor, rank: int, world: int, group_size: int) -> tuple[Tensor, Tensor]:
    """Whole runs of columns: as many as eight codes and a group have in common."""
    K = group_size * scale.shape[1]
    if K % world or K // world % group_size or K // world % 8:
        raise Refuse(f"K={K} on {world} ranks: {K / world:g} columns each are not whole groups of {group_size} and bytes")
    n, groups = qweight.shape[1] // world, scale.shape[1] // world
    return qweight.narrow(1, rank * n, n).clone(), scale.narrow(1, rank * groups, groups).clone()


def whole(g, N: int, K: int, G: int) -> tuple[Tensor, Tensor]:
    """A file's tensors: any bytes, scales that all differ."""
    order = torch.randperm(N * K // G, generator=g).view(N, K // G)
    return draw.codes(g, 0, 255, N, 3 * K // 8, dtype=torch.uint8), (0.01 * (1 + order / 64)).bfloat16()


def ranks(g, N: int, K: int, G: int, world: int, those=None) -> list[tuple]:
    """The question to all ranks, or to some."""
    tensors = whole(g, N, K, G)
    return [(*tensors, rank, world, G) for rank in (range(world) if those is None else those)]


def torn_group(g) -> list[tuple]:
    """Whole bytes for every rank, but the cut goes through a group."""
    G, odd = 16 * draw.integer(g, 1, 4), 2 * draw.integer(g, 1, 3) + 1
    two = ranks(g, 2, G * odd, G, 2)
    four = ranks(g, 3, 4 * G * odd, 2 * G, 4, [1, 2])
    three = ranks(g, 4, 24 * 4, 24, 3, [0, 2])
    return [*two, *four, *three]


def torn_byte(g) -> list[tuple]:
    """Whole groups for every rank, but the cut goes through a byte."""
    odd = 2 * draw.integer(g, 1, 4) + 1
    return [*ranks(g, 2, 8 * odd, 4, 2), *ranks(g, 3, 24 * odd, 12, 2), *ranks(g, 4, 40, 5, 4, [1, 3])]


ROW_PARALLEL_SHARD = Task(
    id="09.6",
    function="row_parallel_shard",
    title="My columns of the file",
    points=5,
    expected=expected,
    properties=(
        Property("two ranks", lambda g: [*ranks(g, 4, 32, 16, 2), *ranks(g, 6, 64, 8, 2)], 2),
        Property(
            "three, four and eight",
            lambda g: [*ranks(g, 3, 48, 8, 3), *ranks(g, 8, 128, 32, 4), *ranks(g, 16, 192, 8, 8, [0, 3, 7])],
        ),
        Property("groups that end within a byte", lambda g: [*ranks(g, 4, 32, 4, 2), *ranks(g, 2, 48, 12, 2)]),
        Property("a group that would be cut is refused", torn_group),
        Property("a byte that would be cut is refused", torn_byte),
        Property("alone", lambda g: [*ranks(g, 3, 24, 8, 1)], edge=True),
    ),
    mistakes=MISTAKES,
    hint="Count columns first: how many has W, how many has this rank, and with which does it begin? Then ask each tensor "
    "how many columns one of its entries serves. vLLM's loaders do the same, with each parameter's `input_dim`.",
    returns=("qweight", "scale"),
    words=("qweight",),
)
