"""A packed weight over several ranks, drawn: which words, scales and zero points each gets, and which piece would be torn.

What a rank gets, and why it cannot, is `layers.shares`; here its pieces are seen. Notebook 09.
"""

from dataclasses import dataclass

from qcourse.layers.shares import shares
from qcourse.numerics.args import QuantizationArgs
from qcourse.packing.layout import Slot
from qcourse.packing.packed import layout_of
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREEN, GREY, ORANGE, RED, described, figure

AXES = {"K": (1, "columns", "inputs: row-parallel"), "N": (0, "rows", "outputs: column-parallel")}
RANKS = (BLUE, ORANGE, GREEN, "#cc79a7")


@dataclass(frozen=True)
class Band:
    """One tensor over the ranks. step: rows or columns of W in one piece; None: each rank gets all of it.

    torn: the edges between ranks that go through a piece
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    step: int | None
    torn: list[int]

    def said(self, size: int, world: int, what: str) -> str:
        """What a rank gets of it."""
        if self.step is None:
            return "all of it to each rank"
        if self.torn:
            return f"torn at {', '.join(map(str, self.torn[:4]))}: {self.step} {what} of W are one piece"
        if size % world:
            return "not the same for all ranks"
        pieces = f"pieces of {self.step} {what}" if self.step > 1 else what
        return f"{size // world // self.step} {pieces} to each rank"


def band(name: str, slot: Slot, edges: list[int], size: int, along: str) -> Band:
    """A tensor, and the edges that its layout refuses."""
    cut, torn = slot.cuts.get(along), []
    for edge in edges if cut is not None else ():
        try:
            cut.refuse(edge, size, name)
        except ValueError:
            torn.append(edge)
    dtype = str(slot.dtypes[0]).removeprefix("torch.")
    return Band(name, slot.shape, dtype, None if cut is None else cut.step, torn)


def bands(layout: str, args: QuantizationArgs, shape: tuple[int, int], world: int, along: str = "K") -> list[Band]:
    """Each tensor of W (N, K), which `world` ranks share. Raises ValueError for another axis, and for what the layout cannot
    hold."""
    if along not in AXES:
        raise ValueError(f"along={along!r}: one of {', '.join(AXES)}")
    size = shape[AXES[along][0]]
    edges = [size * rank // world for rank in range(1, world)]
    found = layout_of(layout).slots(args, *shape)
    return [band(name, slot, edges, size, along) for name, slot in found.items() if not slot.optional]


def picture(layout: str, args: QuantizationArgs, shape: tuple[int, int], world: int, along: str = "K") -> Picture:
    """A band a tensor along the axis that is cut, its pieces in the colour of their rank; torn ones are red and crossed."""
    position, what, words = AXES[along]
    size, found = shape[position], bands(layout, args, shape, world, along)
    refused = next((s.why for s in shares(layout, args, *shape, world, along) if s.why), "")
    conclusion = f"refused: {refused.partition(':')[0]}" if refused else "every rank gets whole pieces"
    title = f"{layout}, {along} = {size} over {world} rank{'s' * (world > 1)}: {conclusion}"
    fig, ax = figure(1, title, width=10, height=1.3 + 0.62 * len(found))
    for y, b in enumerate(found):
        draw(ax, y, b, size, world)
        place = {"va": "bottom", "bbox": {"color": "white", "pad": 0.5}}
        ax.text(size / 200, y - 0.3, b.said(size, world, what), size=8, **place)
    for rank in range(1, world):
        ax.axvline(size * rank / world, color="black", lw=1.2, ls="--")
    ax.set(xlim=(0, size), ylim=(len(found) - 0.4, -0.7), xlabel=f"{what} of W ({words})")
    names = [f"{b.name}\n{tuple(b.shape)} {b.dtype}" for b in found]
    ax.set_yticks(range(len(found)), names, size=8, family="monospace")
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return described(fig, "; ".join(f"{b.name}: {b.said(size, world, what)}" for b in found) + ".")


def draw(ax, y: int, b: Band, size: int, world: int) -> None:
    """One band. Pieces too narrow to be seen are drawn as what a rank gets."""
    edges = [size * rank // world for rank in range(world + 1)]
    seen = b.step if b.step is not None and b.step >= size / 100 else None
    starts = range(0, size, seen) if seen else edges[:-1]
    for left in starts:
        right = min(left + seen, size) if seen else edges[edges.index(left) + 1]
        torn = any(left < edge < right for edge in b.torn)
        rank = max(r for r, edge in enumerate(edges[:-1]) if edge <= left)
        color = GREY if b.step is None else RED if torn else RANKS[rank % len(RANKS)]
        hatch = {"hatch": "xx"} if torn else {}
        ax.broken_barh([(left, right - left)], (y - 0.24, 0.48), facecolor=color, edgecolor="white", lw=1, **hatch)
