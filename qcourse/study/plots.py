"""The course's figures: every one titled by its conclusion, axes with units. Each returns a Picture (a matplotlib Figure).

Colours are told apart under the usual colour blindnesses (Okabe and Ito's, nearly), and are never alone: lines have markers
and dashes, bars their values.
"""

import matplotlib.pyplot as plt
import torch

from qcourse.shapes import Tensor
from qcourse.study.picture import Picture

BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#b3400f", "#767c85"
KINDS = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", "-."), (RED, "D", ":"), (GREY, "v", (0, (5, 1, 1, 1, 1, 1))))
STYLE = {
    "figure.dpi": 90,
    "figure.figsize": (8, 3.4),
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 10,
}


def figure(columns: int = 1, title: str = "", width: float = 8, height: float = 3.4, **kwargs):
    """A Picture and its axes in the course's style; `title` is the conclusion, with which its alternative text begins."""
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", FigureClass=Picture, **kwargs)
        fig.suptitle(title, x=0.01, ha="left", weight="bold", size=11)
    plt.close(fig)  # shown because a cell returns it, not twice
    fig.alt = title
    return fig, axes


def described(fig: Picture, what: str) -> Picture:
    """The figure with `what` it draws added to its alternative text."""
    fig.alt = f"{fig.alt.rstrip('.')}. {what}" if fig.alt else what
    return fig


def staircase(W: Tensor, W_hat: Tensor, title: str, step: float | None = None, limit: float | None = None) -> Picture:
    """Left: each weight against what is stored for it. Right: the error, with its bound of half a step; `limit` holds its
    axis still between pictures that are to be compared."""
    fig, (a, b) = figure(2, title)
    order = W.flatten().argsort()
    w, v = W.flatten()[order].tolist(), W_hat.flatten()[order].tolist()
    a.plot(w, w, color=GREY, lw=1, ls="--", label="exact")
    a.step(w, v, where="mid", color=BLUE, label="stored")
    a.set(xlabel="weight w", ylabel="dequantized ŵ")
    a.legend(frameon=False)
    b.plot(w, [y - x for x, y in zip(w, v, strict=True)], ".", ms=3, color=ORANGE)
    for y in (step / 2, -step / 2) if step else ():
        b.axhline(y, color=RED, lw=1, ls="--")
    b.set(xlabel="weight w", ylabel="error ŵ − w  (dashed: ±s/2)")
    if limit is not None:
        b.set_ylim(-limit, limit)
    bound = f", within ±s/2 = ±{short(step / 2)}" if step else ""
    return described(fig, f"Left a staircase: stored value over weight. Right a sawtooth: its error{bound}.")


