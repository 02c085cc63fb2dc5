"""The mutation proof: each task's known mistakes, made again in student's code, and what the check says to them.

    python -m tools.mutants          print the table: task × mutants × alternatives

A file `tests/mutants/labNN.py` lists `MUTANTS` and `ALTERNATIVES`: edits of the solution's text, or whole functions as a
student might write them; they share nothing with the programs that the checks know. `tests/test_mutants.py` runs every one.
"""

import ast
import importlib.util
import linecache
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qcourse.checks.judge import judge
from qcourse.checks.result import Result
from qcourse.checks.task import TASKS, Task
from tools.labs import strip
from tools.notebooks import ROOT

PRELUDE = "import math\nimport numpy as np\nimport torch\n"


@dataclass(frozen=True)
class Mutant:
    """A wrong answer to `task`, to be recognised as `mistake` with that outcome; None: the difference alone is told.

    Either `edits`, pairs (old, new) applied to the solution's function (each old occurs there once), or `code`, whole.
    """

    task: str
    mistake: str | None
    edits: tuple[tuple[str, str], ...] = ()
    code: str = ""
    outcome: str = "wrong"


@dataclass(frozen=True)
class Alternative:
    """Another right answer to `task`: numpy, a loop, another rounding of ties. `edits` or `code` as in Mutant."""

    task: str
    name: str
    edits: tuple[tuple[str, str], ...] = ()
    code: str = ""


def changed(code: str, *edits: tuple[str, str]) -> str:
    """A function's text with edits. Raises ValueError when one does not fit exactly once."""
    for old, new in edits:
        if code.count(old) != 1:
            raise ValueError(f"{old!r} occurs {code.count(old)} times in {code}")
        code = code.replace(old, new)
    return code


def mutants_of(task: str) -> Callable[..., Mutant]:
    """mutant(mistake, edits): the solution of a task edited; with `code`, that other answer edited."""

    def mutant(mistake: str | None, edits: tuple = (), code: str = "", outcome: str = "wrong") -> Mutant:
        if code:
            return Mutant(task, mistake, code=changed(code, *edits), outcome=outcome)
        return Mutant(task, mistake, edits, outcome=outcome)

    return mutant


def mutants_by_edits(task: str) -> Callable[..., Mutant]:
    """The same, its edits one behind the other: mutant(mistake, *edits)."""
    made = mutants_of(task)
    return lambda mistake, *edits, code="", outcome="wrong": made(mistake, edits, code, outcome)


def source_of(lab: str) -> str:
    """The hand-written source of lab "01"."""
    return next((ROOT / "solutions").glob(f"{lab}_*.py")).read_text(encoding="utf-8")


def functions(source: str, name: str = "<student>") -> dict:
    """The names that the imports, constants and functions of a source define; its other statements are not run."""
    tree = ast.parse(source)
    keep = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    tree.body = [n for n in tree.body if isinstance(n, keep) or isinstance(n, ast.Assign) and is_constant(n.value)]
    namespace = {"__name__": "student"}
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    exec(compile(tree, name, "exec"), namespace)  # the course's own files
    return namespace


def is_constant(node: ast.AST) -> bool:
    """Whether an expression is a literal: 7, "x", (0, 2)."""
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def edited(task_id: str, item: Mutant | Alternative):
    """The function that a mutant or an alternative describes. Raises ValueError when an edit does not fit exactly once."""
    name, source = TASKS[task_id].function, source_of(task_id[:2])
    if item.code:
        return functions(PRELUDE + item.code)[name]
    node = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name)
    lines = source.splitlines(True)
    before, body, after = lines[: node.lineno - 1], lines[node.lineno - 1 : node.end_lineno], lines[node.end_lineno :]
    try:
        text = changed("".join(body), *item.edits)
    except ValueError as e:
        raise ValueError(f"{task_id}, {name}: {e}") from None
    return functions("".join(before) + text + "".join(after))[name]


def solution_of(task_id: str):
    """The function as the solution has it."""
    return functions(source_of(task_id[:2]))[TASKS[task_id].function]


def starter_of(task_id: str):
    """The function as the untouched starter has it."""
    return functions(strip(source_of(task_id[:2]), task_id[:2]))[TASKS[task_id].function]


def run(item: Mutant | Alternative, seed: int, task: Task | None = None) -> Result:
    """What the check says; like `check`, it leaves out the warnings of the answer itself (np.matrix has some). task: the
    item's own, if somebody has it at hand with its cases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judge(task or TASKS[item.task], edited(item.task, item), seed)


def listed() -> tuple[list[Mutant], list[Alternative]]:
    """Every mutant and alternative of tests/mutants/."""
    mutants, alternatives = [], []
    for path in sorted((ROOT / "tests" / "mutants").glob("lab*.py")):
        module = load(path)
        mutants += module.MUTANTS
        alternatives += module.ALTERNATIVES
    return mutants, alternatives


def load(path: Path):
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(f"mutants_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(seed: int = 0, run=run) -> str:
    """One line a task: how many mutants are recognised by their own hint, how many alternatives are right. `run`: another
    source of the same results."""
    mutants, alternatives = listed()
    rows = ["| task | function | mutants recognised | alternatives right |", "|---|---|---|---|"]
    total = [0, 0, 0, 0]
    ids = [task_id for task_id in TASKS if task_id[:2] in {x.task[:2] for x in mutants}]
    for task_id in ids:
        m = [run(x, seed).mistake == x.mistake for x in mutants if x.task == task_id]
        a = [run(x, seed).outcome == "right" for x in alternatives if x.task == task_id]
        counts = [sum(m), len(m), sum(a), len(a)]
        total = [x + y for x, y in zip(total, counts, strict=True)]
        rows.append("| {} | {} | {} of {} | {} of {} |".format(task_id, TASKS[task_id].function, *counts))
    return "\n".join([*rows, "| all | {} tasks | {} of {} | {} of {} |".format(len(ids), *total)])


if __name__ == "__main__":
    print(table())
