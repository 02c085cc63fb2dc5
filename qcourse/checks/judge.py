"""judge(task, fn, seed): run every property, and when one fails, find the mistake that explains it.

A mistake is named when its program gives the student's outputs wherever they are wrong. Three degrees, the best one wins:
it explains every failing case and agrees on the passing ones; it explains every failing case; it explains the first
property that fails (two mistakes at once are told one after the other). Otherwise the difference has to speak for itself.
"""

import inspect
import re
import warnings
from dataclasses import dataclass

import numpy as np
import torch

from qcourse.checks.compare import describe, difference, plain, size, structure
from qcourse.checks.task import Mistake, Property, Result, Task
from qcourse.checks.watch import Call, call

REFUSALS = ("ValueError", "TypeError", "KeyError")  # an `expected` that raises one of these must be matched
GARBAGE = (TypeError, ValueError, AttributeError, IndexError, RuntimeError, ArithmeticError)  # of answers like 10**400
STOPS = ("TimeLimit", "Died")  # after these there is nothing more to run


@dataclass(frozen=True)
class Trial:
    """One case of one property: what was asked, what should come, what came, and what is wrong with it (None: nothing)."""

    prop: Property
    args: tuple
    expected: Call
    got: Call
    problem: str | None

    @property
    def size(self) -> int:
        """Numbers in the arguments: the smallest failing case is shown."""
        return size(self.args)


def judge(task: Task, fn, seed: int) -> Result:
    """Run the task's properties on `fn` with cases drawn from `seed`; the same seed gives the same cases.

    `fn` is a function or a remote proxy. Never raises for what `fn` does; an error in the task itself does raise.
    """
    if fn is None or fn is Ellipsis:
        return not_attempted(task, f"`{task.function}` is not there yet.")
    trials, left = [], task.seconds
    for index, prop in enumerate(task.properties):
        generator = torch.Generator().manual_seed(seed * 1009 + index)
        for args in prop.cases(generator):
            got = call(fn, args, left)
            left -= got.seconds
            if not trials and got.kind == "NotImplementedError" and got.message.startswith("lab "):
                return not_attempted(task, got.message)
            trials.append(Trial(prop, args, right := truth(task, args), got, problem(task, prop, args, right, got)))
            if got.kind in STOPS:
                return conclude(task, trials, seed)
    return conclude(task, trials, seed)


def not_attempted(task: Task, why: str) -> Result:
    """Zero, and what to do."""
    named = re.match(r"lab (\d\d\.\d+):", why)
    missing = named[1] if named else task.id
    text = f"Write `{task.function}` and run its cell."
    if missing != task.id:
        text = f"Your function calls that of task {missing}, which is not written yet: that one first."
    passed = {p.name: False for p in task.properties}
    return Result(task.id, "not attempted", passed, 0.0, None, f'{text} A nudge: hint("{missing}")')


def truth(task: Task, args: tuple) -> Call:
    """What `expected` gives; only a refusal may be raised by it."""
    right = call(task.expected, args, 60.0)
    if right.kind and right.kind not in REFUSALS:  # not by base class: a shape check's own error is no refusal
        raise RuntimeError(f"task {task.id}: `expected` raised {right.kind}: {right.message}")
    return right


def agree(task: Task, args: tuple, got: Call, other: Call) -> str | None:
    """None if two calls came to the same: equal values, or an error of the same kind. Otherwise what differs."""
    if other.kind:
        if got.kind is None:
            return f"this has to be refused with {other.kind} ({other.message}); your function returned instead"
        same = got.kind == other.kind or other.kind in got.bases
        return None if same else f"this has to be refused with {other.kind}; your function raised {got.kind}: {got.message}"
    if got.kind:
        return f"{got.kind}: {got.message}"
    try:
        value = plain(got.value)
        return compare(task, args, value, plain(other.value))
    except GARBAGE as garbage:
        return str(garbage) or type(garbage).__name__


def compare(task: Task, args: tuple, value, other) -> str | None:
    """Shapes, dtypes and kinds always; then the task's own `same`, or the difference under its tolerance."""
    where = task.returns[0] if len(task.returns) == 1 else "the result"
    names = task.returns if len(task.returns) > 1 else ()
    if task.same is None:
        return difference(value, other, task.rtol, task.atol, names, task.bits, where)
    return structure(value, other, names, where) or task.same(args, value, other)


