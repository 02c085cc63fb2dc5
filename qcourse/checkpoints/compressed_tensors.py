"""`quant_method: compressed-tensors` (llm-compressor, vLLM): config groups → rules; the KV cache's scheme: `kv_scheme`.

A group: targets (class name, module name or "re:…"), weights, input_activations, and since 0.1x its own format.
Source: compressed-tensors 0.20, `quantization/quant_config.py`, `quant_args.py`; the rows that are read:
the formats of `packing.compressed_tensors`, weight-only or with int8/FP8 activations by token, tensor or group.
"""

import torch

from qcourse.checkpoints import kv_scheme
from qcourse.checkpoints.keys import Keys
from qcourse.checkpoints.rules import Rule, ignore
from qcourse.numerics.formats import NVFP4_ARGS, NVFP4_LOCAL, block_float
from qcourse.numerics.granularity import Granularity, per_block, per_channel, per_group, per_tensor, per_token
from qcourse.numerics.grids import E2M1, E2M3, E4M3, IntGrid
from qcourse.numerics.kv import KVCacheArgs
from qcourse.numerics.schemes import QuantizationArgs, QuantizationScheme

FORMATS = (
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp6-pack-quantized",
    "mxfp8-quantized",
)
BLOCK_FLOATS = {
    "nvfp4-pack-quantized": (NVFP4_ARGS, "tensor_group"),
    "mxfp4-pack-quantized": (block_float(E2M1), "group"),
    "mxfp6-pack-quantized": (block_float(E2M3), "group"),
    "mxfp8-quantized": (block_float(E4M3), "group"),
}
TOP = (  # of the whole config: how it was made
    "quant_method", "global_compression_ratio", "version", "quantization_status", "format", "config_groups", "ignore",
    "kv_cache_scheme", "sparsity_config", "transform_config", "moe_sparsity_config", "run_compressed",
)  # fmt: skip


def rules(config: dict, where: str, weights=None) -> list[Rule]:
    """The rules of a `quantization_config`; none where only the KV cache is quantized. Raises CheckpointError naming the key
    that is not read."""
    top = Keys(config, where)
    cache_only = config.get("config_groups") in (None, {}) and kv_cache(config, where) is not None
    top.only("quantization_status", "compressed", None, *(["frozen"] if cache_only else []))  # then nothing is compressed
    for key in ("transform_config", "moe_sparsity_config"):
        top.only(key, None, {})
    sparsity = top.take("sparsity_config", kind=dict, default={})
    if sparsity.get("format", "dense") != "dense":
        top.refuse("sparsity_config", "sparse weights are not read here")
    top.harmless(*TOP)
    whole = top.take("format", kind=str, default=None)
    if cache_only:
        top.done()
        return []
    groups = top.take("config_groups", kind=dict)
    found = ignore(top.take("ignore", kind=list, default=[]), in_file=True)
    for name, group in groups.items():
        found += group_rules(group, f"{where}, {name}", whole)
    if not any(r.scheme for r in found):
        top.refuse("config_groups", "at least one group with weights expected")
    top.done()
    return found


def kv_cache(config: dict, where: str) -> KVCacheArgs | None:
    """The recipe of the cache that the file brings scales for. Raises CheckpointError naming the key that is not read."""
    return kv_scheme.read(config.get("kv_cache_scheme"), where)


def group_rules(group: dict, where: str, whole: str | None) -> list[Rule]:
    """One group → a rule a target."""
    g = Keys(group, where)
    g.only("output_activations", None)
    form = g.take("format", kind=str, default=whole)
    if form not in FORMATS:
        g.refuse("format", f"{form!r}: one of {', '.join(FORMATS)} expected")
    targets = g.take("targets", kind=list)
    args = Keys(g.take("weights", kind=dict), f"{where}, weights")
    weights = weight_args(args, form)
    if form == "naive-quantized":
        form = "int-quantized" if isinstance(weights.grid, IntGrid) else "float-quantized"
    given = g.take("input_activations", kind=dict, default=None)
    activations = None if given is None else activation_args(Keys(given, f"{where}, input_activations"))
    g.done()
    scheme = QuantizationScheme(weights, activations)
    return [Rule(target, scheme, form) for target in targets]


def common(a: Keys) -> None:
    """Keys of args that say how scales were found."""
    a.harmless("observer", "observer_kwargs", "scale_dtype", "zp_dtype")


