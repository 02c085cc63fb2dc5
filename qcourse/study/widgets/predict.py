"""Predict before you measure: a guess is committed first, and only then is the answer shown.

    faster = predict("00.3", "How many times faster is int4?", "times", usual=(3.9, "the ratio of the bytes"))
    faster                                # the question: a box to type in, or buttons for choices
    faster.reveal(measured, "details")    # waits for the guess, then: the answer, how far off, the usual wrong guess
    faster.then(figure)                   # a figure, table or text that would give the answer away, behind the same door

A guess is kept on disk by its key (`guesses`). Without ipywidgets, `faster.commit("3")` and `faster.show()` do the same.
With QCOURSE_STATIC set (the edition for reading, and nbval) nothing is asked and everything is shown.
"""

import html
import math
from collections.abc import Callable

from qcourse.study.plots import short
from qcourse.study.widgets import controls, guesses, static
from qcourse.study.widgets.behind import Behind, Part, card, parts, show


class Prediction:
    """A question and the reader's guess: `value` is a number, one of `choices`, or None until they commit themselves."""

    def __init__(self, key: str, question: str, unit: str = "", choices: tuple[str, ...] = (), usual: tuple | None = None):
        self.key, self.question, self.unit, self.choices, self.usual = key, question, unit, tuple(choices), usual
        known = {"shown": True} if static() else guesses.read_all().get(key, {})
        self.value, self.shown = known.get("value"), bool(known.get("shown"))
        self.waiting: list[Callable[[], None]] = []  # doors that open with the guess

    @property
    def open(self) -> bool:
        """Whether the answer may be seen: a guess was made, or the answer was asked for."""
        return self.value is not None or self.shown

    def read(self, text: str):
        """What was entered, as a value. Raises ValueError for what is no number, or none of the choices."""
        if self.choices and text not in self.choices:
            raise ValueError(f"one of {', '.join(self.choices)}")
        return text if self.choices else guesses.read_guess(text, self.unit)

    def commit(self, entered) -> None:
        """Keep a guess and open what waits for it. Raises ValueError for what cannot be read."""
        self.keep(self.read(entered))

    def keep(self, value) -> None:
        """Keep a value, on disk too, and open what waits for it."""
        self.value = value
        guesses.keep(self.key, value=value)
        self._open()

    def show(self) -> None:
        """Give up guessing: open what waits. It is remembered as such."""
        self.shown = True
        guesses.keep(self.key, shown=True)
        self._open()

    def _open(self) -> None:
        for door in self.waiting:
            door()

    def said(self, value) -> str:
        """A value with its unit."""
        return f"{value if isinstance(value, str) else short(value)} {self.unit}".rstrip()

    def verdict(self, actual, how: str = "measured") -> str:
        """The truth, the guess beside it and by what factor it was off, and the usual wrong guess. Never a score."""
        text = f"{how}: {self.said(actual)}"
        if self.value is not None:
            text = f"you said {self.said(self.value)}; {text}{distance(self.value, actual)}"
        if self.usual is not None and not static() and self.value != actual:
            text += f". The usual guess is {self.said(self.usual[0])}: {self.usual[1]}"
        return text

    def reveal(self, actual, *details: Part | list[str], how: str = "measured") -> Behind:
        """The verdict and `details` (lines, lists of lines, tables, figures), once the guess is made. Let it be the cell's
        last line."""
        return Behind(self, lambda: [self.verdict(actual, how), *parts(details)])

    def then(self, *what: Part) -> Behind:
        """A figure, table or text that would give the answer away, once the guess is made."""
        return Behind(self, lambda: parts(what))

    def __repr__(self) -> str:
        guess = "none yet" if self.value is None else self.said(self.value)
        return f"{self.question}  [guess: {guess}]"

    def widget(self):
        """The question with what is needed to answer it, or None when ipywidgets is not installed."""
        try:
            import anywidget  # noqa: F401 (its radio groups)
            import ipywidgets
        except ImportError:
            return None
        label = ipywidgets.HTML(card([f"Predict. {self.question}"]))
        told = ipywidgets.HTML()
        entry, given = self._entry(ipywidgets)
        commit, show = (ipywidgets.Button(description=d, tooltip=t) for d, t in (
            ("Commit", "keep this guess, then see the answer"), ("Show me", "see the answer without a guess")))  # fmt: skip

        def tell(text: str) -> None:
            told.value = f'<span role="status">{html.escape(text)}</span>'

        def state() -> None:
            without = "shown without a guess" if self.shown else ""
            tell(without if self.value is None else f"kept: {self.said(self.value)}")

        def keep(_) -> None:
            try:
                value = self.read(given())
            except ValueError as e:
                return tell(f"please: {e}")
            self.keep(value)

        commit.on_click(keep)
        show.on_click(lambda _: self.show())
        self.waiting.append(state)
        state()
        return ipywidgets.VBox([label, entry, ipywidgets.HBox([commit, show, told])])

    def _entry(self, ipywidgets):
        """A box for a number, or a group for choices; and what reads it."""
        if self.choices:
            at = self.choices.index(self.value) if self.value in self.choices else None
            entry = controls.radio("your guess", list(self.choices), at, lambda at: None)
            return entry, lambda: "" if entry.at is None else self.choices[entry.at]
        kept, wide = "" if self.value is None else f"{self.value:g}", {"description_width": "initial"}
        entry = ipywidgets.Text(value=kept, placeholder="your guess", description=self.unit or "guess", style=wide)
        return entry, lambda: entry.value

    def _ipython_display_(self):
        from IPython.display import display

        box = None if static() else self.widget()
        if box is not None:
            return display(box)
        return show([f"Predict. {self.question}  [{self.unit or 'your guess'}]"]) if static() else print(repr(self))


def distance(guess, actual) -> str:
    """How far a guess was off, in words."""
    if isinstance(actual, str) or isinstance(guess, str):
        return "; right" if guess == actual else "; not so"
    if actual > 0 and guess > 0:
        off = math.exp(abs(math.log(guess / actual)))
        return "; spot on" if off < 1.1 else f"; off by a factor of {off:.2g}"
    return "; spot on" if guess == actual else "; the other sign" if guess * actual < 0 else ""


def predict(
    key: str, question: str, unit: str = "", choices: tuple[str, ...] = (), usual: tuple | None = None
) -> Prediction:
    """Ask. `key`: notebook and number ("00.3"); `usual`: the usual wrong guess and what leads to it. Keep the result in a
    variable and let it be the last line of the cell, so that it is shown."""
    return Prediction(key, question, unit, choices, usual)
