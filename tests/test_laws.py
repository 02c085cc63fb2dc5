"""The laws that every preset obeys. Tests iterate the table: a new row is tested the day it is added."""

import pytest
import torch

from qcourse.numerics.codebooks import Codebook
from qcourse.numerics.granularity import per_channel, per_group, per_tensor
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import dequantize, fake_quantize, quantize, values_of
from qcourse.numerics.schemes import PRESETS, QuantizationArgs

ARGS = [pytest.param(args, id=f"{name}-{part}") for name, s in PRESETS.items()
        for part, args in (("weights", s.weights), ("input", s.input_activations)) if args is not None]  # fmt: skip
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def expand(per_block, args, W):
    """(rows, groups) → the shape of W: each weight's own scale."""
    blocks = args.granularity.blocks(W)
    return args.granularity.unblocks(per_block.float().unsqueeze(-1).expand(blocks.shape), W.shape)


def scale_and_zero(q, W):
    """Each weight's own scale, and its zero point in steps."""
    s, z = expand(values_of(q.scale, q.args.scale), q.args, W), torch.tensor(-0.0)
    if q.zero_point is not None:
        z = expand(values_of(q.zero_point, q.args.zero), q.args, W)
        z = z if q.args.zero_in == "steps" else z / s
    return s, z


def rounded_later(args):
    """How far, relatively, a scale may move after the codes were made with it: GGUF's fp16, NF4's codes of scales."""
    return 2**-11 if args.scaling == "ggml" else 0.01 if args.scaling == "nf4" else 0.0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("args", ARGS)
def test_error_is_at_most_half_a_step_inside_the_clamp_range(args, dtype):
    """As far as the nearest value of the grid, and no farther."""
    W = torch.randn(16, 512).to(dtype)
    q = quantize(W, args)
    (s, z), error = scale_and_zero(q, W), (dequantize(q) - W.float()).abs()
    if isinstance(args.grid, IntGrid):
        levels = torch.arange(args.grid.qmin, args.grid.qmax + 1).float()
    elif isinstance(args.grid, Codebook):
        levels = torch.tensor(args.grid.values)
    else:
        levels = args.grid.table()
    levels = levels[levels.isfinite()].sort().values
    x = W.float() / s + z
    at = torch.bucketize(x, levels).clamp(1, len(levels) - 1)
    bound = torch.minimum((x - levels[at - 1]).abs(), (x - levels[at]).abs()) * s.abs()
    inside = (x >= levels[0]) & (x <= levels[-1])
    assert inside.float().mean() > (0.5 if args.num_bits == 2 else 0.75)
    # fp32 evaluates the law with three roundings of values up to the largest of the grid
    slack = (3 * 2**-24 + 2 * rounded_later(args)) * s.abs() * (levels.abs().max() + z.abs())
    assert (error <= bound + slack)[inside].all()


@pytest.mark.parametrize("args", ARGS)
def test_codes_survive_a_second_round(args):
    """quantize(dequantize(q)) with the same scales gives the same codes: decoding loses nothing."""
    W = torch.randn(8, 256)
    q = quantize(W, args)
    s, z = scale_and_zero(q, W)
    again = args.grid.encode(dequantize(q) / s + z).to(q.codes.dtype)
    assert torch.equal(again[s != 0], q.codes[s != 0])


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
    """Huge and tiny values lose no more than ordinary ones (the scales are bf16 or fp32, so their range suffices).

    GGUF's are fp16: what lies beyond is refused, and what lies below becomes coarse, then zero."""
    W = torch.randn(4, 256)
    if args.scaling == "ggml" and magnitude > 1e7:
        with pytest.raises(ValueError, match="does not fit float16"):
            quantize(W * magnitude, args)
        return
    if args.scaling == "ggml":
        magnitude = min(max(magnitude, 1e-2), 1e3)
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
    for module, name in (("quantize", "CHUNK"), ("ggml", "PIECE"), ("ggml_search", "PIECE"), ("two_level", "PIECE")):
        monkeypatch.setattr(f"qcourse.numerics.{module}.{name}", 700)
    parts = quantize(W, args)
    assert torch.equal(whole.codes, parts.codes) and torch.equal(dequantize(whole), dequantize(parts))


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
