import pytest
import torch

from qcourse.methods.calibration import InputStats
from qcourse.methods.imatrix import better, imatrix, parameters, refitted
from qcourse.numerics.codebooks import E8M0
from qcourse.numerics.granularity import per_block, per_group, per_tensor
from qcourse.numerics.quantize import dequantize, quantize, values_of
from qcourse.numerics.schemes import PRESETS, int_weight

N, K, G = 16, 256, 32
FLOAT_MINIMA = int_weight(3, per_group(G), symmetric=False).with_(zero=torch.bfloat16, zero_in="weights")
RECIPES = {
    **{name: PRESETS[name].weights for name in ("W4A16", "W2A16", "W4A16_ASYM", "W8A16", "W8A16_TENSOR")},
    **{name: PRESETS[name].weights for name in ("Q4_0", "Q4_1", "Q5_1", "Q8_0")},
    "W2A16_ASYM": int_weight(2, per_group(G), symmetric=False),
    "restricted, mse": int_weight(3, per_group(G)).with_(scaling="mse"),
    "minima": FLOAT_MINIMA,
    "powers of two": int_weight(4, per_group(G)).with_(scale=E8M0, scaling="ceil"),
    "rectangles": int_weight(4, per_block(5, 48)),
    "one zero point": int_weight(4, per_tensor, symmetric=False),
}


@pytest.fixture
def stats():
    """Columns of very different loudness, one of them dead."""
    x = torch.randn(300, K) * torch.logspace(-2, 1, K)[torch.randperm(K)]
    x[:, 7] = 0
    found = InputStats(K)
    found.update(x)
    return found


def weighted(q, W, importance):
    return ((dequantize(q) - W).double().square() * importance.double()).sum().item()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("tails", [30.0, 3.0])
def test_never_worse_than_rounding_to_nearest(name, tails, stats):
    """By Σ importance · (w - ŵ)²; 1e-6: blocks are compared in fp32."""
    args, W = RECIPES[name], torch.distributions.StudentT(tails).sample((N, K)) * 0.05
    start, found = quantize(W, args), imatrix(W, args, stats)
    assert weighted(found, W, stats.mean_square) <= weighted(start, W, stats.mean_square) * (1 + 1e-6)
    assert found.args == args and found.codes.dtype == start.codes.dtype and found.scale.dtype == start.scale.dtype
    assert (found.zero_point is None) == (start.zero_point is None)
    if found.zero_point is not None:
        assert found.zero_point.dtype == start.zero_point.dtype and found.zero_point.shape == start.zero_point.shape


@pytest.mark.parametrize(
    "name, most", [("W4A16", 0.85), ("W2A16", 0.6), ("W2A16_ASYM", 0.7), ("Q4_0", 0.9), ("minima", 0.85)]
)
def test_clearly_better_where_columns_differ(name, most, stats):
    args, W = RECIPES[name], torch.randn(N, K) * 0.05
    start, found = quantize(W, args), imatrix(W, args, stats)
    assert weighted(found, W, stats.mean_square) < most * weighted(start, W, stats.mean_square)


def test_with_one_importance_for_all_it_is_the_squared_error():
    """Then it is a search like scaling="mse", with a refit: never behind that by more than its finer grid can give."""
    stats, W, args = InputStats(K), torch.randn(N, K), int_weight(4, per_group(G))
    stats.update(torch.ones(10, K))
    ones = torch.ones(K)
    found, mse = imatrix(W, args, stats), quantize(W, args.with_(scaling="mse"))
    assert weighted(found, W, ones) < 1.005 * weighted(mse, W, ones)


@pytest.mark.parametrize("scheme", ["Q4_K", "Q2_K", "Q6_K", "IQ4_NL"])
def test_searched_formats_are_handed_the_importance(scheme, stats):
    W, args = torch.randn(N, K), PRESETS[scheme].weights
    found, expected = imatrix(W, args, stats), quantize(W, args, importance=stats.mean_square)
    assert torch.equal(found.codes, expected.codes) and not torch.equal(found.codes, quantize(W, args).codes)


