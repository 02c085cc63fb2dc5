"""What `qcourse quantize` was asked for, and everything that can be refused before any work: `make_job`."""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from qcourse.checkpoints.compressed_tensors import rules
from qcourse.checkpoints.compressed_tensors_config import config_of
from qcourse.checkpoints.errors import CheckpointError
from qcourse.layers.config import RulesConfig
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import Checkpoint, build, open_checkpoint
from qcourse.models.quantize_source import digest
from qcourse.models.quantize_transforms import BLIND, LOOKING, check_transforms
from qcourse.models.subjects import SUBJECTS, name_of
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

    def states(self, scheme: QuantizationScheme) -> tuple[bool, bool]:
        """Whether the hidden states of the 16-bit model are needed, and those of the quantized one."""
        a, data = scheme.input_activations, QUANTIZERS[self.quantizer].data
        looking = any(name in LOOKING for name in self.transforms) or a is not None and not a.dynamic
        return looking or data and not self.sequential, data and self.sequential


@dataclass(frozen=True)
class Job:
    """What stays the same from block to block. reader, model, written: the source, the model in 16 bits, and the result, all
    of them shapes without memory."""

    source: Path
    checkpoint: Checkpoint
    scheme: QuantizationScheme
    method: Method
    device: str
    config: dict
    reader: LlamaForCausalLM
    model: LlamaForCausalLM
    written: LlamaForCausalLM


def make_job(source: Path, scheme: QuantizationScheme, method: Method, dequantize: bool, device: str) -> Job:
    """Everything that can be refused before any work is. Raises ValueError for what does not fit the model or the format,
    CheckpointError for the source."""
    check_transforms(method.transforms)
    config, checkpoint = config_of(scheme), open_checkpoint(source)
    if checkpoint.quantization is not None and not (dequantize or name_of(source) in SUBJECTS):
        raise ValueError(
            f"{source}: the weights are quantized already; to quantize what their codes stand for: --dequantize"
        )
    sizes = checkpoint.config
    if any(name in BLIND for name in method.transforms):
        sizes = replace(sizes, tie_word_embeddings=False)
    reader = build(checkpoint.config, checkpoint.quantization, source)
    written = build(sizes, RulesConfig(rules(config, "quantization_config"), quantizer=None), source, from_file=False)
    if checkpoint.quantization is None:
        missing = [name for name, _ in reader.named_parameters() if name not in checkpoint.weights]
        if missing:
            raise CheckpointError(f"{source}: tensor {missing[0]!r} is missing (and {len(missing) - 1} more)")
    model = build(checkpoint.config, None, source)
    return Job(source, checkpoint, scheme, method, device, config, reader, model, written)


def identity(job: Job, ids: Tensor | None) -> dict:
    """What the bytes of the result depend on, as JSON; `ids`: None where no text is looked at."""
    text = None if ids is None else hashlib.sha256(ids.to(torch.int64).contiguous().numpy().tobytes()).hexdigest()
    method = asdict(job.method) | {"transforms": list(job.method.transforms)}
    found = {
        "source_sha256": digest(job.source),
        "recipe_sha256": hashlib.sha256(repr(job.scheme).encode()).hexdigest(),
        "method": method,
    }
    return found | {"calibration_sha256": text, "device": job.device}
