"""The protocol as an experiment: the base is the course's meter, each change is what it is called, nothing is done twice."""

import math

import pytest
import torch

from qcourse.models.loader import load_model
from qcourse.study.experiments import EXPERIMENTS
from qcourse.study.perplexity import Windows, perplexity
from qcourse.study.protocol import (
    AVERAGE,
    BASE,
    CHANGES,
    FEWER,
    INT8,
    marked,
    nats,
    protocol,
    protocol_figure,
    protocol_table,
    text_of,
)

FEW = {"n": 4, "seq_len": 64}


@pytest.fixture(scope="module")
def results():
    return dict(protocol("shipped", {}, **FEW))


def test_the_base_is_the_course_s_own_meter(results, shipped, tokenizer):
    t = text_of("shipped", 4, 64)
    body = t.cut(t.starts, 0, 64)
    sizes = torch.tensor([len(b) for b in tokenizer.token_bytes])
    score = perplexity(shipped, Windows(marked(body, t.bos), sizes[body].sum(1)))
    assert results[BASE]["bits_per_byte"] == pytest.approx(score.bits_per_byte, abs=1e-5)
    assert results[BASE]["token_ppl"] == pytest.approx(score.perplexity, rel=1e-4)
    words = sum(len(tokenizer.decode(row).split()) for row in body.tolist())
    assert results[BASE]["word_ppl"] == pytest.approx(math.exp(score.nats.sum().item() / words), rel=1e-3)


def test_every_change_is_there_and_moves_as_it_must(results):
    assert list(results) == [BASE, INT8, *CHANGES, *FEWER, AVERAGE]
    moved = {name: r["added_bits_per_byte"] for name, r in results.items() if name != BASE}
    assert moved["window: a quarter"] > moved["window: a half"] > 0 > moved["stride: half a window in front, not scored"]
    assert moved["BOS: two"] > 0  # a marker that nobody expects is scored
    more = [name for name, x in moved.items() if abs(x) > abs(moved[INT8])]
    assert len(more) > 8  # the lesson: nearly every choice moves the number by more than int8 does
    assert protocol_table(results).rows[1][0] == INT8 and "more than int8" in protocol_figure(results, "shipped").alt


def test_context_in_front_changes_nothing_but_the_context():
    t, model = text_of("shipped", 4, 64), load_model()
    found, scored = CHANGES["stride: half a window in front, not scored"](model, t)
    assert torch.equal(scored, t.cut(t.starts, 0, 64)) and found.shape == (4, 64)
    alone = nats(model, marked(t.cut(t.starts[:1], 32, 64), t.bos), 33)
    assert torch.allclose(alone, found[:1], atol=1e-4)
    with pytest.raises(ValueError, match="multiple of 4"):
        text_of("shipped", 4, 63)


def test_what_is_done_is_not_done_again(results):
    assert EXPERIMENTS["protocol"].run is protocol
    left = dict(protocol("shipped", {name: results[name] for name in (BASE, INT8, *CHANGES)}, **FEW))
    assert list(left) == [*FEWER, AVERAGE] and left[AVERAGE] == results[AVERAGE]
