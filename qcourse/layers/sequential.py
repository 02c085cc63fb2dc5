"""A model quantized layer by layer: each layer sees the inputs that its quantized predecessors produce.

    for each block            the hidden states of the calibration text stand in front of it
      for each stage          q k v · o · gate up · down: layers that read the same x
        observe               run the block up to the stage; its input gives the statistics
        choose                codes for each layer of the stage, from a task that says all: here, or on other machines
        quantize              the layer, which from now on multiplies by what its codes stand for
      run                     the block as it is now: the hidden states in front of the next

Memory: one block, its statistics, and the hidden states. `sequential=False` calibrates every layer on what the 16-bit model
produces instead, and so never hears of the errors before it.
Source: Frantar et al. 2022 (arXiv:2210.17323), "true sequential". Does not handle the error that comes in with quantized
inputs, which GPTAQ (Li et al. 2025, arXiv:2504.02692) repairs, too. Notebook 06.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from qcourse.layers.config import RulesConfig
from qcourse.layers.fused import peaks_of
from qcourse.layers.linear import Linear, install, refuse_misfits
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.methods.calibration import InputStats, check_ids
from qcourse.methods.quantizers import QUANTIZERS, Quantizer
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import TWO_LEVEL, dequantize
from qcourse.shapes import Float, Integer, Shaped, Tensor

BATCH = 8


@dataclass(frozen=True)
class LayerReport:
    """error: relative output error on the calibration text, ‖x(W - Ŵ)ᵀ‖ / ‖xWᵀ‖ (of the sample where no Hessian was kept);
    None where no data was looked at · bits: true bits a weight · notes: what the quantizer said."""

    name: str
    shape: tuple[int, int]
    bits: float
    error: float | None
    seconds: float
    notes: tuple[str, ...] = ()


class Reached(Exception):
    """The layer that was watched has its input; the rest of the block need not run."""


def observe(run: Callable, layer: Linear, states: list[Tensor], hessian: bool) -> InputStats:
    """The statistics of a layer's input while the block runs up to it. Raises ValueError, naming the layer, for NaN, inf."""
    stats = InputStats(layer.input_size, with_hessian=hessian)

    def look(module: nn.Module, args: tuple) -> None:
        try:
            stats.update(args[0])
        except ValueError as e:
            raise ValueError(f"{layer.prefix}: {e}") from e
        raise Reached

    hook = layer.register_forward_pre_hook(look)
    try:
        for x in states:
            try:
                run(x)
            except Reached:
                continue
            raise ValueError(f"{layer.prefix}: the block ran through without it")
    finally:
        hook.remove()
    return stats


@dataclass(frozen=True)
class Task:
    """A layer that waits for its codes: W (N, K) in the model's dtype, its recipe, what its input looks like (or None).
    peak: max|w| over the layers that engines multiply as one with it, where the recipe has one number for all (NVFP4)."""

    name: str
    W: Shaped[Tensor, "N K"]
    args: QuantizationArgs
    stats: InputStats | None
    peak: float | None = None


Chooser = Callable[[Iterable[Task]], Iterator[tuple[QTensor, LayerReport]]]  # in the order of the tasks


def choose(task: Task, quantizer: Quantizer) -> tuple[QTensor, LayerReport]:
    """The codes of one layer, and its report. A function of the task alone: tasks know nothing of each other."""
    W, begin = task.W.float().cpu(), time.perf_counter()  # statistics are kept there, too
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        more = {"peak": task.peak} if quantizer.shares and task.peak is not None else {}
        q = quantizer.run(W, task.args, task.stats, f"{task.name}.weight", **more)
    seconds = time.perf_counter() - begin
    notes = tuple(str(w.message).removeprefix(f"{task.name}.weight: ") for w in said)
    error = None if task.stats is None else output_error(W, dequantize(q), task.stats)
    return q, LayerReport(task.name, tuple(W.shape), q.bits_per_weight, error, seconds, notes)


