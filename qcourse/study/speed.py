"""Tokens a second, honestly: warm-up, repeats, median and quartiles, prefill and decode apart."""

from dataclasses import dataclass

import torch

from qcourse.models.kv_cache import KVCache
from qcourse.study.roofline import Timing, measure


@dataclass(frozen=True)
class Speed:
    """tokens/s: the median, and its quartiles (the spread of a shared machine)."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, tokens: int, timing: Timing) -> "Speed":
        """From the time that `tokens` took."""
        return cls(tokens / timing.median, tokens / timing.high, tokens / timing.low)

    def __str__(self) -> str:
        return f"{self.median:.0f} ({self.low:.0f}–{self.high:.0f})"


def synchronized(model, call):
    """`call` followed by a wait for the device, so that a clock around it sees the work."""
    if next(iter(model.state_dict().values())).is_cuda:
        return lambda i: (call(i), torch.cuda.synchronize())
    return call


@torch.inference_mode()
def prefill_speed(model, tokens: int = 512, repeats: int = 5) -> Speed:
    """tokens/s through the model when a prompt of `tokens` is read at once (M = tokens: arithmetic counts).

    A model with a shorter context reads as many tokens as it has positions.
    """
    tokens = min(tokens, model.config.max_position_embeddings)
    device = model.model.embed_tokens.weight.device
    ids = torch.arange(tokens, device=device).remainder(model.config.vocab_size).unsqueeze(0)
    return Speed.of(tokens, measure(synchronized(model, lambda i: model(ids)), repeats, warmup=1))


@torch.inference_mode()
def decode_speed(model, prompt: int = 64, tokens: int = 16, repeats: int = 5) -> Speed:
    """tokens/s for one user, one token a step with the KV cache (M = 1: bytes count).

    A model with a shorter context is given a shorter prompt. Raises ValueError when it has no room for one.
    """
    prompt = min(prompt, model.config.max_position_embeddings - tokens)
    if prompt < 1:
        raise ValueError(f"{tokens} tokens after a prompt: the model has {model.config.max_position_embeddings} positions")
    device = model.model.embed_tokens.weight.device
    ids = torch.arange(prompt, device=device).remainder(model.config.vocab_size).unsqueeze(0)
    cache = KVCache(model.config, 1, prompt + tokens, model.compute_dtype, device)
    model(ids, cache)

    def steps(i):
        cache.length = prompt  # start over from the same context
        for _ in range(tokens):
            model(ids[:, :1], cache)

    return Speed.of(tokens, measure(synchronized(model, steps), repeats, warmup=1))
