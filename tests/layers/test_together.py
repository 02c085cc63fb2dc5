"""Merged products: the same numbers, no byte kept twice, and never a weight that a layer no longer has."""

import copy

import pytest
import torch

import qcourse
from qcourse.layers.config import get_quantization_config
from qcourse.layers.linear import Linear, dequantize_layers, quantize_layers
from qcourse.layers.together import Together
from qcourse.methods.calibration import calibrate
from qcourse.methods.smoothquant import smooth
from qcourse.models.kv_cache import KVCache
from qcourse.study.cost import model_bytes

FORMATS = [None, "W4A16", "W4A16_ASYM", "W4A16_CHANNEL", "W8A16", "W8A16_TENSOR", "W8A8", "FP8_DYNAMIC", "W3A16"]


def step(model, ids=(5, 6, 7)):
    """Logits of one decode step after a prompt."""
    with torch.inference_mode():
        cache = KVCache(model.config, 1, 8, model.compute_dtype)
        model(torch.tensor([ids[:-1]]), cache)
        return model(torch.tensor([ids[-1:]]), cache)


def apart(model):
    """The same step, each layer by itself: what a listener gets."""
    hooks = [m.register_forward_hook(lambda *a: None) for m in model.linears().values()]
    try:
        return step(model)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_numbers_and_the_same_bytes(format):
    model = qcourse.load_model(quantization=format)
    before, size = apart(model), model_bytes(model)
    assert torch.equal(step(model), before) and model_bytes(model) == size
    assert torch.equal(apart(model), before)  # the layers' own views hold the same rows
    merged = model.model.layers[0].self_attn.qkv.multiply is not None
    assert merged == (format != "W8A16_TENSOR")  # one scale for all rows


def test_a_listener_hears_every_layer():
    model, text = qcourse.load_model(quantization="W4A16"), torch.randint(0, 2000, (2, 256))
    step(model)
    assert set(calibrate(model, text)) == set(model.linears())


def test_another_weight_is_noticed():
    model = qcourse.load_model()
    step(model)
    stats = calibrate(model, torch.randint(0, 2000, (2, 256)))
    before = apart(model)
    smooth(model, stats, 0.5)  # replaces weights' data
    torch.testing.assert_close(step(model), before, atol=2e-2, rtol=1e-3)
    layer = model.model.layers[0].self_attn.k_proj
    layer.weight.data = torch.zeros_like(layer.weight.data)
    assert torch.equal(step(model), apart(model)) and not torch.equal(step(model), before)
    layer.weight.data += 0.5  # in place: merged rows are a view of the same bytes
    assert torch.equal(step(model), apart(model))
    quantize_layers(model, get_quantization_config("W4A16"))
    assert torch.equal(step(model), apart(model))
    dequantize_layers(model)
    assert torch.equal(step(model), apart(model))


def test_a_copy_is_its_own():
    model = qcourse.load_model(quantization="W8A16")
    step(model)
    other = copy.deepcopy(model)
    assert torch.equal(step(other), step(model))
    other.model.layers[0].self_attn.q_proj.product.p.scale.mul_(2)
    assert not torch.equal(step(other), step(model)) and torch.equal(step(model), apart(model))


def test_what_is_trained_stays_apart():
    a, b = Linear(8, 4), Linear(8, 6)
    with torch.no_grad():
        together = Together(a, b)
        y = together(torch.ones(1, 8))
        assert together.multiply is None and [t.shape[-1] for t in y] == [4, 6]
    assert a.weight.data_ptr() != b.weight.data_ptr()
