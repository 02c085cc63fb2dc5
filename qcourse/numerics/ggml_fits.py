"""The least-squares fits of ggml, for many blocks at once: x is (G, blocks), a weight of every block in a row.

    signed_scale       w ≈ d·q, q from -limit to limit - 1: 19 tries around the loudest weight on -limit
    descended          w ≈ d·q: code by code, as long as that helps, at most five rounds
    scale_and_minimum  w ≈ d·q - m, q from 0 to top: 16 to 37 tries, each refitted
    unsigned_codes, fitted_codes   scales and minima → codes of their own, under one fp16 number

A weight's error counts `w` times. A block whose loudest weight is below 1e-15 is zero. Sums are taken in the order of the C
code, and so are quotients: the bytes are its own, unless it was compiled to fuse multiplications with additions.
Source: ggml's `ggml-quants.c` (`make_qx_quants`, `make_q3_quants`, `make_qkx2_quants`, `…qkx3…`, `make_qp_quants`).
"""

import torch

from qcourse.shapes import Float, Tensor

TINY = 1e-15


def in_order(t: Float[Tensor, "G n"]) -> Float[Tensor, "n"]:
    """t[0] + t[1] + …, one after another; t is spoilt. (torch adds 16 rows in order, and more in
    portions, for the columns that fill whole vectors: n a multiple of 64.)"""
    total = t[:16].sum(0)
    for a in range(16, len(t), 16):
        t[a - 1] = total
        total = t[a - 1 : a + 16].sum(0)
    return total


