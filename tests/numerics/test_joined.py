"""Weights behind each other are one weight of the same values, whatever they are stored as, or are refused."""

from dataclasses import replace

import pytest
import torch

from qcourse.numerics.formats import NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.granularity import per_block, per_channel, per_tensor
from qcourse.numerics.grids import E4M3
from qcourse.numerics.joined import joined
from qcourse.numerics.quantize import TWO_LEVEL, dequantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, int_weight

FORMATS = {name: s.weights for name, s in PRESETS.items()} | {
    "NVFP4": NVFP4_ARGS,
    "NVFP4_MODELOPT": NVFP4_MODELOPT,
    "W8_TENSOR_ASYM": int_weight(8, per_tensor, symmetric=False),
    "FP8_BLOCK_32": QuantizationArgs(E4M3, per_block(32, 128), scale=torch.float32),
}
SIZES = (64, 32, 16)


def parts(args, sizes=SIZES, K=512):
    """Weights of very different sizes, so that scales of their own matter; NVFP4's under one peak."""
    weights = [torch.randn(n, K) * 10.0**i for i, n in enumerate(sizes)]
    peak = max(w.abs().max().item() for w in weights)
    return [quantize(w, args, peak=peak if args.scaling in TWO_LEVEL else None) for w in weights]


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "NF4"])
def test_the_values_are_those_of_the_parts(name):
    found = parts(FORMATS[name])
    whole = joined(found)
    assert whole.shape == (sum(SIZES), 512)
    assert torch.equal(dequantize(whole), torch.cat([dequantize(q) for q in found]))
    assert joined(found[:1]) is found[0]


@pytest.mark.parametrize("name", ["W8A16_TENSOR", "FP8", "W8_TENSOR_ASYM"])
def test_one_scale_a_part_becomes_one_a_row(name):
    """An engine with room for one scale only would take the largest: the first part would keep one of its 127 steps."""
    found = parts(FORMATS[name])
    whole = joined(found)
    assert whole.args == FORMATS[name].with_(granularity=per_channel) and whole.scale.shape == (sum(SIZES), 1)
    assert whole.scale.flatten().unique_consecutive().tolist() == [q.scale.item() for q in found]


def test_blocks_that_would_lie_in_two_parts_are_opened():
    """Rectangles of 32 rows: behind a part of 48, the next one begins inside a rectangle; a scale a row is exact there."""
    args = FORMATS["FP8_BLOCK_32"]
    for sizes, rows in (((64, 48), 32), ((48, 64), 1)):
        found = parts(args, sizes)
        whole = joined(found)
        assert whole.args.granularity == per_block(rows, 128) and len(whole.scale) == -(-sum(sizes) // rows)
        assert torch.equal(dequantize(whole), torch.cat([dequantize(q) for q in found]))


def test_order_is_kept_where_all_have_the_same():
    order = torch.randperm(512)
    found = [replace(q, order=order.clone()) for q in parts(FORMATS["W4A16"])]
    assert torch.equal(dequantize(joined(found)), torch.cat([dequantize(q) for q in found]))


@pytest.mark.parametrize("args", [NVFP4_ARGS, NVFP4_MODELOPT, PRESETS["NVFP4A16_46"].weights], ids=str)
def test_upper_scales_that_differ_are_refused(args):
    found = [quantize(torch.randn(16, 64) * f, args) for f in (1, 8)]
    with pytest.raises(ValueError, match=r"under different numbers \(.*, .*\).*take the largest.*lose range.*shared_peaks"):
        joined(found)


class TestBadInput:
    def test_parts_that_are_not_alike(self):
        a, b, _ = parts(FORMATS["W4A16"])
        for other, said in (
            (quantize(torch.randn(8, 256), FORMATS["W4A16"]), "part 1 has K=256, part 0 has K=512"),
            (quantize(torch.randn(8, 512), FORMATS["W4A16_G64"]), "part 1 is stored as .*: one matrix has one format"),
            (replace(b, scale=b.scale.float(), args=b.args.with_(scale=torch.float32)), "one matrix has one format"),
            (replace(b, order=torch.randperm(512)), r"part 1 and part 0 sort .* differently \(act_order\)"),
        ):
            with pytest.raises(ValueError, match=said):
                joined([a, other])
        orders = [replace(q, order=torch.randperm(512)) for q in (a, b)]
        with pytest.raises(ValueError, match="act_order.*one matrix reads x in one order.*with the same order"):
            joined(orders)

    def test_scales_over_the_ends_of_rows(self):
        with pytest.raises(ValueError, match="runs of 256, over the ends of rows"):
            joined([quantize(torch.randn(16, 64), PRESETS["NF4"].weights) for _ in range(2)])
