"""Pictures of which weights matter: whose error reaches the output, where a group's levels lie, what methods lose."""

from collections.abc import Sequence

import torch

from qcourse.shapes import Float, Tensor
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREEN, GREY, ORANGE, RED, described, figure, short

PINK, SKY = "#cc79a7", "#56b4e9"
KINDS = ((GREY, "v"), (SKY, "<"), (PINK, ">"), (GREEN, "^"), (ORANGE, "s"), (BLUE, "o"), (RED, "D"))


def protection(
    lost: Float[Tensor, "K"], top: float, alphas: Sequence[float], errors: Sequence[float], at: float, loud: int = 4
) -> Picture:
    """Left: the squared output error that each channel causes, up to `top`, on logarithmic axes. Right: the layer's error
    over α, and where α is.

    lost: in shares of what plain rounding loses (%) · errors: relative output errors, one for each of `alphas` · loud: so
    many of the first channels of `lost` are salient, and are drawn apart: sort by loudness.
    """
    here = errors[list(alphas).index(at)]
    fig, (a, b) = figure(2, f"α = {at:g}: output error {here:.1%} (α = 0: {errors[list(alphas).index(0)]:.1%})", width=9)
    rank, bottom = range(1, len(lost) + 1), top / 20_000
    a.plot(rank[:loud], lost[:loud].clamp(min=bottom).tolist(), "D", color=RED, ms=7, label=f"the {loud} loudest")
    a.plot(rank[loud:], lost[loud:].clamp(min=bottom).tolist(), ".", color=BLUE, ms=4, label="all others")
    a.set(xscale="log", yscale="log", ylim=(bottom, top))
    a.set(xlabel="channel, by loudness", ylabel="its part of the squared error, %")
    a.legend(frameon=False)
    order = sorted(range(len(alphas)), key=lambda i: alphas[i])
    b.plot([alphas[i] for i in order], [100 * errors[i] for i in order], color=GREY, marker=".")
    b.plot([at], [100 * here], "D", ms=9, color=RED)
    b.set(xlabel="α", ylabel="output error, %", ylim=(0, 105 * max(errors)))
    few, rest = (short(part.sum().item()) for part in (lost[:loud], lost[loud:]))
    parts = f"the {loud} loudest channels cause {few} %, all others {rest} %"
    return described(
        fig, f"Of plain rounding's squared error {parts}; over α it is least at {alphas[errors.index(min(errors))]:g}."
    )


def levels(weights: Float[Tensor, "n"], rows: dict[str, Sequence[float]], title: str) -> Picture:
    """A number line for each of `rows` (name → the levels of a group): the levels as bars, the group's weights as dots, each
    with a line to the level that it goes to; zero is marked."""
    fig, ax = figure(1, title, height=1.2 + 0.7 * len(rows))
    w, said = weights.flatten(), []
    ax.axvline(0, color=GREY, lw=1, ls="--")
    for y, (name, places) in zip(range(len(rows) - 1, -1, -1), rows.items(), strict=True):
        book = torch.tensor(list(places))
        nearest = book[(w.unsqueeze(1) - book).abs().argmin(1)]
        ax.plot([w.tolist(), nearest.tolist()], [[y + 0.14] * len(w), [y - 0.14] * len(w)], color=BLUE, lw=0.5, alpha=0.6)
        ax.plot(w.tolist(), [y + 0.14] * len(w), ".", color=BLUE, ms=5)
        ax.vlines(book.tolist(), y - 0.32, y - 0.14, color=RED, lw=3)
        said.append(
            f"{name}: {', '.join(f'{v:.3f}' for v in places)}, the nearest to zero {book.abs().min().item():.3f} away"
        )
    ax.set_yticks(range(len(rows) - 1, -1, -1), list(rows))
    ax.set(xlabel="weight (dots), and the levels (bars) that exist for its group", ylim=(-0.5, len(rows) - 0.5))
    ax.grid(axis="y", visible=False)
    return described(fig, f"Levels of a group of {len(w)} weights. {'; '.join(said)}.")


def moves(change: Float[Tensor, "..."], limit: float, title: str, xlabel: str, ylabel: str) -> Picture:
    """A histogram of changes, between dashed lines at ± limit."""
    fig, ax = figure(1, title)
    ax.hist(change.flatten().tolist(), bins=41, color=BLUE, alpha=0.75)
    for edge in (-limit, limit):
        ax.axvline(edge, color=RED, lw=1.2, ls="--")
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-1.2 * limit, 1.2 * limit))
    low, high = change.min().item(), change.max().item()
    return described(fig, f"A histogram of {change.numel()} {ylabel}, from {low:+.2f} to {high:+.2f}, between ±{limit:g}.")


def by_bits(found: dict[str, dict[int, tuple[float, float]]], title: str) -> Picture:
    """What each method adds (mean, standard error) at each number of bits, on a logarithmic axis, side by side.

    Raises ValueError for more methods than there are marks, and for a mean that is not positive: it has no place here.
    """
    if len(found) > len(KINDS):
        raise ValueError(f"{len(found)} methods: at most {len(KINDS)} can be told apart in one picture")
    low = [name for name, row in found.items() if min(mean for mean, _ in row.values()) <= 0]
    if low:
        raise ValueError(f"{', '.join(low)}: a mean of 0 or below has no place on a logarithmic axis; draw bars")
    fig, ax = figure(1, title, height=4)
    every = sorted({bits for row in found.values() for bits in row}, reverse=True)
    for i, ((name, row), (color, marker)) in enumerate(zip(found.items(), KINDS, strict=False)):
        x = [every.index(bits) + (i - (len(found) - 1) / 2) * 0.11 for bits in row]
        means, errors = [m for m, _ in row.values()], [e for _, e in row.values()]
        ax.errorbar(x, means, yerr=errors, fmt=marker, ms=6, color=color, capsize=3, label=name)
    ax.set_xticks(range(len(every)), [f"{bits} bits" for bits in every])
    ax.set(yscale="log", ylabel="added bits/byte (± paired s.e.)")
    ax.legend(frameon=False, ncols=2)
    each = (f"{name} {', '.join(f'{short(m)} at {bits}' for bits, (m, _) in row.items())}" for name, row in found.items())
    return described(fig, f"Points with intervals, added bits/byte at each number of bits: {'; '.join(each)}.")
