"""The checks, checked: wrong answers must be recognised by their own hint, and right ones must pass.

The mutants are written as students write (tests/mutants/labNN.py); a lab joins by adding its file there.
"""

from functools import lru_cache

import pytest
from remembered import of_seed

from qcourse.checks.judge import judge
from qcourse.checks.task import TASKS
from tools import mutants
from tools.mutants import listed, solution_of, starter_of
from tools.notebooks import ROOT

SEEDS = (0, 1, 2)
IDS = [task_id for task_id in TASKS if list((ROOT / "solutions").glob(f"{task_id[:2]}_*.py"))]  # none where withheld
MUTANTS, ALTERNATIVES = ([x for x in items if x.task in IDS] for items in listed())


@lru_cache(None)  # the table at the end is of the runs that were made anyway
def run(item, seed):
    return mutants.run(item, seed, of_seed(item.task, seed))


@pytest.mark.parametrize("task_id", IDS)
def test_the_solution_earns_full_marks(task_id):
    for seed in SEEDS:
        result = judge(TASKS[task_id], solution_of(task_id), seed)
        assert (result.outcome, result.score) == ("right", 1.0), result


@pytest.mark.parametrize("task_id", IDS)
def test_the_untouched_starter_earns_nothing(task_id):
    result = judge(TASKS[task_id], starter_of(task_id), 0)
    assert (result.outcome, result.score, result.mistake) == ("not attempted", 0.0, None)
    assert not any(result.passed.values())


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.task} {m.mistake}")
def test_a_known_mistake_gets_its_own_hint_and_no_other(mutant):
    for seed in SEEDS[:1]:  # `make soak`: on a hundred
        result = run(mutant, seed)
        assert (result.outcome, result.mistake) == (mutant.outcome, mutant.mistake), result
        assert result.score < 1
        said = [m.name for m in TASKS[mutant.task].mistakes if m.hint == result.hint]
        assert said == [mutant.mistake] * (mutant.mistake is not None)


@pytest.mark.parametrize("other", ALTERNATIVES, ids=lambda a: f"{a.task} {a.name}")
def test_another_right_answer_passes(other):
    for seed in SEEDS[:2]:
        result = run(other, seed)
        assert (result.outcome, result.score) == ("right", 1.0), result


@pytest.mark.parametrize("task_id", IDS)
def test_every_listed_mistake_is_made_at_least_once(task_id):
    task = TASKS[task_id]
    made = {m.mistake for m in MUTANTS if m.task == task_id} - {None}
    assert made == {m.name for m in task.mistakes}
    assert len([m for m in MUTANTS if m.task == task_id]) >= 3
    assert [a for a in ALTERNATIVES if a.task == task_id]
    assert len({m.hint for m in task.mistakes}) == len(task.mistakes)


@pytest.mark.skipif(not IDS, reason="the solutions are withheld")
def test_the_proof_is_large_enough(pytestconfig):
    pytestconfig.mutation_table = mutants.table(run=run)  # printed at the end of the run (conftest)
    assert len(MUTANTS) >= 40
