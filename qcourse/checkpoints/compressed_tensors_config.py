"""A scheme → `quantization_config` in compressed-tensors' words: the way out, where `compressed_tensors` is the way in.

    format   pack-quantized    integers without quantized activations, and integers under FP8 ones
             int-quantized     integers under int8 activations, a byte a code, whatever their bits
             float-quantized   E4M3, by tensor, channel or block
             nvfp4-…, mxfp4-…, mxfp6-…, mxfp8-…

What is written is read again and compared, so nothing that would come back as another scheme leaves here. How a scale was
found is not part of a file, nor is its dtype, which the tensors themselves say.
Source: the presets of compressed-tensors 0.20, dumped by the library; W4AFP8 in packed words is vLLM's.
"""

from contextlib import suppress

from qcourse.checkpoints import kv_scheme
from qcourse.checkpoints.compressed_tensors import BLOCK_FLOATS, rules
from qcourse.checkpoints.errors import CheckpointError
from qcourse.numerics.granularity import Granularity, per_channel, per_tensor
from qcourse.numerics.grids import E4M3, Grid, IntGrid
from qcourse.numerics.kv import KVCacheArgs
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, QuantizationScheme, is_float
from qcourse.packing.packed import layout_of

IGNORED = ("lm_head",)
WHOLE = {"quant_method": "compressed-tensors", "global_compression_ratio": None}


def format_of(scheme: QuantizationScheme) -> str:
    """The format that holds a scheme, a name of `packing.LAYOUTS`. Raises ValueError when none does."""
    w, a = scheme.weights, scheme.input_activations
    for name, (args, _) in BLOCK_FLOATS.items():
        if w.same_storage(args):
            return name
    if w.grid == E4M3:
        return "float-quantized"
    if not isinstance(w.grid, IntGrid):
        raise ValueError(f"compressed-tensors has no format for {w.grid}, {w.granularity}")
    return "int-quantized" if a is not None and isinstance(a.grid, IntGrid) else "pack-quantized"


def config_of(scheme: QuantizationScheme, ignore: tuple[str, ...] = IGNORED, kv_cache: KVCacheArgs | None = None) -> dict:
    """The `quantization_config` of a model whose every linear layer, but those in `ignore`, is quantized so. kv_cache: of a
    cache whose static scales are in the file, too.

    >>> config_of(PRESETS["W4A16"])["config_groups"]["group_0"]["weights"]["strategy"]
    'group'

    Raises ValueError for a scheme that no format holds, or that would be read back as another, naming those that work; and
    for a cache that vLLM does not read from a file, saying what it does.
    """
    cache = None if kv_cache is None else kv_scheme.write(kv_cache)
    try:
        return read_again(scheme, ignore) | {"kv_cache_scheme": cache}
    except (CheckpointError, ValueError) as e:
        raise ValueError(f"{e}; schemes that can be written: {', '.join(writable())}") from None


def cache_config(kv_cache: KVCacheArgs) -> dict:
    """The `quantization_config` of a model in 16 bits whose KV cache has static scales in the file. Raises ValueError for a
    cache that vLLM does not read from a file."""
    return {"config_groups": {}, "kv_cache_scheme": kv_scheme.write(kv_cache)} | WHOLE | {
        "format": "dense", "quantization_status": "frozen", "ignore": []
    }  # fmt: skip


def writable() -> list[str]:
    """The names of PRESETS that compressed-tensors has a format for."""
    found = []
    for name, scheme in PRESETS.items():
        with suppress(CheckpointError, ValueError):
            read_again(scheme, IGNORED)
            found.append(name)
    return found


def read_again(scheme: QuantizationScheme, ignore: tuple[str, ...]) -> dict:
    """The config, once it was read and is that scheme. Raises ValueError, CheckpointError."""
    form = format_of(scheme)
    config = unchecked(scheme, form, ignore)
    read = rules(config, "quantization_config")[-1].scheme
    if not same_file(read.weights, scheme.weights) or read.input_activations != scheme.input_activations:
        raise ValueError("compressed-tensors has no words for how its scales or zero points are stored")
    layout_of(form).slots(scheme.weights, *square(scheme.weights))
    return config


def same_file(a: QuantizationArgs, b: QuantizationArgs) -> bool:
    """Whether two recipes of weights give the same tensors, but for the dtype of plain scales."""
    a = a.with_(scale=b.scale) if is_float(a.scale) and is_float(b.scale) else a
    return a.same_storage(b)


def square(args: QuantizationArgs) -> tuple[int, int]:
    """A shape (N, K) that every format takes, to ask for slots."""
    K = 128 * (args.group_size or 1)
    return K, K


def unchecked(scheme: QuantizationScheme, form: str, ignore: tuple[str, ...]) -> dict:
    """The config, with every key that the library writes."""
    a = scheme.input_activations
    group = {
        "targets": ["Linear"],
        "weights": weights_of(scheme.weights, form),
        "input_activations": None if a is None else activations_of(a),
        "output_activations": None,
        "format": form,
    }
    found = {"config_groups": {"group_0": group}, "kv_cache_scheme": None} | WHOLE
    return found | {"format": form, "quantization_status": "compressed", "ignore": list(ignore)}


def common(args: QuantizationArgs, strategy: str) -> dict:
    """The keys that weights and activations share."""
    kind = "int" if isinstance(args.grid, IntGrid) else "float"
    found = {"num_bits": args.num_bits, "type": kind, "symmetric": args.symmetric, "group_size": None, "strategy": strategy}
    return found | ({"group_size": args.group_size} if strategy in ("group", "tensor_group") else {})


def weights_of(args: QuantizationArgs, form: str) -> dict:
    """The args of weights."""
    strategy = BLOCK_FLOATS[form][1] if form in BLOCK_FLOATS else strategy_of(args.granularity, "channel")
    found = common(args, strategy) | {"dynamic": False}
    if strategy == "block":
        found["block_structure"] = [args.granularity.rows, args.granularity.cols]
    if form in BLOCK_FLOATS:
        found["scale_dtype"] = "torch.float8_e4m3fn" if strategy == "tensor_group" else "torch.uint8"
    return found


def activations_of(args: QuantizationArgs) -> dict:
    """The args of input activations."""
    if isinstance(args.scale, QuantizationArgs):
        return common(args, "tensor_group") | {"dynamic": args.dynamic, "scale_dtype": "torch.float8_e4m3fn"}
    found = common(args, strategy_of(args.granularity, "token")) | {"dynamic": args.dynamic}
    return found | ({"scale_dtype": "torch.uint8"} if isinstance(args.scale, Grid) else {})


def strategy_of(granularity: Granularity, row: str) -> str:
    """The library's word for who shares a scale. row: its word for one scale a row. Raises ValueError for another."""
    if granularity in (per_tensor, per_channel):
        return "tensor" if granularity == per_tensor else row
    if granularity.rows is None or granularity.cols is None:
        raise ValueError(f"compressed-tensors has no word for scales {granularity}")
    return "group" if granularity.rows == 1 else "block"
