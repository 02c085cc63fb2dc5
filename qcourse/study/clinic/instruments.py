"""The instruments by name, and `examine`: one look at a patient, kept, so that a second look costs nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from qcourse.options import did_you_mean
from qcourse.study.clinic.case import Patient
from qcourse.study.clinic.codes import codes
from qcourse.study.clinic.headers import headers
from qcourse.study.clinic.reading import protocol
from qcourse.study.clinic.running import errors, loudness, positions


@dataclass(frozen=True)
class Instrument:
    """what: it answers this question · look(patient, layer) → a record with `.table()` and `.figure()` · one: it looks at
    one layer."""

    what: str
    look: Callable
    one: bool = False


INSTRUMENTS: dict[str, Instrument] = {
    "errors by layer": Instrument("Which layers do something else than the twin's, on the same input?", errors),
    "codes": Instrument("Which codes, scales and zero points does a layer hold, and whose are they?", codes, one=True),
    "positions": Instrument("At which positions of a text does the patient go wrong?", positions),
    "headers": Instrument("In which names, dtypes, shapes, keys and bytes do the two folders differ?", headers),
    "loudness": Instrument("How loud is the input of each layer, beside the twin's and that of bf16?", loudness),
    "meter": Instrument("What was put into the model, what was asked of it, and on which text?", protocol),
}


def examine(patient: Patient, instrument: str, layer: str | None = None):
    """What an instrument of INSTRUMENTS shows; `layer` for those that look at one (None: the worst).

    Raises KeyError for an unknown instrument, naming those that there are, and for an unknown layer.
    """
    if instrument not in INSTRUMENTS:
        raise KeyError(f"{instrument!r}: one of {', '.join(INSTRUMENTS)}{did_you_mean(instrument, INSTRUMENTS)}")
    key = (instrument, layer if INSTRUMENTS[instrument].one else None)
    if key not in patient.found:
        patient.found[key] = INSTRUMENTS[instrument].look(patient, layer)
    return patient.found[key]
