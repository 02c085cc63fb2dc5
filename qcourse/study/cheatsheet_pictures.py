"""Two pictures of the cheatsheet: where each grid has its values, and the way from a checkpoint to a kernel."""

from collections.abc import Mapping

import torch
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from qcourse.numerics.schemes import PRESETS
from qcourse.study.cheatsheet_page import BODY, LEAD, Theme, width, write
from qcourse.study.dispatch import LAST, Route, alike, kernel_names

GRIDS = {"W4A16": "int", "W3A16": "int", "W2A16": "int", "TERNARY": "codebook", "NF4": "codebook", "IQ4_NL": "codebook",
         "MXFP4A16": "float", "MXFP6A16": "float", "FP8": "float"}  # fmt: skip
CALLS = {"from_config": "once a model", "get_quant_method": "once a layer", "create_weights": "by the file's slots",
         "process_weights_after_loading": "repack, choose the kernel: once", "apply": "every token"}  # fmt: skip
STEP = 14.2  # points from one line to the next


def values_of(name: str) -> torch.Tensor:
    """Every value of a scheme's grid, in parts of the largest magnitude, sorted; NaN and doubles left out."""
    grid = PRESETS[name].weights.grid
    low, count = getattr(grid, "qmin", 0), len(getattr(grid, "values", range(1 << grid.num_bits)))
    codes = torch.arange(low, low + count)
    found = grid.decode(codes.to(grid.dtype)).float()
    found = found[torch.isfinite(found)].unique()
    return found / found.abs().max()


def number_lines(ax, x: float, y: float, room: float, theme: Theme) -> float:
    """A line for each grid, a tick for each value; returns the y below."""
    left, right = x + 46, x + room - 58
    for name, kind in GRIDS.items():
        grid, values = PRESETS[name].weights.grid, values_of(name)
        label = str(grid) if str(grid).isalpha() or str(grid)[0] == "i" and str(grid)[1] == "n" else str(grid).upper()
        middle, color = y + STEP / 2, theme.kinds[kind]
        write(ax, x, middle - BODY * 0.62, label, theme, color=color, bold=True)
        ax.plot((left, right), (middle, middle), color=theme.rule, lw=0.6, zorder=1)
        places = (left + (values + 1) / 2 * (right - left)).tolist()
        ax.vlines(places, middle - 4.4, middle + 4.4, color=color, lw=1.1 if len(values) <= 16 else 0.45, zorder=2)
        said = f"{len(values)} values"
        write(ax, x + room, middle - BODY * 0.62, said, theme, color=theme.soft, align="right")
        y += STEP
    for at, text in ((left, "−max"), ((left + right) / 2, "0"), (right, "max")):
        write(ax, at, y + 0.5, text, theme, color=theme.soft, align="center")
    return y + LEAD * BODY


def lines_of_dispatch(found: Mapping[str, dict[str, Route]]) -> dict[str, dict[str, Route]]:
    """Schemes whose kernels are the same on both devices → their way; those that nothing but the reference multiplies in
    one line, the last."""
    groups: dict[tuple, list[str]] = {}
    ways: dict[tuple, dict[str, Route]] = {}
    for names, way in alike(found).items():
        kernels = tuple(w.kernels[:-1] for w in way.values())
        groups.setdefault(kernels, []).extend(names.split(", "))
        ways.setdefault(kernels, way)
    ordered = sorted(groups, key=lambda k: sum(places(ways[k])))
    return {", ".join(groups[k]): ways[k] for k in ordered}


def places(way: Mapping[str, Route]) -> list[int]:
    """Where the preferred kernels stand in the table."""
    return [kernel_names().index(w.kernels[0]) for w in way.values()]


