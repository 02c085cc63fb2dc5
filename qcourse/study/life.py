"""A layer's life under vLLM's contract: which tensors it holds after each step, and what they take. Notebook 09."""

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from torch import nn

from qcourse.layers.linear import Linear
from qcourse.layers.method import QuantizationConfig
from qcourse.shapes import Tensor
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREY, ORANGE, described, figure

STEPS = ("create_weights", "load", "process_weights_after_loading", "apply")
PREFIX = "model.layers.0.mlp.down_proj"


@dataclass(frozen=True)
class Held:
    """One tensor of a layer. nbytes: what it takes, or will take while it is only `promised` (registered, not filled)."""

    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    promised: bool

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.shape))}) {self.dtype}"


Stages = dict[str, dict[str, Held]]  # step → the layer's tensors by name


def held(layer: nn.Module) -> dict[str, Held]:
    """The layer's own tensors: parameters are what a file fills, buffers are what a kernel reads."""
    tensors = dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))
    return {
        name: Held(tuple(t.shape), str(t.dtype).removeprefix("torch."), t.numel() * t.element_size(), t.is_meta)
        for name, t in tensors.items()
    }


def total(tensors: Mapping[str, Held]) -> int:
    """Bytes that are really taken: promised tensors take none."""
    return sum(h.nbytes for h in tensors.values() if not h.promised)


def life(config: QuantizationConfig | None, tensors: Mapping[str, Tensor], x: Tensor, N: int) -> tuple[Stages, Tensor]:
    """Take one Linear (N, K) through the contract: (what it holds after each step, its answer to x (..., K)).

    tensors: what a file holds for it, by name: a 16-bit "weight" that is quantized on the way in, or a layout's own.
    Raises ValueError for a tensor that `create_weights` did not register, or one that it waits for in vain.
    """
    stages = {}
    with torch.device("meta"):  # as the loader does: shapes without memory
        layer = Linear(x.shape[-1], N, quant_config=config, prefix=PREFIX)
    stages["create_weights"] = held(layer)
    slots = getattr(layer, "slots", {})
    missing = [n for n in layer._parameters if n not in tensors and n != "bias" and not (n in slots and slots[n].optional)]
    surplus = [n for n in tensors if n not in layer._parameters]
    if missing or surplus:
        said = f"{missing[0]!r} is missing" if missing else f"{surplus[0]!r} has no place"
        raise ValueError(f"{said}: this layer waits for {', '.join(stages['create_weights'])}")
    for name in stages["create_weights"]:
        if name in tensors:
            layer._parameters[name] = nn.Parameter(tensors[name], requires_grad=False)
        else:
            delattr(layer, name)
    stages["load"] = held(layer)
    layer.quant_method.process_weights_after_loading(layer)
    stages["process_weights_after_loading"] = held(layer)
    y = layer(x)
    stages["apply"] = held(layer)
    return stages, y


def names_of(stages: Stages) -> list[str]:
    """Every tensor that is held at some time, in order of appearance."""
    return list(dict.fromkeys(name for tensors in stages.values() for name in tensors))


def picture(lives: Mapping[str, Stages], title: str) -> Picture:
    """Columns are steps, rows are tensors; a bar's length is the tensor's bytes, dashed while it is only promised. One
    panel a life, all on the same scale."""
    heights = [len(names_of(stages)) + 1 for stages in lives.values()]
    fig, axes = figure(1, title, width=10, height=0.9 + 0.5 * sum(heights))
    axes.remove()
    panels = fig.subplots(len(lives), 1, gridspec_kw={"height_ratios": heights}, squeeze=False)[:, 0]
    most = max(h.nbytes for stages in lives.values() for t in stages.values() for h in t.values())
    for ax, (name, stages) in zip(panels, lives.items(), strict=True):
        draw(ax, name, stages, most)
    return described(fig, " ".join(said(name, stages) for name, stages in lives.items()))


def draw(ax, name: str, stages: Stages, most: int) -> None:
    """One life as a grid of bars."""
    rows = names_of(stages)
    for i, (step, tensors) in enumerate(stages.items()):
        for j, row in enumerate(rows):
            h = tensors.get(row)
            if h is None:
                continue
            color = GREY if h.promised else ORANGE if step == "load" else BLUE
            look = {"fill": False, "ls": "--"} if h.promised else {"facecolor": color}
            ax.add_patch(plt.Rectangle((i, j + 0.02), max(0.01, 0.93 * h.nbytes / most), 0.34, edgecolor=color, **look))
            ax.text(i, j - 0.04, str(h), va="bottom", size=8)
        ax.text(i, len(rows) + 0.1, f"{total(tensors):,} bytes", weight="bold", va="center", size=9)
    ax.set(xlim=(-0.02, len(stages)), ylim=(len(rows) + 0.45, -0.55))
    ax.set_yticks(range(len(rows)), rows, family="monospace", size=9)
    ax.set_xticks(range(len(stages)), stages, size=9, ha="left")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_title(name, size=10, weight="normal", style="italic", loc="left", pad=4)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    for i in range(1, len(stages)):
        ax.axvline(i - 0.04, color=GREY, lw=0.5, alpha=0.6)


def said(name: str, stages: Stages) -> str:
    """One life in words."""
    steps = "; ".join(
        f"{step}: {', '.join(f'{n} {h}' for n, h in tensors.items())}, {total(tensors):,} bytes"
        for step, tensors in stages.items()
    )
    return f"{name}: {steps}."
