"""docs/glossary.md: every word of the course, from `qcourse.study.glossary`.

python -m tools.glossary        (tests/study/test_glossary.py compares)
"""

from itertools import groupby
from pathlib import Path

from qcourse.study.glossary import GLOSSARY, Term

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "glossary.md"
INTRO = """\
# The glossary

Written by `python -m tools.glossary`. Each word with the place where the course explains it first, and with what others
call it. In a notebook, after `from qcourse.study.glossary import glossary`, the same entry is `glossary("zero point")`.
Letters: a weight is W (N, K), an activation x (M, K), a layer y = x Wᵀ; q is a code, s a scale, z a zero point, and ŵ what w
comes back as.
"""


def place(where: str) -> str:
    """A notebook and section, as a link to the notebook."""
    (path,) = (ROOT / "notebooks").glob(f"{where.split()[0]}_*.ipynb")
    return f"[{where}](../notebooks/{path.name})"


def initial(term: Term) -> str:
    """The letter under which a term stands; "Greek" for α."""
    return term.name[0].upper() if term.name[0].isascii() else "Greek"


def document() -> str:
    """The whole page, in the order of the alphabet."""
    parts = [INTRO]
    for letter, terms in groupby(GLOSSARY.values(), initial):
        parts += [f"## {letter}\n", "\n".join(f"- {term.line(place(term.where))}" for term in terms) + "\n"]
    return "\n".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(f"{DOCUMENT.relative_to(ROOT)}: {len(GLOSSARY)} words")
