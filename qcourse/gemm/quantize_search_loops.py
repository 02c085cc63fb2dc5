"""fp32 → GGUF's searched blocks: the bytes of `pack(quantize(W, args), "gguf")`, 16 blocks (or sub-blocks) side by side.

Every task takes what those of gemm.quantize_loops take, and behind it: the address of the tries (fp32), and how many groups
there are of blocks that are done at once. The last group may begin among the blocks of the one before.
Law: qcourse/numerics/ggml_search.py, ggml_fits.py and packing/gguf.py.
"""

import numpy as np

from qcourse.gemm.arguments import matrix, next_rows
from qcourse.gemm.jit import exact, part
from qcourse.gemm.lanes import (
    bits_of,
    lane,
    magnitude,
    nearest,
    real_at,
    reals,
    reals_at,
    room_like,
    root,
    where,
    whole,
    write_bytes,
    write_number,
)
from qcourse.gemm.operations import get, put
from qcourse.gemm.quantize_fits import better_fit, between, descended, loudest, scale_and_minimum, side_by_side, signed_scale
from qcourse.gemm.quantize_store import MOST, half_bits, write_plain, write_shifted

f32 = np.float32
TABLE = 4 * 15  # bytes of IQ4_NL's tries, behind which 15 edges and 16 values lie


@part
def place_of(x, table):
    """The place of the nearest of 16 values: how many edges are not above it."""
    found = bits_of(reals(f32(0)))
    for k in range(15):
        found = found + whole(x >= real_at(table + 4 * k))
    return found


@part
def value_of(x, table):
    """The nearest of 16 values."""
    found = reals(real_at(table + 60))
    for k in range(15):
        found = where(x >= real_at(table + 4 * k), reals(real_at(table + 64 + 4 * k)), found)
    return found


@part
def codebook_scale(x, tries):
    """IQ4_NL's d of 16 blocks, unrounded."""
    zero, (top, alive) = reals(f32(0)), loudest(x, 32)
    d, best = zero, zero
    for t in range(16):
        inverse = reals(f32(1)) / ((zero - top) / f32(-127)) if t == 0 else reals(real_at(tries + 4 * t - 4)) / top
        a, b = zero, zero
        for i in range(32):
            v = get(x, i)
            q = value_of(v * inverse, tries + TABLE)
            wq = v * v * q
            a, b = a + wq * v, b + wq * q
        if t == 0:
            d = a / b
            best = d * a
        else:
            d, best = better_fit(a, b, d, best)
    return where(alive, d, zero)


def iq4_nl():
    """IQ4_NL."""

    @exact
    def quantize_iq4_nl(a):
        """IQ4_NL: 16 blocks of 32 weights at once."""
        trouble, x, table = matrix(a, 5, np.int64), room_like(reals(f32(0)), 32), a[8] + TABLE
        first, end = next_rows(a, a[9])
        while first < end:
            for group in range(first, end):
                block = min(16 * group, a[4] - 16)
                if not side_by_side(a[2] + 128 * block, 32, x):
                    trouble[0, 0] = 1
                    return
                scales = codebook_scale(x, a[8])
                for j in range(16):
                    d, at, out = lane(scales, j), a[2] + 128 * (block + j), a[3] + 18 * (block + j)
                    if not abs(d) <= f32(MOST):
                        trouble[0, 0] = 1
                        return
                    inverse = f32(0) if d == 0 else f32(1) / d
                    lo, hi = place_of(reals_at(at) * inverse, table), place_of(reals_at(at + 64) * inverse, table)
                    write_number(out, half_bits(d), 2)
                    write_bytes(out + 2, lo | (hi << 4))
            first, end = next_rows(a, a[9])

    return quantize_iq4_nl


def plain(bits: int):
    """Q3_K, Q6_K."""
    low = -(1 << (bits - 1))

    @exact
    def quantize_plain(a):
        """w = d·s·q: 16 sub-blocks of 16 weights at once."""
        trouble, zero = matrix(a, 5, np.int64), reals(f32(0))
        x, w, q, codes = room_like(zero, 16), room_like(zero, 16), room_like(zero, 16), room_like(whole(zero), 16)
        first, end = next_rows(a, a[9])
        while first < end:
            for block in range(first, end):
                at = a[2] + 1024 * block
                fits = side_by_side(at, 16, x)
                for i in range(16):
                    put(w, i, get(x, i) * get(x, i))
                if bits == 3:
                    loud, alive = loudest(x, 16)
                    for i in range(16):
                        put(q, i, between(nearest(get(x, i) * (reals(f32(low)) / loud)), low, -low - 1))
                    scales = where(alive, descended(x, w, q, 16, low, -low - 1), zero)
                else:
                    scales = signed_scale(x, w, 16, -low, a[8], 19)
                if not fits or not write_plain(at, a[3] + (110 if bits == 3 else 210) * block, codes, scales, bits):
                    trouble[0, 0] = 1
                    return
            first, end = next_rows(a, a[9])

    return quantize_plain


def shifted(bits: int):
    """Q2_K, Q4_K, Q5_K."""
    G = 16 if bits == 2 else 32
    size, top, together, tries = {2: 84, 4: 144, 5: 176}[bits], (1 << bits) - 1, G // 16, 21 if bits == 4 else 16

    @exact
    def quantize_shifted_block(a):
        """w = d·s·q - dmin·m: 16 sub-blocks at once."""
        trouble, zero = matrix(a, 5, np.int64), reals(f32(0))
        x, w, q, codes = room_like(zero, 32), room_like(zero, 32), room_like(zero, 32), room_like(whole(zero), 16)
        first, end = next_rows(a, a[9])
        while first < end:
            for group in range(first, end):
                block = min(together * group, a[4] - together)
                fits = side_by_side(a[2] + 1024 * block, G, x)
                count_loud(x, w, G)
                d, m = scale_and_minimum(x, w, q, G, top, a[8], tries, bits == 2)
                for j in range(together):
                    at, out = a[2] + 1024 * (block + j), a[3] + size * (block + j)
                    if not fits or not write_shifted(at, out, codes, d, m, 8 * j, bits):
                        trouble[0, 0] = 1
                        return
            first, end = next_rows(a, a[9])

    return quantize_shifted_block


@part
def count_loud(x, w, G):
    """w = √mean(x²) + |x|, or |x| for Q2_K's blocks of 16."""
    base = reals(f32(0))
    if G == 32:
        for i in range(G):
            base = base + get(x, i) * get(x, i)
        base = root(base / f32(G))
    for i in range(G):
        put(w, i, base + magnitude(get(x, i)))
