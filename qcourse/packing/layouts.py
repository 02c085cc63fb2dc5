"""Where three ecosystems put the same 4-bit codes. Each layout is a permutation of `bits.pack_words`.

    codes (N, K), unsigned          one int32 holds eight codes of …             shape of the words
    compressed-tensors              one row n, k = 8w … 8w+7                     (N, K/8)
    GPTQ                            one column of W.T: one n, k = 8w … 8w+7      (K/8, N)    = the above, transposed
    AWQ (GEMM)                      one k, n = 8w + 0,2,4,6,1,3,5,7              (K, N/8)

AWQ interleaves so that one 32-bit word, masked with 0x000F000F and shifted, yields pairs of neighbouring columns
in the two halves of a register. A kernel that expects one order and is handed another computes garbage without
any error: invariant 4. Zero points are packed along N in all three; GPTQ v1 stores z - 1.
Every function here takes matrices: it raises TypeError for another dtype and ValueError for another number of axes.
Sources: AutoGPTQ/GPTQModel `qlinear`, AutoAWQ `packing_utils`, compressed-tensors `pack_quantized`. Notebook 02 §4.
"""

import torch

from qcourse.packing.bits import check_codes, check_count, check_tensor, pack_words, unpack_words
from qcourse.shapes import Integer, Tensor, UInt8

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # nibble i of a word holds column 8w + AWQ_ORDER[i]
AWQ_INVERSE = (0, 4, 1, 5, 2, 6, 3, 7)  # column j of eight is found in nibble AWQ_INVERSE[j]
WORDS = (torch.int32,)


def whole_words(axis: str, size: int, num_bits: int) -> None:
    """Raise ValueError unless `size` codes of B bits fill whole int32 words."""
    if size * num_bits % 32:
        step = next(n for n in (4, 8, 16, 32) if n * num_bits % 32 == 0)
        raise ValueError(
            f"{axis}={size} codes of {num_bits} bits do not fill int32 words: {axis} must be a multiple of {step}"
        )


def codes_in(name: str, words: int, num_bits: int) -> int:
    """How many codes of B bits fill `words` int32 words. Raises ValueError when the last code would be cut."""
    check_count("num_bits", num_bits, 1, 8)
    if words * 32 % num_bits:
        raise ValueError(f"{name}: {words} int32 words are not a whole number of {num_bits}-bit codes")
    return words * 32 // num_bits


def pack_compressed_tensors(codes: UInt8[Tensor, "N K"], num_bits: int = 4) -> Integer[Tensor, "N words"]:
    """`weight_packed`: int32 (N, ceil(K·B/32)), along K. Rows end on a word, so K need not be a multiple."""
    check_codes(codes, num_bits, rank=2)
    return pack_words(codes, num_bits)


def unpack_compressed_tensors(words: Integer[Tensor, "N words"], K: int, num_bits: int = 4) -> UInt8[Tensor, "N K"]:
    """Inverse; K is `weight_shape[1]` in the file."""
    check_tensor("words", words, WORDS, rank=2)
    return unpack_words(words, num_bits, K)


def pack_compressed_tensors_zeros(zeros: UInt8[Tensor, "N groups"], num_bits: int = 4) -> Integer[Tensor, "words groups"]:
    """`weight_zero_point`: int32 (ceil(N·B/32), groups), along N."""
    check_codes(zeros, num_bits, rank=2)
    return pack_words(zeros.T.contiguous(), num_bits).T.contiguous()


def pack_gptq(codes: UInt8[Tensor, "N K"], num_bits: int = 4) -> Integer[Tensor, "words N"]:
    """`qweight`: int32 (K·B/32, N), along K, first code lowest.

        word[r, n] = Σ_j codes[n, 8r + j] << 4j

    Raises ValueError when K codes do not fill whole words.
    """
    check_codes(codes, num_bits, rank=2)
    whole_words("K", codes.shape[-1], num_bits)
    return pack_words(codes, num_bits).T.contiguous()


def unpack_gptq(qweight: Integer[Tensor, "words N"], num_bits: int = 4) -> UInt8[Tensor, "N K"]:
    """Inverse of `pack_gptq`: K = words · 32 / B. Raises ValueError when the words are not whole codes."""
    check_tensor("qweight words", qweight, WORDS, rank=2)
    return unpack_words(qweight.T.contiguous(), num_bits, codes_in("qweight", qweight.shape[0], num_bits))


