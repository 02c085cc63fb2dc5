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
    """The same task, for one seed. Cases that an object draws are left to it: 08.3's race times each case once."""
    keep = [p if hasattr(p.cases, "__self__") else replace(p, cases=drawn_once(p.cases)) for p in task.properties]
    return replace(task, properties=tuple(keep))


@cache
def of_seed(task_id: str, seed: int) -> Task:
    """A task of TASKS whose cases of this seed are kept."""
    return remembered(TASKS[task_id])
