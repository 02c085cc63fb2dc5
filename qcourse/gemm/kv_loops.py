"""Attention of one position over packed keys and values: the task. Codes are read once, and dequantized in registers.

The context of a row may be cut into pieces (threads): each leaves behind its largest score, its sum of weights and its sums
of values, and whoever is last puts the row together. Weights are powers of two: log2(e) is in q. The new token is written
first, and read as it is stored. What `a` holds: gemm.kv_places.

Source: the pieces, "Flash-Decoding" (Dao et al. 2023); scores that need no second pass, Milakov & Gimelshein 2018
(arXiv:1805.02867).
"""

import numpy as np

from qcourse.gemm import kv_places as of
from qcourse.gemm.arguments import next_rows
from qcourse.gemm.jit import exact, part
from qcourse.gemm.kv_score_loops import coded_scores, near_scores
from qcourse.gemm.kv_value_loops import coded_values, near_values
from qcourse.gemm.kv_vectors import add_at, add_product, bf16s_at, most_of, put_bf16s, put_reals, total_of
from qcourse.gemm.kv_write_loops import hadamard_row, kept, load_row, room, rope_row, write_row
from qcourse.gemm.lanes import bits_of, largest, magnitude, nearest, real_at, reals, reals_at, where, whole, write_number

f32, i32 = np.float32, np.int32
LOG2_E = 1.4426950408889634
TOO_LOUD = 0x7E967699  # the bits of 1e38: beyond, a turned number may leave the range of bf16


@part
def loudest_of(at, half, n):
    """The bits of max|x| of n numbers at an address; those of NaN and inf lie above all others."""
    most = bits_of(reals(f32(0)))
    for d in range(0, n, 16):
        top = bits_of(magnitude(bf16s_at(at + 2 * d) if half else reals_at(at + 4 * d)))
        most = where(top > most, top, most)
    return np.int64(largest(most))


@part
def powers(x):
    """2^x of numbers that are 0 or below, to 3·2⁻²⁴ of each; what is below 2⁻¹²⁵ is that. Taylor's series, seven terms."""
    x = where(x < f32(-125), reals(f32(-125)), x)
    n = nearest(x)
    f, y = x - n, reals(f32(1.5252734e-5))  # ln(2)^k / k!, k = 7 … 0
    for c in (1.5403530e-4, 1.3333558e-3, 9.6181291e-3, 5.5504109e-2, 2.4022651e-1, 6.9314718e-1, 1.0):
        y = add_product(reals(f32(c)), y, f)
    return bits_of(bits_of(y) + (whole(n) << 23))


@part
def soften(scores, n, out):
    """One head's n scores → their weights 2^(score - largest), in place; the largest and the sum of weights, 16 times each,
    to the address `out`."""
    at, end = scores.ctypes.data, (n + 15) // 16 * 16
    for i in range(n, end):
        scores[i] = -np.inf
    most, sums = reals(f32(-np.inf)), reals(f32(0))
    for i in range(0, end, 16):
        v = reals_at(at + 4 * i)
        most = where(v > most, v, most)
    top = most_of(most)
    for i in range(0, end, 16):
        weights = powers(reals_at(at + 4 * i) - top)
        put_reals(at + 4 * i, weights)
        sums = sums + weights
    put_reals(out, reals(top))
    put_reals(out + 64, reals(total_of(sums)))


@part
def together(a, row):
    """The pieces of a row → y, turned back if the cache is turned."""
    each, D, pieces, half = a[of.EACH], a[of.DIM], a[of.PIECES], a[of.HALF]
    y, size = room(1, D)[0], 4 * (D + of.EXTRA)
    for e in range(each):
        first, top, added = a[of.PARTIAL] + (row * pieces * each + e) * size, f32(-np.inf), f32(0)
        for d in range(D):
            y[d] = f32(0)
        for i in range(pieces):
            top = max(top, real_at(first + i * each * size + 4 * D))
        for i in range(pieces):
            at = first + i * each * size
            share = np.exp2(real_at(at + 4 * D) - top)
            added += share * real_at(at + 4 * D + 64)
            for d in range(D):
                y[d] += share * real_at(at + 4 * d)
        for d in range(D):
            y[d] = kept(y[d] / added, half)
        if a[of.ROTATE]:
            hadamard_row(y, half)
        for d in range(0, D, 16):
            at, v = (row * each + e) * D + d, reals_at(y.ctypes.data + 4 * d)
            if half:
                put_bf16s(a[of.Y] + 2 * at, v)
            else:
                put_reals(a[of.Y] + 4 * at, v)


