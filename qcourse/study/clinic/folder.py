"""A model as one folder with one file of weights, and a folder as what can be changed: its config and its tensors.

write(model, folder, scheme)        16-bit weights → codes, in the words and the layout of an ecosystem
held(folder)                        (config, tensors)
spoil(folder, out, config, tensors) the same folder with these tensors and this config
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from qcourse.checkpoints.dialect_writers import writer_of
from qcourse.checkpoints.writer import write_json, write_tensors
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import SHIPPED, load_model
from qcourse.models.save import config_of
from qcourse.models.tokenizer import read_json
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.shapes import Tensor

WEIGHTS = "model.safetensors"
BESIDE = ("tokenizer.json",)


def wide() -> LlamaForCausalLM:
    """The shipped model with its weights in fp32: to be changed, and then written."""
    return load_model(SHIPPED).float()


@torch.inference_mode()
def write(
    model: LlamaForCausalLM,
    folder: Path,
    scheme: QuantizationScheme | None,
    layout: str = "compressed-tensors",
    *,
    codes: Callable[..., QTensor] = quantize,
    input_scales: dict[str, float] | None = None,
    ignore: tuple[str, ...] = ("lm_head",),
    also: dict | None = None,
    extra: dict[str, Tensor] | None = None,
) -> None:
    """Every linear layer but those in `ignore` in `scheme` (None: bf16), the rest in bf16. codes(W, args, name) chooses
    them; input_scales: of static activations; also, extra: keys of quantization_config and tensors that are added."""
    writer, tensors, quantized = writer_of(layout), {}, set()
    for name, layer in model.linears().items():
        if scheme is not None and name not in ignore:
            q = codes(layer.weight.data.float(), scheme.weights, name)
            made = writer.tensors(q, scheme, input_scales and input_scales[name])
            tensors |= {f"{name}.{leaf}": t for leaf, t in made.items()}
            quantized.add(f"{name}.weight")
    tensors |= {n: p.data.bfloat16() for n, p in model.named_parameters() if n not in quantized}
    config = config_of(model) | {"quantization_config": (writer.written(scheme, ignore) if scheme else {}) | (also or {})}
    if not config["quantization_config"]:
        del config["quantization_config"]
    keep(folder, config, tensors | (extra or {}))


def keep(folder: Path, config: dict, tensors: dict[str, Tensor]) -> None:
    """A folder with these, and the shipped tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in BESIDE:
        shutil.copyfile(SHIPPED / name, folder / name)
    write_json(folder / "config.json", config)
    write_tensors(folder / WEIGHTS, {n: t.contiguous() for n, t in tensors.items()})


def held(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """config.json, and every tensor by its name."""
    return read_json(folder / "config.json"), load_file(folder / WEIGHTS)


def spoil(source: Path, out: Path, change: Callable[[dict, dict[str, Tensor]], None]) -> None:
    """A copy of a folder whose config and tensors `change` has worked on, in place."""
    config, tensors = held(source)
    change(config, tensors)
    keep(out, config, tensors)
