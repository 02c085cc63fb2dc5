"""How GGUF packs codes into bytes: planes of a width, float16 as untouched bits, and the scales of the K-quants.

The pictures are in `gguf.py`, where the blocks are put together from these.
"""

import torch

from qcourse.shapes import Float, Integer, Tensor, UInt8


def spread(field: UInt8[Tensor, "N blocks bytes"], bits: int, width: int) -> UInt8[Tensor, "N blocks codes"]:
    """Unpack one plane: code r·width + i of a run is bits r·B … of byte i."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=field.device).unsqueeze(-1)
    runs = field.unflatten(-1, (field.shape[-1] // width, 1, width)) >> shifts  # (N, blocks, runs, 8/B, width)
    return (runs & ((1 << bits) - 1)).flatten(-3)


def gather(codes: UInt8[Tensor, "N blocks codes"], bits: int, width: int) -> UInt8[Tensor, "N blocks bytes"]:
    """Inverse of `spread`; bits above the plane's are dropped."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=codes.device).unsqueeze(-1)
    runs = (codes & ((1 << bits) - 1)).unflatten(-1, (codes.shape[-1] * bits // (8 * width), 8 // bits, width)) << shifts
    return runs.sum(-2, dtype=torch.uint8).flatten(-2)


def flat(x):
    """(N, blocks, n) → (N, blocks·n), if there is any."""
    return None if x is None else x.flatten(-2).contiguous()


def halves(field: UInt8[Tensor, "N blocks 2"]) -> Float[Tensor, "N blocks"]:
    """Two bytes a float16, its bits untouched."""
    return field.clone(memory_format=torch.contiguous_format).view(torch.float16).squeeze(-1)  # aligned, own strides


def signed(codes: UInt8[Tensor, "*shape"], offset: int | None) -> Integer[Tensor, "*shape"]:
    """Stored codes minus their offset, as int8; unsigned ones (None) as they are. Wraps modulo 256, so nothing is lost."""
    return codes if offset is None else (codes - offset).view(torch.int8)


def unsigned(codes: Integer[Tensor, "*shape"], offset: int | None) -> UInt8[Tensor, "*shape"]:
    """Inverse of `signed`."""
    return codes if offset is None else codes.contiguous().view(torch.uint8) + offset


def split_nibbles(field):
    """Q2_K: low nibbles are scales, high ones mins."""
    return spread(field, 4, 16).chunk(2, -1)


def join_nibbles(scales, mins):
    """Inverse of `split_nibbles`."""
    return gather(torch.cat((scales, mins), -1), 4, 16)


def split_sixes(field):
    """Q4_K, Q5_K: eight scales and eight mins of 6 bits in 12 bytes."""
    first, rest = field[..., :8], spread(field[..., 8:], 4, 4)  # (s0-3 m0-3), (s4-7 m4-7, bits 0-3)
    rest = rest | first >> 6 << 4
    return [torch.cat((first[..., i : i + 4] & 63, rest[..., i : i + 4]), -1) for i in (0, 4)]


def join_sixes(scales, mins):
    """Inverse of `split_sixes`."""
    first = torch.cat((scales[..., :4], mins[..., :4]), -1)
    rest = torch.cat((scales[..., 4:], mins[..., 4:]), -1)
    return torch.cat((first | rest >> 4 << 6, gather(rest, 4, 4)), -1)


SCALES = {  # kind → (12 or 16 bytes → scales, mins), and back
    "Q2_K": (split_nibbles, join_nibbles),
    "Q3_K": (
        lambda x: (signed(spread(x[..., :8], 4, 8) | spread(x[..., 8:], 2, 4) << 4, 32), None),
        lambda s, _: torch.cat((gather(unsigned(s, 32), 4, 8), gather(unsigned(s, 32) >> 4, 2, 4)), -1),
    ),
    "Q4_K": (split_sixes, join_sixes),
    "Q5_K": (split_sixes, join_sixes),
    "Q6_K": (lambda x: (signed(x, 0), None), lambda s, _: unsigned(s, 0)),
}
