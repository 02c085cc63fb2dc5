"""The pair that invariant 2 is about: codes and the scales that give them meaning."""

from dataclasses import dataclass, replace

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.shapes import Integer, Shaped, Tensor


@dataclass(frozen=True)
class QTensor:
    """round(W/s) and s, before any packing: what every quantizer and every file gives. A record, not a tensor subclass.

    codes       (N, K) int8 or uint8
    scale       (R, C), stored as `args.scale` says: floats, codes of a grid, or a QTensor (a scale that is quantized itself)
    zero_point  like scale, as `args.zero` says, or None
    order       (K,) or None: column j of the codes belongs to input channel order[j] (act_order: groups of channels that
                are not neighbours lie side by side here)
    """

    codes: Shaped[Tensor, "*lead K"]
    scale: "Shaped[Tensor, 'R C'] | QTensor"
    zero_point: "Shaped[Tensor, 'R C'] | QTensor | None"
    args: QuantizationArgs
    order: Integer[Tensor, "K"] | None = None

    def to(self, device: torch.device) -> "QTensor":
        """The same codes and scales on another device."""
        parts = {name: getattr(self, name) for name in ("codes", "scale", "zero_point", "order")}
        return replace(self, **{name: None if t is None else t.to(device) for name, t in parts.items()})

    @property
    def shape(self):
        """(N, K)."""
        return self.codes.shape

    @property
    def bits_per_weight(self) -> float:
        """Bits a weight with scales and zero points counted, once the codes are packed."""
        return self.args.bits_per_weight(self.codes.shape[:-1].numel(), self.codes.shape[-1])

    @property
    def nbytes(self) -> float:
        """Bytes in a file that packs zero points too: numel · bits_per_weight / 8."""
        return self.codes.numel() * self.bits_per_weight / 8
