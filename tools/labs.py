"""One source for each lab: `solutions/NN_name.py` → what a student gets and what a teacher keeps. `make labs`.

The source is py:percent (`# %% [markdown]`, `# %%`). Between `### BEGIN SOLUTION` and `### END SOLUTION` stands what the
student is to write; in the starter it becomes `raise NotImplementedError("lab 03.2: write this")`, at the same indent.

    solutions/NN_name.py  →  qcourse/study/starters/NN_name.ipynb   the starter, pristine: `qcourse reset` copies it
                             labs/NN_name.ipynb        the same, to be worked in; a changed one is never overwritten
                             solutions/NN_name.ipynb   the solved lab, executed

    python -m tools.labs              build all              python -m tools.labs 01     build one
    python -m tools.labs --check      build nothing, say what is not what its source builds

The starter carries nbgrader's metadata: its `check(...)` cells are locked and graded. Cells to write carry none: what
nbgrader calls a solution cell it empties when the assignment is generated, signature and docstring too.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from tools.notebooks import ROOT, execute

BEGIN, END, LONGEST = "### BEGIN SOLUTION", "### END SOLUTION", 15
STARTERS = ROOT / "qcourse" / "checks" / "starters"


def cells(source: str) -> list[tuple[str, str]]:
    """(kind, text) of each cell of a py:percent file; kind is "markdown" or "code"."""
    found = []
    for block in re.split(r"(?m)^# %%", source)[1:]:
        head, _, body = block.partition("\n")
        kind = "markdown" if "[markdown]" in head else "code"
        lines = [re.sub(r"^# ?", "", line) for line in body.splitlines()] if kind == "markdown" else body.splitlines()
        found.append((kind, "\n".join(lines).strip("\n")))
    return found


def strip(source: str, lab: str) -> str:
    """The source without solutions. Raises ValueError naming the line of a nested, unclosed or over-long region."""
    out, start, task = [], None, 0
    for number, line in enumerate(source.splitlines(), 1):
        if BEGIN in line:
            if start is not None:
                raise ValueError(f"lab {lab}, line {number}: a solution region inside another (begun in line {start})")
            start, task = number, task + 1
            indent = line[: len(line) - len(line.lstrip())]
            out.append(f'{indent}raise NotImplementedError("lab {lab}.{task}: write this")')
        elif END in line:
            if start is None or number - start - 1 > LONGEST:
                raise ValueError(f"lab {lab}, line {number}: END without BEGIN, or more than {LONGEST} lines to write")
            start = None
        elif start is None:
            out.append(line)
    if start is not None:
        raise ValueError(f"lab {lab}, line {start}: this solution region is never closed")
    return "\n".join(out) + "\n"


def solve(source: str) -> str:
    """The source with its solutions, without the markers."""
    return "\n".join(line for line in source.splitlines() if BEGIN not in line and END not in line) + "\n"


def notebook(source: str):
    """A py:percent source as an unexecuted notebook with stable cell ids."""
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    nb = nbformat.v4.new_notebook(cells=[make[kind](text) for kind, text in cells(source)])
    for i, cell in enumerate(nb.cells):
        cell.id = f"c{i:03d}"
    nb.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nb


def points(lab: str) -> dict[str, int]:
    """The points of a lab's tasks; none for a lab without checks (as in the tests of this builder)."""
    from qcourse.checks.task import TASKS

    return {task.id: task.points for task in TASKS.lab(lab)} if lab in TASKS.labs else {}


def starter(source: str, lab: str) -> str:
    """The notebook, as text, that a student begins with."""
    nb, worth = notebook(strip(source, lab)), points(lab)
    nb.metadata["qcourse"] = {"lab": lab}
    for cell in (c for c in nb.cells if c.cell_type == "code"):
        asked = re.match(rf'check\("{lab}\.(\d+)"', cell.source)
        if asked:
            cell.metadata["nbgrader"] = mark(f"lab{lab}-{asked[1]}-check", worth.get(f"{lab}.{asked[1]}", 1))
    return nbformat.writes(nb) + "\n"


def mark(grade_id: str, worth: int) -> dict:
    """nbgrader's metadata, schema 3, for a check: graded by itself, locked."""
    kind = {"solution": False, "grade": True, "locked": True, "task": False}
    return {"schema_version": 3, "grade_id": grade_id, "points": worth} | kind


def build(source: Path, labs: Path, run: bool = True, starters: Path | None = None) -> str:
    """Write starter, pristine copy and executed solution of one lab; returns what happened to the starter."""
    text, lab = source.read_text(encoding="utf-8"), source.name[:2]
    fresh, target = starter(text, lab), labs / f"{source.stem}.ipynb"
    pristine = starters / target.name if starters else None
    before = pristine.read_text(encoding="utf-8") if pristine and pristine.exists() else None
    if run:
        solved = source.with_suffix(".ipynb")
        nbformat.write(notebook(solve(text)), solved)
        execute(solved)
    if pristine:
        starters.mkdir(exist_ok=True)
        pristine.write_text(fresh, encoding="utf-8")
    if target.exists() and target.read_text(encoding="utf-8") not in (fresh, before):
        return f"{target.name}: kept as it is, for somebody has worked in it (`qcourse reset {lab}` gives a fresh one)"
    labs.mkdir(exist_ok=True)
    target.write_text(fresh, encoding="utf-8")
    return f"{target.name}: written"


def stale(source: Path, *copies: Path) -> list[str]:
    """What is not what the source builds, one sentence each: the starters in the folders `copies`, and the solved notebook.

    Nothing is executed: of the solved notebook the cells are compared.
    """
    text, name = source.read_text(encoding="utf-8"), f"{source.stem}.ipynb"
    fresh, found = starter(text, source.name[:2]), []
    for path in (folder / name for folder in copies):
        if not path.exists() or path.read_text(encoding="utf-8") != fresh:
            found.append(f"{path.parent.name}/{name} is not what {source.name} builds: run make labs")
    solved = source.with_suffix(".ipynb")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / name
        nbformat.write(notebook(solve(text)), built)
        command = [sys.executable, "-m", "ruff", "format", "--isolated", "--quiet", "--line-length=100", str(built)]
        subprocess.run(command, check=True)
        wanted = [c.source for c in nbformat.read(built, as_version=4).cells]
    if not solved.exists() or [c.source for c in nbformat.read(solved, as_version=4).cells] != wanted:
        found.append(f"{solved.parent.name}/{name} is not what {source.name} builds: run make labs")
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labs", nargs="*", help="numbers, such as 01; all without")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    sources = [s for s in sorted((ROOT / "solutions").glob("[0-9][0-9]_*.py")) if not args.labs or s.name[:2] in args.labs]
    if not sources:
        print("no labs: solutions/ holds no NN_name.py")
    bad = []
    for source in sources:
        if args.check:
            bad += stale(source, STARTERS, ROOT / "labs")
        else:
            print(build(source, ROOT / "labs", starters=STARTERS), flush=True)
    print("\n".join(bad) if bad else "every lab is what its source builds" if args.check else "")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
