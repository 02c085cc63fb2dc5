"""What a student types: check, hint, solution; and when_done, with which a lab closes."""

import re
import secrets
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import qcourse
from qcourse.checks.judge import judge
from qcourse.checks.result import Result
from qcourse.checks.show import Code, Note
from qcourse.checks.task import TASKS
from qcourse.study.widgets import guesses, in_notebook

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def check(task_id: str, fn=None, seed: int | None = None) -> Result:
    """Try `fn` on fresh random inputs; the result displays itself. `seed` (shown with a wrong answer) repeats a run.

    Raises ValueError for an unknown task, TypeError when `fn` is not a function. Never for a wrong answer.
    """
    task = TASKS[task_id]
    if fn is not None and fn is not Ellipsis and not callable(fn):
        raise TypeError(
            f'check("{task.id}", {task.function}) takes the function itself; this is a {type(fn).__name__}. '
            "Leave out the brackets behind its name."
        )
    with warnings.catch_warnings():  # of the student's divisions by zero, say: the result tells them more
        warnings.simplefilter("ignore")
        result = judge(task, fn, secrets.randbelow(1_000_000) if seed is None else seed)
    if in_notebook() and result.outcome != "not attempted":
        guesses.keep(f"lab {task.id}", task=result.outcome)  # for the map and `qcourse progress`
    return result


def hint(task_id: str, level: int = 1) -> Note:
    """Help with a task, a little more each time it is asked for: 1 a nudge, 2 the idea, 3 the first line.

    Raises ValueError for an unknown task or level.
    """
    task = TASKS[task_id]
    idea, first_line = hints_of(task.id)
    if level == 3:
        return Code(f"# {task.id} {task.function} begins, for example, with\n{first_line}")
    if level not in (1, 2):
        raise ValueError(f"hint level {level!r}: 1 is a nudge, 2 the idea, 3 the first line")
    more = "the idea" if level == 1 else "the first line"
    return Note(
        f'{task.id} {task.function}. {(task.hint, idea)[level - 1]} (Still stuck? `hint("{task.id}", {level + 1})`: {more}.)'
    )


def hints_of(task_id: str) -> tuple[str, str]:
    """(the idea, the first line) of a task, from its lab's `hints`."""
    return import_module(f"qcourse.checks.lab{task_id[:2]}.hints").HINTS[task_id]


def solution(task_id: str, folder: Path | None = None) -> Note:
    """One way to write a task, from the course's own `solutions/` (or `folder`); a kind word where they are withheld."""
    task = TASKS[task_id]
    folder = Path(qcourse.__file__).parents[1] / "solutions" if folder is None else Path(folder)
    sources = sorted(folder.glob(f"{task.id[:2]}_*.py"))
    if not sources:
        return Note(
            f"The solutions are not part of this copy of the course; whoever handed it to you keeps them. "
            f'hint("{task.id}") is always there, and check("{task.id}", {task.function}) names the mistake.'
        )
    return Code(region(sources[0].read_text(encoding="utf-8"), int(task.id[3:])))


def when_done(draw: Callable):
    """`draw()`, what closes a lab; while a function of the lab is missing, a kind word naming its task."""
    try:
        return draw()
    except NotImplementedError as missing:
        found = re.match(r"lab (\d\d\.\d+):", str(missing))
        if found is None:
            raise
        return Note(f"Finish task {found[1]} first (`{TASKS[found[1]].function}`): this cell runs on your own functions.")


def region(source: str, number: int) -> str:
    """The `number`-th solution region with the def above it. Raises ValueError if the source has fewer."""
    lines = source.splitlines()
    begins = [i for i, line in enumerate(lines) if BEGIN in line]
    if number > len(begins):
        raise ValueError(f"the source has {len(begins)} solutions, not {number}")
    begin = begins[number - 1]
    end = next(i for i in range(begin, len(lines)) if END in lines[i])
    top = next((i for i in range(begin, -1, -1) if lines[i].startswith("def ")), begin)
    return "\n".join(line for line in lines[top:end] if BEGIN not in line)
