"""A folder → a model: config.json, the weights, tokenizer.json. Nothing is ever unpickled, nothing is assumed.

Order of events, as in vLLM: build the model (each method registers its tensors, without memory), fill them from the file
by name, `process_weights_after_loading` on every Linear as soon as it is full: codes are repacked for the kernel, 16-bit
weights quantized if that was asked for.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from qcourse.checkpoints import dialects, gguf
from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.folder import weight_files
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.layers.config import RulesConfig, get_quantization_config
from qcourse.layers.linear import dequantize_layers, quantize_layers
from qcourse.layers.memory import Memory
from qcourse.layers.method import QuantizationConfig
from qcourse.models.config import llama_config, read_config, read_json
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.save import save_model
from qcourse.models.subjects import SHIPPED, SUBJECTS, source_of
from qcourse.models.tokenizer_files import load_tokenizer
from qcourse.numerics.schemes import QuantizationScheme

__all__ = ["SHIPPED", "CheckpointError", "load_model", "load_tokenizer", "read_config", "save_model"]
FLOATS = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Checkpoint:
    """What a source holds: the model's sizes, its tensors by Hugging Face's names (`read(name)`), and its quantization."""

    config: LlamaConfig
    weights: Mapping
    quantization: RulesConfig | None


def open_checkpoint(source: Path | str) -> Checkpoint:
    """Headers and configs only, of a folder or a .gguf file. Raises CheckpointError for anything that is not read here, by
    name."""
    source = source_of(source)
    if source.suffix == ".gguf":
        file = GGUFFile(source)
        config = llama_config(gguf.config(file), source)
        weights = gguf.GGUFWeights(file, config.num_attention_heads, config.num_key_value_heads)
        rules = gguf.rules(weights)
        return Checkpoint(config, weights, RulesConfig(rules, quantizer=None) if rules else None)
    raw = read_json(source / "config.json")
    found = dialects.find(source, raw, read_json)
    if found is not None:
        dialects.rules(found, {})  # what the weights are is said before they are looked for
    config = llama_config(raw, source / "config.json")
    if found is not None:
        build(config, RulesConfig(dialects.rules(found, {}), quantizer=None), source)
    weights = weight_files(source)
    return Checkpoint(config, weights, found and RulesConfig(dialects.rules(found, weights), quantizer=None))


def build(config: LlamaConfig, quantization, source: Path, from_file: bool = True, **options) -> LlamaForCausalLM:
    """The model without memory: shapes only, so that whatever does not fit, and a rule that matches no layer, is said before
    anything is read. Raises ValueError; of a file's own quantization, a CheckpointError."""
    try:
        with torch.device("meta"):
            model = LlamaForCausalLM(config, quantization, **options)
        if quantization is not None:
            quantization.refuse_unmatched(list(model.linears()))
    except ValueError as e:
        raise CheckpointError(f"{source}: {e}") if from_file else e from None
    return model


def fill(model: LlamaForCausalLM, weights: Mapping, source: Path, device: str, complete: Callable) -> None:
    """Put the tensors where their names say; `complete(module)` when it has all of its own, so that what it does not keep is
    gone before the next is read. Raises CheckpointError for a missing, unknown, misshapen or mistyped tensor."""
    places = {f"{path}.{leaf}": (m, leaf) for path, m in model.named_modules() for leaf in m._parameters}
    waiting = Counter(id(m) for m, _ in places.values())
    for name in weights:
        if name not in places:
            if not dispensable(name, weights, model):
                raise CheckpointError(f"{source}: tensor {name!r} has no place in this model")
            continue
        module, leaf = places.pop(name)
        tensor, param = weights.read(name), module._parameters[leaf]
        slot = getattr(module, "slots", {}).get(leaf)
        if slot is None and (tensor.dtype not in FLOATS or tensor.shape != param.shape):
            got, want = f"{tensor.dtype} {tuple(tensor.shape)}", f"{tuple(param.shape)} in bfloat16, float16 or float32"
            raise CheckpointError(f"{source}: tensor {name!r} is {got}, the config asks for {want}")
        if slot is not None:
            try:
                slot.refuse(tensor, repr(name))
            except ValueError as e:
                raise CheckpointError(f"{source}: tensor {e}") from e
        module._parameters[leaf] = nn.Parameter(tensor.to(device), requires_grad=False)
        waiting[id(module)] -= 1
        if not waiting[id(module)]:
            del tensor, param
            complete(module)
    missing = []
    for name, (module, leaf) in places.items():
        if module._parameters[leaf] is None:
            continue
        if leaf in getattr(module, "slots", {}) and module.slots[leaf].optional:
            del module._parameters[leaf]
        else:
            missing.append(name)
    if missing:
        raise CheckpointError(f"{source}: tensor {missing[0]!r} is missing (and {len(missing) - 1} more)")


