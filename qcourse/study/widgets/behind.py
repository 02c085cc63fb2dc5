"""What is seen only after a guess: texts, tables and figures behind a door that a prediction opens."""

import html
from collections.abc import Callable, Iterable

from qcourse.study.picture import Picture, Table
from qcourse.study.widgets import static

CARD = "border-left:4px solid #2b6cb0;padding:.4em .8em;margin:.3em 0;line-height:1.5"
Part = str | Table | Picture


def parts(what: Iterable) -> list[Part]:
    """A flat list of what is shown: lists of lines are lines."""
    return [part for w in what for part in (w if isinstance(w, list | tuple) else [w])]


def card(found: list[Part]) -> str:
    """As HTML: lines of text, tables as tables, figures as images."""
    pieces, lines = [], []

    def flush() -> None:
        if lines:
            pieces.append(f'<div style="margin:.3em 0 0;white-space:pre-wrap">{chr(10).join(lines)}</div>')
            lines.clear()

    for i, part in enumerate(found):
        if isinstance(part, str):
            first, *more = html.escape(part).split("\n")
            lines.extend(more if i == 0 else [first, *more])
            pieces += [f"<div>{first}</div>"] if i == 0 else []
        else:
            flush()
            pieces.append(part.html())
    flush()
    return f'<div style="{CARD}">{"".join(pieces)}</div>'


def show(found: list[Part]) -> None:
    """Display parts as a card, and as text where there is no HTML; a figure alone as itself."""
    from IPython.display import display

    if len(found) == 1 and isinstance(found[0], Picture):
        return display(found[0])
    if static():  # an image in a card could not be read by every viewer: the figures follow the card
        pictures = [p for p in found if isinstance(p, Picture)]
        found = [p for p in found if not isinstance(p, Picture)]
        display({"text/html": card(found), "text/plain": plain(found)}, raw=True)
        return display(*pictures) if pictures else None
    return display({"text/html": card(found), "text/plain": plain(found)}, raw=True)


def plain(found: list[Part]) -> str:
    """Parts as text; a figure by its alternative text."""
    return "\n".join(part.alt or repr(part) if isinstance(part, Picture) else str(part) for part in found)


class Behind:
    """Something that is seen only when a guess was made. `str()` of it says so, or is the text."""

    def __init__(self, prediction, make: Callable[[], list[Part]]):
        self.prediction, self.make = prediction, make

    def __str__(self) -> str:
        if not self.prediction.open:
            return f"your guess first ({self.prediction.key}): commit it above"
        return plain(self.make())

    __repr__ = __str__

    def _ipython_display_(self):
        from IPython.display import display

        try:
            import ipywidgets
        except ImportError:
            ipywidgets = None
        if self.prediction.open or ipywidgets is None:
            return show(self.make() if self.prediction.open else [str(self)])
        view = ipywidgets.HTML(card([str(self)]))

        def open_door() -> None:
            found = self.make()
            view.value = found[0].html() if len(found) == 1 and isinstance(found[0], Picture) else card(found)

        self.prediction.waiting.append(open_door)
        return display(view)
