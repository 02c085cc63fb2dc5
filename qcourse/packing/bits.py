"""n-bit codes ⇄ bytes or int32 words, densely, first code in the lowest bits.

One fact serves every width: **8 codes of B bits are B bytes**.

    B = 4   byte 0 = c1 c0     byte 1 = c3 c2    …     (a nibble each, low nibble first)
    B = 3   c0 = bits 0-2, c1 = bits 3-5, c2 = bits 6-8: a code may straddle two bytes

Codes are unsigned here (0 … 2^B-1); a signed int4 code q is stored as q + 8. Little-endian machines only.
"""

import torch

from qcourse.shapes import Integer, Shaped, Tensor, UInt8

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64)


def check_tensor(name: str, t: object, dtypes: tuple, rank: int | None = None) -> None:
    """Raise TypeError for no tensor or another dtype, ValueError for another rank (None: one axis or more)."""
    if not isinstance(t, torch.Tensor):
        raise TypeError(f"{name} is a {type(t).__name__}: a torch tensor expected")
    if t.dtype not in dtypes:
        want = "integers" if dtypes is INTEGERS else " or ".join(str(d).removeprefix("torch.") for d in dtypes)
        raise TypeError(f"{name} are {t.dtype}: {want} expected" + (" (quantize first)" if dtypes is INTEGERS else ""))
    if t.dim() < 1 or rank not in (None, t.dim()):
        raise ValueError(f"{name} of shape {tuple(t.shape)}: {rank or 'at least 1'} axes expected")


