"""Zip files from strangers: read in memory, never unpacked. No path leaves, no bomb goes off, no link is followed."""

import stat
import time
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath

from qcourse.classroom.notebook import NotANotebook

MOST_MEMBERS = 20_000
MOST_TABLE = 8 << 20  # bytes of an archive's table of contents; it is read whole


@dataclass(frozen=True)
class Member:
    """One file of an archive; `inner`: the archive inside the archive it lies in. `problem`: why it will not be read."""

    name: str
    raw_name: str
    inner: str | None
    when: float
    problem: str | None
    size: int = 0  # unpacked, as the archive says; no more than that is ever read


def members(path: Path, limit: int) -> list[Member]:
    """The files of a zip, and of zips directly inside it (Moodle packs what students packed). Raises NotANotebook."""
    try:
        archive = _open(path)
        found = _list(archive, None, limit)
    except NotANotebook:
        raise
    except Exception as e:  # zlib, lzma, struct, memory: a stranger's bytes can make any of them speak
        raise NotANotebook(f"not a zip archive that can be read: {said(e)}") from None
    for member in [m for m in found if m.name.lower().endswith(".zip") and m.problem is None]:
        found.remove(member)
        try:
            within = _list(_nested(path, member.raw_name, limit), member.raw_name, limit)
            outer = str(PurePosixPath(member.name).with_suffix(""))
            found += [Member(f"{outer}/{m.name}", m.raw_name, m.inner, m.when, m.problem, m.size) for m in within]
        except Exception as e:
            found.append(Member(member.name, member.raw_name, None, member.when, f"a zip that cannot be read: {said(e)}"))
    return found


def said(error: Exception) -> str:
    """An error in a few words, also where it has none of its own."""
    return str(error)[:200] or type(error).__name__


@lru_cache(maxsize=1)
def _kept(path: Path, _stamp: tuple) -> zipfile.ZipFile:
    """The archive that was asked for last stays open: its table is not read again for each of its files."""
    with open(path, "rb") as file:
        _check_table(file)
    return zipfile.ZipFile(path)


def _open(path: Path) -> zipfile.ZipFile:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise NotANotebook("not an ordinary file")
    return _kept(path, (facts.st_mtime_ns, facts.st_size, facts.st_ino))


@lru_cache(maxsize=1)
def _unpacked(path: Path, _stamp: tuple, name: str, limit: int) -> zipfile.ZipFile:
    file = BytesIO(_read(_open(path), name, 4 * limit))
    _check_table(file)
    return zipfile.ZipFile(file)


def _nested(path: Path, name: str, limit: int) -> zipfile.ZipFile:
    """A zip inside a zip, unpacked into memory once for all of its files."""
    facts = path.stat()
    return _unpacked(path, (facts.st_mtime_ns, facts.st_size, facts.st_ino), name, limit)


def _check_table(file) -> None:
    """Raises NotANotebook for an archive whose table of contents is larger than anybody's."""
    end = zipfile._EndRecData(file)  # None: not a zip, as ZipFile will say
    if end and end[zipfile._ECD_SIZE] > MOST_TABLE:
        raise NotANotebook(f"a table of {end[zipfile._ECD_SIZE] / 2**20:.0f} MB; at most {MOST_TABLE >> 20} MB")


def _list(archive: zipfile.ZipFile, inner: str | None, limit: int) -> list[Member]:
    infos = [i for i in archive.infolist() if not i.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise NotANotebook(f"an archive of {len(infos)} files; at most {MOST_MEMBERS}")
    return [Member(_name(i), i.filename, inner, _when(i), _problem(i, limit), i.file_size) for i in infos]


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.replace("\\", "/").lstrip("/") or "unnamed"


def _when(info: zipfile.ZipInfo) -> float:
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


def _problem(info: zipfile.ZipInfo, limit: int) -> str | None:
    raw = info.filename.replace("\\", "/")
    if raw.startswith("/") or ".." in PurePosixPath(raw).parts or ":" in raw[:3]:
        return "its path leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link, not a file"
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.file_size > 4 * limit:
        return f"{info.file_size / 2**20:.0f} MB unpacked; at most {limit / 2**20:g} MB"
    return None


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """At most `limit` bytes, whatever the archive's table says. Raises NotANotebook when there is more."""
    with archive.open(name) as f:
        data = f.read(limit + 1)
    if len(data) > limit:
        raise NotANotebook(f"more than {limit / 2**20:g} MB unpacked. Clear the outputs and hand in again")
    return data


def read_member(path: Path, member: Member, limit: int) -> bytes:
    """One file of an archive. Raises NotANotebook."""
    try:
        archive = _open(path) if member.inner is None else _nested(path, member.inner, limit)
        return _read(archive, member.raw_name, limit)
    except NotANotebook:
        raise
    except Exception as e:
        raise NotANotebook(f"cannot be read from the archive: {said(e)}") from None
