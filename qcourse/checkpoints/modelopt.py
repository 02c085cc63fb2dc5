"""`quant_method: modelopt` (NVIDIA's ModelOpt, TensorRT-LLM, vLLM): one algorithm for every layer that is not excluded.

It is said twice, in config.json as `quantization_config` and in the older `hf_quant_config.json`, which is read where the
first is absent:

    config.json            quant_algo, ignore, kv_cache_scheme, config_groups (which has to say the same)
    hf_quant_config.json   quantization: {quant_algo, exclude_modules, kv_cache_quant_algo, group_size}

    FP8                        E4M3 by tensor, activations too, under a fixed scale: weight, weight_scale (), input_scale ()
    FP8_PER_CHANNEL_PER_TOKEN  E4M3 by row, activations by token: weight, weight_scale (N)
    W4A16_NVFP4                weight uint8, weight_scale E4M3, weight_scale_2 () that multiplies
    NVFP4                      the same, and activations in 4 bits, too, under input_scale () that multiplies
    MXFP8                      E4M3 in blocks of 32 under powers of two, activations likewise: weight, weight_scale uint8

Names in `exclude_modules` are whole ones, or end in a wildcard ("model.layers.0*", "model.layers.0.*"), as `fnmatch` reads
them. Scales of an FP8 KV cache lie under k_proj and v_proj: `renamed` gives them the names of everybody else.
Source: ModelOpt 0.47, `torch/export/quant_utils.py`, `convert_hf_config.py`; vLLM 0.32, `modelopt.py`.
"""

import fnmatch
from collections.abc import Mapping

from qcourse.checkpoints import kv_scheme
from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.keys import Keys
from qcourse.checkpoints.renamed import Renamed
from qcourse.checkpoints.rules import EVERY, Rule
from qcourse.numerics.formats import NVFP4_MODELOPT, NVFP4_MODELOPT_LOCAL, block_float
from qcourse.numerics.grids import E4M3
from qcourse.numerics.kv import KV_PRESETS, KVCacheArgs
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, QuantizationScheme

MXFP8 = block_float(E4M3, "round_up")  # of activations, too: the least power of two at which nothing saturates
ALGORITHMS: dict[str, tuple[QuantizationScheme, str]] = {  # → scheme, layout
    "FP8": (PRESETS["FP8"], "float-quantized"),
    "FP8_PER_CHANNEL_PER_TOKEN": (PRESETS["FP8_DYNAMIC"], "float-quantized"),
    "W4A16_NVFP4": (QuantizationScheme(NVFP4_MODELOPT), "modelopt-nvfp4"),
    "NVFP4": (QuantizationScheme(NVFP4_MODELOPT, NVFP4_MODELOPT_LOCAL), "modelopt-nvfp4"),
    "MXFP8": (QuantizationScheme(MXFP8, MXFP8), "mxfp8-quantized"),
}
REFUSED = {  # known, and why nothing here reads it
    "FP8_PB_WO": "its scales lie in another shape than those of DeepSeek's or compressed-tensors' blocks",
    "MIXED_PRECISION": "a format a layer",
    **dict.fromkeys(("NVFP4_AWQ", "NVFP4_SVD", "W4A16_AWQ", "W4A8_AWQ", "W8A8_SQ_PER_CHANNEL"),
                    "it multiplies the layer's input by a tensor of its own (pre_quant_scale)"),
}  # fmt: skip
KV_PLACES = {".k_proj.k_scale": ".k_scale", ".v_proj.v_scale": ".v_scale"}


