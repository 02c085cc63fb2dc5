"""Every word of the course, explained once.

    glossary("zero point")       what it says, where it is met, what others call it; the nearest names of an unknown word
    terms_in(text)               the terms that a text uses
    missing_in(text)             the technical words of a text that no entry explains

A technical word is one with two capitals or more, or with letters and digits (GPTQ, E4M3, bf16), and a bold phrase that is
no sentence, question or label. Names that need no entry stand in `glossary_exempt`, each with its reason. docs/glossary.md
is written from here: `python -m tools.glossary`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qcourse.options import did_you_mean
from qcourse.study.glossary_exempt import NAMES, STRESSED
from qcourse.study.glossary_files import FILES
from qcourse.study.glossary_kernels import KERNELS
from qcourse.study.glossary_methods import METHODS
from qcourse.study.glossary_models import MODELS
from qcourse.study.glossary_numbers import NUMBERS

LINK = re.compile(r"(?<=\])\([^)]*\)")
NO_PROSE = (  # code, formulas, names of files
    r"```.*?```|\$\$.*?\$\$|`[^`]*`|<code>.*?</code>|^(?: {4}|\t).*?$|\$[^$\n]*\$"
    r"|\S+\.(?:json|ipynb|py|md|bin|pt|pth|safetensors)\b"
)
SHOWN_ONLY = re.compile(r"[`(]")
LABEL = re.compile(r"[?:]$|\]|^invariants? \d|^(?:\S+ ){3,}\S+\.$|^(?:\S+ ){4,}\S+$", re.I)
BOLD = re.compile(r"\*\*(.+?)\*\*", re.S)


@dataclass(frozen=True)
class Term:
    """One word. says: one or two sentences with units · where: notebook and section that explain it first ("01 §1"), or the
    notebook ("01") · also: other names, shown; one with backticks or brackets is not looked for · forms: what else a text
    may write, not shown; ~ stands for any number (W~A~). Plurals and the endings of verbs need no form of their own.
    """

    name: str
    says: str
    where: str
    also: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """The name and whatever else a text may write for it."""
        return (self.name, *(item for item in self.also if not SHOWN_ONLY.search(item)), *self.forms)

    def line(self, place: str = "") -> str:
        """The entry in Markdown. place: where it is met, written otherwise (as a link)."""
        also = f" Also called {', '.join(self.also)}." if self.also else ""
        return f"**{self.name}**: {self.says}{also} Met in {place or self.where}."


def entries(rows: Iterable[tuple[str, str, str, str, str]]) -> dict[str, Term]:
    """Name → term, in the order of the alphabet. Raises ValueError for a name or spelling that two entries have."""
    terms = [Term(*row[:3], *(tuple(filter(None, items.split("; "))) for items in row[3:])) for row in rows]
    owner: dict[str, str] = {}
    for term in terms:
        for spelling in term.spellings:
            if owner.setdefault(spelling, term.name) != term.name or term.spellings.count(spelling) > 1:
                raise ValueError(f"{spelling!r} has two entries: {owner[spelling]!r} and {term.name!r}")
    return {term.name: term for term in sorted(terms, key=lambda t: (t.name.lower(), t.name))}


def pattern(spelling: str) -> str:
    """The regular expression of a spelling: with endings where it is a plain word, as it stands where it has capitals."""
    plain = re.fullmatch(r"[a-z][a-z /-]+[a-z]", spelling)
    stem, endings = re.escape(spelling), "(?:s)?"
    if plain and spelling.endswith("e"):
        stem, endings = re.escape(spelling[:-1]), "(?:e|es|ed|ing)"
    elif plain and spelling.endswith("y"):
        stem, endings = re.escape(spelling[:-1]), "(?:y|ies|ied|ying)"
    elif plain:
        endings = "(?:s|es|ed|ing)?"
    stem = stem.replace(r"\ ", r"\s+").replace(r"\~", "~").replace("~", r"\d+")
    flags = "" if re.search("[A-Z~]", spelling) else "i"
    return f"(?<![A-Za-z0-9])(?{flags}:{stem}{endings})(?![A-Za-z0-9])"


GLOSSARY: dict[str, Term] = entries((*NUMBERS, *METHODS, *KERNELS, *FILES, *MODELS))
SPELLINGS = sorted(
    ((s, term.name) for term in GLOSSARY.values() for s in term.spellings), key=lambda p: (-len(p[0]), "~" in p[0])
)
MATCH = re.compile("|".join(f"({pattern(spelling)})" for spelling, _ in SPELLINGS))  # the longest spelling wins


class Note(str):
    """Markdown that displays itself as the last line of a cell."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_markdown_(self) -> str:
        return str(self)


def prose(text: str) -> str:
    """A text in Markdown without code, formulas, link targets and names of files."""
    return re.sub(NO_PROSE, " ", LINK.sub("", text), flags=re.S | re.M)


def terms_in(text: str) -> list[str]:
    """The names of the terms that a text uses, in the order of the alphabet. Names in code count, link targets do not."""
    text = LINK.sub("", text).replace("*", "")
    used = {SPELLINGS[found.lastindex - 1][1] for found in MATCH.finditer(text)}
    return [name for name in GLOSSARY if name in used]


def is_technical(word: str) -> bool:
    """Whether a word has two capitals or more, or letters and digits. What begins with a digit is a quantity."""
    capitals = sum(letter.isupper() for letter in word)
    return not word[0].isdigit() and (capitals >= 2 or any(letter.isdigit() for letter in word) and len(word) > 1)


def missing_in(text: str) -> list[str]:
    """The technical words of a text in Markdown that no entry explains and no list excuses, in the order of the text.

    >>> missing_in("GPTQ and **scales** are explained, FOOQ is not; a name in code, `X1Y2`, is no word")
    ['FOOQ']
    """
    text = prose(text)
    phrases = [part for bold in BOLD.findall(text) for part in stressed_terms(bold)]
    missing = [phrase for phrase in phrases if re.search("[A-Za-z0-9]", MATCH.sub("", phrase))]
    plain = text.replace("*", "")
    explained = [found.span() for found in MATCH.finditer(plain)]
    for found in re.finditer(r"[A-Za-z0-9]+", plain):
        word = found[0]
        inside = any(low <= found.start() and found.end() <= high for low, high in explained)
        if is_technical(word) and not inside and word.removesuffix("s") not in NAMES and word not in NAMES:
            missing.append(word)
    return list(dict.fromkeys(missing))


def stressed_terms(bold: str) -> list[str]:
    """What of a bold phrase has to be a term: nothing of sentences, questions and labels, else its parts."""
    phrase = " ".join(bold.split())
    if LABEL.search(phrase) or phrase in STRESSED:
        return []
    return [part for part in re.split(r", | and ", phrase.rstrip(".,")) if part and part not in STRESSED]


def glossary(word: str = "") -> Note:
    """What a word means, as a note; of several words, each; without a word, all there are. An unknown one is told so, with
    the nearest names.

    >>> print(glossary("zeropoint"))
    There is no entry 'zeropoint'; did you mean zero point?
    """
    names = list(GLOSSARY) if not word else [word] if word in GLOSSARY else terms_in(word)
    if names:
        return Note("\n\n".join(GLOSSARY[name].line() for name in names))
    near = did_you_mean(word, [spelling for spelling, _ in SPELLINGS if "~" not in spelling])
    return Note(f"There is no entry {word!r}{near or '; glossary() shows all of them'}")
