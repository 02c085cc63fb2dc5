"""A diagnosis judged: the cause by its name, and the mended number, computed from what is handed in.

right    the case is named, and on windows that nobody looked at the number is the healthy twin's: within LEFT of the damage,
         and within MOST; a mend that has to choose codes again, on a text of its own, has more room
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from qcourse.models.loader import load_model
from qcourse.options import did_you_mean
from qcourse.study.clinic.case import Patient
from qcourse.study.clinic.cases import CASES
from qcourse.study.clinic.meter import RIGHT, Meter
from qcourse.study.clinic.tree import walk, ways

LEFT = {"file": 0.25, "meter": 0.25, "model": 0.75}  # of the damage, by the kind of the case
MOST = {"file": 0.005, "meter": 0.005, "model": 0.05}  # bits a byte
FLOOR = 1e-3  # bits a byte: below it two measurements of one model are the same


@dataclass(frozen=True)
class Verdict:
    """right: cause and number · said: what is told · cause, mended: each by itself."""

    right: bool
    said: str
    cause: bool
    mended: bool

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        return self.said


def diagnose(patient: Patient, cause: str, mended: nn.Module | Path | Meter | float | None = None) -> Verdict:
    """Judge a cause (a name of CASES) and what was mended: a model, a folder, a meter, or its bits a byte on
    `patient.other_text` by the right meter.

    Raises KeyError for a cause that is no name of CASES, naming the nearest; ValueError for a model that gives no number.
    """
    if cause not in CASES:
        raise KeyError(f"{cause!r} is no name of CASES{did_you_mean(cause, CASES)}: {', '.join(CASES)}")
    true = patient.case
    if cause != true.name:
        return Verdict(False, f"No: {differs(patient, cause)}", False, False)
    shown = f"Yes, {true.name}: {true.cause} Seen in “{true.instrument}”: {true.looks}."
    if mended is None:
        return Verdict(False, f"{shown} Now mend it, and hand in the model, its folder or its number.", True, False)
    if true.kind == "meter" and isinstance(mended, (nn.Module, Path)):
        return Verdict(
            False, f"{shown} The model is not ill: hand in a Meter, or the number that a right one reads.", True, False
        )
    there, (_, twin), ill = number(patient, mended), patient.elsewhere, patient.damaged
    told = f"{there:.4f} bits/byte on the other windows, where the healthy twin has {twin:.4f}, the patient {ill:.4f}"
    if abs(there - twin) <= allowed(patient):
        return Verdict(True, f"{shown} Mended: {told}.", True, True)
    asked = f"within {allowed(patient):.4f} of the twin is asked"
    return Verdict(False, f"{shown} Not mended yet: {told}; {asked}. {true.mend}", True, False)


def allowed(patient: Patient) -> float:
    """How far from its twin a mended patient may be, in bits a byte."""
    kind = patient.case.kind
    return max(FLOOR, min(MOST[kind], LEFT[kind] * abs(patient.damaged - patient.elsewhere[1])))


def number(patient: Patient, mended: nn.Module | Path | Meter | float) -> float:
    """Bits a byte on the check's windows. Raises TypeError for what is none of these."""
    if isinstance(mended, Meter):
        return mended.read(patient.model, patient.other_text).bits
    if isinstance(mended, (str, Path)):
        mended = load_model(Path(mended))
    if isinstance(mended, nn.Module):
        return RIGHT.read(mended, patient.other_text).bits
    if isinstance(mended, bool) or not isinstance(mended, (int, float)):
        raise TypeError(f"mended is a {type(mended).__name__}: a model, a folder, a Meter, a number or None expected")
    return float(mended)


def differs(patient: Patient, cause: str) -> str:
    """What the wrong cause would look like, and the first question at which this patient leaves its way."""
    wrong, here = CASES[cause], {question: answer for question, _, answer in walk(patient).steps}
    said = f"{cause} would show in {wrong.instrument}: {wrong.looks}."
    way = next(way for case, way in ways() if case == cause)
    parting = next(((q, a) for q, a in way if here.get(q.question, a) != a), None)
    if parting is None:
        return said
    q, expected = parting
    yes = ("no", "yes")
    return f"{said} There, {q.instrument} answers “{q.question}” with {yes[expected]}; here with {yes[not expected]}."
