"""Scores of one position against packed keys, sixteen tokens at a time: score[t] = s[t] · Σ_d q[d] · (u[d, t] - z).

A block of keys is turned: a line is one channel of 16 tokens, so that no sum crosses the lanes of a register. It is widened
once for all query heads that share it. Scales by channel go into q once a group of tokens, static ones once; what the codes'
offset or minima take off is a sum over q alone. What `a` holds: gemm.kv_places.
"""

import numpy as np

from qcourse.gemm import kv_places as of
from qcourse.gemm.jit import part
from qcourse.gemm.kv_vectors import add_product, add_times, bf16s_at, bytes_at, floats_at, put_reals, total_of
from qcourse.gemm.kv_write_loops import room
from qcourse.gemm.lanes import real, real_at, reals, reals_at

f32, i32 = np.float32, np.int32


@part
def widen(at, kind, out, stride):
    """16 bytes of codes → 16, 32 or 64 numbers; each 16 of them `stride` bytes behind the last."""
    if kind == of.E4M3:
        put_reals(out, floats_at(at, 3))
    elif kind == of.E5M2:
        put_reals(out, floats_at(at, 2))
    elif kind == of.BYTE:
        put_reals(out, real(bytes_at(at)))
    elif kind == of.NIBBLE:
        v = bytes_at(at)
        put_reals(out, real(v & 15))
        put_reals(out + stride, real(v >> 4))
    else:
        v = bytes_at(at)
        for p in range(4):
            put_reals(out + p * stride, real((v >> i32(2 * p)) & 3))


@part
def lines_times(q, lines, n):
    """Σ q[i] · line i over n numbers at q (a multiple of 4) and as many lines of 16."""
    s0 = s1 = s2 = s3 = reals(f32(0))
    for i in range(0, n, 4):
        s0 = add_times(s0, real_at(q + 4 * i), reals_at(lines + 64 * i))
        s1 = add_times(s1, real_at(q + 4 * i + 4), reals_at(lines + 64 * i + 64))
        s2 = add_times(s2, real_at(q + 4 * i + 8), reals_at(lines + 64 * i + 128))
        s3 = add_times(s3, real_at(q + 4 * i + 12), reals_at(lines + 64 * i + 192))
    return (s0 + s1) + (s2 + s3)


@part
def fold(a, row, group, q, inside, less):
    """What the scales of keys make of q (each, D): `inside`, to be multiplied with codes, and `less` (each, groups), what
    the codes' offset or minima take off every sum. group: of tokens, by channel."""
    s, D, groups = of.KEYS, a[of.DIM], a[of.KEYS + of.GROUPS]
    at = 2 * D * (row * (a[s + of.BLOCKS] * 16 // a[s + of.TOKENS]) + group)
    for e in range(len(q)):
        for g in range(groups):
            sums = reals(f32(0))
            for d in range(g * D // groups, (g + 1) * D // groups, 16):
                v = reals_at(q[e].ctypes.data + 4 * d)
                scaled, low = v, v  # by token, with minima: those come with the tokens
                if a[s + of.TOKENS] > 1:
                    scaled = v * bf16s_at(a[s + of.SCALE] + at + 2 * d)
                elif a[s + of.STATIC]:
                    scaled = v * real_at(a[s + of.STATIC] + 4 * row)
                if a[s + of.ZERO] and a[s + of.TOKENS] > 1:
                    low = v * bf16s_at(a[s + of.ZERO] + at + 2 * d)
                elif not a[s + of.ZERO]:
                    low = scaled * f32(a[s + of.OFFSET])
                put_reals(inside[e].ctypes.data + 4 * d, scaled)
                sums = sums + low
            less[e, g] = -total_of(sums)


@part
def block_scores(a, row, block, q, lines, less):
    """The scores of 16 tokens, whose codes are `lines`: those of each group of channels under its scale, added up."""
    s, D, groups, score = of.KEYS, a[of.DIM], a[of.KEYS + of.GROUPS], reals(f32(0))
    for g in range(groups):
        n, at = D // groups, 32 * (block * groups + g)
        sums = lines_times(q + 4 * n * g, lines + 64 * n * g, n)
        if a[s + of.TOKENS] > 1 or a[s + of.STATIC]:
            score = score + (sums + less[g])
        elif a[s + of.ZERO]:
            score = score + (sums * bf16s_at(a[s + of.SCALE] + at) + bf16s_at(a[s + of.ZERO] + at) * less[g])
        else:
            score = score + (sums + less[g]) * bf16s_at(a[s + of.SCALE] + at)
    return score


@part
def coded_scores(a, row, first, end, q, scores):
    """scores[e, t - first] of the coded tokens first … end - 1 (up to 15 more are written)."""
    s, D, tokens = of.KEYS, a[of.DIM], a[of.KEYS + of.TOKENS]
    per = 2 if a[s + of.KIND] == of.NIBBLE else 4 if a[s + of.KIND] == of.CRUMB else 1
    inside, less, lines = room(len(q), D), room(len(q), a[s + of.GROUPS]), room(D, 16)
    for t in range(first, end, 16):
        if t == first or tokens > 1 and t % tokens == 0:
            fold(a, row, t // tokens, q, inside, less)
        block = row * a[s + of.BLOCKS] + t // 16
        at = a[s + of.CODES] + block * 16 * (D // per)
        for r in range(0, D // per, 16):
            for i in range(16):
                widen(at + 16 * (r + i), a[s + of.KIND], lines.ctypes.data + 64 * (r * per + i), 1024)
        for e in range(len(q)):
            score = block_scores(a, row, block, inside[e].ctypes.data, lines.ctypes.data, less[e])
            put_reals(scores[e].ctypes.data + 4 * (t - first), score)


@part
def near_place(a, s, row, i, coded):
    """Where the i-th token that is in 16 bits waits, behind `coded` codes: those of the ring, then the sinks."""
    waiting = max(0, a[of.PAST] + 1 - a[of.SINK]) - coded
    place = a[of.SINK] + (coded + i) % max(1, a[s + of.RING]) if i < waiting else i - waiting
    return a[s + of.NEAR] + 2 * a[of.DIM] * (row * a[s + of.PLACES] + place)


@part
def near_scores(a, row, coded, n, q, scores, begin):
    """scores[e, begin + i] of the n tokens that wait in 16 bits."""
    for i in range(n):
        at = near_place(a, of.KEYS, row, i, coded)
        for e in range(len(q)):
            sums = reals(f32(0))
            for d in range(0, a[of.DIM], 16):
                sums = add_product(sums, reals_at(q[e].ctypes.data + 4 * d), bf16s_at(at + 2 * d))
            scores[e, begin + i] = total_of(sums)
