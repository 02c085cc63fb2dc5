"""The loops of the CPU kernels, as plain as they can be: numba compiles them (gemm.jit), gemm.cpu feeds them.

The idea that makes 4 bits fast on a CPU is to stay in integers. Converting every weight to a float costs more than
reading it; a 16-bit integer product costs a fraction of an instruction (vpmaddwd adds 16 to 32 products at once). So the
*activations* become integers, 16 bits with one scale a block: finer than bf16, unless one value of a block is some 200
times louder than the others.

    y[m, n] = Σ_blocks  s[n, b] · t[m, b] · ( Σ_k  u[n, k] · v[m, k]  -  z[n, b] · Σ_k v[m, k] )
              one float product a block      exact in int32                exact in int32
    u: stored code (unsigned)   z: zero point (8 or 128 when symmetric)   v: x as int16, x ≈ t · v

Error: |Δx| ≤ t/2 = max|x of the block| / 65534; nothing else but fp32 rounding of the sum over blocks.
A block is at most 128 weights: 255 · 32767 · 128 < 2^31. Scales, x and y are bf16 bits (uint16) or fp32; rows of w
are padded to whole blocks with anything at all, because x is padded with zeros.
"""

import numpy as np

from qcourse.gemm.jit import as_float, kernel, part, rounded

f32, i16, i32 = np.float32, np.int16, np.int32
BLOCK = 128  # weights that share one activation scale
TINY = f32(1e-30)  # blocks quieter than this are rounded to 0


@part
def to_int16(x, codes, scale, total):
    """x (M, K) → codes (M, blocks, planes, block/planes) int16, scale (M, blocks), total (M, blocks) = Σ codes.

    A NaN or inf makes its block's scale NaN. Plane p of a block holds its columns p, p + planes, …: the order in which codes
    are unpacked (4 planes: the nibbles of 16-bit units, 1: as they are).
    """
    K, (_, blocks, planes, each) = x.shape[1], codes.shape
    for m in range(len(x)):
        for b in range(blocks):
            first = b * planes * each
            loudest, bad = TINY, False
            for k in range(first, min(first + planes * each, K)):
                v = as_float(x[m, k])
                loudest = max(loudest, abs(v))
                bad |= not np.isfinite(v)
            inverse = f32(0) if bad else f32(32767) / loudest
            scale[m, b] = f32(np.nan) if bad else loudest / f32(32767)
            added = i32(0)
            for p in range(planes):
                for j in range(each):
                    k = first + j * planes + p
                    code = i16(0)
                    if k < K and not bad:
                        code = i16(np.rint(as_float(x[m, k]) * inverse))
                    codes[m, b, p, j] = code
                    added = i32(added + code)
            total[m, b] = added


def dot4(units):
    """The int4 loop for blocks of 4·units weights: a constant, so that LLVM makes straight vectors of it."""

    @kernel
    def int4_dot(w, scale, zero, values, y, n0, n1):
        """w (N, blocks, units): uint16 units of four codes; `values` are x (M, K).

        A unit is split by shifts and masks that stay 16 bits wide, multiplied, and forgotten; each token unpacks it.
        """
        M, blocks = len(values), w.shape[1]
        x, x_scale, x_total = np.empty((M, blocks, 4, units), i16), np.empty((M, blocks), f32), np.empty((M, blocks), i32)
        to_int16(values, x, x_scale, x_total)
        for n in range(n0, n1):
            for m in range(M):
                y_n = f32(0)
                for b in range(blocks):
                    first, second = i32(0), i32(0)
                    for j in range(units):
                        v = w[n, b, j]
                        first = i32(first + i32(i32(v & 15) * i32(x[m, b, 0, j])))
                        first = i32(first + i32(i32((v >> 4) & 15) * i32(x[m, b, 1, j])))
                        second = i32(second + i32(i32((v >> 8) & 15) * i32(x[m, b, 2, j])))
                        second = i32(second + i32(i32(v >> 12) * i32(x[m, b, 3, j])))
                    exact = i32(first + second - i32(i32(zero[n, b]) * x_total[m, b]))
                    y_n += (as_float(scale[n, b]) * x_scale[m, b]) * f32(exact)
                y[m, n] = rounded(y_n, y)

    return int4_dot


