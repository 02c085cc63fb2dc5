"""Predict with a drawing: the curve that one expects, before the measured one is drawn over it.

    shape = sketch("03.5", "How does the damage change with α?", alphas, "α", ends=("least", "most"))
    shape                                  # a curve to draw: with the mouse, or with the arrow keys
    shape.reveal(figure_of, "details")     # waits for it; then figure_of(heights) draws both

A curve is kept on disk like any guess. Heights are 0 … 1, between the two ends that are named: its shape is asked for.
"""

from collections.abc import Callable, Sequence

from qcourse.study.picture import Picture
from qcourse.study.widgets import controls, static
from qcourse.study.widgets.behind import Behind, Part, card, parts
from qcourse.study.widgets.predict import Prediction


class Sketch(Prediction):
    """A question that is answered by a curve: `value` is a list of heights 0 … 1, one for each of `places`, or None."""

    def __init__(self, key: str, question: str, places: Sequence, name: str, ends: tuple[str, str]):
        self.places, self.name, self.ends = [p if isinstance(p, str) else f"{p:g}" for p in places], name, ends
        super().__init__(key, question, name)
        drawn = isinstance(self.value, list) and len(self.value) == len(self.places)
        self.value = self.value if drawn else None

    def read(self, heights: Sequence[float]) -> list[float]:
        """A curve. Raises ValueError unless there is a height 0 … 1 for each place."""
        if len(heights) != len(self.places) or not all(0 <= h <= 1 for h in heights):
            raise ValueError(f"{len(self.places)} heights from 0 ({self.ends[0]}) to 1 ({self.ends[1]}) are expected")
        return [float(h) for h in heights]

    def reveal(self, draw: Callable[[list[float] | None], Picture], *details: Part | list[str]) -> Behind:
        """`draw(heights or None)`, the measured curve with the drawn one, once something was drawn."""
        return Behind(self, lambda: [draw(self.value), *parts(details)])

    def said(self, value) -> str:
        """A curve in words."""
        return ", ".join(f"{place}: {h:.2f}" for place, h in zip(self.places, value, strict=True))

    def _entry(self, ipywidgets):
        start = self.value or [0.5] * len(self.places)
        entry = controls.sketch(f"your curve over {self.name}", self.places, start, self.ends, lambda _: None)
        return entry, lambda: entry.values

    def _ipython_display_(self):
        from IPython.display import display

        if static():
            text = card([f"Draw. {self.question}", f"[a curve over {self.name}, from {self.ends[0]} to {self.ends[1]}]"])
            return display({"text/html": text, "text/plain": repr(self)}, raw=True)
        return super()._ipython_display_()


def sketch(key: str, question: str, places: Sequence, name: str, ends: tuple[str, str] = ("low", "high")) -> Sketch:
    """Ask for a curve over `places` (values of `name`), from `ends[0]` up to `ends[1]`."""
    return Sketch(key, question, places, name, ends)


def fitted(heights: Sequence[float], low: float, high: float, log: bool = False) -> list[float]:
    """Drawn heights on a measured axis from `low` to `high`: linear, or logarithmic.

    >>> fitted([0, 0.5, 1], 1, 100, log=True)
    [1.0, 10.0, 100.0]
    """
    return [float(low * (high / low) ** h) if log else float(low + h * (high - low)) for h in heights]
