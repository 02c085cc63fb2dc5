import pytest
import torch

from qcourse.methods.autoround import autoround, passed, reach, rounded
from qcourse.methods.calibration import InputStats
from qcourse.numerics.granularity import per_block, per_group
from qcourse.numerics.quantize import dequantize, quantize, values_of
from qcourse.numerics.schemes import PRESETS, int_weight

N, K, G = 24, 64, 32


def inputs(tokens: int, K: int = K, seed: int = 1):
    """Channels that move together, and differ in loudness: the only inputs from which rounding can learn."""
    mix = torch.randn(K, K, generator=torch.Generator().manual_seed(seed)) * torch.logspace(-1, 0.5, K)
    mix += torch.linspace(-1, 1, K).outer(torch.linspace(2, 0, K))
    return torch.randn(tokens, K) @ mix


def statistics(x, hessian: bool = True):
    stats = InputStats(x.shape[1], with_hessian=hessian)
    stats.update(x)
    return stats


def row_errors(q, W, H):
    D = (dequantize(q) - W).double()
    return (D @ H.double() * D).sum(1)


def output_error(q, W, H):
    return row_errors(q, W, H).sum().item()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("num_bits", [2, 3, 4])
def test_never_worse_than_rounding_to_nearest(num_bits, symmetric, seed):
    """1e-5: the losses are compared in fp32, sums of 24 · 64 · 64 products."""
    torch.manual_seed(seed)
    W, stats, args = torch.randn(N, K) * 0.05, statistics(inputs(300)), int_weight(num_bits, per_group(G), symmetric)
    before = row_errors(quantize(W, args), W, stats.hessian)
    for iters in (1, 40):
        after = row_errors(autoround(W, args, stats, iters=iters), W, stats.hessian)
        assert (after <= before * (1 + 1e-5)).all() and (iters == 1 or after.sum() < 0.95 * before.sum())


@pytest.mark.parametrize("scheme", ["W8A16_TENSOR", "W4A16_CHANNEL", "Q4_0", "Q4_1", "Q3_K", "Q4_K"])
def test_every_integer_recipe(scheme):
    W, stats, args = torch.randn(4, 256) * 0.05, statistics(inputs(400, 256)), PRESETS[scheme].weights
    start, found = quantize(W, args), autoround(W, args, stats, iters=40)
    least = output_error(start, W, stats.hessian)  # K-quants search their scales well: it may not be beaten
    assert output_error(found, W, stats.hessian) < least * (1 + 1e-5 if scheme.endswith("_K") else 0.999)
    assert found.args == args and found.codes.dtype == start.codes.dtype
    same_storage(found.scale, start.scale)
    same_storage(found.zero_point, start.zero_point)


