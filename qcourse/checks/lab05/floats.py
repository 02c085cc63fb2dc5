"""Small floats by their tables, the lab's second implementation; and by steps, the way in which they go wrong."""

import torch

from qcourse.shapes import Tensor


def table(exponent_bits: int, mantissa_bits: int, bias: int) -> Tensor:
    """The magnitude of every code, rising, in fp64."""
    code = torch.arange(1 << (exponent_bits + mantissa_bits))
    E, M = code >> mantissa_bits, (code & ((1 << mantissa_bits) - 1)).double() / (1 << mantissa_bits)
    return torch.where(E == 0, M, 1 + M) * 2.0 ** (E.clamp(min=1) - bias).double()


E4M3 = table(4, 3, 7)[:127]  # 0 … 448; the last code is NaN
E2M1 = table(2, 1, 1)  # 0 … 6


def middles(values: Tensor) -> Tensor:
    """Where one code ends and the next begins."""
    return (values[1:] + values[:-1]) / 2


def nearest(x: Tensor, values: Tensor) -> Tensor:
    """The magnitude's code, int64: the place of the nearest value; a tie goes to the even place, the last one saturates."""
    magnitude, middle = x.double().abs(), middles(values)
    code = torch.bucketize(magnitude, middle)  # of a tie, the lower one
    tie = magnitude == middle[code.clamp(max=len(middle) - 1)]
    return code + (tie & (code % 2 == 1) & (code < len(middle)))


def by_steps(
    x: Tensor, m: int, bias: int, top: float = torch.inf, rounding=torch.round, lowest: float | None = None
) -> Tensor:
    """The magnitude's code, int64: n steps into the binade of its exponent; `lowest`: where the subnormals begin."""
    magnitude = x.double().abs().clamp(max=top).nan_to_num(0, posinf=2.0**128)
    first = 1 - bias
    e = torch.frexp(magnitude.clamp(min=2.0**first if lowest is None else lowest)).exponent - 1
    return ((e - first) * (1 << m) + rounding(scaled(magnitude, m - e))).long()


def unshifted(x: Tensor, m: int, bias: int, top: float, lowest: int) -> Tensor:
    """by_steps with frexp's own exponent, that of ½ … 1; `lowest`: the least that it may be."""
    magnitude = x.double().abs().clamp(max=top).nan_to_num(0)
    e = torch.frexp(magnitude).exponent.clamp(min=lowest)
    return ((e + bias - 1) * (1 << m) + scaled(magnitude, m - e).round()).long()


def scaled(x: Tensor, exponent: Tensor | int) -> Tensor:
    """x · 2^exponent in fp64."""
    return x.double() * 2.0 ** torch.as_tensor(exponent).double()


def away(t: Tensor) -> Tensor:
    """Ties away from zero."""
    return t.sign() * (t.abs() + 0.5).floor()


def toward(t: Tensor) -> Tensor:
    """Ties towards zero."""
    return t.sign() * (t.abs() - 0.5).ceil()


def with_sign(code: Tensor, x: Tensor, bit: int) -> Tensor:
    """The sign bit (of −0 too) above the magnitude, uint8."""
    return (code + bit * torch.signbit(x)).to(torch.uint8)


def complement(code: Tensor, x: Tensor, bit: int) -> Tensor:
    """A wrong sign: two's complement."""
    return (torch.where(torch.signbit(x), -code, code) & (2 * bit - 1)).to(torch.uint8)


def unsigned(code: Tensor, x: Tensor, bit: int) -> Tensor:
    """A wrong sign: none."""
    return code.to(torch.uint8)
