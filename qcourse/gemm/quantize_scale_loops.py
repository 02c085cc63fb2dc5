"""fp32 → codes, and scales beside them: integers, E4M3, the MX formats, NVFP4; the bytes of `pack(quantize(W, args), …)`.

Every task takes a: two · the address of W · the address of the codes · how many groups · a place for trouble · the address
of the scales, and what else it says. Groups lie behind each other in W. Trouble: gemm.quantize_loops.
Law: qcourse/numerics/scaling.py, two_level.py, and the grids' `encode`.
"""

import numpy as np

from qcourse.gemm.arguments import matrix, next_rows
from qcourse.gemm.jit import exact, part
from qcourse.gemm.lanes import (
    bits_of,
    each_second,
    lane,
    largest,
    magnitude,
    nearest,
    real_at,
    reals,
    reals_at,
    where,
    whole,
    write_bytes,
    write_first,
    write_number,
)
from qcourse.gemm.quantize_fits import between
from qcourse.gemm.quantize_store import half_bits, half_value

f32, i32 = np.float32, np.int32
INF = 0x7F800000  # its bits
LEAST = 2.0**-126  # normal number
GRIDS = {4: (1, 0, 6), 6: (3, 0, 7.5), 8: (3, -6, 448)}  # bits → of the mantissa, the least exponent, the largest number


@part
def power(e):
    """2^e, within fp32's normal range."""
    return i32((127 + e) << 23).view(f32)


@part
def loudest_bits(x, G):
    """The bits of max|w| of G weights at x."""
    most = bits_of(reals(f32(0)))
    for k in range(0, G, 16):
        top = bits_of(magnitude(reals_at(x + 4 * k)))
        most = where(top > most, top, most)
    return np.int64(largest(most))


@part
def float_codes(v, bits, mantissa, e_min, top):
    """FloatGrid.encode, lane by lane."""
    shift, size = 23 - mantissa, magnitude(v)
    size = where(size > f32(top), reals(f32(top)), size)
    known, small = bits_of(size), bits_of(size + power(e_min + shift)) - ((127 + e_min + shift) << 23)
    normal = (known + ((known >> shift) & 1) + ((1 << (shift - 1)) - 1 - ((126 + e_min) << 23))) >> shift
    return where(size < power(e_min), small, normal) | (((bits_of(v) >> 31) & 1) << (bits - 1))


@part
def write_dense(out, lo, hi, bits):
    """32 codes, densely, the first in the lowest bits; returns where the next 32 begin."""
    if bits == 8:
        write_bytes(out, lo)
        write_bytes(out + 16, hi)
    elif bits == 4:
        write_bytes(out, each_second(lo, hi, 0) | (each_second(lo, hi, 1) << 4))
    else:
        pairs = each_second(lo, hi, 0) | (each_second(lo, hi, 1) << 6)
        fours = each_second(pairs, pairs, 0) | (each_second(pairs, pairs, 1) << 12)
        for i in range(8):
            write_number(out + 3 * i, lane(fours, i), 3)
    return out + 4 * bits


def block_floats(bits: int, width: int):
    """The MX formats. width: bits of the mantissa to which the loudest weight is rounded first."""
    mantissa, e_min, top = GRIDS[bits]
    emax = 8 if bits == 8 else 2

    @exact
    def quantize_block_floats(a):
        """An exponent for 32 weights, a byte."""
        trouble = matrix(a, 5, np.int64)
        first, end = next_rows(a, a[4])
        while first < end:
            for i in range(first, end):
                x = a[2] + 128 * i
                loud = loudest_bits(x, 32) + (1 << (22 - width))
                if loud >= INF:
                    trouble[0, 0] = 1
                    return
                e = max((loud >> 23) - emax, 0)
                inverse = f32(1) / i32(e << 23 if e > 0 else 1 << 22).view(f32)
                lo = float_codes(reals_at(x) * inverse, bits, mantissa, e_min, top)
                write_dense(
                    a[3] + 4 * bits * i, lo, float_codes(reals_at(x + 64) * inverse, bits, mantissa, e_min, top), bits
                )
                write_number(a[8] + i, e, 1)
            first, end = next_rows(a, a[4])

    return quantize_block_floats


@part
def write_scale(at, s, kind):
    """s as fp32 (0), bf16 (1) or fp16 (2) at that place; what it is then, or 0 if fp16 cannot hold it to its precision."""
    bits = np.int64(f32(s).view(i32))
    if kind == 0:
        write_number(at, bits, 4)
        return s
    if kind == 1:
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        write_number(at, bits, 2)
        return i32(bits << 16).view(f32)
    if not power(-14) <= s <= f32(65504):
        return f32(0)
    write_number(at, half_bits(s), 2)
    return half_value(half_bits(s))


def scaled(bits: int, whole_numbers: int, kind: int):
    """Codes under max|w| / limit: integers or E4M3. kind: of the scales, see `write_scale`."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    limit = high + 0.5 if whole_numbers else 448

    @exact
    def quantize_scaled(a):
        """… · the weights of a group, a multiple of 32 · what is added to each code."""
        trouble, G = matrix(a, 5, np.int64), a[9]
        first, end = next_rows(a, a[4])
        while first < end:
            for i in range(first, end):
                x, out, loud = a[2] + 4 * G * i, a[3] + G * bits // 8 * i, loudest_bits(a[2] + 4 * G * i, G)
                s = i32(loud).view(f32) / f32(limit)
                s = write_scale(a[8] + (2 if kind else 4) * i, f32(1) if s == 0 else max(s, f32(LEAST)), kind)
                if loud >= INF or s == 0:
                    trouble[0, 0] = 1
                    return
                for k in range(0, G, 32):
                    lo, hi = reals_at(x + 4 * k) / s, reals_at(x + 4 * k + 64) / s
                    if whole_numbers:
                        lo, hi = between(nearest(lo), low, high), between(nearest(hi), low, high)
                        out = write_dense(out, whole(lo) + a[10], whole(hi) + a[10], bits)
                    else:
                        out = write_dense(out, float_codes(lo, 8, 3, -6, 448), float_codes(hi, 8, 3, -6, 448), bits)
            first, end = next_rows(a, a[4])

    return quantize_scaled


def nvfp4():
    """NVFP4 under a number g that divides."""

    @exact
    def quantize_nvfp4(a):
        """… · the address of g. 16 weights share an E4M3 scale."""
        trouble, g = matrix(a, 5, np.int64), real_at(a[9])
        first, end = next_rows(a, a[4])
        while first < end:
            for i in range(first, end):
                x = a[2] + 64 * i
                loud = loudest_bits(x, 16)
                code = lane(float_codes(reals(g * (i32(loud).view(f32) / f32(6))), 8, 3, -6, 448), 0)
                code = i32(0x20) if code == 0 else code  # 0.125
                s = (f32(code & 7) * power(-9) if code < 8 else i32((code << 20) + (120 << 23)).view(f32)) / g
                if loud >= INF or s < f32(LEAST):
                    trouble[0, 0] = 1
                    return
                codes = float_codes(reals_at(x) / s + f32(0), 4, 1, 0, 6)
                pairs = each_second(codes, codes, 0) | (each_second(codes, codes, 1) << 4)
                write_first(a[3] + 8 * i, pairs, 8)
                write_number(a[8] + i, code, 1)
            first, end = next_rows(a, a[4])

    return quantize_nvfp4
