"""`{"quant_method": "w4a16"}`: packed low-bit weights in groups, 16-bit activations: what most 4-bit checkpoints are."""

from qcourse.layers.formats.weight_only import WeightOnlyConfig, take
from qcourse.numerics.granularity import per_channel, per_group
from qcourse.numerics.schemes import int_weight


class W4A16Config(WeightOnlyConfig):
    """Keys: `group_size` (128; -1 = one scale a channel), `bits` (4; also 2, 3, 8), `sym` (True), `ignore`."""

    name = "w4a16"

    @classmethod
    def from_config(cls, config: dict) -> "W4A16Config":
        """Parse. Raises ValueError for an unknown key or illegal value."""
        G, num_bits, sym, ignore = take(config, group_size=128, bits=4, sym=True, ignore=("lm_head",))
        if num_bits not in (2, 3, 4, 8):
            raise ValueError(f"bits={num_bits}: 2, 3, 4 or 8")
        return cls(int_weight(num_bits, per_channel if G == -1 else per_group(G), sym), ignore)
