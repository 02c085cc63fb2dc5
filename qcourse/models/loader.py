"""A folder → a model: config.json, the weights, tokenizer.json. Nothing is ever unpickled, nothing is assumed.

Order of events, as in vLLM: build the model (each method registers its tensors, without memory), fill them from the file
by name, `process_weights_after_loading` on every Linear as soon as it is full: codes are repacked for the kernel, 16-bit
weights quantized if that was asked for.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from qcourse.checkpoints.errors import CheckpointError
from qcourse.layers.config import RulesConfig, get_quantization_config
from qcourse.layers.kv_method import SCALES, process_scales, use_cache
from qcourse.layers.linear import dequantize_layers, install, quantize_layers
from qcourse.layers.memory import Memory
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.registry import declared
from qcourse.models.checkpoint import EMBEDDING, HEAD, Checkpoint, build, open_checkpoint, untied
from qcourse.models.config import read_config
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.save import save_model
from qcourse.models.subjects import SHIPPED, SUBJECTS, source_of
from qcourse.models.tokenizer_files import load_tokenizer
from qcourse.numerics.schemes import QuantizationScheme

__all__ = ["SHIPPED", "CheckpointError", "load_model", "load_tokenizer", "read_config", "save_model"]
NO_SCHEME = "a scale of the KV cache, and quantization_config has no kv_cache_scheme that says what is stored"
FLOATS = (torch.bfloat16, torch.float16, torch.float32)


def fill(model: LlamaForCausalLM, weights: Mapping, source: Path, device: str, complete: Callable) -> None:
    """Put the tensors where their names say; `complete(module)` when it has all of its own, so that what it does not keep is
    gone before the next is read. Raises CheckpointError for a missing, unknown, misshapen or mistyped tensor."""
    places = places_of(model)
    waiting = Counter(id(m) for m, _ in places.values())
    for name in weights:
        if name not in places:
            refuse_unknown(name, weights, model, source)
            continue
        module, leaf = places.pop(name)
        tensor, param = weights.read(name), module._parameters[leaf]
        slot = declared(module, leaf)
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
    refuse_missing(places, source)
    for module, leaf in places.values():
        if module._parameters[leaf] is not None:
            del module._parameters[leaf]  # an optional one


def places_of(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Where each tensor of a model belongs: (module, leaf) by name."""
    return {f"{path}.{leaf}": (m, leaf) for path, m in model.named_modules() for leaf in m._parameters}


def refuse_unknown(name: str, weights: Mapping, model: nn.Module, source: Path) -> None:
    """Raise CheckpointError for a tensor that has no place in a model, unless it changes nothing."""
    if not dispensable(name, weights, model):
        why = f": {NO_SCHEME}" if name.endswith(SCALES) and getattr(model, "kv_cache", None) is None else ""
        raise CheckpointError(f"{source}: tensor {name!r} has no place in this model{why}")


def refuse_missing(places: dict[str, tuple[nn.Module, str]], source: Path) -> None:
    """Raise CheckpointError where some of the places that nothing came for have to be filled."""
    wanted = {name: m.slots[leaf] if leaf in getattr(m, "slots", {}) else None for name, (m, leaf) in places.items()
              if m._parameters[leaf] is not None}  # fmt: skip
    missing = [name for name, slot in wanted.items() if slot is None or not slot.optional]
    if missing:
        raise CheckpointError(f"{source}: tensor {missing[0]!r} is missing (and {len(missing) - 1} more)")


def dispensable(name: str, weights: Mapping, model: LlamaForCausalLM) -> bool:
    """Tensors without a place that change nothing: what is computed here, a tied head that is the embedding, zero biases."""
    if name.endswith("rotary_emb.inv_freq"):
        return True
    if name == HEAD and model.lm_head is None:
        return torch.equal(weights.read(name), weights.read(EMBEDDING))
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
    the way in: a preset's name ("W4A16"), a dict ({"scheme": "W4A16", "group_size": 64}; `RulesConfig.from_config` lists its
    keys), a scheme or a config.

    A source that is quantized already keeps its own codes, unless `dequantize` asks for what they stand for, in bf16 and
    then in `quantization`. A subject is dequantized whenever `quantization` (or "bf16") is given. The recipe of the KV cache
    is none of the weights': {"kv_cache": "int8_per_token_head"} alone leaves them as they are, and without it the source's
    own recipe and scales stay, whatever the weights become.

    >>> model = load_model(quantization="W8A16")

    Raises CheckpointError for the source, ValueError for an unknown or ill-fitting scheme, or one for quantized weights.
    """
    asked = get_quantization_config(quantization)
    of_weights = not (isinstance(asked, RulesConfig) and not asked.rules)
    dequantize = dequantize or (source in SUBJECTS and quantization is not None and of_weights)
    source = source_of(source)
    checkpoint = open_checkpoint(source)
    if dequantize and checkpoint.quantization is not None:
        model = requantized(source, checkpoint.config, asked, device, compute_dtype)
    else:
        config = in_file(asked, checkpoint.quantization, source) if of_weights else checkpoint.quantization or asked
        model = filled(source, checkpoint, config, device, compute_dtype)
    if asked is not None and (asked.kv_cache is not None or isinstance(quantization, dict) and "kv_cache" in quantization):
        use_cache(model, asked.kv_cache)
    return model


def in_file(asked: QuantizationConfig | None, held: QuantizationConfig | None, source: Path) -> QuantizationConfig | None:
    """What a model is built by: the file's own quantization or the one that was asked for; both, where the file's is about
    the KV cache alone. Raises ValueError where both are about weights."""
    if asked is None or held is None:
        return asked or held
    if isinstance(held, RulesConfig) and not held.rules and isinstance(asked, RulesConfig):
        return replace(asked, kv_cache=held.kv_cache, kv_scales=held.kv_scales)
    raise ValueError(
        f"{source}: the weights are quantized already; load them without `quantization`, or with dequantize=True"
    )


def filled(
    source: Path, checkpoint: Checkpoint, config, device: str, compute_dtype: torch.dtype, finish: Callable | None = None
) -> LlamaForCausalLM:
    """The model that `config` describes, with the source's tensors in it. finish: in the place of `finishing`."""
    if isinstance(config, RulesConfig) and config.own_head and checkpoint.config.tie_word_embeddings:
        checkpoint = untied(checkpoint, source)
    from_file = checkpoint.quantization is not None
    model = build(checkpoint.config, config, source, from_file, compute_dtype=compute_dtype)
    left, complete = (finish or finishing)(model, checkpoint, source)
    fill(model, checkpoint.weights, source, device, complete)
    for layer in list(left.values()):  # those that do without an optional tensor
        complete(layer)
    try:
        process_scales(model.attentions())
    except ValueError as e:
        raise CheckpointError(f"{source}: {e}") from e
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
        own_head = isinstance(config, RulesConfig) and config.own_head
        new_sizes = replace(sizes, tie_word_embeddings=sizes.tie_word_embeddings and not own_head)
        build(new_sizes, config, source, False)  # what does not fit is said before anything is read
    model = load_model(source, compute_dtype=compute_dtype)
    if config is None:
        return dequantize_layers(model).to(device).requires_grad_(False)
    embedding, method = model.model.embed_tokens, config.get_embedding_method("model.embed_tokens")
    model = model.to(device)
    if own_head and model.lm_head is None:
        model.lm_head, model.config = embedding.head(torch.bfloat16), new_sizes
        model.model.config = new_sizes
    if method is not None:
        dequantize_layers(model, only=embedding)
        install(embedding, method)
    return quantize_layers(model, config, again=True).requires_grad_(False)
