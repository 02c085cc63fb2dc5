"""Text from a model: prefill the prompt once, then one token a step with the KV cache."""

from collections.abc import Collection, Iterator

import torch

from qcourse.models.kv_cache import KVCache, new_cache
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.numerics.kv import KVCacheArgs


def check_request(
    model: LlamaForCausalLM, prompt_ids: list[int], max_new_tokens: int, temperature: float, top_p: float
) -> None:
    """Raise ValueError for an empty prompt, an id outside the vocabulary, a sequence beyond the model's positions, and
    settings that mean nothing."""
    total = len(prompt_ids) + max_new_tokens
    if not prompt_ids:
        raise ValueError("empty prompt: start with the tokenizer's bos_id")
    if max_new_tokens < 0 or not 0 <= temperature < float("inf"):
        raise ValueError(f"max_new_tokens={max_new_tokens}, temperature={temperature}: both at least 0, and finite")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p}: a share of the probability, above 0 and at most 1")
    bad = [i for i in prompt_ids if not 0 <= i < model.config.vocab_size]
    if bad:
        raise ValueError(f"the prompt holds id {bad[0]}, the model's vocabulary has {model.config.vocab_size}")
    if total > model.config.max_position_embeddings:
        raise ValueError(f"{total} positions asked for, the model has {model.config.max_position_embeddings}")


def choose_token(logits: torch.Tensor, temperature: float, top_p: float, rng: torch.Generator) -> int:
    """The next id: the likeliest at temperature 0, else drawn from the smallest set that holds `top_p` of the probability.

    Source: nucleus sampling, Holtzman et al. 2020 (arXiv:1904.09751).
    """
    if temperature == 0:
        return logits.argmax().item()
    p = torch.softmax(logits / temperature, -1)
    if top_p < 1:
        sorted_p, order = p.sort(descending=True)
        outside = sorted_p.cumsum(-1) - sorted_p >= top_p  # what lies before a token is enough already
        p = p.index_fill(0, order[outside], 0.0)
    return torch.multinomial(p, 1, generator=rng).item()


@torch.inference_mode()
def stream(
    model: LlamaForCausalLM,
    prompt_ids: list[int],
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    top_p: float = 1.0,
    stop: Collection[int] = (),
    cache: KVCache | QuantizedKVCache | None = None,
    kv: str | KVCacheArgs | None = None,
) -> Iterator[int]:
    """New ids, one at a time, each as soon as it is known; ends after `max_new_tokens`, or after an id of `stop` (yielded).

    cache: the conversation so far; what its `length` covers is not computed again. kv: how a new one is stored
    (`new_cache`). Raises ValueError as `generate` does.
    """
    check_request(model, prompt_ids, max_new_tokens, temperature, top_p)
    device = next(model.parameters()).device
    rng = torch.Generator().manual_seed(seed)
    if cache is None:
        cache = new_cache(model, 1, len(prompt_ids) + max_new_tokens, kv)
    step, position = torch.tensor([prompt_ids[cache.length :]], device=device), len(prompt_ids)
    for _ in range(max_new_tokens):
        logits = model(step, cache)[0, -1].cpu()
        if not torch.isfinite(logits).all():
            raise ValueError(f"the model's logits after position {position - 1} hold NaN or inf: nothing can be generated")
        token = choose_token(logits, temperature, top_p, rng)
        yield token
        if token in stop:
            return
        step, position = torch.tensor([[token]], device=device), position + 1


def generate(
    model: LlamaForCausalLM,
    prompt_ids: list[int],
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    top_p: float = 1.0,
    stop: Collection[int] = (),
    kv: str | KVCacheArgs | None = None,
) -> list[int]:
    """The prompt's ids followed by up to `max_new_tokens` more (fewer after an id of `stop`); temperature 0 is greedy.

    Raises ValueError for an empty prompt, an id outside the vocabulary, a sequence beyond the model's
    `max_position_embeddings`, logits that are not finite (a broken model would say token 0 for ever), and what `new_cache`
    refuses. kv: how keys and values are stored: a name of KV_PRESETS, "auto", or None for what the model says.
    """
    return [*prompt_ids, *stream(model, prompt_ids, max_new_tokens, temperature, seed, top_p, stop, kv=kv)]
