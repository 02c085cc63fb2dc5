"""`{"quant_method": "int8"}`: W8A16, int8 weights, one scale a channel (or, to see why not, one a tensor)."""

from qcourse.layers.formats.weight_only import WeightOnlyConfig, take
from qcourse.numerics.granularity import Granularity
from qcourse.numerics.schemes import int_weight


class Int8Config(WeightOnlyConfig):
    """Keys: `granularity` "channel" (default) or "tensor"; `ignore`, layers left in 16 bits."""

    name = "int8"

    @classmethod
    def from_config(cls, config: dict) -> "Int8Config":
        """Parse. Raises ValueError for an unknown key or granularity."""
        kind, ignore = take(config, granularity="channel", ignore=("lm_head",))
        if kind not in ("channel", "tensor"):
            raise ValueError(f"int8 granularity {kind!r}: channel or tensor")
        return cls(int_weight(8, Granularity(kind)), ignore)
