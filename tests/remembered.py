"""A task whose cases are drawn once: for tests that ask it of many answers."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from qcourse.checks.task import TASKS, Task


def drawn_once(cases: Callable) -> Callable:
    """The cases of the first generator, whatever others come: `judge` hands out copies, and one seed is asked for here."""
    kept: list = []

    def again(g):
        if not kept:
            kept.extend(cases(g))
        return kept

    return again


def remembered(task: Task) -> Task:
    """The same task, for one seed."""
    return replace(task, properties=tuple(replace(p, cases=drawn_once(p.cases)) for p in task.properties))


@cache
def of_seed(task_id: str, seed: int) -> Task:
    """A task of TASKS whose cases of this seed are kept."""
    return remembered(TASKS[task_id])