def calls(ax, x: float, y: float, room: float, theme: Theme) -> float:
    """The contract's calls as boxes in a row, with when each happens; returns the y below."""
    gap, deep = 9.0, 2 * LEAD * BODY + 5
    spare = (room - gap * (len(CALLS) - 1) - sum(width(name, BODY, True) for name in CALLS)) / len(CALLS)
    for i, (name, when) in enumerate(CALLS.items()):
        wide = width(name, BODY, True) + spare
        ax.add_patch(FancyBboxPatch((x, y), wide, deep, boxstyle="round,pad=0,rounding_size=3", fc=theme.band, ec=theme.soft,
                                    lw=0.6))  # fmt: skip
        write(ax, x + wide / 2, y + 2.2, name, theme, bold=True, align="center")
        write(ax, x + wide / 2, y + 2.2 + LEAD * BODY, when, theme, color=theme.soft, align="center")
        if i + 1 < len(CALLS):
            ax.annotate("", (x + wide + gap - 1, y + deep / 2), (x + wide + 1, y + deep / 2),
                        arrowprops={"arrowstyle": "-|>", "color": theme.soft, "lw": 0.8, "shrinkA": 0, "shrinkB": 0,
                                    "mutation_scale": 6})  # fmt: skip
        x += wide + gap
    return y + deep


def flow(ax, lines: Mapping[str, dict[str, Route]], x: float, y: float, room: float, deep: float, theme: Theme) -> None:
    """Left groups of schemes and the layout in which each is kept, right kernels; a curve from each scheme to the kernel
    that each device prefers."""
    kernels = kernel_names()
    home = x + room * 0.40
    left, right = x + room * 0.585, x + room - max(width(k, BODY, True) for k in kernels) - 6
    y = columns_of_flow(ax, (x, home, right + 6), y, theme)
    ys = dict(zip(kernels, spread(y, deep, len(kernels)), strict=True))
    for name, at in ys.items():
        write(ax, right + 6, at - BODY * 0.62, name, theme, bold=name != LAST, color=theme.soft if name == LAST else None)
    for (names, way), at in zip(lines.items(), spread(y, deep, len(lines)), strict=True):
        fast = any(w.fast for w in way.values())
        write(ax, x, at - BODY * 0.62, shortened(names, home - x - 6), theme)
        kept = next((w.home for w in reversed(way.values()) if w.fast), "row, or as in the file")
        write(ax, home, at - BODY * 0.62, kept, theme, color=theme.ink if fast else theme.soft)
        for device, shift in (("cpu", -1.1), ("cuda", 1.1)):
            draw_curve(ax, (left, at + shift), (right, ys[way[device].kernels[0]] + shift), device, theme,
                       pale=not way[device].fast)  # fmt: skip


def columns_of_flow(ax, xs: tuple[float, float, float], y: float, theme: Theme) -> float:
    """The headings, and what the lines mean; returns the y below."""
    for x, text in zip(xs, ("scheme", "kept as", "kernel"), strict=True):
        write(ax, x, y, text, theme, bold=True)
    x = xs[1] + (xs[2] - xs[1]) * 0.48
    for device, text in (("cpu", "● CPU"), ("cuda", "▲ GPU")):
        write(ax, x, y, text, theme, color=getattr(theme, device), bold=True)
        x += width(text, BODY, True) + 6
    return y + LEAD * BODY


def spread(y: float, deep: float, count: int) -> list[float]:
    """The middles of `count` equal lines."""
    return [y + deep * (i + 0.5) / count for i in range(count)]


def shortened(names: str, room: float) -> str:
    """As many of the names as there is room for, and how many more."""
    some, all_names = [], names.split(", ")
    for i, name in enumerate(all_names):
        rest = len(all_names) - i - 1
        more = f" + {rest} more" if rest else ""
        if width(", ".join([*some, name]) + more) > room:
            return ", ".join(some) + f" + {len(all_names) - i} more"
        some.append(name)
    return ", ".join(some)


def draw_curve(ax, start: tuple[float, float], end: tuple[float, float], device: str, theme: Theme,
               pale: bool) -> None:  # fmt: skip
    """A line that leaves and arrives level: solid for the CPU, dashed for the GPU; pale where the reference multiplies."""
    half = (start[0] + end[0]) / 2
    curve = Curve([start, (half, start[1]), (half, end[1]), end], [Curve.MOVETO, *[Curve.CURVE4] * 3])
    style = {"cpu": "-", "cuda": (0, (3, 1.6))}[device]
    ax.add_patch(PathPatch(curve, fc="none", ec=getattr(theme, device), lw=0.7 if pale else 1.1, ls=style,
                           alpha=0.45 if pale else 1, zorder=2))  # fmt: skip
    ax.plot(*end, {"cpu": "o", "cuda": "^"}[device], ms=2.6, color=getattr(theme, device), mew=0, alpha=0.45 if pale else 1)
