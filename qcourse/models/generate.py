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

    Raises ValueError for an empty prompt, an id outside the vocabulary, a sequence beyond the model's
    `max_position_embeddings`, and logits that are not finite (a broken model would say token 0 for ever).
    """
    total = len(prompt_ids) + max_new_tokens
    if not prompt_ids:
        raise ValueError("empty prompt: start with the tokenizer's bos_id")
    if max_new_tokens < 0 or not 0 <= temperature < float("inf"):
        raise ValueError(f"max_new_tokens={max_new_tokens}, temperature={temperature}: both at least 0, and finite")
    bad = [i for i in prompt_ids if not 0 <= i < model.config.vocab_size]
    if bad:
        raise ValueError(f"the prompt holds id {bad[0]}, the model's vocabulary has {model.config.vocab_size}")
    if total > model.config.max_position_embeddings:
        raise ValueError(f"{total} positions asked for, the model has {model.config.max_position_embeddings}")
    device = next(model.parameters()).device
    rng = torch.Generator().manual_seed(seed)
    cache = KVCache(model.config, 1, total, model.compute_dtype, device)
    ids, step = list(prompt_ids), torch.tensor([prompt_ids], device=device)
    for _ in range(max_new_tokens):
        logits = model(step, cache)[0, -1].cpu()
        if not torch.isfinite(logits).all():
            raise ValueError(f"the model's logits after position {len(ids) - 1} hold NaN or inf: nothing can be generated")
        if temperature > 0:
            ids.append(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=rng).item())
        else:
            ids.append(logits.argmax().item())
        step = torch.tensor([[ids[-1]]], device=device)
    return ids
