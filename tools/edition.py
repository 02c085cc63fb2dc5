"""The learner's edition of the notebooks, laid into `my_notebooks/`: no outputs, lines to write, explanations folded.

    python -m tools.edition [FOLDER]        (what `make lab` does first)

What is only there to test the course is left out: bare `assert` statements (one with a comment says something,
and stays), and cells tagged "reading", which draw for the other edition what a widget draws here.

One source, two editions: `notebooks/` is executed and committed, for reading and for the tests; this one is for doing. A
notebook in which something was written is never overwritten; one that was only run, or not touched, follows the course.
"""

import ast
import copy
import hashlib
import json
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
LAID = ".laid.json"  # what was laid, by name, so that one can tell what was changed since
ASKS = re.compile(r"\w+ = (predict|sketch)\(")
FOLD = "<details><summary>Read on when you have guessed</summary>\n\n{}\n\n</details>"


def learner(nb):
    """A copy without outputs and test lines, with `...` for the lines to write; the explanations after an answer are folded
    until the next heading or question."""
    nb, answered = copy.deepcopy(nb), False
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = "" if "reading" in cell.metadata.get("tags", []) else to_write(cell.source)
            if ASKS.match(cell.source):  # the question shows itself; its code names the usual guess
                cell.metadata = nbformat.from_dict({"jupyter": {"source_hidden": True}})
            answered = (answered or ".reveal(" in cell.source) and "= predict(" not in cell.source
        elif cell.source.startswith("#"):
            answered = False
        elif answered:
            cell.metadata["fold"] = True
    nb.cells = [cell for cell in nb.cells if cell.cell_type != "code" or cell.source]
    for before, cell in zip(nb.cells, nb.cells[1:], strict=False):  # two in a row are one
        if before.metadata.get("fold") and cell.metadata.get("fold"):
            before.source, cell.source = "", f"{before.source}\n\n{cell.source}"
    nb.cells = [cell for cell in nb.cells if cell.source]
    for cell in nb.cells:
        if cell.metadata.pop("fold", False):
            cell.source = FOLD.format(cell.source)
    return nb


def to_write(source: str) -> str:
    """A cell with `...` in place of each line that `line(key, name)` checks, and without bare asserts.

    >>> print(to_write("# Your line: the scale\\ns = w.max() / 127\\ns = line('01.a', s)\\nassert s > 0"))
    # Your line: the scale
    s = ...
    s = line('01.a', s)
    """
    lines, body = source.split("\n"), ast.parse(source).body
    for before, here in reversed(list(zip([None, *body], body, strict=False))):
        first, last = here.lineno - 1, here.end_lineno
        if isinstance(here, ast.Assert) and "#" not in lines[last - 1]:
            lines[first:last] = []
        elif checked(here):
            if not isinstance(before, ast.Assign) or before.targets[0].id != here.targets[0].id:
                raise ValueError(f"what is checked is not written in the line before: {ast.unparse(here)}")
            lines[before.lineno - 1 : before.end_lineno] = [f"{here.targets[0].id} = ..."]
    return "\n".join(lines).strip("\n")


def checked(node: ast.stmt) -> bool:
    """Whether a statement is `name = line(key, name)`."""
    call = node.value if isinstance(node, ast.Assign) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "line"


def digest(nb) -> str:
    """What a notebook's cells say, outputs aside: running one changes nothing."""
    said = json.dumps([(cell.cell_type, cell.source) for cell in nb.cells])
    return hashlib.sha256(said.encode()).hexdigest()


def read(path: Path):
    """A notebook, or None for a file that is none (it is somebody's: left alone)."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception:  # nbformat raises many kinds
        return None


def lay(source: Path, into: Path) -> list[str]:
    """Lay every notebook of `source` into `into`. Returns a line for each that was written, or kept though a newer one is
    there."""
    into.mkdir(parents=True, exist_ok=True)
    record = into / LAID
    try:
        laid = json.loads(record.read_text())
    except (OSError, ValueError):
        laid = {}
    said = []
    for path in sorted(source.glob("*.ipynb")):
        new, here = learner(nbformat.read(path, as_version=4)), into / path.name
        old = read(here) if here.exists() else None
        mine = here.exists() and (old is None or digest(old) not in (laid.get(path.name), digest(new)))
        if mine:
            if laid.get(path.name) != digest(new):
                said.append(f"{here}: yours, and kept; the course's own has changed ({path})")
            continue
        if old is None or digest(old) != digest(new):
            nbformat.write(new, here)
            said.append(f"{here}: laid out for you")
        laid[path.name] = digest(new)
    record.write_text(json.dumps(laid, indent=1) + "\n")
    return said


if __name__ == "__main__":
    for line in lay(ROOT / "notebooks", Path(sys.argv[1]) if sys.argv[1:] else ROOT / "my_notebooks"):
        print(line)
