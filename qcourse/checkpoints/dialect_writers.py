"""How a folder of each ecosystem says what its weights are: the way out of `dialects`, one row an ecosystem.

    compressed-tensors   everything that llm-compressor writes                        vLLM, transformers
    gptq, gptq_v2        integers of 2, 3, 4, 8 bits by group or row                  vLLM, GPTQModel, transformers
    awq                  4 bits by group, always with zero points                     vLLM, GPTQModel
    modelopt             FP8 (static), FP8 by row × token, NVFP4 weights, MXFP8       vLLM, TensorRT-LLM
    torchao              int8, float8 and intx, one code in a byte                    transformers, vLLM

`ready` brings codes into the shape that a layout wants, without loss (packing.lossless): symmetric codes get the zero point
2^(B-1), bf16 scales become fp16 where fp16 holds them exactly. What would lose something is a ValueError that says what.
What is written is read again (`dialects.DIALECTS`) and compared, so nothing leaves that would come back as another scheme.
Sources: AutoGPTQ/GPTQModel 7, AutoAWQ, ModelOpt 0.47, torchao 0.18, compressed-tensors 0.20.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from qcourse.checkpoints import compressed_tensors_config as ct
from qcourse.checkpoints import modelopt, torchao_config
from qcourse.checkpoints.dialects import DIALECTS
from qcourse.checkpoints.errors import CheckpointError
from qcourse.numerics.formats import NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs, QuantizationScheme, is_float
from qcourse.packing.lossless import half_scales, multiplying, signed_where_needed, unsigned_where_needed, with_zero_points
from qcourse.packing.packed import layout_of
from qcourse.shapes import Tensor

MADE_BY = "qcourse"
GPTQ_BITS = (2, 3, 4, 8)


@dataclass(frozen=True)
class DialectWriter:
    """config(scheme, ignore) → quantization_config · layout(scheme) → a name of LAYOUTS · ready(q) → the same values as that
    layout stores them · beside(config) → other JSON files of the folder · dropped: tensors that need not be written.
    All raise ValueError, saying what this ecosystem has no words or no place for."""

    name: str
    config: Callable[[QuantizationScheme, tuple[str, ...]], dict]
    layout: Callable[[QuantizationScheme], str]
    ready: Callable[[QTensor], QTensor] = lambda q: q
    beside: Callable[[dict], dict[str, dict]] = lambda config: {}
    dropped: tuple[str, ...] = ()

    def tensors(self, q: QTensor, scheme: QuantizationScheme) -> dict[str, Tensor]:
        """The tensors of one layer, without those that need not be written. Raises ValueError for what would be lost."""
        found = layout_of(self.layout(scheme)).pack(self.ready(q))
        return {leaf: t for leaf, t in found.items() if q.order is not None or leaf not in self.dropped}

    def metadata(self, tensors: dict[str, Tensor], scheme: QuantizationScheme, names: list[str]) -> dict[str, str]:
        """What a shard says of itself: TorchAO's classes; nothing in others. names: all parameters of the model, which every
        shard lists, because of several lists transformers keeps the last."""
        if self.name != "torchao":
            return {}
        return torchao_config.metadata(tensors, scheme) | {"tensor_names": json.dumps(names)}

    def written(self, scheme: QuantizationScheme, ignore: tuple[str, ...] = ct.IGNORED) -> dict:
        """`config`, read again and compared. Raises ValueError for a scheme that would come back as another."""
        config = self.config(scheme, ignore)
        try:
            read = DIALECTS[config["quant_method"]](config, "quantization_config", {})[-1].scheme
        except CheckpointError as e:
            raise ValueError(str(e)) from e
        if not same_values(read.weights, scheme.weights) or read.input_activations != scheme.input_activations:
            raise ValueError(
                f"{self.name} would be read as another scheme than it is: {read.weights.grid}, {read.weights.zero}"
            )
        return config


def same_values(read: QuantizationArgs, made: QuantizationArgs) -> bool:
    """Whether two recipes are stored alike, but for the dtype of plain scales and for how "symmetric" is written down."""
    if {True} == {a.same_storage(NVFP4_ARGS) or a.same_storage(NVFP4_MODELOPT) for a in (read, made)}:
        return True
    if isinstance(read.grid, IntGrid) and isinstance(made.grid, IntGrid):
        return read.grid.num_bits == made.grid.num_bits and read.granularity == made.granularity
    return ct.same_file(read, made)


def unsigned_scheme(scheme: QuantizationScheme) -> QuantizationScheme:
    """Weights alone in signed codes with zero points, as pack-quantized has them: unsigned."""
    w = scheme.weights
    if w.zero is None or w.zero != w.grid or not w.grid.signed or scheme.input_activations is not None:
        return scheme
    grid = IntGrid(w.num_bits, signed=False)
    return replace(scheme, weights=w.with_(grid=grid, zero=grid))


def integers(scheme: QuantizationScheme, name: str, legal: tuple[int, ...]) -> QuantizationArgs:
    """The weights' args. Raises ValueError unless they are integers of these bits, by row or group, and nothing else."""
    w = scheme.weights
    if scheme.input_activations is not None:
        raise ValueError(f"{name} has no words for quantized activations")
    plain = (
        isinstance(w.grid, IntGrid) and is_float(w.scale) and (w.zero is None or w.zero == w.grid) and w.zero_in == "steps"
    )
    if not plain or w.num_bits not in legal or w.granularity.rows != 1:
        raise ValueError(
            f"{name} holds integers of {', '.join(map(str, legal))} bits by group or row; not {w.grid}, {w.granularity}"
        )
    return w


