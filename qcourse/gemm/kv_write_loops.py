"""A decode step's new key and value, into a quantized cache: turned by RoPE and by H, then rounded as `quantize` rounds.

Rounded bit for bit: codes and scales are those of numerics.quantize, whichever path has written them. What `a` holds:
gemm.kv_places; s: KEYS or VALUES.
"""

import numpy as np

from qcourse.gemm import kv_places as of
from qcourse.gemm.jit import part
from qcourse.gemm.kv_vectors import add_at, bf16s_at, how_many, least_of, most_of, put_bf16s, put_reals
from qcourse.gemm.lanes import bits_of, lane, magnitude, nearest, real_at, reals, reals_at, where, whole, write_bytes
from qcourse.gemm.lanes import write_number as put_number
from qcourse.gemm.quantize_fits import between
from qcourse.gemm.quantize_scale_loops import LEAST, float_codes, loudest_bits

f32, i32 = np.float32, np.int32


@part
def room(rows, columns):
    """Memory for so many numbers."""
    return np.empty((rows, columns), f32)


@part
def load_row(at, half, n, out):
    """n numbers (a multiple of 16) at an address, fp32 or bf16 (half), as fp32 to the address `out`."""
    for d in range(0, n, 16):
        put_reals(out + 4 * d, bf16s_at(at + 2 * d) if half else reals_at(at + 4 * d))


@part
def rounded_bits(value):
    """fp32 → the bits of bf16, nearest even, in an int64."""
    bits = np.int64(f32(value).view(i32))
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


@part
def kept(value, half):
    """A number as the activations' dtype keeps it: rounded to bf16 (half), or itself."""
    return i32(rounded_bits(value) << 16).view(f32) if half else f32(value)


@part
def rope_row(x, cos, sin, half):
    """x (D) turned by its position's angles, in place; rounded where torch rounds."""
    middle = len(x) // 2
    for d in range(middle):
        a, b = x[d], x[d + middle]
        x[d] = kept(kept(a * cos[d], half) + kept(-b * sin[d], half), half)
        x[d + middle] = kept(kept(b * cos[d + middle], half) + kept(a * sin[d + middle], half), half)


@part
def hadamard_row(x, half):
    """x H in place, D a power of two: the sums and differences of methods.hadamard, in its order."""
    stride = len(x) // 2
    while stride:
        for first in range(0, len(x), 2 * stride):
            for i in range(first, first + stride):
                a, b = x[i], x[i + stride]
                x[i], x[i + stride] = a + b, a - b
        stride //= 2
    root = f32(np.sqrt(np.float64(len(x))))
    for i in range(len(x)):
        x[i] = kept(x[i] / root, half)


@part
def store_scale(at, scale):
    """Write a scale as bf16, never 0; what it is then."""
    bits = rounded_bits(f32(1) if scale == 0 else max(scale, f32(LEAST)))
    put_number(at, bits, 2)
    return i32(bits << 16).view(f32)


@part
def token_scale(a, s, x, n, at, zero_at):
    """(scale, what is added to x / scale) of n neighbours at the address x, stored at these places."""
    if not a[s + of.ZERO]:
        return store_scale(at, i32(loudest_bits(x, n)).view(f32) / (f32(a[s + of.LIMIT]) / f32(2))), f32(0)
    low = high = reals_at(x)
    for d in range(16, n, 16):
        v = reals_at(x + 4 * d)
        low, high = where(v < low, v, low), where(v > high, v, high)
    smallest, top = least_of(low), f32(a[s + of.HIGH])
    scale, minus = store_scale(at, most_of(high) / top - smallest / top), rounded_bits(-smallest)
    put_number(zero_at, minus, 2)
    return scale, i32(minus << 16).view(f32) / scale


@part
def codes_of(a, s, v, scale, shift):
    """16 numbers as codes from 0."""
    if a[s + of.KIND] == of.E4M3:
        return float_codes(v / scale, 8, 3, -6, 448)
    if a[s + of.KIND] == of.E5M2:
        return float_codes(v / scale, 8, 2, -14, 57344)
    v = v / scale + shift if a[s + of.ZERO] else v / scale
    return whole(between(nearest(v), f32(a[s + of.LOW]), f32(a[s + of.HIGH]))) + i32(a[s + of.OFFSET])


