"""How a folder of each ecosystem says what its weights are: the way out of `dialects`, one row an ecosystem.

    compressed-tensors   everything that llm-compressor writes                        vLLM, transformers
    gptq, gptq_v2        integers of 2, 3, 4, 8 bits by group or row                  vLLM, GPTQModel, transformers
    awq                  4 bits by group, always with zero points                     vLLM, GPTQModel
    modelopt             FP8 (static), FP8 by row × token, NVFP4, MXFP8               vLLM, TensorRT-LLM
    torchao              int8, float8 and intx, one code in a byte                    transformers, vLLM

`ready` brings codes into the shape that a layout wants, without loss (packing.lossless): symmetric codes get the zero point
2^(B-1), bf16 scales become fp16 where fp16 holds them exactly, NVFP4's upper scale is turned into its reciprocal. What would
lose something is a ValueError that says what.
What is written is read again (`dialects.DIALECTS`) and compared, so nothing leaves that would come back as another scheme.
Sources: AutoGPTQ/GPTQModel 7, AutoAWQ, ModelOpt 0.47, torchao 0.18, compressed-tensors 0.20.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from qcourse.checkpoints import compressed_tensors_config as ct
from qcourse.checkpoints import modelopt_config, torchao_config
from qcourse.checkpoints.dialects import DIALECTS
from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.gptq_config import awq_config, gptq_config
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.kv import KVCacheArgs, name_of
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs, QuantizationScheme
from qcourse.numerics.two_level import divides
from qcourse.packing.lossless import (
    dividing,
    dividing_scheme,
    half_scales,
    multiplying,
    multiplying_scheme,
    signed_where_needed,
    unsigned_where_needed,
    with_zero_points,
)
from qcourse.packing.packed import layout_of
from qcourse.shapes import Tensor


@dataclass(frozen=True)
class DialectWriter:
    """config(scheme, ignore) → quantization_config · layout(scheme) → a name of LAYOUTS · ready(q) → the same values as that
    layout stores them, and says(scheme) their scheme · beside(config) → other JSON files of the folder · dropped: tensors
    that need not be written · cache(recipe) → what the config says of a KV cache's scales, None: it has no words for them,
    and cache_names: end of their names → what it is here · shaped(tensor): in the shape that is usual here · act_order:
    what the config says of columns in another order, None: there is no place for them.
    All raise ValueError, saying what this ecosystem has no words or no place for."""

    name: str
    config: Callable[[QuantizationScheme, tuple[str, ...]], dict]
    layout: Callable[[QuantizationScheme], str]
    ready: Callable[[QTensor], QTensor] = lambda q: q
    beside: Callable[[dict], dict[str, dict]] = lambda config: {}
    dropped: tuple[str, ...] = ()
    says: Callable[[QuantizationScheme], QuantizationScheme] = lambda scheme: scheme
    cache: Callable[[KVCacheArgs], dict] | None = None
    cache_names: dict[str, str] = field(default_factory=dict)
    shaped: Callable[[Tensor], Tensor] = lambda t: t
    act_order: dict | None = None

    def tensors(self, q: QTensor, scheme: QuantizationScheme, input_scale: float | None = None) -> dict[str, Tensor]:
        """The tensors of one layer, without those that need not be written. input_scale: the static one of `scheme`'s
        activations. Raises ValueError for what would be lost."""
        layout, there = layout_of(self.layout(scheme)), self.says(scheme).input_activations
        found = layout.pack(self.ready(q))
        if input_scale is not None:
            turned = divides(there) != divides(scheme.input_activations)
            found[layout.input_scale] = torch.tensor([1 / input_scale if turned else input_scale])
        return {leaf: self.shaped(t) for leaf, t in found.items() if q.order is not None or leaf not in self.dropped}

    def named(self, scales: dict[str, Tensor]) -> dict[str, Tensor]:
        """A KV cache's scales (….self_attn.k_scale) under this ecosystem's names."""
        ends = {name: next((end for end in self.cache_names if name.endswith(end)), "") for name in scales}
        return {n.removesuffix(end) + self.cache_names.get(end, end): self.shaped(scales[n]) for n, end in ends.items()}

    def metadata(self, scheme: QuantizationScheme, weights: dict[str, int | None]) -> dict[str, str]:
        """What every shard says of all parameters of the model: TorchAO's classes; nothing in others. weights: their names,
        with their K where they are quantized."""
        return torchao_config.metadata(scheme, weights) if self.name == "torchao" else {}

    def written(
        self, scheme: QuantizationScheme, ignore: tuple[str, ...] = ct.IGNORED, kv_cache: KVCacheArgs | None = None
    ) -> dict:
        """`config`, read again and compared; with the words for a KV cache whose static scales are in the file. Raises
        ValueError for a scheme that would come back as another, and for a cache that this ecosystem has no words for."""
        config, wanted = self.config(scheme, ignore), self.says(scheme)
        if kv_cache is not None and self.cache is None:
            able = ", ".join(w.name for w in WRITERS.values() if w.cache is not None)
            raise ValueError(f"{self.name} has no words for the scales of a KV cache ({name_of(kv_cache)}), but {able} have")
        try:
            read = DIALECTS[config["quant_method"]](config, "quantization_config", {})[-1].scheme
        except CheckpointError as e:
            raise ValueError(str(e)) from e
        if not same_values(read.weights, wanted.weights) or read.input_activations != wanted.input_activations:
            raise ValueError(
                f"{self.name} would be read as another scheme than it is: {read.weights.grid}, {read.weights.zero}"
            )
        return config | (self.cache(kv_cache) if kv_cache is not None else {})


def same_values(read: QuantizationArgs, made: QuantizationArgs) -> bool:
    """Whether two recipes are stored alike, but for the dtype of plain scales and for how "symmetric" is written down."""
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


def compressed_tensors_scheme(scheme: QuantizationScheme) -> QuantizationScheme:
    """As compressed-tensors stores it."""
    return dividing_scheme(unsigned_scheme(scheme))


def gptq(version: int) -> DialectWriter:
    """AutoGPTQ's folder; version 1 stores z - 1."""
    name = "gptq" if version == 1 else "gptq_v2"
    return DialectWriter(
        name,
        lambda scheme, ignore: gptq_config(scheme, ignore, name),
        lambda scheme: name,
        lambda q: half_scales(unsigned_where_needed(q)),
        lambda config: {"quantize_config.json": {k: v for k, v in config.items() if k != "quant_method"}},
        ("g_idx",),
        act_order={"desc_act": True},
    )


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
            lambda scheme, ignore: ct.config_of(compressed_tensors_scheme(scheme), ignore),
            lambda scheme: ct.format_of(compressed_tensors_scheme(scheme)),
            lambda q: dividing(unsigned_where_needed(q)),
            says=compressed_tensors_scheme,
            cache=lambda recipe: {"kv_cache_scheme": ct.kv_scheme.write(recipe)},
        ),
        gptq(1),
        gptq(2),
        DialectWriter("awq", awq_config, lambda scheme: "awq", lambda q: half_scales(with_zero_points(q))),
        DialectWriter(
            "modelopt",
            lambda scheme, ignore: modelopt_config.config_of(multiplying_scheme(scheme), ignore),
            lambda scheme: modelopt_config.algorithm(multiplying_scheme(scheme))[1],
            multiplying,
            modelopt_config.beside,
            says=multiplying_scheme,
            cache=modelopt_config.cache_of,
            cache_names={ours: theirs for theirs, ours in modelopt_config.KV_PLACES.items()},
            shaped=modelopt_config.shaped,
        ),
        DialectWriter("torchao", torchao_config.config_of, lambda scheme: "torchao", torchao_ready),
    )
}


def writer_of(name: str, g_idx: bool = False) -> DialectWriter:
    """A row by its name. g_idx: with the tensor that says each column's group, although nothing was reordered; some readers
    of GPTQ ask for it. Raises ValueError naming those that exist, or those that have a g_idx."""
    if name not in WRITERS:
        raise ValueError(f"unknown layout {name!r}: one of {', '.join(WRITERS)}")
    if g_idx and not WRITERS[name].dropped:
        raise ValueError(f"{name} has no g_idx; {', '.join(n for n, w in WRITERS.items() if w.dropped)} have")
    return replace(WRITERS[name], dropped=()) if g_idx else WRITERS[name]
