import pytest
import torch

from qcourse.methods.calibration import InputStats, calibrate
from qcourse.models.loader import SHIPPED
from qcourse.study.perplexity import windows


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_streaming_is_exact_under_batching(parts):
    x = torch.randn(210, 16) * torch.logspace(-2, 2, 16)
    stats = InputStats(16, keep_rows=50, keep_largest=400, with_hessian=True)
    for part in x.chunk(parts):
        stats.update(part)
    assert torch.equal(stats.absmax, x.abs().amax(0)) and stats.tokens == 210
    torch.testing.assert_close(stats.mean_abs, x.abs().mean(0))
    H = x.double().T @ x.double()  # products of a batch are fp32: off by 210 · 2⁻²⁴ of what the channels' sizes allow
    room = 210 * 2**-24 * (H.diagonal().unsqueeze(0) * H.diagonal().unsqueeze(1)).sqrt()
    assert ((stats.hessian - H).abs() <= room).all() and torch.equal(stats.hessian, stats.hessian.T)
    torch.testing.assert_close(stats.mean_square, x.square().mean(0))
    assert torch.equal(stats.sample, x[::4][:50])
    for p in (1.0, 0.999, 0.99, 0.9):
        k = -int(-p * x.numel() // 1)
        assert stats.percentile(p) == x.abs().flatten().kthvalue(k).values


def test_a_percentile_that_was_not_kept_is_refused():
    stats = InputStats(4, keep_largest=10)
    stats.update(torch.randn(100, 4))
    with pytest.raises(ValueError, match=r"percentile 0.5: between 0.97"):
        stats.percentile(0.5)


def test_the_model_is_left_as_it_was_and_every_layer_is_seen(shipped):
    ids = windows(SHIPPED, 4, 160, "calibration").ids
    before = shipped(ids[:1])
    stats = calibrate(shipped, ids, batch=3)
    assert len(stats) == 7 * shipped.config.num_hidden_layers
    assert {s.tokens for s in stats.values()} == {ids.numel()}
    assert torch.equal(shipped(ids[:1]), before) and not any(m._forward_pre_hooks for m in shipped.modules())


class TestBadInput:
    def test_too_little_text(self, shipped):
        with pytest.raises(ValueError, match="calibration text of 20 tokens: at least 512"):
            calibrate(shipped, torch.zeros(2, 10, dtype=torch.long))

    def test_nonfinite_input_names_the_channel(self):
        x = torch.zeros(3, 8)
        x[1, 5] = torch.inf
        with pytest.raises(ValueError, match="channel 5"):
            InputStats(8).update(x)

    def test_wrong_k(self):
        with pytest.raises(ValueError, match="K=4, this layer has K=8"):
            InputStats(8).update(torch.zeros(3, 4))