def short(value: float) -> str:
    """Three digits, and thousands written out: 0.0123, 45.6, 1,230."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def bars(labels, values, title: str, xlabel: str, errors=None, colors=BLUE, log=False) -> Picture:
    """Horizontal bars, best read top to bottom; `errors` are drawn as ±, values are written beside."""
    fig, ax = figure(1, title, height=0.8 + 0.36 * len(labels))
    y = list(range(len(labels)))[::-1]
    ax.barh(y, values, xerr=errors, color=colors, height=0.62, ecolor="black", capsize=3)
    ax.set_yticks(y, labels)
    ax.set_xlabel(xlabel)
    if log:
        ax.set_xscale("log")
    ax.grid(axis="y", visible=False)
    for position, value, e in zip(y, values, errors or [0] * len(y), strict=True):
        ax.annotate(f" {short(value)}", (value + e, position), va="center", size=9)
    ax.margins(x=0.12)
    said = "; ".join(f"{label} {short(value)}" for label, value in zip(labels, values, strict=True))
    return described(fig, f"Bars, {xlabel}: {said}.")


def lines(x, series: dict, title: str, xlabel: str, ylabel: str, logx=False, logy=False, mark=None) -> Picture:
    """One line a named series; a series is a list of y, or (y, errors). `mark`: a dashed line at that x."""
    fig, ax = figure(1, title)
    for i, (name, y) in enumerate(series.items()):
        y, errors = y if isinstance(y, tuple) else (y, None)
        color, marker, dashes = KINDS[i % len(KINDS)]
        ax.errorbar(x, y, yerr=errors, marker=marker, ms=5, ls=dashes, color=color, label=name, capsize=3)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if logx:
        ax.set_xscale("log")
    if logx and len(x) <= 12:  # few enough to name them all
        ax.set_xticks(list(x), [f"{v:g}" for v in x])
        ax.minorticks_off()
    if logy:
        ax.set_yscale("log")
    if mark is not None:
        ax.axvline(mark, color=GREY, lw=1, ls="--")
    if len(series) > 1:
        ax.legend(frameon=False)
    said = "; ".join(f"{name} {course(y[0] if isinstance(y, tuple) else y)}" for name, y in series.items())
    first, last = (v if isinstance(v, str) else short(v) for v in (list(x)[0], list(x)[-1]))
    return described(fig, f"Lines over {xlabel} ({first} to {last}), {ylabel}: {said}.")


def course(y) -> str:
    """Where a line begins, its extremes inside, and where it ends, in words."""
    y = [float(v) for v in y]
    inside = [f"{word} {short(v)}" for word, v in (("least", min(y)), ("most", max(y))) if v not in (y[0], y[-1])]
    return f"from {short(y[0])} to {short(y[-1])}" + (f" ({', '.join(inside)})" if inside else "")


def histogram(values: Tensor, title: str, xlabel: str, marks: Tensor | None = None) -> Picture:
    """Where the weights are, and (thin lines) where a format can put them."""
    fig, ax = figure(1, title)
    ax.hist(values.flatten().tolist(), bins=60, color=BLUE, alpha=0.75)
    for m in [] if marks is None else marks.tolist():
        ax.axvline(m, color=RED, lw=0.7, alpha=0.8)
    ax.set(xlabel=xlabel, ylabel="weights")
    many = "" if marks is None else f", with {len(marks)} thin lines where the format has values"
    return described(fig, f"A histogram of {values.numel()} weights{many}.")


def heat(panels: dict[str, Tensor], title: str, xlabel: str, ylabel: str) -> Picture:
    """Matrices side by side, each with its own colour scale."""
    fig, axes = figure(len(panels), title, width=9, height=2.9, squeeze=False)
    for ax, (name, t) in zip(axes[0], panels.items(), strict=True):
        image = ax.imshow(torch.as_tensor(t).float(), aspect="auto", vmin=0, cmap="magma", interpolation="nearest")
        ax.set_title(name, weight="normal", size=10)
        ax.set(xlabel=xlabel, ylabel=ylabel if ax is axes[0][0] else "")
        ax.grid(False)
        fig.colorbar(image, ax=ax)
    return described(fig, f"Colour maps over {xlabel} and {ylabel}: {', '.join(panels)}.")


def channels(panels: dict[str, Tensor], title: str, xlabel: str, ylabel: str, tops: list[float] | None = None) -> Picture:
    """One panel a vector: a thin bar for every channel, so that loud ones stand out. `tops`: the end of each panel's axis,
    the same for two that are to be compared."""
    fig, axes = figure(len(panels), title, width=9, height=2.9, squeeze=False)
    tops = tops or [None] * len(panels)
    for ax, color, (name, values), top in zip(axes[0], (BLUE, GREEN, ORANGE, RED), panels.items(), tops, strict=False):
        ax.vlines(range(len(values)), 0, values.tolist(), color=color, lw=0.9)
        ax.set_title(name, weight="normal", size=9)
        ax.set(xlabel=xlabel, ylabel=ylabel if ax is axes[0][0] else "", ylim=(0, top))
    said = "; ".join(
        f"{name}: loudest {short(v.max().item())}, median {short(v.median().item())}" for name, v in panels.items()
    )
    return described(fig, f"A thin bar for each {xlabel}, {ylabel}. {said}.")


def trade(points: dict[str, tuple[float, float, float]], title: str, xlabel: str, ylabel: str, third: str) -> Picture:
    """Three meters at once: (x, y, and a third one as bars beside). Lower left is good; a longer bar is good."""
    fig, (a, b) = figure(2, title, width=9, height=3.2)
    colors = (GREY, GREEN, ORANGE, BLUE, RED)
    for color, marker, (name, (x, y, _)) in zip(colors, "osD^v", points.items(), strict=False):
        a.plot(x, y, marker, ms=9, color=color)
        a.annotate(f"  {name}", (x, y), va="center")
    a.set(xlabel=xlabel, ylabel=ylabel)
    a.margins(0.25)
    names = list(points)[::-1]
    b.barh(names, [points[n][2] for n in names], color=[colors[list(points).index(n) % 5] for n in names], height=0.6)
    b.set_xlabel(third)
    b.grid(axis="y", visible=False)
    said = "; ".join(f"{name} {short(x)}, {short(y)}, {short(z)}" for name, (x, y, z) in points.items())
    return described(fig, f"For each, {xlabel}, {ylabel}, {third}: {said}.")


def words(rows: dict[str, list[int]], title: str) -> Picture:
    """One 32-bit word a row, highest nibble left as hex digits are written; each box says whose code it holds."""
    fig, ax = figure(1, title, height=0.9 + 0.55 * len(rows))
    shades = plt.get_cmap("viridis")
    for y, (name, owners) in enumerate(rows.items()):
        ax.text(-0.2, -y, name, ha="right", va="center")
        for nibble, owner in enumerate(owners):
            x = 7 - nibble
            ax.add_patch(plt.Rectangle((x, -y - 0.4), 1, 0.8, facecolor=shades(0.25 + owner / 10), edgecolor="white", lw=2))
            ax.text(
                x + 0.5, -y, str(owner), ha="center", va="center", weight="bold", color="white" if owner < 3 else "black"
            )
    ax.set(xlim=(-3, 8.1), ylim=(-len(rows) + 0.4, 0.9), yticks=[])
    ax.set_xticks([7.5 - n for n in range(8)], [f"bits {4 * n}–{4 * n + 3}" for n in range(8)], size=7)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    said = "; ".join(f"{name} {' '.join(map(str, owners))}" for name, owners in rows.items())
    return described(fig, f"Whose code is in each nibble, the lowest first: {said}.")
