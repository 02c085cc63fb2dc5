"""Grids that are lists, blocks, scales of scales, order, zeros in weight units: each against a loop in Python."""

import math
import struct

import pytest
import torch

from qcourse.numerics.codebooks import E8M0, IQ4_NL, TERNARY, Codebook
from qcourse.numerics.formats import GGUF_ARGS, NVFP4_ARGS, block_float, nvfp4
from qcourse.numerics.granularity import Granularity, per_block, per_channel, per_group, per_tensor
from qcourse.numerics.grids import E2M1, E4M3, Grid, IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize, fake_quantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, int_weight

FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32


def f32(x: float) -> float:
    """x, rounded to fp32."""
    return struct.unpack("f", struct.pack("f", x))[0]


class TestE8M0:
    def test_all_255_codes(self):
        codes = torch.arange(255, dtype=torch.uint8)
        values = E8M0.decode(codes)
        assert values.tolist() == [2.0 ** (c - 127) for c in range(255)]  # code 0 is subnormal in fp32, and exact
        assert torch.equal(E8M0.encode(values), codes)

    def test_255_is_nan(self):
        assert E8M0.decode(torch.tensor([255], dtype=torch.uint8)).isnan().all()
        assert E8M0.encode(torch.tensor([torch.nan])).tolist() == [255]

    def test_the_floor_rule(self):
        """Anything from 2^e up to just below 2^(e+1) is e; what is not positive, or below the range, is the least."""
        for e in range(-126, 127):
            power = torch.tensor(2.0**e)
            below = torch.nextafter(2 * power, torch.tensor(0.0))
            assert E8M0.encode(torch.stack([power, 1.5 * power, below])).tolist() == [e + 127] * 3
        assert E8M0.encode(torch.tensor([3.4e38, torch.inf])).tolist() == [254, 254]
        assert E8M0.encode(torch.tensor([0.0, -0.0, -1.0, 1e-45, 2.0**-128])).tolist() == [0] * 5

    def test_x_is_not_changed_and_it_is_a_grid(self):
        x = torch.tensor([3.0, 0.1])
        E8M0.encode(x)
        assert x.tolist() == [3.0, f32(0.1)] and isinstance(E8M0, Grid) and isinstance(TERNARY, Grid)


