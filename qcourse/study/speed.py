"""Tokens a second, honestly: warm-up, repeats, median and quartiles, prefill and decode apart, rivals in turns."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from qcourse.models.kv_cache import new_cache
from qcourse.study.roofline import Timing, interleaved


@dataclass(frozen=True)
class Speed:
    """tokens/s: the median, its quartiles (the spread of a shared machine), and the best."""

    median: float
    low: float
    high: float
    best: float

    @classmethod
    def of(cls, tokens: int, timing: Timing) -> "Speed":
        """From the time that `tokens` took."""
        return cls(tokens / timing.median, tokens / timing.high, tokens / timing.low, tokens / timing.best)

    def __str__(self) -> str:
        return f"{self.median:.0f} ({self.low:.0f}–{self.high:.0f})"


def synchronized(model, call):
    """`call` followed by a wait for the device, so that a clock around it sees the work."""
    if next(iter(model.state_dict().values())).is_cuda:
        return lambda i: (call(i), torch.cuda.synchronize())
    return call


def prefill(model, tokens: int) -> Callable[[int], object]:
    """A call that reads a prompt of `tokens` at once (M = tokens: arithmetic counts)."""
    device = next(iter(model.state_dict().values())).device
    ids = torch.arange(tokens, device=device).remainder(model.config.vocab_size).unsqueeze(0)
    return synchronized(model, lambda i: model(ids))


def decode(model, prompt: int, tokens: int) -> Callable[[int], object]:
    """A call that writes `tokens` for one user, one a step with the KV cache (M = 1: bytes count)."""
    device = next(iter(model.state_dict().values())).device
    ids = torch.arange(prompt, device=device).remainder(model.config.vocab_size).unsqueeze(0)
    cache = new_cache(model, 1, prompt + tokens)
    model(ids, cache)

    def steps(i):
        cache.length = prompt  # start over from the same context
        for _ in range(tokens):
            model(ids[:, :1], cache)

    return synchronized(model, steps)


@torch.inference_mode()
def prefill_speeds(models: dict[str, torch.nn.Module], tokens: int = 512, repeats: int = 5) -> dict[str, Speed]:
    """name → tokens/s of a prompt, for several models timed in turns.

    Models with a shorter context read as many tokens as they have positions.
    """
    tokens = min(tokens, *(m.config.max_position_embeddings for m in models.values()))
    timings = interleaved({name: prefill(model, tokens) for name, model in models.items()}, repeats, warmup=1)
    return {name: Speed.of(tokens, t) for name, t in timings.items()}


@torch.inference_mode()
def decode_speeds(
    models: dict[str, torch.nn.Module], prompt: int = 64, tokens: int = 16, repeats: int = 5
) -> dict[str, Speed]:
    """name → tokens/s for one user, for several models timed in turns.

    Models with a shorter context are given a shorter prompt. Raises ValueError when they have no room for one.
    """
    room = min(m.config.max_position_embeddings for m in models.values())
    prompt = min(prompt, room - tokens)
    if prompt < 1:
        raise ValueError(f"{tokens} tokens after a prompt: the model has {room} positions")
    timings = interleaved({name: decode(model, prompt, tokens) for name, model in models.items()}, repeats, warmup=1)
    return {name: Speed.of(tokens, t) for name, t in timings.items()}


def prefill_speed(model, tokens: int = 512, repeats: int = 5) -> Speed:
    """`prefill_speeds` of one model."""
    return prefill_speeds({"": model}, tokens, repeats)[""]


def decode_speed(model, prompt: int = 64, tokens: int = 16, repeats: int = 5) -> Speed:
    """`decode_speeds` of one model."""
    return decode_speeds({"": model}, prompt, tokens, repeats)[""]


def fastest(speeds: dict[str, Speed]) -> list[str]:
    """The name with the highest median, and all whose quartiles reach into its own: a clock cannot tell them apart.

    >>> fastest({"a": Speed(90, 80, 95, 96), "b": Speed(100, 94, 110, 111), "c": Speed(50, 40, 60, 61)})
    ['b', 'a']
    """
    names = sorted(speeds, key=lambda name: -speeds[name].median)
    return [name for name in names if speeds[name].high >= speeds[names[0]].low]
