"""Figures that are dragged: each takes what a slider says, and keeps its axes where they were; and a step taken apart."""

from collections.abc import Sequence

import torch

from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.shapes import Tensor
from qcourse.study.breakdown import Breakdown
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREEN, GREY, KINDS, ORANGE, RED, described, figure, lines, short


def clipping_errors(w: Tensor, shrink: float, bits: int) -> tuple[float, float]:
    """Share of Σw² that is lost by rounding inside the range, and by clipping outside of it.

    w: any shape; the range is ± shrink · absmax on the full grid of `bits`.
    """
    grid = IntGrid(bits)
    s = w.abs().max() * shrink / grid.limit
    steps = w / s
    outside = (steps > grid.qmax + 0.5) | (steps < grid.qmin - 0.5)
    error = (s * torch.round(steps).clamp(grid.qmin, grid.qmax) - w).square() / w.square().sum()
    return error[~outside].sum().item(), error[outside].sum().item()


def clipping(w: Tensor, shrink: float, bits: int, top: float) -> Picture:
    """Left: the weights, the values that exist, and what lies outside. Right: both error terms, up to `top`."""
    grid = IntGrid(bits)
    limit = w.abs().max().item() * shrink
    rounded, clipped = clipping_errors(w, shrink, bits)
    fig, (a, b) = figure(
        2, f"int{bits}, range {shrink:.2f}·absmax: relative error {(rounded + clipped) ** 0.5:.2%}", width=9
    )
    a.hist(w.flatten().tolist(), bins=60, color=BLUE, alpha=0.75)
    for level in range(grid.qmin, grid.qmax + 1):
        a.axvline(limit / grid.limit * level, color=RED, lw=0.7)
    end = 1.05 * w.abs().max().item()
    for low, high in ((-end, -limit), (limit, end)):
        a.axvspan(low, high, color=ORANGE, alpha=0.25, hatch="//")
    a.set(xlabel="weight (red: the values that exist, hatched: clipped)", ylabel="weights", xlim=(-end, end))
    b.bar(["rounded", "clipped", "sum"], [rounded, clipped, rounded + clipped], color=[BLUE, ORANGE, GREY])
    b.set(ylabel="share of Σw² lost", ylim=(0, top))
    return described(fig, f"Lost by rounding {short(rounded)}, by clipping {short(clipped)} of the squared weights.")


def groups_of_row(row: Tensor, G: int, args: QuantizationArgs) -> Picture:
    """One real row (K): its weights between ± each group's range above, the error of each below. `args` with groups of G."""
    q = quantize(row.view(1, -1), args)
    reach = (q.scale.float() * args.grid.limit).repeat_interleave(G, 1)[0]
    error = dequantize(q)[0].float() - row
    K = len(row)
    bits = args.bits_per_weight(1, K)
    title = f"G = {G}: {K // G} scales for this row, {bits:.4g} bits/weight, error {(error.norm() / row.norm()).item():.1%}"
    fig, (a, b) = figure(2, title, width=9)
    a.vlines(range(K), 0, row.tolist(), color=BLUE, lw=0.7)
    a.step(range(K), reach.tolist(), where="mid", color=RED, lw=1.2)
    a.step(range(K), (-reach).tolist(), where="mid", color=RED, lw=1.2)
    end = 1.1 * row.abs().max().item()
    a.set(xlabel="k  (red: the range that each group pays for)", ylabel="weight", ylim=(-end, end))
    b.vlines(range(K), 0, error.tolist(), color=ORANGE, lw=0.7)
    b.set(xlabel="k", ylabel="error ŵ − w", ylim=(-end / 8, end / 8))
    return described(fig, "Left the row between the ranges of its groups, right the error of each weight.")