class TestCodebook:
    @pytest.mark.parametrize("book", [TERNARY, IQ4_NL, Codebook("five", (-2.0, -0.5, 0.0, 0.25, 3.0))], ids=str)
    def test_nearest(self, book):
        x = torch.cat([torch.randn(4000) * book.limit, torch.tensor(book.values), torch.tensor([1e30, -1e30])])
        codes = book.encode(x)
        for value, code in zip(x.tolist(), codes.tolist(), strict=True):
            best = min(abs(value - v) for v in book.values)
            assert abs(value - book.values[code]) == best
        assert torch.equal(book.decode(codes)[-2 - len(book.values) : -2], torch.tensor(book.values))

    def test_of_two_equally_near_the_lower(self):
        assert TERNARY.encode(torch.tensor([-0.5, 0.5])).tolist() == [0, 1]

    @pytest.mark.parametrize(("count", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5), (256, 8)])
    def test_bits(self, count, bits):
        assert Codebook("b", tuple(map(float, range(count)))).num_bits == bits

    @pytest.mark.parametrize("book", [TERNARY, IQ4_NL], ids=str)
    def test_through_quantize(self, book):
        """One scale a group, the nearest of s·v for each weight, to the rounding of w/s (2^-23 of the largest)."""
        W, args = torch.randn(4, 64), QuantizationArgs(book, per_group(32), scale=FP32)
        q, W_hat = quantize(W, args), dequantize(quantize(W, args))
        for n in range(4):
            for k in range(64):
                s = q.scale[n, k // 32].item()
                best = min(abs(W[n, k].item() - s * v) for v in book.values)
                assert abs(W[n, k].item() - W_hat[n, k].item()) <= best + s * book.limit * 2**-22


class TestBlocks:
    @pytest.mark.parametrize(("rows", "cols", "N", "K"), [(4, 8, 8, 16), (4, 8, 10, 20), (3, 5, 7, 11), (16, 64, 5, 9),
                                                          (2, None, 5, 6)])  # fmt: skip
    @pytest.mark.parametrize("grid", [E4M3, IntGrid(8)], ids=str)
    def test_against_a_loop(self, rows, cols, N, K, grid):
        """The scale of every rectangle is the absmax of what really lies in it, at ragged edges too."""
        W = torch.randn(N, K)
        args = QuantizationArgs(grid, Granularity(rows, cols), scale=FP32)
        q, width = quantize(W, args), cols or K
        assert tuple(q.scale.shape) == args.granularity.scales(N, K) == (math.ceil(N / rows), math.ceil(K / width))
        for i in range(q.scale.shape[0]):
            for j in range(q.scale.shape[1]):
                part = slice(i * rows, (i + 1) * rows), slice(j * width, (j + 1) * width)
                s = W[part].abs().max() / grid.limit
                assert torch.equal(q.scale[i, j], s)
                assert torch.equal(q.codes[part], grid.encode(W[part] / s))
                assert torch.equal(dequantize(q)[part], grid.decode(q.codes[part]) * s)

    def test_zero_points_of_blocks(self):
        """One-sided rectangles at a ragged edge: the zeros that fill them do not move the range, which contains 0 anyhow."""
        W = torch.rand(5, 7) + 1
        q = quantize(W, int_weight(8, per_block(2, 3), symmetric=False).with_(scale=FP32))
        assert (q.zero_point == 0).all()
        for i in range(3):
            for j in range(3):
                part = W[2 * i : 2 * i + 2, 3 * j : 3 * j + 3]
                assert q.scale[i, j] == part.max() / 255
        assert ((dequantize(q) - W).abs() <= q.scale.max() / 2 * 1.001).all()

    def test_blocks_and_back(self):
        W = torch.randn(7, 11)
        for g in (per_block(3, 4), Granularity(2, None), per_group(11), per_channel, per_tensor):
            assert torch.equal(g.unblocks(g.blocks(W), W.shape), W)


class TestScalesOfScales:
    @pytest.mark.parametrize("direction", ["absmax", "inverse"])
    def test_nvfp4(self, direction):
        """t = max|w| / (448·6), or g = 448·6 / max|w|, in fp32; code = E4M3 of a block's absmax / 6 in that unit."""
        W = torch.randn(6, 48)
        q = quantize(W, nvfp4(direction))
        top, peak = W.view(6, 3, 16).abs().amax(-1), W.abs().max()
        t, g = peak / (6 * 448), (1 / peak) * 2688
        codes = E4M3.encode(top / (6 * t) if direction == "absmax" else g * (top / 6))
        above = t if direction == "absmax" else 1 / g.double()
        assert torch.equal(q.scale.scale, above.view(1, 1)) and torch.equal(q.scale.codes, codes)
        for n in range(6):
            for k in range(48):
                kept = E4M3.decode(codes[n, k // 16])
                kept = kept * t if direction == "absmax" else kept / g
                code = E2M1.encode(W[n, k] / kept)
                assert q.codes[n, k] == code and dequantize(q)[n, k] == E2M1.decode(code) * kept

    def test_q4_k(self):
        """Scales and minima of 32 weights in 6 bits under fp16 scales of their own; w = d·s·q - dmin·m."""
        W = torch.randn(2, 512)
        q = quantize(W, GGUF_ARGS["Q4_K"])
        assert q.scale.codes.shape == (2, 16) and q.scale.scale.shape == (2, 2) and q.scale.scale.dtype == FP16
        assert q.codes.max() <= 15 and q.scale.codes.max() == 63 and q.zero_point.codes.max() == 63
        W_hat = dequantize(q)
        for n in range(2):
            for k in range(512):
                d, dmin = q.scale.scale[n, k // 256].item(), q.zero_point.scale[n, k // 256].item()
                s, m = f32(d * q.scale.codes[n, k // 32].item()), f32(dmin * q.zero_point.codes[n, k // 32].item())
                assert W_hat[n, k].item() == f32(f32(s * q.codes[n, k].item()) - m)
                # half a step, and what scale (15 codes) and minimum lost to half a step of theirs, fp16's in the 1.01
                assert abs(W_hat[n, k].item() - W[n, k].item()) <= (s / 2 + 15 * d / 2 + dmin / 2) * 1.01

    def test_mxfp4(self):
        """A power of two: 2^(floor(log2 absmax) - 2), whatever it does to the loudest (which saturates at 6)."""
        W = torch.randn(3, 64)
        q = quantize(W, block_float(E2M1, "floor"))
        for n in range(3):
            for j in range(2):
                block = W[n, 32 * j : 32 * j + 32]
                s = 2.0 ** (math.floor(math.log2(block.abs().max().item())) - 2)
                assert q.scale[n, j] == math.log2(s) + 127
                assert torch.equal(q.codes[n, 32 * j : 32 * j + 32], E2M1.encode(block / s))

    def test_a_silent_block_beside_a_loud_one(self):
        """A scale that its own quantization rounds to 0 makes zeros, not NaN."""
        W = torch.ones(1, 512)
        W[0, :32] = 1e-6
        for args in (NVFP4_ARGS, GGUF_ARGS["Q4_K"], GGUF_ARGS["Q6_K"], GGUF_ARGS["Q2_K"]):
            W_hat = dequantize(quantize(W, args))
            assert torch.isfinite(W_hat).all() and (W_hat[0, :16].abs() < 0.1).all()
            assert torch.isfinite(dequantize(quantize(torch.zeros(1, 512), args))).all()


class TestOrder:
    @pytest.mark.parametrize("name", ["W4A16_G32", "W4A16_ASYM", "W8A16"])
    def test_against_a_loop(self, name):
        """Column j of the codes belongs to channel order[j], and so do its group's scale and zero."""
        args, N, K = PRESETS[name].weights, 3, 256
        q, order = quantize(torch.randn(N, K), args), torch.randperm(K)
        q = QTensor(q.codes, q.scale, q.zero_point, args, order)
        W_hat = dequantize(q)
        for n in range(N):
            for j in range(K):
                g = j // (args.group_size or K)
                z = 0 if q.zero_point is None else q.zero_point[n, g].item()
                wanted = f32(q.scale[n, g].item() * (q.codes[n, j].item() - z))
                assert W_hat[n, order[j]].item() == wanted


class TestZerosInWeightUnits:
    @pytest.mark.parametrize("scale", [FP32, FP16, BF16], ids=str)
    def test_against_a_loop(self, scale):
        """w = s·q - m with s = (max - min)/15 and m = -min, as stored; q is the nearest code from 0."""
        args = QuantizationArgs(
            IntGrid(4, signed=False), per_group(32), "minmax", scale=scale, zero=scale, zero_in="weights"
        )
        W = torch.randn(3, 64) + 0.5
        q, W_hat = quantize(W, args), dequantize(quantize(W, args))
        assert q.scale.dtype == q.zero_point.dtype == scale
        for n in range(3):
            for g in range(2):
                block = W[n, 32 * g : 32 * g + 32]
                s, m = q.scale[n, g].item(), q.zero_point[n, g].item()
                # two divisions, a subtraction and the stored dtype round, relative to the parts (which may cancel)
                near = 2 * torch.finfo(scale).eps * block.abs().max().item()
                assert abs(s - (block.max() - block.min()).item() / 15) <= near and abs(m + block.min().item()) <= near
                for k, w in enumerate(block.tolist(), 32 * g):
                    exact = (w + m) / s
                    code = q.codes[n, k].item()
                    assert 0 <= code <= 15 and (abs(code - exact) <= 0.5 + 1e-5 or exact < 0 or exact > 15)
                    assert W_hat[n, k].item() == f32(f32(s * code) - m)

    def test_no_stretch_to_zero(self):
        """One-sided data use all codes here; with zeros in steps the range has to contain 0, and the steps are wider."""
        W = torch.rand(4, 64) + 10
        weights = QuantizationArgs(
            IntGrid(4, signed=False), per_group(32), "minmax", scale=FP32, zero=FP32, zero_in="weights"
        )
        steps = int_weight(4, per_group(32), symmetric=False).with_(scale=FP32)
        assert quantize(W, weights).codes.unique().numel() == 16
        assert (fake_quantize(W, weights) - W).abs().max() * 5 < (fake_quantize(W, steps) - W).abs().max()


class TestRange:
    @pytest.mark.parametrize("name", PRESETS)
    def test_fp16_up_to_its_largest_number_stays_finite(self, name):
        """-8 · absmax/7.5 lies beyond 65504: Ŵ saturates there. Signs and the largest magnitudes stay."""
        W = ((torch.rand(4, 256) * 2 - 1) * 65504).to(FP16)
        W[:, 0], W[:, 1] = -65504, 65504
        W_hat = fake_quantize(W, PRESETS[name].weights)
        assert W_hat.dtype == FP16 and torch.isfinite(W_hat).all()
        most = 25000 if name == "TERNARY" else 40000  # its scale is a mean
        assert (W_hat[:, 0] < -most).all() and (W_hat[:, 1] > most).all()

    @pytest.mark.parametrize("size", [1e-3, 3e-5, 1e-7])
    def test_scales_that_would_be_subnormal_in_fp16_are_refused(self, size):
        """absmax/7.5 below 2^-14 = 6.1e-5: fp16 keeps ever fewer bits of it, and at last 0. bf16 and fp32 hold it."""
        W = torch.randn(4, 256).clamp(-1, 1) * size
        args = PRESETS["W4A16"].weights
        if (W.abs().amax() / 7.5) >= 2**-14:
            assert torch.isfinite(fake_quantize(W, args.with_(scale=FP16))).all()
        else:
            with pytest.raises(ValueError, match="do not fit torch.float16: use a wider scale dtype"):
                quantize(W, args.with_(scale=FP16))
        for dtype in (BF16, FP32):
            q = quantize(W, args.with_(scale=dtype))
            s = q.scale.float().max()  # half a step, and code 8 times the rounding of the stored scale
            assert ((dequantize(q) - W).abs() <= s * (0.5 + 8 * torch.finfo(dtype).eps)).all()

    def test_a_wider_dtype_is_named(self):
        with pytest.raises(ValueError, match="torch.bfloat16 or torch.float32"):
            quantize(torch.full((2, 128), 1e-6), PRESETS["W4A16"].weights.with_(scale=FP16))
