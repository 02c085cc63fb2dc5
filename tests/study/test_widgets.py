"""Widgets without a browser: what they keep, what they show, and that plain Python is enough."""

import asyncio
import builtins
import json

import pytest

from qcourse.cli import main
from qcourse.study import plots
from qcourse.study.picture import Table
from qcourse.study.widgets import controls
from qcourse.study.widgets.decide import DECISIONS, Decision
from qcourse.study.widgets.explore import explore
from qcourse.study.widgets.guesses import read_guess
from qcourse.study.widgets.nibbles import NibbleView, WordView, byte_html
from qcourse.study.widgets.predict import predict
from qcourse.study.widgets.sketch import fitted, sketch


@pytest.fixture
def no_ipywidgets(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name in ("ipywidgets", "anywidget"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    controls._class.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)


pytestmark = pytest.mark.usefixtures("own_guesses")


def shown(behind, monkeypatch):
    """What a door displays: widgets and text, as IPython would be given them."""
    seen = []
    monkeypatch.setattr("IPython.display.display", lambda *what, **how: seen.extend(what))
    behind._ipython_display_()
    return seen


def parts(guess):
    """entry, commit, show me, what is said"""
    _, entry, row = guess.widget().children
    return entry, *row.children


class TestPredictions:
    def test_no_answer_before_a_guess_and_then_at_once(self, monkeypatch):
        guess = predict("00.1", "How many?", "GB/s", usual=(100, "as on a GPU"))
        door, figure = guess.reveal(10.25, "details"), guess.then(plots.bars(["a"], [7], "seven", "x"))
        assert "10.2" not in str(door) and "your guess first (00.1)" in str(door) and "seven" not in str(figure)
        (box,), (picture,) = shown(door, monkeypatch), shown(figure, monkeypatch)
        assert "10.2" not in box.value and "your guess first" in picture.value
        entry, commit, _, told = parts(guess)
        entry.value = "about 20,5"  # a decimal comma is a decimal point
        assert guess.value is None  # nothing counts before it is committed
        commit.click()
        assert guess.value == 20.5 and "kept: 20.5 GB/s" in told.value
        said = box.value
        for words in (
            "you said 20.5 GB/s",
            "measured: 10.2 GB/s",
            "factor of 2",
            "usual guess is 100 GB/s: as on a GPU",
            "details",
        ):
            assert words in said
        assert "data:image/png" in picture.value and 'alt="seven' in picture.value

    def test_show_me_opens_without_a_guess_and_is_remembered(self, monkeypatch):
        guess = predict("00.1", "How many?")
        (box,) = shown(guess.reveal(3, how="computed"), monkeypatch)
        _, _, show, told = parts(guess)
        show.click()
        assert "computed: 3" in box.value and "you said" not in box.value
        assert "shown without a guess" in told.value and predict("00.1", "How many?").open

    def test_a_restart_keeps_the_guess(self, monkeypatch):
        predict("00.1", "How many?", "times").commit("3 times")
        again = predict("00.1", "How many?", "times")
        assert again.value == 3 and parts(again)[0].value == "3"
        assert "you said 3 times" in str(again.reveal(3)) and "spot on" in str(again.reveal(3.1))
        (seen,) = shown(again.reveal(4), monkeypatch)
        assert "you said 3 times" in seen["text/html"]  # plain HTML: it needs no live kernel to be read
        assert predict("00.2", "Another?").value is None

    def test_a_choice(self):
        guess = predict("00.3", "Which?", choices=("int4", "int8"))
        with pytest.raises(ValueError, match="one of int4, int8"):
            guess.commit("int2")
        guess.commit("int8")
        assert "you said int8; measured: int4; not so" in str(guess.reveal("int4")) and "; right" in str(
            guess.reveal("int8")
        )
        again = predict("00.3", "Which?", choices=("int4", "int8"))
        entry, commit, _, told = parts(again)
        assert again.value == "int8" and entry.at == 1
        entry.at = 0
        commit.click()
        assert again.value == "int4" and "kept: int4" in told.value

    def test_what_is_no_number_is_asked_for_again(self):
        guess = predict("00.1", "How many?")
        entry, commit, _, told = parts(guess)
        for text in ("many", "", "1/0", "nan", "inf", "1/2/3", "3 to 4", "<b>"):
            entry.value = text
            commit.click()
            assert guess.value is None and "please: a number, such as" in told.value and "<b>" not in told.value, text

    def test_the_edition_for_reading_asks_nothing_and_writes_nothing(self, monkeypatch, own_guesses):
        predict("00.1", "How many?").commit("5")
        before = own_guesses.read_bytes()
        monkeypatch.setenv("QCOURSE_STATIC", "1")
        guess = predict("00.1", "How many?", usual=(4, "why"))
        assert (
            str(guess.reveal(3, ["a", "b"])) == "measured: 3\na\nb"
            and "Predict. How many?" in shown(guess, monkeypatch)[0]["text/plain"]
        )
        assert own_guesses.read_bytes() == before

    def test_markup_in_details_is_text(self, monkeypatch):
        monkeypatch.setenv("QCOURSE_STATIC", "1")
        (seen,) = shown(predict("00.1", "a < b?").reveal(3, "x <b>y</b>\nz"), monkeypatch)
        assert "x &lt;b&gt;y" in seen["text/html"] and "x <b>y</b>" in seen["text/plain"]

    def test_every_widget_has_a_form_for_reading(self, monkeypatch):
        monkeypatch.setenv("QCOURSE_STATIC", "1")
        figure = plots.bars(["a"], [1], "t", "x")
        assert shown(explore(lambda bits: figure, bits=[1, 2]), monkeypatch) == [figure]
        (data,) = shown(figure, monkeypatch)
        assert set(data) == {"image/png", "text/plain"}
        (word,) = shown(WordView(), monkeypatch)
        assert "0x76543210" in word.data and "AWQ" in word.data
        (curve,) = shown(sketch("00.s1", "How?", [1, 2], "M"), monkeypatch)
        assert "How?" in curve["text/html"]
        (byte,) = shown(NibbleView(1, 2), monkeypatch)
        assert "0xA9" in byte.data
        shown(Decision(), monkeypatch)  # printed as text


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("3", "", 3), (" about 3", "", 3), ("~3.5 GB/s", "GB/s", 3.5), ("1/4", "", 0.25), ("25 %", "", 0.25), ("25 %", "%", 25),
     ("25", "%", 25), ("1,000", "", 1000), ("1,5", "", 1.5), ("12,345.6", "", 12345.6), ("-0.5", "", -0.5), ("−2", "", -2),
     ("1e-3", "", 1e-3), (".5", "", 0.5), ("≈ 2 TIMES", "times", 2), ("3/4 times", "times", 0.75),
     ("0,001", "", 0.001), ("1,234,567", "", 1234567), ("1,000/4", "", 250)],
)  # fmt: skip
def test_how_a_guess_is_read(text, unit, value):
    assert read_guess(text, unit) == value


