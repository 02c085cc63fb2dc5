"""One source for each lab: `solutions/NN_name.py` → what a student gets and what a teacher keeps. `make labs`.

The source is py:percent (`# %% [markdown]`, `# %%`). Between `### BEGIN SOLUTION` and `### END SOLUTION` stands what the
student is to write; in the starter it becomes `raise NotImplementedError("lab 03.2: write this")`, at the same indent.

    solutions/NN_name.py  →  labs/NN_name.ipynb        the starter, not executed; a changed one is never overwritten
                             solutions/NN_name.ipynb   the solved lab, executed
"""

import re
from pathlib import Path

import nbformat

from tools.notebooks import ROOT, execute

BEGIN, END, LONGEST = "### BEGIN SOLUTION", "### END SOLUTION", 15


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


def notebook(source: str):
    """A py:percent source as an unexecuted notebook with stable cell ids."""
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    nb = nbformat.v4.new_notebook(cells=[make[kind](text) for kind, text in cells(source)])
    for i, cell in enumerate(nb.cells):
        cell.id = f"c{i:03d}"
    nb.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nb


def build(source: Path, labs: Path, run: bool = True) -> str:
    """Write the starter and the executed solution of one lab; returns what happened to the starter."""
    text, lab = source.read_text(), source.name[:2]
    plain = text.replace(BEGIN, "").replace(END, "")
    starter, target = nbformat.writes(notebook(strip(text, lab))), labs / f"{source.stem}.ipynb"
    if run:
        solved = source.with_suffix(".ipynb")
        nbformat.write(notebook(re.sub(r"(?m)^\s*\n(?=\s*\n)", "", plain)), solved)
        execute(solved)
    if target.exists() and target.read_text() != starter:
        return f"{target.name}: kept as it is (changed, or made from another version; delete it to get a fresh one)"
    labs.mkdir(exist_ok=True)
    target.write_text(starter)
    return f"{target.name}: written"


def main() -> None:
    """Build every lab of solutions/."""
    sources = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.py"))
    if not sources:
        print("no labs yet: solutions/ holds no NN_name.py")
    for source in sources:
        print(build(source, ROOT / "labs"))


if __name__ == "__main__":
    main()
