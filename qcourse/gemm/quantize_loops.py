"""fp32 → GGUF's blocks with one scale each, in one pass: the bytes of `pack(quantize(W, args), "gguf")`.

Every task takes a: two · the address of W · the address of the blocks · how many blocks · a place for trouble. Blocks lie
behind each other in both, so rows do not matter. Trouble becomes 1 at what cannot be written (NaN, inf, a scale beyond fp16)
or is so quiet that 1/d overflows: such a W is left to torch.
Law: qcourse/numerics/ggml.py and packing/gguf.py.
"""

import numpy as np

from qcourse.gemm.arguments import matrix, next_rows
from qcourse.gemm.jit import exact, part
from qcourse.gemm.lanes import bits_of, largest, mask, real, real_at, reals_at, where, whole, write_bytes, write_number
from qcourse.gemm.quantize_store import MOST, half_bits

f32, i32 = np.float32, np.int32
QUIET = 2.0**-120  # blocks below this have a 1/d that overflows, or nearly


@part
def unwritable(d):
    """Whether fp16 or 1/d would overflow (or d is NaN)."""
    return not abs(d) <= f32(MOST) or f32(0) < abs(d) < f32(QUIET)


@part
def peak(lo, hi):
    """max|w| of 32 weights, as bits: ordered like the numbers, and NaN above all."""
    lo, hi = bits_of(lo) & 0x7FFFFFFF, bits_of(hi) & 0x7FFFFFFF
    return largest(where(lo > hi, lo, hi))


@part
def loudest(lo, hi):
    """The weight of the largest magnitude, with its sign; of two equal ones the first, and 0 without one."""
    top = peak(lo, hi)
    there = mask((bits_of(lo) & 0x7FFFFFFF) == top) | (mask((bits_of(hi) & 0x7FFFFFFF) == top) << 16)
    negative = mask(bits_of(lo) < 0) | (mask(bits_of(hi) < 0) << 16)
    value = i32(top).view(f32)
    return -value if top > 0 and there & -there & negative else value


@part
def in_order(v):
    """Bits of numbers → integers in the same order, and back."""
    return v ^ ((v >> 31) & 0x7FFFFFFF)


@part
def span(x, lo, hi):
    """(min, max) of the 32 weights at x; of 0 and -0, the first."""
    lo, hi = in_order(bits_of(lo)), in_order(bits_of(hi))
    high, low = largest(where(lo > hi, lo, hi)), -1 ^ largest(where(lo < hi, lo, hi) ^ -1)
    low, high = i32(low ^ ((low >> 31) & 0x7FFFFFFF)).view(f32), i32(high ^ ((high >> 31) & 0x7FFFFFFF)).view(f32)
    if low == 0:
        k = 0
        while real_at(x + 4 * k) != 0:
            k += 1
        low = real_at(x + 4 * k)
    return low, high


@part
def write_planes(out, lo, hi, bits):
    """32 codes: 4 bytes of the fifth bits, if there are any, then 16 of nibbles."""
    if bits == 5:
        write_number(out, mask((lo & 16) > 0) | (mask((hi & 16) > 0) << 16), 4)
    write_bytes(out + (4 if bits == 5 else 0), (lo & 15) | ((hi & 15) << 4))


def signed_extreme(bits: int):
    """Q4_0, Q5_0."""
    size, qmin, top = 18 if bits == 4 else 22, -(1 << (bits - 1)), (1 << bits) - 1

    @exact
    def quantize_signed_extreme(a):
        """d = loudest / -2^(B-1), q = trunc(x/d + 2^(B-1) + 1/2)."""
        trouble = matrix(a, 5, np.int64)
        first, end = next_rows(a, a[4])
        while first < end:
            for i in range(first, end):
                x, out = a[2] + 128 * i, a[3] + size * i
                lo, hi = reals_at(x), reals_at(x + 64)
                d = loudest(lo, hi) / f32(qmin)
                if unwritable(d):
                    trouble[0, 0] = 1
                    return
                inverse = f32(0) if d == 0 else f32(1) / d
                lo, hi = whole(lo * inverse + f32(0.5 - qmin)), whole(hi * inverse + f32(0.5 - qmin))
                write_number(out, half_bits(d), 2)
                write_planes(out + 2, where(lo < top, lo, top), where(hi < top, hi, top), bits)
            first, end = next_rows(a, a[4])

    return quantize_signed_extreme


