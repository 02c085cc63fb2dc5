"""A decode step over packed codes: the same bytes as the plain path writes, and the sums of exact arithmetic."""

import copy
from types import SimpleNamespace

import pytest
import torch

from qcourse.gemm import kv as kernel
from qcourse.gemm import operand
from qcourse.methods.hadamard import hadamard
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.models.rope import rotate
from qcourse.numerics.granularity import per_group
from qcourse.numerics.grids import E5M2, IntGrid
from qcourse.numerics.kv import KV_PRESETS, KVCacheArgs, by_token, ranged

EXTRA = {  # what no preset has: sinks, windows and minima by token, groups of a token, keys unlike values
    "sink and window": KVCacheArgs(by_token(IntGrid(8)), by_token(E5M2), window=5, sink=3),
    "groups of a token": KVCacheArgs(ranged(4, per_group(16)), ranged(2, per_group(32)), sink=2),
    "signed by channel": KVCacheArgs(by_token(IntGrid(4)).with_(granularity=per_group(16)), by_token(IntGrid(8)),
                                     key_axis="channel", window=1, rotate=True),
}  # fmt: skip
ALL = KV_PRESETS | EXTRA
UNIT = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}


def cache(args, heads=4, kv=2, D=64, batch=1, max_len=80, dtype=torch.float32):
    config = SimpleNamespace(num_hidden_layers=1, num_attention_heads=heads, num_key_value_heads=kv, head_dim=D)
    count = kv if args.per_head else 1
    scales = [(torch.linspace(0.01, 0.02, count), torch.linspace(0.03, 0.01, count))] if args.static else None
    return QuantizedKVCache(config, batch, max_len, args, dtype, "cpu", scales)


