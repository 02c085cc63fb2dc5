"""One block of weights on three grids: int4, FP4 with a power-of-two scale (MX), FP4 with an FP8 scale (NV).

    BlockView(W[0, :128].view(8, 16))     # eight blocks to choose from, and an outlier to make louder

int4   s = absmax / 7.5, in bf16                                      even steps
MX     s = 2^(floor(log2 absmax) − 2), in E8M0: OCP's floor rule      what is above 6·s is clipped
NV     s = absmax / 6, in E4M3 times one fp32 scale of the tensor     the loudest weight lands on 6, nearly

All three share one block here, so that only the rule differs; in files MX has blocks of 32, NVFP4 of 16.
"""

from dataclasses import dataclass

import torch

from qcourse.numerics.codebooks import E8M0
from qcourse.numerics.grids import E2M1, E4M3, IntGrid
from qcourse.shapes import Float, Tensor
from qcourse.study.picture import Table
from qcourse.study.widgets import controls, static
from qcourse.study.widgets.number_lines import FAINT, INK, MARK, POINT, Line, drawing, image, written

INT4 = IntGrid(4)
OUTLIERS = tuple(range(1, 21))


@dataclass(frozen=True)
class Rounded:
    """A block on one grid: its scale, the values that exist, what each weight became."""

    name: str
    scale_bits: int
    scale: float
    levels: tuple[float, ...]
    w_hat: Float[Tensor, "K"]


def round_block(w: Float[Tensor, "K"], tensor_absmax: float) -> list[Rounded]:
    """The block under the three rules. `tensor_absmax`: of the whole tensor, for NV's second scale.

    >>> [r.scale for r in round_block(torch.tensor([7.0, 1.0, -3.5, 0.25]), 2688.0)]
    [0.93359375, 1.0, 1.125]
    """
    absmax = w.abs().max()
    whole = torch.tensor(tensor_absmax / (E2M1.max * E4M3.max))
    scales = {
        "int4": (INT4, 16, (absmax / INT4.limit).bfloat16().float()),
        "MX": (E2M1, 8, E8M0.decode(E8M0.encode(absmax / 4))),  # 4 = 2²: the largest power of two of E2M1
        "NV": (E2M1, 8, whole * E4M3.decode(E4M3.encode(absmax / E2M1.max / whole))),
    }
    rounded = []
    for name, (grid, scale_bits, s) in scales.items():
        every = grid.decode(torch.arange(-8, 8) if grid is INT4 else torch.arange(16)).unique()
        w_hat = s * grid.decode(grid.encode(w / s)) if s > 0 else torch.zeros_like(w)
        rounded.append(Rounded(name, scale_bits, s.item(), tuple((s * every).tolist()), w_hat))
    return rounded


def error(w_hat: Tensor, w: Tensor) -> str:
    """‖ŵ − w‖ / ‖w‖ in percent."""
    norm = w.norm()
    return f"{100 * ((w_hat - w).norm() / norm).item():.1f} %" if norm > 0 else "0 %"


def rows_of(w: Float[Tensor, "K"], rounded: list[Rounded]) -> Table:
    """A row a format: its scale, the error of all weights and of those that are not the loudest."""
    quiet = torch.arange(len(w)) != w.abs().argmax()
    n, rows = len(w), []
    for r in rounded:
        zeros = int((r.w_hat[quiet] == 0).sum())
        errors = [error(r.w_hat, w), error(r.w_hat[quiet], w[quiet])]
        rows.append([f"{r.name}: s = {r.scale:.4g}", f"{4 + r.scale_bits / n:g}", *errors, zeros])
    return Table(["", "bits a weight", f"error, all {n}", f"error, the {n - 1} quiet", "quiet ones that became 0"], rows)


