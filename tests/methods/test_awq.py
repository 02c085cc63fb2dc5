import numpy as np
import pytest
import torch

from qcourse.methods.awq import awq, awq_scales, search_clip, search_scales
from qcourse.methods.calibration import InputStats, calibrate
from qcourse.models.loader import SHIPPED, load_model
from qcourse.numerics.granularity import per_group
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import PRESETS, int_weight
from qcourse.study.perplexity import windows

ARGS = int_weight(4, per_group(32), symmetric=False)


@pytest.fixture
def layer():
    """A layer whose channels 3 and 40 are loud."""
    x, W = torch.randn(300, 64), torch.randn(48, 64)
    x[:, [3, 40]] *= 25
    stats = InputStats(64)
    stats.update(x)
    return x, W, stats


@pytest.mark.parametrize("alpha", [0.0, 0.35, 0.95])
def test_the_published_formula(layer, alpha):
    """scales = x_mean^ratio, clamped at 1e-4, divided by sqrt(max · min): llm-awq's `_search_module_scale`."""
    mean = np.abs(layer[0].numpy()).mean(0)
    s = np.maximum(mean**alpha, 1e-4)
    np.testing.assert_allclose(awq_scales(layer[2].mean_abs, alpha), s / np.sqrt(s.max() * s.min()), rtol=1e-5)


def output_error(x, W, s, args):
    return ((x / s) @ fake_quantize(W * s, args).T - x @ W.T).square().sum()


def test_the_search_beats_rounding_to_nearest_and_scales_loud_channels_up(layer):
    x, W, stats = layer
    s = search_scales(stats, [W], ARGS)
    assert output_error(x, W, s, ARGS) < 0.8 * output_error(x, W, torch.ones(64), ARGS)
    assert s[3] > s.median() and s[40] > s.median()


def test_clipping_never_makes_the_output_worse_on_the_sample(layer):
    x, W, _ = layer
    clipped = search_clip(W, x, ARGS)
    groups = lambda t: ARGS.granularity.blocks(t)  # noqa: E731
    xg = x.unflatten(-1, (2, 32))

    def group_error(V):
        d = groups(fake_quantize(V, ARGS) - W)
        return torch.einsum("mgi,ngi->mng", xg, d).square().sum(0)

    assert (group_error(clipped) <= group_error(W) * 1.001 + 1e-4).all()
    assert (clipped.abs() <= W.abs()).all() and not torch.equal(clipped, W)


def test_scaling_alone_computes_the_same_function():
    text = windows(SHIPPED, 8, 128, "calibration").ids
    model = load_model()
    before, stats = model(text[:1]), calibrate(model, text)
    awq(model, stats, PRESETS["W4A16"].weights, clip=False)
    torch.testing.assert_close(model(text[:1]), before, atol=2e-4, rtol=1e-4)


def test_queries_and_keys_are_not_clipped():
    text = windows(SHIPPED, 8, 128, "calibration").ids
    model, scaled = load_model(), load_model()
    stats = calibrate(model, text)
    awq(model, stats, PRESETS["W4A16"].weights)
    awq(scaled, stats, PRESETS["W4A16"].weights, clip=False)
    for a, b in zip(model.model.layers, scaled.model.layers, strict=True):
        assert torch.equal(a.self_attn.q_proj.weight, b.self_attn.q_proj.weight)
        assert not torch.equal(a.mlp.down_proj.weight, b.mlp.down_proj.weight)
