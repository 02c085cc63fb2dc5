"""`{"quant_method": "awq"}`: 4-bit groups with zero points, packed in AWQ's interleaved order.

The format says nothing about *how* the codes were found: `methods.awq` scales and clips first, RTN does not.
"""

from qcourse.layers.formats.weight_only import WeightOnlyConfig, take
from qcourse.numerics.granularity import per_group
from qcourse.numerics.schemes import int_weight


class AWQConfig(WeightOnlyConfig):
    """Keys, as in AWQ checkpoints: `bits` (4), `group_size` (128), `zero_point` (True), `version` ("gemm"), `ignore`."""

    name = "awq"

    @classmethod
    def from_config(cls, config: dict) -> "AWQConfig":
        """Parse. Raises ValueError for an unknown key or a value this layout does not have."""
        bits, G, zero, version, ignore = take(
            config, bits=4, group_size=128, zero_point=True, version="gemm", ignore=("lm_head",)
        )
        if bits != 4 or version != "gemm":
            raise ValueError(f"awq bits={bits}, version={version!r}: the GEMM layout holds 4-bit codes")
        return cls(int_weight(4, per_group(G), symmetric=not zero), ignore, layout="awq")
