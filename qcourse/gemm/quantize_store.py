"""What the loops that quantize to GGUF's blocks have in common: fp16, codes of scales, planes of bits (packing.gguf)."""

import numpy as np

from qcourse.gemm.jit import part
from qcourse.gemm.lanes import lane, nearest, reals, reals_at, where, whole, write_bytes, write_number
from qcourse.gemm.operations import get, put
from qcourse.gemm.quantize_fits import TINY, between

f32, i32 = np.float32, np.int32
MOST = 65504.0  # of fp16


@part
def half_bits(value):
    """fp32 within fp16's range → the bits of fp16, rounded to nearest even (in an int64)."""
    wide = np.int64(f32(value).view(i32))
    sign, rest = (wide >> 16) & 0x8000, wide & 0x7FFFFFFF
    if rest < 113 << 23:  # subnormal there: adding 0.5 leaves the number of steps of 2^-24
        return sign | (np.int64(f32(i32(rest).view(f32) + f32(0.5)).view(i32)) - 0x3F000000)
    return sign | ((rest + 0xFFF + ((rest >> 13) & 1) - (112 << 23)) >> 13)


@part
def half_value(bits):
    """The bits of a finite fp16 → its value."""
    value = f32(i32((bits & 0x7FFF) << 13).view(f32) * f32(2.0**112))
    return -value if bits & 0x8000 else value


@part
def write_plane(out, codes, shift, bits, width):
    """One plane of 256 codes (16 vectors of them): `bits` from `shift` up, `width` neighbouring bytes (packing.gguf)."""
    step, per = width // 16, 8 // bits
    for run in range(2 * bits // step):
        for j in range(step):
            packed = get(codes, 0) & 0
            for p in range(per):
                packed = packed | (((get(codes, (run * per + p) * step + j) >> shift) & ((1 << bits) - 1)) << (bits * p))
            write_bytes(out + 16 * (run * step + j), packed)


@part
def write_codes(x, codes, G, scale, low, base, qmin, qmax):
    """The codes, from 0, of 256 weights at x: sub-block i has lane base + i of `scale` and `low`."""
    for v in range(16):
        s, m = lane(scale, base + 16 * v // G), lane(low, base + 16 * v // G)
        q = between(nearest((reals_at(x + 64 * v) + m) / (f32(1) if s == 0 else s)), qmin, qmax) - f32(qmin)
        put(codes, v, whole(where(reals(s) == f32(0), reals(f32(0)), q)))


@part
def scale_codes(scales, limit):
    """(d, codes): 16 scales as codes under one number, the loudest on -limit; d is not rounded yet."""
    top, loud = lane(scales, 0), f32(0)
    for i in range(16):
        if abs(lane(scales, i)) > loud:
            top, loud = lane(scales, i), abs(lane(scales, i))
    inverse = f32(-limit) / top if loud >= f32(TINY) else f32(0)
    d = f32(0) if inverse == 0 else f32(1) / inverse
    return d, between(nearest(scales * inverse), -limit, limit - 1)


@part
def positive_codes(v, base, per, top):
    """(d, codes): the `per` numbers from lane `base` on as codes under one number, the largest on the last code."""
    most = f32(0)
    for i in range(per):
        most = max(most, lane(v, base + i))
    return f32(most / f32(top)), between(nearest(v * (f32(top) / most if most > 0 else f32(0))), 0, top)


@part
def write_sixes(out, s):
    """Q3_K: 16 codes of 6 bits in 12 bytes."""
    for i in range(8):
        write_number(out + i, (lane(s, i) & 15) | ((lane(s, i + 8) & 15) << 4), 1)
    for i in range(4):
        high = (lane(s, i) >> 4) | ((lane(s, i + 4) >> 4) << 2) | ((lane(s, i + 8) >> 4) << 4)
        write_number(out + 8 + i, high | ((lane(s, i + 12) >> 4) << 6), 1)


@part
def write_pairs(out, s, m, base):
    """Q4_K, Q5_K: 8 codes of 6 bits of each of two kinds in 12 bytes."""
    for i in range(4):
        s0, s4, m0, m4 = lane(s, base + i), lane(s, base + i + 4), lane(m, base + i), lane(m, base + i + 4)
        write_number(out + i, s0 | ((s4 >> 4) << 6), 1)
        write_number(out + 4 + i, m0 | ((m4 >> 4) << 6), 1)
        write_number(out + 8 + i, (s4 & 15) | ((m4 & 15) << 4), 1)


@part
def write_plain(at, out, codes, scales, bits):
    """A block of Q3_K or Q6_K from the scales of its sub-blocks; False where d does not fit."""
    limit, low = (32 if bits == 3 else 128), -(1 << (bits - 1))
    d, s = scale_codes(scales, limit)
    if not abs(d) <= f32(MOST):
        return False
    d_bits = half_bits(d)
    stored = half_value(d_bits)
    if bits == 3 and stored == 0:  # bits 0 throughout
        s = reals(f32(-limit))
    write_codes(at, codes, 16, s * stored, reals(f32(0)), 0, low, -low - 1)
    write_number(out + (108 if bits == 3 else 208), d_bits, 2)
    if bits == 3:
        write_plane(out, codes, 2, 1, 32)
        write_plane(out + 32, codes, 0, 2, 32)
        write_sixes(out + 96, whole(s) + 32)
    else:
        write_plane(out, codes, 0, 4, 64)
        write_plane(out + 128, codes, 4, 2, 32)
        write_bytes(out + 192, whole(s))
    return True


@part
def write_shifted(at, out, codes, scales, minima, base, bits):
    """A block of Q2_K, Q4_K or Q5_K from the scales and minima of its sub-blocks; False where one does not fit."""
    per, limit = (16, 15) if bits == 2 else (8, 63)
    (d, s), (dmin, m) = positive_codes(scales, base, per, limit), positive_codes(minima, base, per, limit)
    if not (d <= f32(MOST) and dmin <= f32(MOST)):
        return False
    both = half_bits(d) | (half_bits(dmin) << 16)
    scale, low = s * half_value(both & 0xFFFF), m * half_value(both >> 16)
    write_codes(at, codes, 256 // per, scale, low, base, 0, (1 << bits) - 1)
    if bits == 2:
        write_bytes(out, whole(s) | (whole(m) << 4))
        write_plane(out + 16, codes, 0, 2, 32)
        write_number(out + 80, both, 4)
    else:
        write_number(out, both, 4)
        write_pairs(out + 4, whole(s), whole(m), base)
        write_plane(out + (16 if bits == 4 else 48), codes, 0, 4, 32)
        if bits == 5:
            write_plane(out + 16, codes, 4, 1, 32)
    return True