def quantize_layers(
    layers: Iterable[Linear], config: RulesConfig, seen: dict[str, InputStats], peaks: dict[str, float], chooser: Chooser
) -> Iterator[tuple[QTensor, LayerReport]]:
    """The layers, in place, but those that the rules leave in 16 bits: codes and report of each."""
    methods = [(layer, config.get_quant_method(layer, layer.prefix)) for layer in layers]
    methods = [(layer, method) for layer, method in methods if isinstance(method, QuantizedLinearMethod)]
    upper = {x.prefix: peaks.get(x.prefix) for x, m in methods if m.scheme.weights.scaling in TWO_LEVEL}
    tasks = (Task(x.prefix, x.weight.data, m.scheme.weights, seen.get(x.prefix), upper.get(x.prefix)) for x, m in methods)
    for (layer, method), (q, report) in zip(methods, chooser(tasks), strict=True):
        method.quantizer = lambda *_, q=q, layer=layer: q.to(layer.weight.device)
        install(layer, method)
        yield q, report


def output_error(W: Float[Tensor, "N K"], W_hat: Float[Tensor, "N K"], stats: InputStats) -> float:
    """‖x(W - Ŵ)ᵀ‖ / ‖xWᵀ‖ over the calibration text, or over its sample where no Hessian was kept."""
    H = stats.hessian
    H = stats.sample.T @ stats.sample if H is None else H.float()
    lost, whole = (((d @ H) * d).sum(dtype=torch.float64).clamp(min=0) for d in (W - W_hat, W))
    return (lost / whole).sqrt().item() if whole > 0 else 0.0


def quantize_block(
    run: Callable,
    stages: list[tuple[Linear, ...]],
    states: list[Tensor],
    config: RulesConfig,
    quantizer: Quantizer,
    sequential: bool = True,
    look: Callable = lambda q, report: None,
    chooser: Chooser | None = None,
) -> list[Tensor]:
    """The layers of one block, in place; `run(x)` is the block. Returns the hidden states behind it: of the quantized block,
    or of the 16-bit one where that is what calibrates. `look(q, report)` is shown each layer's codes. `chooser`: who chooses
    the codes of layers that do not wait for each other (a stage, or all of the block); None: here, one after the other."""
    chooser = chooser or (lambda tasks: (choose(task, quantizer) for task in tasks))
    seen, behind, waits = {}, states, quantizer.data and sequential
    peaks = peaks_of(stages) if any(r.scheme and r.scheme.weights.scaling in TWO_LEVEL for r in config.rules) else {}
    if quantizer.data and not sequential:
        for stage in stages:
            seen |= dict.fromkeys([x.prefix for x in stage], observe(run, stage[0], states, quantizer.hessian))
        behind = [run(x) for x in states]
    for layers in stages if waits else [[layer for stage in stages for layer in stage]]:
        if waits:
            seen = dict.fromkeys([x.prefix for x in layers], observe(run, layers[0], states, quantizer.hessian))
        for q, report in quantize_layers(layers, config, seen, peaks, chooser):
            look(q, report)
    return [run(x) for x in states] if waits else behind


@torch.inference_mode()
def quantize_model(
    model,
    ids: Integer[Tensor, "n T"],
    config: RulesConfig,
    quantizer: str | Quantizer = "gptq",
    *,
    sequential: bool = True,
    look: Callable = lambda q, report: None,
) -> list[LayerReport]:
    """Every Linear of a model with 16- or 32-bit weights, in place, by a quantizer (a name of QUANTIZERS, or one with other
    options: `Quantizer(partial(gptq, damp=0.1), data=True, hessian=True)`), calibrated on ids. Returns a report a layer.

    Raises ValueError, before anything is changed, for ids that do not fit the model (`calibration.check_ids`), a layer that
    is quantized already or does not fit its format; and for NaN in a layer's input, naming the layer.
    """
    quantizer = QUANTIZERS[quantizer] if isinstance(quantizer, str) else quantizer
    ids = check_ids(model, ids) if quantizer.data else ids
    refuse_misfits(model, config)
    reports, states, rope = [], [], None
    device = next(model.parameters()).device
    for part in ids.split(BATCH) if quantizer.data else ():
        x, rope = model.model.enter(part.to(device), 0, model.compute_dtype)
        states.append(x)

    def keep(q: QTensor, report: LayerReport) -> None:
        reports.append(report)
        look(q, report)

    for i, block in enumerate(model.model.layers):
        run = partial(block, rope=rope, layer=i, cache=None)
        states = quantize_block(run, block.stages(), states, config, quantizer, sequential, keep)
    if model.lm_head is not None:
        head = lambda x: model.lm_head(model.model.norm(x))  # noqa: E731
        quantize_block(head, [(model.lm_head,)], states, config, quantizer, sequential, keep)
    return reports
