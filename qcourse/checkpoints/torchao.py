"""`quant_method: torchao` (PyTorch's own; through transformers): one config for all, and what each parameter is again.

    config.json            quant_type: {"default": {"_type": a config class of torchao, "_version": 2, "_data": its fields}}
    safetensors metadata   for each parameter's name, as JSON: {"_type": a tensor class, "_data": its attributes,
                           "_tensor_data_names": ["qdata", "scale", …]} or {"_type": "Tensor"}; "tensor_names": all names

    Int8WeightOnlyConfig                        int8 by row, scales fp32
    Int8DynamicActivationInt8WeightConfig       the same, activations in int8 by token
    IntxWeightOnlyConfig                        2 to 8 bits by group or row, with zero points or without
    Float8WeightOnlyConfig                      E4M3 by row, scales fp32
    Float8DynamicActivationFloat8WeightConfig   the same, activations in E4M3 by token (runs on GPUs only)

Source: torchao 0.18, `core/config.py`, `prototype/safetensors`; transformers 5.23, `quantizer_torchao.py` (tests/interop).
"""

import torch

from qcourse.checkpoints.keys import Keys
from qcourse.checkpoints.rules import EVERY, Rule
from qcourse.numerics.granularity import per_channel, per_group
from qcourse.numerics.grids import E4M3, IntGrid
from qcourse.numerics.schemes import FP8_TOKEN, INT8_TOKEN, QuantizationArgs, QuantizationScheme

FP32 = torch.float32
HARMLESS = ("set_inductor_config", "scale_dtype", "intx_choose_qparams_algorithm", "mm_config", "kernel_preference",
            "alg_id")  # fmt: skip


def rules(config: dict, where: str, weights=None) -> list[Rule]:
    """The rules of a TorchAO config. Raises CheckpointError naming the key that is not read."""
    top = Keys(config, where)
    top.harmless("quant_method")
    top.only("include_input_output_embeddings", False, None)
    top.only("untie_embedding_weights", False, None)
    left = top.take("modules_to_not_convert", kind=list, default=[])
    kinds = Keys(top.take("quant_type", kind=dict), f"{where}, quant_type")
    default = kinds.take("default", kind=dict)
    kinds.done()
    top.done()
    scheme = scheme_of(Keys(default, f"{where}, quant_type"))
    found = [Rule(name, None, required=False) for name in ["lm_head", *left]]
    return [*found, Rule(EVERY, scheme, "torchao")]


def scheme_of(kind: Keys) -> QuantizationScheme:
    """A config class and its fields → a scheme."""
    name = kind.take("_type", kind=str)
    kind.only("_version", 2)
    a = Keys(kind.take("_data", kind=dict, default={}), f"{kind.where}, {name}")
    kind.done()
    a.harmless(*HARMLESS)
    readers = {
        "Int8WeightOnlyConfig": int8, "Int8DynamicActivationInt8WeightConfig": int8_both, "IntxWeightOnlyConfig": intx,
        "Float8WeightOnlyConfig": float8, "Float8DynamicActivationFloat8WeightConfig": float8_both,
    }  # fmt: skip
    if name not in readers:
        kind.refuse("_type", f"one of {', '.join(readers)} is read here")
    scheme = readers[name](a)
    a.done()
    return scheme


def inner(a: Keys, key: str) -> tuple[str, object] | None:
    """(_type, _data) of a field that is an object itself, None where it is absent; a list has to say the same twice."""
    found = a.take(key, kind=(dict, list), default=None)
    if isinstance(found, list):
        if not found or any(one != found[0] for one in found):
            a.refuse(key, "the same for weights and activations expected")
        found = found[0]
    if found is None:
        return None
    data = found.get("_data") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("_type"), str) or not isinstance(data, (str, dict)):
        a.refuse(key, 'an object {"_type": …, "_data": …} expected')
    return found["_type"], data


def by_row(a: Keys) -> None:
    """The granularity has to be one scale a row."""
    found = inner(a, "granularity")
    if found is not None and found[0] != "PerRow":
        a.refuse("granularity", "only PerRow is read here")


def int8(a: Keys) -> QuantizationScheme:
    """Int8WeightOnlyConfig."""
    by_row(a)
    a.only("group_size", None)
    return QuantizationScheme(QuantizationArgs(IntGrid(8), per_channel, scale=FP32))


def int8_both(a: Keys) -> QuantizationScheme:
    """Int8DynamicActivationInt8WeightConfig."""
    by_row(a)
    if inner(a, "act_mapping_type") not in (None, ("MappingType", "SYMMETRIC")):
        a.refuse("act_mapping_type", "only SYMMETRIC is read here")
    a.only("reduce_range", False, None)
    a.only("weight_only_decode", False, None)
    return QuantizationScheme(QuantizationArgs(IntGrid(8), per_channel, scale=FP32), INT8_TOKEN)


def intx(a: Keys) -> QuantizationScheme:
    """IntxWeightOnlyConfig."""
    dtype, mapping = inner(a, "weight_dtype"), inner(a, "mapping_type")
    wanted = "int8" if dtype is None else dtype[1]
    bits = next((b for b in range(2, 9) if wanted == f"int{b}"), None)
    if bits is None:
        a.refuse("weight_dtype", "int2 to int8 are read here")
    if inner(a, "intx_packing_format") not in (None, ("IntxPackingFormat", "UNPACKED_TO_INT8")):
        a.refuse("intx_packing_format", "only UNPACKED_TO_INT8 is read here")
    kind, data = inner(a, "granularity") or ("PerAxis", {"axis": 0})
    G = data.get("group_size") if kind == "PerGroup" and isinstance(data, dict) else None
    if not (kind == "PerGroup" and type(G) is int and G > 0 or kind == "PerAxis" and data == {"axis": 0}):
        a.refuse("granularity", "PerGroup, or PerAxis of axis 0, is read here")
    grid, granularity = IntGrid(bits), per_channel if G is None else per_group(G)
    symmetric = mapping is None or mapping[1] in ("SYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR")
    if not symmetric and mapping[1] != "ASYMMETRIC":
        a.refuse("mapping_type", "SYMMETRIC or ASYMMETRIC is read here")
    args = QuantizationArgs(grid, granularity)
    return QuantizationScheme(args if symmetric else args.with_(scaling="minmax", zero=grid))


def float8(a: Keys) -> QuantizationScheme:
    """Float8WeightOnlyConfig."""
    by_row(a)
    if inner(a, "weight_dtype") not in (None, ("torch.dtype", "float8_e4m3fn")):
        a.refuse("weight_dtype", "only float8_e4m3fn is read here")
    return QuantizationScheme(QuantizationArgs(E4M3, per_channel, scale=FP32))


def float8_both(a: Keys) -> QuantizationScheme:
    """Float8DynamicActivationFloat8WeightConfig."""
    if inner(a, "activation_dtype") not in (None, ("torch.dtype", "float8_e4m3fn")):
        a.refuse("activation_dtype", "only float8_e4m3fn is read here")
    for key in ("activation_value_lb", "activation_value_ub"):
        a.only(key, None)
    if inner(a, "packing_format") not in (None, ("Float8PackingFormat", "PLAIN")):
        a.refuse("packing_format", "only PLAIN is read here")
    return QuantizationScheme(float8(a).weights, FP8_TOKEN)
