"""What every task promises: nothing is earned without an answer, and what a student reads is readable."""

import math
import re
import warnings

import numpy as np
import pytest
import torch
from remembered import remembered

from qcourse.checks import check, hint
from qcourse.checks.judge import judge
from qcourse.checks.task import TASKS
from tools.mutants import edited, listed, solution_of
from tools.notebooks import ROOT
from tools.soak import Tally, main, soak, table, violations

OURS = [t for t in TASKS if list((ROOT / "solutions").glob(f"{t[:2]}_*.py"))]  # none where withheld


def raising(error):
    def answer(*_):
        raise error("no")

    return answer


def giving(value):
    return lambda *_: value


FREE = {
    **{e.__name__: raising(e) for e in (ValueError, TypeError)},
    **{repr(v): giving(v) for v in (None, 0, 1, -1, math.inf, True, "", (0, 1.0))},
    "zeros": lambda *args: torch.zeros_like(args[0]),
    **{f"argument {i}": lambda *args, i=i: args[i] for i in (0, 1, -1)},
    "the largest": lambda *args: max(a for a in args if type(a) in (int, float)),
}


@pytest.mark.parametrize("task_id", list(TASKS))
def test_nothing_is_earned_without_an_answer(task_id):
    task = remembered(TASKS[task_id])
    for name, fn in FREE.items():
        result = judge(task, fn, 0)
        assert (result.score, result.outcome == "right") == (0.0, False), f"{name}: {result}"


@pytest.mark.parametrize("task_id", ["02.1", "02.3", "02.5"])
def test_a_refusal_counts_beside_an_answer_that_is_right(task_id):
    result = check(task_id, raising(ValueError))
    assert len(result.idle) == 1 and result.passed[result.idle[0]] and result.score == 0
    assert "counts beside an answer that is right" in repr(result)


@pytest.mark.skipif(not OURS, reason="the solutions are withheld")
@pytest.mark.parametrize(
    ("task_id", "seed"), [("01.1", 15), ("01.1", 62), ("01.1", 14), ("01.1", 27), ("01.5", 50), ("01.6", 103), ("02.1", 210)]
)
def test_seeds_that_once_wronged_somebody(task_id, seed):
    for fn in (solution_of(task_id), *(edited(task_id, a) for a in listed()[1] if a.task == task_id)):
        assert judge(TASKS[task_id], fn, seed).outcome == "right"


def test_half_of_absmax_in_bfloat16_may_be_63_or_64():
    """W = absmax/2 is 63.5 steps exactly: either code is right, in int8 too (255 is -1 in an int8)."""
    same, W = TASKS["01.1"].same, torch.tensor([[2.0, 1.0, -1.0]], dtype=torch.bfloat16)
    scale, codes = torch.tensor([[2 / 127]]), lambda a, b: torch.tensor([[127, a, b]], dtype=torch.int8)
    for a, b in ((63, -63), (64, -64), (63, -64)):
        assert same((W, 1.0), (codes(a, b), scale), (codes(64, -64), scale)) is None
    assert "codes[0, 1]" in same((W, 1.0), (codes(62, -64), scale), (codes(64, -64), scale))


DTYPES = (torch.uint8, torch.float32, torch.uint8)


def test_a_zero_point_between_two_codes_may_be_either():
    same, x = TASKS["01.5"].same, torch.tensor([[-7.5, 0.0, 7.5]])
    answer = lambda z, *q: tuple(  # noqa: E731
        t.to(d) for t, d in zip((torch.tensor([q]), torch.ones(1, 1), torch.tensor([[z]])), DTYPES, strict=True)
    )
    expected = TASKS["01.5"].expected(x, 4)
    for right in (answer(8, 0, 8, 15), answer(7, 0, 7, 14), answer(8, 1, 8, 15), answer(7, 0, 7, 15)):
        assert same((x, 4), right, expected) is None
    for wrong in (answer(8, 0, 8, 16), answer(7, 255, 7, 14), answer(6, 0, 6, 14), answer(9, 1, 9, 15), answer(7, 0, 8, 15)):
        assert same((x, 4), wrong, expected)


