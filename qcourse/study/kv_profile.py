"""What attention keeps of a text, and what rounding makes of it, one layer at a time. Notebook 10.

kept(model, ids)      queries, keys and values of a window, as each layer's attention sees them
loudness(x)           how much louder the loudest channel is than the median one
stored(heads, kv)     keys and values as a cache of that recipe gives them back
errors(heads, kv)     what that does to keys, values, scores, and to what attention gathers
"""

from dataclasses import dataclass, replace

import torch

from qcourse.models.attention import attend
from qcourse.models.kv_cache import new_cache
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.models.rope import rope_tables, rotate
from qcourse.numerics.kv import KVCacheArgs, kv_args
from qcourse.shapes import Float, Integer, Tensor
from qcourse.study.insides import listening


@dataclass(frozen=True)
class Heads:
    """One layer of one window, after RoPE: queries q (heads, T, D), keys k and values v (kv_heads, T, D), fp32."""

    config: LlamaConfig
    q: Float[Tensor, "heads T D"]
    k: Float[Tensor, "kv_heads T D"]
    v: Float[Tensor, "kv_heads T D"]

    def before(self) -> Float[Tensor, "kv_heads T D"]:
        """The keys before RoPE: turned back, each by its own angle."""
        cos, sin = rope_tables(self.config, torch.arange(self.k.shape[1]))
        return rotate(self.k, cos, -sin)


@torch.inference_mode()
def kept(model: LlamaForCausalLM, ids: Integer[Tensor, "1 T"]) -> list[Heads]:
    """Run a window through a cache in 32 bits, and take each layer's keys and values out of it; the queries beside them."""
    c, T = model.config, ids.shape[1]
    q, cache = [None] * c.num_hidden_layers, new_cache(model, 1, T, "auto", torch.float32)
    with listening([layer.self_attn.q_proj for layer in model.model.layers], lambda i, x, out: q.__setitem__(i, out)):
        model(ids, cache)
    rope = rope_tables(c, torch.arange(T))
    turned = [rotate(x.float().view(T, c.num_attention_heads, c.head_dim).transpose(0, 1), *rope) for x in q]
    return [Heads(c, *parts) for parts in zip(turned, cache.k[:, 0], cache.v[:, 0], strict=True)]


def rms(x: Float[Tensor, "heads T D"], axis: int) -> Tensor:
    """The root mean square along an axis: 1 of each channel, 2 of each token."""
    return x.square().mean(axis).sqrt()


def loudness(x: Float[Tensor, "heads T D"], axis: int = 1) -> Float[Tensor, " heads"]:
    """Of each head, the rms of the loudest channel over that of the median one (axis 2: of the tokens)."""
    loud = rms(x, axis)
    return loud.amax(1) / loud.median(1).values


def static_scales(heads: Heads, args: KVCacheArgs) -> list[tuple[Tensor, Tensor]]:
    """What calibration on this very window would find: max|x| / limit, of the layer or of each head."""
    pair = []
    for x, side in ((heads.k, args.keys), (heads.v, args.values)):
        loud = x.abs().amax((1, 2)) if args.per_head else x.abs().amax().view(1)
        pair.append(loud / side.grid.limit)
    return [(pair[0], pair[1])]


def stored(heads: Heads, kv: KVCacheArgs | str) -> tuple[Tensor, Tensor]:
    """(k, v) as a cache gives them back once all of the window is in it; a rotation is taken back, too.

    Raises what `QuantizedKVCache` raises.
    """
    args, T = kv_args(kv), heads.k.shape[1]
    scales = static_scales(heads, args) if args.static else None
    cache = QuantizedKVCache(replace(heads.config, num_hidden_layers=1), 1, T, args, scales=scales)
    k, v = cache.update(0, heads.k[None], heads.v[None])
    return cache.unturn(k)[0], cache.unturn(v)[0]


def scores(q: Float[Tensor, "heads T D"], k: Float[Tensor, "kv_heads T D"]) -> Float[Tensor, "heads T T"]:
    """q · k / √D of every query and the tokens up to its own; 0 beyond."""
    k = k.repeat_interleave(len(q) // len(k), 0)
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).tril()


def shares(heads: Heads) -> Float[Tensor, "heads T T"]:
    """What each query gives to each token: softmax over the tokens up to its own, 0 beyond."""
    s = scores(heads.q, heads.k)
    return s.masked_fill(torch.ones_like(s, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)


def errors(heads: Heads, kv: KVCacheArgs | str) -> dict[str, float]:
    """Relative errors of "keys", "values" and "output" (what attention gathers), and that of "scores": their rms in nats,
    without what all scores of a query have in common (softmax does not see it)."""
    k, v = stored(heads, kv)
    off = scores(heads.q, k) - scores(heads.q, heads.k)
    seen = torch.arange(1, off.shape[-1] + 1)  # tokens before each query, and its own
    variance = off.square().sum(2) / seen - (off.sum(2) / seen).square()
    exact, other = (attend(heads.q[None], a[None], b[None]) for a, b in ((heads.k, heads.v), (k, v)))
    pairs = {"keys": (k, heads.k), "values": (v, heads.v), "output": (other, exact)}
    found = {name: ((a - b).norm() / b.norm()).item() for name, (a, b) in pairs.items()}
    return found | {"scores": variance.clamp(min=0).mean().sqrt().item()}
