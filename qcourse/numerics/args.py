"""One tensor's recipe: which grid, which granularity, which scale, and how scales and zero points are stored.

A layer's recipe is a `QuantizationScheme` (numerics.schemes); the formats with names of their own are in numerics.formats.
"""

from dataclasses import dataclass, replace

import torch

from qcourse.numerics.granularity import Granularity, per_channel, per_tensor
from qcourse.numerics.grids import Grid, IntGrid

SCALINGS = ("absmax", "minmax", "percentile", "mse", "max", "mean", "floor", "even", "even_fp4", "ceil", "round_up",
            "inverse", "two_level", "four_over_six", "ggml", "nf4", "centred")  # fmt: skip
WITH_ZERO = ("minmax", "centred")  # scalings that find a zero point, too; "ggml" finds one where the format has it


@dataclass(frozen=True)
class QuantizationArgs:
    """How one tensor is quantized: q = encode(w / s), once a block of `granularity`.

    scale     how the scales are stored: a float dtype, a Grid (codes that need no scale, as E8M0), or `QuantizationArgs`
              again (a scale that is itself quantized, as in NVFP4 and the K-quants): one recursive rule
    zero      how the zero points are stored, likewise; None: there are none, the grid is symmetric
    zero_in   "steps": w = s · (q - z), as in GPTQ and AWQ; "weights": w = s · q - m, as in GGUF and HQQ;
              "tensor": the same with one m for all of it, as in NF4's scales
    scaling   how the scale is found: numerics.scaling (absmax … round_up), two_level (NVFP4), ggml (GGUF's types), nf4 and
              centred (NF4 and its scales). "minmax" needs a zero point, most others have none. It is no part of what is
              stored: `same_storage` compares without it
    dynamic   of activations: False when the scale is fixed beforehand (a tensor of the file); "local" when that is so of
              the number above the scales only (NVFP4): every block's own scale comes from the token

    Raises ValueError when these contradict each other.
    """

    grid: Grid
    granularity: Granularity = per_channel
    scaling: str = "absmax"
    scale: "QuantizationArgs | Grid | torch.dtype" = torch.bfloat16
    zero: "QuantizationArgs | Grid | torch.dtype | None" = None
    zero_in: str = "steps"
    dynamic: bool | str = True

    def __post_init__(self):
        if self.scaling not in SCALINGS:
            raise ValueError(f"scaling {self.scaling!r}: one of {', '.join(SCALINGS)}")
        if self.scaling != "ggml" and (self.scaling in WITH_ZERO) == (self.zero is None):
            need = "a zero point (zero=…)" if self.zero is None else "scaling='minmax'"
            raise ValueError(f"scaling={self.scaling!r}, zero={self.zero} on {self.grid}: this combination needs {need}")
        if (
            isinstance(self.grid, IntGrid)
            and not self.grid.signed
            and self.zero is None
            and self.scaling not in ("max", "ggml")
        ):
            raise ValueError(f"{self.grid} without a zero point: negative weights have no code; this needs scaling='minmax'")
        if self.dynamic not in (True, False, *(["local"] if isinstance(self.scale, QuantizationArgs) else [])):
            raise ValueError(f"dynamic={self.dynamic!r}: True, False, or 'local' for scales of two levels (NVFP4)")
        if self.zero_in not in ("steps", "weights", "tensor"):
            raise ValueError(f"zero_in={self.zero_in!r}: 'steps' for s·(q - z), 'weights' or 'tensor' for s·q - m")
        for name, how in (("scale", self.scale), ("zero", self.zero)):
            if not (how is None and name == "zero" or isinstance(how, (QuantizationArgs, Grid)) or is_float(how)):
                raise ValueError(f"{name}={how!r}: a float dtype, a Grid, or QuantizationArgs")

    @property
    def symmetric(self) -> bool:
        """No zero point: real 0 is code 0."""
        return self.zero is None

    @property
    def calibrated(self) -> bool:
        """Of activations: whether a number of the file, found on a text, stands for all tokens."""
        return self.dynamic is not True

    @property
    def num_bits(self) -> int:
        """Bits a code."""
        return self.grid.num_bits

    @property
    def group_size(self) -> int | None:
        """G, or None where there are no groups."""
        return self.granularity.group_size

    def check(self, K: int) -> None:
        """Raise ValueError unless K is made of whole blocks, those of scales under a scale of their own included."""
        self.granularity.check(K)
        inner = self.scale.granularity if isinstance(self.scale, QuantizationArgs) else per_channel
        if inner.group_size is None:
            return
        block = self.group_size * inner.group_size
        if K % block:
            low = K // block * block
            raise ValueError(
                f"blocks of {block} weights ({inner.group_size} scales of {self.group_size} under one) do not divide K={K}; "
                f"nearest legal K: {f'{low} or ' if low else ''}{low + block}"
            )

    def bits_per_weight(self, N: int, K: int) -> float:
        """Codes + scales + zero points of a weight (N, K), in bits a weight: 4-bit, G=128, bf16 scales → 4.125.

        One recursive rule: a stored scale takes its dtype's bits, or its grid's, or what its own args take.
        """
        R, C = self.granularity.scales(N, K)
        zeros = self.zeros(N, K)
        bits = stored_bits(self.scale, R, C) * R * C + stored_bits(self.zero, *zeros) * zeros[0] * zeros[1]
        return self.num_bits + bits / (N * K)

    def zeros(self, N: int, K: int) -> tuple[int, int]:
        """The shape of the zero points of a weight (N, K): that of the scales, or (1, 1)."""
        return per_tensor.scales(N, K) if self.zero_in == "tensor" else self.granularity.scales(N, K)

    def same_storage(self, other: "QuantizationArgs") -> bool:
        """Whether both are stored alike, however their scales were found."""
        return plain(self) == plain(other)

    def with_(self, **changes) -> "QuantizationArgs":
        """A copy with some fields changed: `W4.with_(granularity=per_group(32))`."""
        return replace(self, **changes)


def is_float(how) -> bool:
    """Whether `how` is a floating dtype."""
    return isinstance(how, torch.dtype) and how.is_floating_point


def stored_bits(how: QuantizationArgs | Grid | torch.dtype | None, R: int, C: int) -> int | float:
    """Bits that one of the (R, C) scales or zero points takes. Zero points of an integer grid are counted packed."""
    if how is None:
        return 0
    if isinstance(how, QuantizationArgs):
        return how.bits_per_weight(R, C)
    return how.itemsize * 8 if isinstance(how, torch.dtype) else how.num_bits


def plain(how):
    """The recipe without the way in which scales were found; "inverse" also says what is stored."""
    if not isinstance(how, QuantizationArgs):
        return how
    scaling = "minmax" if how.zero is not None else "inverse" if how.scaling == "inverse" else "absmax"
    if isinstance(how.grid, IntGrid) and not how.grid.signed and how.zero is None:
        scaling = "max"
    return replace(how, scale=plain(how.scale), zero=plain(how.zero), scaling=scaling)
