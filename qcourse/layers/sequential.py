"""A model quantized layer by layer: each layer sees the inputs that its quantized predecessors produce.

    for each block            the hidden states of the calibration text stand in front of it
      for each stage          q k v · o · gate up · down: layers that read the same x
        observe               run the block up to the stage; its input gives the statistics
        quantize              each layer of the stage, which from now on multiplies by what its codes stand for
      run                     the block as it is now: the hidden states in front of the next

Memory: one block, its statistics, and the hidden states. `sequential=False` calibrates every layer on what the 16-bit model
produces instead, and so never hears of the errors before it.
Source: Frantar et al. 2022 (arXiv:2210.17323), "true sequential". Does not handle the error that comes in with quantized
inputs, which GPTAQ (Li et al. 2025, arXiv:2504.02692) repairs, too. Notebook 06.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from qcourse.layers.config import RulesConfig
from qcourse.layers.linear import Linear, install, refuse_misfits
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.methods.calibration import InputStats, check_ids
from qcourse.methods.quantizers import QUANTIZERS, Quantizer
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize
from qcourse.shapes import Float, Integer, Tensor

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


def quantize_layer(
    layer: Linear, config: RulesConfig, quantizer: Quantizer, stats: InputStats | None
) -> tuple[QTensor, LayerReport] | None:
    """One layer, in place: its codes and a report, or None where the rules leave it in 16 bits."""
    method = config.get_quant_method(layer, layer.prefix)
    if not isinstance(method, QuantizedLinearMethod):
        return None
    W, begin = layer.weight.data.float().cpu(), time.perf_counter()  # statistics are kept there, too
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        q = quantizer.run(W, method.scheme.weights, stats, f"{layer.prefix}.weight")
    seconds = time.perf_counter() - begin
    notes = tuple(str(w.message).removeprefix(f"{layer.prefix}.weight: ") for w in said)
    method.quantizer = lambda *_: q.to(layer.weight.device)
    install(layer, method)
    error = None if stats is None else output_error(W, dequantize(q), stats)
    return q, LayerReport(layer.prefix, tuple(W.shape), q.bits_per_weight, error, seconds, notes)


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
) -> list[Tensor]:
    """The layers of one block, in place; `run(x)` is the block. Returns the hidden states behind it: of the quantized block,
    or of the 16-bit one where that is what calibrates. `look(q, report)` is shown each layer's codes."""
    seen, behind = {}, states
    if quantizer.data and not sequential:
        seen = {id(stage): observe(run, stage[0], states, quantizer.hessian) for stage in stages}
        behind = [run(x) for x in states]
    for stage in stages:
        if quantizer.data and sequential:
            seen[id(stage)] = observe(run, stage[0], states, quantizer.hessian)
        for layer in stage:
            done = quantize_layer(layer, config, quantizer, seen.get(id(stage)))
            if done is not None:
                look(*done)
    return [run(x) for x in states] if quantizer.data and sequential else behind


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