def test_texts_of_their_own():
    """A dtype, a shape, a missing return, a changed input: said as what they are, and no misconception is blamed."""
    right = solution_of("01.3")
    cases = {
        "did you forget `return`": lambda *a: None,
        "in another shape": lambda *a: right(*a).flatten(),
        "modified its input: `x`": lambda x, *a: (right(x, *a), x.zero_())[0],
    }
    for says, fn in cases.items():
        result = check("01.3", fn)
        assert says in result.message and result.mistake is None and "None of the mistakes" not in result.message
    result = check("02.4", lambda packed: solution_of("02.4")(packed).to(torch.int64))
    assert "only the dtype is not" in result.message and "int64" in result.message


def test_none_may_be_an_answer():
    """Where None is legal nobody is asked whether `return` was forgotten."""
    assert "forget" not in check("08.6", lambda *_: None).message
    assert "forget" in check("01.4", lambda *_: None).message


def test_a_dtype_error_is_no_misconception():
    def quant_linear(x, codes, scale, bias=None):
        return (x @ codes.T) * scale.T + (0 if bias is None else bias)

    for fn in (quant_linear, edited("01.3", [m for m in listed()[0] if m.task == "01.3" and m.mistake is None][1])):
        result = check("01.3", fn)
        assert (result.outcome, result.mistake) == ("raised", None) and "This is" not in result.message
        assert "RuntimeError" in result.message