def picture(w: Float[Tensor, "K"], rounded: list[Rounded], about: str) -> str:
    """Three number lines of one width: strokes are values that exist, dots are weights, each tied to what it became."""
    end, parts = 1.22 * w.abs().max().item(), []  # 5.01·s becomes 6·s, 1.2 times as much: it must be on the line
    for i, r in enumerate(rounded):
        line = Line(-end, end, 56 + 76 * i)
        ties = "".join(
            f"M{line.x(a)} {line.y - 22}L{line.x(b)} {line.y}" for a, b in zip(w.tolist(), r.w_hat.tolist(), strict=True)
        )
        dots = "".join(
            f'<circle cx="{line.x(v)}" cy="{line.y - 22}" r="3.5" fill="{POINT}" stroke="#fff"/>' for v in w.tolist()
        )
        labels = [(v, f"{v:.3g}") for v in sorted(r.levels, key=lambda v: (v != 0, -abs(v)))]
        parts += [line.axis(), line.ticks(r.levels, 6), f'<path d="{ties}" stroke="{MARK}" fill="none"/>', dots]
        parts += [line.labels(labels, 19), written(8, line.y - 38, r.name, color=INK)]
        parts += [written(60, line.y - 38, "dots: weights; strokes: the values that exist", color=FAINT)] if i == 0 else []
    return drawing(240, about, parts)


class BlockView:
    """`blocks` (n, K) to choose from with a slider, and a slider that makes the loudest weight of the chosen one louder."""

    def __init__(self, blocks: Float[Tensor, "blocks K"], at: int = 0, outlier: int = 1):
        if blocks.ndim != 2 or blocks.shape[1] < 2 or not len(blocks):
            raise ValueError(f"blocks {tuple(blocks.shape)}: (n, K) is expected, K ≥ 2, such as W[0, :128].view(8, 16)")
        if not torch.isfinite(blocks).all() or (blocks.abs().amax(1) == 0).any():
            raise ValueError("blocks: each needs finite weights, and one that is not 0")
        if not 0 <= at < len(blocks):
            raise ValueError(f"at={at}: there are the blocks 0 to {len(blocks) - 1}")
        if outlier not in OUTLIERS:
            raise ValueError(f"outlier={outlier}: {OUTLIERS[0]} to {OUTLIERS[-1]} times")
        self.blocks, self.at, self.outlier = blocks.detach().float(), at, outlier

    @property
    def weights(self) -> Float[Tensor, "K"]:
        """The chosen block, its loudest weight multiplied."""
        w = self.blocks[self.at].clone()
        w[w.abs().argmax()] *= self.outlier
        return w

    @property
    def rounded(self) -> list[Rounded]:
        """The three reconstructions. All blocks together stand for the tensor."""
        w = self.weights
        return round_block(w, max(self.blocks.abs().max().item(), w.abs().max().item()))

    def told(self) -> tuple[str, Table]:
        """What is shown, in words and numbers."""
        louder = "as it is" if self.outlier == 1 else f"its loudest weight × {self.outlier}"
        return f"block {self.at}, {louder}", rows_of(self.weights, self.rounded)

    def live_html(self, keep=lambda svg, about: svg) -> str:
        """The errors as numbers above the number lines; `keep` makes HTML of the drawing."""
        about, table = self.told()
        words = f"Three number lines of {about}"
        return f'<div role="status">{about}{table.html()}</div>{keep(picture(self.weights, self.rounded, words), words)}'

    def _repr_html_(self) -> str:
        return self.live_html(image)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.told()))

    def widget(self):
        """Both sliders above the picture; None when ipywidgets or anywidget is not installed."""

        def move(**to) -> None:
            vars(self).update(to)
            view.value = self.live_html()

        try:
            import ipywidgets

            which = controls.slider("block", list(map(str, range(len(self.blocks)))), self.at, lambda at: move(at=at))
            louder = [f"× {times}" for times in OUTLIERS]
            loud = controls.slider("outlier", louder, self.outlier - 1, lambda at: move(outlier=OUTLIERS[at]))
        except ImportError:
            return None
        view = ipywidgets.HTML(self.live_html())
        return ipywidgets.VBox([which, loud, view])

    def _ipython_display_(self):
        from IPython.display import display

        box = None if static() else self.widget()
        if box is not None:
            return display(box)
        return display({"text/html": self._repr_html_(), "text/plain": repr(self)}, raw=True)
