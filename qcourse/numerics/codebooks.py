"""Grids that are neither integers nor small floats: powers of two, and lists of values."""

from dataclasses import dataclass

import torch

from qcourse.shapes import Float, Shaped, Tensor


@dataclass(frozen=True)
class ExponentGrid:
    """Powers of two, 2^-127 … 2^127, as a biased exponent in 8 bits: E8M0, the shared scale of the MX formats.

    >>> E8M0.decode(torch.tensor([127, 130], dtype=torch.uint8))
    tensor([1., 8.])

    Source: OCP Microscaling Formats v1.0 (code 255 is NaN).
    """

    name: str = "e8m0"
    num_bits: int = 8
    limit: float = 2.0**127
    dtype: torch.dtype = torch.uint8

    def __str__(self) -> str:
        return self.name

    def encode(self, x: Float[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The exponent of the largest power of two that is not above x, as OCP's floor rule has it; 0 and below → 2^-127."""
        code = (torch.frexp(x.float().clamp(max=torch.finfo(torch.float32).max)).exponent + 126).clamp_(0, 254)
        return torch.where(x > 0, code, 0).masked_fill_(x.isnan(), 255).to(torch.uint8)

    def decode(self, codes: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """2^(code - 127), exactly."""
        value = torch.ldexp(torch.ones_like(codes, dtype=torch.float32), codes.int() - 127)
        return value.masked_fill_(codes == 255, torch.nan)


@dataclass(frozen=True)
class Codebook:
    """A list of values, in rising order; the code is the place in the list (NF4, IQ4_NL, ternary).

    upper: of two values that are equally near, the upper one is taken (as ggml does), not the lower
    """

    name: str
    values: tuple[float, ...]
    upper: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def num_bits(self) -> int:
        """Whole bits that hold a place in the list."""
        return (len(self.values) - 1).bit_length()

    @property
    def limit(self) -> float:
        """The largest magnitude of the list."""
        return max(map(abs, self.values))

    @property
    def dtype(self) -> torch.dtype:
        """Places are unsigned."""
        return torch.uint8

    def encode(self, x: Float[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The place of the nearest value."""
        v = torch.tensor(self.values, device=x.device)
        return torch.bucketize(x.float().contiguous(), (v[1:] + v[:-1]) / 2, right=self.upper).to(torch.uint8)

    def decode(self, codes: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The value at each place."""
        return torch.tensor(self.values, device=codes.device)[codes.int()]


def dynamic_map() -> tuple[float, ...]:
    """256 values from -1 to 1 in decades: 2^i steps in the decade 10^(i-7) … 10^(i-6), both signs, and 0 and 1.

    Source: Dettmers 2015 (arXiv:1511.04561), bitsandbytes' `create_dynamic_map`.
    """
    found = [0.0, 1.0]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        means = 10 ** (i - 6) * ((edges[:-1] + edges[1:]) / 2)
        found += means.tolist() + (-means).tolist()
    return tuple(sorted(found))


E8M0 = ExponentGrid()
DYNAMIC8 = Codebook("dynamic8", dynamic_map())  # of the scales of NF4
TERNARY = Codebook("ternary", (-1.0, 0.0, 1.0))
TQ2 = Codebook("tq2", (-1.0, 0.0, 1.0, 2.0))  # llama.cpp's ternary type: two bits could say 2, and no quantizer does
# 16 quantiles of a normal distribution, scaled to ±1, with an exact 0: QLoRA's NF4 (Dettmers et al. 2023, arXiv:2305.14314).
NF4 = Codebook("nf4", (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
))  # fmt: skip
# The 16 values of llama.cpp's IQ4_NL (a fit to the weights of models), in units of the block's scale.
IQ4_NL = Codebook("iq4_nl", (
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
), upper=True)  # fmt: skip
