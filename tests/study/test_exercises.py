"""The exercises: whole, each right answer accepted, each usual slip named, each number computed or cited."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch

from qcourse.checks import exercises as asking
from qcourse.checks.exercises import exercise, try_program
from qcourse.study.exercise import KINDS, Choice, Lines, Number, Program, judge
from qcourse.study.exercises import EXERCISES
from qcourse.study.widgets import guesses
from tools.edition import learner

ROOT = Path(__file__).parent.parent.parent
CAPTURES, NOTEBOOK = ROOT / "captures", ROOT / "notebooks" / "A1_exercises.ipynb"
EVERY = list(EXERCISES.values())
GUIDE = {  # what the guide asks, in its order → words of the exercise that takes it up
    "A1.1": "decode", "A1.2": "dequantiz", "A1.3": "scale", "A1.9": "methods", "A1.10": "Linear", "A1.11": "apply()",
    "A1.12": "W4A16", "A1.18": "erases", "A1.19": "int4", "A1.20": "integers", "A1.24": "70B", "A1.25": "two points",
    "A1.26": "INT3",
}  # fmt: skip
NAMES = re.compile(r"[A-Za-z_]\w*-?\w*|\d+-bit|[\w-]+\.json|0x[0-9a-f]+")  # of formats and files
SMALL = {"1", "2", "3", "4", "8", "15", "16", "32", "64", "127", "128"}  # bits, groups, codes of formats, factors of laws


def of(kind):
    return [pytest.param(e, id=e.key) for e in EVERY if isinstance(e.field, kind)]


def typed(e):
    """Numbers in a model answer that are neither computed, nor given by its question, nor part of a format or a law."""
    text = re.sub(r"\{[^}]*\}", " ", e.model.partition("\n\n")[0])
    found = re.findall(r"\d[\d,.]*\d|\d", NAMES.sub(" ", text))
    given = re.findall(r"\d[\d,.]*\d|\d", e.question)
    return [n for n in found if n not in SMALL and n not in given]


@cache
def sections(path):
    cells = nbformat.read(path, as_version=4).cells
    return {found[1] for c in cells if (found := re.match(r"## (\d+) · ", c.source))}


@pytest.fixture(scope="module")
def answers():
    return {e.key: e.answer(CAPTURES) for e in EVERY}


@pytest.fixture
def own_guesses(tmp_path, monkeypatch):
    monkeypatch.delenv("QCOURSE_STATIC", raising=False)
    monkeypatch.setattr(guesses, "guesses_file", lambda: tmp_path / "guesses.json")


def test_thirty_in_four_kinds_each_with_a_key_of_its_own():
    assert list(EXERCISES) == [f"A1.{i}" for i in range(1, 31)] and len({e.question for e in EVERY}) == 30
    assert Counter(e.kind for e in EVERY) == {"warm-up": 8, "core": 9, "build": 6, "design": 7} and len(KINDS) == 4
    assert {e.invariant for e in EVERY} == set(range(1, 7))


def test_what_the_guide_asks_is_all_there():
    assert [e.key for e in EVERY if e.guide] == list(GUIDE) and len(GUIDE) == 13
    assert len({e.guide for e in EVERY if e.guide}) == 13
    for key, words in GUIDE.items():
        assert words in EXERCISES[key].question, key
    kinds = Counter(EXERCISES[key].kind for key in GUIDE)
    assert kinds == {"warm-up": 3, "core": 4, "build": 3, "design": 3}


@pytest.mark.parametrize("e", of(Number))
def test_a_number_is_judged(e):
    right = e.field.right()
    near = e.field.rtol * abs(right)
    assert judge(e.field, right) == judge(e.field, right + 0.9 * near) == ("right", "")
    assert len(e.field.wrong) >= 3 and len({why for _, why in e.field.wrong}) == len(e.field.wrong)
    for wrong, why in e.field.wrong:
        assert judge(e.field, wrong()) == ("wrong", why)
    assert "not one of the usual" in judge(e.field, 17.3 * right)[1]


@pytest.mark.parametrize("e", of(Choice))
def test_a_choice_is_judged(e):
    assert judge(e.field, e.field.right) == ("right", "") and len(e.field.wrong) >= 3
    assert all(judge(e.field, choice) == ("wrong", why) for choice, why in e.field.wrong.items())
    with pytest.raises(ValueError, match="none of the choices"):
        judge(e.field, "another")


def test_right_choices_do_not_stand_in_one_place():
    assert len({e.field.choices.index(e.field.right) for e in EVERY if isinstance(e.field, Choice)}) >= 3


@pytest.mark.parametrize("e", of(Program))
def test_a_function_is_tried(e):
    for seed in range(4):
        assert try_program(e.field, e.field.solution, seed)[0] == "right"
        for wrong, why in e.field.wrong:
            outcome, said = try_program(e.field, wrong, seed)
            assert outcome == "wrong" and why[1:] in said, (seed, said)
    assert len(e.field.wrong) >= 3
    assert try_program(e.field, lambda *args: ..., 0)[0] == "not attempted"
    assert try_program(e.field, lambda *args: 1 / 0, 0) == ("raised", "ZeroDivisionError: division by zero")
    for nonsense in ("text", torch.full((3, 3), float("nan")), {}):
        assert try_program(e.field, lambda *args, it=nonsense: it, 0)[0] == "wrong"


def test_other_styles_are_right():
    def product(x, W):  # NumPy, in double, with other names for the same law
        a, b = x.double().numpy(), W.double().numpy()
        s, t = abs(a).max(1, keepdims=True) / 127, abs(b).max(1, keepdims=True) / 127
        return ((a / s).round() @ (b / t).round().T) * s * t.T

    def groups(W):
        out = W.double().clone()
        for row in out:
            for i in range(0, len(row), 32):
                s = row[i : i + 32].abs().max() / 7.5
                row[i : i + 32] = s * (row[i : i + 32] / s).round().clamp(-8, 7)
        return out

    for seed in range(20):
        assert try_program(EXERCISES["A1.20"].field, product, seed)[0] == "right"
        assert try_program(EXERCISES["A1.19"].field, groups, seed)[0] == "right"


@pytest.mark.parametrize("e", EVERY, ids=lambda e: e.key)
def test_a_model_answer_is_whole(e, answers):
    text, _, source = answers[e.key].partition("\n\n")
    assert 3 <= len(re.findall(r"[.!?](?=\s|$)", text)) <= 8, text
    assert bool(source) == isinstance(e.field, Program) and "nan" not in text and "{" not in text
    places = set(re.findall(r"\{(\w+)", e.model))
    assert places == places & set(e.numbers(CAPTURES))


@pytest.mark.parametrize("e", EVERY, ids=lambda e: e.key)
def test_no_result_is_typed(e):
    assert typed(e) == []


@pytest.mark.parametrize("e", EVERY, ids=lambda e: e.key)
def test_what_is_cited_exists_and_what_is_read_is_cited(e, answers, tmp_path):
    assert set(re.findall(r"([\w-]+)\.json", answers[e.key])) == set(e.cites)
    assert all((CAPTURES / f"{name}.json").exists() for name in e.cites)
    if e.cites:
        with pytest.raises(FileNotFoundError):
            e.answer(tmp_path)
    else:
        assert e.answer(tmp_path) == answers[e.key]  # nothing is read from there


@pytest.mark.parametrize("e", EVERY, ids=lambda e: e.key)
def test_where_it_was_taught_exists(e):
    for number, section in (place.split(" §") for place in e.taught):
        (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        assert section in sections(path), (number, section)


def test_typed_results_are_found():
    from dataclasses import replace

    assert typed(replace(EXERCISES["A1.1"], model="It is 2.84 times faster, {gain}.")) == ["2.84"]


def test_an_answer_is_kept_and_the_model_answer_waits_for_it(own_guesses):
    e = exercise("A1.3", captures=CAPTURES)
    assert "Model answer" not in e.folded() and "A group's bill" not in repr(e) + e.question_card()
    e.commit("4")
    assert (e.outcome, e.open) == ("wrong", True) and "scales are read" in e.folded() and "<details>" in e.folded()
    e.commit("4.125 bits")
    again = exercise("A1.3", captures=CAPTURES)
    assert (again.outcome, again.value) == ("right", 4.125) and "A group" in again.folded()
    shown = exercise("A1.5", captures=CAPTURES)
    shown.show()
    assert shown.outcome == "not attempted" and "Model answer" in exercise("A1.5", captures=CAPTURES).folded()
    lines = exercise("A1.26", captures=CAPTURES)
    with pytest.raises(ValueError, match="few lines"):
        lines.commit("  ")
    lines.commit("a config\nand a method")
    assert isinstance(EXERCISES["A1.26"].field, Lines) and "<li>the kernel" in exercise("A1.26", captures=CAPTURES).folded()


def test_a_function_opens_its_model_answer_when_it_is_right(own_guesses):
    field = EXERCISES["A1.22"].field
    wrong = exercise("A1.22", field.wrong[0][0], CAPTURES)
    assert wrong.outcome == "wrong" and not wrong.open and "That is the step" in wrong.folded()
    right = exercise("A1.22", field.solution, CAPTURES)
    assert right.outcome == "right" and "def bounds" in right.folded()
    with pytest.raises(ValueError, match="the function itself"):
        right.commit("3")
    with pytest.raises(ValueError, match="asks for no function"):
        exercise("A1.1", field.solution)
    with pytest.raises(ValueError, match="no exercise"):
        exercise("A1.31")


@pytest.mark.parametrize("key", ["A1.1", "A1.2", "A1.18", "A1.26"])
def test_the_field_works(key, own_guesses):
    e = exercise(key, captures=CAPTURES)
    box = e.widget()
    assert key in box.children[0].value and box.children[-1].value == ""
    buttons = box.children[-2].children
    assert len(buttons) == (2 if key == "A1.18" else 3)
    buttons[-2].click()  # "Show me"
    assert "Model answer" in box.children[-1].value


def test_what_is_typed_is_judged_where_it_was_typed(own_guesses):
    box = exercise("A1.2", captures=CAPTURES).widget()
    (_, entry, buttons, below) = box.children
    for typed_in, outcome in (("0.012", "cut off"), ("0.0160", "A1.2: right")):
        entry.value = typed_in
        buttons.children[0].click()
        assert outcome in below.value and "Model answer" in below.value
    entry.value = "four"
    buttons.children[0].click()
    assert "please: a number" in buttons.children[-1].value and "A1.2: right" in below.value


def test_the_notebook_asks_each_once_and_gives_nothing_away(answers):
    nb = nbformat.read(NOTEBOOK, as_version=4)
    source = "\n".join(c.source for c in nb.cells if c.cell_type == "code")
    assert re.findall(r'^exercise\("(A1\.\d+)"', source, re.M) == list(EXERCISES)
    shown = [o.data for c in nb.cells if c.cell_type == "code" for o in c.outputs if "data" in o]
    assert sum(d.get("text/html", "").count("<summary>Model answer") for d in shown) == 30
    everything = nbformat.writes(learner(nb))
    for e in EVERY:
        assert answers[e.key][:40] not in everything, e.key
    for c in (c for c in nb.cells if c.cell_type == "markdown"):
        text = re.sub(
            r"\[[^]]*\]\([^)]*\)|^## \d|\b[AW]\d[\w.]*|<code>.*?</code>|below 4 bits|§\d", " ", c.source, flags=re.M
        )
        assert not re.search(r"\d", text), text


def test_captures_are_those_beside_the_notebooks():
    assert str(asking.CAPTURES) == "../captures"