def check_version(version: object) -> None:
    """Raise ValueError unless 1 or 2, as an int: "1" is not 1."""
    if type(version) is not int or version not in (1, 2):
        raise ValueError(f"GPTQ checkpoint version {version!r}: 1 (stores z - 1) or 2 (stores z)")


def pack_gptq_zeros(
    zeros: UInt8[Tensor, "N groups"], num_bits: int = 4, version: int = 1
) -> Integer[Tensor, "groups words"]:
    """`qzeros`: int32 (groups, N·B/32), along N; version 1 stores z - 1, version 2 stores z.

    Raises ValueError for z = 0 under version 1: -1 does not exist in B unsigned bits, and a subtraction on whole
    words would borrow from the neighbour. Symmetric int4 has z = 8: every v1 word reads 0x77777777.
    """
    check_codes(zeros, num_bits, rank=2)
    whole_words("N", zeros.shape[0], num_bits)
    check_version(version)
    if version == 1 and (zeros == 0).any():
        raise ValueError("GPTQ v1 stores z - 1, so a zero point of 0 cannot be stored: clamp z to 1 or write version 2")
    return pack_words((zeros.int() - int(version == 1)).T.contiguous(), num_bits)


def unpack_gptq_zeros(
    qzeros: Integer[Tensor, "groups words"], num_bits: int = 4, version: int = 1
) -> UInt8[Tensor, "N groups"]:
    """Inverse of `pack_gptq_zeros`.

    Raises ValueError for a stored 2^B-1 under version 1: it means z = 2^B, which no unsigned B bits hold, and kernels
    disagree about it (some add 1 and keep 2^B, some mask it back to 0). Nobody writes it who clamps z to 2^B-1.
    """
    check_version(version)
    check_tensor("qzeros words", qzeros, WORDS, rank=2)
    stored = unpack_words(qzeros, num_bits, codes_in("qzeros", qzeros.shape[1], num_bits))
    top = (1 << num_bits) - 1
    if version == 1 and (stored == top).any():
        raise ValueError(
            f"GPTQ v1 stores z - 1, and {top} is stored: z = {top + 1} does not fit {num_bits} unsigned bits, some kernels "
            f"read {top + 1} and others 0; a version 2 file (which stores z = {top} as it is) needs version=2"
        )
    return (stored + int(version == 1)).T.contiguous()


def pack_awq(codes: UInt8[Tensor, "N K"]) -> Integer[Tensor, "K words"]:
    """`qweight` of AWQ's GEMM layout: int32 (K, N/8), along N, interleaved 0,2,4,6,1,3,5,7 from the lowest nibble.

    Raises ValueError unless N is a multiple of 8. The order is its whole difference from a plain packing along N.
    """
    check_codes(codes, 4, rank=2)
    whole_words("N", codes.shape[0], 4)
    columns = codes.T.unflatten(-1, (-1, 8))[..., list(AWQ_ORDER)]  # (K, N/8, 8)
    return pack_words(columns.flatten(-2), 4)


def unpack_awq(qweight: Integer[Tensor, "K words"]) -> UInt8[Tensor, "N K"]:
    """Inverse of `pack_awq`."""
    check_tensor("qweight words", qweight, WORDS, rank=2)
    nibbles = unpack_words(qweight, 4, qweight.shape[-1] * 8).unflatten(-1, (-1, 8))
    return nibbles[..., list(AWQ_INVERSE)].flatten(-2).T.contiguous()


def pack_awq_zeros(zeros: UInt8[Tensor, "N groups"]) -> Integer[Tensor, "groups words"]:
    """`qzeros`: int32 (groups, N/8), the same order, storing z itself (no minus one)."""
    check_codes(zeros, 4, rank=2)
    return pack_awq(zeros)


def unpack_awq_zeros(qzeros: Integer[Tensor, "groups words"]) -> UInt8[Tensor, "N groups"]:
    """Inverse of `pack_awq_zeros`."""
    check_tensor("qzeros words", qzeros, WORDS, rank=2)
    return unpack_awq(qzeros)


def gptq_g_idx(K: int, group_size: int) -> Integer[Tensor, "K"]:
    """`g_idx` without act_order: the group of each input channel, 0 … K/G-1 in order, int32.

    Raises ValueError unless G divides K.
    """
    check_count("K", K, 1)
    check_count("group_size", group_size, 1)
    if K % group_size:
        raise ValueError(f"group_size={group_size} does not divide K={K}")
    return torch.arange(K, dtype=torch.int32) // group_size
