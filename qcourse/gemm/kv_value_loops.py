"""What one position gathers from packed values, sixteen tokens at a time: y[d] = Σ_t (w[t] · s[t]) · (u[t, d] - z).

A line of a block is one token's channels. A scale goes into the token's weight; what the codes' offset or minima take off is
a sum over the weights alone, and leaves at the end. What `a` holds: gemm.kv_places.
"""

import numpy as np

from qcourse.gemm import kv_places as of
from qcourse.gemm.jit import part
from qcourse.gemm.kv_score_loops import near_place, widen
from qcourse.gemm.kv_vectors import add_times, bf16s_at, counted, put_reals, total_of
from qcourse.gemm.kv_write_loops import room
from qcourse.gemm.lanes import bits_of, real_at, reals, reals_at, where

f32, i32 = np.float32, np.int32


@part
def tokens_times(w, lines, step, sums, more):
    """sums[…] += Σ w[t] · line t over 16 weights and as many lines, `step` bytes apart; `more` bytes on, the same again."""
    s0, s1, s2, s3 = reals_at(sums), reals_at(sums + more), reals(f32(0)), reals(f32(0))
    for t in range(0, 16, 2):
        u, v, here = real_at(w + 4 * t), real_at(w + 4 * t + 4), lines + step * t
        s0, s1 = add_times(s0, u, reals_at(here)), add_times(s1, u, reals_at(here + more))
        s2, s3 = add_times(s2, v, reals_at(here + step)), add_times(s3, v, reals_at(here + step + more))
    put_reals(sums + more, s1 + s3)
    put_reals(sums, s0 + s2)  # (more = 0: the same place, the same sum)


@part
def add_block(a, row, block, w, lines, scaled, less, sums):
    """One head's weights w of 16 tokens, whose codes are `lines`, times those: added to `sums`; what the codes' offset or
    minima take off again, to `less` (groups, 16)."""
    s, D, groups = of.VALUES, a[of.DIM], a[of.VALUES + of.GROUPS]
    for g in range(groups):
        at, here = 32 * (block * groups + g), less + 64 * g
        ws = w if a[s + of.STATIC] else w * bf16s_at(a[s + of.SCALE] + at)
        low = w * bf16s_at(a[s + of.ZERO] + at) if a[s + of.ZERO] else ws * f32(a[s + of.OFFSET])
        put_reals(here, reals_at(here) + low)
        put_reals(scaled, ws)
        first, end = 4 * (g * D // groups), 4 * ((g + 1) * D // groups)
        for d in range(first, end, 128):
            tokens_times(scaled, lines + d, 4 * D, sums + d, min(64, end - d - 64))


@part
def coded_values(a, row, first, end, weights, sums):
    """Σ weights[e, t - first] · value over the coded tokens first … end - 1 → sums[e]."""
    s, D, groups = of.VALUES, a[of.DIM], a[of.VALUES + of.GROUPS]
    per = 2 if a[s + of.KIND] == of.NIBBLE else 4 if a[s + of.KIND] == of.CRUMB else 1
    lines, scaled, less = room(16, D), room(1, 16)[0], room(len(sums), groups * 16)
    for e in range(len(sums)):
        for d in range(D):
            sums[e, d] = f32(0)
        for d in range(groups * 16):
            less[e, d] = f32(0)
    for t in range(first, end, 16):
        block = row * a[s + of.BLOCKS] + t // 16
        at = a[s + of.CODES] + block * 16 * (D // per)
        for r in range(D // per):
            widen(at + 16 * r, a[s + of.KIND], lines.ctypes.data + 64 * per * r, 64)
        for e in range(len(sums)):
            w = reals_at(weights[e].ctypes.data + 4 * (t - first))
            if end - t < 16:
                w = where(counted(bits_of(w)) < i32(end - t), w, reals(f32(0)))
            add_block(a, row, block, w, lines.ctypes.data, scaled.ctypes.data, less[e].ctypes.data, sums[e].ctypes.data)
    for e in range(len(sums)):
        for d in range(0, D, 16):
            at = sums[e].ctypes.data + 4 * d
            v = reals_at(at) - total_of(reals_at(less[e].ctypes.data + 64 * (d * groups // D)))
            put_reals(at, v * real_at(a[s + of.STATIC] + 4 * row) if a[s + of.STATIC] else v)


@part
def near_values(a, row, coded, n, weights, begin, sums):
    """Add weights[e, begin + i] · value to sums[e], over the n tokens that wait in 16 bits."""
    for i in range(n):
        at = near_place(a, of.VALUES, row, i, coded)
        for e in range(len(sums)):
            for d in range(0, a[of.DIM], 16):
                here = sums[e].ctypes.data + 4 * d
                put_reals(here, add_times(reals_at(here), weights[e, begin + i], bf16s_at(at + 2 * d)))