@part
def scales_of(a, s, row, block, place, x, found):
    """(scale, shift) of each group of a token's channels → found (groups, 2); static: numbers beyond it are counted."""
    n = a[of.DIM] // len(found)
    for g in range(len(found)):
        at = 2 * ((block * len(found) + g) * 16 + place)
        if a[s + of.STATIC]:
            found[g, 0], found[g, 1], beyond = real_at(a[s + of.STATIC] + 4 * row), f32(0), 0
            reach = f32(a[s + of.LIMIT] / 2 * (1 + 2.0**-20)) * found[g, 0]
            for d in range(0, n, 16):
                beyond += how_many(magnitude(reals_at(x + 4 * d)) > reach)
            add_at(a[s + of.CLAMPED] + 8 * row, beyond)
        else:
            found[g, 0], found[g, 1] = token_scale(a, s, x + 4 * n * g, n, a[s + of.SCALE] + at, a[s + of.ZERO] + at)


@part
def write_codes(a, s, row, j, x, apart):
    """Token j of a row, DIM numbers at the address x: its scales, then its codes, 16 bytes at a time. apart: from one byte
    to the next: 16 (keys: a block is turned) or 1 (values)."""
    D, block, place, found = a[of.DIM], row * a[s + of.BLOCKS] + j // 16, j % 16, room(a[s + of.GROUPS], 2)
    per = 2 if a[s + of.KIND] == of.NIBBLE else 4 if a[s + of.KIND] == of.CRUMB else 1
    scales_of(a, s, row, block, place, x, found)
    out = a[s + of.CODES] + block * 16 * (D // per) + place * (1 if apart == 16 else D // per)
    for r in range(D // (16 * per)):
        packed = bits_of(reals(f32(0)))
        for p in range(per):
            d = 16 * (per * r + p)
            g = d * len(found) // D
            packed = packed | (codes_of(a, s, reals_at(x + 4 * d), found[g, 0], found[g, 1]) << i32(8 // per * p))
        if apart == 1:
            write_bytes(out + 16 * r, packed)
        else:
            for i in range(16):
                put_number(out + 16 * (16 * r + i), np.int64(lane(packed, i)), 1)


@part
def write_new(a, s, row, x, apart):
    """The new token of a row, DIM numbers at the address x: among the sinks, or waiting in the ring (and the one that leaves
    it becomes codes), or codes at once."""
    D, j, leaving = a[of.DIM], a[of.PAST] - a[of.SINK], room(1, a[of.DIM])[0]
    waits = j < 0 or a[s + of.RING] > 0
    place = a[of.PAST] if j < 0 else a[of.SINK] + j % max(1, a[s + of.RING])
    at, source, becomes = a[s + of.NEAR] + 2 * D * (row * a[s + of.PLACES] + place), x, -1 if waits else j
    if j >= 0 and waits and a[s + of.TOKENS] == 1 and a[s + of.END] > a[s + of.DONE]:
        source, becomes = leaving.ctypes.data, a[s + of.DONE]
        load_row(at, 1, D, source)
    if becomes >= 0:
        write_codes(a, s, row, becomes, source, apart)
    if waits:
        for d in range(0, D, 16):
            put_bf16s(at + 2 * d, reals_at(x + 4 * d))


@part
def write_row(a, row, cos, sin):
    """The new key and value of a row, into the cache."""
    x, at = room(1, a[of.DIM])[0], (2 if a[of.HALF] else 4) * a[of.DIM] * row
    for side in range(2):
        load_row(a[of.K + side] + at, a[of.HALF], a[of.DIM], x.ctypes.data)
        if side == 0:
            rope_row(x, cos, sin, a[of.HALF])
        if a[of.ROTATE]:
            hadamard_row(x, a[of.HALF])
        write_new(a, of.VALUES if side else of.KEYS, row, x.ctypes.data, 1 if side else 16)
