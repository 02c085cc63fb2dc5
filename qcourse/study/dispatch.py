"""From a scheme to its kernel, read off the real tables: PRESETS → layouts that hold it → home layout → rows of TABLE.

Whether a kernel's compiler is installed here plays no role: this is what the tables say. Notebook 09.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from qcourse.gemm.choose import here
from qcourse.gemm.table import TABLE
from qcourse.numerics.schemes import PRESETS, QuantizationScheme
from qcourse.packing.packed import LAYOUTS, holders
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREY, ORANGE, described, figure

DEVICES = {"cpu": (BLUE, "o", -0.16, "CPU"), "cuda": (ORANGE, "^", 0.16, "GPU")}
SHAPE = (256, 768)  # (N, K) of the shipped model's down_proj, which every scheme fits
LAST = "reference"


@dataclass(frozen=True)
class Route:
    """holders: the layouts that can hold the weight · home: the one in which it is kept · kernels: who multiplies it there,
    in order of preference; the reference, which always can, is the last."""

    holders: tuple[str, ...]
    home: str
    kernels: tuple[str, ...]

    @property
    def fast(self) -> bool:
        """Whether a kernel of its own multiplies it."""
        return self.kernels[0] != LAST


def route(scheme: QuantizationScheme, device: str = "cpu", shape: tuple[int, int] = SHAPE) -> Route:
    """The way of a weight (N, K) of this scheme on a device. Raises ValueError when no layout holds it."""
    found = holders(scheme.weights, *shape)
    rows = here(device, scheme.weights, scheme.input_activations)
    wanted = [k.layouts[0] for k in rows if k.layouts]
    home = next(name for name in (*wanted, "row", found[0]) if name in found)
    kernels = (k.name for k in rows if home in k.layouts or not k.layouts)
    return Route(tuple(found), home, tuple(dict.fromkeys(kernels)))


def routes(schemes: Mapping[str, QuantizationScheme] = PRESETS) -> dict[str, dict[str, Route]]:
    """Each scheme's way on each device."""
    return {name: {device: route(scheme, device) for device in DEVICES} for name, scheme in schemes.items()}


def alike(found: Mapping[str, dict[str, Route]]) -> dict[str, dict[str, Route]]:
    """The same, schemes with the same ways in one row: "W4A16, W4A16_G64 …"."""
    groups: dict[tuple, list[str]] = {}
    for name, ways in found.items():
        groups.setdefault(tuple(ways.values()), []).append(name)
    return {", ".join(names): dict(zip(DEVICES, ways, strict=True)) for ways, names in groups.items()}


def kernel_names() -> list[str]:
    """Every kernel, in the table's order."""
    return list(dict.fromkeys(k.name for k in TABLE))


def picture(found: Mapping[str, dict[str, Route]], title: str) -> Picture:
    """Rows are schemes. Left the layouts that can hold each (small squares; ringed: its home on each device), right the
    kernels that multiply it, the preferred one filled."""
    rows, columns = alike(found), [*LAYOUTS, *kernel_names()]
    fig, ax = figure(1, title, width=10, height=1.8 + 0.27 * len(rows))
    for y, ways in enumerate(rows.values()):
        for x in (columns.index(name) for name in ways["cpu"].holders):
            ax.plot(x, y, "s", ms=3, color=GREY)
        for device, (color, marker, shift, _) in DEVICES.items():
            way = ways[device]
            ax.plot(columns.index(way.home) + shift, y, marker, ms=9, mfc="none", mec=color, mew=1.6)
            for i, kernel in enumerate(way.kernels):
                x = len(LAYOUTS) + kernel_names().index(kernel)
                ax.plot(x + shift, y, marker, ms=7, mec=color, mfc=color if i == 0 else "none")
    for x, text in (
        (-0.4, "layouts: squares can hold it, rings are its home"),
        (len(LAYOUTS) - 0.3, "kernels: filled = preferred"),
    ):
        ax.text(x, len(rows) - 0.1, text, size=9, style="italic")
    ax.set(xlim=(-0.7, len(columns) - 0.3), ylim=(len(rows) + 0.2, -0.7))
    ax.set_yticks(range(len(rows)), [wrapped(name) for name in rows], size=7)
    ax.set_xticks(range(len(columns)), columns, rotation=60, ha="left", rotation_mode="anchor", size=8)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.axvline(len(LAYOUTS) - 0.5, color=GREY, lw=1)
    ax.spines[:].set_visible(False)
    for device, (color, marker, _, name) in DEVICES.items():
        fast = sum(ways[device].fast for ways in found.values())
        ax.plot([], [], marker, color=color, label=f"{name}: {fast} of {len(found)} have a kernel of their own")
    fig.legend(loc="outside lower center", ncols=2, frameon=False)
    return described(fig, " ".join(said(name, ways) for name, ways in rows.items()))


def wrapped(names: str, most: int = 3) -> str:
    """Many names with three dots."""
    some = names.split(", ")
    return names if len(some) <= most else f"{', '.join(some[:most])} … ({len(some)})"


def said(name: str, ways: Mapping[str, Route]) -> str:
    """A row in words."""
    return f"{name}: {'; '.join(f'{d} {w.home}, {w.kernels[0]}' for d, w in ways.items())}."