def numbers(c, T=1):
    """q, k, v of T positions, and a rope for them."""
    B, kv, D = c.batch, c.kv_heads, c.k.D
    q, k, v = (torch.randn(B, n, T, D).to(c.dtype) for n in (c.compiled.each * kv, kv, kv))
    k[..., 3] += 9  # a loud channel
    angle = torch.randn(T, D // 2).repeat(1, 2)
    return q, k, v, (angle.cos().to(c.dtype), angle.sin().to(c.dtype))


def tensors(c):
    return {(side.name, n): getattr(side, n) for side in (c.k, c.v) for n in ("codes", "scale", "zero", "near", "clamped")}


def stored(c, length):
    """Keys and values (B, kv, length, D) as they are stored, fp64: sinks, codes, what waits."""
    found = []
    for side in (c.k, c.v):
        first, end = c.args.sink, side.coded(length)
        waiting = range(end, max(end, length - first))
        near = side.near[0][:, [*range(min(first, length)), *(first + t % side.ring for t in waiting)]].double()
        sinks, rest = near[:, :first], near[:, first:]
        found.append(torch.cat((sinks, side.read(0, 0, end).double(), rest), 1).unflatten(0, (c.batch, c.kv_heads)))
    return found


def bound(c, q, length):
    """y of fp64, and what the law allows around it, by fp32's roundings (u = 2⁻²⁴), element by element.

    scores    (2D + 16)·u of Σ |q|·|what is summed|: a code from 0 and what is taken off again are both at most 2·limit·scale
    weights   twice the largest error of a score, in nats, and 8·u for the power and the sum
    values    (2T + 16)·u of Σ w·|what is summed|
    y         one rounding to its dtype, one more (and a sum over D) where it is turned back
    """
    k, v = stored(c, length)
    u, D, T = 2.0**-24, q.shape[-1], length
    reach_k, reach_v = (x.abs() + 4 * x.abs().amax((2, 3), keepdim=True) for x in (k, v))
    qd = q.double().reshape(*k.shape[:2], -1, D) / D**0.5
    p = (qd @ k.transpose(-1, -2)).softmax(-1)
    scores = ((2 * D + 16) * u * (qd.abs() @ reach_k.transpose(-1, -2))).amax(-1, keepdim=True)
    y, error = p @ v, (p * (2 * scores + 8 * u)) @ v.abs() + (2 * T + 16) * u * (p @ reach_v)
    error = error + UNIT[c.dtype] * (y.abs() + error)
    if c.args.rotate:  # |Σ ± e / √D| ≤ √D·max e; and the sums themselves
        error = D**0.5 * error.amax(-1, keepdim=True) + (UNIT[c.dtype] + 16 * u) * D**0.5 * y.abs().amax(-1, keepdim=True)
        y = y @ hadamard(D, torch.float64).T
    return y.reshape(q.shape), error.expand_as(y).reshape(q.shape)


@pytest.mark.parametrize("dtype", UNIT, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_the_same_bytes_and_the_sums_of_exact_arithmetic(name, dtype):
    args = ALL[name]
    fast, plain = (cache(args, batch=2, dtype=dtype) for _ in range(2))
    _, k, v, _ = numbers(fast, 61)
    for c in (fast, plain):
        c.update(0, k, v)
        c.length = 61
    for length in range(61, 67):  # a block ends, a group of 32 leaves its window
        q, k, v, rope = numbers(fast)
        y = fast.step(0, q, k, v, rope)
        plain.update(0, rotate(k, *rope), v)
        assert y is not None and y.dtype == dtype
        want, error = bound(plain, plain.turn(rotate(q, *rope)), length + 1)
        assert ((y.double() - want).abs() <= error).all()
        fast.length = plain.length = length + 1
    for (key, mine), theirs in zip(tensors(fast).items(), tensors(plain).values(), strict=True):
        assert torch.equal(mine.view(torch.uint8), theirs.view(torch.uint8)), key


@pytest.mark.parametrize(("heads", "kv", "D"), [(3, 3, 16), (9, 3, 64), (8, 2, 128), (5, 1, 96)])
def test_shapes_of_heads(heads, kv, D):
    for args in (KV_PRESETS["int8_per_token_head"], KV_PRESETS["int4_kivi"]):
        if D % 32:
            continue
        c = cache(args, heads, kv, D)
        for first in (True, False):  # an empty cache, and one with 66 tokens
            q, k, v, rope = numbers(c)
            y = c.step(0, q, k, v, rope)
            want, error = bound(c, rotate(q, *rope), c.length + 1)
            assert ((y.double() - want).abs() <= error).all()
            c.length += 1
            if first:
                c.update(0, *numbers(c, 65)[1:3])
                c.length += 65


def test_a_row_cut_into_pieces_is_the_row(monkeypatch):
    monkeypatch.setattr(kernel, "LEAST", 16)
    for name in ("fp8_e4m3_per_head", "int4_rotated", "int2_kivi", *EXTRA):
        c = cache(ALL[name], 9, 3, 64, max_len=240)
        _, k, v, _ = numbers(c, 200)
        c.update(0, k, v)
        c.length = 200
        found, (q, k, v, rope) = [], numbers(c)
        for pieces in (1, 2, 5):
            monkeypatch.setattr(kernel.KVStep, "pieces", lambda self, work, n=pieces: n)
            found.append(c.step(0, q, k, v, rope))
        want, error = bound(c, c.turn(rotate(q, *rope)), 201)
        assert all(((y.double() - want).abs() <= error).all() for y in found), name


def test_threads_share_a_row():
    c = cache(KV_PRESETS["int4_per_token_head"], 9, 3, 64, max_len=1200)
    _, k, v, _ = numbers(c, 1100)
    c.update(0, k, v)
    c.length = 1100
    assert torch.get_num_threads() == 2 and c.compiled.pieces(1 << 20) == 2 and c.compiled.pieces(1) == 1
    q, k, v, rope = numbers(c)
    y = c.step(0, q, k, v, rope)
    want, error = bound(c, rotate(q, *rope), 1101)
    assert ((y.double() - want).abs() <= error).all()


def test_a_copy_has_memory_of_its_own():
    first = cache(KV_PRESETS["int4_kivi"])
    q, k, v, rope = numbers(first)
    first.step(0, q, k, v, rope)
    second, before = copy.deepcopy(first), {key: t.clone() for key, t in tensors(first).items()}
    second.length = 1
    want = second.step(0, q, v, k, rope)
    assert all(torch.equal(t, before[key]) for key, t in tensors(first).items()) and first.reached == [1]
    first.length = 1
    assert torch.equal(first.step(0, q, v, k, rope), want)


def test_a_loud_score_does_not_overflow():
    c = cache(KV_PRESETS["int8_per_token_head"], 1, 1, 16)
    q = k = 1e4 * torch.ones(1, 1, 1, 16)
    rope = torch.ones(1, 16), torch.zeros(1, 16)
    for i in range(3):
        y = c.step(0, q, k * i, k * i, rope)
        c.length += 1
    torch.testing.assert_close(y, 2 * k, rtol=2**-7, atol=0)


def test_where_the_loop_leaves_it_to_torch(monkeypatch):
    int8, kivi = KV_PRESETS["int8_per_token_head"], KV_PRESETS["int4_kivi"]
    for args, D in ((int8, 24), (kivi.with_(window=0), 64), (int8.with_(rotate=True), 48)):
        c = cache(args, D=D)
        before = {key: t.clone() for key, t in tensors(c).items()}
        q, k, v, rope = numbers(c)
        assert c.step(0, q, k, v, rope) is None and not c.reached[0]
        assert all(torch.equal(t, before[key]) for key, t in tensors(c).items())
    c = cache(int8)
    for q, k, v, rope in (numbers(c, 2), [t.half() if isinstance(t, torch.Tensor) else t for t in numbers(c)]):
        assert c.step(0, q, k, v, rope) is None
    q, k, v, rope = numbers(c)
    for x in (q, k, v):
        bad = x.clone()
        bad[0, 1, 0, 5] = torch.nan
        assert c.step(0, *(bad if t is x else t for t in (q, k, v)), rope) is None and not tensors(c)["k", "codes"].any()
    assert c.step(0, q.requires_grad_(), k, v, rope) is None
    monkeypatch.setattr(operand, "has_jit", lambda: False)
    assert c.step(0, q.detach(), k, v, rope) is None
