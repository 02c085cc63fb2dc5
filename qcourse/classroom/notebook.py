"""A notebook file as data: its code cells, its lab, and what is odd about it. Written for files that nobody vouches for.

Any type may stand anywhere in the JSON. What is not a notebook is refused with a reason; what is odd is noted.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass

ASKED = re.compile(r"""\b(?:check|hint|solution)\(\s*["'](\d\d)\.\d+["']""", re.ASCII)
NAMED = re.compile(r"(?:^|[^0-9])(\d\d)_[a-z]", re.ASCII)
MOST_VALUES = 1_000_000  # lists and dicts in one file; a million of them take some 100 MB once they are read
OTHERS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x1f\x8b", "gzip"), (b"PK", "zip"), (b"%PDF", "PDF"))


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
        tree = _tree(data)
        found = _cells(tree)
        metadata = tree.get("metadata") if isinstance(tree.get("metadata"), dict) else {}
        sources = [_source(c) for c in found if isinstance(c, dict) and c.get("cell_type") == "code"]
        cells = ["" if s is None else s for s in sources]
        notes = _notes(metadata, found)
    except NotANotebook:
        raise
    except Exception as e:  # whatever is not foreseen above costs this file, not the class
        raise NotANotebook(f"not a notebook: it cannot be read ({type(e).__name__}: {str(e)[:100]})") from None
    if (odd := sources.count(None) + sum(not isinstance(c, dict) for c in found)) > 0:
        notes.append(f"{odd} cells hold no code that could be read")
    return Notebook(cells, _lab(metadata, cells, name), notes)


def _tree(data: bytes):
    """The JSON, whatever it holds; numbers of any length are read."""
    if data.count(b"{") + data.count(b"[") > MOST_VALUES:
        raise NotANotebook(f"not a notebook: more than {MOST_VALUES:,} values in it")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_int=float)
    except UnicodeDecodeError as e:
        kind = next((f"it is {kind}, not UTF-8" for mark, kind in OTHERS if data.startswith(mark)), None)
        raise NotANotebook(f"not a notebook: {kind or f'byte {e.start} is not UTF-8'}") from None
    except (ValueError, RecursionError, MemoryError) as e:
        start = "it is empty" if not data.strip() else f"it is not JSON ({str(e)[:100] or type(e).__name__})"
        raise NotANotebook(f"not a notebook: {start}") from None


def _cells(tree) -> list:
    if not isinstance(tree, dict):
        kind = {list: "list", str: "text", float: "number", bool: "truth value"}.get(type(tree), "null")
        raise NotANotebook(f"not a notebook: its JSON is a {kind}")
    if isinstance(tree.get("cells"), list):
        return tree["cells"]
    sheets = tree.get("worksheets")  # nbformat 3
    if isinstance(sheets, list) and all(isinstance(s, dict) and isinstance(s.get("cells"), list) for s in sheets):
        return [cell for sheet in sheets for cell in sheet["cells"]]
    raise NotANotebook("not a notebook: it has no cells")


def _source(cell: dict) -> str | None:
    """Its code; None if that is neither a text nor a list of texts."""
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        return "".join(source)
    return source if isinstance(source, str) else None


def _lab(metadata: dict, cells: list[str], name: str) -> str | None:
    """By the course's own metadata, else by the tasks its cells check, else by the file's name."""
    own = metadata.get("qcourse")
    said = own.get("lab") if isinstance(own, dict) else None
    if isinstance(said, str) and re.fullmatch(r"[0-9]{2}", said):
        return said
    asked = Counter(lab for cell in cells for lab in ASKED.findall(cell))
    if asked:
        return asked.most_common(1)[0][0]
    found = NAMED.search(name.lower())
    return found[1] if found else None


def _notes(metadata: dict, cells: list) -> list[str]:
    notes = []
    kernel, language = metadata.get("kernelspec"), metadata.get("language_info")
    known = [m.get(k) for m in (kernel, language) if isinstance(m, dict) for k in ("name", "language", "version")]
    if any(n.lower() in ("python2", "python 2") or re.match(r"2\.\d", n) for n in known if isinstance(n, str)):
        notes.append("a Python 2 notebook; the course runs Python 3")
    marks = [c["metadata"].get("nbgrader") for c in cells if isinstance(c, dict) and isinstance(c.get("metadata"), dict)]
    ids = Counter(m["grade_id"] for m in marks if isinstance(m, dict) and isinstance(m.get("grade_id"), str))
    twice = sorted(name for name, n in ids.items() if n > 1)
    if twice:
        notes.append(f"cells occur twice ({', '.join(twice)[:200]}); the last definition of a function counts")
    return notes