def weight_args(a: Keys, form: str) -> QuantizationArgs:
    """The args of weights. Raises CheckpointError for a combination that its format does not hold, or that is not read."""
    common(a)
    bits, kind = a.take("num_bits", kind=int, default=8), a.take("type", kind=str, default="int")
    symmetric, strategy = a.take("symmetric", kind=bool, default=True), a.take("strategy", kind=str, default=None)
    G, block = a.take("group_size", kind=int, default=None), a.take("block_structure", kind=list, default=None)
    a.only("actorder", None, "weight", "static", False)  # these change no file; "group" was removed from the format in 2026
    a.only("dynamic", False, None)
    a.done()
    if strategy is None:  # as the library infers it
        strategy = "group" if G is not None and G > 0 else "channel" if G == -1 else "tensor"
    if form in BLOCK_FLOATS:
        args, its_strategy = BLOCK_FLOATS[form]
        given = (kind, bits, strategy, G or args.group_size, symmetric)
        if given != ("float", args.num_bits, its_strategy, args.group_size, True):
            a.refuse("group_size", f"{form} holds {args.num_bits}-bit floats in blocks of {args.group_size}")
        return args
    granularity = granularity_of(a, strategy, G, block)
    if kind == "float":
        if bits != 8 or not symmetric or form not in ("float-quantized", "naive-quantized"):
            a.refuse("type", f"{bits}-bit floats in {form} are not read here")
        return QuantizationArgs(E4M3, granularity)
    if kind != "int" or not 2 <= bits <= 8 or form == "float-quantized":
        a.refuse("type", f"{bits}-bit {kind} in {form} is not read here")
    if symmetric:
        return QuantizationArgs(IntGrid(bits), granularity)
    grid = IntGrid(bits, signed=form != "pack-quantized")
    return QuantizationArgs(grid, granularity, "minmax", zero=grid)


def granularity_of(a: Keys, strategy: str, G: int | None, block: list | None) -> Granularity:
    """The field's word for who shares a scale → rows and columns."""
    if strategy == "group":
        if G is None or G < 1:
            a.refuse("group_size", "strategy 'group' needs a positive one")
        return per_group(G)
    if strategy == "block":
        if not block or len(block) != 2 or not all(type(b) is int and b > 0 for b in block):
            a.refuse("block_structure", "strategy 'block' needs [rows, columns]")
        return per_block(*block)
    simple = {"tensor": per_tensor, "channel": per_channel, "token": per_token}
    if strategy not in simple:
        a.refuse("strategy", f"one of {', '.join([*simple, 'group', 'block'])} is read here")
    return simple[strategy]


def activation_args(a: Keys) -> QuantizationArgs:
    """The args of input activations: int8 or E4M3, symmetric; a scale a token or a group, or one for all, static or not.
    Floats of 8 or 4 bits in blocks of 32 under powers of two are MXFP8 and MXFP4; of 4 bits in blocks of 16 under E4M3 and a
    number of the file, NVFP4."""
    power_of_two = a.config.get("scale_dtype") == "torch.uint8"
    common(a)
    bits, kind = a.take("num_bits", kind=int, default=8), a.take("type", kind=str, default="int")
    strategy, G = a.take("strategy", kind=str, default=None), a.take("group_size", kind=int, default=None)
    dynamic = a.take("dynamic", kind=(bool, str), default=False)
    a.only("symmetric", True, None)
    a.only("actorder", None)
    a.only("block_structure", None)
    a.done()
    if power_of_two:
        if (kind, strategy, G, dynamic) != ("float", "group", 32, True) or bits not in (8, 4):
            a.refuse("scale_dtype", "powers of two are read for dynamic floats of 8 or 4 bits in groups of 32")
        return block_float(E4M3 if bits == 8 else E2M1)
    if strategy == "tensor_group" or dynamic == "local":
        if (kind, bits, strategy, G, dynamic) != ("float", 4, "tensor_group", 16, "local"):
            a.refuse("strategy", "'tensor_group' is read for 4-bit floats in groups of 16 (NVFP4), dynamic: 'local'")
        return NVFP4_LOCAL
    if bits != 8 or kind not in ("int", "float"):
        a.refuse("num_bits", f"{bits}-bit {kind} activations are not read here")
    strategy = strategy or ("group" if G else "token" if dynamic else "tensor")
    if strategy in ("channel", "block") or not dynamic and strategy != "tensor" or isinstance(dynamic, str):
        a.refuse("strategy", "activations are read by token or group (dynamic: true), or by tensor")
    grid = IntGrid(8) if kind == "int" else E4M3
    return QuantizationArgs(grid, granularity_of(a, strategy, G, None), scale=torch.float32, dynamic=dynamic)
