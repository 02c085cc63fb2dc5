"""Each layout against its specification, spelled out with loops: the second implementation."""

import inspect
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing import layouts
from qcourse.packing.packed import LAYOUTS, pack, unpack


def codes_of(N, K, num_bits=4):
    return torch.randint(0, 1 << num_bits, (N, K), dtype=torch.uint8)


def word(nibbles):
    """Eight nibbles, the first lowest, as the signed int32 that a file holds."""
    value = sum(int(c) << (4 * j) for j, c in enumerate(nibbles))
    return value - (1 << 32) if value >> 31 else value


def test_gptq_by_its_specification():
    codes = codes_of(3, 32)
    qweight = layouts.pack_gptq(codes)
    assert qweight.shape == (4, 3)
    for r in range(4):
        for n in range(3):
            assert qweight[r, n] == word([codes[n, 8 * r + j] for j in range(8)])


def test_awq_by_its_specification():
    codes = codes_of(16, 5)
    qweight = layouts.pack_awq(codes)
    assert qweight.shape == (5, 2)
    for k in range(5):
        for c in range(2):
            assert qweight[k, c] == word([codes[8 * c + j, k] for j in (0, 2, 4, 6, 1, 3, 5, 7)])


def test_compressed_tensors_by_its_specification():
    codes = codes_of(3, 24)
    packed = layouts.pack_compressed_tensors(codes)
    assert packed.tolist() == [[word(codes[n, 8 * w : 8 * w + 8]) for w in range(3)] for n in range(3)]
    zeros = codes_of(16, 2)
    packed = layouts.pack_compressed_tensors_zeros(zeros)
    assert packed.tolist() == [[word(zeros[8 * w : 8 * w + 8, g]) for g in range(2)] for w in range(2)]


def test_symmetric_gptq_zeros_are_the_famous_constant():
    zeros = torch.full((16, 2), 8, dtype=torch.uint8)
    assert (layouts.pack_gptq_zeros(zeros) == 0x77777777).all()
    assert (layouts.pack_gptq_zeros(zeros, version=2).view(torch.uint8) == 0x88).all()


@given(n=st.integers(1, 4), g=st.integers(1, 3), version=st.sampled_from([1, 2]))
def test_gptq_zeros_round_trip(n, g, version):
    zeros = torch.randint(1, 16, (8 * n, g), dtype=torch.uint8)
    assert torch.equal(layouts.unpack_gptq_zeros(layouts.pack_gptq_zeros(zeros, 4, version), 4, version), zeros)


@given(n=st.integers(1, 4), g=st.integers(1, 5))
def test_awq_zeros_round_trip(n, g):
    zeros = codes_of(8 * n, g)
    assert torch.equal(layouts.unpack_awq_zeros(layouts.pack_awq_zeros(zeros)), zeros)


def test_three_bit_gptq_is_dense():
    codes = codes_of(4, 64, 3)
    assert layouts.pack_gptq(codes, 3).shape == (6, 4)
    assert torch.equal(layouts.unpack_gptq(layouts.pack_gptq(codes, 3), 3), codes)


def holds(layout, args):
    try:
        return bool(LAYOUTS[layout].slots(args, 16, 256))
    except ValueError:
        return False


PAIRS = [(name, layout) for name, s in PRESETS.items() for layout in LAYOUTS if holds(layout, s.weights)]


def test_every_preset_has_a_layout_and_every_layout_a_preset():
    assert {name for name, _ in PAIRS} == set(PRESETS)
    assert {layout for _, layout in PAIRS} == set(LAYOUTS) - {"modelopt-nvfp4"}  # NVFP4's other direction


@pytest.mark.parametrize(("preset", "layout"), PAIRS)
def test_pack_unpack_gives_the_same_qtensor(preset, layout):
    q = quantize(torch.randn(16, 256), PRESETS[preset].weights)
    if layout == "gptq" and q.zero_point is not None:
        q = replace(q, zero_point=q.zero_point.clamp(min=1))  # version 1 stores z - 1
    back = unpack(pack(q, layout))
    assert torch.equal(back.codes, q.codes) and back.codes.dtype == q.codes.dtype
    assert torch.equal(dequantize(back), dequantize(q)) and back.args == q.args


def test_packed_bytes_are_what_the_formula_says():
    q = quantize(torch.randn(64, 1024), PRESETS["W4A16"].weights)
    assert all(pack(q, layout).nbytes == q.nbytes for layout in ("row", "words"))
    assert pack(q, "pack-quantized").nbytes == q.nbytes + 16  # weight_shape
    assert pack(q, "gptq").nbytes == q.nbytes + 64 * 8 / 2 + 4 * 1024  # zero points though symmetric, and g_idx


