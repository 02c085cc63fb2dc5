"""Whose is which file: a folder of notebooks, a folder for each student, or the zip that Canvas or Moodle makes.

    alice.ipynb · alice_01_fake_quant.ipynb · alice/01_fake_quant.ipynb · alice.zip
    Canvas   doejane_LATE_12345_67890_01_fake_quant-1.ipynb          (name, LATE, user, submission, file, resubmission)
    Moodle   Jane Doe_1234567_assignsubmission_file_/01_fake_quant.ipynb

Nothing is unpacked to disk and no link is followed. A file that cannot be read stays in the list, with its reason.
"""

import os
import re
import stat
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qcourse.classroom.archives import Member, members, read_member
from qcourse.classroom.notebook import NotANotebook

CANVAS = re.compile(r"^(?P<who>.+?)_(?P<late>LATE_)?(?P<user>\d+)_(?P<sub>\d+)_(?P<file>.+)$")
MOODLE = re.compile(r"^(?P<who>.+?)_(?P<user>\d+)_assignsubmission_file_?(?P<file>.*)$")
LAB_NAME = re.compile(r"(?:^|[ _-]+)\d\d_[a-z]\w*(?:[-_ ]?\(?\d+\)?)?$")
AGAIN = re.compile(r"[-_ ]\(?(\d+)\)?\.ipynb$")
IGNORED = {"__MACOSX", "__pycache__"}
DEEPEST, MOST = 20, 100  # folders inside one another; notebooks of one student


@dataclass(frozen=True)
class Found:
    """One file somebody handed in. `order`: of two for the same lab, the greater one counts."""

    student: str
    name: str  # as the student named it
    path: Path
    member: Member | None = None  # inside a zip
    late: bool = False
    order: tuple = ()
    problem: str | None = None

    def read(self, limit: int) -> bytes:
        """Its bytes. Raises NotANotebook with a reason for what cannot, or should not, be read."""
        if self.problem:
            raise NotANotebook(self.problem)
        if self.member is not None:
            return read_member(self.path, self.member, limit)
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as e:
            raise NotANotebook("a link, not a file" if self.path.is_symlink() else f"cannot be read: {e.strerror}") from None
        with os.fdopen(handle, "rb") as f:
            facts = os.fstat(f.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise NotANotebook("not an ordinary file")
            too_large(facts.st_size, limit)
            return f.read(limit + 1)[:limit]


def too_large(size: int, limit: int) -> None:
    """Raises NotANotebook for a file above the limit."""
    if size > limit:
        raise NotANotebook(f"{size / 2**20:.1f} MB; at most {limit / 2**20:g} MB. Clear all outputs and hand in again")


def collect(folder: Path, limit: int) -> list[Found]:
    """Every file handed in, ordered by student. Raises FileNotFoundError or ValueError for a place that holds none."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder or zip")
    if folder.is_file():
        files = list(_from_zip(folder, (), limit))
    else:
        files = [f for entry in sorted(os.scandir(folder), key=lambda e: e.name) for f in _walk(Path(entry.path), (), limit)]
    if not files:
        raise ValueError(
            f"{folder} holds no notebooks. Expected: student.ipynb, student/NN_lab.ipynb, or Canvas's or Moodle's zip"
        )
    books = [f for f in files if f.problem or f.name.lower().endswith(".ipynb")]
    handed = Counter(f.student for f in books)
    flood = {f.student: f for f in books if handed[f.student] > MOST}  # reading them would take the others' time
    books = [f for f in books if f.student not in flood]
    for student, f in flood.items():
        books.append(Found(student, f.name, f.path, problem=f"{handed[student]:,} notebooks; at most {MOST} are read"))
    for student in sorted({f.student for f in files} - handed.keys()):
        names = ", ".join(f.name for f in files if f.student == student)
        other = next(f for f in files if f.student == student)
        books.append(Found(student, other.name, other.path, problem=f"no notebook (.ipynb) among: {names[:200]}"))
    return sorted(books, key=lambda f: (f.student, f.name, f.order))


def _walk(path: Path, above: tuple[str, ...], limit: int):
    if path.name.startswith(".") or path.name in IGNORED:
        return
    if path.is_dir() and not path.is_symlink():
        try:
            inside = sorted(os.scandir(path), key=lambda e: e.name) if len(above) < DEEPEST else None
        except OSError as e:
            yield _found((*above, path.name, path.name), path, None, 0.0, f"a folder that cannot be read: {e.strerror}")
            return
        if inside is None:
            yield _found((*above, path.name), path, None, 0.0, f"more than {DEEPEST} folders inside one another")
        for entry in inside or ():
            yield from _walk(Path(entry.path), (*above, path.name), limit)
    elif path.is_symlink() and not above and path.is_dir():
        yield _found((path.name, path.name), path, None, 0.0, "a link to a folder, not a folder; links are not followed")
    elif path.suffix.lower() == ".zip" and path.is_file() and not path.is_symlink():
        yield from _from_zip(path, (*above, path.name), limit)
    elif path.suffix.lower() == ".ipynb" or above:
        yield _found((*above, path.name), path, None, path.lstat().st_mtime)


def _from_zip(path: Path, above: tuple[str, ...], limit: int):
    """Everything in an archive; it is `above[0]`'s, or with no `above` the whole class's."""
    try:
        inside = members(path, limit)
    except NotANotebook as e:
        yield _found(above or (path.name,), path, None, 0.0, str(e))
        return
    listed = [(m, PurePosixPath(m.name).parts) for m in inside]
    listed = [(m, parts) for m, parts in listed if not any(p.startswith(".") and p != ".." or p in IGNORED for p in parts)]
    tops = {parts[0] for _, parts in listed}
    wrapped = not above and len(tops) == 1 and len({p[1] for _, p in listed if len(p) > 2 or not _is_lab(p[-1])}) > 1
    for member, parts in listed:
        yield _found((*above, *(parts[1:] if wrapped else parts)), path, member, member.when, member.problem)


def _is_lab(name: str) -> bool:
    return not LAB_NAME.sub("", re.sub(r"\.ipynb$", "", name, flags=re.I))


def _found(parts: tuple[str, ...], path: Path, member, when: float, problem: str | None = None) -> Found:
    """Whose it is, says the outermost name alone: what a student calls things inside does not make them somebody else."""
    parts = tuple(p for p in map(readable, parts) if p not in ("..", "/")) or ("unnamed",)
    top, name, late = parts[0], parts[-1], False
    if match := MOODLE.match(top) or CANVAS.match(top):
        student, late = f"{match['who']} ({match['user']})", bool(match.groupdict().get("late"))
        name = match["file"] or name if len(parts) == 1 else name
    elif len(parts) > 1 and not top.lower().endswith(".zip"):
        student = top
    else:
        stem = re.sub(r"\.(ipynb|zip)$", "", top, flags=re.I)
        student = LAB_NAME.sub("", stem) or stem
    again = AGAIN.search(name)
    return Found(student, name, path, member, late, (int(again[1]) if again else 0, when), problem)


def readable(name: str) -> str:
    """A name fit for a table: bytes that are not UTF-8, and control characters, as escapes; accents in one form.

    >>> readable(b"andr\\xe9".decode("utf-8", "surrogateescape"))
    'andr\\\\xe9'
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace") if any("\ud800" <= c <= "\udfff" for c in name) else name
    text = unicodedata.normalize("NFC", text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
