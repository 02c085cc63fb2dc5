"""What is kept between two runs: one small file for each graded notebook, so that kill -9 loses nothing.

    OUT/.results/grading.json       marks the folder as ours; holds the hidden seed
    OUT/.results/<key>.json         one result: written beside, flushed, then renamed; so it is there whole or not at all

A result is valid for the notebook's bytes, the course's version (a changed check grades again), the seed, the limits, and
the patient of lab 13 that was handed out.
"""

import fcntl
import hashlib
import json
import os
import secrets
from contextlib import contextmanager
from pathlib import Path

from qcourse.cluster import course_version

DRAWS = 3  # hidden seeds of each task


def fingerprint(data: bytes, seed: int, limits: dict) -> str:
    """What a result depends on."""
    facts = json.dumps([hashlib.sha256(data).hexdigest(), course_version(), seed, limits], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


class Store:
    """The results of one grading, under OUT."""

    def __init__(self, out: Path, seed: int | None, seeds: int | None = None, patients: bool = False):
        """Open or begin: `seed` of the hidden tests, `seeds` draws of each. What is left out is drawn (or 3), and kept.
        patients: whether each student's own is asked for.

        Raises ValueError if OUT holds something that is not a grading, was begun with others, or with patients.
        """
        self.out, self.folder = out, out / ".results"
        mark = self.folder / "grading.json"
        if out.exists() and not out.is_dir():
            raise ValueError(f"--out {out} is a file; give a folder")
        if out.is_dir() and any(out.iterdir()) and not mark.exists():
            raise ValueError(
                f"--out {out} is not empty and not a grading of ours; give a new folder: nothing is overwritten"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            begun = {"seed": secrets.randbelow(2**31) if seed is None else seed, "seeds": DRAWS if seeds is None else seeds}
            write(mark, json.dumps(begun))
        kept = {"seeds": DRAWS} | json.loads(mark.read_text())
        if patients and not kept.get("patients"):
            write(mark, json.dumps(kept | {"patients": True}))
        elif kept.get("patients") and not patients:
            raise ValueError(
                f"--out {out} was graded with --patients; give the table again: without it any patient would count"
            )
        self.seed, self.seeds = kept["seed"], kept["seeds"]
        for name, asked in (("seed", seed), ("seeds", seeds)):
            if asked is not None and asked != kept[name]:
                raise ValueError(
                    f"--out {out} was begun with {name} {kept[name]}; keep it, or give a new folder for {name} {asked}"
                )

    @contextmanager
    def locked(self):
        """Only one grader works in a folder. Raises ValueError if another one does."""
        with open(self.folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"another `qcourse grade` is writing to {self.out}") from None
            yield self

    def path(self, student: str, lab: str) -> Path:
        """Where a result lies; names come from students, so they are hashed."""
        return self.folder / f"{digest(student, lab)}.json"

    def get(self, student: str, lab: str, mark: str) -> dict | None:
        """The result made from exactly this (`fingerprint`), or None."""
        try:
            result = json.loads(self.path(student, lab).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return result if result.get("fingerprint") == mark else None

    def put(self, result: dict) -> None:
        """Keep a result."""
        write(self.path(result["student"], result["lab"]), json.dumps(result))


def digest(*words: str) -> str:
    """A short name for words that no file should be named after."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]


def write(path: Path, text: str) -> None:
    """Write a whole file or nothing. What cannot be UTF-8 is written as an escape."""
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", errors="backslashreplace") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)