def dispensable(name: str, weights: Mapping, model: LlamaForCausalLM) -> bool:
    """Tensors without a place that change nothing: what is computed here, a tied head that is the embedding, zero biases."""
    if name.endswith("rotary_emb.inv_freq"):
        return True
    if name == "lm_head.weight" and model.lm_head is None:
        return torch.equal(weights.read(name), weights.read("model.embed_tokens.weight"))
    return name.endswith((".bias", "_zero_point")) and not weights.read(name).float().any()


def load_model(
    source: Path | str = SHIPPED,
    quantization: str | dict | QuantizationScheme | QuantizationConfig | None = None,
    *,
    dequantize: bool = False,
    device: str = "cpu",
    compute_dtype: torch.dtype = torch.float32,
) -> LlamaForCausalLM:
    """Load a model in eval mode: a folder, a .gguf file or a subject ("smollm2"). `quantization` rounds 16-bit weights on
    the way in: a preset's name ("W4A16"), a dict ({"scheme": "W4A16", "group_size": 64}), a scheme or a config.

    A source that is quantized already keeps its own codes, unless `dequantize` asks for what they stand for, in bf16 and
    then in `quantization`. A subject is dequantized whenever `quantization` (or "bf16") is given.

    >>> model = load_model(quantization="W8A16")

    Raises CheckpointError for the source, ValueError for an unknown or ill-fitting scheme, or one for quantized weights.
    """
    dequantize = dequantize or (source in SUBJECTS and quantization is not None)
    source = source_of(source)
    config = get_quantization_config(quantization)
    checkpoint = open_checkpoint(source)
    if dequantize and checkpoint.quantization is not None:
        return requantized(source, checkpoint.config, config, device, compute_dtype)
    if config is not None and checkpoint.quantization is not None:
        raise ValueError(
            f"{source}: the weights are quantized already; load them without `quantization`, or with dequantize=True"
        )
    config = config or checkpoint.quantization
    model = build(checkpoint.config, config, source, checkpoint.quantization is not None, compute_dtype=compute_dtype)
    left, complete = finishing(model, checkpoint, source)
    fill(model, checkpoint.weights, source, device, complete)
    for layer in list(left.values()):  # those that do without an optional tensor
        complete(layer)
    return model.to(device).requires_grad_(False).eval()


def finishing(model: LlamaForCausalLM, checkpoint: Checkpoint, source: Path) -> tuple[dict[int, nn.Module], Callable]:
    """(layers that are not complete yet, what completes one of them): on its device, where it chooses its kernel."""
    left, memory = {id(m): m for m in (model.model.embed_tokens, *model.linears().values())}, Memory()

    def complete(layer: nn.Module) -> None:
        if left.pop(id(layer), None) is None:
            return
        memory.done_with(4 * layer.input_size * layer.output_size)
        try:
            layer.quant_method.process_weights_after_loading(layer)
        except ValueError as e:
            if checkpoint.quantization is None:
                raise
            raise CheckpointError(f"{source}: {e}") from e

    return left, complete


def requantized(source: Path, sizes: LlamaConfig, config, device: str, compute_dtype: torch.dtype) -> LlamaForCausalLM:
    """A quantized source in another format: what its codes stand for, in bf16, then in `config`; the rest as it was read."""
    if config is not None:
        build(sizes, config, source, False)  # what does not fit is said before anything is read
    model = load_model(source, compute_dtype=compute_dtype)
    if config is None:
        return dequantize_layers(model).to(device).requires_grad_(False)
    return quantize_layers(model.to(device), config, again=True).requires_grad_(False)
