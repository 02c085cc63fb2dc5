import math

import pytest
import torch

from qcourse.models.loader import SHIPPED, load_model
from qcourse.study.perplexity import Score, Windows, paired_difference, perplexity, windows

FORMATS = {
    "int8": "W8A16",
    "int4": "W4A16",
    "int3": "W3A16",
    "int2": "W2A16",
}


@pytest.fixture(scope="module")
def text():
    return windows(SHIPPED, n=64, seq_len=256)


@pytest.fixture(scope="module")
def scores(text):
    models = {"bf16": None, **FORMATS}
    return {name: perplexity(load_model(quantization=q), text) for name, q in models.items()}


def test_the_gate_the_shipped_model_is_a_language_model(scores):
    """Below the gate of 1.65 bits/byte on text it never saw: this Python's own held-out files."""
    assert scores["bf16"].bits_per_byte + scores["bf16"].stderr < 1.65


def test_the_gate_damage_is_resolved_in_the_order_of_theory(scores):
    """int8 < int4 < int3 < int2, each step by more than 3 paired standard errors on 64 windows."""
    order = ["int8", "int4", "int3", "int2"]
    for better, worse in zip(order, order[1:], strict=False):
        assert paired_difference(scores[better], scores[worse]).z > 3, (better, worse)


def test_the_protocol_by_hand(shipped, text):
    """One window, one token at a time, in plain log-softmax."""
    ids = text.ids[:1, :40]
    by_hand = -torch.log_softmax(shipped(ids[:, :-1]), -1)[0, torch.arange(39), ids[0, 1:]].double().sum()
    score = perplexity(shipped, Windows(ids, text.num_bytes[:1]))
    assert score.nats[0].item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert score.perplexity == pytest.approx(math.exp(by_hand / 39), rel=1e-5)


def test_windows_start_with_bos_and_count_their_bytes(text, tokenizer):
    assert (text.ids[:, 0] == tokenizer.bos_id).all() and text.ids.shape == (64, 257)
    # a character cut in half decodes to U+FFFD, so compare bytes
    assert text.num_bytes[3] == sum(len(tokenizer.token_bytes[i]) for i in text.ids[3, 1:].tolist())


def test_batching_does_not_change_the_score(shipped, text):
    few = Windows(text.ids[:6], text.num_bytes[:6])
    a, b = perplexity(shipped, few, batch=2), perplexity(shipped, few, batch=6)
    torch.testing.assert_close(a.nats, b.nats, rtol=1e-5, atol=1e-4)


def test_pairing_cancels_what_the_windows_have_in_common():
    w = Windows(torch.zeros(50, 11, dtype=torch.long), torch.full((50,), 30))
    nats = 20 + 10 * torch.randn(50).double()
    a, b = Score(nats, w), Score(nats + 0.5 + 0.1 * torch.randn(50).double(), w)
    d = paired_difference(a, b)
    assert d.mean == pytest.approx(0.5 / math.log(2) / 30, rel=0.1)
    assert d.stderr < a.stderr / 20 and d.z > 20
    assert paired_difference(a, a).z == 0


def test_perplexity_of_a_uniform_guess_is_the_vocabulary(text):
    class Uniform(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.p = torch.nn.Parameter(torch.zeros(1))

        def forward(self, ids):
            return torch.zeros(*ids.shape, 2048)

    assert perplexity(Uniform(), text).perplexity == pytest.approx(2048, rel=1e-5)


class TestBadInput:
    def test_different_text(self, scores):
        other = Score(scores["bf16"].nats[:2], Windows(scores["bf16"].windows.ids[:2], scores["bf16"].windows.num_bytes[:2]))
        with pytest.raises(ValueError, match="same text"):
            paired_difference(scores["bf16"], other)

    def test_too_little_text(self):
        with pytest.raises(ValueError, match="no overlap"):
            windows(SHIPPED, n=10_000, seq_len=256)
        with pytest.raises(ValueError, match="the model has 1024 positions"):
            windows(SHIPPED, n=2, seq_len=1025)
        with pytest.raises(ValueError, match="at least 2"):
            windows(SHIPPED, n=1)
