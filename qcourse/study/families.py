"""The families of formats that the verdict compares: how each model is made ready, by one name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from qcourse.layers.linear import quantize_layers
from qcourse.layers.registry import get_quantization_config
from qcourse.methods.awq import awq
from qcourse.methods.calibration import InputStats, calibrate
from qcourse.methods.smoothquant import smooth
from qcourse.models.loader import load_model
from qcourse.numerics.schemes import PRESETS


@dataclass(frozen=True)
class Family:
    """`config` is what the engine is told; `transform` prepares the weights first, from calibration statistics."""

    config: str | dict | None
    transform: Callable[[torch.nn.Module, dict[str, InputStats]], object] | None = None
    static: bool = False


DYNAMIC = {"quant_method": "int8", "activation_scheme": "dynamic"}

FAMILIES: dict[str, Family] = {
    "bf16": Family(None),
    "int8": Family(DYNAMIC, lambda model, stats: smooth(model, stats, 0.5)),
    "int8-dynamic": Family(DYNAMIC),
    "int8-static": Family({"quant_method": "int8", "activation_scheme": "static"}, static=True),
    "fp8": Family("fp8"),
    "awq": Family("awq", lambda model, stats: awq(model, stats, PRESETS["W4A16_ASYM"].weights)),
    "rtn4": Family("awq"),
    "w8a16": Family("int8"),
}


def check_families(names: list[str]) -> None:
    """Raise ValueError for an unknown name, listing the known, before any work is done."""
    unknown = [n for n in names if n not in FAMILIES]
    if unknown:
        raise ValueError(f"unknown format {unknown[0]!r}: one of {', '.join(FAMILIES)}")


def prepare(folder: Path, name: str, calibration_ids: torch.Tensor, device: str = "cpu", compute_dtype=torch.float32):
    """A model of `folder` in the named family, ready to run on `device`. Raises what loading and quantizing raise."""
    check_families([name])
    family = FAMILIES[name]
    model = load_model(folder, compute_dtype=compute_dtype)
    if family.config is None:
        return model.to(device)
    config = {"quant_method": family.config} if isinstance(family.config, str) else dict(family.config)
    if family.transform is not None:
        family.transform(model, calibrate(model, calibration_ids))
    if family.static:
        stats = calibrate(model, calibration_ids)
        config["input_scales"] = {n: max(s.absmax.max().item(), 1e-12) / 127.5 for n, s in stats.items()}
    quantize_layers(model.to(device), get_quantization_config(config))
    if model.lm_head is not None and "weight" in dict(model.lm_head.named_parameters()):
        model.lm_head.weight.data = model.lm_head.weight.data.bfloat16()  # left in 16 bits, whatever a transform did
    return model
