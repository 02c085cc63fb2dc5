"""Nothing is earned by an answer that computes nothing: a constant, an argument, a refusal."""

from dataclasses import replace

import pytest
import torch
from remembered import remembered

from qcourse.checks.judge import judge
from qcourse.checks.task import TASKS

CONSTANTS = (0, 1, -1, None, True, float("nan"), "", [], (0, 0), (1, 1), (0.0, 1.0), (None, None), "bf16", torch.zeros(4))
IDS = [task_id for task_id in TASKS if task_id[:2] in ("03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13")]


def refuse(error):
    """Raises for every input."""

    def answer(*args):
        raise error("no")

    return answer


def given(index: int, what):
    """Something of one argument; an answer that fails where there is no such thing."""
    return lambda *args: what(args[index])


PARTS = (lambda a: a, lambda a: a[0], lambda a: a[-1], lambda a: a[0]["name"], lambda a: a[-1]["name"], lambda a: a - 1)
ANSWERS = [
    *(lambda *args, value=value: value for value in CONSTANTS),
    *(refuse(error) for error in (ValueError, TypeError, KeyError)),
    *(given(index, what) for index in range(5) for what in PARTS),
    lambda *args: args[:2],
    lambda *args: torch.zeros_like(args[0]),
]


@pytest.mark.parametrize("task_id", IDS)
def test_an_answer_that_computes_nothing_earns_nothing(task_id):
    task = remembered(replace(TASKS[task_id], mistakes=()))  # no mistake is to be named here, which takes most of the time
    for answer in ANSWERS:
        result = judge(task, answer, 0)
        assert result.score == 0, result
