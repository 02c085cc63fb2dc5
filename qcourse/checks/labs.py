"""A student's lab files: a fresh start that never costs what was written before."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

STARTERS = Path(__file__).parent / "starters"  # pristine copies, built from solutions/*.py by `make labs`


@dataclass(frozen=True)
class Reset:
    """`fresh`: the lab, as it was handed out · `kept`: the copy of what was there, or None if there was nothing to keep."""

    fresh: Path
    kept: Path | None


def reset(lab: str, folder: Path = Path("labs")) -> Reset:
    """Give lab "01" (or "1", or "01_fake_quant") a fresh start in `folder`; what was there is first copied to a dated name.

    A copy never replaces another file, and the lab is only replaced once its copy is complete.
    Raises ValueError for an unknown lab, naming those that exist.
    """
    pristine = starter_of(lab)
    target = Path(folder) / pristine.name
    kept = None
    if target.exists() and target.read_bytes() != pristine.read_bytes():
        kept = keep(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    shutil.copyfile(pristine, part)
    os.replace(part, target)
    return Reset(target, kept)


def starter_of(lab: str) -> Path:
    """The pristine notebook of a lab. Raises ValueError naming the labs that exist."""
    known = sorted(STARTERS.glob("[0-9][0-9]_*.ipynb"))
    number = str(lab).removesuffix(".ipynb")
    for path in known:
        if number in (path.stem, path.stem[:2], str(int(path.stem[:2]))):
            return path
    raise ValueError(f"no lab {lab!r}; there is {', '.join(p.stem for p in known) or 'none in this installation'}")


def keep(path: Path) -> Path:
    """Copy a file beside itself under a dated name that nobody has: 01_fake_quant-20261120-101500.ipynb."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for extra in ["", *(f"-{i}" for i in range(2, 1000))]:
        copy = path.with_name(f"{path.stem}-{stamp}{extra}{path.suffix}")
        try:
            with open(copy, "xb") as out:  # x: fails, rather than overwrites, if the name is taken
                out.write(path.read_bytes())
        except FileExistsError:
            continue
        shutil.copystat(path, copy)
        return copy
    raise FileExistsError(f"a thousand copies of {path.name} were made this second; none was overwritten")
