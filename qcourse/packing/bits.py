"""n-bit codes ⇄ bytes or int32 words, densely, first code in the lowest bits.

One fact serves every width: **8 codes of B bits are B bytes**.

    B = 4   byte 0 = c1 c0     byte 1 = c3 c2    …     (a nibble each, low nibble first)
    B = 3   c0 = bits 0-2, c1 = bits 3-5, c2 = bits 6-8: a code may straddle two bytes

Codes are unsigned here (0 … 2^B-1); a signed int4 code q is stored as q + 8. Little-endian machines only.
"""

import torch

from qcourse.shapes import Integer, Shaped, Tensor, UInt8


def check_codes(codes: Tensor, num_bits: int) -> None:
    """Raise TypeError for non-integer codes and ValueError for codes outside 0 … 2^B-1, naming the first one."""
    if not 1 <= num_bits <= 8:
        raise ValueError(f"num_bits={num_bits}: codes have 1 to 8 bits")
    if codes.dtype.is_floating_point or codes.dtype == torch.bool:
        raise TypeError(f"codes are {codes.dtype}: integers expected (quantize first)")
    bad = (codes.long() < 0) | (codes.long() >> num_bits > 0)
    if bad.any():
        index = tuple(torch.nonzero(bad)[0].tolist())
        raise ValueError(
            f"code {codes[index].item()} at {index} does not fit {num_bits} unsigned bits (0…{(1 << num_bits) - 1}); "
            "signed codes must be offset first: q + 2^(B-1)"
        )


def pack_bytes(codes: Integer[Tensor, "*lead K"], num_bits: int) -> UInt8[Tensor, "*lead bytes"]:
    """Pack along the last axis into ceil(K·B/8) bytes; unused bits of the last byte are 0.

    >>> pack_bytes(torch.tensor([1, 2, 3]), 4)
    tensor([33,  3], dtype=torch.uint8)

    Raises what `check_codes` raises. Notebook 02 §3.
    """
    check_codes(codes, num_bits)
    K = codes.shape[-1]
    eights = torch.nn.functional.pad(codes.long(), (0, -K % 8)).unflatten(-1, (-1, 8))
    word = (eights << torch.arange(0, 8 * num_bits, num_bits, device=codes.device)).sum(-1)  # 8B bits of an int64
    dense = word.unsqueeze(-1).contiguous().view(torch.uint8)[..., :num_bits].flatten(-2)
    return dense[..., : -(-K * num_bits // 8)].clone(memory_format=torch.contiguous_format)


def unpack_bytes(packed: UInt8[Tensor, "*lead bytes"], num_bits: int, K: int) -> UInt8[Tensor, "*lead K"]:
    """The K codes that `pack_bytes` packed. Raises ValueError when the number of bytes does not belong to K."""
    if packed.shape[-1] != -(-K * num_bits // 8):
        raise ValueError(
            f"{packed.shape[-1]} bytes cannot hold K={K} codes of {num_bits} bits: {-(-K * num_bits // 8)} expected"
        )
    whole = torch.nn.functional.pad(packed, (0, -packed.shape[-1] % num_bits)).unflatten(-1, (-1, num_bits))
    word = torch.nn.functional.pad(whole, (0, 8 - num_bits)).contiguous().view(torch.int64)  # (*lead, K/8, 1)
    codes = (word >> torch.arange(0, 8 * num_bits, num_bits, device=packed.device)) & ((1 << num_bits) - 1)
    return codes.flatten(-2)[..., :K].to(torch.uint8)


def pack_words(codes: Integer[Tensor, "*lead K"], num_bits: int) -> Integer[Tensor, "*lead words"]:
    """Pack along the last axis into ceil(K·B/32) int32 words: the same bits as `pack_bytes`, padded to whole words.

    >>> pack_words(torch.arange(8), 4)  # 0x76543210
    tensor([1985229328], dtype=torch.int32)
    """
    packed = pack_bytes(codes, num_bits)
    return torch.nn.functional.pad(packed, (0, -packed.shape[-1] % 4)).contiguous().view(torch.int32)


def unpack_words(words: Integer[Tensor, "*lead words"], num_bits: int, K: int) -> UInt8[Tensor, "*lead K"]:
    """The K codes that `pack_words` packed. Raises TypeError unless int32, ValueError when the word count is not K's."""
    if words.dtype != torch.int32:
        raise TypeError(f"words are {words.dtype}: int32 expected")
    if words.shape[-1] != -(-K * num_bits // 32):
        raise ValueError(
            f"{words.shape[-1]} words cannot hold K={K} codes of {num_bits} bits: {-(-K * num_bits // 32)} expected"
        )
    as_bytes = words.contiguous().view(torch.uint8)
    return unpack_bytes(as_bytes[..., : -(-K * num_bits // 8)], num_bits, K)


def pack_nibbles(codes: Integer[Tensor, "*lead K"]) -> UInt8[Tensor, "*lead half"]:
    """Two 4-bit codes a byte, the even column in the low nibble: byte = c[2i] | c[2i+1] << 4.

    >>> pack_nibbles(torch.tensor([1, 2]))
    tensor([33], dtype=torch.uint8)

    Raises ValueError for an odd K: half a byte would be lost or invented.
    """
    if codes.shape[-1] % 2:
        raise ValueError(f"K={codes.shape[-1]} is odd: two codes share a byte, so pad K to {codes.shape[-1] + 1} first")
    return pack_bytes(codes, 4)


def unpack_nibbles(packed: UInt8[Tensor, "*lead half"]) -> UInt8[Tensor, "*lead K"]:
    """Inverse of `pack_nibbles`: low nibble first."""
    return torch.stack((packed & 0xF, packed >> 4), dim=-1).flatten(-2)


def to_unsigned(codes: Shaped[Tensor, "*shape"], num_bits: int) -> UInt8[Tensor, "*shape"]:
    """Signed codes -2^(B-1) … → 0 … 2^B-1, by adding 2^(B-1) (int4: q + 8). Unsigned (uint8) codes pass through."""
    return codes if codes.dtype == torch.uint8 else (codes.int() + (1 << (num_bits - 1))).to(torch.uint8)


def to_signed(codes: UInt8[Tensor, "*shape"], num_bits: int) -> Integer[Tensor, "*shape"]:
    """Inverse of `to_unsigned`: int8 codes centred on 0."""
    return (codes.int() - (1 << (num_bits - 1))).to(torch.int8)
