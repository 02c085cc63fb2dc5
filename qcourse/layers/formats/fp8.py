"""`{"quant_method": "fp8"}`: E4M3 weights and activations, vLLM's words for the two schemes."""

from qcourse.layers.formats.w8a8 import W8A8Config, check_scheme
from qcourse.layers.formats.weight_only import take
from qcourse.numerics.schemes import PRESETS


class Fp8Config(W8A8Config):
    """Keys: `activation_scheme` "dynamic" (default: a scale a token, weights per channel) or "static" (weights and
    activations per tensor, with `input_scales`, prefix → scale); `ignore`."""

    @classmethod
    def from_config(cls, config: dict) -> "Fp8Config":
        """Parse. Raises ValueError for an unknown key or scheme."""
        scheme, scales, ignore = take(config, activation_scheme="dynamic", input_scales=None, ignore=("lm_head",))
        check_scheme("fp8", scheme, scales, ("dynamic", "static"))
        preset = PRESETS["FP8_DYNAMIC" if scheme == "dynamic" else "FP8"]
        return cls(preset, scales, tuple(ignore), "fp8")
