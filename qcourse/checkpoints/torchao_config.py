"""A scheme → TorchAO's words: `quantization_config`, and what the file's metadata says of each parameter.

`torchao` is the way in. What is written is read again and compared, so nothing that would come back as another scheme leaves
here. Scales are fp32 where TorchAO's own are (a wider dtype loses nothing), bf16 for "intx".
Source: torchao 0.18, dumped by the library (tests/interop).
"""

import json
from collections.abc import Mapping

import torch

from qcourse.checkpoints.torchao import rules
from qcourse.numerics.granularity import Granularity, per_channel
from qcourse.numerics.grids import E4M3, IntGrid
from qcourse.numerics.schemes import FP8_TOKEN, INT8_TOKEN, QuantizationArgs, QuantizationScheme, is_float

ROW = {"_type": "PerRow", "_version": 1, "_data": {"dim": -1}}
INTX = "IntxWeightOnlyConfig"


def config_of(scheme: QuantizationScheme, ignore: tuple[str, ...] = ()) -> dict:
    """A scheme → `quantization_config`. Raises ValueError for one that TorchAO has no class for."""
    name, data = class_of(scheme)
    kind = {"_type": name, "_version": 2, "_data": data if name == INTX else data | {"set_inductor_config": True}}
    left = [n for n in ignore if n != "lm_head"]
    config = {"quant_method": "torchao", "quant_type": {"default": kind}, "modules_to_not_convert": left or None,
              "include_input_output_embeddings": False, "untie_embedding_weights": False}  # fmt: skip
    read = rules(config, "quantization_config")[-1].scheme
    w = scheme.weights.with_(scale=read.weights.scale)
    if w.zero == w.grid and w.zero is not None:
        w = w.with_(grid=IntGrid(w.num_bits), zero=IntGrid(w.num_bits))
    if not read.weights.same_storage(w) or read.input_activations != scheme.input_activations:
        raise ValueError(f"TorchAO would read {w.grid}, {w.granularity} as another scheme")
    return config


def class_of(scheme: QuantizationScheme) -> tuple[str, dict]:
    """(config class, its fields). Raises ValueError where there is none."""
    w, a = scheme.weights, scheme.input_activations
    if isinstance(w.grid, IntGrid) and not w.grid.signed and w.zero == w.grid:  # both move by 2^(B-1) when they are written
        w = w.with_(grid=IntGrid(w.num_bits), zero=IntGrid(w.num_bits))
    row, wide = ROW, w.granularity == per_channel
    if w.grid == E4M3 and wide and a in (None, FP8_TOKEN):
        if a is None:
            return "Float8WeightOnlyConfig", {"granularity": row, "weight_dtype": dtype("float8_e4m3fn")}
        fields = dict.fromkeys(("activation_dtype", "weight_dtype"), dtype("float8_e4m3fn"))
        return "Float8DynamicActivationFloat8WeightConfig", fields | {"granularity": [row, row]}
    signed = isinstance(w.grid, IntGrid) and w.grid.signed and is_float(w.scale) and w.zero_in == "steps"
    if signed and w.grid == IntGrid(8) and wide and w.zero is None and a in (None, INT8_TOKEN):
        if a is None:
            return "Int8WeightOnlyConfig", {"granularity": row, "group_size": None}
        return "Int8DynamicActivationInt8WeightConfig", {
            "granularity": row, "act_mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"},
            "reduce_range": False, "weight_only_decode": False,
        }  # fmt: skip
    if signed and a is None and w.granularity.rows == 1:
        return INTX, intx_fields(w)
    raise ValueError(f"TorchAO has no class that is written here for {w.grid}, {w.granularity}, activations {a and a.grid}")


def intx_fields(w: QuantizationArgs) -> dict:
    """The fields of an IntxWeightOnlyConfig."""
    return {
        "weight_dtype": dtype(f"int{w.num_bits}"), "granularity": granularity_of(w.granularity),
        "mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC" if w.zero is None else "ASYMMETRIC"},
        "scale_dtype": None, "intx_packing_format": {"_type": "IntxPackingFormat", "_data": "UNPACKED_TO_INT8"},
        "intx_choose_qparams_algorithm": {"_type": "IntxChooseQParamsAlgorithm", "_data": "AFFINE"},
    }  # fmt: skip


def granularity_of(granularity: Granularity) -> dict:
    """Torchao's word for rows and groups."""
    if granularity == per_channel:
        return {"_type": "PerAxis", "_version": 1, "_data": {"axis": 0}}
    return {"_type": "PerGroup", "_version": 1, "_data": {"group_size": granularity.group_size}}


def dtype(name: str) -> dict:
    """A dtype in JSON."""
    return {"_type": "torch.dtype", "_data": name}


def metadata(scheme: QuantizationScheme, weights: Mapping[str, int | None]) -> dict[str, str]:
    """The metadata of each file of a model: a class for every parameter, by its name; K of those that are taken apart, None
    for the others. They are in all files alike: of several lists transformers keeps the last, and vLLM asks every file for
    every name."""
    held = {"_tensor_data_names": ["qdata", "scale", *([] if scheme.weights.grid == E4M3 else ["zero_point"])]}
    found = {n: {"_type": "Tensor"} if K is None else parameter(scheme, K) | held for n, K in weights.items()}
    return {name: json.dumps(said) for name, said in found.items()} | {"tensor_names": json.dumps(list(found))}


def parameter(scheme: QuantizationScheme, K: int) -> dict:
    """The tensor class of a weight, and its attributes."""
    w, name = scheme.weights, class_of(scheme)[0]
    block = {"block_size": [1, w.group_size or K], "dtype": dtype("bfloat16")}
    per_row = {"_type": "PerRow", "_data": {"dim": -1}}
    if name == INTX:
        return {"_type": "IntxUnpackedToInt8Tensor",
                "_data": {"target_dtype": dtype(f"int{w.num_bits}"), "activation_quantization": None} | block}  # fmt: skip
    if name.startswith("Int8"):
        kwargs = {
            "granularity": per_row,
            "mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"},
            "reduce_range": False,
        }
        acts = None if scheme.input_activations is None else {"_type": "QuantizeTensorToInt8Kwargs", "_data": kwargs}
        return {"_type": "Int8Tensor", "_data": {"act_quant_kwargs": acts, "reduce_range": False} | block}
    kernel = {"_type": "KernelPreference", "_data": "AUTO"}
    if scheme.input_activations is not None:
        raise ValueError("FP8 activations of TorchAO: what its file says of them was never seen (they run on GPUs only)")
    return {"_type": "Float8Tensor",
            "_data": {"mm_config": None, "act_quant_kwargs": None, "kernel_preference": kernel} | block}  # fmt: skip


def ready_scale(scheme: QuantizationScheme) -> torch.dtype:
    """The dtype of its scales: fp32, and bf16 for "intx"."""
    return torch.bfloat16 if class_of(scheme)[0] == INTX else torch.float32
