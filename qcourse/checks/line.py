"""Lines that the learner writes in a notebook: the line that is the idea, checked at once, never a reason to stop.

    s = ...               # what the learner's edition shows; the one for reading has the line itself
    s = line("01.a", s)   # a small card; `s` is then right in any case, so that whatever follows runs

A row of `lines/nbNN.py` holds the line as source, and those that people write instead with the reason why not. All are
evaluated on the notebook's own names: a check compares values, so any way of writing the line is right. In the edition for
reading, and under nbval, each row is proven where it stands: its line passes, each wrong one is told its own reason.
"""

import sys
import warnings
from dataclasses import dataclass
from html import escape
from importlib import import_module

import torch

from qcourse.checks import show
from qcourse.checks.compare import difference
from qcourse.study.widgets import guesses, in_notebook, static

ON = "What follows goes on with the course's own line."


@dataclass(frozen=True)
class Line:
    """`name = right`, as source. `wrong`: what people write instead → why it is not so. Values agree within `rtol`.

    measured: the values come from a clock, so that a wrong line may give the right value by chance.
    dtype: the dtype is part of the answer; elsewhere a number is a number.
    """

    name: str
    right: str
    wrong: dict[str, str]
    rtol: float = 1e-4
    measured: bool = False
    dtype: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a card says: `outcome` as in the labs, `why` in a sentence."""

    key: str
    row: Line
    outcome: str
    why: str

    @property
    def headline(self) -> str:
        """01.a s: right."""
        return f"{self.key} {self.row.name}: {self.outcome}"

    def __repr__(self) -> str:
        return "\n".join([self.headline, *([f"{self.why} {ON}"] if self.why else [])])

    def _repr_html_(self) -> str:
        asked = ""
        if self.outcome != "right":
            code = f"<code>{escape(f'{self.row.name} = {self.row.right}')}</code>"
            asked = f"<details><summary>Show the line</summary>{code}</details>"
        why = show.paragraph("text", f"{self.why} {ON}") if self.why else ""
        return show.box(self.outcome, self.headline, why + asked)


def rows(notebook: str) -> dict[str, Line]:
    """The lines of a notebook ("01") by key. Raises ValueError for a notebook that has none."""
    try:
        return import_module(f"qcourse.checks.lines.nb{notebook}").LINES
    except ModuleNotFoundError:
        raise ValueError(f"no notebook {notebook!r} with lines to write") from None


def evaluate(source: str, names: dict):
    """The value of an expression on a notebook's names (a copy of them: nothing is defined there)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(source, dict(names))


def apart(got, expected, row: Line) -> str | None:
    """None, or where two values first differ. Whole numbers may be of any dtype, and a number a tensor without axes."""
    if not row.dtype:
        got, expected = (v.item() if isinstance(v, torch.Tensor) and v.dim() == 0 else v for v in (got, expected))
        both = isinstance(got, torch.Tensor) and isinstance(expected, torch.Tensor)
        if both and got.dtype != expected.dtype and torch.equal(got.double(), got.to(expected.dtype).double()):
            got = got.to(expected.dtype)
    return difference(got, expected, row.rtol, 1e-12, where=row.name)


def judge(key: str, row: Line, value, names: dict) -> Verdict:
    """The verdict on a value: not attempted, right, a known wrong line with its reason, or where it differs."""
    if value is ...:
        return Verdict(key, row, "not attempted", "Write it in place of the `...` above, and run the cell again.")
    found = apart(value, evaluate(row.right, names), row)
    if found is None:
        return Verdict(key, row, "right", "")
    for wrong, reason in row.wrong.items():
        if apart(value, evaluate(wrong, names), row) is None:
            first = reason[0].upper() if reason[0].isascii() else reason[0]  # a capital α looks like an A
            return Verdict(key, row, "wrong", f"{first}{reason[1:]}.")
    return Verdict(key, row, "wrong", f"Not one of the usual slips: {found}.")


def prove(key: str, row: Line, value, names: dict) -> None:
    """Raise AssertionError unless the row is right where it stands."""
    assert judge(key, row, value, names).outcome == "right", f"{key}: {judge(key, row, value, names)}"
    for wrong, reason in () if row.measured else row.wrong.items():
        verdict = judge(key, row, evaluate(wrong, names), names)
        assert verdict.why[1:-1] == reason[1:], f"{key}: {wrong} is told: {verdict}"


def line(key: str, value):
    """Check a line that was written: show the card, and return `value` if it is right, else what the line would give.

    Raises ValueError for a key that no notebook has.
    """
    row, names = rows(key[:2]).get(key), sys._getframe(1).f_globals
    if row is None:
        raise ValueError(f"no line {key!r}: there is {', '.join(rows(key[:2]))}")
    if static():
        prove(key, row, value, names)
        return value
    verdict = judge(key, row, value, names)
    if verdict.outcome != "not attempted":
        guesses.keep(key, line=verdict.outcome)
    display(verdict)
    return value if verdict.outcome == "right" else evaluate(row.right, names)


def display(verdict: Verdict) -> None:
    """As a card in a notebook, as text elsewhere."""
    if not in_notebook():
        return print(verdict)
    from IPython.display import display as publish

    return publish(verdict)
