"""The weights that a training run begins with: random, or another model's; and the gains that are held loud."""

import math
from pathlib import Path

import torch

from qcourse.models.llama import LlamaForCausalLM, RMSNorm
from qcourse.models.loader import load_model, load_tokenizer
from qcourse.models.recipe import TrainConfig, check_state
from qcourse.models.tokenizer import Tokenizer


def first_weights(
    model: LlamaForCausalLM, config: TrainConfig, tokenizer: Tokenizer, start_from: Path | None
) -> torch.Tensor:
    """Random weights, or those of `start_from`. Returns the loud channels' indices."""
    loud = init_weights(model, config)
    if start_from is not None:
        continue_from(model, tokenizer, start_from)
    return loud


def init_weights(model: LlamaForCausalLM, config: TrainConfig) -> torch.Tensor:
    """Normal(0, 0.02), residual outputs scaled by depth, loud gains set. Returns the loud channels' indices."""
    torch.manual_seed(config.seed)
    depth = 2 * model.config.num_hidden_layers
    loud = torch.randperm(model.config.hidden_size)[: config.loud_channels]
    for name, p in model.named_parameters():
        if p.dim() == 2:
            std = 0.02 / math.sqrt(depth) if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
            torch.nn.init.normal_(p, std=std)
    for module in model.model.layers.modules():
        if isinstance(module, RMSNorm):
            module.weight.register_hook(lambda grad: grad.index_fill(0, loud.to(grad.device), 0.0))
    set_gain(model, loud, config.gain(0))
    return loud


def set_gain(model: LlamaForCausalLM, loud: torch.Tensor, gain: float) -> None:
    """Hold the loud channels of every layer's norms at `gain`."""
    for layer in model.model.layers:
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.data[loud] = gain


def continue_from(model: LlamaForCausalLM, tokenizer: Tokenizer, source: Path) -> None:
    """Start with the weights of `source`, a folder of the same shape, which may have another tokenizer: a token that it
    knows keeps its embedding, another gets the mean of its pieces'. Raises ValueError for another shape."""
    old, words = load_model(source), load_tokenizer(source)
    check_state(source, dict(old.named_parameters()), model, "--start-from needs 16-bit weights of the shape to be trained")
    rows = old.model.embed_tokens.weight.float()
    known = {b: i for i, b in enumerate(words.token_bytes) if b}
    for name, p in model.named_parameters():
        p.data.copy_(old.get_parameter(name))
    for i, token in enumerate(tokenizer.token_bytes):
        pieces = [known[token]] if token in known else words.encode(token.decode("utf-8", "ignore")) or [words.bos_id]
        model.model.embed_tokens.weight.data[i] = rows[pieces].mean(0)
