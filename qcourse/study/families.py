"""The families that the verdict compares, one name each: "bf16" for the 16-bit weights, "W4A16_ASYM" for a scheme
(numerics.schemes) rounded to nearest; behind it what is done to the weights first (a transform), and how codes are chosen
(a quantizer): "W8A8+smoothquant", "W4A16_G64+gptq", "W4A16_G64+rotation+gptq". SmoothQuant's α behind it if it is not 0.5:
"W8A8+smoothquant@0.8". "as-is" is for quantized sources.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qcourse.layers.config import get_quantization_config, regrouped, scheme_of
from qcourse.layers.linear import quantize_layers
from qcourse.layers.sequential import quantize_model
from qcourse.methods.awq import awq
from qcourse.methods.calibration import calibrate, static_scale
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.methods.rotation import rotate, rotate_online
from qcourse.methods.smoothquant import check_alpha, smooth
from qcourse.models.loader import load_model
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.options import did_you_mean

DEFAULT = ("bf16", "W8A8+smoothquant", "FP8_DYNAMIC", "W4A16_ASYM+awq", "W4A16_ASYM")
AS_IS = "as-is"
TRANSFORMS: dict[str, Callable] = {  # what is done to the 16-bit weights first: (model, calibration ids, family)
    "smoothquant": lambda model, ids, family: smooth(model, calibrate(model, ids), family.alpha),
    "awq": lambda model, ids, family: awq(model, calibrate(model, ids), family.scheme.weights),
    "rotation": lambda model, ids, family: rotate(model),
    "online": lambda model, ids, family: rotate_online(model),
}
KNOWN = (*TRANSFORMS, *QUANTIZERS)


@dataclass(frozen=True)
class Family:
    """`scheme`: None for 16 bits · `transforms`: names of TRANSFORMS, in order · `quantizer`: a name of QUANTIZERS, or None
    for plain rounding · `alpha`: SmoothQuant's."""

    scheme: QuantizationScheme | None
    transforms: tuple[str, ...] = ()
    quantizer: str | None = None
    alpha: float = 0.5

    @property
    def static(self) -> bool:
        """Whether the activations' scales have to be calibrated."""
        a = self.scheme and self.scheme.input_activations
        return a is not None and a.calibrated


def family(name: str, group_size: int | None = None) -> Family:
    """A name ("W8A8+smoothquant") → its scheme and method; `group_size` replaces that of a scheme with groups.

    Raises ValueError for an unknown scheme or method, naming the known, and for an α that is none.
    """
    if name in ("bf16", AS_IS):
        return Family(None)
    scheme_name, *methods = name.split("+")
    transforms, quantizer, alpha = [], None, 0.5
    for wanted in methods:
        method, at, value = wanted.partition("@")
        if method in QUANTIZERS and not at and quantizer is None:
            quantizer = method
        elif method in TRANSFORMS and quantizer is None and (not at or method == "smoothquant"):
            transforms.append(method)
            alpha = alpha_of(value, name) if at else alpha
        else:
            raise ValueError(
                f"unknown method {wanted!r} in {name!r}: transforms ({', '.join(TRANSFORMS)}, or smoothquant@0.8), then at "
                f"most one quantizer ({', '.join(QUANTIZERS)}){did_you_mean(method, KNOWN)}"
            )
    scheme = scheme_of(scheme_name)
    if group_size is not None and scheme.weights.group_size is not None:
        scheme = regrouped(scheme, group_size)
    return Family(scheme, tuple(transforms), quantizer, alpha)


def alpha_of(text: str, name: str) -> float:
    """SmoothQuant's α, written behind the method. Raises ValueError unless 0 ≤ α ≤ 1."""
    try:
        alpha = float(text)
        check_alpha(alpha)
    except ValueError as e:
        raise ValueError(f"{name!r}: α is a number between 0 and 1, as in smoothquant@0.8") from e
    return alpha


def prepare(
    source: Path, name: str, calibration_ids: torch.Tensor, device: str = "cpu", compute_dtype=torch.float32, group_size=None
):
    """A model of `source` in the named family, ready to run on `device`; a source that is quantized already is dequantized
    first, but for "as-is". Raises what loading and quantizing raise."""
    wanted = family(name, group_size)
    if name == AS_IS:
        return load_model(source, device=device, compute_dtype=compute_dtype)
    model = load_model(source, dequantize=True, compute_dtype=compute_dtype)  # of 16-bit weights: nothing to do
    if wanted.scheme is None:
        return model.to(device)
    for transform in wanted.transforms:
        TRANSFORMS[transform](model, calibration_ids, wanted)
    config = get_quantization_config(wanted.scheme)
    if wanted.static:
        stats = calibrate(model, calibration_ids)
        scales = {name: static_scale(s, wanted.scheme.input_activations) for name, s in stats.items()}
        config = replace(config, input_scales=scales)
    if wanted.quantizer in (None, "rtn"):
        quantize_layers(model.to(device), config)
    else:
        quantize_model(model.to(device), calibration_ids, config, wanted.quantizer)
    for module in (model.model.embed_tokens, model.lm_head):
        if module is not None and "weight" in dict(module.named_parameters()):
            module.weight.data = module.weight.data.bfloat16()  # left in 16 bits, whatever a transform did
    return model
