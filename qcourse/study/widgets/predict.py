"""Predict before you measure: a guess that the notebook keeps, and later holds against the truth.

With ipywidgets it is a box to type in; without (or in a plain Python session) set `guess.value = 3.2` yourself.
"""

import math


class Prediction:
    """A question and the reader's guess. `value` is None until they commit themselves."""

    def __init__(self, question: str, unit: str = ""):
        self.question, self.unit = question, unit
        self.value: float | None = None

    def reveal(self, actual: float, how: str = "measured") -> str:
        """The guess beside the truth (`how`: "measured" or "computed"), and by what factor it was off. Never a score."""
        truth = f"{how}: {actual:.3g} {self.unit}".rstrip()
        if self.value is None:
            return f"{truth}   (you made no prediction: go back, guess, and run this cell again)"
        text = f"you said: {self.value:.3g} {self.unit}".rstrip() + f"   {truth}"
        if actual > 0 and self.value > 0:
            off = math.exp(abs(math.log(self.value / actual)))
            text += "   spot on" if off < 1.1 else f"   off by a factor of {off:.2g}"
        return text

    def __repr__(self) -> str:
        return f"{self.question}  [guess: {'none yet' if self.value is None else f'{self.value:g}'} {self.unit}]".replace(
            " ]", "]"
        )

    def _ipython_display_(self):
        from IPython.display import display

        box = self.widget()
        display(box) if box is not None else print(repr(self))

    def widget(self):
        """The box to type in, or None when ipywidgets is not installed."""
        try:
            import ipywidgets
        except ImportError:
            return None
        label = ipywidgets.HTML(f"<b>Predict.</b> {self.question}")
        entry = ipywidgets.Text(placeholder="your guess", description=self.unit, style={"description_width": "initial"})
        said = ipywidgets.HTML()

        def keep(change):
            try:
                self.value = float(change["new"].replace(",", "."))
                said.value = f"kept: {self.value:g} {self.unit}"
            except ValueError:
                said.value = "a number, please" if change["new"].strip() else ""

        entry.observe(keep, names="value")
        return ipywidgets.VBox([label, ipywidgets.HBox([entry, said])])


def predict(question: str, unit: str = "") -> Prediction:
    """Ask. Keep the result in a variable and let it be the last line of the cell, so that it is shown."""
    return Prediction(question, unit)
