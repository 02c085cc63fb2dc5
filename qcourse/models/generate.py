"""Text from a model: prefill the prompt once, then one token a step with the KV cache."""

import torch

from qcourse.models.kv_cache import KVCache
from qcourse.models.llama import LlamaForCausalLM


@torch.inference_mode()
def generate(
    model: LlamaForCausalLM,
    prompt_ids: list[int],
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[int]:
    """The prompt's ids followed by up to `max_new_tokens` more; temperature 0 is greedy.

    Raises ValueError for an empty prompt or a sequence beyond the model's `max_position_embeddings`.
    """
    total = len(prompt_ids) + max_new_tokens
    if not prompt_ids:
        raise ValueError("empty prompt: start with the tokenizer's bos_id")
    if total > model.config.max_position_embeddings:
        raise ValueError(f"{total} positions asked for, the model has {model.config.max_position_embeddings}")
    device = next(model.parameters()).device
    rng = torch.Generator().manual_seed(seed)
    cache = KVCache(model.config, 1, total, model.compute_dtype, device)
    ids, step = list(prompt_ids), torch.tensor([prompt_ids], device=device)
    for _ in range(max_new_tokens):
        logits = model(step, cache)[0, -1].cpu()
        if temperature > 0:
            ids.append(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=rng).item())
        else:
            ids.append(logits.argmax().item())
        step = torch.tensor([[ids[-1]]], device=device)
    return ids
