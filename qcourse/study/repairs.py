"""A row that is rounded column by column, drawn while the columns behind each error move. Notebook 06."""

import torch

from qcourse.shapes import Float, Tensor
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREEN, GREY, ORANGE, RED, described, figure, short


def stages(w: Float[Tensor, "K"], H: Float[Tensor, "K K"], repair: bool = True) -> Float[Tensor, "T K"]:
    """The row after 0, 1 … K columns are whole numbers, (K + 1, K); without `repair` the others stay as they are.

        w_k -= (w_j - ŵ_j) / [H⁻¹]_jj · [H⁻¹]_jk        H: of the columns that are left, a new inverse for each

    The slow and obvious GPTQ, for a handful of columns. Source: Hassibi & Stork 1993.

    >>> stages(torch.tensor([0.4, 1.0]), torch.tensor([[1.0, 0.5], [0.5, 1.0]]))[:, 1].tolist()
    [1.0, 1.2000000476837158, 1.0]
    """
    w = w.clone()
    found = [w.clone()]
    for j in range(len(w)):
        inverse = torch.linalg.inv(H[j:, j:])
        error = w[j] - w[j].round()
        if repair:
            w[j + 1 :] -= error / inverse[0, 0] * inverse[0, 1:]
        w[j] = w[j].round()
        found.append(w.clone())
    return torch.stack(found)


def costs(found: Float[Tensor, "T K"], H: Float[Tensor, "K K"]) -> list[float]:
    """The output error of each stage: (w - first) H (w - first)ᵀ."""
    e = found - found[0]
    return (e @ H * e).sum(1).tolist()


def repair(found: Float[Tensor, "T K"], deaf: Float[Tensor, "T K"], H: Float[Tensor, "K K"], done: int) -> Picture:
    """Left: how far each column is from where it began after `done` are rounded; beyond ±½ it is no longer the nearest code.
    Right: the output error so far, of this row (`found`) and of one whose columns do not move (`deaf`)."""
    K, with_repair, without = found.shape[1], costs(found, H), costs(deaf, H)
    title = f"{done} of {K} columns rounded: output error {short(with_repair[done])}, without repair {short(without[done])}"
    fig, (a, b) = figure(2, title, width=9, gridspec_kw={"width_ratios": (3, 2)})
    moved, end = (found[done] - found[0]).tolist(), 1.15 * (found - found[0]).abs().max().item()
    for y in (-0.5, 0.5):
        a.axhline(y, color=GREY, lw=1, ls="--")
    a.axhline(0, color=GREY, lw=1)
    a.vlines(range(K), 0, moved, color=[ORANGE] * done + [BLUE] * (K - done), lw=3)
    a.plot(range(done), moved[:done], "s", ms=9, color=ORANGE, label="rounded: its error stands")
    a.plot(range(done, K), moved[done:], "o", ms=8, color=BLUE, label="free: what it has taken over")
    a.set(xlabel="column", ylabel="steps from where it began", ylim=(-end, end), xlim=(-0.5, K - 0.5))
    a.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    b.plot(range(K + 1), without, color=RED, ls="--", marker="^", ms=4, label="nothing moves")
    b.plot(range(K + 1), with_repair, color=GREEN, marker=".", label="the others repair")
    b.plot([done], [with_repair[done]], "D", ms=9, color=GREEN)
    b.set(xlabel="columns rounded", ylabel="output error", ylim=(-0.05 * max(without), 1.1 * max(without)))
    b.legend(frameon=False, fontsize=8, loc="upper left")
    far = [j for j in range(done) if abs(moved[j]) > 0.5]
    said = f"; of the rounded ones, {', '.join(map(str, far)) or 'none'} went farther than half a step"
    return described(fig, f"Left how far each column has moved{said}. Right the output error over columns rounded: at the "
                     f"end {short(with_repair[-1])} with repair, {short(without[-1])} without.")  # fmt: skip
