"""Quantized KV caches: the package's own codes, honest bytes, a state that depends on the length alone, and plain errors."""

import random

import pytest
import torch

from qcourse.methods.hadamard import hadamard_transform
from qcourse.methods.kv_scales import calibrate_kv, set_kv_scales
from qcourse.methods.rotation import rotate_online
from qcourse.models.attention import attend, through
from qcourse.models.chat import Chat
from qcourse.models.generate import generate
from qcourse.models.kv_cache import KVCache, new_cache
from qcourse.models.kv_side import BLOCK
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_model
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.numerics.granularity import per_group
from qcourse.numerics.grids import E5M2, IntGrid
from qcourse.numerics.kv import KV_PRESETS, KVCacheArgs, by_token, ranged
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.study.speed import decode

EXTRA = {  # what no preset has: sinks, windows by token, keys unlike values, channels without a window
    "sink and window": KVCacheArgs(by_token(IntGrid(8)), by_token(E5M2), window=5, sink=3),
    "scales in fp32": KVCacheArgs(
        by_token(IntGrid(8)).with_(scale=torch.float32), by_token(IntGrid(4)).with_(scale=torch.float16)
    ),
    "channel without window": KVCacheArgs(ranged(2, per_group(16)), by_token(IntGrid(4)), key_axis="channel", sink=1),
}
ALL = KV_PRESETS | EXTRA
CONFIG = LlamaConfig(num_hidden_layers=2)
ROWS, D = 2 * CONFIG.num_key_value_heads, CONFIG.head_dim


def cache(args, max_len=128, dtype=torch.float32, config=CONFIG):
    count = config.num_key_value_heads if args.per_head else 1
    pair = torch.linspace(0.01, 0.02, count), torch.linspace(0.03, 0.01, count)
    return QuantizedKVCache(config, 2, max_len, args, dtype, "cpu", [pair] * 2 if args.static else None)


def fill(c, k, v, cuts, layer=0):
    """Write k and v in pieces that end at `cuts`; what the last of them returned."""
    for begin, end in zip([c.length, *cuts], cuts, strict=False):
        found = c.update(layer, k[:, :, begin:end], v[:, :, begin:end])
        c.length = end
    return found