def exceptions(ignore: tuple[str, ...]) -> dict:
    """GPTQModel's words for layers that stay in 16 bits."""
    names = [n for n in ignore if n != "lm_head"]
    return {"dynamic": {f"-:{n.removeprefix('re:')}": {} for n in names}} if names else {}


def gptq(version: int) -> DialectWriter:
    """AutoGPTQ's folder; version 1 stores z - 1."""
    name = "gptq" if version == 1 else "gptq_v2"

    def config(scheme: QuantizationScheme, ignore: tuple[str, ...]) -> dict:
        w = integers(scheme, name, GPTQ_BITS)
        found = {"quant_method": "gptq", "bits": w.num_bits, "group_size": w.group_size or -1, "desc_act": False,
                 "sym": w.zero is None, "lm_head": False, "checkpoint_format": name, "format": name, "pack_dtype": "int32",
                 "meta": {"quantizer": [MADE_BY]}}  # fmt: skip
        return found | exceptions(ignore)

    return DialectWriter(name, config, lambda scheme: name, lambda q: half_scales(unsigned_where_needed(q)),
                         lambda config: {"quantize_config.json": {k: v for k, v in config.items() if k != "quant_method"}},
                         ("g_idx",))  # fmt: skip


def awq_config(scheme: QuantizationScheme, ignore: tuple[str, ...]) -> dict:
    """AutoAWQ's words, as transformers has them."""
    w = integers(scheme, "awq", (4,))
    left = [n for n in ignore if n != "lm_head"]
    return {"quant_method": "awq", "bits": 4, "group_size": w.group_size or -1, "zero_point": True, "version": "gemm",
            "modules_to_not_convert": left or None}  # fmt: skip


def modelopt_name(scheme: QuantizationScheme) -> tuple[str, str]:
    """(quant_algo, layout) of a scheme. Raises ValueError where ModelOpt has none that is written here."""
    w = scheme.weights.with_(scale=NVFP4_MODELOPT.scale) if scheme.weights.same_storage(NVFP4_ARGS) else scheme.weights
    for name, (theirs, layout) in modelopt.ALGORITHMS.items():
        if ct.same_file(w, theirs.weights) and scheme.input_activations == theirs.input_activations:
            return name, layout
    raise ValueError(
        f"ModelOpt has no algorithm for {w.grid}, {w.granularity} that is written here: {', '.join(modelopt.ALGORITHMS)}"
    )


def modelopt_config(scheme: QuantizationScheme, ignore: tuple[str, ...]) -> dict:
    """ModelOpt's words, in config.json's form."""
    return {"quant_method": "modelopt", "quant_algo": modelopt_name(scheme)[0], "ignore": list(ignore),
            "producer": {"name": MADE_BY}}  # fmt: skip


def modelopt_beside(config: dict) -> dict[str, dict]:
    """hf_quant_config.json, which older readers look for."""
    size = {"W4A16_NVFP4": 16, "MXFP8": 32}.get(config["quant_algo"])
    inner = {"quant_algo": config["quant_algo"], "kv_cache_quant_algo": None, "exclude_modules": config["ignore"]}
    inner |= {} if size is None else {"group_size": size}
    return {"hf_quant_config.json": {"producer": config["producer"], "quantization": inner}}


def torchao_ready(q: QTensor) -> QTensor:
    """Signed codes, scales as wide as TorchAO's own."""
    q = signed_where_needed(q)
    scheme = QuantizationScheme(q.args)
    wide = torchao_config.ready_scale(scheme)
    if wide == torch.bfloat16 and q.scale.dtype != torch.bfloat16:
        wide = q.scale.dtype
    return replace(q, scale=q.scale.to(wide), args=q.args.with_(scale=wide))


WRITERS: dict[str, DialectWriter] = {
    w.name: w
    for w in (
        DialectWriter(
            "compressed-tensors",
            lambda scheme, ignore: ct.config_of(unsigned_scheme(scheme), ignore),
            lambda scheme: ct.format_of(unsigned_scheme(scheme)),
            unsigned_where_needed,
        ),
        gptq(1),
        gptq(2),
        DialectWriter("awq", awq_config, lambda scheme: "awq", lambda q: half_scales(with_zero_points(q))),
        DialectWriter("modelopt", modelopt_config, lambda s: modelopt_name(s)[1], multiplying, modelopt_beside),
        DialectWriter("torchao", torchao_config.config_of, lambda scheme: "torchao", torchao_ready),
    )
}


def writer_of(name: str) -> DialectWriter:
    """A row by its name. Raises ValueError naming those that exist."""
    if name not in WRITERS:
        raise ValueError(f"unknown layout {name!r}: one of {', '.join(WRITERS)}")
    return WRITERS[name]
