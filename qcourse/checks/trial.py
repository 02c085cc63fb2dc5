"""One case of one property: asked, answered, compared; and what kind of wrong an answer is."""

import inspect
from dataclasses import dataclass

import torch

from qcourse.checks.compare import GARBAGE, difference, plain, structure
from qcourse.checks.task import Property, Task
from qcourse.checks.watch import Call, call
from qcourse.checks.written import size
from qcourse.shapes import Tensor

TABLE = "Kinds, shapes and dtypes come before values: compare them with what the task's table says about the result."


@dataclass(frozen=True, eq=False)
class Trial:
    """What was asked, what should come, what came, and what is wrong with it (None: nothing)."""

    prop: Property
    args: tuple
    expected: Call
    got: Call
    problem: str | None

    @property
    def size(self) -> int:
        """Numbers in the arguments: the smallest failing case is shown."""
        return size(self.args)

    @property
    def telling(self) -> bool:
        """Whether the right answer has to be computed: no refusal, and nothing that is given away."""
        return not (self.prop.edge or self.expected.kind or given_away(self.expected.value, self.args))


def truth(task: Task, args: tuple) -> Call:
    """What `expected` gives. Raises RuntimeError if it raises anything but a `Refuse`: that is the task's own error."""
    right = call(task.expected, args, 60.0)
    if right.kind and not right.refusal:
        raise RuntimeError(f"task {task.id}: `expected` raised {right.kind}: {right.message}")
    return right


def given_away(value, args: tuple) -> bool:
    """None, yes or no, 0, 1, nothing but zeros, or one of the arguments: answers that need no thought."""
    if isinstance(value, tuple):
        return all(given_away(v, args) for v in value)
    if isinstance(value, torch.Tensor):
        return not value.any()
    if value is None or isinstance(value, bool) or value in (0, 1, -1, ""):
        return True
    return any(type(a) in (int, float, str) and a == value for a in args)


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
        return compare(task, args, plain(got.value), plain(other.value))
    except GARBAGE as garbage:
        return str(garbage) or type(garbage).__name__


def compare(task: Task, args: tuple, value, other) -> str | None:
    """Shapes, dtypes and kinds, unless the form is free; then the task's `same`, or the difference under its tolerance."""
    where = task.returns[0] if len(task.returns) == 1 else "the result"
    names = task.returns if len(task.returns) > 1 else ()
    if task.same is None:
        return difference(value, other, task.rtol, task.atol, names, task.bits, where)
    return (None if task.free else structure(value, other, names, where)) or task.same(args, value, other)


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
        return f"your function modified its input: `{name_of(task, got.modified)}` is not what it was before the call"
    return found


def name_of(task: Task, index: int) -> str:
    """The name of argument `index` in the task's signature."""
    names = list(inspect.signature(task.expected).parameters)
    return names[index] if index < len(names) else f"argument {index + 1}"


def advice(task: Task, trial: Trial, none_is_legal: bool) -> str:
    """A sentence for answers that are wrong in kind (nothing returned, dtype, shape, changed input); else nothing."""
    got, right = trial.got, trial.expected
    if right.kind or got.kind or task.free and got.value is not None:
        return ""
    if got.value is None and not none_is_legal:
        return "Nothing came back: did you forget `return`?"
    try:
        value, other = plain(got.value), plain(right.value)
        if agree(task, trial.args, got, right) is None:
            changed = "An operation whose name ends in _, a += or an assignment to a slice writes into what it was given."
            return changed if got.modified is not None else ""
        if structure(value, other) is None:
            return ""
        recast = as_expected(value, other, lambda t, o: cast(t, o) if t.shape == o.shape else None)
        if recast is not None and same(task, trial, recast):
            return "Shape and values are right: only the dtype is not."
        moved = as_expected(value, other, lambda t, o: cast(t.reshape(o.shape), o) if t.numel() == o.numel() else None)
        if moved is not None and same(task, trial, moved):
            return "The values are right, in another shape."
        return TABLE
    except GARBAGE:
        return TABLE if got.modified is None else ""


def same(task: Task, trial: Trial, value) -> bool:
    """Whether a value would have been right."""
    return problem(task, trial.prop, trial.args, trial.expected, Call(value)) is None


def cast(value: Tensor, other: Tensor) -> Tensor | None:
    """`value` in the other's dtype, unless that would drop an imaginary part."""
    return None if value.is_complex() and not other.is_complex() else value.to(other.dtype)


def as_expected(value, other, turn):
    """`value` with each tensor turned by `turn(tensor, expected)`; None where that gives None or the kinds differ."""
    if isinstance(other, tuple) and isinstance(value, tuple) and len(value) == len(other):
        made = tuple(as_expected(v, o, turn) for v, o in zip(value, other, strict=True))
        return None if any(m is None for m in made) else made
    if isinstance(other, torch.Tensor) and isinstance(value, torch.Tensor):
        return turn(value, other)
    return value if not isinstance(other, tuple | torch.Tensor) else None
