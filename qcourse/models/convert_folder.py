"""A quantized checkpoint in another ecosystem's layout: the same codes, the same values, block by block.

    for each block     read it as its file holds it · bring codes and scales into the shape of the new layout, without loss
                       · write its shard

Nothing is rounded: what the new layout has no place for is refused, saying what it is, and `lossy` lets only these go:
scales that fp16 does not hold are rounded to it, scales of a KV cache are left out where an ecosystem has no words for them.
Another grid or group size is no conversion: `qcourse quantize --dequantize` makes one of what the codes stand for.
The machine is that of `quantize_folder`: one block in memory, resumable, whole or not there, the source only read.
Does not handle: layers in different schemes (mixed precision).
"""

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from qcourse.checkpoints.compressed_tensors_config import IGNORED
from qcourse.checkpoints.dialect_writers import DialectWriter, writer_of
from qcourse.layers.config import RulesConfig
from qcourse.layers.kv_method import SCALES, as_stored
from qcourse.layers.memory import Memory
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.models.checkpoint import Checkpoint, build, open_checkpoint
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.progress import progress_of
from qcourse.models.quantize_folder import Unfinished, finish, totals, unfinished
from qcourse.models.quantize_source import (
    config_json,
    dequantize_part,
    digest,
    files_beside,
    part_bytes,
    read_part,
    texts,
    weight_bytes,
)
from qcourse.models.subjects import source_of
from qcourse.numerics.kv import KVCacheArgs
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationScheme, is_float
from qcourse.packing.lossless import half_scales
from qcourse.packing.packed import unpack
from qcourse.shapes import Tensor


@dataclass(frozen=True)
class Conversion:
    """What stays the same from block to block; reader: the source, shapes without memory."""

    source: Path
    checkpoint: Checkpoint
    reader: LlamaForCausalLM
    writer: DialectWriter
    scheme: QuantizationScheme
    config: dict
    kv_cache: KVCacheArgs | None
    lossy: bool


@torch.inference_mode()
def convert(
    source: Path | str, out: Path, to: str, *, lossy: bool = False, g_idx: bool = False, progress: bool = True
) -> dict:
    """Write the quantized `source` as a folder of `to` (a name of WRITERS; g_idx as in `writer_of`). Returns the report of
    `quantize_folder.finish`.

    Raises ValueError (CheckpointError for the source) for what has no place in the new layout, before anything is written
    where the config says it, else with the layer's name; OSError as for a full disk.
    """
    job, begin = prepare(source_of(source), writer_of(to, g_idx), lossy), time.perf_counter()
    blocks = job.checkpoint.config.num_hidden_layers
    settings = {"command": "convert", "to": to, "lossy": lossy, "g_idx": g_idx, "source_sha256": digest(job.source)}
    files = files_beside(job.source) | texts(job.writer.beside(job.config))
    parts, weights = part_bytes(job.checkpoint.weights, blocks), job.checkpoint.weights
    with unfinished(Path(out), settings, blocks + 1, weights) as folder, progress_of(parts, progress) as bar:
        past, memory = folder.done, Memory()
        for k, name in enumerate(parts):
            bar.say(name)
            if k >= past:
                step(job, folder, k - 1 if k else None)
                gc.collect()  # as in `stream.step`
                memory.done_with(1 << 23)
            bar.done(name, k < past)
        done = totals(folder, weight_bytes(job.source), time.perf_counter() - begin)
        return finish(folder, config_json(job.source, job.checkpoint.config, job.config), files, done)


