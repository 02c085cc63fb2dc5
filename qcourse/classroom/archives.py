"""Zip files from strangers: read in memory, never unpacked. No path leaves, no bomb goes off, no link is followed."""

import stat
import time
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from qcourse.classroom.notebook import NotANotebook

MOST_MEMBERS = 20_000
BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError)


@dataclass(frozen=True)
class Member:
    """One file of an archive; `inner`: the archive inside the archive it lies in. `problem`: why it will not be read."""

    name: str
    raw_name: str
    inner: str | None
    when: float
    problem: str | None


def members(path: Path, limit: int) -> list[Member]:
    """The files of a zip, and of zips directly inside it (Moodle packs what students packed). Raises NotANotebook."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = _list(archive, None, limit)
            for member in [m for m in found if m.name.lower().endswith(".zip") and m.problem is None]:
                found.remove(member)
                try:
                    inner = _read(archive, member.raw_name, 4 * limit)
                    with zipfile.ZipFile(BytesIO(inner)) as nested:
                        within = _list(nested, member.raw_name, limit)
                    outer = str(PurePosixPath(member.name).with_suffix(""))
                    found += [Member(f"{outer}/{m.name}", m.raw_name, m.inner, m.when, m.problem) for m in within]
                except (NotANotebook, *BROKEN) as e:
                    found.append(Member(member.name, member.raw_name, None, member.when, f"a zip that cannot be read: {e}"))
            return found
    except BROKEN as e:
        raise NotANotebook(f"not a zip archive that can be read: {e}") from None


def _list(archive: zipfile.ZipFile, inner: str | None, limit: int) -> list[Member]:
    infos = [i for i in archive.infolist() if not i.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise NotANotebook(f"an archive of {len(infos)} files; at most {MOST_MEMBERS}")
    return [Member(_name(i), i.filename, inner, _when(i), _problem(i, limit)) for i in infos]


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
        with zipfile.ZipFile(path) as archive:
            if member.inner is None:
                return _read(archive, member.raw_name, limit)
            with zipfile.ZipFile(BytesIO(_read(archive, member.inner, 4 * limit))) as nested:
                return _read(nested, member.raw_name, limit)
    except NotANotebook:
        raise
    except BROKEN as e:
        raise NotANotebook(f"cannot be read from the archive: {e}") from None
