"""The breakdown of a decode step: its parts add up, its bytes are those that are there, its kernels those that ran."""

import pytest
import torch

import qcourse
from qcourse.cli import main
from qcourse.gemm.threads import WATCHED, watched
from qcourse.study import cost
from qcourse.study.breakdown import Breakdown, decode_breakdown, measure_decode, read_bytes, table
from qcourse.study.explorations import steps


def test_the_parts_are_the_step():
    b = Breakdown(10.0, 2.0, {"a": 3.0, "b": 4.0}, 100, 10, 7)
    assert list(b.parts.values()) == [2.0, 5.0, 3.0] and sum(b.parts.values()) == b.step
    fast = Breakdown(10.0, 8.0, {"a": 3.0}, 100, 10, 7)  # faster than memory was at its best: no part is negative
    assert list(fast.parts.values()) == [3.0, 0.0, 7.0]


def test_bytes_are_those_of_the_model_and_its_cache():
    model = qcourse.load_model(quantization="W4A16")
    weights, kv = read_bytes(model, 100, users=3)
    assert weights == cost.model_bytes(model).total  # the tied embedding is the head, which is read
    c = model.config
    assert kv == 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * 100 * 3 * 4


def test_a_step_of_the_shipped_model():
    pytest.importorskip("numba")
    found = {n: decode_breakdown(qcourse.load_model(quantization=n), 1e10, 8, 2, 1) for n in ("bf16", "W4A16")}
    four = found["W4A16"]
    layers = qcourse.load_model().config.num_hidden_layers
    assert set(four.kernels) == {"packed_dots", "half_dots", "norm", "attend", "swiglu"}  # half: the tied head
    each = 4 + 2 + 1 + 1  # qkv, o, gate and up, down; two norms; attention; SwiGLU
    assert four.calls == layers * each + 2  # and the last norm, the head
    assert "packed_dots" not in found["bf16"].kernels and found["bf16"].weight_bytes > 2 * four.weight_bytes
    for b in found.values():
        assert sum(b.parts.values()) == pytest.approx(b.step) and min(b.parts.values()) >= 0
    assert "| W4A16 |" in table(found) and "W4A16" in steps(found, "a title").alt


def test_more_users_read_more_of_the_cache_and_as_many_weights():
    model = qcourse.load_model(quantization="W4A16")
    one, three = (decode_breakdown(model, 1e10, 8, 2, 1, users) for users in (1, 3))
    assert three.kv_bytes == 3 * one.kv_bytes and three.weight_bytes == one.weight_bytes


def test_nobody_is_left_watching():
    with pytest.raises(ZeroDivisionError), watched():
        raise ZeroDivisionError
    assert not WATCHED


def test_the_command_says_what_it_needs(capsys):
    with pytest.raises(ValueError, match="positions"):
        measure_decode(qcourse.models.subjects.SHIPPED, ["bf16"], 10**6)
    with pytest.raises(SystemExit):
        main(["bench", "--decode", "--formats", " , "])
    assert "names no format" in capsys.readouterr().err


def test_the_command_prints_a_row_a_format(capsys):
    before = torch.get_num_threads()
    main(["bench", "--decode", "--formats", "bf16,W4A8_G128", "--context", "8"])
    said = capsys.readouterr().out
    assert "| bf16 |" in said and "| W4A8_G128 |" in said and "GB/s" in said and torch.get_num_threads() == before
