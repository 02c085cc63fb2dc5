"""The least-squares fits of ggml for 16 blocks side by side, a block a lane: numerics.ggml_fits again, as parts of loops.

x and w are rooms of G vectors (gemm.lanes): weight i of every block, and how much it counts. Every lane does what the C code
does, in its order; so the results are those of `ggml_fits`, bit for bit.
"""

import numpy as np

from qcourse.gemm.jit import part
from qcourse.gemm.lanes import bits_of, every, largest, magnitude, mask, nearest, real_at, reals, where
from qcourse.gemm.operations import get, put

f32 = np.float32
MOST = 65504.0 * 127 * 32  # numerics.ggml_search.MOST
TINY = 1e-15


@part
def between(v, low, high):
    """v, at least low and at most high; NaN stays."""
    v = where(v < f32(low), reals(f32(low)), v)
    return where(v > f32(high), reals(f32(high)), v)


@part
def side_by_side(at, G, x):
    """16 blocks of G weights from the address `at` on → x; whether all are finite and within reach of a scale."""
    most = bits_of(reals(f32(0)))
    for i in range(G):
        v = every(at + 4 * i, 4 * G)
        put(x, i, v)
        top = bits_of(magnitude(v))
        most = where(top > most, top, most)
    return largest(most) <= f32(MOST).view(np.int32)


@part
def loudest(x, G):
    """(the number of the largest magnitude in each lane, with its sign, of two equal ones the first, 1 where none reaches
    TINY; where one does)."""
    top, found = magnitude(get(x, 0)), get(x, 0)
    for i in range(1, G):
        v = get(x, i)
        louder = magnitude(v) > top
        top, found = where(louder, magnitude(v), top), where(louder, v, found)
    alive = top >= f32(TINY)
    return where(alive, found, reals(f32(1))), alive


@part
def better_fit(a, b, d, best):
    """(d, what it explains): a/b where that explains more than `best`."""
    better, fit = (b > f32(0)) & (a * a > best * b), a / b
    return where(better, fit, d), where(better, fit * a, best)


@part
def signed_scale(x, w, G, limit, tries, count):
    """d of w ≈ d·q: `count` tries, whose numerators (fp32) lie at the address `tries`."""
    top, alive = loudest(x, G)
    zero = reals(f32(0))
    d, best = zero, zero
    for t in range(count):
        inverse, a, b = reals(real_at(tries + 4 * t)) / top, zero, zero
        for i in range(G):
            v, u = get(x, i), get(w, i)
            q = between(nearest(v * inverse), -limit, limit - 1)
            a, b = a + u * v * q, b + u * q * q
        if t == 0:
            d = where(b > f32(0), a / b, zero)
            best = d * a
        else:
            d, best = better_fit(a, b, d, best)
    return where(alive, d, zero)


@part
def descended(x, w, q, G, low, top):
    """d of w ≈ d·q after each code in q took its best value in turn, at most five times."""
    zero = reals(f32(0))
    a, b = zero, zero
    for i in range(G):
        u, c = get(w, i), get(q, i)
        a, b = a + u * get(x, i) * c, b + u * c * c
    for _ in range(5):
        moved = 0
        for i in range(G):
            u, v, c = get(w, i), get(x, i), get(q, i)
            a0, b0 = a - u * v * c, b - u * c * c
            new = between(nearest(v * b0 / where(a0 > f32(0), a0, reals(f32(1)))), low, top)
            a1, b1 = a0 + u * v * new, b0 + u * new * new
            go = (a0 > f32(0)) & (b1 > f32(0)) & (new != c) & (a1 * a1 * b > a * a * b1)
            put(q, i, where(go, new, c))
            a, b = where(go, a1, a), where(go, b1, b)
            moved |= mask(go)
        if moved == 0:
            break
    return where(b > f32(0), a / b, zero)


@part
def error(x, w, q, G, d, m, mad):
    """Σ w·|q·d + m - x|, or of its square."""
    total = reals(f32(0))
    for i in range(G):
        e = get(q, i) * d + m - get(x, i)
        total = total + (magnitude(e) if mad else e * e) * get(w, i)
    return total


@part
def codes_under(x, q, G, m, inverse, top):
    """q = round((x - m) · inverse), from 0 to top."""
    for i in range(G):
        put(q, i, between(nearest((get(x, i) - m) * inverse), 0, top))


@part
def extent(x, G):
    """(min but at most 0, max) of each lane."""
    low, high = reals(f32(0)), get(x, 0)
    for i in range(G):
        v = get(x, i)
        low, high = where(v < low, v, low), where(v > high, v, high)
    return low, high


@part
def sums_of(x, w, q, G):
    """(Σ w·q·x, Σ w·q, Σ w·q·q)."""
    lx = l1 = l2 = reals(f32(0))
    for i in range(G):
        c = get(q, i)
        wq = get(w, i) * c
        lx, l1, l2 = lx + wq * get(x, i), l1 + wq, l2 + wq * c
    return lx, l1, l2


@part
def scale_and_minimum(x, w, q, G, top, tries, count, mad):
    """(d, m) of w ≈ d·q - m: `count` tries, whose spans (fp32) lie at the address `tries`; each starts from the best minimum
    so far. q is room for codes."""
    low, high = extent(x, G)
    flat, zero, sum_w, sum_x = high <= low, reals(f32(0)), reals(f32(0)), reals(f32(0))
    for i in range(G):
        sum_w, sum_x = sum_w + get(w, i), sum_x + get(w, i) * get(x, i)
    high, m = where(flat, low + f32(1), high), low
    inverse = reals(f32(top)) / (high - m)
    d = where(inverse == f32(0), zero, reals(f32(1)) / inverse)
    codes_under(x, q, G, m, inverse, top)
    best = error(x, w, q, G, d, m, mad)
    for t in range(count):
        codes_under(x, q, G, m, reals(real_at(tries + 4 * t)) / (high - m), top)
        lx, l1, l2 = sums_of(x, w, q, G)
        D = sum_w * l2 - l1 * l1
        this_d, this_m = (sum_w * lx - sum_x * l1) / D, (l2 * sum_x - l1 * lx) / D
        positive = this_m > f32(0)
        this_d, this_m = where(positive, lx / l2, this_d), where(positive, zero, this_m)
        now = error(x, w, q, G, this_d, this_m, mad)
        better = (f32(0) < D) & (now < best)
        d, m, best = where(better, this_d, d), where(better, this_m, m), where(better, now, best)
    return where(flat, zero, d), zero - where(flat, low, m)
