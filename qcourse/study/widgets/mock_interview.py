"""A mock interview: ten questions by chance; answer aloud or in text, then compare and grade yourself.

    mock = mock_interview(interview.answers("captures"))      # seeded by the date; seed="any word" draws others
    mock                                    # a field for the answer, "Show", a grade, the next question

Answers and grades are kept by the question's key (`guesses`). Without ipywidgets: mock.say("…"), mock.show(), mock.grade(2),
mock.go(1). With QCOURSE_STATIC set (the edition for reading) all questions are shown, their answers in fold-outs.
"""

import html
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from qcourse.study.interview import APPENDIX, COUNT, GRADES, Answered, drawn
from qcourse.study.widgets import controls, guesses, static

STYLE = "border-left:4px solid #2b6cb0;padding:.4em .8em;margin:.3em 0;line-height:1.5"
LEVELS = ("weak", "good", "excellent")


def marked(text: str) -> str:
    """**terms** as HTML, everything else escaped."""
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))


def told(a: Answered) -> list[tuple[str, str]]:
    """What stands beside a model answer: (what, text)."""
    q = a.question
    rows = [(f"a {level} answer" if level != "excellent" else "an excellent answer", getattr(q, level)) for level in LEVELS]
    rows += [("where you met it", " · ".join(q.places)), ("invariant", ", ".join(map(str, q.invariants)))]
    return rows + ([("its numbers come from", ", ".join(a.sources))] if a.sources else [])


def revealed(a: Answered) -> str:
    """The model answer and what stands beside it, as HTML."""
    rest = "".join(f"<div><i>{what}</i>: {marked(text)}</div>" for what, text in told(a))
    return f"<p>{marked(a.answer)}</p>{rest}"


def spoken(a: Answered) -> str:
    """The same as text."""
    return "\n".join([a.answer.replace("**", ""), *(f"  {what}: {text}" for what, text in told(a))])


def folded(found: Sequence[Answered]) -> str:
    """Every question as a fold-out, as HTML."""
    heads = (f"{a.question.key} {html.escape(a.question.asked)}" for a in found)
    return "".join(f'<details style="{STYLE}"><summary>{head}</summary>{revealed(a)}</details>'
                   for head, a in zip(heads, found, strict=True))  # fmt: skip


def kept_grades() -> dict[str, int]:
    """key → the grade that the learner gave: of all questions graded so far. What is no grade in the file is left out."""
    found = {key: what.get("grade") for key, what in guesses.read_all().items() if key.startswith(f"{APPENDIX}.")}
    return {key: g for key, g in sorted(found.items()) if isinstance(g, int) and 0 <= g < len(GRADES)}


def progress(found: Sequence[Answered]) -> str:
    """How many were graded, how, and which are worth another try."""
    grades = kept_grades()
    again = [key for key, grade in grades.items() if grade < 2]
    counts = ", ".join(f"{sum(g == n for g in grades.values())} {name}" for n, name in enumerate(GRADES))
    text = f"{len(grades)} of {len(found)} questions graded: {counts}" if grades else "no question graded yet"
    return text + (f"; once more: {', '.join(again)}" if again else "")


