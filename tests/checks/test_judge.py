"""Outcomes, scores, and a diagnosis that neither guesses nor says two things at once."""

import numpy as np
import pytest
import torch

from qcourse.checks.judge import judge
from qcourse.checks.result import Result
from qcourse.checks.task import Mistake, Property, Refuse, Task
from qcourse.checks.watch import RemoteError


def expected(x, n):
    if n < 0:
        raise Refuse("n is negative")
    return x * n


def small(g):
    return [(torch.randn(2, generator=g), 3), (torch.randn(40, generator=g), 3)]


TASK = Task(
    "99.1",
    "times",
    "multiplication",
    4,
    expected,
    (
        Property("numbers", small, 2),
        Property("nothing", lambda g: [(torch.zeros(2), 3)]),
        Property("a negative n is refused", lambda g: [(torch.randn(2, generator=g), -1)]),
    ),
    (
        Mistake("added", lambda x, n: x + n, "HINT-A", "LAW-A"),
        Mistake("accepted a negative n", lambda x, n: x * n, "HINT-B", "LAW-B"),
        Mistake("divided", lambda x, n: 1 / 0 if n < 0 else x / n, "HINT-C", "LAW-C"),
        Mistake("square", lambda x, n: x.view(2, 1) * n, "HINT-D", "LAW-D", also=(lambda x, n: x.view(1, 2) * n,)),
    ),
    "a nudge",
    rtol=1e-6,
)


def refusing(fn):
    def wrapped(x, n):
        if n < 0:
            raise ValueError
        return fn(x, n)

    return wrapped


def hints(result: Result) -> list[str]:
    return [m.name for m in TASK.mistakes if m.hint in result.message]


@pytest.mark.parametrize("fn", [expected, lambda x, n: expected(x.numpy(), n), lambda x, n: expected(x.double(), n)])
def test_right(fn):
    result = judge(TASK, fn, 0)
    assert (result.outcome, result.score, result.mistake) == ("right", 1.0, None) and all(result.passed.values())


def test_not_attempted():
    def starter(x, n):
        raise NotImplementedError("lab 99.1: write this")

    def calls_another(x, n):
        raise NotImplementedError("lab 99.0: write this")

    def own(x, n):
        raise NotImplementedError("later")

    for fn in (None, ..., starter):
        result = judge(TASK, fn, 0)
        assert (result.outcome, result.score) == ("not attempted", 0.0) and not any(result.passed.values())
    other = judge(TASK, calls_another, 0).message
    assert "that of task 99.0" in other and 'hint("99.0")' in other, "the nudge is for what is missing"
    assert judge(TASK, own, 0).outcome == "raised"


def test_a_mistake_is_named_and_its_law():
    result = judge(TASK, refusing(lambda x, n: x + n), 0)
    assert (result.outcome, result.mistake) == ("wrong", "added") and hints(result) == ["added"]
    assert "LAW-A" in result.message and "(seed 0)" in result.message and "elements differ" in result.message
    assert result.score == 0 and result.idle == ("a negative n is refused",), "a refusal counts beside a right answer"


def test_the_smallest_input_is_shown():
    assert "x = float32 [" in judge(TASK, refusing(lambda x, n: x + n), 0).message


def test_a_mistake_that_shows_only_where_it_should_refuse():
    result = judge(TASK, lambda x, n: x * n, 0)
    assert (result.outcome, result.mistake, result.score) == ("wrong", "accepted a negative n", 0.75)
    assert "has to be refused with ValueError" in result.message and hints(result) == ["accepted a negative n"]


def test_two_mistakes_at_once_are_told_one_after_the_other():
    result = judge(TASK, lambda x, n: x * n if n < 0 else x + n, 0)
    assert result.mistake == "added" and hints(result) == ["added"] and "One thing to mend first" in result.message


def test_a_mistake_that_raises_is_recognised_too():
    result = judge(TASK, lambda x, n: 1 / 0 if n < 0 else x / n, 0)
    assert result.mistake == "divided" and "This is: divided" in result.message


def test_the_other_programs_of_a_mistake_count():
    task = Task(**{**vars(TASK), "properties": (Property("pairs", lambda g: [(torch.randn(2, generator=g), 2)]),)})
    for shape in ((2, 1), (1, 2)):
        assert judge(task, lambda x, n, shape=shape: x.view(shape) * n, 0).mistake == "square"


