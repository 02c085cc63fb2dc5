"""The blocks of GGUF, bit by bit: raw rows (N, bytes) ⇄ codes in the order of the weights, scales, and scales of scales.

A block is a run of fields. Whatever a field holds, it is packed in one way, with two numbers: *bits* and *width*.
`width` neighbouring bytes hold first `width` codes in their lowest bits, then the next `width` codes above them, and so on:

    bits 4, width 16     byte i  = c[i + 16] c[i]                          16 bytes hold 32 codes
    bits 2, width 32     byte i  = c[i + 96] c[i + 64] c[i + 32] c[i]      32 bytes hold 128 codes, the next 32 the next 128
    bits 1, width 1      byte i  = c[8i + 7] … c[8i]                       a plain bit mask

5 and 6 bits are two such *planes*: the low bits in one field, the high ones in another. The blocks, in file order:

    32 weights   bytes  fields                                        w =
    Q4_0         18     d f16 · qs 16                                 d·(q - 8)
    Q4_1         20     d f16 · m f16 · qs 16                         d·q + m
    Q5_0         22     d f16 · qh 4 (bit 4) · qs 16 (bits 0-3)       d·(q - 16)
    Q5_1         24     d f16 · m f16 · qh 4 · qs 16                  d·q + m
    Q8_0         34     d f16 · qs 32 (int8)                          d·q
    IQ4_NL       18     d f16 · qs 16                                 d·table[q]
    MXFP4        17     e · qs 16                                     2^(e - 127)·E2M1[q]

    256 weights
    TQ2_0        66     qs 64 · d f16                                 d·(q - 1), q: 0, 1, 2
                        (16 sub-blocks of 16 weights, or 8 of 32; scale code s and min code m of each)
    Q2_K         84     scales 16 (m s) · qs 64 · d f16 · dmin f16    d·s·q - dmin·m           s, m: 4 bits
    Q3_K         110    hmask 32 (bit 2) · qs 64 (bits 0-1)           d·(s - 32)·(q - 4)       s: 6 bits
                        · scales 12 · d f16
    Q4_K         144    d f16 · dmin f16 · scales 12 · qs 128         d·s·q - dmin·m           s, m: 6 bits
    Q5_K         176    d f16 · dmin f16 · scales 12 · qh 32          d·s·q - dmin·m           s, m: 6 bits
                        (bit 4) · qs 128 (bits 0-3)
    Q6_K         210    ql 128 (bits 0-3) · qh 64 (bits 4-5)          d·s·(q - 32)             s: int8
                        · scales 16 (int8) · d f16

The 12 bytes of scales hold 16 codes of 6 bits. Q3_K: bits 0-3 of all sixteen, width 8, then bits 4-5, width 4.
Q4_K and Q5_K (s and m of sub-blocks 0-7, high bits left):

    byte 0-3    s[i + 4] bits 5-4 · s[i] 6 bits          byte 8-11   m[i + 4] bits 3-0 · s[i + 4] bits 3-0
    byte 4-7    m[i + 4] bits 5-4 · m[i] 6 bits

Every pattern of bits is legal, so `join(split(raw, kind), kind)` is `raw`, byte for byte; float16 stays untouched bits.
Source: ggml's `ggml-common.h` and `ggml-quants.c`; tests/interop compares with gguf-py and libgguf.
"""

from dataclasses import dataclass

import torch

from qcourse.packing.gguf_bits import SCALES, flat, gather, halves, signed, spread, unsigned
from qcourse.shapes import Float, Integer, Tensor, UInt8


@dataclass(frozen=True)
class BlockType:
    """A row of the table above: `fields` name → bytes, `planes` of the codes (field, bits, width), lowest bits first."""

    weights: int
    fields: dict[str, int]
    planes: tuple[tuple[str, int, int], ...]
    offset: int | None = None  # signed codes are the stored ones minus this; None: unsigned

    @property
    def bytes(self) -> int:
        """Bytes of a block."""
        return sum(self.fields.values())


LOW = ("qs", 4, 16)
SUB_BLOCKS = {"Q4_K": 8, "Q5_K": 8}  # of 32 weights; the other K-quants have 16 of 16
SUPER = {"d": 2, "dmin": 2, "scales": 12}
BLOCKS = {
    "Q4_0": BlockType(32, {"d": 2, "qs": 16}, (LOW,), 8),
    "Q4_1": BlockType(32, {"d": 2, "m": 2, "qs": 16}, (LOW,)),
    "Q5_0": BlockType(32, {"d": 2, "qh": 4, "qs": 16}, (LOW, ("qh", 1, 1)), 16),
    "Q5_1": BlockType(32, {"d": 2, "m": 2, "qh": 4, "qs": 16}, (LOW, ("qh", 1, 1))),
    "Q8_0": BlockType(32, {"d": 2, "qs": 32}, (("qs", 8, 32),), 0),  # two's complement: nothing to subtract
    "IQ4_NL": BlockType(32, {"d": 2, "qs": 16}, (LOW,)),
    "MXFP4": BlockType(32, {"e": 1, "qs": 16}, (LOW,)),
    "TQ2_0": BlockType(256, {"qs": 64, "d": 2}, (("qs", 2, 32),)),
    "Q2_K": BlockType(256, {"scales": 16, "qs": 64, "d": 2, "dmin": 2}, (("qs", 2, 32),)),
    "Q3_K": BlockType(256, {"hmask": 32, "qs": 64, "scales": 12, "d": 2}, (("qs", 2, 32), ("hmask", 1, 32)), 4),
    "Q4_K": BlockType(256, SUPER | {"qs": 128}, (("qs", 4, 32),)),
    "Q5_K": BlockType(256, SUPER | {"qh": 32, "qs": 128}, (("qs", 4, 32), ("qh", 1, 32))),
    "Q6_K": BlockType(256, {"ql": 128, "qh": 64, "scales": 16, "d": 2}, (("ql", 4, 64), ("qh", 2, 32)), 32),
}


