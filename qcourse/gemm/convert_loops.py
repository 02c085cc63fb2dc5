"""Packed weights → fp32, bit for bit as `numerics.quantize.dequantize` has them: the same products in the same order.

Two loops, made for each format out of numbers: GGUF's blocks (`blocks`), and codes one behind the other along K (`along_k`).
"""

import numpy as np

from qcourse.gemm.arguments import matrix, take
from qcourse.gemm.convert_vectors import dense, joined, looked_up, lowered, plane, scaled, steps, store_within
from qcourse.gemm.jit import exact, part

f32, u32, u8 = np.float32, np.uint32, np.uint8
MOST = np.finfo(f32).max  # of scales
NIBBLES, SIXES, SIGNED_SIXES, INT8 = 1, 2, 3, 4  # how the scales of sub-blocks lie in their bytes; 0: there are none


@part
def piece(a, N):
    """The next rows that no thread has taken yet (first, end), of a[12] pieces; first == end: all are taken. There are many
    pieces, so that a thread that comes late, or that another program held up, leaves its work to the others."""
    mine = take(a)
    return (N * mine // a[12], N * (mine + 1) // a[12]) if mine < a[12] else (0, 0)


@part
def half(w, n, at):
    """The fp16 in two bytes, as fp32: sign and the rest 13 bits up, then the exponent's bias made good. Exact."""
    low, high = u32(w[n, at]), u32(w[n, at + 1])
    rest = u32(((high & u32(0x7F)) << u32(8) | low) << u32(13))
    value = u32(rest).view(f32) * f32(2.0**112)
    if rest >= u32(0x7C00 << 13):  # inf and NaN
        value = u32(rest | u32(0x7F800000)).view(f32)
    return -value if high > 127 else value


@part
def power(w, n, at):
    """2^(e - 127) of a byte e: E8M0, whose 255 is NaN."""
    e = u32(w[n, at])
    return u32(u32(0x00400000) if e == 0 else u32(0x7FC00000) if e == 255 else e << u32(23)).view(f32)


@part
def within(value):
    """What overflows becomes the largest number; NaN stays."""
    return MOST if value > MOST else -MOST if value < -MOST else value


@part
def sub_scale(kind, w, n, at, j):
    """Codes (scale, minimum) of sub-block j; their bytes begin at w[n, at]. The pictures: packing.gguf."""
    if kind == NIBBLES:
        return np.int64(w[n, at + j] & 15), np.int64(w[n, at + j] >> 4)
    if kind == SIGNED_SIXES:
        low = (np.int64(w[n, at + j % 8]) >> (4 * (j // 8))) & 15
        return (low | ((np.int64(w[n, at + 8 + j % 4]) >> (2 * (j // 4))) & 3) << 4) - 32, np.int64(0)
    if kind == INT8:
        return (np.int64(w[n, at + j]) ^ 128) - 128, np.int64(0)
    if j < 4:
        return np.int64(w[n, at + j] & 63), np.int64(w[n, at + j + 4] & 63)
    rest = np.int64(w[n, at + j + 4])
    return rest & 15 | np.int64(w[n, at + j - 4] >> 6) << 4, rest >> 4 | np.int64(w[n, at + j] >> 6) << 4


@part
def of_plane(w, n, at, k, bits, width):
    """Sixteen codes from weight k of a block on, in a plane (packing.gguf) that begins at w[n, at]."""
    run, rest = k // (width * (8 // bits)), k % (width * (8 // bits))
    return plane(w, n, at + run * width + rest % width, bits * (rest // width), (1 << bits) - 1)


def blocks(sizes, low, high, places, scales, offset, exponent):
    """sizes: weights and bytes of a block · low, high: planes (byte, bits, width), width 0: none · places of d and m or -1
    scales: (kind, byte, weights of a sub-block) · offset: of the codes, -128: int8, -1: a table says · exponent: whether d
    is one byte, E8M0."""
    (weights, size), (at, bits, width), (high_at, high_bits, high_width) = sizes, low, high
    (d_at, m_at), (kind, scales_at, sub) = places, scales
    flip, less = (128, 128) if offset == -128 else (0, max(offset, 0))
    sub, listed, one_by_one = sub or weights, offset == -1, high_width == 1

    @exact
    def dequantize_blocks(a):
        """a: two · blocks (N, bytes) · out (N, K) · the values of codes (1, 16) · bits of the largest number · pieces."""
        w, out, table, limit = matrix(a, 2, u8), matrix(a, 5, f32), matrix(a, 8, f32), np.int32(a[11]).view(f32)
        n0, n1 = piece(a, len(out))
        while n0 < n1:
            for n in range(n0, n1):
                for i in range(out.shape[1] // weights):
                    begin = i * size
                    d = power(w, n, begin + d_at) if exponent else half(w, n, begin + d_at)
                    m = half(w, n, begin + m_at) if m_at >= 0 else f32(0)
                    for j in range(weights // sub):
                        s, z = d, -m
                        if kind:
                            s_code, m_code = sub_scale(kind, w, n, begin + scales_at, j)
                            s, z = within(d * f32(s_code)), within(m * f32(m_code))
                        for k in range(j * sub, j * sub + sub, 16):
                            codes = of_plane(w, n, begin + at, k, bits, width)
                            if one_by_one:
                                codes = joined(codes, dense(w, n, begin + high_at + k // 8, 1, 0), bits)
                            elif high_width:
                                codes = joined(codes, of_plane(w, n, begin + high_at, k, high_bits, high_width), bits)
                            v = scaled(looked_up(codes, table, 16) if listed else steps(codes, flip, less), s)
                            store_within(out, n, i * weights + k, lowered(v, z) if m_at >= 0 else v, limit)
            n0, n1 = piece(a, len(out))

    return dequantize_blocks


STEPS, WEIGHTS = 1, 2  # what zero points count; 0: there are none


def along_k(bits, swap, count, coded, zeros):
    """Codes of `bits` bits along K (swap: high nibble first), w = s·(q - z) or s·q - z. count: values of the table that says
    what codes mean, 0: they are the integers (code ^ flip) - less · coded: scales are bytes, and a table says theirs."""
    scale_type = u8 if coded else f32

    @exact
    def dequantize_along_k(a):
        """a: as above, codes for blocks · scales (R, C) · their table (1, 256) · zero points (R, C) · rows and columns under
        one scale · flip · less."""
        w, out, table, limit = matrix(a, 2, u8), matrix(a, 5, f32), matrix(a, 8, f32), np.int32(a[11]).view(f32)
        scale, scales, zero = matrix(a, 13, scale_type), matrix(a, 16, f32), matrix(a, 19, f32)
        n0, n1 = piece(a, len(out))
        while n0 < n1:
            for n in range(n0, n1):
                r = n // a[22]
                for g in range(scale.shape[1]):
                    s = scales[0, np.int64(scale[r, g])] if coded else f32(scale[r, g])
                    z = zero[r, g] if zeros else f32(0)
                    for k in range(g * a[23], min(g * a[23] + a[23], out.shape[1]), 16):
                        codes = dense(w, n, k // 8 * bits, bits, swap)
                        v = looked_up(codes, table, count) if count else steps(codes, a[24], a[25])
                        v = scaled(lowered(v, z) if zeros == STEPS else v, s)
                        store_within(out, n, k, lowered(v, z) if zeros == WEIGHTS else v, limit)
            n0, n1 = piece(a, len(out))

    return dequantize_along_k
