import numpy as np
import pytest
import torch

from qcourse.methods.awq import awq, awq_scales, search_clip, search_scales
from qcourse.methods.calibration import InputStats, calibrate
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
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


def test_why_nothing_is_scaled_is_said():
    stats = InputStats(64)
    stats.update(torch.ones(64, 64))  # no column is louder than another: every α gives the same, and 0 is the first
    found = search_scales(stats, [torch.randn(8, 64)], ARGS)
    assert found.alpha == 0 and found.error == found.plain
    assert found.reason == "no α of 0.05, 0.1 … 0.95 has a smaller output error than α = 0"


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
    s = search_scales(stats, [W], ARGS).s
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


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (6, 1)])
def test_values_are_scaled_head_by_head_exactly_however_many_share_one(heads, kv_heads):
    sizes = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}
    config = LlamaConfig(**sizes, num_attention_heads=heads, num_key_value_heads=kv_heads, attention_bias=True)
    model = LlamaForCausalLM(config, dtype=torch.float32)
    for p in model.parameters():
        p.data.normal_(std=0.1)
    ids = torch.randint(0, 97, (4, 128))
    with torch.inference_mode():
        before, stats = model(ids), calibrate(model, ids)
        found = awq(model, stats, int_weight(3, per_group(16)), clip=False, values=True)
        after = model(ids)
    o = [f for name, f in found.items() if name.endswith("o_proj")]
    assert len(o) == 2 and all(len(f.s) == 16 * kv_heads for f in o) and any(f.alpha > 0 for f in o)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_queries_and_keys_are_not_clipped():
    text = windows(SHIPPED, 8, 128, "calibration").ids
    model, scaled = load_model(), load_model()
    stats = calibrate(model, text)
    awq(model, stats, PRESETS["W4A16"].weights)
    awq(scaled, stats, PRESETS["W4A16"].weights, clip=False)
    for a, b in zip(model.model.layers, scaled.model.layers, strict=True):
        assert torch.equal(a.self_attn.q_proj.weight, b.self_attn.q_proj.weight)
        assert not torch.equal(a.mlp.down_proj.weight, b.mlp.down_proj.weight)