@dataclass(frozen=True)
class Blocks:
    """What a row of blocks holds. Signed codes are int8, unsigned ones uint8; absent parts are None.

    codes (N, K) in the order of the weights · d, m (N, K / block): float16 scale (MXFP4: the exponent's byte) and minimum of
    a block, m with the file's own sign (Q4_1 adds it, Q2_K subtracts it) · scales, mins (N, K / sub-block): codes of the
    sub-blocks.
    """

    codes: Integer[Tensor, "N K"]
    d: Float[Tensor, "N blocks"] | UInt8[Tensor, "N blocks"]
    m: Float[Tensor, "N blocks"] | None = None
    scales: Integer[Tensor, "N subs"] | None = None
    mins: Integer[Tensor, "N subs"] | None = None


def split(raw: UInt8[Tensor, "N bytes"], kind: str) -> Blocks:
    """Take the rows apart.

    >>> row = torch.tensor([[0x00, 0x3C] + [0x98] * 16], dtype=torch.uint8)  # d = 1.0, low nibbles 8, high nibbles 9
    >>> split(row, "Q4_0").codes[0, 15:17]
    tensor([0, 1], dtype=torch.int8)

    Raises ValueError for an unknown kind, or rows that are not whole blocks.
    """
    block = block_type(kind)
    if raw.shape[-1] % block.bytes:
        raise ValueError(f"{raw.shape[-1]} bytes in a row: {kind} has blocks of {block.bytes}")
    count = raw.shape[-1] // block.bytes
    parts = torch.split(raw.unflatten(-1, (count, block.bytes)), list(block.fields.values()), -1)
    field = dict(zip(block.fields, parts, strict=True))  # each (N, blocks, bytes)
    codes, at = 0, 0
    for name, bits, width in block.planes:
        codes, at = codes | spread(field[name], bits, width) << at, at + bits
    scales, mins = SCALES[kind][0](field["scales"]) if kind in SCALES else (None, None)
    m = next((halves(field[name]) for name in ("m", "dmin") if name in field), None)
    d = halves(field["d"]) if "d" in field else flat(field["e"])
    return Blocks(flat(signed(codes, block.offset)), d, m, flat(scales), flat(mins))


def join(blocks: Blocks, kind: str) -> UInt8[Tensor, "N bytes"]:
    """Put the rows together again: the inverse of `split`, bit for bit.

    Raises ValueError for an unknown kind, and for a part that is missing, not the kind's, misshapen or of another dtype.
    """
    block = block_type(kind)
    check_parts(blocks, kind)
    count = blocks.d.shape[-1]
    codes = unsigned(blocks.codes.unflatten(-1, (count, block.weights)), block.offset)
    field, at = {}, 0
    for name, bits, width in block.planes:
        field[name], at = gather(codes >> at, bits, width), at + bits
    for name, half in {"d": blocks.d, "m": blocks.m, "dmin": blocks.m}.items():
        if name in block.fields:
            field[name] = half.clone(memory_format=torch.contiguous_format).view(torch.uint8).unflatten(-1, (count, 2))
    if "e" in block.fields:
        field["e"] = blocks.d.unsqueeze(-1)
    if kind in SCALES:
        per = SUB_BLOCKS.get(kind, 16)
        subs = [None if x is None else x.unflatten(-1, (count, per)) for x in (blocks.scales, blocks.mins)]
        field["scales"] = SCALES[kind][1](*subs)
    return torch.cat([field[name] for name in block.fields], dim=-1).flatten(-2)


def check_parts(blocks: Blocks, kind: str) -> None:
    """Raise ValueError unless `blocks` has just the parts of the kind, in their dtypes and shapes."""
    block, (N, K) = BLOCKS[kind], blocks.codes.shape
    count = K // block.weights
    code = torch.uint8 if block.offset is None else torch.int8
    legal = {
        "codes": (code, (N, count * block.weights)),
        "d": (torch.uint8 if "e" in block.fields else torch.float16, (N, count)),
    }
    if "m" in block.fields or "dmin" in block.fields:
        legal["m"] = (torch.float16, (N, count))
    if kind in SCALES:
        subs = (N, count * SUB_BLOCKS.get(kind, 16))
        legal["scales"] = (torch.int8 if kind in ("Q3_K", "Q6_K") else torch.uint8, subs)
    if "dmin" in block.fields:
        legal["mins"] = (torch.uint8, subs)
    for name, part in vars(blocks).items():
        given = None if part is None else (part.dtype, tuple(part.shape))
        if given != legal.get(name):
            raise ValueError(f"{kind}: {name} is {given}, expected {legal.get(name)}")


def block_type(kind: str) -> BlockType:
    """The row of `BLOCKS`. Raises ValueError naming the known ones."""
    if kind not in BLOCKS:
        raise ValueError(f"block type {kind!r}: known are {', '.join(BLOCKS)}")
    return BLOCKS[kind]
