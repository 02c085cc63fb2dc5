"""A notebook file as data: its code cells, its lab, and what is odd about it. Written for files that nobody vouches for."""

import json
import re
from collections import Counter
from dataclasses import dataclass

ASKED = re.compile(r"""\b(?:check|hint|solution)\(\s*["'](\d\d)\.\d+["']""")
NAMED = re.compile(r"(?:^|[^0-9])(\d\d)_[a-z]")


class NotANotebook(ValueError):
    """Why a file cannot be graded, in a sentence for its student."""


@dataclass(frozen=True)
class Notebook:
    """`cells`: the code cells' code, in order; `lab`: "01", or None if nothing says; `notes`: what a teacher should know."""

    cells: list[str]
    lab: str | None
    notes: list[str]


def parse(data: bytes, name: str) -> Notebook:
    """Read a notebook, nbformat 3 or 4. Raises NotANotebook, with a reason, for anything that is not one; nothing else."""
    try:
        tree = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise NotANotebook(f"not a notebook: byte {e.start} is not UTF-8") from None
    except (ValueError, RecursionError) as e:
        start = "it is empty" if not data.strip() else f"it is not JSON ({str(e)[:100]})"
        raise NotANotebook(f"not a notebook: {start}") from None
    found = _cells(tree)
    metadata = tree.get("metadata") if isinstance(tree.get("metadata"), dict) else {}
    cells = [_source(c) for c in found if isinstance(c, dict) and c.get("cell_type") == "code"]
    return Notebook(cells, _lab(metadata, cells, name), _notes(metadata, found))


def _cells(tree) -> list:
    if not isinstance(tree, dict):
        raise NotANotebook(f"not a notebook: its JSON is a {type(tree).__name__}")
    if isinstance(tree.get("cells"), list):
        return tree["cells"]
    sheets = tree.get("worksheets")  # nbformat 3
    if isinstance(sheets, list) and all(isinstance(s, dict) and isinstance(s.get("cells"), list) for s in sheets):
        return [cell for sheet in sheets for cell in sheet["cells"]]
    raise NotANotebook("not a notebook: it has no cells")


def _source(cell: dict) -> str:
    source = cell.get("source", cell.get("input", ""))
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _lab(metadata: dict, cells: list[str], name: str) -> str | None:
    """By the course's own metadata, else by the tasks its cells check, else by the file's name."""
    own = metadata.get("qcourse")
    if isinstance(own, dict) and re.fullmatch(r"\d\d", str(own.get("lab"))):
        return str(own["lab"])
    asked = Counter(lab for cell in cells for lab in ASKED.findall(cell))
    if asked:
        return asked.most_common(1)[0][0]
    found = NAMED.search(name.lower())
    return found[1] if found else None


def _notes(metadata: dict, cells: list) -> list[str]:
    notes = []
    kernel, language = metadata.get("kernelspec"), metadata.get("language_info")
    names = [str(m.get(k, "")) for m in (kernel, language) if isinstance(m, dict) for k in ("name", "language", "version")]
    if any(n.lower() in ("python2", "python 2") or re.match(r"2\.\d", n) for n in names):
        notes.append("a Python 2 notebook; the course runs Python 3")
    ids = Counter(
        c["metadata"]["nbgrader"].get("grade_id")
        for c in cells
        if isinstance(c, dict) and isinstance(c.get("metadata"), dict) and isinstance(c["metadata"].get("nbgrader"), dict)
    )
    twice = sorted(str(name) for name, n in ids.items() if n > 1)
    if twice:
        notes.append(f"cells occur twice ({', '.join(twice)[:200]}); the last definition of a function counts")
    return notes