def rules(config: dict, where: str, weights=None) -> list[Rule]:
    """The rules of a ModelOpt config, in either form; none where only the KV cache is quantized.

    Raises CheckpointError naming the key, or the algorithm, that is not read.
    """
    where = f"{where} (modelopt)"
    top = inner = Keys(config, where)
    top.harmless("quant_method", "producer")
    if "quantization" in config:
        inner = Keys(top.take("quantization", kind=dict), where)
        top.done()
    algorithm = inner.take("quant_algo", kind=str, default=None)
    excluded = inner.take("ignore", "exclude_modules", kind=list, default=[])
    G = inner.take("group_size", kind=int, default=None)
    groups = inner.take("config_groups", kind=dict, default={})
    inner.harmless("kv_cache_scheme", "kv_cache_quant_algo")  # `kv_cache` reads them
    scheme, layout = scheme_of(inner, algorithm) if algorithm or kv_cache(config, where) is None else (None, None)
    inner.only("has_zero_point", False, None)
    inner.only("pre_quant_scale", False, None)
    inner.done()
    if scheme is None:  # the weights are in 16 bits
        return []
    if G not in (None, 0, scheme.weights.group_size):
        inner.refuse("group_size", f"{algorithm} has scales {scheme.weights.granularity}")
    for name, group in groups.items():
        check_group(Keys(group, f"{where}, {name}"), scheme, algorithm)
    return [*(exclusion(inner, name) for name in excluded), Rule(EVERY, scheme, layout)]


def scheme_of(keys: Keys, algorithm: str | None) -> tuple[QuantizationScheme, str]:
    """quant_algo → scheme, layout. Raises CheckpointError for one that is not read here, saying why."""
    name = str(algorithm).upper()
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    why = f"{REFUSED[name]}; " if name in REFUSED else ""
    return keys.refuse("quant_algo", f"{why}{', '.join(ALGORITHMS)} are read here")


def check_group(group: Keys, scheme: QuantizationScheme, algorithm: str) -> None:
    """Raise CheckpointError for a group of config_groups that says something else than quant_algo."""
    if group.take("targets", kind=list) != [EVERY]:
        group.refuse("targets", f"[{EVERY!r}] expected")
    sides = {"weights": scheme.weights, "input_activations": scheme.input_activations}
    for side, args in sides.items():
        given = group.take(side, kind=dict, default=None)
        if (given is None) != (args is None):
            group.refuse(side, f"quant_algo {algorithm} says otherwise")
        if given is not None:
            check_side(Keys(given, f"{group.where}, {side}"), args, algorithm)
    group.done()


def check_side(a: Keys, args: QuantizationArgs, algorithm: str) -> None:
    """The same of its weights or activations. `dynamic` is false in every file, whatever the algorithm."""
    a.harmless("dynamic")
    a.only("num_bits", args.num_bits)
    a.only("type", "float")
    a.only("group_size", args.group_size, None)
    by_row = args.granularity.rows == 1 and args.group_size is None
    a.only("strategy", None, *(["channel", "token"] if by_row else []))
    a.done()


def exclusion(keys: Keys, name: str) -> Rule:
    """A name, or a pattern with wildcards, of `exclude_modules` → a rule that leaves what it means in 16 bits."""
    if not isinstance(name, str) or not name:
        raise CheckpointError(f"{keys.where}: {name!r} among the excluded modules: a name or a pattern expected")
    if any(c in name for c in "*?["):
        return Rule(f"re:{fnmatch.translate(name)}", None, required=False)
    return Rule(name, None, required=not name.endswith("lm_head"))


def kv_cache(config: dict, where: str) -> KVCacheArgs | None:
    """The recipe of the cache that the file brings scales for. Raises CheckpointError for another than FP8, naming it."""
    inner = config.get("quantization", config)
    inner = inner if isinstance(inner, dict) else {}
    said = [inner[key] for key in ("kv_cache_scheme", "kv_cache_quant_algo") if inner.get(key) is not None]
    found = [kv_scheme.read(one, where) if isinstance(one, dict) else algorithm_of(one, where) for one in said]
    if len(set(found)) > 1:
        raise CheckpointError(f"{where}: kv_cache_scheme and kv_cache_quant_algo are one setting, and differ: {said}")
    return found[0] if found else None


def algorithm_of(name: object, where: str) -> KVCacheArgs:
    """A name of kv_cache_quant_algo → the recipe."""
    if str(name).upper() != "FP8":
        raise CheckpointError(f"{where}: the KV cache in {name!r}: only FP8 is read here")
    return KV_PRESETS["fp8_e4m3"]


def renamed(weights: Mapping) -> Mapping:
    """The tensors with the cache's scales at ….self_attn.k_scale."""
    places = {}
    for name in weights:
        end = next((end for end in KV_PLACES if name.endswith(end)), None)
        places[name if end is None else name.removesuffix(end) + KV_PLACES[end]] = name
    return Renamed(weights, places)
