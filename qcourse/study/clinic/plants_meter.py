"""Bugs of whoever measures: the model is as it should be, or as good as its number only on the text of the number."""

import shutil
from pathlib import Path

import torch
import torch.nn.functional as F

from qcourse.checkpoints.rules import EVERY, Rule, ignore
from qcourse.layers.config import RulesConfig, scheme_of
from qcourse.layers.sequential import quantize_model
from qcourse.numerics.qtensor import QTensor
from qcourse.shapes import Integer, Tensor
from qcourse.study.clinic.case import Draw, Planted
from qcourse.study.clinic.folder import wide, write
from qcourse.study.clinic.meter import Meter, calibration, texts

SCHEMES = (("W8A16", "compressed-tensors"), ("W4A16_ASYM", "gptq"), ("FP8_DYNAMIC", "compressed-tensors"),
           ("NVFP4A16", "compressed-tensors"), ("W4A16_ASYM", "awq"))  # fmt: skip


def healthy_in_both(draw: Draw, healthy: Path, ill: Path, meter: Meter) -> Planted:
    """The same folder twice, and somebody's meter."""
    name, layout = draw.of("scheme", SCHEMES)
    write(wide(), healthy, scheme_of(name), layout)
    shutil.copytree(healthy, ill, dirs_exist_ok=True)
    return Planted(f"{name}, {layout}", meter=meter)


def unshifted(body: Integer[Tensor, "n T"], bos: int) -> tuple[Tensor, Tensor]:
    """Each position asked for its own id."""
    ids = F.pad(body, (1, 0), value=bos)
    return ids[:, 1:], ids[:, 1:]


def two_ahead(body: Integer[Tensor, "n T"], bos: int) -> tuple[Tensor, Tensor]:
    """Shifted by the caller, and once more inside."""
    ids = F.pad(body, (1, 0), value=bos)
    return ids[:, :-2], ids[:, 2:]


def doubled(body: Integer[Tensor, "n T"], bos: int) -> tuple[Tensor, Tensor]:
    """A marker from the tokenizer, and one from the template."""
    ids = F.pad(body, (2, 0), value=bos)
    return ids[:, :-1], ids[:, 1:]


def no_shift(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """Targets that are not the next ids."""
    return healthy_in_both(draw, healthy, ill, Meter(draw.of("shift", (unshifted, two_ahead))))


def two_markers(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """Two markers in front, the second of them a target."""
    return healthy_in_both(draw, healthy, ill, Meter(doubled))


@torch.inference_mode()
def looked_ahead(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """GPTQ calibrated on the very windows that are scored afterwards."""
    name = draw.of("scheme", ("W2A16", "W2A16_ASYM"))
    scheme = scheme_of(name)
    seen, other = texts()[0].ids[:, :-1], calibration(len(texts()[0].ids))
    for folder, ids in ((healthy, other), (ill, seen)):
        found: dict[str, QTensor] = {}
        model = wide()
        config = RulesConfig([*ignore(["lm_head"]), Rule(EVERY, scheme)])
        quantize_model(model, ids, config, "gptq", look=lambda q, report, found=found: found.update({report.name: q}))
        write(wide(), folder, scheme, codes=lambda W, args, name, found=found: found[name])
    return Planted(f"{name}, compressed-tensors", seen)