def prepare(source: Path, writer: DialectWriter, lossy: bool) -> Conversion:
    """Everything that can be refused before any work is."""
    checkpoint = open_checkpoint(source)
    reader = build(checkpoint.config, checkpoint.quantization, source)
    methods = {n: m.quant_method for n, m in reader.linears().items()}
    quantized = {n: m for n, m in methods.items() if isinstance(m, QuantizedLinearMethod)}
    if not quantized:
        raise ValueError(f"{source}: its weights are floats, there are no codes to convert: qcourse quantize makes some")
    first, scheme = next((n, m.scheme) for n, m in quantized.items())
    other = next((n for n, m in quantized.items() if m.scheme != scheme), None)
    if other is not None:
        raise ValueError(f"{source}: {first} and {other} have different schemes: one for all layers is converted here")
    left, held = tuple(n for n in methods if n not in quantized and n not in IGNORED), checkpoint.quantization
    kv = held.kv_cache if isinstance(held, RulesConfig) else None
    try:
        config = writer.written(scheme, (*IGNORED, *left))
    except ValueError as e:
        raise ValueError(f"{e}; another scheme of the same weights: qcourse quantize --dequantize") from e
    if act_order(checkpoint.weights, scheme.weights.group_size):
        if writer.act_order is None:
            raise ValueError(
                f"{source}: act_order: its columns were rounded in another order, and {writer.name} has no place for that; "
                "gptq and gptq_v2 have, or qcourse quantize --dequantize"
            )
        config |= writer.act_order
    try:
        config = config if kv is None else writer.written(scheme, (*IGNORED, *left), kv)
    except ValueError as e:
        if not lossy:
            raise ValueError(f"{source}: {e}; --lossy leaves them out") from e
        kv = None
    return Conversion(source, checkpoint, reader, writer, scheme, config, kv, lossy)


def act_order(weights: Mapping, group_size: int | None) -> bool:
    """Whether a g_idx of the source says more than that neighbours share a group."""
    found = (weights.read(name).long() for name in weights if name.endswith("g_idx"))
    return group_size is not None and any((t != torch.arange(len(t)) // group_size).any() for t in found)


def step(job: Conversion, folder: Unfinished, i: int | None) -> None:
    """One shard: block i, or the ends (None)."""
    part = read_part(job.reader, i, job.checkpoint.weights, job.source, "cpu")
    said = job.writer.metadata(job.scheme, weights_of(job))
    if i is None:
        part = dequantize_part(part)
        ends = {n: narrow(p.data) for n, p in part.named_parameters()}
        folder.keep(ends, [], said)
        part.to("meta")  # which is the reader's own
        return
    tensors, layers = {}, []
    for name, layer in part.named_modules():
        product = layer.__dict__.get("product")
        if product is None:
            continue
        packed = packed_layer(job, unpack(product.p), name, product.input_scale)
        tensors |= {f"{name}.{leaf}": t for leaf, t in packed.items()}
        if layer.bias is not None:
            tensors[f"{name}.bias"] = layer.bias.data
        bits = 8 * sum(t.nbytes for t in packed.values()) / (layer.output_size * layer.input_size)
        layers.append({"name": name, "shape": [layer.output_size, layer.input_size], "error": None, "bits_in_file": bits})
    rest = {n: narrow(p.data) for n, p in part.named_parameters() if n not in tensors and not n.endswith(SCALES)}
    if job.kv_cache is not None:
        held = {n: as_stored(t, job.kv_cache) for n, t in part.named_buffers() if n.endswith(SCALES)}
        rest |= job.writer.named(held)
    folder.keep(tensors | rest, layers, said)


def weights_of(job: Conversion) -> dict[str, int | None]:
    """Every parameter of the model, were it in 16 bits, with its K where it is quantized."""
    linears = job.reader.linears().items()
    sizes = {f"{n}.weight": m.input_size for n, m in linears if isinstance(m.quant_method, QuantizedLinearMethod)}
    return {n: sizes.get(n) for n, _ in build(job.checkpoint.config, None, job.source).named_parameters()}


def packed_layer(job: Conversion, q: QTensor, name: str, input_scale: Tensor | None) -> dict[str, Tensor]:
    """The tensors of one layer in the new layout. Raises ValueError naming the layer and what would be lost."""
    try:
        if job.lossy and is_float(q.args.scale) and job.writer.name in ("gptq", "gptq_v2", "awq"):
            q = half_scales(q, rounding=True)
        return job.writer.tensors(q, job.scheme, None if input_scale is None else input_scale.item())
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e


def narrow(t: Tensor) -> Tensor:
    """fp32 that bf16 holds exactly, as bf16; anything else as it is."""
    if t.dtype != torch.float32:
        return t
    half = t.bfloat16()
    return half if torch.equal(half.float(), t) else t
