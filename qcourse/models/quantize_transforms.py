"""Transforms of a model of which one block is in memory at a time, and the rest are shapes.

    smoothquant, awq   move factors within a block: calibrated on the block alone, folded into its own norms and layers
    rotation           needs no data, and turns tensor by tensor: the whole model is turned, and where there is no memory,
                       nothing is computed

So the numbers are those of `study.families`, which transforms the whole model at once. What stays in 16 bits (norms, biases)
is rounded to them before any layer is quantized: codes are chosen for the model that the file will hold.
Does not handle: rotations behind a transform that has looked at data, and those that the running model has to do (R3, R4).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from qcourse.layers.linear import Linear
from qcourse.methods.awq import awq
from qcourse.methods.calibration import InputStats, static_scale
from qcourse.methods.folding import Fold
from qcourse.methods.rotation import rotate
from qcourse.methods.smoothquant import smooth
from qcourse.numerics.schemes import QuantizationScheme

LOOKING: dict[str, Callable] = {  # transforms that are calibrated: (block, statistics, scheme, α)
    "smoothquant": lambda block, stats, scheme, alpha: smooth(block, stats, alpha),
    "awq": lambda block, stats, scheme, alpha: awq(block, stats, scheme.weights),
}
BLIND: dict[str, Callable] = {"rotation": rotate}  # and those that look at nothing: (model)


@dataclass(frozen=True)
class Part:
    """The layers of a model whose names begin with `prefix`, and the folds between them: a model as transforms see it."""

    model: torch.nn.Module
    prefix: str

    def linears(self) -> dict[str, Linear]:
        """As the model's."""
        return {name: layer for name, layer in self.model.linears().items() if name.startswith(self.prefix)}

    def folds(self) -> list[Fold]:
        """As the model's."""
        return [fold for fold in self.model.folds() if fold.name.startswith(self.prefix)]

    def value_folds(self) -> list[Fold]:
        """As the model's."""
        return [fold for fold in self.model.value_folds() if fold.name.startswith(self.prefix)]


def check_transforms(names: tuple[str, ...]) -> None:
    """Raise ValueError for a transform that a folder cannot hold, or one in the wrong place."""
    for name in names:
        if name not in LOOKING and name not in BLIND:
            raise ValueError(
                f"{name!r} cannot be written into a folder: whoever runs it would not know; transforms that can: "
                f"{', '.join([*BLIND, *LOOKING])}"
            )
    blind = [name in BLIND for name in names]
    if blind != sorted(blind, reverse=True):
        raise ValueError(f"{'+'.join(names)}: {', '.join(BLIND)} comes first: it turns what the others scale")


def observe_block(run: Callable, layers: dict[str, Linear], states: list[torch.Tensor]) -> tuple[dict, list[torch.Tensor]]:
    """(statistics of every layer's input by its name, the hidden states behind the block), in one pass.

    Raises ValueError, naming the layer, for NaN or inf.
    """
    stats = {name: InputStats(layer.input_size) for name, layer in layers.items()}

    def look(layer: Linear, args: tuple) -> None:
        try:
            stats[layer.prefix].update(args[0])
        except ValueError as e:
            raise ValueError(f"{layer.prefix}: {e}") from e

    hooks = [layer.register_forward_pre_hook(look) for layer in layers.values()]
    try:
        return stats, [run(x) for x in states]
    finally:
        for hook in hooks:
            hook.remove()


def input_scales(stats: dict[str, InputStats], scheme: QuantizationScheme) -> dict[str, float]:
    """The static scale of every layer's input."""
    return {name: static_scale(s, scheme.input_activations) for name, s in stats.items()}


def to_16_bits(part: torch.nn.Module) -> None:
    """Every parameter but the weights of linear layers → bf16, in place: what the file will hold."""
    quantized = {id(m.weight) for m in part.modules() if isinstance(m, Linear) and m.prefix != "lm_head"}
    for p in part.parameters():
        if id(p) not in quantized:
            p.data = p.data.bfloat16()
