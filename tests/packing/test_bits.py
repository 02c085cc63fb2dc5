import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qcourse.packing import bits

WIDTHS = st.sampled_from([2, 3, 4, 8])


def codes_of(rows, K, num_bits):
    return torch.randint(0, 1 << num_bits, (rows, K), dtype=torch.uint8)


@given(rows=st.integers(1, 5), K=st.integers(1, 70), num_bits=WIDTHS)
def test_bytes_round_trip_and_size(rows, K, num_bits):
    codes = codes_of(rows, K, num_bits)
    packed = bits.pack_bytes(codes, num_bits)
    assert packed.shape == (rows, -(-K * num_bits // 8))
    assert torch.equal(bits.unpack_bytes(packed, num_bits, K), codes)


@given(rows=st.integers(1, 5), K=st.integers(1, 70), num_bits=WIDTHS)
def test_words_round_trip_and_size(rows, K, num_bits):
    codes = codes_of(rows, K, num_bits)
    words = bits.pack_words(codes, num_bits)
    assert words.dtype == torch.int32 and words.shape == (rows, -(-K * num_bits // 32))
    assert torch.equal(bits.unpack_words(words, num_bits, K), codes)


@given(K=st.integers(1, 40), num_bits=WIDTHS)
def test_bytes_are_the_bits_of_one_big_integer(K, num_bits):
    """A second implementation: Python's own big integers."""
    codes = codes_of(1, K, num_bits)[0]
    big = sum(int(c) << (num_bits * i) for i, c in enumerate(codes))
    assert bytes(bits.pack_bytes(codes, num_bits).tolist()) == big.to_bytes(-(-K * num_bits // 8), "little")


@given(half=st.integers(1, 40))
def test_nibbles_are_the_four_bit_case(half):
    codes = codes_of(3, 2 * half, 4)
    packed = bits.pack_nibbles(codes)
    assert torch.equal(packed, codes[:, 0::2] | codes[:, 1::2] << 4)
    assert torch.equal(bits.unpack_nibbles(packed), codes)


def test_64_three_bit_codes_fill_6_words():
    assert bits.pack_words(codes_of(1, 64, 3), 3).shape == (1, 6)


def test_signed_and_back():
    q = torch.arange(-8, 8, dtype=torch.int8)
    assert bits.to_unsigned(q, 4).tolist() == list(range(16))
    assert torch.equal(bits.to_signed(bits.to_unsigned(q, 4), 4), q)


class TestBadInput:
    def test_odd_k_has_no_nibble_to_share(self):
        with pytest.raises(ValueError, match="K=5 is odd"):
            bits.pack_nibbles(torch.zeros(1, 5, dtype=torch.uint8))

    def test_signed_codes_are_named(self):
        with pytest.raises(ValueError, match=r"code -1 at \(0, 2\).*offset first"):
            bits.pack_bytes(torch.tensor([[0, 3, -1]]), 4)

    def test_codes_too_large(self):
        with pytest.raises(ValueError, match="code 16"):
            bits.pack_words(torch.tensor([1, 16]), 4)

    def test_floats_are_not_codes(self):
        with pytest.raises(TypeError, match="quantize first"):
            bits.check_codes(torch.zeros(3), 4)

    def test_wrong_k_on_unpack(self):
        with pytest.raises(ValueError, match="3 bytes cannot hold K=8"):
            bits.unpack_bytes(torch.zeros(1, 3, dtype=torch.uint8), 4, 8)
        with pytest.raises(ValueError, match="words cannot hold"):
            bits.unpack_words(torch.zeros(1, 3, dtype=torch.int32), 4, 8)
        with pytest.raises(TypeError, match="int32 expected"):
            bits.unpack_words(torch.zeros(1, 3, dtype=torch.int64), 4, 24)


def bare(function):
    """The function as it runs outside the tests, without the checker of annotations around it."""
    return inspect.unwrap(function)


WRONG_STORAGE = [torch.int8, torch.int16, torch.int64, torch.float32, torch.bool]


class TestWhatIsNoStorage:
    """A dtype or a rank that nobody packed is said; it is never read as something else."""

    def test_a_nibble_of_11_in_int8_is_not_minus_5(self):
        packed = bits.pack_nibbles(torch.tensor([1, 11], dtype=torch.uint8))
        assert bits.unpack_nibbles(packed).tolist() == [1, 11]
        with pytest.raises(TypeError, match="int8: uint8 expected"):
            bare(bits.unpack_nibbles)(packed.view(torch.int8))

    @pytest.mark.parametrize("dtype", WRONG_STORAGE)
    def test_every_reader_knows_its_storage(self, dtype):
        t = torch.zeros(2, 4).to(dtype)
        for call in (lambda: bare(bits.unpack_nibbles)(t), lambda: bare(bits.unpack_bytes)(t, 4, 8)):
            with pytest.raises(TypeError, match="uint8 expected"):
                call()
        with pytest.raises(TypeError, match="int32 expected"):
            bare(bits.unpack_words)(t, 4, 32)
        with pytest.raises(TypeError, match="uint8 expected|integers expected"):
            bare(bits.to_signed)(t, 4)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
    def test_every_writer_wants_integers(self, dtype):
        t = torch.zeros(2, 8).to(dtype)
        for name in ("pack_bytes", "pack_words", "to_unsigned"):
            with pytest.raises(TypeError):  # by us, or one call deeper by the tests' checker of annotations
                bare(getattr(bits, name))(t, 4)
        with pytest.raises(TypeError, match="integers expected"):
            bare(bits.pack_nibbles)(t)

    @pytest.mark.parametrize("num_bits", [0, -1, 9, 33])
    def test_widths_outside_1_to_8(self, num_bits):
        codes, words = torch.zeros(1, 8, dtype=torch.uint8), torch.zeros(1, 8, dtype=torch.int32)
        calls = {
            "pack_bytes": (codes, num_bits), "pack_words": (codes, num_bits), "unpack_bytes": (codes, num_bits, 8),
            "unpack_words": (words, num_bits, 8), "to_unsigned": (codes, num_bits), "to_signed": (codes, num_bits),
        }  # fmt: skip
        for name, args in calls.items():
            with pytest.raises(ValueError, match="1 to 8"):
                getattr(bits, name)(*args)

    @pytest.mark.parametrize("num_bits", ["4", 4.0, True, None])
    def test_a_width_is_an_int(self, num_bits):
        with pytest.raises(TypeError, match="an int expected"):
            bare(bits.pack_bytes)(torch.zeros(1, 8, dtype=torch.uint8), num_bits)

    def test_no_axis_no_list_no_negative_count(self):
        for call in (bits.pack_nibbles, bits.unpack_nibbles, lambda t: bits.pack_bytes(t, 4)):
            with pytest.raises((ValueError, TypeError), match="axes expected|shape|type"):
                bare(call)(torch.tensor(3, dtype=torch.uint8))
            with pytest.raises(TypeError):
                bare(call)([1, 2])
        with pytest.raises(ValueError, match="K=-1: at least 0"):
            bits.unpack_bytes(torch.zeros(1, 0, dtype=torch.uint8), 4, -1)

    def test_an_offset_never_wraps(self):
        with pytest.raises(ValueError, match=r"code 8 does not fit 4 signed bits \(-8…7\)"):
            bits.to_unsigned(torch.tensor([7, 8], dtype=torch.int8), 4)
        with pytest.raises(ValueError, match="code 300 does not fit 8 signed"):
            bits.to_unsigned(torch.tensor([300]), 8)
        for function in (bits.to_unsigned, bits.to_signed):
            with pytest.raises(ValueError, match="code 16"):
                function(torch.tensor([16], dtype=torch.uint8), 4)
