"""Whose name a file bears, how it is shown, and which names look alike. All of them come from strangers."""

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

CANVAS = re.compile(r"^(?P<who>.+?)_(?P<late>LATE_)?(?P<user>\d+)_(?P<sub>\d+)_(?P<file>.+)$")
MOODLE = re.compile(r"^(?P<who>.+?)_(?P<user>\d+)_assignsubmission_file_?(?P<file>.*)$")
LAB_NAME = re.compile(r"(?:^|[ _-]+)\d\d_[a-z]\w*(?:[-_ ]?\(?\d+\)?)?$")
EXTENSION = re.compile(r"\.(ipynb|zip)$", re.I)
COPY = re.compile(
    r"\(\d+\)|\b(?:copy|copie|kopie|kopia|copia)(?: (?:of|de|von)| ?\d+)?\b|\b(?:late|final|resubmission)\b", re.I
)
NUMBERED = re.compile(r"\d\d_[a-z]\w*?[-_ ]\d+$")
LONGEST = 200  # characters of a name; an archive's may have 65,000
ALIKE = str.maketrans(
    "аеорсухіјѕһԁԛԝвгкмнтпαβγεηικνορτυχωıøł",
    "aeopcyxijshdqwbrkmhtnaßyenikvoptuxwiol".replace("ß", "b"),
)


@dataclass(frozen=True)
class Owner:
    """student: the name in the grades · source: who vouches for it, so that two of one source are one student's ·

    late: so says the LMS · plain: 0 for a name as one would write it; more for a copy's, a decomposed or a padded one ·
    like: equal for names that look alike.
    """

    student: str
    source: tuple[str, str]
    late: bool = False
    plain: int = 0
    like: str = ""


def owner(raw: str, alone: bool) -> Owner:
    """Whose it is, says the outermost name: a folder's, an archive's, or (`alone`) the notebook's own.

    What a student calls things inside does not make them somebody else.
    """
    top = readable(raw)
    if match := MOODLE.match(top) or CANVAS.match(top):
        student = f"{match['who']} ({match['user']})"
        return Owner(student, ("lms", student), bool(match.groupdict().get("late")), 0, student)
    stem = EXTENSION.sub("", top) if alone or top.lower().endswith(".zip") else top
    student = ((LAB_NAME.sub("", stem) or stem) if stem != top else stem).strip(" _-") or stem
    bare = EXTENSION.sub("", raw)
    plain = (bare != unicodedata.normalize("NFC", bare)) + (bare != bare.strip()) + (not bare.isprintable())
    plain += bool(COPY.search(stem) or NUMBERED.search(stem))
    return Owner(student, ("file" if alone else "folder", raw), False, plain, likeness(student))


def likeness(name: str) -> str:
    """The same text for names that a reader takes for one: case, accents, widths, look-alike letters, "copy of", "(2)".

    >>> likeness("Copy of \u0410LICE (2)") == likeness("alice")
    True
    """
    text = unicodedata.normalize("NFKD", name).casefold().translate(ALIKE)
    text = re.sub(r"\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\u[0-9a-f]{8}", "", text, flags=re.I)  # what `readable` made visible
    bare = "".join(c for c in COPY.sub("", text.replace("_", " ")) if c.isalnum())
    return bare or name


def readable(name: str) -> str:
    """A name fit for a table: bytes that are not UTF-8, and control characters, as escapes; accents in one form.

    >>> readable(b"andr\\xe9".decode("utf-8", "surrogateescape"))
    'andr\\\\xe9'
    """
    if any("\ud800" <= c <= "\udfff" for c in name):
        name = name.encode("utf-8", "surrogateescape" if _from_disk(name) else "surrogatepass").decode(
            "utf-8", "backslashreplace"
        )
    text = visible(unicodedata.normalize("NFC", name)).replace("\n", "\\n").replace("\t", "\\t").strip() or "unnamed"
    if len(text) <= LONGEST:
        return text
    return f"{text[:150]}…{hashlib.sha256(os.fsencode(text)).hexdigest()[:8]}{text[-20:]}"


def _from_disk(name: str) -> bool:
    return all("\udc80" <= c <= "\udcff" for c in name if "\ud800" <= c <= "\udfff")


def visible(text: str) -> str:
    """Text that cannot rewrite what stands around it: control, bidi and invisible characters as escapes; lines stay.

    >>> visible("a\\u202eb")
    'a\\\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(c: str) -> str:
    if c.isprintable() or c in "\n\t":
        return c
    if unicodedata.category(c) == "Zs":  # a space of another width
        return " "
    return c.encode("unicode_escape").decode("ascii")


def all_visible(value: Any) -> Any:
    """The same data with every text `visible`: for what comes from a student's process."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list | tuple):
        return [all_visible(v) for v in value]
    if isinstance(value, dict):
        return {visible(k) if isinstance(k, str) else k: all_visible(v) for k, v in value.items()}
    return value
