"""The zoo as a picture and as a table: what a weight costs against what the model loses, every scheme a point."""

from collections.abc import Callable

from qcourse.study.callouts import place
from qcourse.study.picture import Picture, Table
from qcourse.study.plots import BLUE, GREY, ORANGE, RED, described, figure
from qcourse.study.zoo import Animal, front

SMALL = 7.5  # points, of the names
KINDS = {False: (BLUE, "o", "weights only"), True: (ORANGE, "^", "activations too")}
BITS, BYTES = "bits", "bytes"
TICKS = [t * 10**i for i in range(5) for t in (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8)]
AXES: dict[str, tuple[Callable[[Animal], float], str]] = {
    BITS: (lambda a: a.bits, "true bits a weight, scales counted"),
    BYTES: (lambda a: a.token_bytes / 1e6, "MB of weights read for one token, the head included"),
}


def picture(zoo: list[Animal], subject: str, axis: str = BITS, least: float = 1e-3) -> Picture:
    """Every measured scheme with its interval (two standard errors) and the Pareto front; linear below `least`."""
    cost, xlabel = AXES[axis]
    points, best = [a for a in zoo if a.added is not None], front(zoo)
    cheap = next((a for a in best if a.added[0] < 0.05), best[-1])
    title = f"{subject}: {cheap.name} is the cheapest of {len(points) - 1} that loses less than 0.05 bits/byte"
    fig, ax = figure(1, title, width=10, height=7)
    for quantized, (color, marker, label) in KINDS.items():
        some = [a for a in points if a.activations == quantized]
        error = [2 * a.added[1] for a in some]
        x, y = [cost(a) for a in some], [a.added[0] for a in some]
        ax.errorbar(x, y, yerr=error, fmt=marker, ms=5, color=color, ecolor=color, elinewidth=0.8, capsize=2, label=label)
    ax.plot([cost(a) for a in best], [a.added[0] for a in best], color=RED, lw=1, ls="--", label="Pareto front", zorder=0)
    ax.set_yscale("symlog", linthresh=least)
    ax.set_xscale("log")
    low, high = min(map(cost, points)), max(map(cost, points))
    ticks = [t for t in TICKS if low / 1.08 <= t <= high * 1.25]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set(xlabel=xlabel, ylabel="bits/byte added  (two standard errors)", xlim=(low / 1.08, high * 1.25))
    ax.legend(frameon=False, loc="upper right")
    name_points(fig, ax, points, best, cost)
    said = "; ".join(f"{a.name} {cost(a):.3g}, {a.added[0]:+.4f}" for a in best)
    return described(fig, f"{len(points)} points, {xlabel} against bits/byte added. Pareto front: {said}.")


def name_points(fig, ax, points: list[Animal], best: list[Animal], cost: Callable[[Animal], float]) -> None:
    """Write each name at the nearest free place; those of the front first, and in bold."""
    ordered = sorted(points, key=lambda a: a not in best)
    fig.draw_without_rendering()
    pixels = [tuple(ax.transData.transform((cost(a), a.added[0]))) for a in ordered]
    scale = fig.dpi / 72
    sizes = [((0.76 if a in best else 0.64) * SMALL * scale * len(a.name), 1.3 * SMALL * scale) for a in ordered]
    box = ax.get_window_extent()
    for a, (x, y), (left, bottom, right, top) in zip(ordered, pixels, place(pixels, sizes, box.extents), strict=True):
        end, at = ((left + right) / 2, (bottom + top) / 2), ax.transData.inverted().transform
        ax.annotate(
            a.name, at((x, y)), at(end), ha="center", va="center", size=SMALL, weight="bold" if a in best else "normal",
            color=RED if a in best else "#333333",
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.4, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip


def table(zoo: list[Animal]) -> Table:
    """The same as rows; a star marks the Pareto front."""
    best = front(zoo)
    rows = []
    for a in zoo:
        lost = "not measured yet" if a.added is None else f"{a.added[0]:+.4f} ± {a.added[1]:.4f}"
        kind = "W+A" if a.activations else "W"
        rows.append((f"{a.name}{' *' if a in best else ''}", kind, f"{a.bits:.3f}", f"{a.token_bytes / 1e6:.3g}", lost))
    return Table(("scheme (* Pareto front)", "quantized", "bits/weight", "MB/token", "bits/byte added"), rows)
