"""08.4, split K: partial sums of slices, and their sum."""

import torch

from qcourse.checks.compare import difference
from qcourse.checks.lab08.loops import layer, loud, room, same_sum, weight
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor


def case(g, N: int, K: int, G: int, splits: int) -> tuple:
    """A layer and a number of slices."""
    return *layer(g, N, K, G), splits


def products(x, words, scale, group_size) -> Tensor:
    """ŵ·x summed within each group, (N, K/G), fp64."""
    return (weight(words, scale, group_size) * x.double()).unflatten(1, (-1, group_size)).sum(-1)


def slices(x, words, scale, group_size, splits) -> Tensor:
    """(splits, N): neighbouring groups together."""
    return products(x, words, scale, group_size).unflatten(1, (splits, -1)).sum(-1).T.float()


def whole(partials: Tensor) -> tuple:
    """With their sum."""
    return partials, partials.sum(0)


def restarted(x, words, scale, group_size, splits) -> tuple:
    """Every slice uses the scales of the first."""
    return whole(slices(x, words, scale[:, : scale.shape[1] // splits].repeat(1, splits), group_size, splits))


def same_x(x, words, scale, group_size, splits) -> tuple:
    """Every slice meets the first part of x."""
    return whole(slices(x[: len(x) // splits].repeat(splits), words, scale, group_size, splits))


def dealt(x, words, scale, group_size, splits) -> tuple:
    """Groups dealt out like cards."""
    return whole(products(x, words, scale, group_size).unflatten(1, (-1, splits)).sum(1).T.float())


def running(x, words, scale, group_size, splits) -> tuple:
    """Each partial contains the ones before it."""
    partials = slices(x, words, scale, group_size, splits).cumsum(0)
    return partials, partials[-1]


def same_parts(args, got, other) -> str | None:
    """Every partial and the sum within the room of the whole sum."""
    (parts, y), (other_parts, other_y) = got, other
    close = ((parts.double() - other_parts.double()).abs() <= room(*args[:4])) | (parts == other_parts)
    found = difference(torch.where(close, other_parts.double(), parts.double()), other_parts.double(), where="partials")
    return found or same_sum(args, y, other_y)


SPLIT_K = Task(
    id="08.4",
    function="split_k",
    title="Split K",
    points=4,
    expected=lambda x, words, scale, group_size, splits: whole(slices(x, words, scale, group_size, splits)),
    properties=(
        Property("one slice is the whole", lambda g: [case(g, 3, 32, 8, 1)]),
        Property("two slices", lambda g: [case(g, 2, 16, 8, 2), case(g, 3, 128, 16, 2)]),
        Property("bf16 x, summed in fp32", lambda g: [(*loud(g, 4, 64, 16, torch.bfloat16), 2)]),
        Property("more slices", lambda g: [case(g, 4, 96, 8, 3), case(g, 5, 256, 32, 4), case(g, 2, 128, 16, 8)], 2),
    ),
    mistakes=(
        Mistake(
            "the partial sums overwritten",
            lambda x, words, scale, group_size, splits: ((p := slices(x, words, scale, group_size, splits)), p[-1]),
            "Your y is what the *last* slice found; the others are lost. On a GPU this is the classic race: every "
            "worker stores its result in the same place. What should happen to what is there already?",
            "Split K: y is the sum of all partials.",
            also=(lambda x, words, scale, group_size, splits: ((p := slices(x, words, scale, group_size, splits)), p[0]),),
        ),
        Mistake(
            "the group number restarts in every slice",
            restarted,
            "Within a slice you count groups from 0, and so every slice takes the scales of the first. Where in the "
            "row does slice i begin, in groups?",
            "Invariant 2: a scale belongs to its group, and groups are numbered along the whole of K.",
        ),
        Mistake(
            "every slice meets the beginning of x",
            same_x,
            "The weights are cut correctly, but each slice multiplies the first part of x. Which k does slice i begin with?",
            "Split K: the sum over k is cut, so both factors are.",
        ),
        Mistake(
            "the mean of the partials",
            lambda x, words, scale, group_size, splits: ((p := slices(x, words, scale, group_size, splits)), p.mean(0)),
            "Each partial is a part of the sum, not an estimate of it. What do you do with parts?",
            "Split K: y is the sum of all partials.",
        ),
        Mistake(
            "the groups dealt out like cards",
            dealt,
            "y is right, for a sum does not care. But slice i holds groups i, i + splits, … , scattered over memory. "
            "The picture keeps neighbours together, so that each worker reads one piece.",
            "The specification: slice i is the i-th part of K, in order.",
        ),
        Mistake(
            "each partial contains the ones before it",
            running,
            "Your accumulator is carried on from slice to slice. On a GPU the slices run at the same time and know "
            "nothing of each other. What does a worker start from?",
            "Split K: partials are independent.",
        ),
    ),
    hint="Work out for slice i where it begins, three times: in weights (for x), in words, and in groups (for the scales). "
    "Then it is task 08.3 on smaller pieces.",
    same=same_parts,
    returns=("partials", "y"),
    words=("words",),
    seconds=10.0,
)
