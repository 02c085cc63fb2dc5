"""What a check found, in parts; the words and the card are made of them in `show`."""

from dataclasses import asdict, dataclass

from qcourse.checks import show


@dataclass(frozen=True, repr=False)
class Result:
    """What a check found. `score`: weighted share of the properties that count, 0 … 1; `passed`: every property.

    problem: what is wrong with the shown answer · error: the student's own exception · trace: their lines ·
    inputs: the arguments, written out (`whole`: every number of them) · advice: what a wrong kind, shape or dtype asks for ·
    mistake, hint, invariant: the misconception, if one was recognised; `sure`: it explains everything that was seen, and
    nothing else that is known does · idle: properties that hold and do not count, since nothing beside them holds ·
    uses: functions of the package that the answer called · seed: repeats the run · cases: how many were tried.
    """

    task: str
    function: str
    outcome: str
    passed: dict[str, bool]
    score: float
    points: float = 1
    mistake: str | None = None
    sure: bool = False
    hint: str = ""
    invariant: str = ""
    problem: str = ""
    error: str = ""
    trace: str = ""
    inputs: str = ""
    whole: bool = False
    advice: str = ""
    idle: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    seed: int | None = None
    cases: int = 0

    @property
    def message(self) -> str:
        """What the student reads below the properties."""
        return show.message(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """For whoever grades: what deserves a look although it costs no points."""
        return (f"{self.task} calls the package: {', '.join(self.uses)}",) if self.uses else ()

    def data(self, hide_seed: bool = False) -> dict:
        """Every part as JSON data, with `message`, `notes` and `parts` (style and text of each paragraph)."""
        parts = [p for p in show.parts(self) if not (hide_seed and p[0] == "seed")]
        made = {"message": "\n\n".join(show.terminal(*p) for p in parts), "notes": list(self.notes), "parts": parts}
        return asdict(self) | made | {"seed": None if hide_seed else self.seed}

    def __repr__(self) -> str:
        return show.text(self)

    def _repr_html_(self) -> str:
        return show.html(self)
