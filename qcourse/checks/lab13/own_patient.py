"""13.6 my_patient() → (number, cause, bits): a patient of the clinic, drawn by its number, named and mended.

What is right depends on the patient that an answer names, so nothing is compared with `expected`: the patient is drawn
again here, and both properties ask the clinic. In a class each student has a patient; the grader says which
(`task.assigning`).
"""

import math
from collections.abc import Callable
from functools import lru_cache

from qcourse.checks.compare import structure
from qcourse.checks.task import PATIENT, Mistake, Property, Task
from qcourse.options import did_you_mean
from qcourse.study.clinic import CASES, RIGHT, Patient, patient
from qcourse.study.clinic.case import plain
from qcourse.study.clinic.verdict import allowed, differs
from qcourse.study.numbered import MOST

Report = tuple[int, str, float]
ANY = 16  # a patient whose meter is wrong: quickly made


@lru_cache(maxsize=4)
def drawn(number: int) -> Patient:
    """The patient of a number; made in a second, and kept for the next property."""
    return patient(number)


def reported() -> Report:
    """A right report: on the patient that was handed out, or on one of many."""
    p = drawn(ANY if PATIENT.get() is None else PATIENT.get())
    return p.seed, p.case.name, p.elsewhere[1]


def another(report: Report) -> str | None:
    """What is wrong with the number: not this student's, or none at all."""
    mine, number = PATIENT.get(), report[0]
    if not (float(number).is_integer() and 0 <= number < MOST):
        return f"{number} is no patient's number: a whole number from 0 to {MOST - 1} is"
    said = f"you report on patient {int(number)}, and the one handed out to you is {mine}"
    return None if mine in (None, number) else said


def named(args: tuple, report: Report, expected: Report) -> str | None:
    """The cause; a wrong one is told what it would look like, and where this patient leaves its way."""
    wrong = another(report)
    if wrong or report[1] in CASES and report[1] == drawn(int(report[0])).case.name:
        return wrong
    if report[1] not in CASES:
        return f"{report[1]!r} is no name of CASES{did_you_mean(report[1], CASES)}"
    return f"patient {int(report[0])}: {differs(drawn(int(report[0])), report[1])}"


def mended(args: tuple, report: Report, expected: Report) -> str | None:
    """The number, which counts behind the right cause only: it can be had without one."""
    wrong = named(args, report, expected)
    if wrong:
        return f"first the number and the cause: {wrong}"
    p = drawn(int(report[0]))
    off = abs(report[2] - p.elsewhere[1])
    if off <= allowed(p):
        return None
    return f"bits = {report[2]:.4f}: mended, patient {p.seed} is within {allowed(p):.4f} of its twin; this is {off:.4f} away"


def near(a: float, b: float) -> bool:
    """Equal, as far as a report's digits go."""
    return math.isfinite(a) and abs(a - b) < 6e-4


def cause_is(p: Patient, cause: str) -> bool:
    """Whether it was named."""
    return p.case.name == cause


def instrument_mates(p: Patient, cause: str) -> bool:
    """Another case that the same instrument shows, and of the same kind."""
    other = CASES.get(cause)
    return other is not None and other is not p.case and (other.kind, other.instrument) == (p.case.kind, p.case.instrument)


def blamed(p: Patient, cause: str) -> bool:
    """The model for a wrong meter, or the meter for an ill model."""
    return cause in CASES and (CASES[cause].kind == "meter") != (p.case.kind == "meter")


SIGNS: dict[str, Callable[[Patient, str, float], bool]] = {  # what a wrong report is known by; the first that fits
    "the meter taken for the model": lambda p, cause, bits: blamed(p, cause),
    "a neighbour in the tree": lambda p, cause, bits: instrument_mates(p, cause),
    "nothing mended": lambda p, cause, bits: cause_is(p, cause) and near(bits, p.damaged),
    "scored on the table's windows": lambda p, cause, bits: cause_is(p, cause) and near(bits, p.healthy.bits),
    "the 16-bit model scored": lambda p, cause, bits: (
        cause_is(p, cause) and near(bits, RIGHT.read(plain(), p.other_text).bits)
    ),
    "nats for bits": lambda p, cause, bits: cause_is(p, cause) and near(bits, p.elsewhere[1] * math.log(2)),
    "mended in part": lambda p, cause, bits: (
        cause_is(p, cause) and allowed(p) < abs(bits - p.elsewhere[1]) < 0.95 * abs(p.damaged - p.elsewhere[1])
    ),
}


def same(args: tuple, report: Report, other: Report) -> str | None:
    """Whether a report bears the sign of a mistake (other = (0, its name, 0.0)); no other reports are compared."""
    if structure(report, other) or another(report):
        return "no patient of this student's"
    return None if sign_of(int(report[0]), report[1], float(report[2])) == other[1] else "no such sign"


@lru_cache(maxsize=16)
def sign_of(number: int, cause: str, bits: float) -> str | None:
    """The first of SIGNS that a report on a patient bears."""
    return next((name for name, fits in SIGNS.items() if fits(drawn(number), cause, bits)), None)


def mistake(name: str, hint: str, invariant: str) -> Mistake:
    """A mistake that is known by its sign."""
    return Mistake(name, lambda: (0, name, 0.0), hint, invariant)


MISTAKES = (
    mistake(
        "the meter taken for the model",
        "A number is made by two: the model, and whoever reads it. What does the right meter say of this very model, on "
        "the same text? If that is the twin's number, who is ill?",
        "First the meter, then the model.",
    ),
    mistake(
        "a neighbour in the tree",
        "The instrument is the right one, and another bug of the clinic shows in it as well. Which of its numbers would be "
        "different for the one that you named?",
        "One question of the tree parts two causes.",
    ),
    mistake(
        "nothing mended",
        "The cause is right, and this is the number of the patient as it came. Did the change reach the folder that you "
        "loaded and scored, or another copy?",
        "A mend is a change of what is wrong, and of nothing else.",
    ),
    mistake(
        "scored on the table's windows",
        "That is a healthy number, on the windows that the symptoms were read on. The report asks for windows that nobody "
        "has looked at yet. Why might that matter, and where does the patient keep them?",
        "What was looked at is not what is judged on.",
    ),
    mistake(
        "the 16-bit model scored",
        "That is the shipped model in 16 bits: never ill, and not quantized. A mended patient is still in its own format. "
        "Which folder did you load?",
        "Mended is not replaced.",
    ),
    mistake(
        "nats for bits",
        "Your number is the right one, times ln 2. In which unit does cross_entropy answer, and in which does the report?",
        "1 nat = 1/ln 2 bits.",
    ),
    mistake(
        "mended in part",
        "Better, and not well. Ask `errors by layer` of the model that you mended: which places still differ from the "
        "twin's?",
        "A bug that strikes one block may strike all of them.",
    ),
)
MY_PATIENT = Task(
    id="13.6",
    function="my_patient",
    title="Your own patient",
    points=5,
    expected=reported,
    properties=(
        Property("the cause, by its name", lambda g: [()], 3, named),
        Property("the mended number", lambda g: [()], 2, mended),
    ),
    mistakes=MISTAKES,
    hint="Do not guess from the symptoms: ask. Is the meter right? In what do the folders differ? Which layers err alone? "
    "Each answer takes causes away (`tree_figure()` of the clinic is the way through them).",
    returns=("number", "cause", "bits"),
    same=same,
    free=True,
    borrows=True,
    seconds=60.0,
)