class TestBadInput:
    def test_half_words(self):
        with pytest.raises(ValueError, match="K must be a multiple of 8"):
            layouts.pack_gptq(codes_of(4, 12))
        with pytest.raises(ValueError, match="N must be a multiple of 8"):
            layouts.pack_awq(codes_of(4, 16))

    def test_a_zero_point_of_zero_does_not_fit_version_1(self):
        with pytest.raises(ValueError, match="zero point of 0 cannot be stored"):
            layouts.pack_gptq_zeros(torch.zeros(8, 1, dtype=torch.uint8))
        with pytest.raises(ValueError, match="version 3"):
            layouts.pack_gptq_zeros(torch.ones(8, 1, dtype=torch.uint8), version=3)

    def test_unknown_layout_and_wrong_width(self):
        q = quantize(torch.randn(8, 128), PRESETS["W8A16"].weights)
        with pytest.raises(ValueError, match="one of row, words, plain, pack-quantized"):
            pack(q, "marlin")
        with pytest.raises(ValueError, match="4-bit codes in groups; not int8"):
            pack(q, "awq")


def bare(function):
    """The function as it runs outside the tests, without the checker of annotations around it."""
    return inspect.unwrap(function)


PACKERS = [layouts.pack_compressed_tensors, layouts.pack_compressed_tensors_zeros, layouts.pack_gptq,
           layouts.pack_gptq_zeros, layouts.pack_awq, layouts.pack_awq_zeros]  # fmt: skip
UNPACKERS = [lambda w: bare(layouts.unpack_compressed_tensors)(w, 64), bare(layouts.unpack_gptq),
             bare(layouts.unpack_gptq_zeros), bare(layouts.unpack_awq), bare(layouts.unpack_awq_zeros)]  # fmt: skip


class TestOnlyMatrices:
    """Weights of another rank are refused: `.T` of three axes would reverse them all."""

    @pytest.mark.parametrize("pack", PACKERS)
    def test_packing(self, pack):
        for shape in ((8,), (2, 8, 8), (1, 2, 8, 8)):
            with pytest.raises(ValueError, match="2 axes expected"):
                bare(pack)(torch.ones(shape, dtype=torch.uint8))
        with pytest.raises(TypeError, match="integers expected"):
            bare(pack)(torch.ones(8, 8))
        with pytest.raises(ValueError, match="does not fit 4 unsigned bits"):
            bare(pack)(torch.full((8, 8), 16, dtype=torch.uint8))

    @pytest.mark.parametrize("unpack", UNPACKERS)
    def test_unpacking(self, unpack):
        for shape in ((8,), (2, 8, 8)):
            with pytest.raises(ValueError, match="2 axes expected"):
                unpack(torch.zeros(shape, dtype=torch.int32))
        for dtype in (torch.int64, torch.uint8, torch.float32):
            with pytest.raises(TypeError, match="int32 expected"):
                unpack(torch.zeros(8, 8).to(dtype))

    def test_words_that_cut_a_code(self):
        with pytest.raises(ValueError, match="4 int32 words are not a whole number of 3-bit codes"):
            layouts.unpack_gptq(torch.zeros(4, 2, dtype=torch.int32), 3)


class TestZeroPoints:
    @pytest.mark.parametrize("version", ["1", "2", 0, 3, True, None, 1.0])
    def test_a_version_is_1_or_2(self, version):
        words = torch.zeros(1, 1, dtype=torch.int32)
        with pytest.raises(ValueError, match="GPTQ checkpoint version"):
            bare(layouts.unpack_gptq_zeros)(words, 4, version)
        with pytest.raises(ValueError, match="GPTQ checkpoint version"):
            bare(layouts.pack_gptq_zeros)(torch.ones(8, 1, dtype=torch.uint8), 4, version)

    @pytest.mark.parametrize("num_bits", [2, 4, 8])
    def test_all_ones_words_are_no_version_1(self, num_bits):
        """z = 2^B does not fit B bits (and 255 + 1 wraps to 0 in uint8); version 2 reads 2^B - 1."""
        words = torch.full((1, 1), -1, dtype=torch.int32)
        with pytest.raises(ValueError, match=f"z = {1 << num_bits} does not fit"):
            layouts.unpack_gptq_zeros(words, num_bits)
        assert (layouts.unpack_gptq_zeros(words, num_bits, 2) == (1 << num_bits) - 1).all()

    def test_group_indices(self):
        assert layouts.gptq_g_idx(6, 2).tolist() == [0, 0, 1, 1, 2, 2]
        for K, G in ((6, 4), (0, 1), (4, 0), (4, -1)):
            with pytest.raises(ValueError, match="does not divide|at least 1"):
                layouts.gptq_g_idx(K, G)