def migration(sides: dict[str, Tensor], tops: Sequence[float], alphas: Sequence[float], errors: Sequence[float], at: float):
    """The loudness of x / s and W · s, channel by channel, and the output's error over α with the place where α is now."""
    fig, axes = figure(3, f"α = {at:g}: output error {errors[list(alphas).index(at)]:.2%}", width=9.5, height=3)
    for ax, color, top, (name, values) in zip(axes, (BLUE, GREEN), tops, sides.items(), strict=False):
        ax.vlines(range(len(values)), 0, values.tolist(), color=color, lw=0.9)
        ax.set_title(name, weight="normal", size=9)
        ax.set(xlabel="channel", ylabel="absmax / median channel's" if ax is axes[0] else "", ylim=(0, top))
    order = sorted(range(len(alphas)), key=lambda i: alphas[i])
    axes[2].plot([alphas[i] for i in order], [100 * errors[i] for i in order], color=GREY, marker=".")
    axes[2].plot([at], [100 * errors[list(alphas).index(at)]], "D", ms=9, color=RED)
    axes[2].set_title("output error", weight="normal", size=9)
    axes[2].set(xlabel="α", ylabel="%", ylim=(0, 105 * max(errors)))
    loud = ", ".join(f"{name} up to {short(v.max().item())} times the median" for name, v in sides.items())
    return described(fig, f"{loud}; the error over α is least at {short(alphas[min(order, key=lambda i: errors[i])])}.")


def roofline(M: int, N: int, K: int, sizes: dict[str, float], bandwidth: float, flops: float) -> Picture:
    """Operations a second over operations a byte, and where a product of M tokens lies for weights of each size in bytes."""
    meet = flops / bandwidth
    intensity = {name: 2 * M * N * K / size for name, size in sizes.items()}
    bound = [f"{name} {'memory' if at < meet else 'arithmetic'}" for name, at in intensity.items()]
    fig, ax = figure(1, f"M = {M}: bound by {', '.join(bound)}")
    ax.set(xscale="log", yscale="log", xlim=(0.5, 4096), ylim=(bandwidth / 2e9, 4 * flops / 1e9))
    ax.plot([0.5, meet, 4096], [v / 1e9 for v in (0.5 * bandwidth, flops, flops)], color=GREY, lw=2)
    for (name, at), (color, marker, _) in zip(intensity.items(), KINDS, strict=False):
        ax.plot([at], [min(at * bandwidth, flops) / 1e9], marker, color=color, ms=11, label=name)
    ax.set(xlabel="operations for each byte of weights", ylabel="10⁹ operations a second, at most")
    ax.legend(frameon=False, loc="lower right")
    return described(fig, f"A slope up to {short(meet)} operations a byte, flat beyond it.")


def drawn_over(x: Sequence, measured: Sequence[float], drawn: Sequence[float] | None, title: str, *names: str, logy=False):
    """A measured line, and the drawn one if there is one. `names`: of the x axis, of the y axis."""
    series = {"measured": list(measured)} | ({"you drew": list(drawn)} if drawn else {})
    return lines(x, series, title, *names, logy=logy)


def steps(found: dict[str, Breakdown], title: str) -> Picture:
    """A bar a format, its three parts behind each other."""
    fig, axis = figure(1, title, height=1.4 + 0.42 * len(found))
    begin = [0.0] * len(found)
    for i, name in enumerate(next(iter(found.values())).parts):
        ms = [1e3 * b.parts[name] for b in found.values()]
        color, _, _ = KINDS[i]
        axis.barh(list(found), ms, left=begin, color=color, hatch=("", "//", "..")[i], edgecolor="white", label=name)
        begin = [x + y for x, y in zip(begin, ms, strict=True)]
    axis.invert_yaxis()
    axis.set_xlabel("ms a step")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=3, frameon=False)
    said = "; ".join(f"{n} " + " + ".join(f"{1e3 * s:.2f}" for s in b.parts.values()) for n, b in found.items())
    return described(fig, f"Bars of three parts (bytes, kernels beyond that, the rest), ms a step: {said}.")
