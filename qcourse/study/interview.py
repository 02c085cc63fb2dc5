"""Twenty-five questions as they are asked in interviews, with model answers whose numbers are computed, never typed.

    answers = interview.answers("captures")      # every question with its numbers filled in, and where each comes from
    interview.drawn(answers, seed="monday")      # ten of them: the same ones for the same seed

An answer's template names its numbers in braces; `interview_numbers` computes them. The words in ** ** are
entries of the glossary: TERMS.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qcourse.study.cheatsheet_methods import INVARIANTS
from qcourse.study.glossary import GLOSSARY
from qcourse.study.interview_numbers import Number, numbers
from qcourse.study.interview_serving import SERVING
from qcourse.study.interview_weights import WEIGHTS
from qcourse.study.picture import Table

APPENDIX, COUNT = "A2", 10
GRADES = ("no answer", "weak", "good", "excellent")
FIELD = re.compile(r"\{(\w+)\}")
BOLD = re.compile(r"\*\*(.+?)\*\*")
TERMS = {word: GLOSSARY[word].says for row in (*WEIGHTS, *SERVING) for word in BOLD.findall(row[1])}


@dataclass(frozen=True)
class Question:
    """asked · answer: a template · weak, good, excellent: what such an answer contains · places: where it was predicted,
    measured or practised ("08 §1", "lab 08.5") · invariants: their numbers, as in notebook 00."""

    key: str
    asked: str
    answer: str
    weak: str
    good: str
    excellent: str
    places: tuple[str, ...]
    invariants: tuple[int, ...]


@dataclass(frozen=True)
class Answered:
    """A question, its answer with numbers, and the sources of those, each once."""

    question: Question
    answer: str
    sources: tuple[str, ...]


def questions() -> tuple[Question, ...]:
    """All of them, in the course's order, with keys A2.01 …"""
    return tuple(Question(f"{APPENDIX}.{i:02d}", *row) for i, row in enumerate((*WEIGHTS, *SERVING), 1))


def filled(question: Question, found: Mapping[str, Number]) -> Answered:
    """A question with its numbers. Raises ValueError for a number that nobody computes."""
    names = FIELD.findall(question.answer)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{question.key}: nothing computes {missing[0]!r}; numbers are rows of interview_numbers")
    text = question.answer.format_map({name: found[name].text for name in names})
    return Answered(question, text, tuple(dict.fromkeys(found[name].source for name in names)))


def answers(captures: Path | str) -> tuple[Answered, ...]:
    """All questions with their numbers. captures: the folder. Raises what `numbers` raises."""
    found = numbers(captures)
    return tuple(filled(question, found) for question in questions())


def drawn(found: Sequence[Answered], seed: str | int, count: int = COUNT) -> list[Answered]:
    """`count` questions in an order of chance, the same for the same seed. Raises ValueError for more than there are."""
    if not 1 <= count <= len(found):
        raise ValueError(f"count={count}: there are {len(found)} questions, so 1 to {len(found)}")
    return random.Random(f"{seed}").sample(list(found), count)


def listed(found: Sequence[Answered]) -> Table:
    """The questions without their answers: what each is about and where it was met."""
    rows = [(a.question.asked, a.question.key, ", ".join(map(str, a.question.invariants)), " · ".join(a.question.places))
            for a in found]  # fmt: skip
    return Table(("question", "key", "invariant", "where you met it"), rows)


def by_invariant(found: Sequence[Answered]) -> Table:
    """Each invariant of the course: the questions that ask for it, and the labs where it was practised."""
    rows = []
    for number, law in enumerate(INVARIANTS, 1):
        about = [a.question for a in found if number in a.question.invariants]
        labs = sorted({place.removeprefix("lab ")[:2] for q in about for place in q.places if place.startswith("lab ")})
        rows.append((f"{number}. {law}", " ".join(q.key.removeprefix(f"{APPENDIX}.") for q in about), " ".join(labs)))
    return Table(("invariant", f"questions ({APPENDIX}.…)", "labs"), rows)


def words() -> str:
    """The terms of the answers, as a table in Markdown."""
    return "\n".join(["| word | what it is |", "|---|---|", *(f"| **{term}** | {what} |" for term, what in TERMS.items())])


def sources(found: Mapping[str, Number]) -> Table:
    """What the answers' numbers come from: how many from each function or capture."""
    by_source: dict[str, list[str]] = {}
    for number in found.values():
        by_source.setdefault(number.source, []).append(number.text)
    return Table(("source", "numbers"), [(source, len(texts)) for source, texts in sorted(by_source.items())])
