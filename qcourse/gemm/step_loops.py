"""What stands between the products of a decode step, one compiled loop each: a norm, and the attention of one position.

Each replaces a dozen small tensor operations, whose calls cost more than their arithmetic. Numbers are summed in fp32 and
rounded where torch rounds; arrays are fp32 or bf16 bits.
"""

import numpy as np

from qcourse.gemm.jit import as_float, kernel, rounded

f32 = np.float32


@kernel
def rms_norm(x, weight, eps, y, m0, m1):
    """y (M, K) = x / rms(x) · weight; the normalized x is rounded to y's type before the gain, as in Llama."""
    K = x.shape[1]
    for m in range(m0, m1):
        squares = f32(0)
        for k in range(K):
            v = as_float(x[m, k])
            squares += v * v
        scale = f32(1) / np.sqrt(squares / f32(K) + f32(eps))
        for k in range(K):
            h = as_float(rounded(as_float(x[m, k]) * scale, y))
            y[m, k] = rounded(as_float(rounded(as_float(weight[k]), y)) * h, y)


@kernel
def attend_one(q, k, v, cos, sin, keys, values, past, y, g0, g1):
    """One position: q (heads, D), k and v (kv_heads, D) are turned and joined to keys and values (kv_heads, max_len, D) at
    `past`; y (heads, D) is what the query heads of key heads g0 … g1 gather. cos, sin (D)."""
    (heads, D), half = q.shape, q.shape[1] // 2
    each, scale = heads // len(k), f32(1) / np.sqrt(f32(D))
    turned, weights, total = np.empty(D, f32), np.empty(past + 1, f32), np.empty(D, f32)
    for g in range(g0, g1):
        for d in range(D):
            other = as_float(k[g, d + half]) * f32(-1) if d < half else as_float(k[g, d - half])
            keys[g, past, d] = rounded(as_float(k[g, d]) * as_float(cos[d]) + other * as_float(sin[d]), keys)
            values[g, past, d] = v[g, d]
        for h in range(g * each, (g + 1) * each):
            for d in range(D):
                other = as_float(q[h, d + half]) * f32(-1) if d < half else as_float(q[h, d - half])
                value = as_float(q[h, d]) * as_float(cos[d]) + other * as_float(sin[d])
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
