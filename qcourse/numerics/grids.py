"""The finite set of values a format can hold, and how a real number lands on it.

Every format of the course is a grid: after dividing by the scale, a weight is moved to the nearest grid value and
stored as that value's *code*. Integers are evenly spaced; floats are dense near zero and sparse far out; a codebook
lists its values. All a grid needs is `encode` and `decode`, and both are pure.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from qcourse.shapes import Float, Shaped, Tensor


@runtime_checkable
class Grid(Protocol):
    """What a number format is: bits a code, the magnitude that absmax is mapped to, the dtype of unpacked codes."""

    num_bits: int
    limit: float
    dtype: torch.dtype

    def encode(self, x: Float[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The nearest code of each element, as `dtype`; x is not changed."""

    def decode(self, codes: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The value of each code, in fp32."""


@dataclass(frozen=True)
class IntGrid:
    """B-bit integers.

    full        -2^(B-1) … 2^(B-1)-1   one more level below than above; `limit` = (2^B-1)/2, e.g. absmax/7.5
    restricted  ±(2^(B-1)-1)           the mirror image always exists; `limit` = 2^(B-1)-1, e.g. absmax/7
    unsigned    0 … 2^B-1              lives with a zero point: real 0 is exactly the code z

    >>> IntGrid(4).qmin, IntGrid(4).qmax, IntGrid(4).limit
    (-8, 7, 7.5)

    Raises ValueError for bits outside 2…8, or an unsigned restricted range.
    Source: Jacob et al. 2018 (arXiv:1712.05877); limit 7.5 is compressed-tensors' convention. Notebook 01 §1.
    """

    num_bits: int
    signed: bool = True
    restricted: bool = False

    def __post_init__(self):
        if not 2 <= self.num_bits <= 8:
            raise ValueError(f"num_bits={self.num_bits}: an integer grid has 2 to 8 bits")
        if self.restricted and not self.signed:
            raise ValueError("restricted=True needs signed=True: an unsigned grid uses all 2^B codes")

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.num_bits}{' (restricted)' if self.restricted else ''}"

    @property
    def qmin(self) -> int:
        """Smallest code."""
        return 0 if not self.signed else -self.qmax if self.restricted else -(1 << (self.num_bits - 1))

    @property
    def qmax(self) -> int:
        """Largest code."""
        return (1 << (self.num_bits - 1)) - 1 if self.signed else (1 << self.num_bits) - 1

    @property
    def limit(self) -> float:
        """What the largest magnitude of a block is mapped to: scale = absmax / limit."""
        return float(self.qmax) if self.restricted else ((1 << self.num_bits) - 1) / 2

    @property
    def dtype(self) -> torch.dtype:
        """How unpacked codes are stored."""
        return torch.int8 if self.signed else torch.uint8

    def encode(self, x: Float[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The nearest code of each element (ties to even), clamped *after* rounding."""
        return x.round().clamp_(self.qmin, self.qmax).to(self.dtype)

    def decode(self, codes: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The value of each code: for integers, itself."""
        return codes.float()


@dataclass(frozen=True)
class FloatGrid:
    """A small float S.E.M: sign, `exponent_bits`, `mantissa_bits`. Codes are the bit patterns, as uint8.

    value = (-1)^s · 2^(e-bias) · 1.m      subnormals (e = 0): (-1)^s · 2^(1-bias) · 0.m
    Encoding saturates: anything beyond `max`, even inf, becomes ±max (casts disagree there); NaN stays NaN.

    >>> E4M3.max, E5M2.max, E4M3.smallest
    (448.0, 57344.0, 0.001953125)

    Source: Micikevicius et al. 2022 (arXiv:2209.05433); E2M1: OCP MX v1.0. Bit-exact with torch and ml_dtypes (tests).
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    bias: int
    max: float
    nan_code: int | None = None
    ieee: bool = False  # the top exponent means inf and NaN, as in E5M2

    def __str__(self) -> str:
        return self.name.upper()

    @property
    def num_bits(self) -> int:
        """1 sign bit + exponent + mantissa."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def limit(self) -> float:
        """scale = absmax / limit."""
        return self.max

    @property
    def smallest(self) -> float:
        """The smallest positive value: one step of the subnormal range."""
        return 2.0 ** (1 - self.bias - self.mantissa_bits)

    @property
    def dtype(self) -> torch.dtype:
        """Codes are bit patterns."""
        return torch.uint8

    def encode(self, x: Float[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The bit pattern of the nearest value (ties to even), out of the bits of fp32, which has the same parts.

            normal      drop the low 23 - m bits, rounding; count the exponent from this format's first binade
            subnormal   add 2^(e_min + 23 - m): fp32 itself rounds to whole steps, and its low bits are their number

        A carry into the next binade happens by itself in both.
        """
        shift, e_min = 23 - self.mantissa_bits, 1 - self.bias
        magnitude = x.abs().float().clamp_(max=self.max)
        magic = torch.tensor(2.0 ** (e_min + shift), device=x.device)
        bits = magnitude.view(torch.int32)
        small = (magnitude + magic).view(torch.int32).sub_(magic.view(torch.int32))
        normal = ((bits >> shift) & 1).add_(bits).add_((1 << (shift - 1)) - 1 - ((126 + e_min) << 23)) >> shift
        codes = torch.where(magnitude < 2.0**e_min, small, normal)
        if self.nan_code is not None:
            codes.masked_fill_(x.isnan(), self.nan_code)
        return codes.add_(torch.signbit(x), alpha=1 << (self.num_bits - 1)).to(torch.uint8)

    def table(self) -> Float[Tensor, "codes"]:
        """The value of every code, 2^B of them, in code order (NaN and inf where the format has them)."""
        code = torch.arange(1 << self.num_bits)
        e = (code >> self.mantissa_bits) & ((1 << self.exponent_bits) - 1)
        m = (code & ((1 << self.mantissa_bits) - 1)).float() / (1 << self.mantissa_bits)
        value = torch.where(e == 0, m, 1 + m) * torch.exp2((e.clamp(min=1) - self.bias).float())
        if self.ieee:
            top = e == (1 << self.exponent_bits) - 1
            value = torch.where(top, torch.where(m == 0, torch.inf, torch.nan), value)
        elif self.nan_code is not None:
            value[code & 0x7F == self.nan_code] = torch.nan
        return torch.where(code >> (self.num_bits - 1) == 1, -value, value)

    def decode(self, codes: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The value of each code: its bits, shifted to where a half has them, and the difference of the biases made good."""
        shift, rest = 10 - self.mantissa_bits, (1 << (self.num_bits - 1)) - 1
        wide = codes.short()
        half = (wide & rest).bitwise_left_shift_(shift).bitwise_or_((wide >> (self.num_bits - 1)) << 15)
        value = half.view(torch.float16).float().mul_(2.0 ** (15 - self.bias))
        if self.nan_code is not None and not self.ieee:
            value.masked_fill_((wide & rest) == self.nan_code, torch.nan)
        return value


E4M3 = FloatGrid("e4m3", 4, 3, bias=7, max=448.0, nan_code=0x7F)
E5M2 = FloatGrid("e5m2", 5, 2, bias=15, max=57344.0, nan_code=0x7F, ieee=True)
E3M2 = FloatGrid("e3m2", 3, 2, bias=3, max=28.0)
E2M3 = FloatGrid("e2m3", 2, 3, bias=1, max=7.5)
E2M1 = FloatGrid("e2m1", 2, 1, bias=1, max=6.0)
