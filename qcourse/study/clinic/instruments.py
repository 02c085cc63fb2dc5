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
    """what: it answers this question · how: to read it · look(patient, layer) → a record with `.table()` and `.figure()` ·
    one: it looks at one layer."""

    what: str
    how: str
    look: Callable
    one: bool = False


INSTRUMENTS: dict[str, Instrument] = {
    "errors by layer": Instrument(
        "Which layers do something else than the twin's, on the same input?",
        "‖y − y_twin‖ / ‖y_twin‖ at every norm and linear layer, and of the logits. An error alone points at a layer; in "
        "the running model it spreads to all that come after. A fold moves a factor from one place to the next: where it "
        "was not made, both differ. No KV cache is used.",
        errors,
    ),
    "codes": Instrument(
        "Which codes, scales and zero points does a layer hold, and whose are they?",
        "W (N, K): N outputs, K inputs. As the loader reads them. Along the axis whose groups made the scales nearly every "
        "group has a code at an end (not where codes were sorted or moved before: act_order, GPTQ; nor at 2 bits, where any "
        "group has). Blank: floats, or no zero points. Some codes agree by chance.",
        codes,
        one=True,
    ),
    "positions": Instrument(
        "At which positions of a text does the patient go wrong?",
        "Position 0 sees itself alone: there no rotation and no neighbour plays a part (a cache does: its own value goes "
        "through it). Bins that begin early hold few targets, all of windows that begin alike.",
        positions,
    ),
    "headers": Instrument(
        "In which names, dtypes, shapes, keys and bytes do the two folders differ?",
        "Only what differs is listed; what both folders say, or both leave out, is not.",
        headers,
    ),
    "loudness": Instrument(
        "How loud is the input of each layer, beside the twin's and that of bf16?",
        "The largest |x| of an input. Slope: log(patient/twin) over log(bf16/twin), channel by channel. 0: as quiet as the "
        "twin. +1: as loud as bf16. −1: divided twice. Blank: the twin is about as loud as bf16 there, or channels follow "
        "no line.",
        loudness,
    ),
    "meter": Instrument(
        "What was put into the model, what was asked of it, and on which text?",
        "If the right meter gives the twin's number, the model is not ill. If windows were read before, ask other windows.",
        protocol,
    ),
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
