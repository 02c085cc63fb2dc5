"""Bugs of whoever moves factors: SmoothQuant's computed and never applied, a fold forgotten, a fold applied twice."""

from pathlib import Path

import torch

from qcourse.layers.config import scheme_of
from qcourse.methods.calibration import calibrate, static_scale
from qcourse.methods.smoothquant import smooth
from qcourse.models.llama import LlamaForCausalLM
from qcourse.shapes import Tensor
from qcourse.study.clinic.case import Draw, Planted
from qcourse.study.clinic.folder import spoil, wide, write
from qcourse.study.clinic.meter import calibration
from qcourse.study.clinic.plants_codes import LAYERS

NORMS = ("input_layernorm", "post_attention_layernorm")


def smoothed(alpha: float, ids: Tensor) -> tuple[LlamaForCausalLM, dict[str, Tensor]]:
    """The model after SmoothQuant, and its factors by fold."""
    model = wide()
    return model, smooth(model, calibrate(model, ids), alpha)


def written(model: LlamaForCausalLM, folder: Path, name: str, ids: Tensor) -> None:
    """In 8 bits on both sides; static scales from these ids."""
    scheme, scales = scheme_of(name), None
    if scheme.input_activations.calibrated:
        scales = {n: static_scale(s, scheme.input_activations) for n, s in calibrate(model, ids).items()}
    write(model, folder, scheme, input_scales=scales)


@torch.inference_mode()
def never_applied(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """The recipe says SmoothQuant, the weights have never heard of it."""
    alpha, ids = draw.of("alpha", (0.4, 0.5, 0.6)), calibration()
    written(smoothed(alpha, ids)[0], healthy, "W8A8_STATIC", ids)
    written(wide(), ill, "W8A8_STATIC", ids)
    return Planted(f"W8A8_STATIC after SmoothQuant with α = {alpha}, compressed-tensors", ids)


@torch.inference_mode()
def folded(draw: Draw, healthy: Path, ill: Path, power: int) -> Planted:
    """One norm of the file holds its gain times s to a power: 1, nothing was divided; -1, it was divided twice."""
    name, alpha = draw.of("scheme", ("W8A8", "W8A8_STATIC")), draw.of("alpha", (0.5, 0.6, 0.7))
    block, k = draw.of("block", range(LAYERS)), draw.of("norm", (0, 1))
    ids = calibration()
    model, factors = smoothed(alpha, ids)
    s = factors[model.folds()[3 * block + k].name]
    written(model, healthy, name, ids)

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        key = f"model.layers.{block}.{NORMS[k]}.weight"
        tensors[key] = (tensors[key].float() * s**power).bfloat16()

    spoil(healthy, ill, change)
    return Planted(f"{name} after SmoothQuant with α = {alpha}, compressed-tensors", ids)


def forgotten(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """The columns were multiplied, the norm was not divided."""
    return folded(draw, healthy, ill, 1)


def twice(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """The norm was divided twice, the columns multiplied once."""
    return folded(draw, healthy, ill, -1)
