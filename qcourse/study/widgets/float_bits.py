"""A small float, bit by bit: click a bit, drag through all values, change the format, and see the grid around it.

    FloatView()                 # 1.0 in E4M3
    FloatView(E2M1, 0b0111)     # the largest of FP4

Along the slider the codes are in the order of their values: but for the sign, a float's bits count up like an integer's.
"""

import math
from functools import cache

import torch

from qcourse.numerics.grids import E2M1, E2M3, E3M2, E4M3, E5M2, FloatGrid
from qcourse.study.widgets import anatomy, controls, static
from qcourse.study.widgets.number_lines import FAINT, Line, drawing, image, written

FORMATS = (E4M3, E5M2, E3M2, E2M3, E2M1)


def window(grid: FloatGrid, code: int) -> tuple[float, float]:
    """The part of the number line to look at: the value's own power of two and half of those beside it. It stands still
    while one steps within a power of two."""
    value, (sign, e, _) = anatomy.values(grid)[code], anatomy.fields(grid, code)
    if value == 0:
        return -1.25 * 2.0 ** (1 - grid.bias), 1.25 * 2.0 ** (1 - grid.bias)
    if not math.isfinite(value):
        e = math.frexp(grid.max)[1] - 1 + grid.bias
    low, high = (-0.25, 2.25) if e == 0 else (0.45, 2.55) if grid.mantissa_bits > 1 else (0.2, 4.3)
    unit = 2.0 ** (max(e, 1) - grid.bias)
    low, high = low * unit, min(high * unit, 1.15 * grid.max)
    return (-high, -low) if sign else (low, high)


@cache
def everything(grid: FloatGrid) -> str:
    """All values of a format on one line, true to scale."""
    found = [v for v in anatomy.levels(grid) if math.isfinite(v)]
    line = overview(grid)
    caption = f"all {len(found)} values of {grid}: dense near 0, sparse far out (shaded: the part above)"
    labels = [(v, anatomy.exact(v)) for v in (0.0, grid.max, -grid.max, grid.max / 2, -grid.max / 2)]
    return line.axis() + line.ticks(found, 6) + line.labels(labels, 20) + written(8, 104, caption, color=FAINT)


def overview(grid: FloatGrid) -> Line:
    """The line of all values."""
    return Line(-grid.max, grid.max, 134)


def picture(grid: FloatGrid, code: int) -> tuple[str, str]:
    """The values around this one above, all values below: as SVG, and in words."""
    value, whole = anatomy.values(grid)[code], overview(grid)
    if math.isnan(value):
        about = "NaN lies nowhere on the number line"
        return drawing(166, about, [written(8, 54, about), everything(grid)]), about
    low, high = window(grid, code)
    near, finite = Line(low, high, 56), [v for v in anatomy.levels(grid) if math.isfinite(v)]
    inside = [v for v in finite if low <= v <= high]
    ends = ((grid.max, high), (low, -grid.max))
    parts = [near.band(begin, end) for begin, end in ends if begin < end]
    first = [v for v in anatomy.neighbours(grid, code) if v is not None]
    labels = [(v, anatomy.brief(v)) for v in [*first, inside[0], inside[-1], *inside] if v != value]
    shown = anatomy.brief(value) if math.isfinite(value) else f"{value}, beyond this end"
    caption = "around it" + ("; shaded: beyond the largest" if parts else "")
    parts += [written(8, 14, caption, color=FAINT), near.axis(), near.ticks(inside), near.labels(labels)]
    parts += [near.mark(value, shown), whole.band(low, high, 9), everything(grid), whole.mark(value, above=8)]
    about = (
        f"{shown} among the {len(inside)} values of {grid} from {anatomy.brief(inside[0])} to {anatomy.brief(inside[-1])}"
    )
    return drawing(166, about, parts), about


class FloatView:
    """One code of a small float, from every side. `value` is what it stands for; `code` and `grid` can be read too."""

    def __init__(self, grid: FloatGrid = E4M3, code: int = 0x38):
        self.grid, self.code = grid, anatomy.checked(grid, code)

    @property
    def value(self) -> float:
        """The number that the code stands for."""
        return anatomy.values(self.grid)[self.code]

    def switch(self, grid: FloatGrid) -> None:
        """The same number in another format: its nearest value there (inf: the largest; NaN: 0 where it has no NaN)."""
        number = 0.0 if math.isnan(self.value) and grid.nan_code is None else self.value
        self.grid, self.code = grid, int(grid.encode(torch.tensor(number)))

    def live_html(self) -> str:
        """What stands under the bits."""
        return anatomy.told(self.grid, self.code) + picture(self.grid, self.code)[0]

    def _repr_html_(self) -> str:
        return anatomy.told(self.grid, self.code) + image(*picture(self.grid, self.code))

    def __repr__(self) -> str:
        return anatomy.text(self.grid, self.code)

    def state(self) -> dict[str, list]:
        """The bits as the control shows them: highest first, named and shaded by field."""
        e, m = self.grid.exponent_bits, self.grid.mantissa_bits
        names = ["sign", *["exponent"] * e, *["mantissa"] * m]
        shades = ["2 qc-gap", *["1"] * (e - 1), "1 qc-gap", *["0"] * m]
        return {"values": [int(b) for b in f"{self.code:0{self.grid.num_bits}b}"], "shades": shades, "options": names}

    def positions(self) -> dict:
        """All codes along the slider, and where this one is."""
        order, found = anatomy.in_order(self.grid), anatomy.values(self.grid)
        return {"options": [f"{found[c]:g}  (0x{c:02X})" for c in order], "at": order.index(self.code)}

    def widget(self):
        """Formats, slider and bits above what they mean; None when ipywidgets or anywidget is not installed."""
        formats = [*FORMATS, *[self.grid] * (self.grid not in FORMATS)]

        def show() -> None:
            line.at = anatomy.in_order(self.grid).index(self.code)
            row.values = self.state()["values"]
            view.value = self.live_html()

        def move(code: int) -> None:
            if code != self.code:
                self.code = code
                show()

        def change(at: int) -> None:
            self.switch(formats[at])
            with line.hold_sync(), row.hold_sync():  # one message each: a new slider and new bits, never half of them
                for control, state in ((line, self.positions()), (row, self.state())):
                    for name, held in state.items():
                        setattr(control, name, held)
            show()

        try:
            import ipywidgets

            chosen = controls.radio("format", list(map(str, formats)), formats.index(self.grid), change)
            line = controls.slider("value", **self.positions(), moved=lambda at: move(anatomy.in_order(self.grid)[at]))
            row = controls.bits(
                "the code, highest bit first", moved=lambda b: move(int("".join(map(str, b)), 2)), **self.state()
            )
        except ImportError:
            return None
        view = ipywidgets.HTML(self.live_html())
        return ipywidgets.VBox([chosen.add_class("qc-inline"), line.add_class("qc-wide"), row, view])

    def _ipython_display_(self):
        from IPython.display import display

        box = None if static() else self.widget()
        if box is not None:
            return display(box)
        return display({"text/html": self._repr_html_(), "text/plain": repr(self)}, raw=True)
