"""Whose is which file: a folder of notebooks, a folder for each student, or the zip that Canvas or Moodle makes.

    alice.ipynb · alice_01_fake_quant.ipynb · alice/01_fake_quant.ipynb · alice.zip
    Canvas   doejane_LATE_12345_67890_01_fake_quant-1.ipynb          (name, LATE, user, submission, file, resubmission)
    Moodle   Jane Doe_1234567_assignsubmission_file_/01_fake_quant.ipynb

Nothing is unpacked to disk and no link is followed. A file that cannot be read stays in the list, with its reason.
"""

import os
import re
import stat
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qcourse.classroom.archives import Member, members, read_member, said
from qcourse.classroom.names import CANVAS, LAB_NAME, LONGEST, MOODLE, Owner, owner, readable
from qcourse.classroom.notebook import NotANotebook

AGAIN = re.compile(r"[-_ ]\(?([0-9]{1,9})\)?\.ipynb$")
IGNORED = {"__MACOSX", "__pycache__"}
DEEPEST, MOST = 20, 100  # folders inside one another; notebooks of one student
MOST_READ = 5  # of the largest notebooks allowed: the bytes of one student's that are read


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
    owner: Owner = Owner("", ("", ""))
    size: int = 0  # bytes, as far as they are known before it is read

    def read(self, limit: int) -> bytes:
        """Its bytes. Raises NotANotebook with a reason for what cannot, or should not, be read."""
        if self.problem:
            raise NotANotebook(self.problem)
        if self.member is not None:
            return read_member(self.path, self.member, limit)
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(handle, "rb") as f:
                facts = os.fstat(f.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise NotANotebook("not an ordinary file")
                too_large(facts.st_size, limit)
                return f.read(limit + 1)[:limit]
        except (OSError, ValueError) as e:
            if isinstance(e, NotANotebook):
                raise
            link = os.path.islink(self.path)
            raise NotANotebook("a link, not a file" if link else f"cannot be read: {readable(said(e))}") from None


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
        files = [f for entry in sorted(os.scandir(folder), key=lambda e: e.name) for f in _entry(Path(entry.path), limit)]
    if not files:
        raise ValueError(
            f"{folder} holds no notebooks. Expected: student.ipynb, student/NN_lab.ipynb, or Canvas's or Moodle's zip"
        )
    books, other = defaultdict(list), defaultdict(list)
    for f in files:
        (books if f.problem or f.name.lower().endswith(".ipynb") else other)[f.owner.source].append(f)
    for source in other.keys() - books.keys():
        names = ", ".join(f.name for f in other[source])[:200]
        books[source] = [_instead(other[source][0], f"no notebook (.ipynb) among: {names}")]
    return sorted((f for own in books.values() for f in _few(own, limit)), key=lambda f: (f.student, f.name, f.order))


def _few(own: list[Found], limit: int) -> list[Found]:
    """One student's files; a flood of them, which would take the others' time, is one refusal."""
    if len(own) > MOST:
        return [_instead(own[-1], f"{len(own):,} notebooks; at most {MOST} are read")]
    size = sum(f.size for f in own if f.size <= limit)
    if size > MOST_READ * limit:
        return [_instead(own[-1], f"{size / 2**20:.0f} MB of notebooks; at most {MOST_READ * limit / 2**20:g} MB are read")]
    return own


def _instead(f: Found, problem: str) -> Found:
    return Found(f.student, f.name, f.path, problem=problem, owner=f.owner)


def _entry(path: Path, limit: int) -> list[Found]:
    """What one thing in the folder comes to: nothing only if it is hidden, or a loose file of another kind."""
    try:
        found = list(_walk(path, (), limit))
        if not found and path.is_dir() and not path.is_symlink() and not _ignored(path.name):
            found = [_found((path.name, path.name), path, None, 0.0, "an empty folder")]
        return found
    except Exception as e:
        return [_found((path.name,), path, None, 0.0, f"cannot be read: {readable(said(e))}")]


def _ignored(name: str) -> bool:
    return name.startswith(".") or name in IGNORED


def _walk(path: Path, above: tuple[str, ...], limit: int):
    if _ignored(path.name):
        return
    try:
        facts, link = path.lstat(), path.is_symlink()
        folder = path.is_dir()
        inside = sorted(os.scandir(path), key=lambda e: e.name) if folder and not link and len(above) < DEEPEST else None
    except OSError as e:
        what = f"a folder that cannot be read: {e.strerror}" if path.suffix != ".ipynb" else f"cannot be read: {e.strerror}"
        yield _found((*above, path.name, path.name), path, None, 0.0, what)
        return
    if folder and not link:
        if inside is None:
            yield _found((*above, path.name), path, None, 0.0, f"more than {DEEPEST} folders inside one another")
        for entry in inside or ():
            yield from _walk(Path(entry.path), (*above, path.name), limit)
    elif link and not above and folder:
        yield _found((path.name, path.name), path, None, 0.0, "a link to a folder, not a folder; links are not followed")
    elif path.suffix.lower() == ".zip":
        yield from _zipped(path, (*above, path.name), limit, facts)
    elif path.suffix.lower() == ".ipynb" or above:
        yield _found((*above, path.name), path, None, facts.st_mtime, size=facts.st_size)


def _zipped(path: Path, above: tuple[str, ...], limit: int, facts: os.stat_result):
    """A student's own archive; one row at least."""
    problem = "a link, not a file" if stat.S_ISLNK(facts.st_mode) else None
    if problem is None and facts.st_size > 2 * MOST_READ * limit:
        problem = f"a zip of {facts.st_size / 2**20:.0f} MB; at most {2 * MOST_READ * limit / 2**20:g} MB"
    found = [] if problem else list(_from_zip(path, above, limit))
    yield from found or [_found(above, path, None, facts.st_mtime, problem or "an empty zip")]


def _from_zip(path: Path, above: tuple[str, ...], limit: int):
    """Everything in an archive; it is `above[0]`'s, or with no `above` the whole class's."""
    try:
        inside = members(path, limit)
    except NotANotebook as e:
        yield _found(above or (path.name,), path, None, 0.0, str(e))
        return
    listed = [(m, PurePosixPath(m.name).parts or ("unnamed",)) for m in inside]
    listed = [(m, parts) for m, parts in listed if not any(_ignored(p) and p != ".." for p in parts)]
    tops = {parts[0] for _, parts in listed}
    wrapped = not above and len(tops) == 1 and len({p[1] for _, p in listed if len(p) > 2 or not _is_lab(p[-1])}) > 1
    for member, parts in listed:
        inner = (*above, *(parts[1:] if wrapped else parts))
        yield _found(inner, path, member, member.when, member.problem, member.size)


def _is_lab(name: str) -> bool:
    return not LAB_NAME.sub("", re.sub(r"\.ipynb$", "", name[-LONGEST:], flags=re.I))


def _found(parts: tuple[str, ...], path: Path, member, when: float, problem: str | None = None, size: int = 0) -> Found:
    parts = tuple(p for p in parts if p not in ("..", "/")) or ("unnamed",)
    whose, name = owner(parts[0], len(parts) == 1), readable(parts[-1])
    if len(parts) == 1 and (match := MOODLE.match(name) or CANVAS.match(name)):
        name = match["file"] or name
    again = AGAIN.search(name)
    order = (int(again[1]) if again else 0, when)
    return Found(whose.student, name, path, member, whose.late, order, problem, whose, size)
