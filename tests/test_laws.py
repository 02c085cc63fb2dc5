"""The laws that every preset obeys. Tests iterate the table: a new row is tested the day it is added."""

import pytest
import torch

from qcourse.numerics.granularity import per_channel, per_group, per_tensor
from qcourse.numerics.grids import FloatGrid, IntGrid
from qcourse.numerics.quantize import dequantize, fake_quantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs

ARGS = [pytest.param(args, id=f"{name}-{part}") for name, s in PRESETS.items()
        for part, args in (("weights", s.weights), ("input", s.input_activations)) if args is not None]  # fmt: skip
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def expand(per_block, args, W):
    """(rows, groups) → the shape of W: each weight's own scale."""
    return per_block.float().unsqueeze(-1).expand(args.granularity.blocks(W).shape).reshape(W.shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("args", ARGS)
def test_error_is_at_most_half_a_step_inside_the_clamp_range(args, dtype):
    W = torch.randn(16, 512).to(dtype)
    q = quantize(W, args)
    s, error = expand(q.scale, args, W), (dequantize(q) - W.float()).abs()
    if isinstance(args.grid, FloatGrid):
        # relative spacing 2^-m of a binade, half of it after rounding; below the smallest normal, half a subnormal step
        bound = torch.maximum(W.float().abs() * 2.0 ** -(args.grid.mantissa_bits + 1), s * args.grid.smallest / 2)
        inside = W.float().abs() / s <= args.grid.max
    else:
        z = expand(q.zero_point, args, W) if q.zero_point is not None else 0
        bound, x = s / 2, W.float() / s + z
        inside = (x >= args.grid.qmin - 0.5) & (x <= args.grid.qmax + 0.5)
    assert inside.float().mean() > 0.9
    # fp32 evaluates the law with three roundings of values up to 128 steps: 3 · 128 · 2^-24 steps
    assert (error <= bound + 384 * 2**-24 * s)[inside].all()


@pytest.mark.parametrize("args", ARGS)
def test_codes_survive_a_second_round(args):
    """quantize(dequantize(q)) with the same scales gives the same codes: decoding loses nothing."""
    W = torch.randn(8, 256)
    q = quantize(W, args)
    s = expand(q.scale, args, W)
    x = dequantize(q) / s
    if q.zero_point is not None:
        x = x + expand(q.zero_point, args, W)
    assert torch.equal(args.grid.encode(x).to(q.codes.dtype), q.codes)


@pytest.mark.parametrize("num_bits", [2, 3, 4, 8])
@pytest.mark.parametrize("granularity", [per_tensor, per_channel, per_group(64)], ids=str)
def test_restricted_grids_are_idempotent(num_bits, granularity):
    """absmax lands on the outermost code exactly, so the second round finds the same scale."""
    args = QuantizationArgs(IntGrid(num_bits, restricted=True), granularity)
    once = fake_quantize(torch.randn(16, 256), args)
    assert torch.equal(fake_quantize(once, args), once)


@pytest.mark.parametrize("args", ARGS)
def test_zero_rows_give_zero_not_nan(args):
    W = torch.randn(4, 256)
    W[1] = 0
    assert torch.equal(dequantize(quantize(W, args))[1], torch.zeros(256))
    assert (dequantize(quantize(torch.zeros(2, 256), args)) == 0).all()


@pytest.mark.parametrize("args", ARGS)
@pytest.mark.parametrize("magnitude", [1e-30, 1e-6, 1e6, 1e30])
def test_scale_free(args, magnitude):
    """Huge and tiny values lose no more than ordinary ones (the scales are bf16 or fp32, so their range suffices)."""
    W = torch.randn(4, 256)
    ordinary = (fake_quantize(W, args) - W).norm() / W.norm()
    scaled = W * magnitude
    relative = (fake_quantize(scaled, args) / magnitude - W).norm() / W.norm()
    assert relative <= ordinary * 1.1


@pytest.mark.parametrize("args", ARGS)
def test_strides_do_not_matter(args):
    W = torch.randn(256, 16)
    assert torch.equal(quantize(W.T, args).codes, quantize(W.T.contiguous(), args).codes)


@pytest.mark.parametrize("args", ARGS)
def test_chunking_does_not_matter(args, monkeypatch):
    W = torch.randn(64, 256)
    whole = quantize(W, args)
    monkeypatch.setattr("qcourse.numerics.quantize.CHUNK", 700)
    parts = quantize(W, args)
    assert torch.equal(whole.codes, parts.codes) and torch.equal(whole.scale, parts.scale)


@pytest.mark.parametrize("args", ARGS)
def test_the_input_is_not_touched(args):
    W = torch.randn(8, 256)
    before = W.clone()
    fake_quantize(W, args)
    assert torch.equal(W, before)


def relative_error(name, W):
    return ((fake_quantize(W, PRESETS[name].weights) - W).norm() / W.norm()).item()


def test_expected_errors_on_gaussian_weights():
    """Published anchors (relative Frobenius, N(0,1), K = 4096): a deviation of more than a few per cent is a bug."""
    W = torch.randn(256, 4096)
    expected = {"W8A16": 0.0087, "W4A16": 0.111, "W4A16_ASYM": 0.101, "FP8_DYNAMIC": 0.026, "W4A16_G32": 0.095}
    for name, value in expected.items():
        assert relative_error(name, W) == pytest.approx(value, rel=0.05), name


def test_finer_granularity_is_more_accurate():
    """Invariant 2: tensor < channel < group, on rows of different size."""
    W = torch.randn(64, 512) * torch.logspace(-1, 1, 64).unsqueeze(1)
    order = ["W4A16_CHANNEL", "W4A16", "W4A16_G64", "W4A16_G32"]
    errors = [relative_error(n, W) for n in order]
    assert errors == sorted(errors, reverse=True)
    assert relative_error("W8A16_TENSOR", W) > 1.5 * relative_error("W8A16", W)
