"""Guesses on disk, by question: a restart, a reload and Run All keep them. And how one is read: "about 3", "1/4", "25 %"."""

import contextlib
import json
import math
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from qcourse.cache import cache_folder

NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.I)
HEDGES = re.compile(r"^(?:about|around|roughly|approx\.?|circa|ca\.?|maybe|some|[~≈])\s*", re.I)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
EXPECTED = "a number, such as 3, 0.25, 1/4, 25 % or about 3"


def read_guess(text: str, unit: str = "") -> float:
    """A guess in words → a number in `unit`. Commas as in 1,234 separate thousands, any other is a point.

    >>> read_guess("about 3 times", "times"), read_guess("1/4"), read_guess("25 %"), read_guess("25", "%"), read_guess("1,5")
    (3.0, 0.25, 0.25, 25.0, 1.5)

    Raises ValueError, saying what is expected, for anything that is no finite number.
    """
    t = HEDGES.sub("", text.strip()).replace("−", "-").replace("\u202f", "").replace("\xa0", " ")
    per_cent = t.endswith("%")
    t = t.removesuffix("%").strip()
    if unit and t.lower().endswith(unit.lower()):
        t = t[: -len(unit)].strip()
    parts = [p.strip() for p in t.split("/")]
    parts = [p.replace(",", "" if THOUSANDS.fullmatch(p) else ".") for p in parts]
    if not 1 <= len(parts) <= 2 or not all(NUMBER.fullmatch(p) for p in parts):
        raise ValueError(EXPECTED)
    value = float(parts[0]) if len(parts) == 1 else float(parts[0]) / (float(parts[1]) or math.nan)
    value = value / 100 if per_cent and unit != "%" else value
    if not math.isfinite(value):
        raise ValueError(EXPECTED)
    return value


def guesses_file() -> Path:
    """Where the guesses lie."""
    return cache_folder() / "guesses.json"


def read_all() -> dict[str, dict]:
    """Every guess by its question's key. A file that cannot be read is put aside (`.unreadable`), never overwritten."""
    path = guesses_file()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(isinstance(v, dict) for v in found.values()):
            return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        pass
    with contextlib.suppress(OSError):
        path.replace(path.with_name(path.name + ".unreadable"))
    return {}


def write_all(guesses: dict[str, dict]) -> None:
    """Replace the file in one move. Where nothing can be written, guesses last as long as the kernel: a lesson goes on."""
    path = guesses_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(guesses, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)


def keep(key: str, **what) -> None:
    """Add to what is known of a question: `value` (the guess), `shown` (its answer was asked for)."""
    guesses = read_all()
    guesses[key] = guesses.get(key, {}) | what | {"when": datetime.now(UTC).isoformat(timespec="seconds")}
    write_all(guesses)


def clear(prefix: str) -> int:
    """Forget the guesses of a notebook ("01"), or of one question ("01.2"). Returns how many there were."""
    guesses = read_all()
    gone = [key for key in guesses if key == prefix or key.startswith(prefix + ".")]
    write_all({key: value for key, value in guesses.items() if key not in gone})
    return len(gone)