def test_an_unknown_mistake_gets_a_difference_and_no_hint():
    result = judge(TASK, refusing(lambda x, n: x * n * 1.001), 3)
    assert (result.outcome, result.mistake) == ("wrong", None) and not hints(result)
    assert "the result[0]: expected " in result.message and "“numbers”" in result.message


def test_what_only_sometimes_looks_like_a_mistake_is_none():
    """Equal to `added` on some failing cases, not on all of any property: not named."""
    assert judge(TASK, refusing(lambda x, n: x + n if len(x) == 2 else x - n), 0).mistake is None


@pytest.mark.parametrize(
    ("garbage", "says"),
    [
        (None, "did you forget `return`"),
        ("text", "'text' came back"),
        (object(), "plain data is expected"),
        ((1, 2), "came back"),
        (torch.nn.Linear(1, 1), "a Linear came back"),
        (lambda: 1, "a function came back"),
        (np.array([object()]), "numbers are expected"),
        (torch.ones(2, dtype=torch.complex64), "complex64"),
    ],
)
def test_garbage_gets_a_useful_message(garbage, says):
    result = judge(TASK, lambda x, n: garbage, 0)
    assert result.outcome == "wrong" and says in result.message and result.score == 0


def test_raised():
    def fn(x, n):
        return x[99]

    result = judge(TASK, fn, 0)
    assert result.outcome == "raised" and result.message.startswith("IndexError") and "return x[99]" in result.message
    assert "judge.py" not in result.message and result.score == 0
    assert judge(TASK, lambda: 1, 0).message.startswith("TypeError")


def test_an_endless_loop_ends_the_check():
    def fn(x, n):
        while True:
            pass

    task = Task(**{**vars(TASK), "seconds": 0.2})
    result = judge(task, fn, 0)
    assert (result.outcome, result.score) == ("raised", 0.0) and "never ends" in result.message
    result = judge(task, lambda x, n: fn(x, n) if n < 0 else x * n, 0)
    assert result.score == 0.75 and "never ends" in result.message


def test_changing_the_input_is_told():
    result = judge(TASK, lambda x, n: expected(x, n) if n < 0 else x.mul_(n), 0)
    assert result.outcome == "wrong" and "modified its input: `x`" in result.message and result.mistake is None


def test_a_remote_proxy_is_judged_like_the_function():
    def remote(kind, message=""):
        def proxy(*_):
            raise RemoteError(kind, message, "line 2, in f")

        return proxy

    assert judge(TASK, remote("NotImplementedError", "lab 99.1: write this"), 0).outcome == "not attempted"
    assert "line 2, in f" in judge(TASK, remote("KeyError", "k"), 0).message
    assert "never ends" in judge(TASK, remote("TimeLimit"), 0).message
    assert "ended" in judge(TASK, remote("Died", "killed"), 0).message
    assert judge(TASK, remote("Died"), 0).outcome == "raised"


def test_the_same_seed_asks_the_same_questions():
    seen = []
    judge(TASK, lambda x, n: seen.append(x), 5)
    judge(TASK, lambda x, n: seen.append(x), 5)
    judge(TASK, lambda x, n: seen.append(x), 6)
    assert torch.equal(seen[0], seen[4]) and not torch.equal(seen[0], seen[8])


def test_verify_decides_where_it_is_given():
    def positive(args, got, right):
        return None if bool((got > 0).all()) else "not positive"

    task = Task(**{**vars(TASK), "properties": (Property("sign", lambda g: [(torch.ones(2), 3)], 1, positive),)})
    assert judge(task, lambda x, n: x * 17, 0).outcome == "right"
    assert "not positive" in judge(task, lambda x, n: -x, 0).message
    assert judge(task, lambda x, n: None, 0).outcome == "wrong"  # verify stumbles over it; the difference is told instead


def test_an_error_of_the_task_itself_is_not_blamed_on_the_student():
    broken = Task(**{**vars(TASK), "expected": lambda x, n: 1 / 0})
    with pytest.raises(RuntimeError, match="`expected` raised ZeroDivisionError"):
        judge(broken, lambda x, n: x, 0)
