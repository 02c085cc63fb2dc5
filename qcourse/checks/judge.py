"""judge(task, fn, seed): run every property on fresh cases; the points, the first difference, the mistake."""

import re

import torch

from qcourse.checks.borrowed import borrowing
from qcourse.checks.diagnose import diagnose
from qcourse.checks.result import Result
from qcourse.checks.task import Task
from qcourse.checks.trial import Trial, advice, name_of, problem, truth
from qcourse.checks.watch import Call, call
from qcourse.checks.written import describe, whole

STOPS = ("TimeLimit", "Died")  # after these there is nothing more to run


def judge(task: Task, fn, seed: int) -> Result:
    """Run the task's properties on `fn` with cases drawn from `seed`; the same seed gives the same cases.

    `fn` is a function, or a remote proxy (an object with `seconds`; its `uses`, if it has any, names the functions of the
    package that were entered over there). Never raises for what `fn` does; an error in the task itself does raise.
    """
    if fn is None or fn is Ellipsis:
        return not_attempted(task, f"`{task.function}` is not there yet.")
    trials, left, seen = [], task.seconds, []
    for index, prop in enumerate(task.properties):
        watched = fn if hasattr(fn, "seconds") else borrowing(fn, seen)  # the first case of each property is watched
        for args in prop.cases(generator(seed, index)):
            got = call(watched, args, left)
            watched, left = fn, left - got.seconds
            if not trials and got.kind == "NotImplementedError" and got.message.startswith("lab "):
                return not_attempted(task, got.message)
            right = truth(task, args)
            trials.append(Trial(prop, args, right, got, problem(task, prop, args, right, got)))
            if got.kind in STOPS:
                return conclude(task, trials, seed, uses(task, fn, seen))
    return conclude(task, trials, seed, uses(task, fn, seen))


def generator(seed: int, index: int) -> torch.Generator:
    """Where the cases of a task's property number `index` come from."""
    return torch.Generator().manual_seed(seed * 1009 + index)


def uses(task: Task, fn, seen: list[str]) -> tuple[str, ...]:
    """The package's functions that the answer entered, seen here or told by a proxy; none where a task wants them."""
    if task.borrows:
        return ()
    told = getattr(fn, "uses", ()) if hasattr(fn, "seconds") else ()
    told = [name for name in told if isinstance(name, str)] if isinstance(told, list | tuple) else []
    return tuple(sorted({*seen, *told}))


def not_attempted(task: Task, why: str) -> Result:
    """Zero, and what to do."""
    named = re.match(r"lab (\d\d\.\d+):", why)
    missing = named[1] if named else task.id
    text = f"Write `{task.function}` and run its cell."
    if missing != task.id:
        text = f"Your function calls that of task {missing}, which is not written yet: that one first."
    passed = {p.name: False for p in task.properties}
    problem = f'{text} A nudge: hint("{missing}")'
    return Result(task.id, task.function, "not attempted", passed, 0.0, task.points, problem=problem)


def scored(task: Task, trials: list[Trial]) -> tuple[dict[str, bool], float, tuple[str, ...]]:
    """Which properties hold, the share of the points, and the properties that hold but do not count.

    A refusal, or an answer that is given away, counts only beside a property whose answers have to be computed.
    """
    passed, telling = {}, set()
    for prop in task.properties:
        mine = [t for t in trials if t.prop is prop]
        passed[prop.name] = bool(mine) and not any(t.problem for t in mine)
        if any(t.telling for t in mine):
            telling.add(prop.name)
    if all(passed.values()):
        return passed, 1.0, ()
    held = [p for p in task.properties if passed[p.name]]
    if not any(p.name in telling for p in held):
        return passed, 0.0, tuple(p.name for p in held)
    return passed, sum(p.weight for p in held) / sum(p.weight for p in task.properties), ()


def conclude(task: Task, trials: list[Trial], seed: int, used: tuple[str, ...] = ()) -> Result:
    """Score, outcome, and the parts of the message."""
    passed, score, idle = scored(task, trials)
    start = {"task": task.id, "function": task.function, "passed": passed, "score": score, "points": task.points}
    start |= {"idle": idle, "uses": used, "seed": seed, "cases": len(trials)}
    failing = [t for t in trials if t.problem]
    if not failing:
        return Result(outcome="right", **start)
    stopped = trials[-1].got.kind in STOPS
    raised = stopped or bool(failing[0].got.kind) and not failing[0].expected.kind
    mistake, sure = (None, False) if stopped else diagnose(task, trials)
    shown = trials[-1] if stopped else failing[0] if raised else smallest(failing)
    if stopped:
        start |= {"problem": why_stopped(task, shown.got), "trace": shown.got.trace}
    else:
        start |= {"inputs": written(task, shown.args), "whole": all(map(whole, shown.args))}
        if raised:
            start |= {"error": f"{shown.got.kind}: {shown.got.message}", "trace": shown.got.trace}
        else:
            none = any(t.expected.kind is None and t.expected.value is None for t in trials)
            start |= {"problem": f"On “{shown.prop.name}”: {shown.problem}", "advice": advice(task, shown, none)}
    if mistake:
        start |= {"mistake": mistake.name, "hint": mistake.hint, "invariant": mistake.invariant, "sure": sure}
    return Result(outcome="raised" if raised else "wrong", **start)


def written(task: Task, args: tuple) -> str:
    """The arguments, one below the other."""
    lines = (describe(n := name_of(task, i), a, n in task.words) for i, a in enumerate(args))
    return "with " + "\n".join(lines).replace("\n", "\n     ")


def smallest(failing: list[Trial]) -> Trial:
    """Of the first property that fails, the smallest wrong case; values before errors."""
    return min((t for t in failing if t.prop is failing[0].prop), key=lambda t: (t.got.kind is not None, t.size))


def why_stopped(task: Task, got: Call) -> str:
    """Why there is no answer at all."""
    if got.kind == "TimeLimit":
        return f"Stopped: no answer within {task.seconds:g} s. Is there a loop that never ends?"
    return f"The process that ran your function ended: {got.message or 'out of memory, perhaps'}"
