"""What attention keeps is what the model computes; errors are a real cache's; one spoilt token spoils what follows."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from qcourse.methods.kv_scales import calibrate_kv, set_kv_scales
from qcourse.models.kv_cache import new_cache
from qcourse.models.loader import SHIPPED, load_model
from qcourse.models.rope import rope_tables, rotate
from qcourse.numerics.kv import KV_PRESETS
from qcourse.numerics.quantize import fake_quantize
from qcourse.study import kv_inside
from qcourse.study.insides import attention_to_first
from qcourse.study.kv_profile import errors, kept, loudness, rms, scores, shares, static_scales, stored
from qcourse.study.perplexity import windows


@pytest.fixture(scope="module")
def ids():
    return windows(SHIPPED, 2, 96).ids


@pytest.fixture(scope="module")
def heads(shipped, ids):
    return kept(shipped, ids[:1, :-1])


@torch.inference_mode()
def test_it_is_what_attention_sees(shipped, heads, ids):
    seen = []
    attention = shipped.model.layers[2].self_attn
    hook = attention.o_proj.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    shipped(ids[:1, :-1])
    hook.remove()
    h = heads[2]
    k, v = (x.repeat_interleave(2, 0) for x in (h.k, h.v))  # 4 query heads, 2 of keys
    torch.testing.assert_close(
        shares(h) @ v, F.scaled_dot_product_attention(h.q, k, v, is_causal=True), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close((shares(h) @ v).transpose(0, 1).reshape(1, 96, -1), seen[0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        shares(h)[:, 16:, 0].mean(1), attention_to_first(shipped, ids[:1, :-1])[2], rtol=1e-3, atol=1e-6
    )
    torch.testing.assert_close(rotate(h.before(), *rope_tables(h.config, torch.arange(96))), h.k, rtol=1e-4, atol=1e-4)


def test_loudness_is_a_ratio_of_channels_or_tokens(heads):
    x = torch.ones(2, 10, 8)
    x[1, :, 3], x[0, 4] = 5.0, 3.0
    assert loudness(x).tolist() == pytest.approx([1.0, 5.0]) and loudness(x, 2).tolist() == pytest.approx([3.0, 1.0])
    torch.testing.assert_close(rms(heads[0].k, 1).square().mean(1), heads[0].k.square().mean((1, 2)))


@pytest.mark.parametrize("name", KV_PRESETS)
def test_what_is_stored_is_what_the_model_reads(shipped, heads, ids, name):
    args, (k, v) = KV_PRESETS[name], stored(heads[0], name)
    model = load_model() if args.static else shipped
    if args.static:  # layer 0 sees the same keys whatever is rounded after it
        found = calibrate_kv(model, ids[:1, :-1], args)
        torch.testing.assert_close(
            torch.stack(static_scales(heads[0], args)[0]), torch.stack(found["model.layers.0.self_attn"])
        )
        set_kv_scales(model, args, found)
    cache = new_cache(model, 1, 97, args)
    with torch.inference_mode():
        model(ids[:1, :-1], cache)
        both = cache.k, cache.v
        coded = [side.read(0, 0, side.coded(96)) for side in both]
    for mine, theirs in zip((k, v), coded, strict=True):
        theirs = cache.unturn(theirs[None])[0]
        torch.testing.assert_close(mine[:, : theirs.shape[1]], theirs, rtol=1e-3, atol=1e-3)


def test_errors_are_zero_for_what_is_not_rounded_and_grow_with_fewer_bits(heads):
    whole = KV_PRESETS["int4_kivi"].with_(window=96)  # everything waits, in bf16
    found = errors(heads[1], whole)
    assert all(e < 2**-8 for name, e in found.items() if name != "scores") and found["scores"] < 0.05
    by_bits = [errors(heads[1], f"int{bits}_kivi") for bits in (4, 2)]
    assert all(by_bits[0][part] < by_bits[1][part] for part in ("keys", "values", "output", "scores"))
    shifted = replace(heads[1], k=heads[1].k + 3 * torch.randn(2, 1, 64))  # the same for all tokens: softmax does not see it
    torch.testing.assert_close(shares(shifted), shares(heads[1]), rtol=1e-3, atol=1e-5)
    assert not torch.allclose(scores(shifted.q, shifted.k), scores(heads[1].q, heads[1].k))


@torch.inference_mode()
def test_one_spoilt_token(shipped, ids):
    row = ids[:1]
    exact = F.cross_entropy(shipped(row[:, :-1])[0], row[0, 1:], reduction="none").double()
    torch.testing.assert_close(kv_inside.spoilt(shipped, row, "", 5), exact, rtol=1e-4, atol=1e-4)
    for side in "kv":
        off = kv_inside.spoilt(shipped, row, side, 40)
        torch.testing.assert_close(off[:41], exact[:41], rtol=1e-4, atol=1e-4)  # nobody before it, and not itself
        assert (off[41:] - exact[41:]).abs().max() > 1e-3


def test_the_experiment_goes_on_where_it_stopped(heads):
    found = dict(kv_inside.inside(SHIPPED, {}, n=2, seq_len=112))
    layers, cases = [f"layer {i}" for i in range(4)], [n + more for n in kv_inside.SINKS for _, more in kv_inside.SUFFIXES]
    assert list(found) == [*layers, *kv_inside.ALONE, *cases]
    assert found["layer 1"]["keys before RoPE: loudest channel"] > found["layer 1"]["keys: loudest channel"] > 3
    assert found["layer 1"]["values: loudest channel"] < 2
    assert found["int2_kivi"]["added_bits_per_byte"] > found["int4_kivi"]["added_bits_per_byte"]
    args = kv_inside.TWO_BITS
    assert args.num_bits == 2 and fake_quantize(torch.randn(3, 64), args).unique().numel() <= 3 * 2 * 4
    assert list(kv_inside.inside(SHIPPED, found, n=2, seq_len=112)) == []
