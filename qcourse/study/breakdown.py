"""Where a decode step's time goes: bytes that must be read, kernels that take longer than that, and everything between them.

A step cannot be faster than its bytes (`cost.decode_seconds`). What compiled loops take beyond that is arithmetic, unpacking
and memory that came slower than at its best; the rest is Python and torch's small operations, the same for every format.
"""

import statistics
import time
from dataclasses import dataclass

import torch

from qcourse.gemm.threads import watched
from qcourse.models.kv_cache import new_cache
from qcourse.study import cost, roofline


@dataclass(frozen=True)
class Breakdown:
    """Seconds of one decode step, medians: `step` in all; `floor`: its bytes at the rate at which memory is read; `kernels`:
    spent in compiled loops, by name; weight_bytes and kv_bytes: what the step reads; calls: compiled loops called."""

    step: float
    floor: float
    kernels: dict[str, float]
    weight_bytes: int
    kv_bytes: int
    calls: int

    @property
    def parts(self) -> dict[str, float]:
        """The step in three parts that add up to it."""
        inside = min(self.step, sum(self.kernels.values()))
        return {
            "bytes": min(self.floor, inside),
            "kernels beyond that": max(0.0, inside - self.floor),
            "Python and small operations": self.step - inside,
        }


def read_bytes(model, context: int, users: int = 1) -> tuple[int, int]:
    """(bytes of the weights that a step reads, bytes of the KV cache); an embedding is read where it is the head, too."""
    parts = cost.model_bytes(model)
    embedding = 0 if model.lm_head is None else cost.storage_bytes(model.model.embed_tokens)
    c, args = model.config, model.kv_cache
    bits = 16 * c.head_dim * model.compute_dtype.itemsize if args is None else args.token_bits(c.head_dim)
    return parts.total - embedding, round(c.num_hidden_layers * c.num_key_value_heads * bits / 8) * context * users


@torch.inference_mode()
def decode_breakdown(
    model, bandwidth: float, context: int = 64, steps: int = 16, repeats: int = 5, users: int = 1
) -> Breakdown:
    """Measure `steps` decode steps of `users` at once after `context` tokens, several times; bandwidth in bytes a second.

    Raises ValueError where the model has no room for them. On a GPU, kernels are not told apart: all is "Python and …".
    """
    room = model.config.max_position_embeddings
    if context < 1 or context + steps > room:
        raise ValueError(f"{context} + {steps} positions: at least 1 + {steps}, and at most {room} in this model")
    device = next(iter(model.state_dict().values())).device
    ids = torch.arange(context, device=device).remainder(model.config.vocab_size).expand(users, -1)
    cache = new_cache(model, users, context + steps)
    model(ids, cache)
    whole, inside = [], []
    for _ in range(repeats + 1):  # the first warms up
        cache.length = context
        with watched() as seen:
            began = time.perf_counter()
            for _ in range(steps):
                model(ids[:, :1], cache)
            whole.append((time.perf_counter() - began) / steps)
        inside.append(seen)
    weights, kv = read_bytes(model, context + steps // 2, users)
    names = {name for seen in inside[1:] for name, _ in seen}
    each = {n: statistics.median(sum(s for name, s in seen if name == n) / steps for seen in inside[1:]) for n in names}
    kernels = dict(sorted(each.items(), key=lambda item: -item[1]))
    floor = cost.decode_seconds(weights + kv, bandwidth)
    return Breakdown(statistics.median(whole[1:]), floor, kernels, weights, kv, len(inside[-1]) // steps)


def table(found: dict[str, Breakdown]) -> str:
    """Markdown: a row a format, milliseconds."""
    lines = ["| format | MB a step | step, ms | tokens/s | bytes | kernels beyond | Python, small operations | loops |"]
    lines.append("|---" * 8 + "|")
    for name, b in found.items():
        ms = " | ".join(f"{1e3 * s:.2f} ({s / b.step:.0%})" for s in b.parts.values())
        size = f"{(b.weight_bytes + b.kv_bytes) / 1e6:.1f}"
        lines.append(f"| {name} | {size} | {1e3 * b.step:.2f} | {1 / b.step:.0f} | {ms} | {b.calls} |")
    return "\n".join(lines)


def measure_decode(source, formats: list[str], context: int, threads: int | None = None) -> tuple[str, dict[str, Breakdown]]:
    """(what it was measured on, the breakdown of each format of a model)."""
    from qcourse.models.loader import load_model

    torch.set_num_threads(threads or torch.get_num_threads())
    bandwidth, found = roofline.read_bandwidth(), {}
    for spec in formats:
        model = load_model(source, None if spec == "as-is" else spec, dequantize=spec != "as-is")
        found[spec] = decode_breakdown(model, bandwidth, context)
    rate = f"memory is read at {bandwidth / 1e9:.1f} GB/s"
    said = f"{torch.get_num_threads()} threads, {rate}, context {context}, fp32 activations"
    return f"{said}; {roofline.load()}", found
