"""Where each invariant of the course lives: predicted, measured, practised, explained, debugged.

The laws are those of notebook 00, §7. What explains one is read from the exercises and the interview, which say it of
themselves; the rest is a row here, and a test looks every place up.
"""

from dataclasses import dataclass

from qcourse.study.cheatsheet_methods import INVARIANTS
from qcourse.study.exercises import EXERCISES
from qcourse.study.interview import questions
from qcourse.study.picture import Table


@dataclass(frozen=True)
class Home:
    """predicted: keys of guesses · measured: notebook and section · practised: lab tasks · debugged: cases of the clinic."""

    predicted: tuple[str, ...]
    measured: tuple[str, ...]
    practised: tuple[str, ...]
    debugged: tuple[str, ...]


HOMES = (
    Home(
        ("00.1", "00.3", "00.4", "08.2"),
        ("00 §3", "04 §5", "08 §6"),
        ("04.1", "04.5", "08.5"),
        ("the head quantized, too",),
    ),
    Home(
        ("01.2", "02.1", "02.2", "05.3", "06.1"),
        ("01 §7", "02 §6", "05 §9", "07 §7"),
        ("01.1", "02.1", "02.2", "05.4", "06.5"),
        ("zero points off by one", "groups along the wrong axis", "scales underflow in fp16", "a matrix of another layer",
         "act_order ignored"),
    ),
    Home(
        ("03.3", "03.5", "08.3"),
        ("03 §6", "08 §2", "12 §4"),
        ("03.4", "03.6", "04.6", "08.6"),
        ("smoothing never applied", "a fold forgotten", "a fold applied twice"),
    ),
    Home(
        ("02.3", "02.4", "08.3", "11.3", "11.4"),
        ("02 §4", "08 §3", "11 §4"),
        ("02.5", "08.1", "11.1", "11.2", "13.3"),
        ("swapped nibbles", "zeros of another version", "Q and K rows not put back", "global scale inverted",
         "act_order ignored"),
    ),
    Home(
        ("09.2", "09.4", "09.8"),
        ("09 §2", "09 §7"),
        ("09.1", "09.3", "09.4", "09.5"),
        ("the head quantized, too",),
    ),
    Home(
        ("10.1", "10.5", "10.7", "10.9"),
        ("10 §6", "10 §8", "10 §10"),
        ("10.1", "10.4", "10.6"),
        ("KV scales of 1.0",),
    ),
)  # fmt: skip


def explained(number: int) -> list[str]:
    """Keys of the exercises and the interview's questions that say an invariant (1 … 6) is theirs."""
    told = [e.key for e in EXERCISES.values() if e.invariant == number]
    return told + [q.key for q in questions() if number in q.invariants]


def homes() -> Table:
    """A row for each invariant; of exercises (A1) and questions (A2) how many explain it."""
    rows = []
    for number, (law, home) in enumerate(zip(INVARIANTS, HOMES, strict=True), 1):
        told = explained(number)
        said = [f"{sum(key.startswith(a) for key in told)} of {a}" for a in ("A1", "A2")]
        places = (home.predicted, home.measured, [f"lab {task}" for task in home.practised], said, home.debugged)
        rows.append((f"{number}. {law}", *(", ".join(p) for p in places)))
    return Table(("invariant", "predicted", "measured", "practised", "explained", "debugged"), rows)
