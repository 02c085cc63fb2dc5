"""Recipes of KV caches: every row of the registry obeys the law of its grid and takes the bits that it says."""

import pytest
import torch

from qcourse.numerics.granularity import per_channel, per_group, per_tensor, per_token
from qcourse.numerics.grids import E4M3, IntGrid
from qcourse.numerics.kv import KV_PRESETS, KVCacheArgs, by_token, fixed, kv_args, name_of, ranged
from qcourse.numerics.quantize import dequantize, quantize, values_of
from qcourse.numerics.schemes import NVFP4_ARGS, QuantizationArgs

ROWS = list(KV_PRESETS)
INT8 = by_token(IntGrid(8))
T, D = 64, 128


def recipes(args):
    """(recipe, numbers as it takes them): keys (T, D) or turned, values (T, D)."""
    K, V = torch.randn(2, T, D)
    K[:, 7] += 20  # a loud channel, far from 0
    return [(args.keys, K.T.contiguous() if args.key_axis == "channel" else K), (args.values, V)]


@pytest.mark.parametrize("name", ROWS)
def test_error_is_at_most_half_a_step_inside_the_range(name):
    for args, x in recipes(KV_PRESETS[name]):
        q = quantize(x, args)
        blocks = args.granularity.blocks(x)
        s = values_of(q.scale, args.scale).unsqueeze(-1)
        m = 0 if q.zero_point is None else values_of(q.zero_point, args.zero).unsqueeze(-1)
        grid, code = args.grid, blocks / s + m / s
        error = (args.granularity.blocks(dequantize(q)) - blocks).abs()
        if isinstance(grid, IntGrid):
            half, inside = 0.5 * s, (code >= grid.qmin) & (code <= grid.qmax)
        else:  # half the distance of two neighbours: 2^(e - mantissa - 1), at least that of the subnormals
            e = torch.frexp(code.abs())[1].clamp(min=2 - grid.bias) - 1
            half, inside = torch.ldexp(s.expand(code.shape), e - grid.mantissa_bits - 1), code.abs() <= grid.max
        assert inside.float().mean() > 0.9
        rounding = 4 * 2.0**-24 * (blocks.abs() + s * grid.limit * 2 + abs(m))  # fp32, four operations
        assert (error <= half + rounding)[inside].all()


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("name", ROWS)
def test_bits_of_a_token_are_what_codes_and_scales_take(name, head_dim):
    args = KV_PRESETS[name]
    tokens, total = 4 * args.group, 0
    for recipe, turned in ((args.keys, args.key_axis == "channel"), (args.values, False)):
        q = quantize(torch.randn(head_dim, tokens) if turned else torch.randn(tokens, head_dim), recipe)
        stored = [] if args.static else [t for t in (q.scale, q.zero_point) if t is not None]
        total += q.codes.numel() * recipe.num_bits + sum(8 * t.nbytes for t in stored)
    assert args.token_bits(head_dim) * tokens == total


@pytest.mark.parametrize("name", ROWS)
def test_a_recipe_by_its_name(name):
    assert kv_args(name) is KV_PRESETS[name] is kv_args(KV_PRESETS[name]) and name_of(KV_PRESETS[name]) == name
    assert not (KV_PRESETS[name].static and KV_PRESETS[name].residual)


def test_names():
    assert kv_args(None) is None and kv_args("auto") is None and name_of(None) == "auto"
    assert kv_args("fp8") is KV_PRESETS["fp8_e4m3"]
    assert name_of(KVCacheArgs(INT8, INT8, window=3)) == "int8 keys by token, int8 values"
    for wrong, near in (("int8_per_token", "int8_per_token_head"), ("INT4_KIVI", "int4_kivi"), ("fp8_e4m4", "fp8_e4m3")):
        with pytest.raises(ValueError, match=f"{wrong}.*did you mean.*{near}.*known: auto, fp8_e4m3"):
            kv_args(wrong)
    with pytest.raises(TypeError):
        kv_args({"num_bits": 8})


@pytest.mark.parametrize(("fields", "message"), [
    ({"key_axis": "head"}, "key_axis='head'"),
    ({"window": -1}, "window=-1"),
    ({"sink": True}, "sink=True"),
    ({"keys": fixed(E4M3)}, "static keys with dynamic values"),
    ({"per_head": True}, "per_head"),
    ({"keys": by_token(IntGrid(3))}, "3 bits"),
    ({"values": NVFP4_ARGS}, "plain floats"),
    ({"values": INT8.with_(scaling="mse")}, "scaling='mse'"),
    ({"values": QuantizationArgs(IntGrid(4, False), per_group(32), "minmax", zero=IntGrid(4, False))}, "zero points"),
    ({"values": INT8.with_(granularity=per_tensor)}, "per tensor"),
    ({"key_axis": "channel"}, r"per_group\(G\) tokens"),
    ({"keys": ranged(4, per_channel), "key_axis": "channel"}, r"per_group\(G\) tokens"),
    ({"keys": INT8.with_(dynamic=False), "values": fixed(E4M3)}, "static scale is one number"),
])  # fmt: skip
def test_recipes_that_contradict_themselves(fields, message):
    with pytest.raises(ValueError, match=message):
        KVCacheArgs(**({"keys": INT8, "values": INT8} | fields))


def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="values of head_dim=48: group_size=32 does not divide K=48.*nearest legal.*24"):
        KV_PRESETS["int4_kivi"].check(48)
    with pytest.raises(ValueError, match="keys of head_dim=2: 4 codes a byte"):
        KVCacheArgs(ranged(2, per_group(32)), by_token(IntGrid(8)), key_axis="channel").check(2)
    assert KVCacheArgs(INT8.with_(granularity=per_token), INT8).token_bits(6) == 2 * (6 * 8 + 16)


def test_how_many_tokens_stay_plain():
    kivi = KV_PRESETS["int4_kivi"]
    assert (kivi.group, kivi.residual) == (32, True)
    assert KV_PRESETS["fp8_e4m3"].group == 1