class MockInterview:
    """The questions drawn, and where one is: `current`, `at`. `opened`: keys whose answers may be seen."""

    def __init__(self, found: Sequence[Answered], seed: str | int, count: int):
        self.found, self.seed, self.drawn, self.at = list(found), seed, drawn(found, seed, count), 0
        self.opened: set[str] = set()

    @property
    def current(self) -> Answered:
        """The question that is asked."""
        return self.drawn[self.at]

    @property
    def key(self) -> str:
        """The key of the question that is asked."""
        return self.current.question.key

    def say(self, text: str) -> None:
        """Keep an answer in the learner's words."""
        guesses.keep(self.key, answer=str(text))

    def show(self) -> str:
        """Open the model answer: what it says."""
        self.opened.add(self.key)
        return spoken(self.current)

    def grade(self, grade: int) -> None:
        """Keep one's own grade, 0 (no answer) to 3 (excellent). Raises ValueError before "show", and for another number."""
        if self.key not in self.opened:
            raise ValueError(f"{self.key}: compare first: show() opens the model answer")
        if isinstance(grade, bool) or not isinstance(grade, int) or not 0 <= grade < len(GRADES):
            raise ValueError(f"grade={grade!r}: " + ", ".join(f"{n} {name}" for n, name in enumerate(GRADES)))
        guesses.keep(self.key, grade=grade)

    def go(self, steps: int = 1) -> str:
        """On to another question, back with a negative number; stops at the ends. Returns it."""
        self.at = min(max(self.at + steps, 0), len(self.drawn) - 1)
        return repr(self)

    def asked(self) -> str:
        """The question, with its place among those drawn."""
        return f"Question {self.at + 1} of {len(self.drawn)} ({self.key}). {self.current.question.asked}"

    def __repr__(self) -> str:
        return f"{self.asked()}\n{progress(self.found)}"

    def widget(self):
        """Question, field, answer and grade, or None when ipywidgets is not installed."""
        try:
            import anywidget  # noqa: F401 (its radio groups)
            import ipywidgets
        except ImportError:
            return None
        return desk(self, ipywidgets)

    def _ipython_display_(self):
        from IPython.display import display

        if static():
            text = "\n\n".join(f"{a.question.key} {a.question.asked}\n{spoken(a)}" for a in self.found)
            return display({"text/html": folded(self.found), "text/plain": text}, raw=True)
        box = self.widget()
        return display(box) if box is not None else print(repr(self))


def desk(mock: MockInterview, ipywidgets):
    """The widgets of an interview, wired: nothing of an answer is in them before "Show"."""
    field = ipywidgets.Textarea(placeholder="your answer, or say it aloud", layout={"width": "100%", "height": "8em"})
    show, back, on = (ipywidgets.Button(description=d, tooltip=t) for d, t in (
        ("Show", "keep what you wrote, then see the model answer"), ("Back", "the question before"),
        ("Next", "the next question")))  # fmt: skip
    asked, answer, said = (ipywidgets.HTML() for _ in range(3))

    def give(at: int | None) -> None:
        if at is not None and mock.key in mock.opened and kept_grades().get(mock.key) != at:
            mock.grade(at)
            said.value = summary(mock)

    grades = controls.radio("Your grade", [f"{n} {name}" for n, name in enumerate(GRADES)], None, give)
    box = ipywidgets.VBox([asked, field, ipywidgets.HBox([show, back, on]), answer, grades, said])

    def then(what: Callable[[], object]) -> None:
        if field.value.strip():
            mock.say(field.value)
        what()
        fill(mock, box)

    show.on_click(lambda _: then(mock.show))
    back.on_click(lambda _: then(lambda: mock.go(-1)))
    on.on_click(lambda _: then(mock.go))
    fill(mock, box)
    return box


def summary(mock: MockInterview) -> str:
    """What was graded so far, announced to screen readers."""
    return f'<div role="status">{html.escape(progress(mock.found))}</div>'


def fill(mock: MockInterview, box) -> None:
    """Write the current question into its widgets, and its answer if it was opened."""
    asked, field, row, answer, grades, said = box.children
    opened, last = mock.key in mock.opened, len(mock.drawn) - 1
    asked.value = f'<div style="{STYLE}">{html.escape(mock.asked())}</div>'
    field.value = str(guesses.read_all().get(mock.key, {}).get("answer", ""))
    answer.value = f'<div style="{STYLE}" role="status">{revealed(mock.current)}</div>' if opened else ""
    grades.at = kept_grades().get(mock.key) if opened else None
    grades.layout.display = "" if opened else "none"
    row.children[1].disabled, row.children[2].disabled = mock.at == 0, mock.at == last
    said.value = summary(mock)


def mock_interview(found: Sequence[Answered], seed: str | int | None = None, count: int = COUNT) -> MockInterview:
    """Draw and ask. found: of `interview.answers`; seed: None takes the date. Raises ValueError for more than there are."""
    return MockInterview(found, datetime.now(UTC).date().isoformat() if seed is None else seed, count)