def over(number: int | float, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """number / t, rounded once (torch's own multiplies by 1/t)."""
    return torch.full_like(t, number).div_(t)


def reciprocal(d: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1/d, and 0 where d is 0."""
    return torch.where(d == 0, torch.zeros_like(d), 1 / d)


def root(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """√x rounded correctly (torch's own, in fp32, may be one bit off)."""
    return x.double().sqrt_().float()


def half(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """As fp16. Raises ValueError for what lies beyond its range."""
    if (x.abs() > torch.finfo(torch.float16).max).any():
        raise ValueError(f"a scale or minimum of {x.abs().max():.3g} does not fit float16, in which GGUF's blocks store it")
    return x.half()


def loudest(x: Float[Tensor, "G n"]) -> tuple[Float[Tensor, "n"], Tensor]:
    """The number of the largest magnitude in each column, with its sign, of two equal ones the first; 1 where none reaches
    TINY, and where one does."""
    top = x.gather(0, x.abs().argmax(0, keepdim=True)).squeeze(0)
    alive = top.abs() >= TINY
    return torch.where(alive, top, torch.ones_like(top)), alive


def signed_scale(x: Float[Tensor, "G n"], w: Float[Tensor, "G n"], limit: int) -> tuple[Tensor, Tensor]:
    """(d (n), q (G, n)) of w ≈ d·q: the try with the smallest error, refitted; q as that try had it."""
    (top, alive), wx = loudest(x), w * x
    d = best = codes = None
    for tried in (limit + 0.1 * torch.tensor([0.0, *range(-9, 0), *range(1, 10)])).tolist():
        q = (x * over(-tried, top)).round_().clamp_(-limit, limit - 1)
        a, b = in_order(wx * q), in_order((w * q).mul_(q))
        fit = torch.where(b > 0, a / b, torch.zeros_like(a))
        better = (b > 0) & (a * a > best * b) if d is not None else torch.ones_like(alive)
        codes = q if d is None else torch.where(better, q, codes)
        d, best = (fit, fit * a) if d is None else (torch.where(better, fit, d), torch.where(better, fit * a, best))
    return torch.where(alive, d, torch.zeros_like(d)), torch.where(alive, codes, torch.zeros_like(codes))


def descended(x: Float[Tensor, "G n"], w: Float[Tensor, "G n"], q: Float[Tensor, "G n"], low: int, top: int):
    """(d, q): each code in turn takes its best value under the scale that the others want, if the error falls by it."""
    wx = w * x
    a, b = in_order(wx * q), in_order((w * q).mul_(q))
    for _ in range(5):
        before = q.clone()
        for i in range(len(x)):
            a0, b0 = a - wx[i] * q[i], b - w[i] * q[i] * q[i]
            new = (x[i] * b0 / torch.where(a0 > 0, a0, torch.ones_like(a0))).round_().clamp_(low, top)
            a1, b1 = a0 + wx[i] * new, b0 + w[i] * new * new
            go = (a0 > 0) & (b1 > 0) & (new != q[i]) & (a1 * a1 * b > a * a * b1)
            q[i], a, b = torch.where(go, new, q[i]), torch.where(go, a1, a), torch.where(go, b1, b)
        if torch.equal(before, q):
            break
    return torch.where(b > 0, a / b, torch.zeros_like(b)), q


def scale_and_minimum(x: Float[Tensor, "G n"], w: Float[Tensor, "G n"], top: int, first, steps: int, step, mad):
    """(d, m): steps + 1 tries, with spans that hold top + first, top + first + step, … steps; mad: judged by |error|.

    A try starts from the best minimum so far.
    """
    low, high = torch.aminmax(x, dim=0)
    low = low.clamp_(max=0)
    wx, sum_w, flat = w * x, in_order(w.clone()), high <= low
    sum_x, high = in_order(wx.clone()), torch.where(flat, low + 1, high)

    def error(d, m, q):
        e = (q * d).add_(m).sub_(x)
        return in_order((e.abs_() if mad else e.square_()).mul_(w))

    m = low
    d = reciprocal(over(top, high - m))
    q = ((x - m) * over(top, high - m)).round_().clamp_(0, top)
    best = error(d, m, q)
    for span in (first + step * torch.arange(steps + 1.0) + top).tolist():
        torch.sub(x, m, out=q).mul_(over(span, high - m)).round_().clamp_(0, top)
        wq = w * q
        lx, l1, l2 = in_order(wq * x), in_order(wq.clone()), in_order(wq.mul_(q))
        D = sum_w * l2 - l1 * l1
        this_d, this_m = (sum_w * lx - sum_x * l1) / D, (l2 * sum_x - l1 * lx) / D
        positive = this_m > 0
        this_d, this_m = torch.where(positive, lx / l2, this_d), torch.where(positive, torch.zeros_like(D), this_m)
        now = error(this_d, this_m, q)
        better = (D > 0) & (now < best)
        d, m, best = torch.where(better, this_d, d), torch.where(better, this_m, m), torch.where(better, now, best)
    return torch.where(flat, torch.zeros_like(d), d), torch.where(flat, -low, -m)


def unsigned_codes(v: Float[Tensor, "per n"], top: int) -> tuple[Tensor, Tensor]:
    """(fp16 number (n), codes (per, n)): the largest lands on the last code."""
    most = v.amax(0).clamp_(min=0) + 0.0  # -0 → 0
    inverse = torch.where(most > 0, over(top, most), torch.zeros_like(most))
    return half(most / top), (v * inverse).round_().clamp_(0, top)


def fitted_codes(v: Float[Tensor, "per n"], w: Float[Tensor, "per n"], top: int) -> tuple[Tensor, Tensor]:
    """(fp16 number (n), codes (per, n)): the best of 9 tries, then code by code."""
    most = v.amax(0)
    alive = most >= TINY
    most = torch.where(alive, most, torch.ones_like(most))
    best = keep = None
    for tried in (0.1 * torch.tensor([0.0, -4, -3, -2, -1, 1, 2, 3, 4]) + top).tolist():
        inverse = over(tried, most)
        q = (v * inverse).round_().clamp_(max=top)
        error = in_order((v - q * (1 / inverse)).square_().mul_(w))
        better = error < best if best is not None else torch.ones_like(alive)
        keep, best = (q, error) if best is None else (torch.where(better, q, keep), torch.where(better, error, best))
    d, q = descended(v, w, torch.where(alive, keep, torch.zeros_like(keep)), 0, top)
    return half(d), q
