"""Activations in integers, block by block, laid out as the products of packed weights (gemm.dots) meet them."""

import numpy as np

from qcourse.gemm.arguments import read_row
from qcourse.gemm.jit import part
from qcourse.gemm.vectors import LANES

f32, i32 = np.float32, np.int32
QUIET = i32(f32(1e-30).view(i32))  # the bits of 1e-30: blocks quieter than this are rounded to 0


@part
def loudest(values, first, end, least):
    """max |values|, at least as much as the bits `least` stand for; NaN when NaN or inf is among them.

    As integers, because numbers without their sign are ordered like their bits, and the maximum of integers finds vectors.
    """
    top = least
    for k in range(first, end):
        top = max(top, np.int32(np.float32(values[k]).view(np.int32) & np.int32(0x7FFFFFFF)))
    return f32(np.nan) if top >= i32(0x7F800000) else np.int32(top).view(np.float32)


@part
def to_blocks(a, x, half, block, limit, top, zero, codes, t, sums):
    """x (M, K) of a[x], a[x+1], a[x+2] → codes (tiles, chunks, tokens, pieces, planes, numbers), t (…, tokens, blocks of a
    chunk) and sums (…, tokens, LANES), in the order in which the loop meets them.

    Plane p of a piece holds its columns p, p + planes, …: the order in which codes come out of their bytes. t: the scale of
    `block` columns; sums: -Σ codes of a lane, times the zero point where all share one (no lanes: not wanted).
    """
    M, (_, chunks, tokens, pieces, planes, numbers) = a[x + 1], codes.shape
    piece = planes * numbers  # columns
    values = np.zeros(-(-chunks * pieces * piece // block) * block, f32)
    t[:], sums[:] = 0, 0
    codes[-1] = 0  # tokens that only fill the last tile
    for m in range(M):
        i, j = m // tokens, m % tokens
        read_row(a, x, half, m, values)
        values[a[x + 2] :] = 0
        for first in range(0, len(values), block):
            scale = loudest(values, first, first + block, QUIET) / limit
            for k in range(first, first + block):
                v = min(np.rint(values[k] / scale), top)
                values[k] = v if v == v else f32(0)
            for share in range(first * t.shape[3] // (pieces * piece), (first + block) * t.shape[3] // (pieces * piece)):
                if share // t.shape[3] < chunks:
                    t[i, share // t.shape[3], j, share % t.shape[3]] = scale
        for c in range(chunks):
            for q in range(pieces):
                for p in range(planes):
                    first = (c * pieces + q) * piece + p
                    for e in range(numbers):
                        codes[i, c, j, q, p, e] = i32(values[first + e * planes])
                for lane in range(sums.shape[3]):
                    first, added = (c * pieces + q) * piece + lane * (piece // LANES), i32(0)
                    for k in range(first, first + piece // LANES):
                        added += i32(values[k])
                    sums[i, c, j, lane] -= zero * added


@part
def in_blocks(a, x, half, block, limit, top, zero, kind, shape, blocks, lanes):
    """`to_blocks` into room of its own: codes of type `kind` and this shape, t with `blocks` and sums with `lanes` numbers a
    chunk and token, each as (tiles · chunks, all of a chunk)."""
    tiles, chunks, tokens, pieces, planes, numbers = shape
    size, rows = tiles * chunks * tokens * pieces * planes * numbers, tiles * chunks
    room = np.empty(size + 64, kind)
    room = room[-room.ctypes.data % 64 // room.itemsize :][:size]  # a load that crosses a line of the cache costs two
    t, sums = np.empty((tiles, chunks, tokens, blocks), f32), np.empty((tiles, chunks, tokens, lanes), i32)
    to_blocks(a, x, half, block, limit, top, i32(zero), room.reshape(shape), t, sums)
    return room.reshape(rows, size // rows), t.reshape(rows, tokens * blocks), sums.reshape(rows, tokens * lanes)