def state(c):
    """All that is stored for `length` tokens of the first layer."""
    found = {}
    for side in (c.k, c.v):
        end, first = side.coded(c.length), min(c.length, c.args.sink)
        ring = side.places(end, max(end, c.length - c.args.sink)) if side.ring else []
        found[side.name, "near"] = side.near[0][:, [*range(first), *ring]]
        found[side.name, "codes"] = side.lines(0).flatten(1, 2)[:, :end]
        for name in ("scale", "zero"):
            kept = getattr(side, name)
            if kept.numel():
                by_token = (
                    kept[0].transpose(2, 3).flatten(1, 2)[:, :end] if not side.by_channel else kept[0][:, : end // side.G]
                )
                found[side.name, name] = by_token
    return {key: t.clone() for key, t in found.items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("name", ALL)
class TestEveryFormat:
    def test_what_is_stored_are_the_package_s_own_codes(self, name):
        args, T = ALL[name], 100
        c, (k, v) = cache(args), torch.randn(2, 2, 2, T, D)
        keys, values = fill(c, k, v, [T])
        for side, x, got in ((c.k, k, keys), (c.v, v, values)):
            x = hadamard_transform(x) if args.rotate else x
            x, end, first = x.flatten(0, 1), side.coded(T), args.sink
            x = x.bfloat16().float() if side.ring else x
            part = x[:, first : first + end]
            if args.static:
                s = side.static[0].view(-1, 1, 1)
                want = side.args.grid.decode(side.args.grid.encode(part / s)) * s
            elif side.by_channel:
                want = dequantize(quantize(part.transpose(1, 2), side.args)).transpose(1, 2)
            else:
                want = dequantize(quantize(part, side.args))
            want = torch.cat((x[:, :first].bfloat16().float(), want, x[:, first + end :]), 1)
            assert torch.equal(got.flatten(0, 1), want)

    def test_bytes_are_what_the_recipe_says(self, name):
        args, c = ALL[name], cache(ALL[name], 96 + ALL[name].window + ALL[name].sink)  # 96: whole blocks and groups
        plain = 2 * 2 * args.sink + 2 * 2 * args.window + 2 * (args.group if args.key_axis == "channel" else 0)
        fixed = 2 * 2 * ROWS * 4 if args.static else 0
        assert c.nbytes == 2 * ROWS * (96 * args.token_bits(D) / 8 + plain * D) + fixed
        assert c.used == fixed
        c.length = c.max_len
        assert c.used == c.nbytes - (2 * ROWS * 2 * args.group * D if args.key_axis == "channel" else 0)
        one = cache(args, 96 + args.window + args.sink - BLOCK + 1)
        assert one.nbytes <= c.nbytes  # memory comes in blocks
        assert c.nbytes < 0.65 * KVCache(CONFIG, 2, c.max_len, torch.bfloat16).nbytes

    def test_the_state_depends_on_the_length_alone(self, name):
        T, rng = 110, random.Random(0)
        k, v = torch.randn(2, 2, 2, T, D)
        whole = cache(ALL[name])
        want = fill(whole, k, v, [T])
        for _ in range(3):
            c = cache(ALL[name])
            cuts = sorted(rng.sample(range(1, T), rng.choice((1, 5, 40)))) + [T]
            for mine, theirs in zip(fill(c, k, v, cuts), want, strict=True):
                assert torch.equal(mine, theirs)
            assert_equal(state(c), state(whole))

    def test_going_back(self, name):
        """Where no position had been rounded since, the cache is as if nothing had come; where one had, as its codes say."""
        T, back = 100, 70
        k, v = torch.randn(2, 2, 2, T, D)
        straight, c = cache(ALL[name]), cache(ALL[name])
        fill(straight, k, v, [back])
        fill(c, k, v, [back, T])
        c.length = back
        other = torch.randn(2, 2, 2, 3, D)
        rounded = any(s.ring and s.coded(T) > s.coded(back) for s in (c.k, c.v))
        was = straight.update(0, *other), c.update(0, *other)
        for mine, theirs in zip(*was, strict=True):
            if rounded:
                assert (mine - theirs).abs().max() < 1.5 and torch.equal(mine[:, :, back:], theirs[:, :, back:])
            else:
                assert torch.equal(mine, theirs)

    def test_a_step_that_failed_can_be_taken_again(self, name):
        """The first layer has written, the second refuses: the length stands, and the next try overwrites."""
        k, v = torch.randn(2, 2, 2, 60, D)
        c, bad = cache(ALL[name]), v[:, :, 50:].clone()
        for layer in (0, 1):
            fill(c, k, v, [50], layer)
            c.length = 0 if layer == 0 else 50
        before = c.reached.copy()
        bad[1, 0, 2, 3] = torch.inf
        with pytest.raises(ValueError, match="values of layer 1 hold inf"):
            c.update(1, k[:, :, 50:], bad)
        assert before == c.reached == [50, 50] and c.length == 50

    def test_the_model_says_the_same_in_chunks(self, name, shipped):
        """Logits through the cache: of one chunk, of steps through the compiled loop, of steps through torch."""
        ids, args = torch.randint(0, 2000, (1, 48)), ALL[name]
        scales = [tuple(torch.full((2 if args.per_head else 1,), s) for s in (0.15, 0.05))] * 4 if args.static else None
        found = []
        with torch.inference_mode():
            for cut in ((46, 1, 1), (46, 2)):
                c = QuantizedKVCache(shipped.config, 1, 48, args, torch.float32, "cpu", scales)
                found.append([shipped(part, c) for part in ids.split(cut, 1)][1:])
        if not args.residual:  # with a window, two at once see each other's keys as they are stored after both
            torch.testing.assert_close(torch.cat(found[0], 1), found[1][0], atol=2e-3, rtol=2e-3)
        assert torch.cat(found[0], 1).isfinite().all()


@pytest.mark.parametrize("D", [12, 64, 20])
def test_turning_is_exact_but_for_rounding(D):
    """q H · k H = q · k, and what is gathered from v H is y H; 12 and 20: matrices that are not their own transpose."""
    config = LlamaConfig(num_hidden_layers=1, head_dim=D)
    c = QuantizedKVCache(config, 1, 32, KVCacheArgs(by_token(IntGrid(8)), by_token(IntGrid(8)), rotate=True))
    q, k, v = torch.randn(1, 4, 5, D), torch.randn(1, 2, 9, D), torch.randn(1, 2, 9, D)
    y = c.unturn(attend(c.turn(q), c.turn(k), c.turn(v)))
    torch.testing.assert_close(y, attend(q, k, v), atol=1e-5, rtol=1e-5)  # a few of fp32's roundings in sums of D and 9
    assert through(c, 0, q[:, :, :2], k[:, :, :2], v[:, :, :2]).shape == (1, 4, 2, D)


def test_a_model_that_is_rotated_online_has_a_quantized_cache_too(shipped):
    turned, ids = load_model(), torch.randint(0, 2000, (1, 20))
    rotate_online(turned)
    with torch.inference_mode():
        c, plain = new_cache(turned, 1, 20, "int8_per_token_head"), new_cache(turned, 1, 20)
        for part in ids.split((18, 1, 1), 1):
            found, want = turned(part, c), turned(part, plain)
    assert isinstance(plain, KVCache) and (found - want).abs().max() < 0.2 < want.abs().max()


def test_greedy_text_starts_as_without(shipped, tokenizer):
    prompt = tokenizer.encode("def read(self, path):\n    ", bos=True)
    want = generate(shipped, prompt, 24)
    assert generate(shipped, prompt, 24, kv="int8_per_token_head")[: len(prompt) + 12] == want[: len(prompt) + 12]
    assert generate(shipped, prompt, 24, kv="auto") == want


def test_speed_and_chat_take_the_model_s_own_recipe(tokenizer):
    model = load_model()
    set_kv_scales(model, KV_PRESETS["int4_kivi"])
    decode(model, 60, 8)(0)  # goes back over what has left the window
    chat = Chat(model, tokenizer, context=200, max_new_tokens=8)
    assert isinstance(chat.cache, QuantizedKVCache) and "".join(chat.say("import os\n")) == "".join(
        Chat(model, tokenizer, context=200, max_new_tokens=8, kv="int4_kivi").say("import os\n")
    )
    assert isinstance(Chat(model, tokenizer, 200, kv="auto").cache, KVCache)
    assert chat.cache.length and "".join(chat.say("import sys\n")) is not None


class TestErrors:
    def test_full(self):
        c, (k, v) = cache(KV_PRESETS["int4_kivi"], 40), torch.randn(2, 2, 2, 41, D)
        fill(c, k, v, [30])
        before = state(c)
        with pytest.raises(ValueError, match=r"full: 41 positions needed, 40 allocated \(max_len\)"):
            c.update(0, k[:, :, 30:], v[:, :, 30:])
        assert_equal(before, state(c))

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 3.4e38])
    def test_numbers_that_are_none(self, bad):
        c, k = cache(KV_PRESETS["int8_static"]), torch.randn(2, 2, 1, D)
        k[1, 0, 0, 3] = bad
        for keys, values, name in ((k, torch.zeros_like(k), "keys"), (torch.zeros_like(k), k, "values")):
            with pytest.raises(ValueError, match=f"{name} of layer 0 hold"):
                c.update(0, keys, values)
        assert not c.k.codes.any() and c.reached == [0, 0]

    @pytest.mark.parametrize("bad", [0.0, -1.0, torch.nan, torch.inf, 1e-40])
    def test_scales_that_are_none(self, bad):
        with pytest.raises(ValueError, match="v_scale of layer 1 is .*positive, finite.*calibrate_kv"):
            QuantizedKVCache(CONFIG, 1, 8, KV_PRESETS["fp8_e4m3"], scales=[(1.0, 1.0), (1.0, bad)])

    def test_scales_that_do_not_fit(self):
        for scales in (None, [(1.0, 1.0)]):
            with pytest.raises(ValueError, match="static scales of 2 layers expected"):
                QuantizedKVCache(CONFIG, 1, 8, KV_PRESETS["fp8_e4m3"], scales=scales)
        with pytest.raises(ValueError, match="k_scale of layer 0 holds 1 numbers: 2 expected"):
            QuantizedKVCache(CONFIG, 1, 8, KV_PRESETS["fp8_e4m3_per_head"], scales=[(1.0, 1.0)] * 2)

    def test_requests_that_cannot_be(self, shipped):
        for given, message in (
            ({"max_len": 1025}, "max_len=1025: the model has 1024 positions"),
            ({"batch": 0}, "batch=0"),
            ({"max_len": 0}, "max_len=0"),
            ({"kv": "int8_per_token"}, "did you mean int8_per_token_head"),
            ({"kv": "fp8_e4m3"}, "fp8_e4m3 needs fixed scales, and model.layers.0.self_attn has no .*calibrate_kv"),
        ):
            with pytest.raises(ValueError, match=message):
                new_cache(shipped, **({"batch": 1, "max_len": 8} | given))
        with pytest.raises(ValueError, match="int4_kivi has no path on meta here: cpu, or kv='auto'"):
            with torch.device("meta"):
                model = LlamaForCausalLM(CONFIG)
            new_cache(model, 1, 8, "int4_kivi")
        with pytest.raises(ValueError, match="head_dim=48: group_size=32"):
            new_cache(LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, head_dim=48)), 1, 8, "int4_kivi")

    def test_other_sequences_and_lengths_that_nobody_wrote(self):
        c, k = cache(KV_PRESETS["int8_per_token_head"]), torch.randn(1, 2, 1, D)
        with pytest.raises(ValueError, match=r"\(1, 2\): this cache is for \(2, 2\)"):
            c.update(0, k, k)
        c.length = 5
        with pytest.raises(ValueError, match="length=5, but layer 0 has written 0"):
            c.update(0, torch.randn(2, 2, 1, D), torch.randn(2, 2, 1, D))


