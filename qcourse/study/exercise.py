"""What an exercise is: a question, a field to answer in, what is usually answered instead, and a model answer.

Nothing that an answer says is typed: `right` and the usual wrong answers are computed when they are asked for, and a model
answer is a text with places, which `numbers(captures)` fills from the package and from the captures that it cites.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qcourse.study.measured import read_capture

KINDS = {"warm-up": "by hand", "core": "explain and trace", "build": "a function", "design": "a decision"}
Computed = Callable[[], float]


@dataclass(frozen=True)
class Number:
    """A number in `unit`, right within `rtol`. `wrong`: (what is usually computed instead, why not)."""

    unit: str
    right: Computed
    wrong: tuple[tuple[Computed, str], ...]
    rtol: float = 0.01


@dataclass(frozen=True)
class Choice:
    """The `right` one, or one of `wrong` with the reason why not; shown in the order of the alphabet."""

    right: str
    wrong: dict[str, str]

    @property
    def choices(self) -> tuple[str, ...]:
        """All of them, in an order that says nothing."""
        return tuple(sorted((self.right, *self.wrong)))


@dataclass(frozen=True)
class Lines:
    """A few lines, compared by their writer with `points`: what a complete answer names."""

    points: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A function. `draw(generator)`: arguments, fresh each time; `verify(args, got)`: None, or what is wrong.

    wrong: (a function that is usually written, why not). The text of `solution` is the end of the model answer.
    """

    name: str
    draw: Callable
    verify: Callable
    solution: Callable
    wrong: tuple[tuple[Callable, str], ...]


@dataclass(frozen=True)
class Exercise:
    """One exercise. taught: notebook and § · invariant: 1 … 6, as numbered in notebook 00 · model: 3 to 8 sentences,
    with places that `numbers(captures)` fills · cites: the captures they come from · guide: what the guide that the course
    started from asks there, in a few words; "" for the course's own."""

    key: str
    kind: str
    title: str
    question: str
    taught: tuple[str, ...]
    invariant: int
    field: Number | Choice | Lines | Program
    model: str
    numbers: Callable[[Path], dict]
    cites: tuple[str, ...] = ()
    guide: str = ""

    @property
    def source(self) -> str:
        """Where it was taught, and which invariant it stands on."""
        return f"{self.kind} · notebook {', '.join(self.taught)} · invariant {self.invariant}"

    def answer(self, captures: Path) -> str:
        """The model answer, its numbers computed now. Raises FileNotFoundError or ValueError for a capture that is none."""
        return self.model.format(**self.numbers(Path(captures)))


def results(captures: Path, name: str) -> dict:
    """What a capture of an experiment holds, by its file's name without ending. Raises what `read_capture` raises."""
    return read_capture(Path(captures) / f"{name}.json")["results"]


def judge(field: Number | Choice, value: float | str) -> tuple[str, str]:
    """("right" or "wrong", the reason) of a number or a choice.

    Raises ValueError for a field of another kind, and for a choice that is none.
    """
    if isinstance(field, Choice):
        if value not in field.choices:
            raise ValueError(f"{value!r} is none of the choices: {', '.join(field.choices)}")
        return ("right", "") if value == field.right else ("wrong", field.wrong[value])
    if not isinstance(field, Number):
        raise ValueError(f"a {type(field).__name__} is not judged by a value: a Number or a Choice is")
    if math.isclose(value, right := field.right(), rel_tol=field.rtol):
        return "right", ""
    for wrong, reason in field.wrong:
        if math.isclose(value, wrong(), rel_tol=field.rtol):
            return "wrong", reason
    side = "more" if value < right else "less"
    return "wrong", f"not one of the usual slips; it is {side} than that"


def code(fn: Callable) -> str:
    """The source of a function that this package holds."""
    return inspect.getsource(fn)
