import numpy as np
import pytest
import torch

from qcourse.methods.calibration import InputStats, calibrate
from qcourse.methods.folding import Fold, apply_fold
from qcourse.methods.smoothquant import search_alpha, smooth, smooth_scales
from qcourse.models.loader import SHIPPED, load_model
from qcourse.numerics.granularity import per_tensor
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, QuantizationScheme
from qcourse.study.perplexity import windows


@pytest.fixture(scope="module")
def text():
    return windows(SHIPPED, 8, 128, "calibration").ids


@pytest.fixture(scope="module")
def stats(text):
    return calibrate(load_model(), text)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_the_published_formula(alpha):
    """Eq. 4 of the paper, written again in numpy, over two layers that share an input."""
    x, W1, W2 = torch.randn(50, 24) * 3, torch.randn(8, 24), torch.randn(16, 24)
    top = np.maximum(np.abs(W1.numpy()).max(0), np.abs(W2.numpy()).max(0))
    expected = np.abs(x.numpy()).max(0) ** alpha / top ** (1 - alpha)
    np.testing.assert_allclose(smooth_scales(x.abs().amax(0), [W1, W2], alpha).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_whole_model_computes_the_same_function(stats, text, alpha, down):
    """Exact reparametrization. Tolerance: logits of size ~10 in fp32, a few hundred operations deep."""
    model = load_model()
    before = model(text[:2])
    factors = smooth(model, stats, alpha, down=down)
    assert len(factors) == (3 if down else 2) * model.config.num_hidden_layers
    torch.testing.assert_close(model(text[:2]), before, atol=2e-4, rtol=1e-4)


def test_the_embedding_keeps_its_16_bits(stats):
    model = load_model()
    smooth(model, stats, 0.5)
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.float32


def test_a_forgotten_fold_is_not_a_no_op(stats, text):
    model = load_model()
    before = model(text[:1])
    smooth(model, stats, 0.5)
    model.model.layers[0].input_layernorm.weight.data = load_model().model.layers[0].input_layernorm.weight.float()
    assert (model(text[:1]) - before).abs().max() > 0.1


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_k_trick_is_undone_for_every_alpha(alpha):
    """Gains times k and columns divided by k: s becomes k·s, so the smoothed layer is the same. It can show no optimum."""
    x, W, k = torch.randn(40, 16), torch.randn(8, 16), torch.ones(16)
    k[3] = 128.0
    s, s_k = (smooth_scales((x * f).abs().amax(0), [W / f], alpha) for f in (torch.ones(16), k))
    torch.testing.assert_close(s_k, s * k)
    torch.testing.assert_close(x * k / s_k, x / s)
    torch.testing.assert_close(W / k * s_k, W * s)


def test_a_channel_that_is_all_zero_is_left_alone():
    act, W = torch.rand(8) + 1, torch.randn(4, 8)
    act[2] = 0
    W[:, 5] = 0
    s = smooth_scales(act, [W], 0.5)
    assert s[2] == s[5] == 1 and torch.isfinite(s).all()


def test_search_alpha_finds_the_least_output_error():
    scheme = QuantizationScheme(QuantizationArgs(IntGrid(8), per_tensor), PRESETS["W8A8"].input_activations)
    x, W = torch.randn(256, 32), torch.randn(16, 32)
    x[:, 4] *= 60
    stats = InputStats(32)
    stats.update(x)

    def error(alpha):
        s = smooth_scales(stats.absmax, [W], alpha)
        y = fake_quantize(x / s, scheme.input_activations) @ fake_quantize(W * s, scheme.weights).T
        return (y - x @ W.T).square().sum()

    best = search_alpha(stats, [W], scheme)
    assert 0 < best < 1 and all(error(best) <= error(a) + 1e-6 for a in (0.0, 0.5, 1.0))


class TestBadInput:
    @pytest.mark.parametrize("alpha", [-0.1, 1.5])
    def test_alpha_outside(self, alpha):
        with pytest.raises(ValueError, match="between 0"):
            smooth_scales(torch.ones(4), [torch.ones(2, 4)], alpha)

    @pytest.mark.parametrize("bad", [0.0, -1.0, torch.nan, torch.inf])
    def test_factors_that_are_no_factors(self, bad):
        model = load_model()
        fold: Fold = model.folds()[0]
        s = torch.ones(256)
        s[7] = bad
        with pytest.raises(ValueError, match="q_proj: factor .* in channel 7"):
            apply_fold(fold, s)
