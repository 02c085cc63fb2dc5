"""What stands between the products of a decode step, one compiled loop each: a norm, and the attention of one position.

Each replaces a dozen small tensor operations, whose calls cost more than their arithmetic. Numbers are summed in fp32 and
rounded where torch rounds; arrays are fp32 or bf16 bits.
"""

import numpy as np

from qcourse.gemm.arguments import matrix, next_rows
from qcourse.gemm.jit import as_float, part, rounded, task

f32 = np.float32


@part
def rms_norm(x, weight, eps, y):
    """y (M, K) = x / rms(x) · weight (1, K); the normalized x is rounded to y's type before the gain, as in Llama."""
    K = x.shape[1]
    for m in range(len(x)):
        squares = f32(0)
        for k in range(K):
            v = as_float(x[m, k])
            squares += v * v
        scale = f32(1) / np.sqrt(squares / f32(K) + eps)
        for k in range(K):
            h = as_float(rounded(as_float(x[m, k]) * scale, y))
            y[m, k] = rounded(as_float(rounded(as_float(weight[0, k]), y)) * h, y)


def swiglu(x_type):
    """silu(gate) · up: two operations as one."""

    @task
    def swiglu(a):
        """a: two · gate · up · y, each (1, K): y = gate / (1 + exp(-gate)) · up, silu rounded as torch rounds it."""
        gate, up, y = matrix(a, 2, x_type), matrix(a, 5, x_type), matrix(a, 8, x_type)
        for k in range(y.shape[1]):
            v = as_float(gate[0, k])
            y[0, k] = rounded(as_float(rounded(v / (f32(1) + np.exp(-v)), y)) * as_float(up[0, k]), y)

    return swiglu


def norm(x_type, weight_type):
    """The task of `rms_norm`."""

    @task
    def norm(a):
        """a: two · x · weight · y · eps as the bits of a double."""
        x, weight, y = matrix(a, 2, x_type), matrix(a, 5, weight_type), matrix(a, 8, x_type)
        rms_norm(x, weight, f32(np.int64(a[11]).view(np.float64)), y)

    return norm


@part
def attend_one(q, k, v, cos, sin, keys, values, past, y, g0, g1):
    """One position: q (heads, D), k and v (kv_heads, D) are turned and joined to keys and values (kv_heads, max_len, D) at
    `past`; y (heads, D) is what the query heads of key heads g0 … g1 gather. cos, sin (1, D)."""
    (heads, D), half = q.shape, q.shape[1] // 2
    each, scale = heads // len(k), f32(1) / np.sqrt(f32(D))
    turned, weights, total = np.empty(D, f32), np.empty(past + 1, f32), np.empty(D, f32)
    for g in range(g0, g1):
        for d in range(D):
            other = as_float(k[g, d + half]) * f32(-1) if d < half else as_float(k[g, d - half])
            keys[g, past, d] = rounded(as_float(k[g, d]) * as_float(cos[0, d]) + other * as_float(sin[0, d]), keys)
            values[g, past, d] = v[g, d]
        for h in range(g * each, (g + 1) * each):
            for d in range(D):
                other = as_float(q[h, d + half]) * f32(-1) if d < half else as_float(q[h, d - half])
                value = as_float(q[h, d]) * as_float(cos[0, d]) + other * as_float(sin[0, d])
                turned[d] = as_float(rounded(value, y)) * scale
            loudest = f32(-np.inf)
            for t in range(past + 1):
                score = f32(0)
                for d in range(D):
                    score += turned[d] * as_float(keys[g, t, d])
                weights[t] = score
                loudest = max(loudest, score)
            added = f32(0)
            for t in range(past + 1):
                weights[t] = np.exp(weights[t] - loudest)
                added += weights[t]
            total[:] = f32(0)
            for t in range(past + 1):
                for d in range(D):
                    total[d] += weights[t] * as_float(values[g, t, d])
            for d in range(D):
                y[h, d] = rounded(total[d] / added, y)


def attend(x_type):
    """The task of `attend_one`."""

    @task
    def attend(a):
        """a: two · q · k · v · cos · sin · y · keys · values, each (kv_heads · max_len, D) · past."""
        q, k, v = matrix(a, 2, x_type), matrix(a, 5, x_type), matrix(a, 8, x_type)
        cos, sin, y = matrix(a, 11, x_type), matrix(a, 14, x_type), matrix(a, 17, x_type)
        keys, values = matrix(a, 20, x_type), matrix(a, 23, x_type)
        shape = (len(k), len(keys) // len(k), k.shape[1])
        g0, g1 = next_rows(a, len(k))
        while g0 < g1:
            attend_one(q, k, v, cos, sin, keys.reshape(shape), values.reshape(shape), a[26], y, g0, g1)
            g0, g1 = next_rows(a, len(k))

    return attend
