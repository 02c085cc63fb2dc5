"""One tensor's recipe (`QuantizationArgs`), one layer's (`QuantizationScheme`), and the field's names for them.

`args` answers which grid, which granularity, which scale; `scheme` answers what gets quantized. The grammar
and the preset names are compressed-tensors' (W4A16 = 4-bit weights, 16-bit activations).
"""

from dataclasses import dataclass, replace

import torch

from qcourse.numerics.granularity import Granularity, per_channel, per_group, per_tensor, per_token
from qcourse.numerics.grids import E4M3, E5M2, FloatGrid, Grid, IntGrid


@dataclass(frozen=True)
class QuantizationArgs:
    """How one tensor is quantized. `scaling`: "absmax", "minmax", "percentile" or "mse" (numerics.scaling).

    `scale_dtype` is what the file stores; codes are computed with the scale already rounded to it.
    Raises ValueError when grid and scaling contradict each other.
    """

    grid: Grid
    granularity: Granularity = per_channel
    scaling: str = "absmax"
    scale_dtype: torch.dtype = torch.bfloat16

    def __post_init__(self):
        if self.scaling not in ("absmax", "minmax", "percentile", "mse"):
            raise ValueError(f"scaling {self.scaling!r}: one of absmax, minmax, percentile, mse")
        if (self.scaling == "minmax") == self.grid.symmetric:
            need = "an asymmetric grid" if self.grid.symmetric else "scaling='minmax'"
            raise ValueError(f"scaling={self.scaling!r} on {self.grid}: this combination needs {need}")

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

        (A zero point is counted with the B bits it takes when packed.)
        """
        per_scale = torch.finfo(self.scale_dtype).bits + (0 if self.grid.symmetric else self.num_bits)
        return self.num_bits + per_scale * self.granularity.num_scales(N, K) / (N * K)

    def with_(self, **changes) -> "QuantizationArgs":
        """A copy with some fields changed: `W4.with_(granularity=per_group(32))`."""
        return replace(self, **changes)


@dataclass(frozen=True)
class QuantizationScheme:
    """What gets quantized in a Linear: always the weight; the input activations too, or not (None)."""

    weights: QuantizationArgs
    input_activations: QuantizationArgs | None = None


def int_weight(num_bits: int, granularity: Granularity, symmetric: bool = True) -> QuantizationArgs:
    """Integer weights: full range and absmax when symmetric, zero point and min/max when not."""
    return QuantizationArgs(IntGrid(num_bits, symmetric), granularity, "absmax" if symmetric else "minmax")


INT8_TOKEN = QuantizationArgs(IntGrid(8), per_token, scale_dtype=torch.float32)
FP8_TOKEN = QuantizationArgs(E4M3, per_token, scale_dtype=torch.float32)
FP8_TENSOR = QuantizationArgs(E4M3, per_tensor, scale_dtype=torch.float32)


def fp8_weight(grid: FloatGrid, granularity: Granularity) -> QuantizationArgs:
    """8-bit float weights with fp32 scales (their cost is nil at these granularities)."""
    return QuantizationArgs(grid, granularity, scale_dtype=torch.float32)


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
    "INT8": QuantizationScheme(int_weight(8, per_channel), INT8_TOKEN),
    "FP8": QuantizationScheme(fp8_weight(E4M3, per_tensor), FP8_TENSOR),
    "FP8_DYNAMIC": QuantizationScheme(fp8_weight(E4M3, per_channel), FP8_TOKEN),
    "W8A16_E5M2": QuantizationScheme(fp8_weight(E5M2, per_channel)),
}
