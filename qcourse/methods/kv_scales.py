"""Static scales of a KV cache: the loudest key and value of a calibration text become the grid's largest number.

    scale = max|x| / limit      of a layer's keys (after RoPE) or values, or of one head's; stored = value / scale, clamped

What is louder than the text ever was is clamped while the model runs; the cache counts it (`QuantizedKVCache.clamped`). A
scale of 1 is what an engine takes where a file has none: then anything beyond 448 is clamped in E4M3, and what is small
meets steps that were made for 448 (vLLM warns).
"""

from itertools import chain

import torch

from qcourse.methods.hadamard import hadamard_transform
from qcourse.numerics.kv import KVCacheArgs
from qcourse.shapes import Float, Integer, Tensor

NAMES = ("k_scale", "v_scale")


class Loudest:
    """Stands where a KV cache stands, and keeps nothing but max|x| of every layer's keys and values, head by head."""

    def __init__(self, rotate: bool):
        self.rotate, self.length, self.seen = rotate, 0, {}

    def turn(self, q: Tensor) -> Tensor:
        """Queries, as they are."""
        return q

    def unturn(self, y: Tensor) -> Tensor:
        """What was gathered, as it is."""
        return y

    def step(self, *_) -> None:
        """One position goes the way of many."""

    def update(self, layer: int, k: Float[Tensor, "B kv T D"], v: Float[Tensor, "B kv T D"]) -> tuple[Tensor, Tensor]:
        """See keys and values, and hand them back."""
        for i, x in enumerate((k, v)):
            loud = (hadamard_transform(x) if self.rotate else x).abs().float().amax((0, 2, 3))
            self.seen[layer, i] = torch.maximum(self.seen.get((layer, i), loud), loud)
        return k, v

    def scales(self, layer: int, args: KVCacheArgs, prefix: str) -> tuple[Tensor, Tensor]:
        """(k_scale, v_scale) of a layer. Raises ValueError, naming it, for keys or values that are not finite."""
        pair = []
        for i, side in enumerate((args.keys, args.values)):
            loud = self.seen[layer, i] if args.per_head else self.seen[layer, i].amax().view(1)
            if not torch.isfinite(loud).all():
                raise ValueError(f"{'values' if i else 'keys'} of {prefix} are not finite: no scale can be found for them")
            pair.append(torch.where(loud > 0, loud / side.grid.limit, 1.0).clamp(min=torch.finfo(torch.float32).tiny))
        return pair[0], pair[1]


@torch.inference_mode()
def calibrate_kv(model, ids: Integer[Tensor, "B T"], args: KVCacheArgs) -> dict[str, tuple[Tensor, Tensor]]:
    """{"model.layers.0.self_attn": (k_scale, v_scale), …} of a text, fp32: one number each, or one a kv head (per_head).

    Where the recipe rotates, of rotated keys and values. A head that is silent gets scale 1. Raises ValueError for a recipe
    whose scales are dynamic, for no text, and for keys or values that are not finite, naming the layer.
    """
    if not args.static:
        raise ValueError(f"{args.keys.grid} with dynamic scales: they are found as tokens come, nothing is calibrated")
    if not ids.numel():
        raise ValueError("no ids: scales come from a text")
    cache = Loudest(args.rotate)
    for row in ids.split(1):
        cache.length = 0
        model(row, cache)
    return {prefix: cache.scales(layer, args, prefix) for layer, prefix in enumerate(model.attentions())}


def set_kv_scales(model, args: KVCacheArgs, scales: dict[str, tuple[Tensor, Tensor]] | None = None) -> None:
    """Make `args` the model's own recipe (`model.kv_cache`), with these scales as buffers of its attention layers; None for
    recipes whose scales are dynamic.

    Raises ValueError, before anything is changed, for a layer without scales or a name that is no layer, for another number
    of scales than the recipe has, and for a scale that is not positive and finite.
    """
    layers = model.attentions()
    args.check(model.config.head_dim)
    scales, needed = scales or {}, set(layers) if args.static else set()
    for prefix in sorted(scales.keys() ^ needed):
        raise ValueError(f"{prefix}: {'scales are missing' if prefix in needed else 'this recipe has no scales for it'}")
    wanted = model.config.num_key_value_heads if args.per_head else 1
    pairs = {prefix: [torch.as_tensor(s).detach().float().flatten() for s in pair] for prefix, pair in scales.items()}
    for prefix, pair in pairs.items():
        for name, s in zip(NAMES, pair, strict=True):
            if len(s) != wanted or not (torch.isfinite(s) & (s >= torch.finfo(torch.float32).tiny)).all():
                raise ValueError(f"{prefix}.{name} is {s.tolist()}: {wanted} positive, finite number(s) expected")
    for prefix, layer in layers.items():
        for name, s in zip(NAMES, pairs.get(prefix, (None, None)), strict=True):
            setattr(
                layer, name, None if s is None else s.clone().to(next(chain(layer.parameters(), layer.buffers())).device)
            )
    model.kv_cache = args