@pytest.mark.parametrize("name", ["W4A16", "W4A16_ASYM", "minima"])
def test_codes_are_nearest_under_what_is_stored(name, stats):
    W, args = torch.randn(N, K), RECIPES[name]
    q = imatrix(W, args, stats)
    s, z = (None if t is None else t.squeeze(-1).repeat_interleave(K // t.shape[1], 1) for t in parameters(q))
    steps = torch.arange(args.grid.qmin, args.grid.qmax + 1.0) - (0 if z is None else z.unsqueeze(-1))
    nearest = (steps * s.unsqueeze(-1) - W.unsqueeze(-1)).abs().amin(-1)
    torch.testing.assert_close((dequantize(q) - W).abs(), nearest, atol=2e-6, rtol=0)  # exact ties, fp32 of |w| < 5


def test_least_squares_finds_the_scale_and_zero_point_that_made_the_weights():
    args = FLOAT_MINIMA.with_(scale=torch.float32, zero=torch.float32)
    codes, s, m = torch.randint(0, 8, (4, 2, G)), torch.rand(4, 2, 1) + 0.5, torch.randn(4, 2, 1)
    x, weight = s * codes - m, torch.rand(4, 2, G)
    q = quantize(x.flatten(1), args)
    q = type(q)(codes.flatten(1).to(torch.uint8), q.scale * 1.1, q.zero_point + 0.1, args)
    fit, z = refitted(x, weight, q)
    torch.testing.assert_close(fit, s)
    torch.testing.assert_close(z * fit, m, atol=1e-5, rtol=1e-5)


def test_a_candidate_replaces_only_the_blocks_that_it_improves():
    args = int_weight(4, per_group(G))
    W, weight = torch.randn(2, 2 * G), torch.ones(2, 2, G)
    start = quantize(W, args)
    s, _ = parameters(start)
    worse = s * torch.tensor([[0.1, 1.0], [1.0, 0.1]]).unsqueeze(-1)
    least = torch.tensor([[torch.inf, 0.0], [0.0, torch.inf]])
    found, error = better(args.granularity.blocks(W), weight, worse, None, start, least)
    assert torch.equal(
        found.scale, values_of(start.scale * torch.tensor([[0.1, 1.0], [1.0, 0.1]]), torch.bfloat16).bfloat16()
    )
    assert torch.isfinite(error).all() and (found.codes[0, :G] != start.codes[0, :G]).any()
    assert torch.equal(found.codes[0, G:], start.codes[0, G:])


def test_blocks_that_nobody_hears_are_rounded_plainly():
    stats, W = InputStats(K), torch.randn(N, K)
    x = torch.randn(100, K)
    x[:, :G] = 0
    stats.update(x)
    for args in (int_weight(3, per_group(G)), FLOAT_MINIMA):
        found, start = imatrix(W, args, stats), quantize(W, args)
        assert torch.equal(found.codes[:, :G], start.codes[:, :G]) and torch.equal(found.scale[:, 0], start.scale[:, 0])
        assert not torch.equal(found.codes, start.codes)


def test_blocks_without_a_range(stats):
    W = torch.zeros(2, K)
    W[0] = 0.25
    for name in ("W4A16", "W4A16_ASYM", "Q4_1", "Q4_0"):
        assert torch.equal(dequantize(imatrix(W, RECIPES[name], stats))[1], torch.zeros(K))


class TestBadInput:
    @pytest.mark.parametrize("scheme", ["NVFP4A16", "MXFP4A16", "NF4", "TERNARY", "TQ2_0", "FP8_DYNAMIC"])
    def test_formats_without_a_search(self, scheme, stats):
        with pytest.raises(ValueError, match="no weighted search .* K-quants and IQ4_NL"):
            imatrix(torch.randn(N, K), PRESETS[scheme].weights, stats)

    def test_no_statistics_or_those_of_another_layer(self, stats):
        with pytest.raises(ValueError, match="q_proj: an importance matrix comes from calibration"):
            imatrix(torch.randn(N, K), RECIPES["W4A16"], name="q_proj")
        with pytest.raises(ValueError, match="W has K=128, its calibration input has K=256"):
            imatrix(torch.randn(N, 128), RECIPES["W4A16"], stats)

    def test_what_quantize_refuses(self, stats):
        W = torch.randn(N, K)
        with pytest.raises(ValueError, match="group_size=48 does not divide K=256"):
            imatrix(W, int_weight(4, per_group(48)), stats)
        W[2, 3] = torch.inf
        with pytest.raises(ValueError, match=r"up_proj holds inf at index \(2, 3\)"):
            imatrix(W, RECIPES["W4A16"], stats, "up_proj")