def test_guesses_that_cannot_be_read_are_put_aside_not_lost(own_guesses):
    own_guesses.write_text("not json")
    predict("00.1", "?").commit("3")
    assert json.loads(own_guesses.read_text())["00.1"]["value"] == 3
    assert own_guesses.with_name("guesses.json.unreadable").read_text() == "not json"


def test_a_folder_that_cannot_be_written_does_not_stop_the_lesson(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path / "file" / "below"))
    guess = predict("00.1", "?")
    guess.commit("3")
    assert guess.value == 3 and "you said 3" in str(guess.reveal(3))


def test_progress_shows_guesses_and_reset_forgets_them(capsys):
    main(["progress"])
    assert "nothing yet" in capsys.readouterr().out
    predict("01.2", "?").commit("1/4")
    predict("01.10", "?", choices=("a", "b")).commit("b")
    predict("02.1", "?").show()
    main(["progress"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["01.2", "01.10", "02.1"] and "0.25" in lines[0] and " b " in lines[1]
    assert "shown without a guess" in lines[2] and lines[3].startswith("3 questions in")
    main(["reset", "01", "--guesses"])
    assert "2 guesses of notebook 01 forgotten" in capsys.readouterr().out
    main(["progress"])
    assert "02.1" in capsys.readouterr().out


def test_plain_python(no_ipywidgets):
    guess = predict("00.1", "How many?", "ms")
    assert guess.widget() is None and "your guess first" in str(guess.reveal(4))
    guess.commit("3")
    assert repr(guess) == "How many?  [guess: 3 ms]" and "you said 3 ms" in str(guess.reveal(4))
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
    assert box.children[0].options == ["4", "8"]
    box.children[0].at = 1
    assert drawn[-1] == (8, 32) and e.values["bits"] == 8 and e.image.value != before
    e.set(G=64)
    assert box.children[1].at == 1
    with pytest.raises(ValueError, match="choices are"):
        e.set(G=65)


def test_the_byte_of_two_nibbles():
    view = NibbleView(-8, 7)
    assert view.value == 0xF0
    low, high, bits, said = view.widget().children
    low.at = 1
    assert view.value == 0xF1 and "0xF1" in said.value and bits.values == [1, 1, 1, 1, 0, 0, 0, 1]
    bits.values = [0, *bits.values[1:]]  # a click on bit 7: the high code loses 8
    assert view.high == -1 and high.at == 7 and "0x71" in said.value
    with pytest.raises(ValueError, match="-8 to 7"):
        byte_html(8, 0)


def test_a_bit_of_a_word_belongs_to_another_weight_in_each_layout():
    view = WordView(0)
    bits, said = view.widget().children
    bits.values = [int(i == 31 - 17) for i in range(32)]  # bit 17: the second bit of nibble 4
    assert view.word == 1 << 17 and "k = 4" in said.value and "n = 1" in said.value
    assert [row[1:9] for row in view.table().rows] == [list("00002000"), list("02000000")]


def test_figures_are_sharp_and_say_their_conclusion(monkeypatch):
    fig = plots.lines([1, 2], {"a": [1, 2], "b": ([2, 1], [0.1, 0.1])}, "a grows, b shrinks", "x", "y")
    (data,) = shown(fig, monkeypatch)
    assert 'alt="a grows, b shrinks. Lines over x (1 to 2), y: a from 1 to 2; b from 2 to 1."' in data["text/html"]
    assert fig.png().startswith(b"\x89PNG") and int.from_bytes(fig.png()[16:20], "big") == 2 * fig.size()[0]
    marks = [(line.get_marker(), line.get_linestyle()) for line in fig.axes[0].get_lines() if line.get_marker() in "os"]
    assert len({m for m, _ in marks}) == len({d for _, d in marks}) == 2  # colour is never alone


def test_a_table_is_html_or_aligned_text():
    table = Table(("name", "bits"), [("W4 <b>", 4.125), ("W8", 8)])
    assert str(table) == "name     bits\nW4 <b>  4.125\nW8          8" and "W4 &lt;b&gt;" in table.html()
    with pytest.raises(ValueError, match="2 cells"):
        Table(("name", "bits"), [(1, 2, 3)])


class TestADrawnCurve:
    def test_is_kept_and_drawn_beside_the_measured_one(self, monkeypatch):
        curve, seen = sketch("00.s1", "How?", [0.0, 0.5, 1.0], "α"), []
        door = curve.reveal(lambda heights: seen.append(heights) or plots.bars(["a"], [1], "over it", "x"))
        (box,) = shown(door, monkeypatch)
        assert "your guess first" in box.value and not seen
        entry, commit, _, told = parts(curve)
        assert entry.options == ["0", "0.5", "1"]
        entry.values = [1.0, 0.0, 0.25]
        commit.click()
        assert seen == [[1.0, 0.0, 0.25]] and "over it" in box.value and "0.5: 0.00" in told.value
        assert sketch("00.s1", "How?", [0.0, 0.5, 1.0], "α").value == [1.0, 0.0, 0.25]
        assert sketch("00.s1", "How?", [0.0, 1.0], "α").value is None  # other places: another question

    def test_heights_out_of_range_are_asked_for_again(self):
        curve = sketch("00.s1", "How?", [1, 2], "M")
        for heights in ([0.5], [0, 2], [-0.1, 0]):
            with pytest.raises(ValueError, match="2 heights from 0"):
                curve.commit(heights)
        assert fitted([0, 1], 2, 6) == [2, 6]


def test_every_constraint_has_an_answer(no_ipywidgets):
    decision = Decision()
    assert decision.widget() is None and all(c in repr(decision) for c in DECISIONS)


def test_choosing_a_constraint_changes_the_family():
    decision = Decision()
    box = decision.widget()
    for constraint, (family, _) in DECISIONS.items():
        box.children[0].at = list(DECISIONS).index(constraint)
        assert family in box.children[1].value and decision.answer.startswith(family)


def test_many_moves_are_one_picture_of_the_last():
    drawn = []
    e = explore(lambda bits: drawn.append(bits) or plots.bars(["a"], [bits], "t", "x"), bits=[1, 2, 3, 4])
    slider = e.widget().children[0]

    async def drag():
        for at in (1, 2, 3):
            slider.at = at
        await asyncio.sleep(0.2)

    asyncio.run(drag())
    assert drawn == [1, 4]
