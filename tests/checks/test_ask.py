"""What a student types, and what they see."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import qcourse
from qcourse.checks import check, hint, solution, when_done
from qcourse.checks.ask import region
from qcourse.checks.task import TASKS

SOLUTIONS = Path(__file__).parents[2] / "solutions"


def dequantize(codes, scale):
    return codes.float() * scale.float()


def test_the_three_words_are_qcourses():
    assert (qcourse.check, qcourse.hint, qcourse.solution) == (check, hint, solution)


def test_a_right_answer_and_a_wrong_one_for_the_eye():
    right, wrong = check("01.2", dequantize), check("01.2", lambda codes, scale: codes.float() / scale.float())
    assert repr(right).startswith("01.2 dequantize: right, 2 of 2 points\n  ✓ square matrices")
    assert "✗ square matrices" in repr(wrong) and "divided instead of multiplied" in repr(wrong)
    html = wrong._repr_html_()
    assert "<b>This is: divided instead of multiplied.</b>" in html and html.count("<div") == html.count("</div")
    assert "monospace;font-size:90%' tabindex='0'>with codes = int8" in html, "numbers stand in a fixed width"


def test_what_comes_from_the_student_is_escaped():
    def fn(codes, scale):
        raise ValueError("<script>alert(1)</script> `<script>` \n\nwith <script>\n\n(seed <script>\nline 1, in <script>")

    assert "<script>" not in check("01.2", fn)._repr_html_()


def test_packed_inputs_are_shown_as_what_they_hold():
    assert "\n\nwith packed = uint8 [[0x" in check("02.4", lambda packed: packed).message


def test_names_are_code_in_a_card():
    assert "<code>dequantize</code>" in check("01.2", dequantize)._repr_html_()


def test_each_check_draws_anew_and_a_seed_repeats_it():
    seeds = {check("01.2", lambda codes, scale: codes).message.rsplit("(seed", 1)[1] for _ in range(4)}
    assert len(seeds) > 1
    wrong = lambda codes, scale: codes * 2.0  # noqa: E731
    assert check("01.2", wrong, seed=7).message == check("01.2", wrong, seed=7).message


def test_an_unknown_task_and_something_that_is_no_function():
    with pytest.raises(ValueError, match=r"no task '01.7'; did you mean .*01\.\d"):
        check("01.7", dequantize)
    with pytest.raises(ValueError, match="no task 'x'"):
        hint("x")
    with pytest.raises(ValueError, match="no task 1.2"):
        solution(1.2)
    with pytest.raises(TypeError, match="Leave out the brackets"):
        check("01.2", torch.ones(2))
    assert check("01.2").outcome == check("01.2", ...).outcome == "not attempted"


@pytest.mark.parametrize("task_id", list(TASKS))
def test_every_task_has_a_nudge(task_id):
    assert task_id in hint(task_id) and len(hint(task_id)) > 60


@pytest.mark.skipif(not list(SOLUTIONS.glob("*.py")), reason="the solutions are withheld")
def test_solutions_come_from_the_course_and_are_missed_kindly(tmp_path):
    ours = solution("01.2")
    assert ours.startswith("def dequantize(codes, scale):") and "SOLUTION" not in ours and "return" in ours
    assert "<pre" in ours._repr_html_()
    withheld = solution("01.2", folder=tmp_path)
    assert "not part of this copy" in withheld and 'hint("01.2")' in withheld


def test_a_region_that_is_not_there():
    with pytest.raises(ValueError, match="0 solutions, not 1"):
        region("x = 1", 1)


def test_a_lab_closes_with_a_figure_or_a_kind_word():
    def missing():
        raise NotImplementedError("lab 01.2: write this")

    def own():
        raise NotImplementedError("something else")

    assert when_done(lambda: 42) == 42
    assert "Finish task 01.2 first (`dequantize`)" in when_done(missing)
    with pytest.raises(NotImplementedError):
        when_done(own)


def test_nbgrader_reads_the_points_off_the_text(monkeypatch):
    result = check("01.2", dequantize)
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert repr(result) == "2" and float(repr(check("01.2"))) == 0


def test_checks_load_no_figures():
    code = "import sys, qcourse.checks; print([m for m in ('matplotlib', 'ipywidgets') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