def test_who_forgets_the_scale_only_without_groups_is_told_about_that():
    def bits(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
        return num_bits + ((scale_bits + zero_bits) / group_size if group_size else 0)

    for seed in range(20):
        assert judge(TASKS["02.2"], bits, seed).mistake == "no scale where there are no groups"


def borrow(W, clip=1.0):
    import qcourse
    from qcourse.numerics.granularity import per_channel
    from qcourse.numerics.scaling import block_absmax

    scale = clip * block_absmax(per_channel.blocks(W.float())).view(-1, 1) / 127
    scale[scale == 0] = 1
    assert qcourse.quantize is not None
    return torch.round(W.float() / scale).clamp(-127, 127).to(torch.int8), scale


def test_the_package_called_from_a_lab_function_is_noted_and_costs_nothing():
    import threading

    result = check("01.1", borrow)
    assert (result.outcome, result.score) == ("right", 1.0)
    assert result.uses == ("qcourse.numerics.granularity.Granularity.blocks",)
    assert result.notes == ("01.1 calls the package: qcourse.numerics.granularity.Granularity.blocks",)
    assert "Nothing is taken off" in result.message and "<code>qcourse.numerics" in result._repr_html_()
    found = []
    worker = threading.Thread(target=lambda: found.append(check("01.1", borrow)))
    worker.start()
    worker.join()
    assert found[0].uses == result.uses
    own = check("01.1", solution_of("01.1"))
    assert own.uses == own.notes == () and "package" not in own.message


def test_importing_the_package_is_not_calling_it():
    def fn(codes, scale):
        import importlib

        import qcourse.packing.bits

        importlib.reload(qcourse.packing.bits)
        return codes.float() * scale.float()

    assert check("01.2", fn).uses == ()


def test_a_proxy_tells_what_was_called_over_there():
    class Proxy:
        uses = ["qcourse.numerics.quantize.quantize"]

        def __call__(self, codes, scale):
            return codes.float() * scale.float()

        def seconds(self, args, repeats):
            return 0.0

    assert judge(TASKS["01.2"], Proxy(), 0).uses == ("qcourse.numerics.quantize.quantize",)


@pytest.mark.parametrize("task_id", list(TASKS))
def test_no_markup_is_shown_raw(task_id):
    """Neither on a card nor in a terminal a *word*, on a card no backtick, whatever the text is about."""
    task = TASKS[task_id]
    pages = [hint(task_id)._repr_html_(), check(task_id, lambda *_: None)._repr_html_()]
    for m in task.mistakes:
        for text in (m.name, m.hint, m.invariant):
            from qcourse.checks.show import inline, terminal

            pages.append(inline(text))
            assert not re.search(r"(?<![\w*])\*\w[^*]*\*", terminal("text", text))
    pages += [p.name.replace("`", "") for p in task.properties]
    for page in pages:
        assert "`" not in page and not re.search(r"(?<![\w*])\*\w[^*]*\w\*(?![\w*])", page), page


def test_what_a_student_wrote_is_no_markup():
    def fn(codes, scale):
        raise ValueError("a *b* `c`")

    assert "a *b* `c`" in check("01.2", fn)._repr_html_()


def test_small_inputs_are_shown_whole():
    """Whoever is told to follow the numbers by hand is given all of them, to six digits."""
    for task_id in OURS:
        wrong = check(task_id, lambda *_: (None, None), seed=3)
        if "follow these numbers by hand" in wrong.message:
            assert wrong.whole and not re.search(r"(?m)^(with|    ) \w+: \w+ \(", wrong.message), wrong.message
    for task_id in ("01.1", "01.2", "01.3", "01.5", "01.6", "02.1", "02.3", "02.4", "02.5", "02.6"):
        assert check(task_id, lambda *_: torch.ones(3)).whole


def test_parts_are_data():
    import json

    data = check("01.2", lambda codes, scale: codes.float() / scale.float(), seed=7).data(hide_seed=True)
    assert json.loads(json.dumps(data))["mistake"] == "divided instead of multiplied"
    assert "seed" not in data["message"] and data["seed"] is None and [s for s, _ in data["parts"]][0] == "text"
    assert data["message"].startswith("On “square matrices”: W_hat[0, 0]: expected")


@pytest.mark.skipif(not OURS, reason="the solutions are withheld")
@pytest.mark.parametrize("task_id", ["01.2", "02.2"])
def test_a_small_soak_is_clean(task_id):
    tally = soak(Tally(task_id), range(900, 910), range(900, 905))
    assert tally.rights >= 40 and tally.mutants >= 15 and violations([tally]) == []


def test_a_soak_tells_what_it_found(capsys):
    tally = Tally("01.1", rights=600, mutants=100)
    tally.note("other hint", "a → b", 3)
    assert violations([tally]) == []  # one in a hundred
    tally.note("other hint", "a → b", 4)
    tally.note("right told wrong", "numpy", 15)
    assert violations([tally]) == [
        "01.1 other hint: a → b (on 2 seeds: 3, 4)",
        "01.1 right told wrong: numpy (on 1 seeds: 15)",
    ]
    assert "| 01.1 | 600 | 1 | 100 | 0 | 0 | 2 |" in table([tally])
    with pytest.raises(SystemExit):
        main(["99"])


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1.0]]).view(np.matrix), np.ma.array([1.0, 2.0]), np.float32(2), np.bool_(True), {"a": 1}, {1: (2, [3])},
        torch.nn.Parameter(torch.ones(2)), torch.ones(2).as_subclass(type("Mine", (torch.Tensor,), {})),
        [None, "x", 1.5, float("nan")],
        object(), {1, 2}, b"x", 1j, np.array(["a"]), torch.ones(2).to_sparse(), torch.empty(2, device="meta"), range(3), len,
        {(1, 2): 3}, __import__("collections").namedtuple("P", "a b")(torch.ones(1), 2), __import__("http").HTTPStatus.OK,
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_check_and_grade_accept_the_same_kinds(value):
    """What `check` takes for plain data is what crosses the grader's pipe, and it is the same data afterwards."""
    from qcourse.checks.compare import difference, plain
    from qcourse.classroom.codec import CodecError, decode, encode

    try:
        mine = plain(value)
    except TypeError:
        with pytest.raises(CodecError):
            encode(value)
        return
    assert difference(decode(encode(value)), mine) is None


@pytest.mark.parametrize("error", [TypeError, KeyError, ValueError])
def test_an_internal_error_is_never_a_refusal(error):
    from dataclasses import replace

    broken = replace(TASKS["01.2"], expected=lambda codes, scale: raising(error)())
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="`expected` raised"):
        judge(broken, raising(error), 0)
