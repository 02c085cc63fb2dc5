"""The nouns of a check: a Task has properties that must hold and mistakes that are known.

A lab is one module `labNN` (a file or a folder) of this package with a tuple `TASKS`; it is imported when first asked for.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

PATIENT: ContextVar[int | None] = ContextVar("the patient of this student", default=None)
OUTCOMES = ("not attempted", "raised", "wrong", "right")


@contextmanager
def assigning(number: int | None) -> Iterator[None]:
    """For the time of a check: the number that this student's patient must have (lab 13); None, any."""
    before = PATIENT.set(number)
    try:
        yield
    finally:
        PATIENT.reset(before)


class Refuse(ValueError):
    """Raised by a task's `expected` where the student's function has to raise ValueError. Any other error there is ours."""


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer, as a small program `wrong` that gives it, and what to say to whoever gives it.

    `hint`: two or three sentences; names the misconception, asks the question that undoes it, never the line to write.
    `invariant`: what it breaks. `also`: other programs of the same misconception, whose outputs differ a little.
    """

    name: str
    wrong: Callable
    hint: str
    invariant: str
    also: tuple[Callable, ...] = ()


@dataclass(frozen=True)
class Property:
    """Something that must hold on every case. `cases(generator)` draws argument tuples, fresh for each seed.

    `weight`: its share of the task's points. `verify(args, got, expected)`: None, or a sentence saying what is wrong; left
    out, the task's own comparison with `expected(*args)` decides. `edge`: its answers could be given without computing
    anything (none, 0, the largest allowed); like a refusal, it earns points only if a property that is not holds too.
    """

    name: str
    cases: Callable
    weight: int = 1
    verify: Callable | None = None
    edge: bool = False


@dataclass(frozen=True)
class Task:
    """One function that the student writes. Plain data goes in and out: tensors, arrays, numbers, text, and tuples of them.

    `expected` is a second implementation; where it raises `Refuse`, the student's must raise ValueError.
    `returns` names the outputs and `bits` (4, 8, 32) shows integers as bits in a difference;
    `words` names the arguments that are shown in hexadecimal. `same(args, got, other)`: None,
    or how two answers differ, for tasks that leave some freedom (shapes and dtypes are compared before it, unless the form
    is `free`); left out, values agree within |got − other| ≤ atol + rtol·|other|. `seconds` is the student's time
    for the whole check. `borrows`: an answer is made with the package, and nothing is said of that.
    """

    id: str
    function: str
    title: str
    points: int
    expected: Callable
    properties: tuple[Property, ...]
    mistakes: tuple[Mistake, ...]
    hint: str
    rtol: float = 0.0
    atol: float = 0.0
    returns: tuple[str, ...] = ()
    bits: int = 0
    words: tuple[str, ...] = ()
    same: Callable | None = None
    free: bool = False
    borrows: bool = False
    seconds: float = 3.0


class Registry(Mapping):
    """`TASKS["01.2"]`: every task by its id. A lab's module is imported when one of its tasks is asked for."""

    def __init__(self, folder: Path, package: str):
        self.package = package
        self.labs = tuple(sorted(p.stem[3:] for p in folder.glob("lab[0-9][0-9]*") if p.stem[3:].isdigit()))

    def lab(self, number: str) -> tuple[Task, ...]:
        """The tasks of lab "01", in order. Raises ValueError naming the labs that exist."""
        if number not in self.labs:
            raise ValueError(f"lab {number!r}: there is {', '.join(self.labs)}")
        return import_module(f"{self.package}.lab{number}").TASKS

    def __getitem__(self, task_id: str) -> Task:
        """Raises ValueError naming the nearest task that exists."""
        known = self.lab(task_id[:2]) if isinstance(task_id, str) and task_id[:2] in self.labs else ()
        for task in known:
            if task.id == task_id:
                return task
        every = list(self)
        near = difflib.get_close_matches(str(task_id), every, 3, 0.0)
        raise ValueError(f"no task {task_id!r}; did you mean {', '.join(sorted(near))}? (known: {', '.join(every)})")

    def __iter__(self) -> Iterator[str]:
        return (task.id for number in self.labs for task in self.lab(number))

    def __len__(self) -> int:
        return sum(len(self.lab(number)) for number in self.labs)


TASKS = Registry(Path(__file__).parent, __package__)
