"""Grouped-query attention: many positions by torch, the one position of a decode step by a loop that reads the cache once.

GQA: Ainslie et al. 2023 (arXiv:2305.13245).
"""

import torch
import torch.nn.functional as F
from torch import nn

from qcourse.layers.together import Together
from qcourse.models.kv_cache import KVCache
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.models.rope import rotate


class Attention(nn.Module):
    """Causal self-attention with fewer key/value heads than query heads."""

    def __init__(self, config, linear, prefix: str):
        super().__init__()
        self.config = config
        h, d = config.hidden_size, config.head_dim
        q, kv = config.num_attention_heads * d, config.num_key_value_heads * d
        bias = config.attention_bias
        self.q_proj = linear(h, q, bias=bias, prefix=f"{prefix}.q_proj")
        self.k_proj = linear(h, kv, bias=bias, prefix=f"{prefix}.k_proj")
        self.v_proj = linear(h, kv, bias=bias, prefix=f"{prefix}.v_proj")
        self.qkv = Together(self.q_proj, self.k_proj, self.v_proj)
        self.o_proj = linear(q, h, bias=config.output_bias, prefix=f"{prefix}.o_proj")
        self.online = None  # a rotation of queries and keys after RoPE (methods.rotation: R3)
        self.register_buffer("k_scale", None)  # of a cache with static scales (methods.kv_scales): fp32, (1) or (kv_heads)
        self.register_buffer("v_scale", None)

    def forward(self, x, rope, layer: int, cache: KVCache | QuantizedKVCache | None) -> torch.Tensor:
        """x (B, T, hidden) → (B, T, hidden); reads and extends `cache` when there is one."""
        B, T, _ = x.shape
        c = self.config
        q, k, v = (t.view(B, T, -1, c.head_dim).transpose(1, 2) for t in self.qkv(x))
        y = None
        if cache is not None and T == 1 and self.online is None:
            y = cache.step(layer, q, k, v, rope)
        if y is None:
            q, k = rotate(q, *rope), rotate(k, *rope)
            if self.online is not None:
                q, k = self.online(q), self.online(k)
            y = attend(q, k, v) if cache is None else through(cache, layer, q, k, v)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))


def through(cache: KVCache | QuantizedKVCache, layer: int, q, k, v) -> torch.Tensor:
    """`attend` to all that a cache holds once k and v, turned by RoPE as q is, are in it, too."""
    k, v = cache.update(layer, k, v)
    return cache.unturn(attend(cache.turn(q), k, v))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention of the last T positions: q (B, heads, T, D), k and v (B, kv_heads, past + T, D) → like q.

    One position sees everything before it, so the query heads that share a key head can stand in for its positions: keys and
    values are read once, where they lie.
    """
    B, heads, T, D = q.shape
    kv_heads, past = k.shape[1], k.shape[2] - T
    if T == 1:
        return F.scaled_dot_product_attention(q.reshape(B, kv_heads, -1, D), k, v).reshape(B, heads, 1, D)
    k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
    mask = None if past == 0 else torch.ones(T, past + T, dtype=torch.bool, device=q.device).tril(past)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=past == 0)
