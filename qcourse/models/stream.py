"""A checkpoint quantized into a folder, one block of the model in memory at a time.

    for each block     read it from the source · transform it · quantize its layers (`layers.sequential`) · write its shard
                       read it again from that shard, and run the hidden states through it: what the next block sees

The head, the embedding, norms and biases stay in 16 bits (bf16, whatever the source has).
Memory: the embedding and the head, or else one block with its statistics, and the hidden states of the calibration text:
windows · (seq_len + 1) · hidden_size · 4 bytes (32 windows of 256: 19 MB for 576 channels, 135 MB for 4096), twice while a
block runs, and once more where the 16-bit model's are needed too (`Method.states`). Rounding to nearest needs no text.
A killed run goes on at the first block without a whole shard. The states in front of it come from the shards that are
there, as they would have without the kill, so the bytes are the same. The source is only read.
NVFP4's number above the scales is one for q, k, v and one for gate, up, as engines want it. Does not handle: the same of
FP8 with one scale a tensor, where engines take the largest of the three and round again.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from qcourse.checkpoints.compressed_tensors_config import IGNORED
from qcourse.checkpoints.rules import EVERY, Rule, ignore
from qcourse.layers.config import RulesConfig
from qcourse.layers.memory import Memory
from qcourse.layers.sequential import LayerReport, quantize_block
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.models.progress import progress_of
from qcourse.models.quantize_folder import Unfinished, finish, totals, unfinished
from qcourse.models.quantize_job import Job, Method, identity, make_job
from qcourse.models.quantize_kv import cache_tensors
from qcourse.models.quantize_source import ENDS, config_json, dequantize_part, part_bytes, part_of, read_part, weight_bytes
from qcourse.models.quantize_states import States, advance, enter, text_of
from qcourse.models.quantize_transforms import BLIND, LOOKING, Part, input_scales, observe_block, to_16_bits
from qcourse.models.quantize_workers import workers
from qcourse.models.subjects import source_of
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.shapes import Integer, Tensor

__all__ = ["Method", "quantize_to_folder"]


@torch.inference_mode()
def quantize_to_folder(
    source: Path | str,
    out: Path,
    scheme: QuantizationScheme,
    method: Method,
    ids: Integer[Tensor, "n T"] | None = None,
    *,
    settings: dict | None = None,
    dequantize: bool = False,
    kv_cache: str | None = None,
    layout: str = "compressed-tensors",
    device: str = "cpu",
    scheduler: str | None = None,
    progress: bool = True,
) -> dict:
    """Write `source` in `scheme` to the folder `out`, calibrated on ids where the method looks at data. Returns the report:
    settings, layers (name, shape, bits, bits in the file, error, seconds, notes), shards, totals.

    kv_cache: fp8_e4m3 or fp8_e4m3_per_head, whose scales are calibrated on ids; "auto": the cache stays in 16 bits.
    layout: whose folder it is (`checkpoints.dialect_writers`). settings: what else another run has to share with a killed
    one, to go on with it. scheduler: whose dask workers choose the codes; the bytes are the same (`quantize_workers`).
    Raises ValueError (CheckpointError for the source) and OSError, in one line; ImportError for a scheduler without dask.
    """
    source, begin = source_of(source), time.perf_counter()
    job = make_job(source, scheme, method, dequantize, device, kv_cache, layout)
    ids = text_of(job, ids)
    files, blocks, settings = job.files(), job.checkpoint.config.num_hidden_layers, (settings or {}) | identity(job, ids)
    weights = job.checkpoint.weights
    with workers(scheduler, method.quantizer) as chooser, unfinished(Path(out), settings, blocks + 1, weights) as folder:
        job, past = replace(job, chooser=chooser), folder.done
        if not past:
            write_ends(job, folder)
        states = enter(job, folder, ids)
        with progress_of(part_bytes(weights, blocks), progress) as bar:
            bar.done(ENDS, past > 0)
            for i in range(blocks):
                step(job, folder, states, i, bar.say)
                bar.done(f"model.layers.{i}", past > i + 1)
        done = totals(folder, weight_bytes(source), time.perf_counter() - begin)
        return finish(folder, config_json(source, job.written.config, job.config), files, done)


def write_ends(job: Job, folder: Unfinished) -> None:
    """Embedding, last norm and head: the first shard."""
    ends = dequantize_part(read_part(job.reader, None, job.checkpoint.weights, job.source, job.device))
    model = job.model.model
    model.embed_tokens, model.norm, job.model.lm_head = ends.model.embed_tokens, ends.model.norm, ends.lm_head
    for name in job.method.transforms:
        if name in BLIND:
            BLIND[name](job.model)
    ends = part_of(job.model, None)
    to_16_bits(ends)
    folder.keep(dict(ends.named_parameters()), [], job.said())
    ends.to("meta")


def block_of(job: Job, i: int) -> nn.Module:
    """Block i of the source in 16 bits, turned if that was asked for; it stands in `job.model`."""
    part = dequantize_part(read_part(job.reader, i, job.checkpoint.weights, job.source, job.device))
    block = job.model.model.layers[i] = part.model.layers[str(i)]
    for name in job.method.transforms:
        if name in BLIND:
            BLIND[name](job.model)
    return block


def step(job: Job, folder: Unfinished, states: States, i: int, say: Callable[[str], None]) -> None:
    """One block, from the source to its shard unless it is there, and the states to behind it. say: is told which layer."""
    empty, finished, memory = job.model.model.layers[i], i + 1 < folder.done, Memory()
    say(f"model.layers.{i}{', from its shard' if finished else ''}")
    if not finished or states.exact is not None:
        block = block_of(job, i)
        run = partial(block, rope=states.rope, layer=i, cache=None)
        if not finished:
            tensors, layers = quantized_block(job, states, i, block, run, say)
            folder.keep(tensors, layers, job.said())
            del tensors
        else:
            advance(run, states.exact)
        del block, run
    job.model.model.layers[i] = empty
    if states.quantized is not None:
        block = read_part(job.written, i, folder.weights(i + 1), folder.part, job.device).model.layers[str(i)]
        advance(partial(block, rope=states.rope, layer=i, cache=None), states.quantized)
        del block
    gc.collect()  # a block is held by cycles (hooks, layers that are merged), and the next one needs its room
    memory.done_with(1 << 23)


def quantized_block(
    job: Job, states: States, i: int, block: nn.Module, run: Callable, say: Callable
) -> tuple[dict[str, Tensor], list[dict]]:
    """(the tensors of its shard, a report a layer). The exact states go on behind the block."""
    part, stats, front = Part(job.model, f"model.layers.{i}."), None, states.exact
    if front is not None:
        stats, behind = observe_block(run, part.linears(), front)
        front, states.exact[:] = list(front), behind
    unchanged = {}
    for name in job.method.transforms:
        if name in LOOKING:
            folds = LOOKING[name](part, stats, job.scheme, job.method.alpha)
            unchanged |= {fold: [f"{name}: {f.reason}"] for fold, f in folds.items() if getattr(f, "reason", "")}
            stats, _ = observe_block(run, part.linears(), front)
    to_16_bits(block)
    a, tensors, layers = job.scheme.input_activations, {}, []
    scales = input_scales(stats, job.scheme) if a is not None and a.calibrated else None

    def look(q: QTensor, report: LayerReport) -> None:
        say(report.name)
        packed = job.writer.tensors(q, job.scheme, scales and scales[report.name])
        tensors.update({f"{report.name}.{name}": t for name, t in packed.items()})
        stored = sum(t.nbytes for t in packed.values()) * 8 / q.codes.numel()
        notes = [*unchanged.get(report.name, []), *report.notes]
        lists = {"shape": list(report.shape), "notes": notes}  # as in JSON
        layers.append(asdict(report) | lists | {"bits_in_file": stored})

    config = RulesConfig([*ignore(list(IGNORED)), Rule(EVERY, job.scheme)], input_scales=scales)
    seen = states.quantized if job.method.sequential else front
    quantizer, stages = QUANTIZERS[job.method.quantizer], block.stages()
    quantize_block(run, stages, seen or [], config, quantizer, job.method.sequential, look, job.chooser)
    if job.kv_cache is not None:
        tensors |= cache_tensors(run, states.quantized, job.kv_cache, i, f"{part.prefix}self_attn")
    return tensors | {f"{part.prefix}{name}": p.data for name, p in block.named_parameters()}, layers
