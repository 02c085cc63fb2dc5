"""Both sides in 8 bits, a scale a token and a channel: what stands before and after the product of codes, and that product.

torch does each of the two in several passes over the activations, which take longer than an int8 product; here each is one.
"""

import numpy as np

from qcourse.gemm.arguments import matrix, next_rows, read_row
from qcourse.gemm.blocks import loudest
from qcourse.gemm.jit import rounded, task

f32, i32 = np.float32, np.int32
TINY = np.finfo(f32).tiny  # the least normal number


@task
def quantize_tokens(a):
    """a: two · x (M, K) · codes (M, K) int8 · scale (M, 1), NaN for a token that holds NaN or inf · whether x is bf16.

    One scale a token, max|x| / 127.5: codes and scales are those of `numerics.quantize`, bit for bit.
    """
    codes, scale, values = matrix(a, 5, np.int8), matrix(a, 8, f32), np.empty(a[4], f32)
    m0, m1 = next_rows(a, len(codes))
    while m0 < m1:
        for m in range(m0, m1):
            read_row(a, 2, a[11], m, values)
            s = loudest(values, 0, len(values), i32(0)) / f32(127.5)
            if s == 0:
                s = f32(1)
            elif s < TINY:
                s = TINY
            scale[m, 0] = s
            for k in range(len(values)):
                v = max(min(np.rint(values[k] / s), f32(127)), f32(-128))
                codes[m, k] = np.int8(i32(v if v == v else f32(0)))
        m0, m1 = next_rows(a, len(codes))


def scale_sums(y_type):
    """Sums of products of codes → y."""

    @task
    def scale_sums(a):
        """a: two · sums (M, N) int32 · the tokens' scale (M or 1, 1) · the channels' scale (1, N or 1) · y (M, N)."""
        sums, tokens, channels, y = matrix(a, 2, i32), matrix(a, 5, f32), matrix(a, 8, f32), matrix(a, 11, y_type)
        one = channels.shape[1] == 1
        m0, m1 = next_rows(a, len(y))
        while m0 < m1:
            for m in range(m0, m1):
                s = tokens[min(m, len(tokens) - 1), 0]
                for n in range(y.shape[1]):
                    y[m, n] = rounded(f32(sums[m, n]) * s * channels[0, 0 if one else n], y)
            m0, m1 = next_rows(a, len(y))

    return scale_sums


@task
def w8a8_dots(a):
    """a: two · w (N, K) · x (M, K) · y (M, N): int8 codes on both sides, int32 = Σ_k w[n, k] · x[m, k], exact for
    K < 131072."""
    w, x, y = matrix(a, 2, np.int8), matrix(a, 5, np.int8), matrix(a, 8, i32)
    n0, n1 = next_rows(a, len(w))
    while n0 < n1:
        for n in range(n0, n1):
            for m in range(len(x)):
                exact = i32(0)
                for k in range(x.shape[1]):
                    exact = i32(exact + i32(i32(w[n, k]) * i32(x[m, k])))
                y[m, n] = exact
        n0, n1 = next_rows(a, len(w))
