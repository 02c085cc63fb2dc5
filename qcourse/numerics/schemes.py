"""One tensor's recipe (`QuantizationArgs`), one layer's (`QuantizationScheme`), and the field's names for them.

`args` answers which grid, which granularity, which scale; `scheme` answers what gets quantized. The grammar
and the preset names are compressed-tensors' (W4A16 = 4-bit weights, 16-bit activations).
"""

from dataclasses import dataclass, replace

import torch

from qcourse.numerics.granularity import Granularity, per_channel, per_group, per_tensor, per_token
from qcourse.numerics.grids import E4M3, E5M2, FloatGrid, Grid, IntGrid

SCALINGS = ("absmax", "minmax", "percentile", "mse", "exponent", "max")


@dataclass(frozen=True)
class QuantizationArgs:
    """How one tensor is quantized: q = encode(w / s), once a block of `granularity`.

    scale     how the scales are stored: a float dtype, a Grid (codes that need no scale, as E8M0), or `QuantizationArgs`
              again (a scale that is itself quantized, as in NVFP4 and the K-quants): one recursive rule
    zero      how the zero points are stored, likewise; None: there are none, the grid is symmetric
    zero_in   "steps": w = s · (q - z), as in GPTQ and AWQ; "weights": w = s · q - m, as in GGUF and HQQ
    scaling   how the scale is found: numerics.scaling; "minmax" if and only if there is a zero point
    dynamic   of activations: False when the scale is fixed beforehand (a tensor of the file)

    Raises ValueError when these contradict each other.
    """

    grid: Grid
    granularity: Granularity = per_channel
    scaling: str = "absmax"
    scale: "QuantizationArgs | Grid | torch.dtype" = torch.bfloat16
    zero: "QuantizationArgs | Grid | torch.dtype | None" = None
    zero_in: str = "steps"
    dynamic: bool = True

    def __post_init__(self):
        if self.scaling not in SCALINGS:
            raise ValueError(f"scaling {self.scaling!r}: one of {', '.join(SCALINGS)}")
        if (self.scaling == "minmax") == (self.zero is None):
            need = "a zero point (zero=…)" if self.zero is None else "scaling='minmax'"
            raise ValueError(f"scaling={self.scaling!r}, zero={self.zero} on {self.grid}: this combination needs {need}")
        if isinstance(self.grid, IntGrid) and not self.grid.signed and self.zero is None and self.scaling != "max":
            raise ValueError(f"{self.grid} without a zero point: negative weights have no code; this needs scaling='minmax'")
        if self.zero_in not in ("steps", "weights"):
            raise ValueError(f"zero_in={self.zero_in!r}: 'steps' for s·(q - z), 'weights' for s·q - m")
        for name, how in (("scale", self.scale), ("zero", self.zero)):
            if not (how is None and name == "zero" or isinstance(how, (QuantizationArgs, Grid)) or is_float(how)):
                raise ValueError(f"{name}={how!r}: a float dtype, a Grid, or QuantizationArgs")

    @property
    def symmetric(self) -> bool:
        """No zero point: real 0 is code 0."""
        return self.zero is None

    @property
    def num_bits(self) -> int:
        """Bits a code."""
        return self.grid.num_bits

    @property
    def group_size(self) -> int | None:
        """G, or None where there are no groups."""
        return self.granularity.group_size

    def bits_per_weight(self, N: int, K: int) -> float:
        """Codes + scales + zero points of a weight (N, K), in bits a weight: 4-bit, G=128, bf16 scales → 4.125.

        One recursive rule: a stored scale takes its dtype's bits, or its grid's, or what its own args take.
        """
        R, C = self.granularity.scales(N, K)
        return self.num_bits + (stored_bits(self.scale, R, C) + stored_bits(self.zero, R, C)) * R * C / (N * K)

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


@dataclass(frozen=True)
class QuantizationScheme:
    """What gets quantized in a Linear: always the weight; the input activations too, or not (None)."""

    weights: QuantizationArgs
    input_activations: QuantizationArgs | None = None


def int_weight(num_bits: int, granularity: Granularity, symmetric: bool = True) -> QuantizationArgs:
    """Integer weights: full range and absmax when symmetric; zero points (codes of the grid) and min/max when not."""
    grid = IntGrid(num_bits, signed=symmetric)
    return QuantizationArgs(grid, granularity) if symmetric else QuantizationArgs(grid, granularity, "minmax", zero=grid)


FP32 = torch.float32
INT8_TOKEN = QuantizationArgs(IntGrid(8), per_token, scale=FP32)
INT8_TENSOR = QuantizationArgs(IntGrid(8), per_tensor, scale=FP32, dynamic=False)
INT8_BLOCKS = {G: QuantizationArgs(IntGrid(8), per_group(G), scale=FP32) for G in (32, 128)}
FP8_TOKEN = QuantizationArgs(E4M3, per_token, scale=FP32)
FP8_TENSOR = QuantizationArgs(E4M3, per_tensor, scale=FP32, dynamic=False)


def fp8_weight(grid: FloatGrid, granularity: Granularity) -> QuantizationArgs:
    """8-bit float weights with fp32 scales (their cost is nil at these granularities)."""
    return QuantizationArgs(grid, granularity, scale=FP32)


PRESETS: dict[str, QuantizationScheme] = {
    "W8A16": QuantizationScheme(int_weight(8, per_channel)),
    "W8A16_TENSOR": QuantizationScheme(int_weight(8, per_tensor)),
    "W4A16": QuantizationScheme(int_weight(4, per_group(128))),
    "W4A16_CHANNEL": QuantizationScheme(int_weight(4, per_channel)),
    "W4A16_G64": QuantizationScheme(int_weight(4, per_group(64))),
    "W4A16_G32": QuantizationScheme(int_weight(4, per_group(32))),
    "W4A16_ASYM": QuantizationScheme(int_weight(4, per_group(128), symmetric=False)),
    "W3A16": QuantizationScheme(int_weight(3, per_group(128))),
    "W2A16": QuantizationScheme(int_weight(2, per_group(128))),
    "W8A8": QuantizationScheme(int_weight(8, per_channel), INT8_TOKEN),
    "W8A8_STATIC": QuantizationScheme(int_weight(8, per_channel), INT8_TENSOR),
    "W4A8_G128": QuantizationScheme(int_weight(4, per_group(128)), INT8_BLOCKS[128]),
    "W4A8_G32": QuantizationScheme(int_weight(4, per_group(32)), INT8_BLOCKS[32]),
    "W8A8_G128": QuantizationScheme(int_weight(8, per_group(128)), INT8_BLOCKS[128]),
    "W8A8_G32": QuantizationScheme(int_weight(8, per_group(32)), INT8_BLOCKS[32]),
    "FP8": QuantizationScheme(fp8_weight(E4M3, per_tensor), FP8_TENSOR),
    "FP8_DYNAMIC": QuantizationScheme(fp8_weight(E4M3, per_channel), FP8_TOKEN),
    "FP8A16_E5M2": QuantizationScheme(fp8_weight(E5M2, per_channel)),
}