@part
def queries(a, row, cos, sin, q):
    """The query heads of a row → q (each, D): turned as keys are kept, times log2(e) / sqrt(D)."""
    D, half = a[of.DIM], a[of.HALF]
    for e in range(len(q)):
        load_row(a[of.Q] + (2 if half else 4) * D * (row * len(q) + e), half, D, q[e].ctypes.data)
        rope_row(q[e], cos, sin, half)
        if a[of.ROTATE]:
            hadamard_row(q[e], half)
        for d in range(D):
            q[e, d] *= f32(LOG2_E / np.sqrt(np.float64(D)))


@part
def piece_of(a, piece):
    """(the first token of a piece, the ends of its codes of keys and of values, how many tokens it has). The last piece also
    has the new token, and all that wait in 16 bits."""
    units, pieces = a[of.SPLIT] // a[of.UNIT], a[of.PIECES]
    first, end = units * piece // pieces * a[of.UNIT], units * (piece + 1) // pieces * a[of.UNIT]
    if piece < pieces - 1:
        return first, end, end, end - first
    n = max(0, a[of.PAST] + 1 - a[of.SINK]) - first + min(a[of.SINK], a[of.PAST] + 1)
    return first, a[of.KEYS + of.END], a[of.VALUES + of.END], n


@part
def calm(a):
    """Whether every q, k and v is finite, and far from where it would not be."""
    n, loudest = a[of.ROWS] * a[of.DIM], np.int64(0)
    for side in range(3):
        loudest = max(loudest, loudest_of(a[of.Q + side], a[of.HALF], n if side else n * a[of.EACH]))
    return loudest <= TOO_LOUD


def attend():
    """The one task, for every format, shape and dtype."""

    @exact
    def attend_codes(a):
        """a: gemm.kv_places."""
        if not calm(a):
            write_number(a[of.TROUBLE], 1, 8)
            return
        each, D, pieces, half, ropes = a[of.EACH], a[of.DIM], a[of.PIECES], a[of.HALF], room(2, a[of.DIM])
        load_row(a[of.COS], half, D, ropes[0].ctypes.data)
        load_row(a[of.SIN], half, D, ropes[1].ctypes.data)
        mine, end = next_rows(a, a[of.ROWS] * pieces)
        while mine < end:
            row, out = mine // pieces, a[of.PARTIAL] + 4 * mine * each * (D + of.EXTRA)
            first, k_end, v_end, n = piece_of(a, mine % pieces)
            if mine % pieces == pieces - 1:
                write_row(a, row, ropes[0], ropes[1])
            q, scores = room(each, D), room(each, n + 32)
            queries(a, row, ropes[0], ropes[1], q)
            coded_scores(a, row, first, k_end, q, scores)
            near_scores(a, row, k_end, n - (k_end - first), q, scores, k_end - first)
            for e in range(each):
                soften(scores[e], n, out + 4 * (e * (D + of.EXTRA) + D))
            coded_values(a, row, first, v_end, scores, q)
            near_values(a, row, v_end, n - (v_end - first), scores, v_end - first, q)
            for e in range(each):
                load_row(q[e].ctypes.data, 0, D, out + 4 * e * (D + of.EXTRA))
            if add_at(a[of.COUNTERS] + 8 * row, 1) == pieces - 1:
                add_at(a[of.COUNTERS] + 8 * row, -pieces)
                together(a, row)
            mine, end = next_rows(a, a[of.ROWS] * pieces) if mine + 1 == end else (mine + 1, end)

    return attend_codes
