import pytest
import torch

from qcourse.numerics import scaling
from qcourse.numerics.granularity import Granularity, per_channel, per_group, per_tensor
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import dequantize, fake_quantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, int_weight

W4 = PRESETS["W4A16"].weights
FP32 = torch.float32


def test_the_same_expression_written_twice():
    """Ours, and the law in plain torch."""
    W = torch.randn(8, 256)
    q = quantize(W, W4.with_(granularity=per_group(64), scale=FP32))
    blocks = W.view(8, 4, 64)
    s = blocks.abs().amax(-1, keepdim=True) / 7.5
    codes = torch.clamp(torch.round(blocks / s), -8, 7)
    assert torch.equal(q.codes.float(), codes.view(8, 256))
    assert torch.equal(dequantize(q), (codes * s).view(8, 256))


def test_zero_point_makes_real_zero_exact():
    W = torch.rand(4, 128) + 0.5  # one-sided: the range is stretched to contain 0
    W[0, 0] = 0
    q = quantize(W, PRESETS["W4A16_ASYM"].weights)
    assert dequantize(q)[0, 0] == 0 and q.zero_point.dtype == torch.uint8


def test_asymmetric_wins_on_one_sided_data():
    W = torch.rand(8, 128) + 0.1
    error = {n: (fake_quantize(W, PRESETS[n].weights) - W).norm() for n in ("W4A16", "W4A16_ASYM")}
    assert error["W4A16_ASYM"] < 0.6 * error["W4A16"]


def test_mse_is_never_worse_than_absmax_and_helps_with_an_outlier():
    W = torch.randn(16, 256)
    W[:, 0] = 12.0
    errors = {}
    for name in ("absmax", "mse"):
        args = QuantizationArgs(IntGrid(4), per_channel, name, FP32)
        errors[name] = (fake_quantize(W, args) - W).square().sum(1)
    assert (errors["mse"] <= errors["absmax"]).all()
    assert errors["mse"].sum() < errors["absmax"].sum()


def test_percentile_is_absmax_at_one_and_ignores_outliers_below():
    blocks = torch.cat([torch.arange(1.0, 100.0), torch.tensor([1e4])]).view(1, 1, 100)
    assert torch.equal(scaling.percentile(blocks, IntGrid(8), 1.0), scaling.absmax(blocks, IntGrid(8)))
    assert scaling.percentile(blocks, IntGrid(8), 0.99).item() == pytest.approx(99 / 127.5)
    with pytest.raises(ValueError, match="between 0"):
        scaling.percentile(blocks, IntGrid(8), 0.0)


def test_percentile_differs_from_absmax_in_a_group_of_128_and_survives_sparse_blocks():
    W = torch.randn(8, 128)
    args = QuantizationArgs(IntGrid(8), per_group(128), "percentile", FP32)
    assert (quantize(W, args).scale < quantize(W, args.with_(scaling="absmax")).scale).all()
    sparse = torch.zeros(1, 128)
    sparse[0, 5] = 3.0
    assert dequantize(quantize(sparse, args))[0, 5] == pytest.approx(3.0, rel=0.01)


def test_percentile_of_a_whole_large_tensor():
    assert quantize(torch.randn(64, 4096), QuantizationArgs(IntGrid(8), per_tensor, "percentile")).scale.shape == (1, 1)


@pytest.mark.parametrize(("kind", "shape"), [(per_tensor, (1, 1)), (per_channel, (8, 1)), (per_group(32), (8, 4))])
def test_scale_shapes(kind, shape):
    q = quantize(torch.randn(8, 128), int_weight(8, kind))
    assert q.scale.shape == shape and q.scale.dtype == torch.bfloat16


def test_activations_of_any_rank_have_a_scale_a_token():
    q = quantize(torch.randn(2, 5, 64), PRESETS["W8A8"].input_activations)
    assert q.codes.shape == (2, 5, 64) and q.scale.shape == (10, 1)


def test_bits_per_weight_count_the_scales():
    assert W4.bits_per_weight(4096, 4096) == 4.125
    assert PRESETS["W4A16_ASYM"].weights.bits_per_weight(4096, 4096) == 4.15625
    assert quantize(torch.randn(8, 128), W4).nbytes == 8 * 128 * 4.125 / 8


class TestBadInput:
    def test_group_size_names_both_and_the_nearest_legal(self):
        with pytest.raises(ValueError, match=r"group_size=128 does not divide K=300.*nearest legal group_size: 150"):
            quantize(torch.randn(4, 300), W4)

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
    @pytest.mark.parametrize("name", ["W4A16", "W8A16_TENSOR", "W4A16_ASYM", "FP8_DYNAMIC"])
    def test_nonfinite_is_refused_by_name_and_index(self, bad, name):
        W = torch.randn(4, 256)
        W[2, 7] = bad
        with pytest.raises(ValueError, match=r"layers.0.q_proj holds .* at index \(2, 7\)"):
            quantize(W, PRESETS[name].weights, "layers.0.q_proj")

    def test_integers_and_float64_are_refused(self):
        with pytest.raises(TypeError):
            quantize(torch.zeros(4, 128, dtype=torch.int8), W4)

    def test_float64_is_refused(self):
        with pytest.raises(TypeError, match="float64"):
            quantize(torch.zeros(4, 128, dtype=torch.float64), W4)

    def test_a_scale_that_overflows_its_dtype_is_refused(self):
        with pytest.raises(ValueError, match="wider scale dtype"):
            quantize(torch.full((2, 128), 1e30), W4.with_(scale=torch.float16))

    def test_an_empty_weight_is_refused(self):
        with pytest.raises(ValueError, match="nothing to quantize"):
            quantize(torch.zeros(0, 128), W4)

    @pytest.mark.parametrize("make", [lambda: Granularity(0, None), lambda: Granularity(None, 0), lambda: per_group(0),
                                      lambda: Granularity(True, None)])  # fmt: skip
    def test_granularity(self, make):
        with pytest.raises(ValueError):
            make()

    def test_grid_and_scaling_that_contradict_each_other(self):
        with pytest.raises(ValueError, match="needs scaling='minmax'"):
            QuantizationArgs(IntGrid(4, signed=False))
        with pytest.raises(ValueError, match="zero point"):
            QuantizationArgs(IntGrid(4), scaling="minmax")
        with pytest.raises(ValueError, match="one of absmax"):
            QuantizationArgs(IntGrid(4), scaling="median")
