"""`{"quant_method": "int8"}`: int8 weights, alone (W8A16) or with int8 activations (W8A8)."""

from qcourse.layers.formats.w8a8 import W8A8Config, check_scheme
from qcourse.layers.formats.weight_only import WeightOnlyConfig, take
from qcourse.layers.method import QuantizationConfig
from qcourse.numerics.granularity import Granularity
from qcourse.numerics.schemes import INT8_TOKEN, QuantizationScheme, int_weight


class Int8Config(WeightOnlyConfig):
    """Keys: `granularity` of the weights, "channel" (default) or "tensor"; `activation_scheme` None (weight-only,
    default), "dynamic" (a scale a token) or "static" (with `input_scales`, prefix → scale); `ignore`."""

    name = "int8"

    @classmethod
    def from_config(cls, config: dict) -> QuantizationConfig:
        """Parse. Raises ValueError for an unknown key, granularity or scheme."""
        kind, scheme, scales, ignore = take(
            config, granularity="channel", activation_scheme=None, input_scales=None, ignore=("lm_head",)
        )
        if kind not in ("channel", "tensor"):
            raise ValueError(f"int8 granularity {kind!r}: channel or tensor")
        check_scheme(cls.name, scheme, scales, (None, "dynamic", "static"))
        weights = int_weight(8, Granularity(kind))
        if scheme is None:
            return cls(weights, ignore)
        return W8A8Config(QuantizationScheme(weights, INT8_TOKEN), scales, tuple(ignore), cls.name)