@kernel
def float4_dots(w, scale, zero, x, x_sum, y, n0, n1):
    """Groups too short for integer blocks: in fp32, each scale spread over its group, so that one long loop remains.

    w (N, K/2); x (2, M, K/2): even columns, then odd ones; x_sum (M, groups). y = Σ_k s · u · x - Σ_g s · z · Σ_k x
    """
    (_, M, halves), groups = x.shape, x_sum.shape[1]
    spread = np.empty((groups, halves // groups), f32)
    flat = spread.reshape(halves)
    for n in range(n0, n1):
        for g in range(groups):
            s = as_float(scale[n, g])
            for j in range(halves // groups):
                spread[g, j] = s
        for m in range(M):
            y_n = f32(0)
            for j in range(halves):
                byte = w[n, j]
                y_n += flat[j] * (f32(i32(byte & 15)) * x[0, m, j] + f32(i32(byte >> 4)) * x[1, m, j])
            for g in range(groups):
                y_n -= spread[g, 0] * f32(zero[n, g]) * x_sum[m, g]
            y[m, n] = rounded(y_n, y)


@kernel
def int8_dots(w, scale, zero, values, y, n0, n1):
    """8-bit codes: w (N, blocks, 128), `values` are x (M, K): the same sum, without unpacking."""
    M, blocks = len(values), w.shape[1]
    x, x_scale, x_total = np.empty((M, blocks, 1, BLOCK), i16), np.empty((M, blocks), f32), np.empty((M, blocks), i32)
    to_int16(values, x, x_scale, x_total)
    for n in range(n0, n1):
        for m in range(M):
            y_n = f32(0)
            for b in range(blocks):
                exact = i32(0)
                for j in range(BLOCK):
                    exact = i32(exact + i32(i32(w[n, b, j]) * i32(x[m, b, 0, j])))
                exact = i32(exact - i32(i32(zero[n, b]) * x_total[m, b]))
                y_n += (as_float(scale[n, b]) * x_scale[m, b]) * f32(exact)
            y[m, n] = rounded(y_n, y)


@kernel
def float8_dots(w, scale, zero, x, x_sum, y, n0, n1):
    """8-bit codes in groups too short for integer blocks, as in `float4_dots`: w (N, K), x (M, K), x_sum (M, groups)."""
    (M, K), groups = x.shape, x_sum.shape[1]
    spread = np.empty((groups, K // groups), f32)
    flat = spread.reshape(K)
    for n in range(n0, n1):
        for g in range(groups):
            s = as_float(scale[n, g])
            for j in range(K // groups):
                spread[g, j] = s
        for m in range(M):
            y_n = f32(0)
            for k in range(K):
                y_n += flat[k] * (f32(i32(w[n, k])) * x[m, k])
            for g in range(groups):
                y_n -= spread[g, 0] * f32(zero[n, g]) * x_sum[m, g]
            y[m, n] = rounded(y_n, y)


@kernel
def half_dots(w, x, y, n0, n1):
    """16-bit weights: w (N, K) bf16 bits, x (M, K) fp32: widened in registers, one pass over the bytes."""
    M, K = x.shape
    for n in range(n0, n1):
        for m in range(M):
            y_n = f32(0)
            for k in range(K):
                y_n += as_float(w[n, k]) * x[m, k]
            y[m, n] = rounded(y_n, y)


@kernel
def w8a8_dots(w, x, y, n0, n1):
    """int8 codes on both sides: y (M, N) int32 = Σ_k w[n, k] · x[m, k], exact for K < 131072."""
    M, K = x.shape
    for n in range(n0, n1):
        for m in range(M):
            exact = i32(0)
            for k in range(K):
                exact = i32(exact + i32(i32(w[n, k]) * i32(x[m, k])))
            y[m, n] = exact


def decode4(half):
    """The int4 decoder for blocks of 2·half weights; `half` is a constant for the same reason."""

    @kernel
    def decode4(w, scale, zero, out, n0, n1):
        """Rows n0 … n1 of int4 → out (rows, blocks, block) fp32, even columns of a block first."""
        for n in range(n0, n1):
            for b in range(w.shape[1]):
                s, z = as_float(scale[n, b]), i32(zero[n, b])
                for j in range(half):
                    byte = w[n, b, j]
                    out[n - n0, b, j] = f32(i32(i32(byte & 15) - z)) * s
                    out[n - n0, b, half + j] = f32(i32(i32(byte >> 4) - z)) * s

    return decode4


@kernel
def decode8(w, scale, zero, out, n0, n1):
    """Rows n0 … n1 of 8-bit codes → out (rows, blocks, block) fp32."""
    for n in range(n0, n1):
        for b in range(w.shape[1]):
            s, z = as_float(scale[n, b]), i32(zero[n, b])
            for j in range(w.shape[2]):
                out[n - n0, b, j] = f32(i32(i32(w[n, b, j]) - z)) * s
