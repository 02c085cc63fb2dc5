"""Up to how many tokens the kernel for few tokens is the faster one: measured, and kept for each machine."""

import json
from functools import lru_cache
from pathlib import Path

from qcourse.cache import cache_folder

# Tokens up to which the integer kernel beats the blocked one: measured on 2 cores with AVX-512 and AMX (w8a8: between
# the 1 found there and the 12 found with AVX-512 alone).
CROSSOVER = {"int4 fp32": 96, "int4 16-bit": 16, "int8 fp32": 96, "int8 16-bit": 24, "w8a8": 4}
CROSSOVER |= {"int4 × int8 fp32": 128, "int4 × int8 16-bit": 48, "int8 × int8 fp32": 128, "int8 × int8 16-bit": 32}


def crossover_file() -> Path:
    """Where this machine's own measurement is kept."""
    return cache_folder() / "crossover.json"


@lru_cache(1)
def crossover() -> dict[str, int]:
    """The cross-overs in force: this machine's if they were measured, else CROSSOVER.

    Raises ValueError naming the file if it is not what `set_crossover` writes.
    """
    try:
        path = crossover_file()
        text = path.read_text()
    except (OSError, RuntimeError):  # not measured, not readable, or no home at all
        return CROSSOVER
    try:
        kept = {str(k): int(v) for k, v in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError, OverflowError) as e:
        raise ValueError(f"{path} does not hold cross-overs (delete it, or measure again): {e}") from e
    return CROSSOVER | kept


def set_crossover(measured: dict[str, int]) -> None:
    """Keep this machine's cross-overs and use them from now on. Raises ValueError for an unknown name."""
    unknown = sorted(measured.keys() - CROSSOVER.keys())
    if unknown:
        raise ValueError(f"unknown cross-over {unknown[0]!r}: one of {', '.join(CROSSOVER)}")
    measured = {k: int(v) for k, v in measured.items()}
    try:
        known = crossover()
    except ValueError:  # what was kept is broken: it is replaced
        known = CROSSOVER
    path = crossover_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(known | measured, indent=1) + "\n")
    path.with_suffix(".part").replace(path)
    crossover.cache_clear()
