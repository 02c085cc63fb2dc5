"""Asking an exercise in a notebook: its question, a field to answer in, what was wrong, and the model answer, folded.

    exercise("A1.2")                     # a number, a choice, or a few lines: type, commit, read what was wrong, try again
    exercise("A1.19", fake_int4)         # a function: run on fresh inputs

Answers are kept with the guesses, by key; the model answer waits for one, or for "Show me". In the edition for reading
nothing is asked, and each model answer stands folded below its question.
"""

import html
import secrets
from pathlib import Path

import torch

from qcourse.checks import show
from qcourse.checks.compare import difference
from qcourse.checks.watch import call
from qcourse.study.exercise import Choice, Exercise, Lines, Number, Program, judge
from qcourse.study.exercises import EXERCISES
from qcourse.study.widgets import guesses, static
from qcourse.study.widgets.predict import Prediction

CAPTURES, CASES = Path("..") / "captures", 5


class Answer(Prediction):
    """A question with its field. `value`: what was answered; `outcome` and `why`: what is known of it."""

    def __init__(self, asked: Exercise, captures: Path = CAPTURES):
        field = asked.field
        super().__init__(asked.key, asked.question, getattr(field, "unit", ""), getattr(field, "choices", ()))
        self.asked, self.captures = asked, Path(captures)
        self.outcome, self.why = ("not attempted", "") if self.value is None else verdict(asked, self.value)

    def read(self, text: str):
        """What was entered: a number, one of the choices, or lines. Raises ValueError for none of these."""
        if isinstance(self.asked.field, Program):
            raise ValueError(f"the function itself: exercise({self.key!r}, {self.asked.field.name})")
        if isinstance(self.asked.field, Lines):
            if not text.strip():
                raise ValueError("a few lines")
            return text.strip()
        return super().read(text)

    def keep(self, value) -> None:
        """Judge it, keep it, open what waits."""
        self.outcome, self.why = verdict(self.asked, value)
        super().keep(value)

    def said(self, value) -> str:
        """A value with its unit; lines by their first."""
        return f"{value.splitlines()[0][:40]} …" if isinstance(self.asked.field, Lines) else super().said(value)

    def answer(self) -> str:
        """The model answer. Raises what a missing capture raises."""
        return self.asked.answer(self.captures)

    def __repr__(self) -> str:
        lines = [f"{self.key} {self.asked.title}: {self.outcome}", self.asked.source, self.question]
        lines += [f"choices: {' | '.join(self.choices)}"] * bool(self.choices) + [self.why] * bool(self.why)
        return "\n".join([*lines, *(["", self.answer()] if self.open else [f'.commit("…"), then .answer() ({self.key})'])])

    def question_card(self) -> str:
        """The question as HTML."""
        head = f"{self.key} · {self.asked.title}"
        more = f"<ul>{''.join(f'<li>{html.escape(c)}</li>' for c in self.choices)}</ul>" if static() else ""
        about = f"<div style='font-size:85%'>{html.escape(self.asked.source)}</div>"
        asked = f"<div>{show.inline(self.question)}</div>{more}"
        return f"<div style='max-width:60em'><b>{html.escape(head)}</b>{about}{asked}</div>"

    def folded(self) -> str:
        """What is known of the answer, and, once the door is open, the model answer behind a fold."""
        told = show.paragraph("text", self.why) if self.why else ""
        if self.outcome != "not attempted":
            told = show.box(self.outcome, f"{self.key}: {self.outcome}", told)
        return told + (fold(self.asked, self.answer()) if self.open else "")

    def widget(self):
        """Question, field and what opens, or None when ipywidgets is not installed."""
        box = super().widget()
        if box is None:
            return None
        import ipywidgets

        label, entry, buttons = box.children
        label.value = self.question_card()
        if isinstance(self.asked.field, Program):  # it is answered in the cell
            buttons.children = buttons.children[1:]
        below = ipywidgets.HTML(self.folded())

        def tell() -> None:
            below.value = self.folded()

        self.waiting.append(tell)
        box.children = (label, *([] if isinstance(self.asked.field, Program) else [entry]), buttons, below)
        return box

    def _entry(self, ipywidgets):
        """A box for lines; a number's and a choice's are a prediction's."""
        if isinstance(self.asked.field, Lines):
            entry = ipywidgets.Textarea(value=self.value or "", placeholder="a few lines", rows=6, layout={"width": "40em"})
            return entry, lambda: entry.value
        entry, given = super()._entry(ipywidgets)
        if isinstance(self.asked.field, Number):
            entry.placeholder, entry.description = "your answer", self.unit or "answer"
        return entry, given

    def _ipython_display_(self):
        from IPython.display import display

        box = None if static() else self.widget()
        if box is not None:
            return display(box)
        return display({"text/html": self.question_card() + self.folded(), "text/plain": repr(self)}, raw=True)


