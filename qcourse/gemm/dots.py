"""One loop for every product of packed integers with few tokens: y = x @ Ŵ.T, in vectors of integers (gemm.vectors).

Converting every weight to a float costs more than reading it; an instruction that multiplies 32 pairs of small integers and
adds them up costs a fraction of one. So the *activations* become integers too, with one scale a block:

    int16   W4A16, W8A16: finer than bf16, unless one value of a block is some 200 times louder than the others
    int8    W4A8, W8A8 with blocks of 32 to 128: half the instructions, 256 times coarser

    y[m, n] = Σ_groups  s[n, g] · t[m, b] · Σ_k (u[n, k] - z[n, g]) · v[m, k]
              one float product a lane       exact in int32
    u: stored code (unsigned)   z: zero point (8 or 128 when symmetric)   v: x in integers, x ≈ t · v

No sum across the lanes until the row ends: each lane adds up its own columns and has its own scales s and t, so a group may
be as short as 16. A row of W is unpacked once for `tokens` tokens at a time, and stays in registers for them.
"""

import numpy as np

from qcourse.gemm.arguments import halves, matrix, next_rows, packed_weight, write
from qcourse.gemm.blocks import in_blocks
from qcourse.gemm.jit import as_float, rounded, task
from qcourse.gemm.operations import (
    add_scaled,
    dot,
    field,
    first_sum,
    get,
    load,
    load_as,
    minus,
    no_sums,
    put,
    room_as,
    spread,
    times,
    times_zero,
    total,
)  # fmt: skip
from qcourse.gemm.vectors import LANES, PIECE

f32 = np.float32
ROWS = 8  # rows of W that stay in the nearest cache while every token meets them


def dots(bits: int, width: int, pieces: int, groups: int, blocks: int, per: int, tokens: int, types):
    """The loop for codes of `bits` multiplied as numbers of `width`, in chunks of `pieces` · PIECE bytes of a row, each of
    which spans `groups` groups and `blocks` blocks; per: chunks a group, 0 when only the weight tells; `tokens` at a time.

    types: of the scales, and whether groups have zero points of their own. All are constants: the compiler unrolls the loops
    over them, and what they hold stays in registers.
    """
    kind, limit, top, lanes = (np.int16, 32767, 32767, 0) if width == 16 else (np.int8, 127.5, 127, LANES)
    planes, columns = width // bits, pieces * 8 * PIECE // bits
    sizes = bits, planes, pieces, pieces * planes, 8 * PIECE // width, columns, groups, blocks, per, tokens
    return packed_dots_of(sizes, types[0], 1 if types[1] else 0, (kind, f32(limit), f32(top), lanes))


def packed_dots_of(sizes, scale_type, own, integers):
    """The loop (own: 1 if groups have zero points). a: two · weight · x · y · block · zero point of all · is x bf16?"""
    bits, planes, pieces, vectors, numbers, columns, groups, blocks, per, tokens = sizes
    (kind, limit, top, lanes), mask = integers, (1 << bits) - 1

    @task
    def packed_dots(a):
        weight, y, y_bits, half = packed_weight(a, scale_type), matrix(a, 23, f32), matrix(a, 23, np.uint16), a[28]
        tiles, chunks = -(-a[21] // tokens), -(-a[22] // columns)
        a_scale, shape = per or chunks // weight[1].shape[1], (tiles, chunks, tokens, pieces, planes, numbers)
        x, t, sums = in_blocks(a, 20, half, a[26], limit, top, 1 if own else a[27], kind, shape, blocks, lanes)
        n0, n1 = next_rows(a, a[3])
        while n0 < n1:
            for w, scale, zero, begin, first, end in halves(weight, n0, n1):
                for few in range(first, end, ROWS):
                    for tile in range(tiles):
                        for n in range(few, min(few + ROWS, end)):
                            row, y_n = n - begin, no_sums(tokens)
                            for g in range(0, chunks // a_scale * groups, groups):
                                s = spread(scale, row, g, groups)
                                for c in range(g // groups * a_scale, (g // groups + 1) * a_scale):
                                    u, here = room_as(x, vectors), tile * chunks + c
                                    for q in range(pieces):
                                        packed = load_as(x, w, row, (c * pieces + q) * PIECE)
                                        for p in range(planes):
                                            code = field(packed, bits * p, mask)
                                            put(u, q * planes + p, minus(code, zero, row * own, g * own, groups))
                                    for m in range(tokens):
                                        exact = first_sum(x, sums, here, m * lanes)
                                        if own:
                                            exact = times_zero(exact, x, zero, row, g, groups)
                                        for v in range(vectors):
                                            exact = dot(exact, get(u, v), load(x, here, (m * vectors + v) * numbers), bits)
                                        s_t = times(s, spread(t, here, m * blocks, blocks))
                                        put(y_n, m, add_scaled(get(y_n, m), exact, s_t))
                            for m in range(tokens):
                                write(y, y_bits, half, tile * tokens + m, n, total(get(y_n, m)))
            n0, n1 = next_rows(a, a[3])

    return packed_dots


def half_dots(x_type):
    """16-bit weights: y = x @ W.T, widened in registers, one pass over the bytes."""

    @task
    def half_dots(a):
        """a: two · w (N, K) bf16 bits · x (M, K) · y (M, N), both of `x_type`."""
        w, x, y = matrix(a, 2, np.uint16), matrix(a, 5, x_type), matrix(a, 8, x_type)
        values = np.empty(x.shape, f32)
        for m in range(len(x)):
            for k in range(x.shape[1]):
                values[m, k] = as_float(x[m, k])
        n0, n1 = next_rows(a, a[3])
        while n0 < n1:
            for n in range(n0, n1):
                for m in range(len(x)):
                    y_n = f32(0)
                    for k in range(x.shape[1]):
                        y_n += as_float(w[n, k]) * values[m, k]
                    y[m, n] = rounded(y_n, y)
            n0, n1 = next_rows(a, len(w))

    return half_dots