def shifted(bits: int):
    """Q4_1, Q5_1."""
    size, top = 20 if bits == 4 else 24, (1 << bits) - 1

    @exact
    def quantize_shifted(a):
        """d = (max - min) / (2^B - 1), q = trunc((x - min)/d + 1/2)."""
        trouble = matrix(a, 5, np.int64)
        first, end = next_rows(a, a[4])
        while first < end:
            for i in range(first, end):
                x, out = a[2] + 128 * i, a[3] + size * i
                lo, hi = reals_at(x), reals_at(x + 64)
                low, high = span(x, lo, hi)
                d = f32(f32(high - low) / f32(top))
                if unwritable(d) or not abs(low) <= f32(MOST):
                    trouble[0, 0] = 1
                    return
                inverse = f32(0) if d == 0 else f32(1) / d
                lo, hi = whole((lo - low) * inverse + f32(0.5)), whole((hi - low) * inverse + f32(0.5))
                write_number(out, half_bits(d) | (half_bits(low) << 16), 4)
                write_planes(out + 4, where(lo < top, lo, top), where(hi < top, hi, top), bits)
            first, end = next_rows(a, a[4])

    return quantize_shifted


@part
def away(x, inverse):
    """16 codes, halves away from zero."""
    y = reals_at(x) * inverse
    q = whole(y)
    return q + whole((y - real(q)) * f32(2))


def q8_0():
    """Q8_0."""

    @exact
    def quantize_q8_0(a):
        """d = absmax / 127, q = round(x/d)."""
        trouble = matrix(a, 5, np.int64)
        first, end = next_rows(a, a[4])
        while first < end:
            for i in range(first, end):
                x, out = a[2] + 128 * i, a[3] + 34 * i
                d = f32(i32(peak(reals_at(x), reals_at(x + 64))).view(f32) / f32(127))
                if unwritable(d):
                    trouble[0, 0] = 1
                    return
                inverse = f32(0) if d == 0 else f32(1) / d
                write_number(out, half_bits(d), 2)
                write_bytes(out + 2, away(x, inverse))
                write_bytes(out + 18, away(x + 64, inverse))
            first, end = next_rows(a, a[4])

    return quantize_q8_0


def tq2_0():
    """TQ2_0."""

    @exact
    def quantize_tq2_0(a):
        """d = absmax, q = round(x/d) + 1."""
        trouble = matrix(a, 5, np.int64)
        first, end = next_rows(a, a[4])
        while first < end:
            for i in range(first, end):
                x, out, top = a[2] + 1024 * i, a[3] + 66 * i, i32(0)
                for k in range(0, 1024, 128):
                    top = max(top, peak(reals_at(x + k), reals_at(x + k + 64)))
                d = i32(top).view(f32)
                if unwritable(d):
                    trouble[0, 0] = 1
                    return
                inverse = f32(0) if d == 0 else f32(1) / d
                for k in range(0, 64, 16):  # byte 16j + k of 32 holds the weights 32 apart
                    w = x + 16 * (k & 32) + 4 * (k & 16)
                    q = (away(w, inverse) + 1) | ((away(w + 128, inverse) + 1) << 2)
                    write_bytes(out + k, q | ((away(w + 256, inverse) + 1) << 4) | ((away(w + 384, inverse) + 1) << 6))
                write_number(out + 64, half_bits(d), 2)
            first, end = next_rows(a, a[4])

    return quantize_tq2_0