def check_count(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise TypeError unless `value` is an int (True is none), ValueError unless low ≤ value ≤ high."""
    if type(value) is not int:
        raise TypeError(f"{name}={value!r}: an int expected")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name}={value}: {f'at least {low}' if high is None else f'{low} to {high}'} expected")


def check_codes(codes: Tensor, num_bits: object, rank: int | None = None) -> None:
    """Raise TypeError for non-integer codes and ValueError for codes outside 0 … 2^B-1, naming the first one."""
    check_count("num_bits", num_bits, 1, 8)
    check_tensor("codes", codes, INTEGERS, rank)
    wide = codes.long() if codes.dtype in (torch.uint16, torch.uint32, torch.uint64) else codes  # which torch cannot compare
    if not wide.numel() or wide.is_meta:
        return
    low, high = wide.aminmax()  # one pass, without a temporary of their size
    if low < 0 or high > (1 << num_bits) - 1:
        bad = (wide.long() < 0) | (wide.long() > (1 << num_bits) - 1)
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
    if 8 % num_bits == 0:  # no code straddles two bytes: shift and or, a byte at a time
        per = 8 // num_bits
        first, *rest = torch.nn.functional.pad(codes.to(torch.uint8), (0, -K % per)).unflatten(-1, (-1, per)).unbind(-1)
        return sum((c << (num_bits * i) for i, c in enumerate(rest, 1)), first).contiguous()
    eights = torch.nn.functional.pad(codes.long(), (0, -K % 8)).unflatten(-1, (-1, 8))
    word = (eights << torch.arange(0, 8 * num_bits, num_bits, device=codes.device)).sum(-1)  # 8B bits of an int64
    dense = word.unsqueeze(-1).contiguous().view(torch.uint8)[..., :num_bits].flatten(-2)
    return dense[..., : -(-K * num_bits // 8)].clone(memory_format=torch.contiguous_format)


def unpack_bytes(packed: UInt8[Tensor, "*lead bytes"], num_bits: int, K: int) -> UInt8[Tensor, "*lead K"]:
    """The K codes that `pack_bytes` packed.

    Raises TypeError unless uint8, ValueError when the number of bytes does not belong to K.
    """
    check_count("num_bits", num_bits, 1, 8)
    check_count("K", K, 0)
    check_tensor("bytes", packed, (torch.uint8,))
    if packed.shape[-1] != -(-K * num_bits // 8):
        raise ValueError(
            f"{packed.shape[-1]} bytes cannot hold K={K} codes of {num_bits} bits: {-(-K * num_bits // 8)} expected"
        )
    if 8 % num_bits == 0:
        mask = (1 << num_bits) - 1
        parts = [(packed >> shift) & mask for shift in range(0, 8, num_bits)]
        return torch.stack(parts, dim=-1).flatten(-2)[..., :K].contiguous()
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
    check_count("num_bits", num_bits, 1, 8)
    check_count("K", K, 0)
    check_tensor("words", words, (torch.int32,))
    if words.shape[-1] != -(-K * num_bits // 32):
        raise ValueError(
            f"{words.shape[-1]} words cannot hold K={K} codes of {num_bits} bits: {-(-K * num_bits // 32)} expected"
        )
    flat = words.contiguous().view(-1)  # (of one word a row, "contiguous" says nothing about the stride of the last axis)
    as_bytes = flat.view(torch.uint8).view(*words.shape[:-1], 4 * words.shape[-1])
    return unpack_bytes(as_bytes[..., : -(-K * num_bits // 8)], num_bits, K)


def pack_nibbles(codes: Integer[Tensor, "*lead K"]) -> UInt8[Tensor, "*lead half"]:
    """Two 4-bit codes a byte, the even column in the low nibble: byte = c[2i] | c[2i+1] << 4.

    >>> pack_nibbles(torch.tensor([1, 2]))
    tensor([33], dtype=torch.uint8)

    Raises ValueError for an odd K: half a byte would be lost or invented.
    """
    check_tensor("codes", codes, INTEGERS)
    if codes.shape[-1] % 2:
        raise ValueError(f"K={codes.shape[-1]} is odd: two codes share a byte, so pad K to {codes.shape[-1] + 1} first")
    return pack_bytes(codes, 4)


def unpack_nibbles(packed: UInt8[Tensor, "*lead half"]) -> UInt8[Tensor, "*lead K"]:
    """Inverse of `pack_nibbles`: low nibble first.

    Raises TypeError unless uint8: `>>` of a negative int8 drags the sign along, and 11 would come back as -5.
    """
    check_tensor("bytes", packed, (torch.uint8,))
    return torch.stack((packed & 0xF, packed >> 4), dim=-1).flatten(-2)


def to_unsigned(codes: Shaped[Tensor, "*shape"], num_bits: int) -> UInt8[Tensor, "*shape"]:
    """Signed codes -2^(B-1) … → 0 … 2^B-1, by adding 2^(B-1) (int4: q + 8). Unsigned (uint8) codes pass through.

    Raises TypeError for non-integer codes, ValueError for a code that does not fit B bits.
    """
    check_count("num_bits", num_bits, 1, 8)
    check_tensor("codes", codes, INTEGERS)
    if codes.dtype == torch.uint8:
        check_codes(codes, num_bits)
        return codes
    half = 1 << (num_bits - 1)
    wide = codes.long() if codes.dtype in (torch.uint16, torch.uint32, torch.uint64) else codes
    low, high = (int(end) for end in wide.aminmax()) if wide.numel() else (0, 0)  # as int: 128 is no int8
    if low < -half or high >= half:
        bad = (wide.long() < -half) | (wide.long() >= half)
        raise ValueError(f"code {codes[bad][0].item()} does not fit {num_bits} signed bits ({-half}…{half - 1})")
    return wide.to(torch.uint8) + half  # modulo 256, so that no temporary is wider than the codes


def to_signed(codes: UInt8[Tensor, "*shape"], num_bits: int) -> Integer[Tensor, "*shape"]:
    """Inverse of `to_unsigned`: int8 codes centred on 0. Raises TypeError unless uint8, ValueError beyond 2^B-1."""
    check_codes(codes, num_bits)
    check_tensor("codes", codes, (torch.uint8,))
    return (codes - (1 << (num_bits - 1))).view(torch.int8)  # modulo 256, as above
