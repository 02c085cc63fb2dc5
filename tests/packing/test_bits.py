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
