"""A figure with sliders: it follows while one drags, at the pace that the kernel can keep."""

import asyncio
from collections.abc import Callable

from qcourse.study.picture import Picture
from qcourse.study.widgets import controls, static


class Explorer:
    """`draw(**values)` → Picture, redrawn whenever a slider moves. `set(name=value)` moves a slider from code."""

    def __init__(self, draw: Callable[..., Picture], choices: dict[str, list]):
        self.draw, self.choices = draw, choices
        self.values = {name: options[0] for name, options in choices.items()}
        self.figure = draw(**self.values)
        self.sliders, self.image, self.due = {}, None, None

    def set(self, **values) -> "Explorer":
        """Move sliders. Raises ValueError for a value that the slider does not have."""
        for name, value in values.items():
            if value not in self.choices.get(name, []):
                raise ValueError(f"{name}={value!r}: choices are {self.choices.get(name)}")
            self.values[name] = value
            if name in self.sliders:
                self.sliders[name].at = sorted(self.choices[name]).index(value)
        self.redraw()
        return self

    def soon(self) -> None:
        """Redraw once the moves that have arrived are read, however many they are: the picture follows a dragging hand, and
        a slow kernel or network shows the last position instead of a queue of old ones."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel
            return self.redraw()
        if self.due is None:
            self.due = loop.call_later(0.03, self.redraw)

    def redraw(self) -> None:
        """Draw for the current values."""
        self.due = None
        self.figure = self.draw(**self.values)
        if self.image is not None:
            self.image.value = self.figure.html()

    def move(self, name: str, value) -> None:
        """What a slider does: keep the value, and draw soon."""
        self.values[name] = value
        self.soon()

    def widget(self):
        """Sliders above the picture, or None when ipywidgets or anywidget is not installed."""
        try:
            import ipywidgets

            self.image = ipywidgets.HTML(self.figure.html())
            for name, choices in self.choices.items():
                options = sorted(choices)
                self.sliders[name] = controls.slider(
                    name,
                    [f"{option:g}" if isinstance(option, float) else str(option) for option in options],
                    options.index(self.values[name]),
                    lambda at, name=name, options=options: self.move(name, options[at]),
                )
        except ImportError:
            return None
        return ipywidgets.VBox([*self.sliders.values(), self.image])

    def _ipython_display_(self):
        from IPython.display import display

        box = None if static() else self.widget()
        display(box if box is not None else self.figure)


def explore(draw: Callable[..., Picture], **choices: list) -> Explorer:
    """`explore(draw, bits=[4, 2, 3, 8])`: one slider a keyword, its first choice shown first.

    >>> explore(lambda bits: Picture(), bits=[4, 8]).set(bits=8).values
    {'bits': 8}
    """
    return Explorer(draw, choices)
