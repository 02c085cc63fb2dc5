"""What happens at a shard boundary: which rows, columns, words and scales of a packed weight each rank gets, or why not."""

from dataclasses import dataclass, field
from math import prod

import torch

from qcourse.layers.merged import orders
from qcourse.numerics.args import QuantizationArgs
from qcourse.packing.layout import Slot
from qcourse.packing.packed import layout_of

Extent = tuple[int, int]  # first, end


@dataclass(frozen=True)
class Share:
    """One rank's part of W (N, K) and of the tensors that hold it.

    rows, columns   of W: (first, end)
    tensors         name → (first, end) along each of the tensor's own axes: words, bytes, scales
    nbytes          what those take
    why             the reason, naming the tensor, when W cannot be cut there; then `tensors` is empty
    """

    rank: int
    rows: Extent
    columns: Extent
    tensors: dict[str, tuple[Extent, ...]] = field(default_factory=dict)
    nbytes: int = 0
    why: str = ""


def shares(
    layout: str, args: QuantizationArgs, N: int, K: int, world: int, along: str = "N", act_order: bool = False
) -> list[Share]:
    """The shares of `world` ranks: along N, as a column-parallel layer cuts, or along K, as a row-parallel one.

    4-bit codes in groups of 128, cut along K in two: eight columns are a word, a group is a scale.

    >>> _, second = shares("pack-quantized", PRESETS["W4A16"].weights, 64, 512, 2, "K")
    >>> second.columns, second.tensors
    ((256, 512), {'weight_packed': ((0, 64), (32, 64)), 'weight_scale': ((0, 64), (2, 4))})
    >>> shares("pack-quantized", PRESETS["W4A16"].weights, 64, 512, 8, "K")[0].why
    'weight_scale cannot be cut at 64: 128 of W lie in one piece; cut at a multiple of 128'

    act_order: the file's groups are not neighbours along K (g_idx). Tensors that only repeat the shape are left out.
    Raises ValueError for `along` that is neither, a world below 1, and what `layout` raises for a weight it cannot hold.
    """
    if along not in ("N", "K") or type(world) is not int or world < 1:
        raise ValueError(f"along={along!r}, world={world!r}: 'N' or 'K', and at least one rank")
    found = layout_of(layout)
    slots, said = found.slots(args, N, K), found.restated(args, N, K)
    ordered = orders(slots) if act_order else []
    slots = {n: s for n, s in slots.items() if n in ordered or n not in said and n not in orders(slots)}
    size, ranks = (N if along == "N" else K), []
    for rank in range(world):
        part = size * rank // world, size * (rank + 1) // world
        both = (part, (0, K)) if along == "N" else ((0, N), part)
        try:
            if size % world:
                raise ValueError(f"{along}={size} is not a multiple of world={world}")
            tensors = {name: extents(slot, name, both, (N, K)) for name, slot in slots.items()}
            dtypes = {n: args.scale if args.scale in s.dtypes else s.dtypes[0] for n, s in slots.items()}
            sizes = [dtypes[n].itemsize * prod(b - a for a, b in t) for n, t in tensors.items()]
            ranks.append(Share(rank, *both, tensors, sum(sizes)))
        except ValueError as e:
            ranks.append(Share(rank, *both, why=str(e)))
    return ranks


def extents(slot: Slot, name: str, both: tuple[Extent, Extent], shape: tuple[int, int]) -> tuple[Extent, ...]:
    """Where W[rows, columns] lies in one tensor: (first, end) along each axis. Raises what `Cut.slice` raises."""
    found = [(0, n) for n in slot.shape]
    for letter, part, whole in zip(("N", "K"), both, shape, strict=True):
        cut = slot.cuts.get(letter)
        if cut is not None and part != (0, whole):
            places = cut.slice(torch.empty(slot.shape, device="meta"), *part, whole, name).shape[cut.axis]
            first = part[0] // cut.step * cut.size
            found[cut.axis] = first, first + places
    return tuple(found)