def problem(task: Task, prop: Property, args: tuple, right: Call, got: Call) -> str | None:
    """What is wrong with one answer, or None."""
    if right.kind or got.kind or prop.verify is None:
        found = agree(task, args, got, right)
    else:
        try:
            value, names = plain(got.value), task.returns if len(task.returns) > 1 else ()
            found = structure(value, right.value, names) or prop.verify(args, value, plain(right.value))
        except GARBAGE as garbage:
            found = agree(task, args, got, right) or str(garbage)
    if found is None and got.modified is not None:
        return f"modified its input: `{name_of(task, got.modified)}` is not what it was before the call"
    return found


def name_of(task: Task, index: int) -> str:
    """The name of argument `index` in the task's signature."""
    names = list(inspect.signature(task.expected).parameters)
    return names[index] if index < len(names) else f"argument {index + 1}"


def diagnose(task: Task, trials: list[Trial]) -> tuple[Mistake | None, bool]:
    """The mistake that explains the failing cases, and whether it explains everything that was seen."""
    failing = [t for t in trials if t.problem]
    ranked = []
    for mistake, program in ((m, w) for m in task.mistakes for w in (m.wrong, *m.also)):
        outcome = {id(t): explains(task, program, t) for t in trials}
        if all(outcome[id(t)] for t in failing):
            ranked.append((0 if all(outcome.values()) else 1, mistake))
        elif all(outcome[id(t)] for t in failing if t.prop is failing[0].prop):
            ranked.append((2, mistake))
    best = min(ranked, key=lambda r: r[0], default=None)
    return (best[1], best[0] < 2) if best else (None, False)


def explains(task: Task, program, trial: Trial) -> bool:
    """Whether a mistake's program gives what the student's gave, and not merely what is right."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        made = call(program, trial.args, 10.0)
    if agree(task, trial.args, trial.got, made) is not None:
        return False
    return trial.problem is None or problem(task, trial.prop, trial.args, trial.expected, made) is not None


def conclude(task: Task, trials: list[Trial], seed: int) -> Result:
    """Score, outcome and message."""
    passed = {p.name: False for p in task.properties}
    for prop in task.properties:
        mine = [t for t in trials if t.prop is prop]
        passed[prop.name] = bool(mine) and not any(t.problem for t in mine)
    score = sum(p.weight for p in task.properties if passed[p.name]) / sum(p.weight for p in task.properties)
    failing = [t for t in trials if t.problem]
    if not failing:
        return Result(task.id, "right", passed, 1.0, None, f"`{task.function}` holds on {len(trials)} random cases.")
    stopped = trials[-1].got.kind in STOPS
    raised = stopped or bool(failing[0].got.kind) and not failing[0].expected.kind
    mistake, whole = (None, False) if stopped else diagnose(task, trials)
    shown = trials[-1] if stopped else failing[0] if raised else smallest(failing)
    parts = [error_text(task, shown.got) if raised else f"On “{shown.prop.name}”: {shown.problem}"]
    if shown.got.kind not in STOPS:
        parts.append(
            "with " + "\n     ".join(describe(n := name_of(task, i), a, n in task.words) for i, a in enumerate(shown.args))
        )
    if mistake:
        parts.append(f"{'This is' if whole else 'One thing to mend first'}: {mistake.name}.\n{mistake.hint}")
        parts.append(f"What it breaks: {mistake.invariant}")
    elif not raised:
        parts.append(f'None of the mistakes that we know: follow these numbers by hand. A nudge: hint("{task.id}")')
    parts.append(f"(seed {seed})")
    outcome = "raised" if raised else "wrong"
    return Result(task.id, outcome, passed, score, mistake.name if mistake else None, "\n\n".join(parts))


def smallest(failing: list[Trial]) -> Trial:
    """Of the first property that fails, the smallest wrong case; values before errors."""
    return min((t for t in failing if t.prop is failing[0].prop), key=lambda t: (t.got.kind is not None, t.size))


def error_text(task: Task, got: Call) -> str:
    """The student's own traceback, or why there is none."""
    if got.kind == "TimeLimit":
        where = f"\n{got.trace}" if got.trace else ""
        return f"Stopped: no answer within {task.seconds:g} s. Is there a loop that never ends?{where}"
    if got.kind == "Died":
        return f"The process that ran your function ended: {got.message or 'out of memory, perhaps'}"
    return f"{got.kind}: {got.message}" + (f"\n{got.trace}" if got.trace else "")
