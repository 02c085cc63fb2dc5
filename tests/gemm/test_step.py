"""The loops between the products against torch's own operations: a norm, and the attention of one position."""

import pytest
import torch
import torch.nn.functional as F

from qcourse.gemm import operand, step
from qcourse.models.rope import rotate

DTYPES = [torch.float32, torch.bfloat16]
CLOSE = {torch.float32: {"atol": 1e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 2e-2, "rtol": 2e-2}}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 576), (4, 7), (1, 3), (2, 2, 64)])
def test_the_norm_is_the_formula(shape, weights, dtype):
    x, w = (3 * torch.randn(shape)).to(dtype), torch.randn(shape[-1]).to(weights)
    h = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5)
    want = w.to(dtype) * h.to(dtype)
    y = step.norm(x, w, 1e-5)
    torch.testing.assert_close(y, want, atol=0, rtol=2**-7 if dtype == torch.bfloat16 else 1e-5)


def test_where_the_norm_leaves_it_to_torch(monkeypatch):
    w = torch.ones(8)
    assert step.norm(torch.randn(step.FEW + 1, 8), w, 1e-5) is None  # many tokens
    assert step.norm(torch.randn(1, 8, requires_grad=True), w, 1e-5) is None
    assert step.norm(torch.randn(1, 8).half(), w, 1e-5) is None
    monkeypatch.setattr(operand, "has_jit", lambda: False)
    assert step.norm(torch.randn(1, 8), w, 1e-5) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 7, 1536])
def test_swiglu_is_the_formula(K, dtype):
    gate, up = (8 * torch.randn(1, 1, 2 * K)).to(dtype).split(K, -1)
    torch.testing.assert_close(step.swiglu(gate, up), F.silu(gate) * up, **CLOSE[dtype])
    loud = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype)
    assert torch.equal(step.swiglu(loud, torch.ones_like(loud)), F.silu(loud))
    assert step.swiglu(torch.randn(2, 8), torch.randn(2, 8)) is None  # more than one token
    assert step.swiglu(torch.randn(1, 8, requires_grad=True), torch.randn(1, 8)) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "kv", "D", "past"), [(4, 2, 64, 0), (9, 3, 64, 17), (2, 2, 8, 3), (6, 1, 16, 40)])
def test_one_position_is_rope_and_attention(heads, kv, D, past, dtype):
    q, k, v = (torch.randn(1, n, 1, D).to(dtype) for n in (heads, kv, kv))
    angle = torch.randn(1, D // 2).repeat(1, 2)
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
    keys, values = torch.randn(2, 1, kv, past + 5, D).to(dtype)
    before = keys.clone(), values.clone()
    y = step.attend(q, k, v, cos, sin, keys, values, past)
    turned = rotate(k, cos, sin)
    torch.testing.assert_close(keys[:, :, past : past + 1], turned, **CLOSE[dtype])
    assert torch.equal(values[:, :, past : past + 1], v)
    for mine, old in zip((keys, values), before, strict=True):  # nothing else is written
        mine[:, :, past] = old[:, :, past] = 0
        assert torch.equal(mine, old)
    keys[:, :, past : past + 1], values[:, :, past : past + 1] = turned, v
    k, v = (t[:, :, : past + 1].repeat_interleave(heads // kv, 1).float() for t in (keys, values))
    want = F.scaled_dot_product_attention(rotate(q, cos, sin).float(), k, v)
    torch.testing.assert_close(y.float(), want, **CLOSE[dtype])


def test_where_attention_leaves_it_to_torch():
    one, room = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 4, 8)
    angle = torch.zeros(1, 8)
    strided = room.transpose(1, 2).contiguous().transpose(1, 2)
    for q, keys in ((torch.randn(2, 2, 1, 8), torch.randn(2, 2, 4, 8)), (one, room.bfloat16()), (one, strided)):
        k, before = torch.randn_like(q[:, :2]), keys.clone()
        assert step.attend(q, k, k, angle, angle, keys, keys.clone(), 0) is None and torch.equal(keys, before)


def test_a_loud_score_does_not_overflow():
    q, k = 1e4 * torch.ones(1, 1, 1, 4), 1e4 * torch.ones(1, 1, 1, 4)
    keys = torch.zeros(1, 1, 3, 4)
    y = step.attend(q, k, k, torch.ones(1, 4), torch.zeros(1, 4), keys, torch.zeros(1, 1, 3, 4), 1)
    torch.testing.assert_close(y, k)
