"""Widgets without a browser: what they keep, what they show, and that plain Python is enough."""

import builtins

import pytest

from qcourse.study import plots
from qcourse.study.widgets.decide import DECISIONS, Decision
from qcourse.study.widgets.explore import explore, png
from qcourse.study.widgets.nibbles import NibbleView, byte_html
from qcourse.study.widgets.predict import predict


@pytest.fixture
def no_ipywidgets(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "ipywidgets":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_prediction_is_kept_and_held_against_the_truth():
    guess = predict("How many?", "GB/s")
    assert "made no prediction" in guess.reveal(10)
    box = guess.widget()
    box.children[1].children[0].value = "20,5"  # a decimal comma is a decimal point
    assert guess.value == 20.5 and "kept: 20.5 GB/s" in box.children[1].children[1].value
    assert "you said: 20.5 GB/s" in guess.reveal(10.25) and "factor of 2" in guess.reveal(10.25)
    assert "spot on" in guess.reveal(20)


def test_a_guess_that_is_no_number_is_asked_for_again():
    guess = predict("How many?")
    box = guess.widget()
    box.children[1].children[0].value = "many"
    assert guess.value is None and "a number" in box.children[1].children[1].value


def test_plain_python(no_ipywidgets):
    guess = predict("How many?", "ms")
    assert guess.widget() is None
    guess.value = 3.0
    assert repr(guess) == "How many?  [guess: 3 ms]" and "you said: 3 ms" in guess.reveal(4)
    assert NibbleView().widget() is None
    assert explore(lambda bits: plots.bars(["a"], [bits], "t", "x"), bits=[1, 2]).widget() is None


def test_dragging_redraws():
    drawn = []

    def draw(bits, G):
        drawn.append((bits, G))
        return plots.bars(["a"], [bits], "t", "x")

    e = explore(draw, bits=[4, 8], G=[32, 64])
    box = e.widget()
    before = e.image.value
    box.children[0].value = 8
    assert drawn[-1] == (8, 32) and e.values["bits"] == 8 and e.image.value != before
    e.set(G=64)
    assert box.children[1].value == 64
    with pytest.raises(ValueError, match="choices are"):
        e.set(G=65)


def test_the_byte_of_two_nibbles():
    view = NibbleView(-8, 7)
    assert view.value == 0xF0
    box = view.widget()
    box.children[0].value = -7
    assert view.value == 0xF1 and "0xF1" in box.children[2].value
    with pytest.raises(ValueError, match="-8 to 7"):
        byte_html(8, 0)


def test_figures_are_png():
    fig = plots.words({"AWQ": [0, 2, 4, 6, 1, 3, 5, 7]}, "order")
    assert png(fig).startswith(b"\x89PNG")


def test_every_constraint_has_an_answer(no_ipywidgets):
    decision = Decision()
    assert decision.widget() is None and all(c in repr(decision) for c in DECISIONS)


def test_choosing_a_constraint_changes_the_family():
    decision = Decision()
    box = decision.widget()
    for constraint, (family, _) in DECISIONS.items():
        box.children[0].value = constraint
        assert family in box.children[1].value and decision.answer.startswith(family)
