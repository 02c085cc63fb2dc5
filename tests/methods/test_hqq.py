import numpy as np
import pytest
import torch

from qcourse.methods.hqq import hqq, shrink
from qcourse.models.loader import load_model
from qcourse.numerics.granularity import per_block, per_group
from qcourse.numerics.quantize import dequantize, quantize, values_of
from qcourse.numerics.schemes import PRESETS, int_weight

G = 32


def recipe(num_bits: int, zero=torch.float32):
    """HQQ's own storage: s·q - m, m of a float dtype; fp32 scales, so that nothing is rounded but codes."""
    args = int_weight(num_bits, per_group(G), symmetric=False)
    return args.with_(scale=torch.float32, zero=zero, zero_in="weights")


def weights(kind: str):
    """Normal weights as models have them · the same 20 times as large, so that shrink does something · heavy tails."""
    if kind == "heavy":
        return torch.distributions.StudentT(3.0).sample((24, 4 * G)) * 0.05
    return torch.randn(24, 4 * G) * {"normal": 0.05, "large": 1.0}[kind]


def published(W, s, z, num_bits, dtype):
    """`optimize_weights_proximal_legacy` and the last rounding of mobiusml/hqq, transcribed line by line to NumPy.

    Its `scale` is the reciprocal of ours; rows are groups. Returns codes, zero points, and how many iterations ran.
    """
    W_f, scale, zero = W.astype(dtype), (1 / s).astype(dtype), z.astype(dtype)
    lp_norm, beta, kappa, top = 0.7, 1e1, 1.01, 2**num_bits - 1
    best_error = np.inf
    for i in range(20):  # noqa: B007
        W_q = np.clip(np.round(W_f * scale + zero), 0, top)
        W_r = (W_q - zero) / scale
        out = np.abs(W_f - W_r)
        with np.errstate(divide="ignore"):
            out = np.maximum(out - (1.0 / beta) * out ** (lp_norm - 1), 0.0)
        W_e = out * np.sign(W_f - W_r)
        zero = np.mean(W_q - (W_f - W_e) * scale, axis=1, keepdims=True)
        beta *= kappa
        current_error = np.abs(W_f - W_r).mean()
        if current_error >= best_error:
            break
        best_error = current_error
    return np.clip(np.round(W_f * scale + zero), 0, top), zero, i + 1


