"""The clinic: models that load, run and are wrong, each with one planted bug of a kind that really happened.

    patient(seed)                     drawn from the seed: which bug, where, how strong; the same everywhere
    p.symptoms()                      numbers, text, sizes; no cause
    examine(p, "codes")               an instrument of INSTRUMENTS: `.table()`, `.figure()`
    diagnose(p, cause, mended)        the cause by its name, and what was mended; says what would have shown it
    held(folder), spoil(a, b, change) a folder's config and tensors; a copy that `change` has worked on, which mends as well
    walk(p), tree_text()              the tree from symptom to cause; `tree_figure` draws it

Two folders a patient: the ill one and its healthy twin, written by the package's own writers; the loader takes both. In
three cases the model is right and whoever measured it, or chose its text, is not. Notebook 13.
"""

import shutil
import tempfile
import weakref
from pathlib import Path

from qcourse.options import did_you_mean
from qcourse.study.clinic.case import Case, Draw, Patient
from qcourse.study.clinic.cases import CASES
from qcourse.study.clinic.folder import held, spoil
from qcourse.study.clinic.instruments import INSTRUMENTS, examine
from qcourse.study.clinic.meter import RIGHT, Meter
from qcourse.study.clinic.tree import TREE, tree_figure, tree_text, walk
from qcourse.study.clinic.verdict import Verdict, diagnose
from qcourse.study.numbered import for_student

__all__ = ["CASES", "INSTRUMENTS", "RIGHT", "TREE", "Case", "Meter", "Patient", "Verdict", "diagnose", "examine",
           "for_student", "held", "patient", "spoil", "tree_figure", "tree_text", "walk"]  # fmt: skip


def patient(seed: int | str, case: str | None = None, folder: Path | None = None) -> Patient:
    """A patient, its two folders written under `folder` (None: a temporary one, gone with the patient).

    Raises KeyError for a case that is no name of CASES, FileExistsError for a folder that holds a patient already.
    """
    if case is not None and case not in CASES:
        raise KeyError(f"{case!r} is no name of CASES{did_you_mean(case, CASES)}: {', '.join(CASES)}")
    draw = Draw(seed)
    chosen = CASES[case or draw.of("case", list(CASES))]
    root = Path(tempfile.mkdtemp(prefix="clinic-") if folder is None else folder)
    twin, ill = root / "healthy", root / "patient"
    for path in (twin, ill):
        path.mkdir(parents=True)
    try:
        made = Patient(seed, ill, twin, chosen.plant(draw, twin, ill), chosen)
    except BaseException:  # Ctrl-C, or no room: nothing is left behind
        if folder is None:
            shutil.rmtree(root, ignore_errors=True)
        raise
    if folder is None:
        weakref.finalize(made, shutil.rmtree, root, ignore_errors=True)
    return made
