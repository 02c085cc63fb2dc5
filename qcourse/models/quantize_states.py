"""What stands in front of the next block while a checkpoint is quantized: the hidden states of the calibration text."""

from collections.abc import Callable
from dataclasses import dataclass

from qcourse.layers.sequential import BATCH
from qcourse.methods.calibration import check_ids
from qcourse.models.quantize_folder import Unfinished
from qcourse.models.quantize_job import Job
from qcourse.models.quantize_source import read_part
from qcourse.numerics.kv import name_of as cache_name
from qcourse.shapes import Integer, Tensor


@dataclass(frozen=True)
class States:
    """The hidden states in front of the next block, a tensor a batch: of the 16-bit model and of the quantized one (None
    where nobody asks), and the rotary tables."""

    exact: list[Tensor] | None
    quantized: list[Tensor] | None
    rope: tuple | None


def text_of(job: Job, ids: Integer[Tensor, "n T"] | None) -> Integer[Tensor, "n T"] | None:
    """The ids that will be looked at, or None where nobody looks. Raises ValueError where they are missing or do not fit."""
    method, kv = job.method, job.kv_cache
    if not any(method.states(job.scheme, kv)):
        return None
    if ids is None:
        more = f"{', '.join(method.transforms) or 'no transform'}{f' and kv_cache {cache_name(kv)}' if kv else ''}"
        raise ValueError(f"{method.quantizer} with {more} needs calibration ids")
    return check_ids(job.model, ids)


def enter(job: Job, folder: Unfinished, ids: Integer[Tensor, "n T"] | None) -> States:
    """The hidden states in front of the first block, of the embedding as it was written."""
    exact, quantized = job.method.states(job.scheme, job.kv_cache)
    if not (exact or quantized):
        return States(None, None, None)
    part = read_part(job.written, None, folder.weights(0), folder.part, job.device)
    entered = [job.written.model.enter(x.to(job.device), 0, job.written.compute_dtype) for x in ids.split(BATCH)]
    part.to("meta")
    states = [x for x, _ in entered]
    return States(list(states) if exact else None, list(states) if quantized else None, entered[0][1])


def advance(run: Callable, states: list[Tensor]) -> None:
    """The states in front of a block → those behind it, in place."""
    for j, x in enumerate(states):
        states[j] = run(x)
