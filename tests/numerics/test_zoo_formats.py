"""The formats of the zoo where a law is not enough: exponent rules, two levels, double quantization, searches, refusals."""

import math

import pytest
import torch

from qcourse.layers.config import get_quantization_config
from qcourse.layers.linear import Linear
from qcourse.numerics.codebooks import DYNAMIC8, NF4
from qcourse.numerics.formats import GGUF_ARGS, NF4_ARGS, NVFP4_ARGS, block_float, nvfp4
from qcourse.numerics.granularity import per_group, per_run
from qcourse.numerics.grids import E2M1, E2M3, E3M2, E4M3
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, int_weight
from qcourse.packing.packed import holders, pack

RULES = {  # exponent of the scale for a block whose loudest is x, by another road: logarithms in fp64
    "floor": lambda x, top: math.floor(math.log2(x)) - math.floor(math.log2(top)),
    "ceil": lambda x, top: math.ceil(math.log2(x)) - math.floor(math.log2(top)),
    "round_up": lambda x, top: math.ceil(math.log2(x / top)),
}


@pytest.mark.parametrize("grid", [E4M3, E3M2, E2M3, E2M1], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_exponents(grid, rule):
    loudest = torch.cat([2.0 ** torch.arange(-20, 20.0) * f for f in (1.0, 1.2, 1.5, 1.6, 1.75, 1.9)])
    W = loudest.unsqueeze(1) * torch.linspace(-0.5, 1, 32)
    e = quantize(W, block_float(grid, rule)).scale.squeeze(1).int() - 127
    assert e.tolist() == [RULES[rule](x, grid.limit) for x in loudest.double().tolist()]


def test_even_rounds_the_mantissa_first():
    """FP4 has one bit of it: from 1.75 on the exponent goes up. E2M3 has three: from 1.9375."""
    for grid, edge in ((E2M1, 1.75), (E2M3, 1.9375)):
        for x, up in ((edge - 0.01, 0), (edge, 1)):
            assert quantize(torch.full((1, 32), x), block_float(grid, "even")).scale.item() - 127 == up - 2
    assert quantize(torch.full((1, 32), 1.75), block_float(E4M3)).scale.item() - 127 == 1 - 8  # compressed-tensors' MXFP8


def test_a_block_of_zeros_in_mx_is_zero():
    q = quantize(torch.zeros(2, 64), block_float(E2M1))
    assert (q.scale == 0).all() and (dequantize(q) == 0).all()


@pytest.mark.parametrize("direction", ["absmax", "inverse"])
def test_fused_layers_share_their_upper_scale(direction):
    parts = [torch.randn(8, 64) * s for s in (1, 3, 0.2)]
    peak = max(p.abs().max().item() for p in parts)
    together = [quantize(p, nvfp4(direction), peak=peak) for p in parts]
    whole = quantize(torch.cat(parts), nvfp4(direction))
    assert len({q.scale.scale.item() for q in together} | {whole.scale.scale.item()}) == 1
    assert torch.equal(torch.cat([q.codes for q in together]), whole.codes)
    assert torch.equal(torch.cat([q.scale.codes for q in together]), whole.scale.codes)
    with pytest.raises(ValueError, match="take the maximum over all of them"):
        quantize(parts[1], nvfp4(direction), peak=peak / 2)


def test_four_over_six_is_never_worse_block_by_block():
    """It chooses between two scales; with 256 instead of 448 for both, the better one wins in each block."""
    W = torch.randn(32, 256)
    six = quantize(W, NVFP4_ARGS.with_(scaling="four_over_six"))
    lost = (dequantize(six) - W).norm()
    assert lost < 0.95 * (dequantize(quantize(W, NVFP4_ARGS)) - W).norm()
    on_four = (six.codes & 7).view(32, 16, 16).amax(-1) == 6  # the code of 4
    assert 0.1 < on_four.float().mean() < 0.9


def test_nf4_scales_are_quantized_about_their_mean():
    W = torch.randn(64, 256)
    q = quantize(W, NF4_ARGS)
    top = W.view(-1, 64).abs().amax(1)
    assert q.scale.zero_point.item() == -top.mean().item() and q.scale.scale.shape == (1, 1)
    table = torch.tensor(DYNAMIC8.values)
    kept = table[q.scale.codes.flatten().int()] * q.scale.scale + top.mean()
    assert torch.allclose(kept, top, atol=0.01 * (top - top.mean()).abs().max().item() + 1e-6)
    x = W.view(-1, 64) / top.unsqueeze(1)
    nearest = (x.unsqueeze(-1) - torch.tensor(NF4.values)).abs().argmin(-1)
    assert (nearest.view(64, 256) == q.codes).float().mean() > 0.999
    assert q.bits_per_weight == 4 + 8 / 64 + 2 * 32 / W.numel()  # 256 scales: one fp32 scale and the mean


def test_runs_go_over_the_ends_of_rows():
    W = torch.arange(30.0).view(5, 6)
    blocks = per_run(8).blocks(W)
    assert blocks.shape == (1, 4, 8) and blocks[0, 1, 0] == 8 and (blocks[0, 3, 6:] == 0).all()
    assert torch.equal(per_run(8).unblocks(blocks, W.shape), W) and per_run(8).scales(5, 6) == (1, 4)


@pytest.mark.parametrize("kind", ["IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_a_search_beats_rounding_and_listens_to_importance(kind):
    W, importance = torch.randn(16, 512), torch.rand(512).square() + 1e-3
    plain, heard = (quantize(W, GGUF_ARGS[kind], importance=i) for i in (None, importance))
    lost = [(importance * (dequantize(q) - W).square()).sum() for q in (plain, heard)]
    assert lost[1] < lost[0]
    bits = GGUF_ARGS[kind].num_bits
    assert (dequantize(plain) - W).norm() < (dequantize(quantize(W, int_weight(bits, per_group(32)))) - W).norm()


def test_what_would_not_be_looked_at_is_refused():
    W = torch.randn(4, 256)
    with pytest.raises(ValueError, match="importance would change nothing"):
        quantize(W, GGUF_ARGS["Q4_0"], importance=torch.ones(256))
    with pytest.raises(ValueError, match="importance is for GGUF"):
        quantize(W, PRESETS["W4A16"].weights, importance=torch.ones(256))
    with pytest.raises(ValueError, match="peak and above are for scales of two levels"):
        quantize(W, PRESETS["W4A16"].weights, peak=3.0)
    for bad in (torch.ones(255), -torch.ones(256), torch.full((256,), torch.nan)):
        with pytest.raises(ValueError, match="256 numbers of at least 0 expected"):
            quantize(W, GGUF_ARGS["Q4_K"], importance=bad)


@pytest.mark.parametrize("name", PRESETS)
def test_nonfinite_weights_are_named(name):
    for bad in (torch.nan, torch.inf, -torch.inf):
        W = torch.randn(4, 256)
        W[2, 77] = bad
        with pytest.raises(ValueError, match=rf"lost holds {bad} at index \(2, 77\)"):
            quantize(W, PRESETS[name].weights, "lost")


@pytest.mark.parametrize(("scheme", "K", "said"), [
    ("NVFP4A16", 100, "group_size=16 does not divide K=100"), ("NF4", 96, "nearest legal group_size: 48"),
    ("Q4_K", 576, "nearest legal K: 512 or 768"), ("Q6_K", 128, "nearest legal K: 256"),
    ("FP8_BLOCK", 200, "group_size=128 does not divide K=200"),
])  # fmt: skip
def test_blocks_that_do_not_fit_name_the_nearest(scheme, K, said):
    with pytest.raises(ValueError, match=f"q_proj: .*{said}"):
        Linear(K, 64, quant_config=get_quantization_config(scheme), prefix="q_proj")


def test_a_layout_that_cannot_hold_a_scheme_names_those_that_can():
    for scheme, layout, said in (
        ("NVFP4A16", "gptq", "nvfp4-pack-quantized"), ("Q4_K", "row", "gguf"), ("W4A16", "gguf", "row, words"),
        ("NF4", "awq", "bitsandbytes"), ("MXFP4A16", "nvfp4-pack-quantized", "mxfp4-pack-quantized"),
    ):  # fmt: skip
        config = get_quantization_config({"scheme": scheme, "layout": layout})
        with pytest.raises(ValueError, match=f"q_proj: .*layouts that hold it: .*{said}"):
            Linear(256, 64, quant_config=config, prefix="q_proj")


def test_nvfp4_in_the_other_direction_is_refused_by_name():
    q = quantize(torch.randn(8, 64), nvfp4("absmax"))
    assert holders(q.args, 8, 64) == ["modelopt-nvfp4"]
    with pytest.raises(ValueError, match="stores one that divides: its reciprocal is another float"):
        pack(q, "nvfp4-pack-quantized")
    with pytest.raises(ValueError, match="stores one that multiplies"):
        pack(quantize(torch.randn(8, 64), NVFP4_ARGS), "modelopt-nvfp4")


def test_scales_of_mx_are_powers_of_two_and_nothing_else():
    args = block_float(E2M1)
    assert isinstance(args, QuantizationArgs) and args.bits_per_weight(4, 64) == 4.25
    ratio = torch.log2(dequantize(quantize(torch.randn(4, 64), args)).abs().clamp(min=1e-9) / 1.5)
    assert ratio.isfinite().all()
