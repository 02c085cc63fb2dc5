"""What is seen only after a guess: a text, or a figure, behind a door that a prediction opens."""

import html
from collections.abc import Callable

from matplotlib.figure import Figure

from qcourse.study.widgets.explore import png

CARD = "border-left:4px solid #2b6cb0;padding:.4em .8em;margin:.3em 0;line-height:1.5"


def card(text: str) -> str:
    """Lines of text as HTML; code and tables keep their columns."""
    lines = html.escape(text).split("\n")
    more = f'<pre style="margin:.3em 0 0;white-space:pre-wrap">{chr(10).join(lines[1:])}</pre>' if lines[1:] else ""
    return f'<div style="{CARD}">{lines[0]}{more}</div>'


def show(text: str) -> None:
    """Display a text as a card, and as itself where there is no HTML."""
    from IPython.display import display

    display({"text/html": card(text), "text/plain": text}, raw=True)


class Behind:
    """Something that is seen only when a guess was made. `str()` of it says so, or is the text."""

    def __init__(self, prediction, make: Callable[[], Figure | str]):
        self.prediction, self.make = prediction, make

    def __str__(self) -> str:
        if not self.prediction.open:
            return f"your guess first ({self.prediction.key}): commit it above"
        what = self.make()
        return what if isinstance(what, str) else repr(what)

    __repr__ = __str__

    def _ipython_display_(self):
        from IPython.display import display

        try:
            import ipywidgets
        except ImportError:
            ipywidgets = None
        if self.prediction.open or ipywidgets is None:
            what = self.make() if self.prediction.open else str(self)
            return show(what) if isinstance(what, str) else display(what)
        box = ipywidgets.VBox([ipywidgets.HTML(card(str(self)))])

        def open_door() -> None:
            what = self.make()
            picture = isinstance(what, Figure)
            box.children = [ipywidgets.Image(value=png(what)) if picture else ipywidgets.HTML(card(what))]

        self.prediction.waiting.append(open_door)
        return display(box)
