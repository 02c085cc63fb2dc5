"""The learner's edition of the notebooks, laid into `my_notebooks/`: no outputs, and what explains an answer is folded.

    python -m tools.edition [FOLDER]        (what `make lab` does first)

One source, two editions: `notebooks/` is executed and committed, for reading and for the tests; this one is for doing. A
notebook in which something was written is never overwritten; one that was only run, or not touched, follows the course.
"""

import copy
import hashlib
import json
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
LAID = ".laid.json"  # what was laid, by name, so that one can tell what was changed since
FOLD = "<details><summary>Read on when you have guessed</summary>\n\n{}\n\n</details>"


def learner(nb):
    """A copy without outputs, in which the explanations after an answer are folded until the next heading or question."""
    nb, answered = copy.deepcopy(nb), False
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            answered = (answered or ".reveal(" in cell.source) and "= predict(" not in cell.source
        elif cell.source.startswith("#"):
            answered = False
        elif answered:
            cell.source = FOLD.format(cell.source)
    return nb


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
