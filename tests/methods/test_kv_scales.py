"""Static scales of a KV cache: the loudest of a text over the grid's limit, by layer or head; put on a model, or refused."""

import copy

import pytest
import torch

from qcourse.methods.hadamard import hadamard
from qcourse.methods.kv_scales import calibrate_kv, set_kv_scales
from qcourse.models.kv_cache import KVCache, new_cache
from qcourse.models.loader import load_model
from qcourse.numerics.kv import KV_PRESETS

STATIC = [name for name, args in KV_PRESETS.items() if args.static]
IDS = torch.arange(40).view(2, 20) * 13 % 2000


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture
def plain(model):
    """All keys and values of the text, in 32 bits."""
    c = KVCache(model.config, 2, 20)
    with torch.inference_mode():
        model(IDS, c)
    return c


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("name", STATIC)
def test_the_loudest_lands_on_the_largest_code(name, rotate, model, plain):
    args = KV_PRESETS[name].with_(rotate=rotate)
    scales = calibrate_kv(model, IDS, args)
    assert list(scales) == [f"model.layers.{i}.self_attn" for i in range(4)]
    for i, pair in enumerate(scales.values()):
        for s, x, side in zip(pair, (plain.k[i], plain.v[i]), (args.keys, args.values), strict=True):
            x = x @ hadamard(64) if rotate else x
            want = x.abs().amax((0, 2, 3) if args.per_head else None).view(-1) / side.grid.limit
            assert s.dtype == torch.float32 and s.shape == want.shape  # one row at a time sums in another order
            torch.testing.assert_close(s, want, rtol=1e-4 if rotate else 2e-5, atol=0)


def test_on_the_model(model):
    model, before = copy.deepcopy(model), set(model.state_dict())
    for name in STATIC:
        args = KV_PRESETS[name]
        scales = calibrate_kv(model, IDS, args)
        set_kv_scales(model, args, scales)
        added = {f"{prefix}.{s}" for prefix in scales for s in ("k_scale", "v_scale")}
        assert set(model.state_dict()) - before == added and model.kv_cache is args
        c = new_cache(model, 2, 20)
        assert torch.equal(c.k.static[1, :2], scales["model.layers.1.self_attn"][0].expand(2)) and c.args is args
    set_kv_scales(model, KV_PRESETS["int4_kivi"])
    assert set(model.state_dict()) == before and new_cache(model, 1, 8).args is KV_PRESETS["int4_kivi"]


def test_halved_scales_clamp_and_the_cache_counts(model):
    model, args = copy.deepcopy(model), KV_PRESETS["int8_static"]
    found = calibrate_kv(model, IDS, args)
    set_kv_scales(model, args, {prefix: (k / 2, v / 2) for prefix, (k, v) in found.items()})
    c = new_cache(model, 2, 20)
    with torch.inference_mode():
        model(IDS, c)
    assert (c.k.clamped.sum(1) > 0).all() and (c.v.clamped.sum(1) > 0).all()
    assert c.clamped == c.k.clamped.sum() + c.v.clamped.sum()


def test_a_silent_head_has_scale_1(model):
    model = copy.deepcopy(model)
    model.model.layers[2].self_attn.v_proj.weight.data[64:] = 0
    args = KV_PRESETS["fp8_e4m3_per_head"]
    v_scale = calibrate_kv(model, IDS, args)["model.layers.2.self_attn"][1]
    assert v_scale[1] == 1 and v_scale[0] < 1


def test_what_is_refused(model):
    args, one = KV_PRESETS["fp8_e4m3"], torch.ones(1)
    with pytest.raises(ValueError, match="dynamic scales"):
        calibrate_kv(model, IDS, KV_PRESETS["int4_kivi"])
    with pytest.raises(ValueError, match="no ids"):
        calibrate_kv(model, IDS[:0], args)
    good = {f"model.layers.{i}.self_attn": (one, one) for i in range(4)}
    for scales, message in (
        ({}, "model.layers.0.self_attn: scales are missing"),
        (good | {"model.layers.9.self_attn": (one, one)}, "model.layers.9.self_attn: this recipe has no scales"),
        *((good | {"model.layers.1.self_attn": (one, bad)}, r"layers.1.self_attn.v_scale is .*: 1 positive")
          for bad in (0 * one, -one, one / 0, torch.ones(2))),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            set_kv_scales(model, args, scales)
    with pytest.raises(ValueError, match="this recipe has no scales"):
        set_kv_scales(model, KV_PRESETS["int4_kivi"], good)
    assert model.kv_cache is None and model.model.layers[1].self_attn.v_scale is None
    broken = copy.deepcopy(model)
    broken.model.layers[1].self_attn.k_proj.weight.data[3] = torch.nan
    with pytest.raises(ValueError, match="keys of model.layers.1.self_attn are not finite"):
        calibrate_kv(broken, IDS, args)