def loss(q, W, p=0.7):
    """Σ|w - ŵ|^p of each block."""
    return (dequantize(q) - W).abs().pow(p).view(-1, G).sum(-1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_bits", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["normal", "large", "heavy"])
def test_the_published_iteration(kind, num_bits, dtype):
    """Equal codes, and zero points to fp32's precision, wherever the end beats the start: in a third to two thirds of the
    blocks."""
    W = weights(kind)
    start, found = quantize(W, recipe(num_bits)), hqq(W, recipe(num_bits))
    s, m = (t.view(-1, 1).numpy() for t in (start.scale, start.zero_point))
    codes, zero, iterations = published(W.view(-1, G).numpy(), s, m / s, num_bits, dtype)
    end = s * (codes - zero)
    error = np.abs(end - W.view(-1, G).numpy()) ** 0.7
    kept = torch.from_numpy(error.sum(1)) < loss(start, W)
    assert iterations > 2 and kept.float().mean() > 0.2
    assert np.array_equal(found.codes.view(-1, G)[kept].numpy(), codes[kept])
    z = (found.zero_point / found.scale).view(-1, 1)[kept]
    np.testing.assert_allclose(z.numpy(), zero[kept], atol=2**num_bits * 1e-6)
    assert torch.equal(found.codes.view(-1, G)[~kept], start.codes.view(-1, G)[~kept])


def test_shrink():
    """|x| - |x|^-0.3 / 10 by hand; up to 10^(-1/1.3) it is nothing."""
    x = torch.tensor([0.0, 0.1, 0.17, -0.17, 1.0, -1.0, 2.0, -10.0])
    expected = [0, 0, 0, 0, 0.9, -0.9, 2 - 2**-0.3 / 10, -10 + 10**-0.3 / 10]
    torch.testing.assert_close(shrink(x, 10.0, 0.7), torch.tensor(expected))
    edge = 10 ** (-1 / 1.3)
    assert shrink(torch.tensor(edge * 0.999), 10.0, 0.7) == 0 < shrink(torch.tensor(edge * 1.001), 10.0, 0.7)
    torch.testing.assert_close(shrink(torch.tensor([0.3, -0.05]), 10.0, 1.0), torch.tensor([0.2, 0.0]))


def test_errors_of_a_model_are_below_what_shrink_lets_through():
    W = load_model().model.layers[1].mlp.down_proj.weight.float()
    error = W - dequantize(quantize(W, recipe(4)))
    assert error.abs().max() < 0.1 and not shrink(error, 10.0, 0.7).any()


@pytest.mark.parametrize("scheme", ["W4A16_ASYM", "Q4_1", "Q5_1"])
@pytest.mark.parametrize("kind", ["normal", "large", "heavy"])
def test_no_block_is_worse_by_its_own_measure(scheme, kind):
    args, W = PRESETS[scheme].weights, weights(kind)
    for how in (args, args.with_(zero=torch.bfloat16, zero_in="weights", scaling="minmax"), args.with_(zero=torch.float32)):
        start, found = quantize(W, how), hqq(W, how)
        cut = lambda q: how.granularity.blocks((dequantize(q) - W).abs().pow(0.7)).sum(-1)  # noqa: E731, B023
        assert (cut(found) <= cut(start)).all()
        assert found.args == how and torch.equal(found.scale, start.scale) and found.codes.dtype == start.codes.dtype


@pytest.mark.parametrize("num_bits, most", [(4, 0.98), (2, 0.95)])
def test_heavy_tails_gain(num_bits, most):
    W = weights("heavy")
    args = recipe(num_bits, torch.bfloat16)
    assert loss(hqq(W, args), W).sum() < most * loss(quantize(W, args), W).sum()


def test_codes_are_nearest_under_the_zero_points_as_stored():
    W, args = weights("heavy"), recipe(3, torch.bfloat16).with_(scale=torch.bfloat16)
    q = hqq(W, args)
    s, m = (values_of(t, torch.bfloat16).repeat_interleave(G, 1) for t in (q.scale, q.zero_point))
    every = s.unsqueeze(-1) * torch.arange(8.0) - m.unsqueeze(-1)
    nearest = (every - W.unsqueeze(-1)).abs().amin(-1)
    # ties aside, equal; the codes are found by a division, the distances by a product: a few ulp of w between them
    torch.testing.assert_close((dequantize(q) - W).abs(), nearest, atol=1e-6, rtol=0)


def test_zero_points_that_are_codes_do_not_move():
    """An error inside the range is at most half a step, so the mean of them rounds to the code that z is."""
    W, args = weights("normal"), int_weight(4, per_group(G), symmetric=False)
    assert torch.equal(hqq(W, args).zero_point, quantize(W, args).zero_point)


def test_blocks_without_a_range():
    W = torch.zeros(2, 2 * G)
    W[0, :G] = 0.25
    for args in (recipe(4), PRESETS["Q4_1"].weights, int_weight(4, per_group(G), symmetric=False)):
        assert torch.equal(dequantize(hqq(W, args)), dequantize(quantize(W, args)))


class TestBadInput:
    @pytest.mark.parametrize("scheme", ["W4A16", "NVFP4A16", "TERNARY", "Q4_0"])
    def test_symmetric(self, scheme):
        with pytest.raises(ValueError, match="W4A16_ASYM"):
            hqq(torch.randn(4, 128), PRESETS[scheme].weights)

    def test_zero_points_under_a_scale(self):
        with pytest.raises(ValueError, match="q_proj: HQQ moves each block's zero point.* Q4_1"):
            hqq(torch.randn(4, 256), PRESETS["Q4_K"].weights, name="q_proj")

    def test_ragged_rectangles(self):
        with pytest.raises(ValueError, match=r"W \(5, 128\) is not made of whole blocks"):
            hqq(torch.randn(5, 128), recipe(4).with_(granularity=per_block(4, 64)))

    def test_what_quantize_refuses(self):
        W = torch.randn(4, 128)
        with pytest.raises(ValueError, match="group_size=48 does not divide K=128"):
            hqq(W, recipe(4).with_(granularity=per_group(48)))
        W[2, 3] = torch.nan
        with pytest.raises(ValueError, match=r"up_proj holds nan at index \(2, 3\)"):
            hqq(W, recipe(4), name="up_proj")

    @pytest.mark.parametrize("option", [{"p": 0.0}, {"p": 1.5}, {"beta": 0.0}, {"kappa": 0.9}, {"iters": 0}])
    def test_options(self, option):
        with pytest.raises(ValueError, match="0 < p <= 1"):
            hqq(torch.randn(4, 128), recipe(4), **option)
