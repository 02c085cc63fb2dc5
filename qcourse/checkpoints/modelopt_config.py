"""A scheme → ModelOpt's words: the way out, where `modelopt` is the way in. Its two files say the same.

    config.json            quantization_config: quant_algo, ignore, config_groups (FP8, NVFP4), kv_cache_scheme
    hf_quant_config.json   quantization: quant_algo, exclude_modules, group_size, kv_cache_quant_algo

Source: ModelOpt 0.47, `torch/export/quant_utils.py`, `convert_hf_config.py`.
"""

import torch

from qcourse.checkpoints import compressed_tensors_config as ct
from qcourse.checkpoints import modelopt
from qcourse.checkpoints.modelopt import KV_PLACES
from qcourse.checkpoints.writer import MADE_BY
from qcourse.numerics.kv import KV_PRESETS, KVCacheArgs, name_of
from qcourse.numerics.schemes import QuantizationArgs, QuantizationScheme
from qcourse.shapes import Tensor

__all__ = ["KV_PLACES", "algorithm", "beside", "cache_of", "config_of", "shaped"]
GROUPED = ("FP8", "NVFP4", "W4A16_NVFP4")  # algorithms that also get config_groups
SIZES = {"NVFP4": 16, "W4A16_NVFP4": 16, "MXFP8": 32}  # and those that name their blocks


def algorithm(scheme: QuantizationScheme) -> tuple[str, str]:
    """(quant_algo, layout) of a scheme. Raises ValueError where ModelOpt has none that is written here."""
    w = scheme.weights
    for name, (theirs, layout) in modelopt.ALGORITHMS.items():
        if ct.same_file(w, theirs.weights) and scheme.input_activations == theirs.input_activations:
            return name, layout
    raise ValueError(
        f"ModelOpt has no algorithm for {w.grid}, {w.granularity} that is written here: {', '.join(modelopt.ALGORITHMS)}"
    )


def config_of(scheme: QuantizationScheme, ignore: tuple[str, ...]) -> dict:
    """config.json's form."""
    name = algorithm(scheme)[0]
    found = {"quant_method": "modelopt", "quant_algo": name, "ignore": list(ignore), "producer": {"name": MADE_BY}}
    if name not in GROUPED:
        return found
    sides = {"weights": scheme.weights, "input_activations": scheme.input_activations}
    group = {key: side(args) for key, args in sides.items() if args is not None}
    return found | {"config_groups": {"group_0": group | {"targets": ["Linear"]}}}


def side(args: QuantizationArgs) -> dict:
    """Weights or activations of a group. `dynamic` is false in every file, whatever the algorithm."""
    found = {"dynamic": False, "num_bits": args.num_bits, "type": "float"}
    return found | ({} if args.group_size is None else {"group_size": args.group_size})


def shaped(t: Tensor) -> Tensor:
    """Scales of a whole tensor as (), of rows as (N), where compressed-tensors has (1) and (N, 1): all that is fp32."""
    if t.dtype != torch.float32:
        return t
    return t.reshape(()) if t.numel() == 1 else t.flatten()


def cache_of(recipe: KVCacheArgs) -> dict:
    """What config.json says of a KV cache in FP8. Raises ValueError for another recipe."""
    if recipe != KV_PRESETS["fp8_e4m3"]:
        raise ValueError(f"ModelOpt has no words for a KV cache in {name_of(recipe)}: fp8_e4m3, one scale a layer")
    return {"kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}}


def beside(config: dict) -> dict[str, dict]:
    """hf_quant_config.json, which older readers look for."""
    name, cache = config["quant_algo"], config.get("kv_cache_scheme")
    inner = {"quant_algo": name, "kv_cache_quant_algo": cache and "FP8", "exclude_modules": config["ignore"]}
    inner |= {"group_size": SIZES[name]} if name in SIZES else {}
    return {"hf_quant_config.json": {"producer": config["producer"], "quantization": inner}}
