"""GPTQ against a slow and obvious one, against brute force, and on inputs where it must and must not win."""

import itertools

import pytest
import torch

from qcourse.methods.calibration import InputStats
from qcourse.methods.gptq import ORDERS, gptq, inverse_factor, processing_order
from qcourse.numerics.fixed import steps_of
from qcourse.numerics.granularity import per_group
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS, int_weight

FORMATS = ("W4A16", "W4A16_ASYM", "W3A16", "W2A16", "W4A16_CHANNEL", "W8A16_TENSOR", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16",
           "MXFP4A16", "NF4", "TERNARY", "Q4_0", "Q4_K")  # fmt: skip


def correlated(M, K, seed=0, rank=None):
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(rank or K // 4, K, generator=torch.Generator().manual_seed(77))
    return torch.randn(M, len(mix), generator=g) @ mix + 0.3 * torch.randn(M, K, generator=g)


def stats_of(x):
    stats = InputStats(x.shape[1], with_hessian=True)
    stats.update(x)
    return stats


def cost(W, q, x):
    return ((dequantize(q) - W).double() @ x.double().T).square().sum().item()


def obvious(W, q, H, turn, damp=0.01):
    """Column by column in fp64 under the scales of q, a new inverse of what is left of H for each."""
    W, steps, H = W.double().clone(), steps_of(q), H.double() + damp * H.diagonal().mean() * torch.eye(len(H))
    codes, left, close = torch.empty_like(q.codes), turn.tolist(), []
    while left:
        j, rest = left[0], left[1:]
        inverse = torch.linalg.inv(H[left][:, left])
        s, z = steps.scale[:, j].double(), 0 if steps.zero is None else steps.zero[:, j].double()
        codes[:, j] = q.args.grid.encode((W[:, j] / s + z).float())
        close.append(((W[:, j] / s + z) - (W[:, j] / s + z).floor() - 0.5).abs())
        value = (q.args.grid.decode(codes[:, j]).double() - z) * s
        W[:, rest] -= torch.outer((W[:, j] - value) / inverse[0, 0], inverse[0, 1:])
        left = rest
    return codes, torch.stack(close, 1)


class TestAgainstTheObvious:
    @pytest.mark.parametrize("act_order", ORDERS)
    @pytest.mark.parametrize("symmetric", [True, False])
    def test_the_same_codes(self, act_order, symmetric):
        W, stats = torch.randn(8, 128), stats_of(correlated(512, 128))
        args = int_weight(4, per_group(32), symmetric)
        q = gptq(W, args, stats, act_order=act_order)
        order = processing_order(stats.mean_square, args, act_order)
        turn = torch.arange(128) if order is None else order
        codes, close = obvious(W, q, stats.hessian, turn)
        tie = (close < 1e-4).cummax(1).values[:, turn.argsort()]  # fp32 may fall to the other side, and all that follows
        assert tie.float().mean() < 0.2 and torch.equal(codes[~tie], q.codes[~tie])

    def test_scales_of_a_group_are_those_of_its_repaired_columns(self):
        W, stats, args = torch.randn(4, 64), stats_of(correlated(300, 64)), int_weight(4, per_group(32))
        late, early = gptq(W, args, stats, act_order="none"), gptq(W, args, stats, act_order="static")
        plain = quantize(W, args)
        assert torch.equal(early.scale, plain.scale) and torch.equal(late.scale[:, 0], plain.scale[:, 0])
        assert not torch.equal(late.scale[:, 1], plain.scale[:, 1])

    def test_the_factor(self):
        H = stats_of(correlated(500, 96)).hessian
        U = inverse_factor(H).U
        damped = H + 0.01 * H.diagonal().mean() * torch.eye(96)
        assert torch.equal(U, U.triu())
        torch.testing.assert_close(U.T @ U @ damped, torch.eye(96, dtype=torch.float64), rtol=0, atol=1e-7)


class TestAgainstBruteForce:
    @pytest.mark.parametrize("seed", range(6))
    def test_never_better_than_the_optimum_and_near_it(self, seed):
        torch.manual_seed(seed)
        W, x = torch.randn(3, 6), correlated(64, 6, seed, rank=3)
        args, stats = int_weight(2, per_group(6)), stats_of(x)
        q = gptq(W, args, stats, act_order="static")
        H, steps = stats.hessian.double(), steps_of(q)
        every = torch.tensor(list(itertools.product(range(-2, 2), repeat=6)), dtype=torch.double)
        for n in range(3):
            d = every * steps.scale[n].double() - W[n].double()
            best = ((d @ H) * d).sum(1).min().item()
            mine = (dequantize(q)[n] - W[n]).double()
            rtn = (dequantize(quantize(W, args))[n] - W[n]).double()
            assert (mine @ H @ mine).item() >= best * (1 - 1e-9)
            assert (mine @ H @ mine).item() <= 8 * best or mine @ H @ mine <= rtn @ H @ rtn


class TestWhatItBuys:
    @pytest.mark.parametrize("name", FORMATS)
    def test_on_correlated_inputs_it_wins_on_inputs_that_it_never_saw(self, name):
        torch.manual_seed(1)
        W, args, held_out = torch.randn(32, 256), PRESETS[name].weights, correlated(1024, 256, seed=9)
        q = gptq(W, args, stats_of(correlated(2048, 256)))
        assert q.args == args and q.codes.shape == W.shape and q.order is None
        assert cost(W, q, held_out) < 0.6 * cost(W, quantize(W, args), held_out)

    @pytest.mark.parametrize("name", list(PRESETS))
    def test_blocks_of_zeros_and_of_one_value_are_as_well_off_as_with_rounding(self, name):
        torch.manual_seed(4)
        W, args = torch.randn(5, 512), PRESETS[name].weights
        W[0], W[1, :256], W[2, :32], W[3, 32:64] = 0, 0, 0, -0.5  # scales of 0, in some formats beside a minimum
        x = correlated(2048, 512)
        ours, plain = (dequantize(q) - W for q in (gptq(W, args, stats_of(x)), quantize(W, args)))
        lost, rounded = (((d.double() @ x.double().T).square().sum(1)) for d in (ours, plain))
        assert torch.isfinite(ours).all() and (lost <= 1.05 * rounded + 1e-6).all()

    def test_on_independent_inputs_it_cannot_win(self):
        torch.manual_seed(2)
        W, args = torch.randn(64, 256), int_weight(4, per_group(64))
        q = gptq(W, args, stats_of(torch.randn(512, 256)), act_order="static")
        plain = quantize(W, args)
        assert cost(W, q, torch.randn(4096, 256)) > 1.0 * cost(W, plain, torch.randn(4096, 256))

    def test_the_loudest_first(self):
        torch.manual_seed(3)
        loud = torch.logspace(0, 2, 256)[torch.randperm(256)]
        W, args = torch.randn(32, 256), int_weight(3, per_group(64))
        stats, held_out = stats_of(correlated(2048, 256) * loud), correlated(1024, 256, 5) * loud
        plain, *ordered = (cost(W, gptq(W, args, stats, act_order=o), held_out) for o in ORDERS)
        assert max(ordered) < plain


class TestBadInput:
    def test_dead_channels_are_said_and_rounded_to_nearest(self):
        x = correlated(500, 64)
        x[:, [5, 9]] = 0
        W, args = torch.randn(8, 64), int_weight(4, per_group(32))
        with pytest.warns(UserWarning, match=r"a.weight: 2 dead channels \(first: 5\)"):
            q = gptq(W, args, stats_of(x), "a.weight", act_order="static")
        assert torch.equal(q.codes[:, [5, 9]], quantize(W, args).codes[:, [5, 9]])

    def test_too_few_samples_are_said(self):
        with pytest.warns(UserWarning, match="20 tokens for 64 channels"):
            q = gptq(torch.randn(4, 64), int_weight(4, per_group(32)), stats_of(correlated(20, 64)))
        assert torch.isfinite(dequantize(q)).all()

    def test_more_damping_where_it_is_needed(self):
        H = torch.eye(4)
        H[0, 1] = H[1, 0] = 1.05  # an eigenvalue of -0.05
        found = inverse_factor(H)
        assert found.notes == ("not positive definite (too few samples?): damping raised to 0.1",)
        with pytest.raises(ValueError, match="whatever the damping"):
            inverse_factor(H * torch.tensor([[1.0, 9, 1, 1], [9, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]))

    def test_what_cannot_be(self):
        W, args, stats = torch.randn(4, 64), int_weight(4, per_group(32)), stats_of(correlated(200, 64))
        with pytest.raises(ValueError, match="w: GPTQ needs the Hessian"):
            gptq(W, args, None, "w")
        with pytest.raises(ValueError, match="K=32, its calibration input has K=64"):
            gptq(torch.randn(4, 32), args, stats, "w")
        with pytest.raises(ValueError, match="damp=0"):
            gptq(W, args, stats, damp=0.0)
        with pytest.raises(ValueError, match="one of none, static, group"):
            gptq(W, args, stats, act_order="g_idx")
        with pytest.raises(ValueError, match="does not divide K=64"):
            gptq(W, int_weight(4, per_group(48)), stats)
        with pytest.raises(ValueError, match="every channel"):
            inverse_factor(torch.zeros(4, 4))
        with pytest.raises(ValueError, match="NaN or inf in channel 2"):
            inverse_factor(torch.eye(4).index_put((torch.tensor(2), torch.tensor(2)), torch.tensor(torch.nan)))