def test_what_is_clamped_is_counted():
    args, k = KV_PRESETS["int8_static"], torch.zeros(2, 2, 1, D)
    c = QuantizedKVCache(CONFIG, 2, 8, args, scales=[(0.1, 1.0)] * 2)
    k[0, 1, 0, :3] = torch.tensor([12.7, 12.8, -99.0])
    keys, _ = c.update(0, k, k)
    assert c.clamped == 2 and torch.equal(keys[0, 1, 0, :3], torch.tensor([127.0, 127.0, -127.0]) * torch.tensor(0.1))


def test_calibrated_scales_clamp_nothing_of_their_text(shipped, tokenizer):
    model, ids = load_model(), torch.tensor([tokenizer.encode("for i in range(10):\n    print(i)\n" * 3)])
    args = KV_PRESETS["fp8_e4m3_per_head"]
    set_kv_scales(model, args, calibrate_kv(model, ids, args))
    with torch.inference_mode():
        c = new_cache(model, 1, 128)
        logits = model(ids, c)
    assert not c.k.clamped[0].any() and not c.v.clamped[0].any()  # what the first layer sees is the text itself
    assert c.clamped < 1e-3 * ids.numel() * 2 * 4 * 2 * 64 and (logits - shipped(ids)).abs().max() < 2
