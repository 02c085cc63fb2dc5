"""Bugs of scales and of what should have stayed in 16 bits."""

from dataclasses import replace
from pathlib import Path

import torch

from qcourse.layers.config import scheme_of
from qcourse.methods.kv_scales import calibrate_kv
from qcourse.numerics.granularity import per_tensor
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.kv import both, fixed
from qcourse.shapes import Tensor
from qcourse.study.clinic.case import Draw, Planted
from qcourse.study.clinic.folder import held, keep, spoil, wide, write
from qcourse.study.clinic.meter import calibration
from qcourse.study.clinic.plants_codes import LAYERS, SITES, prefixes

KV_SCHEME = {"num_bits": 8, "type": "int", "symmetric": True, "group_size": None, "strategy": "tensor", "dynamic": False}


def underflow(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """Scales in fp16, of a model whose norms hold the size and whose matrices are tiny: an exact power of two moved."""
    name, power = draw.of("scheme", ("W4A16", "W8A16", "W4A16_G64")), draw.of("power", (20, 21))
    model, block, stage = wide(), draw.of("block", range(LAYERS)), draw.of("stage", (0, 1))
    fold = model.folds()[3 * block + stage]
    fold.writer.weight.data.mul_(2.0**power)
    for reader in fold.readers:
        reader.weight.data.mul_(2.0**-power)
    write(model, healthy, scheme_of(name))

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        for layer in prefixes(tensors, "weight_scale"):
            tensors[f"{layer}.weight_scale"] = tensors[f"{layer}.weight_scale"].half()

    spoil(healthy, ill, change)
    return Planted(f"{name}, compressed-tensors")


def inverted(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """NVFP4's number for the whole tensor in the other ecosystem's direction."""
    site = draw.of("site", SITES)
    write(wide(), healthy, scheme_of("NVFP4A16"))

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        for layer in prefixes(tensors, "weight_global_scale"):
            if layer.endswith(site):
                tensors[f"{layer}.weight_global_scale"] = 1 / tensors[f"{layer}.weight_global_scale"]

    spoil(healthy, ill, change)
    return Planted("NVFP4A16, compressed-tensors")


def unscaled_cache(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """The scales of an int8 KV cache left at 1.0, in all layers but one."""
    name, kept = draw.of("scheme", (None, "W8A16")), draw.of("kept", range(LAYERS))
    model, args, quiet = wide(), both(fixed(IntGrid(8))), 2.0 ** -draw.of("quiet", (3, 4))
    for fold in model.value_folds():  # values as quiet as those of many models, by an exact power of two
        fold.writer.weight.data.mul_(quiet)
        fold.readers[0].weight.data.div_(quiet)
    ids = calibration()
    scales = {f"{prefix}.{side}_scale": s for prefix, pair in calibrate_kv(model, ids, args).items()
              for side, s in zip("kv", pair, strict=True)}  # fmt: skip
    write(model, healthy, None if name is None else scheme_of(name), also=whole(name), extra=scales)

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        for n in scales:
            if not n.startswith(f"model.layers.{kept}."):
                tensors[n] = torch.ones_like(tensors[n])

    spoil(healthy, ill, change)
    return Planted(f"{name or 'bf16'}, compressed-tensors", ids)


def whole(name: str | None) -> dict:
    """What quantization_config says of the cache; where nothing else is quantized, all of it."""
    found = {"kv_cache_scheme": KV_SCHEME}
    if name is None:
        found |= {"quant_method": "compressed-tensors", "config_groups": {}, "format": "dense",
                  "quantization_status": "frozen", "ignore": []}  # fmt: skip
    return found


def head_too(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """The list of what is ignored did not name the head: it got low bits, and one scale for all of it."""
    name, num_bits = draw.of("scheme", ("W4A16", "W8A16", "W4A16_G64")), draw.of("bits", (3, 4))
    model, scheme = wide(), scheme_of(name)
    model.untie()
    write(model, healthy, scheme)
    low = replace(scheme, weights=scheme_of("W4A16").weights.with_(grid=IntGrid(num_bits), granularity=per_tensor))
    only = tuple(n for n in model.linears() if n != "lm_head")
    write(model, ill, low, ignore=only)
    (config, tensors), (rest_config, rest) = held(ill), held(healthy)
    ours, theirs = (c["quantization_config"] for c in (config, rest_config))
    group = ours["config_groups"]["group_0"] | {"targets": ["lm_head"]}
    theirs |= {"config_groups": {"head": group} | theirs["config_groups"], "ignore": []}
    del rest["lm_head.weight"]
    keep(ill, rest_config, rest | {n: t for n, t in tensors.items() if n.startswith("lm_head.")})
    return Planted(f"{name}, compressed-tensors")