def fold(asked: Exercise, text: str) -> str:
    """A model answer as a fold-out: sentences, then the code of a function; what a few lines should have named."""
    sentences, _, source = text.partition("\n\n")
    points = "".join(f"<li>{html.escape(p)}</li>" for p in getattr(asked.field, "points", ()))
    inside = show.paragraph("text", sentences) + (f"<ul>{points}</ul>" if points else "")
    inside += show.paragraph("code", source) if source else ""
    return f"<details><summary>Model answer</summary>{inside}</details>"


def verdict(asked: Exercise, value) -> tuple[str, str]:
    """(outcome, why) of a value; lines are compared by whoever wrote them."""
    if isinstance(asked.field, Number | Choice):
        outcome, why = judge(asked.field, value)
        return outcome, f"{why[:1].upper()}{why[1:]}." if why else ""
    return "not attempted", "Compare with the points below: which of them do your lines name?"


def try_program(field: Program, fn, seed: int) -> tuple[str, str]:
    """(outcome, why) of a function on fresh inputs: not attempted, raised, wrong with its reason, or right."""
    cases = [field.draw(torch.Generator().manual_seed(seed * 1009 + i)) for i in range(CASES)]
    calls = [call(fn, args) for args in cases]
    broken = next((c for c in calls if c.kind), None)
    if broken:
        return "raised", f"{broken.kind}: {broken.message}"
    if all(c.value is None or c.value is ... for c in calls):
        return "not attempted", "Write it in place of the `...`, and run the cell again."
    problems = [checked(field, args, c.value) for args, c in zip(cases, calls, strict=True)]
    if not any(problems):
        return "right", f"`{field.name}` holds on {CASES} random cases."
    for wrong, reason in field.wrong:
        if all(difference(c.value, wrong(*args), 1e-4, 1e-9) is None for args, c in zip(cases, calls, strict=True)):
            return "wrong", f"{reason[0].upper()}{reason[1:]}."
    problem = next(p for p in problems if p)
    return "wrong", f"{problem[0].upper()}{problem[1:]}. (seed {seed})"


def checked(field: Program, args: tuple, got) -> str | None:
    """What is wrong with a result; what is no tensor or number at all is said, too."""
    try:
        return field.verify(args, got)
    except (TypeError, ValueError, RuntimeError) as e:
        return f"a {type(got).__name__} came back ({e})"


def exercise(key: str, fn=None, captures: Path = CAPTURES, seed: int | None = None) -> Answer:
    """Ask an exercise, or try a function `fn` that answers it. Let it be the last line of a cell.

    Raises ValueError for a key that is none, and for a function where none is asked for.
    """
    if key not in EXERCISES:
        raise ValueError(f"no exercise {key!r}: there are {', '.join(EXERCISES)}")
    asked = Answer(EXERCISES[key], captures)
    if fn is None:
        return asked
    if not isinstance(asked.asked.field, Program):
        raise ValueError(f"exercise {key} asks for no function")
    if not static():
        asked.outcome, asked.why = try_program(asked.asked.field, fn, secrets.randbelow(10**6) if seed is None else seed)
        if asked.outcome in ("wrong", "right", "raised"):
            guesses.keep(key, task=asked.outcome)
        asked.shown = asked.shown or asked.outcome == "right"
    return asked
