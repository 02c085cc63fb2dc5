"""The life of a cache's scales on an attention layer: create, load, process; and a recipe that is exchanged."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from qcourse.checkpoints.rules import EVERY, Rule
from qcourse.layers.config import RulesConfig
from qcourse.layers.kv_method import SCALES, KVCacheMethod, create_scales, process_scales, use_cache
from qcourse.numerics.kv import KV_PRESETS

STATIC = [name for name, args in KV_PRESETS.items() if args.static]


def attention(heads: int = 3, head_dim: int = 32) -> nn.Module:
    layer = nn.Module()
    layer.config = SimpleNamespace(num_key_value_heads=heads, head_dim=head_dim)
    for name in SCALES:
        layer.register_buffer(name, None)
    return layer


def in_file(name: str, kv_scales: bool = True) -> RulesConfig:
    return RulesConfig([Rule(EVERY, None)], quantizer=None, kv_cache=KV_PRESETS[name], kv_scales=kv_scales)


@pytest.mark.parametrize("name", STATIC)
def test_create_load_process(name):
    layer, config = attention(), in_file(name)
    assert create_scales({"here": layer}, config) is config.kv_cache
    numbers = 3 if KV_PRESETS[name].per_head else 1
    assert dict(layer.named_parameters()).keys() == set(SCALES) == layer.slots.keys()
    for scale in SCALES:
        stored = torch.rand(layer.slots[scale].shape) + 0.5
        assert stored.numel() == numbers
        layer.slots[scale].refuse(stored, scale), layer.slots[scale].refuse(stored.flatten().bfloat16(), scale)
        setattr(layer, scale, nn.Parameter(stored.bfloat16(), requires_grad=False))
    process_scales({"here": layer})
    assert not dict(layer.named_parameters()) and not hasattr(layer, "kv_method") and not hasattr(layer, "slots")
    for scale in SCALES:
        assert layer.get_buffer(scale).shape == (numbers,) and layer.get_buffer(scale).dtype == torch.float32
    process_scales({"here": layer})  # nothing waits any more


@pytest.mark.parametrize("name", KV_PRESETS)
def test_only_a_file_with_static_scales_has_a_method(name):
    static = name in STATIC
    assert (in_file(name).get_kv_cache_method("here") is not None) == static
    assert in_file(name, kv_scales=False).get_kv_cache_method("here") is None
    layer = attention()
    assert create_scales({"here": layer}, in_file(name, kv_scales=False)) is KV_PRESETS[name]
    assert not dict(layer.named_parameters()) and layer.k_scale is None
    assert create_scales({"here": layer}, None) is create_scales({"here": layer}, RulesConfig([])) is None


@pytest.mark.parametrize("bad", [0.0, -1.0, torch.nan, torch.inf, 1e-40])
@pytest.mark.parametrize("scale", SCALES)
def test_what_is_no_scale_is_named(bad, scale):
    layer = attention()
    KVCacheMethod(KV_PRESETS["fp8_e4m3_per_head"], "model.layers.7.self_attn").create_weights(layer)
    for name in SCALES:
        values = torch.ones(3, 1, 1)
        values[1] = bad if name == scale else 1
        setattr(layer, name, nn.Parameter(values, requires_grad=False))
    with pytest.raises(ValueError, match=rf"model.layers.7.self_attn.{scale} is .*a positive, finite number"):
        layer.kv_method.process_weights_after_loading(layer)


@pytest.mark.parametrize(("values", "said"), [([1, 1, 1, 1], True), ([1, 1, 1, 0.99], False)])
def test_scales_of_1_are_said_once(values, said, caplog):
    layers = {str(i): attention() for i in range(2)}
    create_scales(layers, in_file("fp8_e4m3"))
    left = iter(values)
    for layer in layers.values():
        for name in SCALES:
            setattr(layer, name, nn.Parameter(torch.tensor([next(left)], dtype=torch.float32), requires_grad=False))
    with caplog.at_level(logging.WARNING, "qcourse"):
        process_scales(layers)
    assert caplog.text.count("is as good as none") == said


def test_a_head_that_the_recipe_does_not_divide():
    with pytest.raises(ValueError, match="head_dim=48: group_size=32 does not divide"):
        create_scales({"here": attention(head_dim=48)}, in_file("int4_kivi"))


def test_another_recipe_drops_the_scales_of_the_old_one():
    layer = attention()
    model = SimpleNamespace(kv_cache=KV_PRESETS["fp8_e4m3"], attentions=lambda: {"here": layer}, config=layer.config)
    layer.k_scale = layer.v_scale = torch.ones(1)
    use_cache(model, KV_PRESETS["fp8_e4m3"])
    assert layer.k_scale is not None
    for args in (KV_PRESETS["fp8_e5m2"], None):
        use_cache(model, args)
        assert model.kv_cache is args and layer.k_scale is layer.v_scale is None
    with pytest.raises(ValueError, match="head_dim=32"):
        layer.config.head_dim = 32
        use_cache(model, KV_PRESETS["int4_kivi"].with_(values=KV_PRESETS["int4_kivi"].values.with_(
            granularity=type(KV_PRESETS["int4_kivi"].values.granularity)(1, 24))))  # fmt: skip
