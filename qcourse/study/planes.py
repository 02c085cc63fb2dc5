"""Two numbers at a time, seen in their plane: channels that are turned, weights that share a code, a path of training."""

from collections.abc import Sequence
from math import cos, radians, sin

import torch

from qcourse.shapes import Float, Tensor
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREEN, GREY, ORANGE, RED, course, described, figure, short


def rotation(degrees: float) -> Float[Tensor, "2 2"]:
    """Q (2, 2): x @ Q is x, a row, turned by so many degrees against the clock."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return torch.tensor([[c, s], [-s, c]])


def on_grid(x: Float[Tensor, "M 2"], bits: int = 4) -> tuple[Float[Tensor, "M 2"], float]:
    """(x on the symmetric integer grid of so many bits, its step): one scale for everything, from the loudest."""
    limit = 2 ** (bits - 1) - 1
    step = (x.abs().max() / limit).item()
    return (x / step).round().clamp(-limit, limit) * step, step


def turned_errors(x: Float[Tensor, "M 2"], degrees: float, bits: int = 4) -> tuple[float, float]:
    """Turn, round, turn back: the relative error of everything, and of the quieter channel alone."""
    Q = rotation(degrees)
    lost = on_grid(x @ Q, bits)[0] @ Q.T - x
    quiet = x.norm(dim=0).argmin()
    return (lost.norm() / x.norm()).item(), (lost[:, quiet].norm() / x[:, quiet].norm()).item()


def turning(x: Float[Tensor, "M 2"], angles: Sequence[float], at: float, bits: int = 4) -> Picture:
    """Left: the points turned by `at` degrees, the cells of the grid that their peak pays for, and where they are put.
    Right: both errors over the angle. The axes stay as they are for every angle."""
    y = x @ rotation(at)
    y_hat, step = on_grid(y, bits)
    order = sorted(angles)
    everything, quiet = zip(*(turned_errors(x, a, bits) for a in order), strict=True)
    peak = (y.abs().max() / y.square().mean().sqrt()).item()
    now = order.index(at)
    title = f"Turned by {at:g}°: peak / rms {peak:.2f}, error {everything[now]:.1%}, of the quiet channel {quiet[now]:.0%}"
    fig, (a, b) = figure(2, title, width=9, height=3.6)
    end = 1.1 * x.norm(dim=1).max().item()
    limit = 2 ** (bits - 1) - 1
    for edge in (step * (k + 0.5) for k in range(-limit - 1, limit + 1)):
        a.axvline(edge, color=GREY, lw=0.5)
        a.axhline(edge, color=GREY, lw=0.5)
    a.plot(*y.T.tolist(), ".", ms=3, color=BLUE, label="x Q")
    a.plot(*y_hat.T.tolist(), "s", ms=4, color=ORANGE, label="as stored")
    a.set(xlim=(-end, end), ylim=(-end, end), xlabel="first channel of x Q", ylabel="second channel", aspect="equal")
    a.grid(False)
    a.legend(loc="lower right", framealpha=1)
    for values, color, marker, name in ((quiet, GREEN, "^", "quiet channel"), (everything, BLUE, "o", "everything")):
        b.plot(order, [100 * v for v in values], color=color, marker=marker, ms=4, label=name)
        b.plot([at], [100 * values[now]], "D", ms=9, color=RED)
    b.set(xlabel="angle, degrees (diamonds: where it is now)", ylabel="error after turning back, %", ylim=(0, 100))
    b.legend(frameon=False)
    said = f"Points in cells of {short(step)}. Error over the angle: everything {course(everything)}, quiet {course(quiet)}."
    return described(fig, said)


def nearest(x: Float[Tensor, "M 2"], book: Float[Tensor, "C 2"]) -> Tensor:
    """Which entry of the book lies nearest, for each row of x."""
    return torch.cdist(x, book).argmin(1)


def cells(books: dict[str, Tensor], x: Float[Tensor, "M 2"], title: str, reach: float = 3.0, fine: int = 160) -> Picture:
    """For each codebook (C, 2): its entries, and the cell of all pairs that are given to each; x: some pairs to see."""
    fig, axes = figure(len(books), title, width=4.2 * len(books), height=4, squeeze=False)
    line = torch.linspace(-reach, reach, fine)
    raster = torch.cartesian_prod(line, line).flip(1)  # (first, second), the second going up slowest
    for ax, (name, book) in zip(axes[0], books.items(), strict=True):
        owner = nearest(raster, book).view(fine, fine)
        edge = (owner[1:, 1:] != owner[:-1, 1:]) | (owner[1:, 1:] != owner[1:, :-1])
        ax.imshow(edge.float().numpy(), extent=(-reach, reach, -reach, reach), origin="lower", cmap="Greys", vmax=1.6)
        ax.plot(*x.T.tolist(), ".", ms=1.5, color=BLUE, alpha=0.5)
        ax.plot(*book.T.tolist(), "o", ms=6, color=ORANGE, markeredgecolor="black")
        ax.set_title(name, weight="normal", size=10)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="first weight", ylabel="second weight / rms")
        ax.grid(False)
    counts = "; ".join(f"{name}: {len(book)} entries" for name, book in books.items())
    return described(fig, f"The plane of two weights, cut into the cell of each entry. {counts}.")


def valley(H: Float[Tensor, "2 2"], wanted: Tensor, latent: Float[Tensor, "S 2"], title: str) -> Picture:
    """Two weights under the loss (w − wanted) H (w − wanted)ᵀ, near 0 … 1. Left: its contours, the codes, the borders
    between them, and the path of the latent weights. Right: the loss of what they are rounded to, step by step."""
    fig, (a, b) = figure(2, title, width=9, height=3.6)
    line = torch.linspace(-0.3, 1.3, 81)
    points = torch.cartesian_prod(line, line).flip(1)
    a.contour(line, line, loss(points, H, wanted).view(81, 81).sqrt(), levels=12, colors=GREY, linewidths=0.6)
    for border in (a.axvline, a.axhline):
        border(0.5, color=RED, lw=1, ls="--")
    a.plot(*torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0)).T.tolist(), "s", ms=7, color=ORANGE, label="codes")
    a.plot(*[[v] for v in wanted.tolist()], "*", ms=13, color=GREEN, label="the 16-bit weights")
    a.plot(*latent.T.tolist(), ".-", ms=4, lw=0.8, color=BLUE, label="latent weights")
    a.set(xlabel="first weight / scale (dashed: where codes change)", ylabel="second weight / scale")
    a.legend(framealpha=1, fontsize=8, loc="lower left")
    a.grid(False)
    losses = loss(latent.round(), H, wanted).tolist()
    b.plot(losses, ".-", color=BLUE, drawstyle="steps-mid")
    b.set(xlabel="step", ylabel="loss of the rounded weights", ylim=(0, 1.1 * max(losses)))
    return described(fig, f"A narrow valley of the loss between four pairs of codes. Loss over steps: {course(losses)}.")


def loss(w: Float[Tensor, "M 2"], H: Float[Tensor, "2 2"], wanted: Tensor) -> Tensor:
    """(w − wanted) H (w − wanted)ᵀ of each row."""
    d = w - wanted
    return ((d @ H) * d).sum(-1)
