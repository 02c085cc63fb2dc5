"""The scales of a KV cache that a file brings along: two numbers a layer or a head, on their way into attention.

    stored = value / k_scale, rounded to the grid        value = k_scale · stored

Attention calls them `k_scale` and `v_scale`. In a compressed-tensors folder they lie at `….self_attn.k_scale`, in ModelOpt's
at `….k_proj.k_scale` (checkpoints.modelopt). Only recipes with static scales have any (numerics.kv).
Source: vLLM 0.32, `BaseKVCacheMethod`, `CompressedTensorsKVCacheMethod`. There `get_quant_method` gives one to an Attention;
here a config has a door of its own for it, `get_kv_cache_method`, as it has for embeddings.
"""

import logging

import torch
from torch import nn

from qcourse.numerics.kv import KVCacheArgs
from qcourse.packing.layout import HALF_OR_FULL, Slot

SCALES = ("k_scale", "v_scale")
TINY = torch.finfo(torch.float32).tiny  # below it a division overflows


class KVCacheMethod:
    """What an attention layer called `prefix` is filled with. Life of its scales: create → load → process."""

    def __init__(self, args: KVCacheArgs, prefix: str):
        self.args, self.prefix = args, prefix

    def create_weights(self, layer: nn.Module) -> None:
        """Register k_scale and v_scale for the loader to fill: one number, or one a key-value head, in [heads, 1, 1] as
        llm-compressor writes them or plainly [heads]."""
        n = layer.config.num_key_value_heads if self.args.per_head else 1
        shape, also = ((n, 1, 1), ((n,),)) if self.args.per_head else ((1,), ((),))
        layer.slots = {name: Slot(shape, (torch.float32, *HALF_OR_FULL), also=also) for name in SCALES}
        for name in SCALES:
            setattr(layer, name, nn.Parameter(torch.empty(shape), requires_grad=False))
        layer.kv_method = self

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """→ buffers of fp32, one axis. Raises ValueError for a scale that is 0, negative, NaN or inf, naming it."""
        for name in SCALES:
            scale = getattr(layer, name).data.float().flatten()
            bad = ~(torch.isfinite(scale) & (scale >= TINY))
            if bad.any():
                raise ValueError(
                    f"{self.prefix}.{name} is {scale[bad][0].item():g}: what is stored is the value divided by it, so a "
                    "positive, finite number is expected; calibrate again (methods.kv_scales.calibrate_kv)"
                )
            delattr(layer, name)
            layer.register_buffer(name, scale)
        del layer.kv_method, layer.slots


def as_stored(scale: torch.Tensor, args: KVCacheArgs) -> torch.Tensor:
    """A scale, or one a head, in the shape in which llm-compressor writes it: [1], [heads, 1, 1]; fp32."""
    return scale.detach().cpu().float().reshape((-1, 1, 1) if args.per_head else (1,)).clone()


def create_scales(layers: dict[str, nn.Module], quant_config) -> KVCacheArgs | None:
    """Each attention layer by its name, made ready for the scales that `quant_config` expects in a file; the recipe of the
    cache is returned. Raises ValueError for a head size that the recipe does not divide."""
    args = None if quant_config is None else quant_config.kv_cache
    for prefix, layer in layers.items():
        if args is not None:
            args.check(layer.config.head_dim)
        method = None if quant_config is None else quant_config.get_kv_cache_method(prefix)
        if method is not None:
            method.create_weights(layer)
    return args


def process_scales(layers: dict[str, nn.Module]) -> None:
    """After loading: `process_weights_after_loading` of every layer that waits for it. Where every scale is exactly 1, that
    is said: nobody has calibrated, and what is beyond the grid is clamped."""
    waiting = [layer for layer in layers.values() if hasattr(layer, "kv_method")]
    for layer in waiting:
        layer.kv_method.process_weights_after_loading(layer)
    if waiting and all((getattr(layer, name) == 1).all() for layer in waiting for name in SCALES):
        logging.getLogger("qcourse").warning(
            "every k_scale and v_scale of the KV cache is 1.0, which is as good as none: keys and values beyond the largest "
            "number of the grid are clamped. Calibrate: methods.kv_scales.calibrate_kv, set_kv_scales"
        )


def use_cache(model: nn.Module, args: KVCacheArgs | None) -> None:
    """Give a model another recipe for its KV cache, in place; scales that belong to the old one go with it."""
    if args is not None:
        args.check(model.config.head_dim)
    if args != model.kv_cache:
        for layer in model.attentions().values():
            for name in SCALES:
                setattr(layer, name, None)
    model.kv_cache = args
