"""How a task (gemm.jit) finds its arrays: `a` holds addresses and sizes, and where its threads agree on who does what."""

import numpy as np
from llvmlite import ir
from numba import carray
from numba.core import types
from numba.extending import intrinsic

from qcourse.gemm.jit import as_float, part, rounded


@intrinsic
def address(typing_context, number, dtype):
    """A number as a pointer to numbers of `dtype`."""

    def generate(context, builder, signature, values):
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return types.CPointer(dtype.dtype)(types.int64, dtype), generate


@intrinsic
def take(typing_context, a):
    """a[0]++, by whichever thread comes first: what it was before."""

    def generate(context, builder, signature, values):
        return builder.atomic_rmw("add", values[0], ir.IntType(64)(1), "seq_cst")

    return types.int64(types.CPointer(types.int64)), generate


@part
def matrix(a, i, dtype):
    """The array (rows, columns) that a[i], a[i+1], a[i+2] describe: address, rows, columns; its rows lie without gaps."""
    return carray(address(a[i], dtype), (a[i + 1], a[i + 2]))


@part
def next_rows(a, N):
    """The next piece of N rows that no thread has taken yet, of a[1] pieces; first == end: all are taken."""
    mine = take(a)
    return (N * mine // a[1], N * (mine + 1) // a[1]) if mine < a[1] else (0, 0)


@part
def read_row(a, i, half, m, values):
    """Row m of the matrix that a[i] … describe, fp32 or bf16 (half), as fp32 into `values`: known only when it runs, so that
    one compiled loop serves both."""
    if half:
        bits = matrix(a, i, np.uint16)
        for k in range(bits.shape[1]):
            values[k] = as_float(bits[m, k])
    else:
        floats = matrix(a, i, np.float32)
        for k in range(floats.shape[1]):
            values[k] = floats[m, k]


@part
def write(floats, bits, half, m, n, value):
    """value at [m, n]: into `floats` (fp32), or rounded into `bits` (bf16), which is the same memory seen otherwise; nothing
    beyond the last row."""
    if m >= len(floats):
        return
    if half:
        bits[m, n] = rounded(value, bits)
    else:
        floats[m, n] = value


@part
def packed_weight(a, scale_type):
    """a[2:20]: w (N, bytes), scale (N, groups), zero points (the same, or one row for all), and the last rows of each again,
    with room behind them, because a vector may reach beyond a row."""
    w, scale, zero = matrix(a, 2, np.uint8), matrix(a, 5, scale_type), matrix(a, 8, np.uint8)
    return w, scale, zero, matrix(a, 11, np.uint8), matrix(a, 14, scale_type), matrix(a, 17, np.uint8)


@part
def halves(weight, n0, n1):
    """Rows n0 … n1 of a `packed_weight` in two parts, those with other rows behind them and the last: (bytes, scales, zero
    points, the number of their first row, begin, end)."""
    w, scale, zero, last, last_scale, last_zero = weight
    first = len(w) - len(last)
    return (w, scale, zero, 0, n0, min(n1, first)), (last, last_scale, last_zero, first, max(n0, first), n1)
