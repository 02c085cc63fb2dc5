"""The pair that invariant 2 is about: codes and the scales that give them meaning."""

from dataclasses import dataclass

from qcourse.numerics.schemes import QuantizationArgs
from qcourse.shapes import Float, Shaped, Tensor


@dataclass(frozen=True)
class QTensor:
    """round(W/s) and s, before any packing: what every quantizer returns. A record, not a tensor subclass.

    codes (N, K) int8 or uint8 · scale (N or 1, groups) · zero_point like scale, or None · args: how it was made.
    """

    codes: Shaped[Tensor, "*lead K"]
    scale: Float[Tensor, "rows groups"]
    zero_point: Shaped[Tensor, "rows groups"] | None
    args: QuantizationArgs

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
