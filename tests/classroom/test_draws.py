"""Several hidden seeds a task: one unlucky draw takes nothing, one lucky draw gives nothing, one number repeats it all."""

import itertools
import types

import pytest

from qcourse.checks.judge import judge
from qcourse.checks.task import TASKS
from qcourse.classroom import draws
from qcourse.classroom.draws import good_seeds, hidden_seed, settled
from tools.mutants import solution_of

TASK = types.SimpleNamespace(
    id="01.1", function="f", properties=[types.SimpleNamespace(name=n, weight=w) for n, w in (("zeros", 1), ("ties", 3))]
)


@pytest.fixture
def every_draw_is_good(monkeypatch):
    monkeypatch.setattr(draws, "sound", lambda task_id, seed: True)


def result(zeros, ties, hung=False, final=False):
    passed = {"zeros": zeros, "ties": ties}
    outcome = "right" if zeros and ties else "wrong"
    told = {"passed": passed, "score": (zeros + 3 * ties) / 4, "outcome": outcome, "mistake": None, "message": outcome}
    return told | {"hung": hung, "final": final}


def told(*answers, seeds=3):
    """What `settled` makes of these draws, how many it asked for, and what it says to the teacher."""
    left = list(answers)
    made, look = settled(TASK, 7, seeds, lambda seed: left.pop(0) if len(left) > 1 else left[0])
    return made, look


YES, NO = result(True, True), result(True, False)


@pytest.mark.parametrize("pattern", list(itertools.product([True, False], repeat=6)))
def test_a_property_counts_unless_it_fails_on_two_draws(pattern, every_draw_is_good):
    asked = iter(pattern)
    used = []
    made, look = settled(TASK, 7, 3, lambda seed: used.append(next(asked)) or result(True, used[-1]))
    first = sum(not p for p in pattern[:3])
    assert len(used) == (6 if first == 1 else 3)  # more draws only where one alone failed
    kept = used.count(False) < 2
    assert made["passed"] == {"zeros": True, "ties": kept}
    assert made["score"] == (1.0 if kept else 0.25) and made["outcome"] == ("right" if kept else "wrong")
    assert bool(look) == (0 < used.count(False) < len(used))


def test_draws_that_fail_at_different_places(every_draw_is_good):
    made, look = told(result(False, True), result(True, False), YES, YES)
    assert made["outcome"] == "right" and made["score"] == 1.0 and len(look) == 2
    made, _ = told(result(False, True), result(False, True), result(True, False), result(True, False))
    assert made["score"] == 0 and made["passed"] == {"zeros": False, "ties": False}


def test_what_is_final_is_not_asked_again(every_draw_is_good):
    for answer in (result(False, False, final=True), result(False, False, hung=True)):
        calls = []
        made, look = settled(TASK, 7, 3, lambda seed, a=answer, calls=calls: calls.append(seed) or a)
        assert made is answer and look == [] and len(calls) == 1
    slow = [YES, result(False, False, hung=True), result(False, False, hung=True), YES]
    assert told(*slow)[0]["score"] == 0  # two that hang are no accident
    assert told(YES, result(False, False, hung=True), YES, YES)[0]["score"] == 1.0  # one may be the machine's


def test_one_draw_decides_where_one_is_asked_for(every_draw_is_good):
    assert told(NO, YES, seeds=1)[0]["score"] == 0.25 and told(YES, NO, seeds=1)[0]["score"] == 1.0


def test_the_seeds_are_the_gradings_and_different(every_draw_is_good):
    take = list(itertools.islice(good_seeds(TASK, 7), 20))
    assert take == list(itertools.islice(good_seeds(TASK, 7), 20)) and len(set(take)) == 20
    assert take[0] == hidden_seed(7, "01.1") and not set(take) & set(itertools.islice(good_seeds(TASK, 8), 20))


def test_nobody_is_judged_on_a_draw_that_the_course_itself_fails(monkeypatch):
    bad = {hidden_seed(7, "01.1", n) for n in (0, 2)}
    monkeypatch.setattr(draws, "sound", lambda task_id, seed: seed not in bad)
    assert list(itertools.islice(good_seeds(TASK, 7), 3)) == [hidden_seed(7, "01.1", n) for n in (1, 3, 4)]
    monkeypatch.setattr(draws, "sound", lambda task_id, seed: False)  # a check that is broken altogether: no endless search
    assert len(list(itertools.islice(good_seeds(TASK, 7), 3))) == 3


def test_a_check_that_crashes_on_a_draw_is_a_bad_draw(monkeypatch):
    def crashes(task, fn, seed):
        raise ZeroDivisionError

    draws.sound.cache_clear()
    monkeypatch.setattr("qcourse.checks.judge.judge", crashes)
    assert draws.sound("01.1", 3) is False
    draws.sound.cache_clear()


@pytest.mark.parametrize("lab", ["01", "04"])
def test_the_second_implementation_holds_on_nearly_every_draw(lab):
    """Else the rule above would look for good draws among bad ones."""
    for task in TASKS.lab(lab):
        assert sum(draws.sound(task.id, hidden_seed(1, task.id, n)) for n in range(10)) >= 9


@pytest.mark.parametrize("seed", [14, 27, 50])
def test_a_right_answer_has_full_marks_on_the_seeds_that_were_unlucky(seed):
    """`--seed 14` took points for 01.1, `--seed 27` for 04.3, `--seed 50` crashed 08.6, when one draw decided."""
    for task_id in ("01.1", "04.3", "08.6"):
        task, answer = TASKS[task_id], solution_of(task_id)

        def once(number, task=task, answer=answer):
            found = judge(task, answer, number)
            kept = {k: getattr(found, k) for k in ("outcome", "passed", "score", "mistake", "message")}
            return kept | {"hung": False, "final": False}

        assert settled(task, seed, 3, once)[0]["score"] == 1.0, task_id
