"""What `qcourse quantize` was asked for, and everything that can be refused before any work: `make_job`."""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from qcourse.checkpoints.compressed_tensors_config import IGNORED
from qcourse.checkpoints.dialect_writers import DialectWriter, writer_of
from qcourse.checkpoints.dialects import DIALECTS
from qcourse.checkpoints.errors import CheckpointError
from qcourse.layers.config import RulesConfig
from qcourse.layers.sequential import Chooser
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import Checkpoint, build, open_checkpoint
from qcourse.models.quantize_source import digest, files_beside, texts
from qcourse.models.quantize_transforms import BLIND, LOOKING, check_transforms
from qcourse.models.subjects import SUBJECTS, name_of
from qcourse.numerics.kv import KVCacheArgs, kv_args
from qcourse.numerics.kv import name_of as cache_name
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.shapes import Tensor


@dataclass(frozen=True)
class Method:
    """transforms: names of LOOKING and BLIND, in order · quantizer: a name of QUANTIZERS · alpha: SmoothQuant's ·
    sequential: whether a layer sees what its quantized predecessors produce"""

    transforms: tuple[str, ...] = ()
    quantizer: str = "rtn"
    alpha: float = 0.5
    sequential: bool = True

    def states(self, scheme: QuantizationScheme, kv_cache: KVCacheArgs | None = None) -> tuple[bool, bool]:
        """Whether the hidden states of the 16-bit model are needed, and those of the quantized one (for a cache's scales,
        too)."""
        a, data = scheme.input_activations, QUANTIZERS[self.quantizer].data
        looking = any(name in LOOKING for name in self.transforms) or a is not None and a.calibrated
        return looking or data and not self.sequential, data and self.sequential or kv_cache is not None


@dataclass(frozen=True)
class Job:
    """What stays the same from block to block. reader, model, written: the source, the model in 16 bits, and the result, all
    of them shapes without memory · chooser: who chooses the codes; None: this process."""

    source: Path
    checkpoint: Checkpoint
    scheme: QuantizationScheme
    method: Method
    device: str
    kv_cache: KVCacheArgs | None
    writer: DialectWriter
    config: dict
    reader: LlamaForCausalLM
    model: LlamaForCausalLM
    written: LlamaForCausalLM
    chooser: Chooser | None = None

    def files(self) -> dict[str, Path | str]:
        """What lies beside the weights: the source's tokenizer, and what this ecosystem's readers look for."""
        return files_beside(self.source) | texts(self.writer.beside(self.config))

    def said(self) -> dict[str, str]:
        """What the metadata of each shard says."""
        whole = build(self.written.config, None, self.source)  # `model` has lost those of the block in hand
        sizes = {f"{n}.weight": m.input_size for n, m in whole.linears().items() if n not in IGNORED}
        return self.writer.metadata(self.scheme, {n: sizes.get(n) for n, _ in whole.named_parameters()})


def make_job(
    source: Path,
    scheme: QuantizationScheme,
    method: Method,
    dequantize: bool,
    device: str,
    kv_cache: str | None = None,
    layout: str = "compressed-tensors",
) -> Job:
    """Everything that can be refused before any work is. Raises ValueError for what does not fit the model or the format,
    CheckpointError for the source."""
    check_transforms(method.transforms)
    kv, writer = kv_args(kv_cache), writer_of(layout)
    config, checkpoint = written_config(writer, scheme, kv), open_checkpoint(source)
    plain = refuse_source(source, checkpoint.quantization, dequantize, kv_cache)
    sizes = checkpoint.config
    if any(name in BLIND for name in method.transforms):
        sizes = replace(sizes, tie_word_embeddings=False)
    reader = build(checkpoint.config, checkpoint.quantization, source)
    rules = DIALECTS[config["quant_method"]](config, "quantization_config", {})
    result = RulesConfig(rules, quantizer=None, kv_cache=kv, kv_scales=True)
    written = build(sizes, result, source, from_file=False)
    if plain:
        missing = [name for name, _ in reader.named_parameters() if name not in checkpoint.weights]
        if missing:
            raise CheckpointError(f"{source}: tensor {missing[0]!r} is missing (and {len(missing) - 1} more)")
    model = build(checkpoint.config, None, source)
    return Job(source, checkpoint, scheme, method, device, kv, writer, config, reader, model, written)


def written_config(writer: DialectWriter, scheme: QuantizationScheme, kv: KVCacheArgs | None) -> dict:
    """The quantization_config. Raises ValueError for a scheme that this ecosystem has no words for, and for a KV cache in
    one that is not compressed-tensors: there the cache is calibrated, `convert` goes on from there."""
    if kv is not None and writer.name != "compressed-tensors":
        raise ValueError(
            f"a KV cache is calibrated in compressed-tensors folders only, not in {writer.name}: quantize into one, then "
            f"qcourse convert --to {writer.name}"
        )
    return writer.written(scheme, kv_cache=kv)


def refuse_source(source: Path, held, dequantize: bool, kv_cache: str | None) -> bool:
    """Whether its weights are in 16 bits. Raises ValueError where they are not and nobody asked what their codes stand for,
    and where the scales of its KV cache would be lost in silence."""
    plain = held is None or isinstance(held, RulesConfig) and not held.rules
    if not plain and not (dequantize or name_of(source) in SUBJECTS):
        raise ValueError(
            f"{source}: the weights are quantized already; to quantize what their codes stand for: --dequantize"
        )
    if held is not None and held.kv_cache is not None and kv_cache is None:
        raise ValueError(
            f"{source}: its KV cache has scales of its own, in {cache_name(held.kv_cache)}: name a format to calibrate anew "
            "(--kv-cache fp8_e4m3), or leave the cache in 16 bits (--kv-cache auto)"
        )
    return plain


def identity(job: Job, ids: Tensor | None) -> dict:
    """What the bytes of the result depend on, as JSON; `ids`: None where no text is looked at."""
    text = None if ids is None else hashlib.sha256(ids.to(torch.int64).contiguous().numpy().tobytes()).hexdigest()
    method = asdict(job.method) | {"transforms": list(job.method.transforms)}
    found = {
        "source_sha256": digest(job.source),
        "recipe_sha256": hashlib.sha256(repr(job.scheme).encode()).hexdigest(),
        "method": method,
    }
    cache = {} if job.kv_cache is None else {"kv_cache": cache_name(job.kv_cache)}
    cache |= {} if job.writer.name == "compressed-tensors" else {"layout": job.writer.name}
    return found | {"calibration_sha256": text, "device": job.device} | cache
