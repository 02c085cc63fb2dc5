"""Which known mistake gives the student's answers: named only on evidence that no other explanation has.

A mistake's program has to return the student's wrong values somewhere (two calls that both raised prove nothing), and must
agree wherever the student's value was right: who passed where the program fails does not make that mistake. A program
that explains all that is wrong, when no other mistake's does, is the answer. One that explains the first property that
fails is one thing to mend first.
"""

import warnings

import numpy as np

from qcourse.checks.task import Mistake, Task
from qcourse.checks.trial import Trial, agree, problem
from qcourse.checks.watch import call


def diagnose(task: Task, trials: list[Trial]) -> tuple[Mistake | None, bool]:
    """The mistake that explains the failing cases, and whether it explains everything that was seen and no other does."""
    failing = [t for t in trials if t.problem]
    values = [t for t in failing if t.got.kind is None]
    if not values:
        return None, False
    first = [t for t in failing if t.prop is values[0].prop]
    rest = [t for t in failing if t.prop is not first[0].prop]
    passing = sorted((t for t in trials if not t.problem and t.expected.kind is None), key=lambda t: t.size)
    ranked = []
    for mistake in task.mistakes:
        found = [r for program in (mistake.wrong, *mistake.also) if (r := rank(task, program, first, rest, passing))]
        if found:
            ranked.append((max(found), mistake))
    if not ranked:
        return None, False
    best = max(degree for degree, _ in ranked)
    named = [mistake for degree, mistake in ranked if degree == best]
    return named[0], best == 2 and len(named) == 1


def rank(task: Task, program, first: list[Trial], rest: list[Trial], passing: list[Trial]) -> int:
    """2: the program explains everything; 1: the first property that fails, and it agrees where the student passed; 0."""
    seen = [explains(task, program, t) for t in first]
    if not all(seen) or "values" not in seen:
        return 0
    if not all(explains(task, program, t) for t in passing):
        return 0
    return 2 if all(explains(task, program, t) for t in rest) else 1


def explains(task: Task, program, trial: Trial) -> str | None:
    """How a mistake's program gives what the student's gave: "values", "error", or None if it does not.

    Where the student was wrong, the program must be wrong too, and not merely agree within a tolerance.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        made = call(program, trial.args, 10.0)
    if agree(task, trial.args, trial.got, made) is not None:
        return None
    if trial.problem and problem(task, trial.prop, trial.args, trial.expected, made) is None:
        return None
    return "error" if made.kind else "values"
