"""Lines that the learner writes: not attempted, right in any style, wrong with the reason; and never a reason to stop."""

import json
from importlib import import_module

import pytest
import torch

from qcourse.checks import line as lines
from qcourse.checks.ask import hint, hints_of, solution
from qcourse.checks.course_map import STOPS, CourseMap
from qcourse.checks.line import Line, evaluate, judge, line, prove, rows
from qcourse.checks.task import TASKS
from qcourse.cli import main

w = torch.tensor([0.5, -1.0, 0.25])  # on the names of this module, as in a notebook
s, q = w.abs().max() / 127, torch.clamp(torch.round(w / (w.abs().max() / 127)), -127, 127)
ROW = rows("01")["01.a"]


pytestmark = pytest.mark.usefixtures("own_guesses")


def test_nothing_written_yet_goes_on_with_the_right_value(capsys, own_guesses):
    assert line("01.a", ...) == s
    assert "01.a s: not attempted" in capsys.readouterr().out and not own_guesses.exists()


@pytest.mark.parametrize(
    "value", [1 / 127, torch.tensor(1 / 127), torch.tensor(1 / 127).bfloat16().float() * 1.0, s.double()]
)
def test_any_style_is_right(capsys, value, own_guesses):
    told = judge("01.a", ROW, value, globals())
    assert told.outcome == ("right" if abs(float(value) * 127 - 1) < 1e-4 else "wrong")
    line("01.a", s)
    assert json.loads(own_guesses.read_text())["01.a"]["line"] == "right"


def test_a_known_slip_is_named_and_the_notebook_goes_on(capsys):
    assert line("01.a", 0.5 / 127) == s
    said = capsys.readouterr().out
    assert "01.a s: wrong" in said and "The largest *positive* weight" in said


@pytest.mark.parametrize("value", ["text", None, torch.zeros(3), 10**400, float("nan"), [1], lambda: 1, torch.zeros(0)])
def test_nonsense_is_wrong_and_says_where(value):
    told = judge("01.a", ROW, value, globals())
    assert told.outcome == "wrong" and told.why.startswith("Not one of the usual slips: ")


def test_whole_numbers_may_be_of_any_dtype():
    for codes in (q, q.int(), q.to(torch.int8), q.double()):
        assert judge("01.b", rows("01")["01.b"], codes, globals()).outcome == "right"


def test_the_line_is_there_on_request_and_only_then():
    wrong, right = judge("01.a", ROW, 1.0, globals()), judge("01.a", ROW, s, globals())
    assert "<details><summary>Show the line</summary><code>s = w.abs().max() / 127" in wrong._repr_html_()
    assert "w.abs()" not in right._repr_html_() and "w.abs()" not in repr(wrong)


def test_the_edition_for_reading_proves_each_row(monkeypatch, capsys):
    monkeypatch.setenv("QCOURSE_STATIC", "1")
    assert line("01.a", s) == s and capsys.readouterr().out == ""
    with pytest.raises(AssertionError, match="01.a"):
        line("01.a", s * 2)
    with pytest.raises(AssertionError, match="is told"):
        prove("x", Line("s", "1.0", {"2.0": "twice", "1.0 + 1": "the same slip, another reason"}), 1.0, {})
    prove("x", Line("s", "1.0", {"1.0": "by chance"}, measured=True), 1.0, {})


def test_an_unknown_key_is_said():
    with pytest.raises(ValueError, match="there is 01.a"):
        line("01.z", 1)
    with pytest.raises(ValueError, match="no notebook '99'"):
        rows("99")


def test_nothing_is_defined_by_a_check():
    names = {"torch": torch, "w": w}
    evaluate("[k for k in range(3)]", names)
    assert set(names) == {"torch", "w"} and lines.__doc__


@pytest.mark.parametrize("task", list(TASKS))
def test_three_levels_of_hints(task):
    nudge, idea, first = hint(task), hint(task, 2), hint(task, 3)
    assert TASKS[task].hint in nudge and hints_of(task)[0] in idea and f'hint("{task}", 3)' in idea
    body = [s.strip() for s in str(solution(task)).split("\n")[1:] if s.strip() and not s.strip().startswith('"""')]
    assert body[0] == hints_of(task)[1] and hints_of(task)[1] in first  # a line of the solution, not one that was
    with pytest.raises(ValueError, match="1 is a nudge"):
        hint(task, 4)


def test_no_lab_hints_at_what_is_no_task():
    for lab in TASKS.labs:
        assert set(import_module(f"qcourse.checks.lab{lab}.hints").HINTS) == {task.id for task in TASKS.lab(lab)}


def test_the_map_shows_what_is_done(own_guesses, monkeypatch, capsys):
    kept = {"01.1": {"value": 3}, "01.a": {"line": "right"}, "01.b": {"line": "wrong"}, "01.2": {"shown": True}}
    labs = {"lab 01.1": {"task": "right"}, "lab 02.1": {"task": "wrong"}}
    own_guesses.write_text(json.dumps(kept | labs))
    shown = CourseMap()._repr_html_()
    cells = next(row for row in shown.split("<tr>") if "01_fake_quant" in row)
    assert ">1<" in cells and f"1 of {len(rows('01'))}" in cells and "1 of 6" in cells
    assert 'href="01_fake_quant.ipynb"' in shown and 'href="../labs/08_gemm.ipynb"' in shown and "13_clinic.ipynb" in shown
    main(["progress"])
    said = capsys.readouterr().out
    assert "line right" in said and "task wrong" in said
    monkeypatch.setenv("QCOURSE_STATIC", "1")
    assert ">1<" not in CourseMap()._repr_html_()  # nobody has done anything in the edition for reading


def test_the_map_leads_to_what_exists(tmp_path):
    root = __import__("pathlib").Path(__file__).parents[2]
    for stop in (s for s in STOPS if s.stem):
        assert (root / "notebooks" / f"{stop.stem}.ipynb").exists()
        assert not stop.lab_minutes or (root / "labs" / f"{stop.stem}.ipynb").exists()