def same_storage(a, b):
    if b is None:
        assert a is None
    elif isinstance(b, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape
    else:
        assert a.args == b.args and a.codes.dtype == b.codes.dtype
        same_storage(a.scale, b.scale)


def test_shapes_that_fill_no_whole_rectangle():
    args = int_weight(4, per_block(5, 48))
    W, stats = torch.randn(N, K) * 0.05, statistics(inputs(300))
    assert output_error(autoround(W, args, stats, iters=40), W, stats.hessian) < output_error(
        quantize(W, args), W, stats.hessian
    )


@pytest.mark.parametrize("num_bits, symmetric, most", [(4, True, 0.65), (3, False, 0.65), (2, True, 0.5)])
def test_held_out_inputs(num_bits, symmetric, most):
    W, args = torch.randn(N, K) * 0.05, int_weight(num_bits, per_group(G), symmetric)
    stats, x = statistics(inputs(1500)), inputs(1000)
    error = lambda q: (x @ (dequantize(q) - W).T).square().sum().item()  # noqa: E731
    assert error(autoround(W, args, stats)) < most * error(quantize(W, args))


def test_the_sample_serves_where_there_is_no_hessian():
    x, W, args = inputs(400), torch.randn(N, K) * 0.05, int_weight(3, per_group(G))
    from_sample, same = (autoround(W, args, s, iters=40) for s in (statistics(x, False), statistics(x[::4])))
    assert output_error(from_sample, W, x.T @ x) < 0.9 * output_error(quantize(W, args), W, x.T @ x)
    assert (from_sample.codes != same.codes).float().mean() < 0.02  # a sum over the same rows, in fp32 and in fp64


def test_every_code_is_within_one_of_the_nearest():
    """|v| ≤ ½ moves a weight by at most one code from where its scale and zero point, as stored, would round it."""
    W, args = torch.randn(N, K) * 0.05, int_weight(3, per_group(G), symmetric=False)
    q = autoround(W, args, statistics(inputs(300)), iters=100)
    s, z = (values_of(t, how).repeat_interleave(G, 1) for t, how in ((q.scale, args.scale), (q.zero_point, args.zero)))
    nearest = (W / s + z).round().clamp(0, 7)
    moved = (q.codes.float() - nearest).abs()
    assert moved.max() == 1 and 0.02 < moved.mean() < 0.5
    full = values_of(quantize(W, args).scale, args.scale).repeat_interleave(G, 1)
    assert (s < full).any() and (s >= full * 0.49).all()  # 1/128: bf16


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients(symmetric):
    """Those of ŵ = s·(clamp(w/s + z + v) - z), round taken for the identity, written out by hand."""
    torch.manual_seed(3)
    args = int_weight(3, per_group(G), symmetric)
    blocks = args.granularity.blocks(torch.randn(4, K))
    low, high = ends = reach(quantize(blocks.view(4, K), args))
    learnt = [(torch.rand_like(blocks) - 0.5).requires_grad_()]
    learnt += [(torch.rand_like(high) / 2 + 0.5).requires_grad_() for _ in range(2)]
    codes, scale, zero, values = rounded(blocks, *learnt, ends, args)
    G_hat = torch.randn_like(blocks)
    got = torch.autograd.grad(values, learnt, G_hat)
    v, alpha, beta = (t.detach() for t in learnt)
    s, c, levels = scale.float().unsqueeze(-1), codes.float(), 7
    z = torch.zeros_like(s) if symmetric else zero.float().unsqueeze(-1)
    inside = ((blocks / s + z + v).round() == c).float()
    by_s = (G_hat * (c - z - inside * blocks / s)).sum(-1, keepdim=True)
    by_z = (G_hat * s * (inside - 1)).sum(-1, keepdim=True) * (not symmetric)
    by_s = by_s + by_z * beta * low / s**2
    assert 0 < inside.mean() < 1
    torch.testing.assert_close(got[0], G_hat * s * inside)
    torch.testing.assert_close(got[1], by_s * high / levels, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[2], -by_s * low / levels - by_z * low / s, rtol=1e-4, atol=1e-5)


def test_what_passes_is_exact():
    x = torch.randn(1000, requires_grad=True)
    y = passed(x, x.round() / 3)
    assert torch.equal(y, x.round() / 3) and torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones(1000))


def test_inside_inference_mode_and_again_it_is_the_same():
    W, args, stats = torch.randn(N, K) * 0.05, int_weight(4, per_group(G)), statistics(inputs(300))
    first = autoround(W, args, stats, iters=20)
    with torch.inference_mode():
        second = autoround(W.clone(), args, stats, iters=20)
    assert torch.equal(first.codes, second.codes) and torch.equal(first.scale, second.scale)


def test_a_block_of_zeros():
    W = torch.randn(4, K)
    W[:, :G] = 0
    for scheme in ("Q4_0", "Q4_1", "W4A16_G32"):
        assert not dequantize(autoround(W, PRESETS[scheme].weights, statistics(inputs(200)), iters=20))[:, :G].any()


class TestBadInput:
    @pytest.mark.parametrize("scheme", ["NVFP4A16", "MXFP4A16", "NF4", "TERNARY", "FP8_DYNAMIC"])
    def test_grids_that_are_no_integers(self, scheme):
        with pytest.raises(ValueError, match="learns to round to integers.*W4A16"):
            autoround(torch.randn(4, K), PRESETS[scheme].weights, statistics(inputs(50)))

    def test_no_statistics_or_those_of_another_layer(self):
        args = int_weight(4, per_group(G))
        with pytest.raises(ValueError, match="q_proj: AutoRound needs to know this layer's input"):
            autoround(torch.randn(4, K), args, name="q_proj")
        with pytest.raises(ValueError, match="W has K=32, its calibration input has K=64"):
            autoround(torch.randn(4, 32), args, statistics(inputs(50)))

    def test_no_steps(self):
        with pytest.raises(ValueError, match="iters=0: at least 1"):
            autoround(torch.randn(4, K), int_weight(4, per_group(G)), statistics(inputs(50)), iters=0)

    def test_what_quantize_refuses(self):
        W, stats = torch.randn(4, K), statistics(inputs(50))
        with pytest.raises(ValueError, match="group_size=48 does not divide K=64"):
            autoround(W, int_weight(4, per_group(48)), stats)
        W[2, 3] = torch.inf
        with pytest.raises(ValueError, match=r"up_proj holds inf at index \(2, 3\)"):
            autoround(W, int_weight(4, per_group(G)), stats, "up_proj")
