"""The KV cache as a meter sees it: a model that reads its context from what a cache keeps, and the bytes of that cache.

through_cache(model, kv)     ids → logits as decode sees them: every chunk is written, then read as it is stored
token_bytes(config, kv)      bytes that one token takes in all layers, scales counted
concurrency(…)               sequences that fit a budget, in blocks of 16 tokens, with their 16-bit windows
"""

from dataclasses import dataclass

import torch

from qcourse.layers.kv_method import use_cache
from qcourse.methods.kv_scales import calibrate_kv, set_kv_scales
from qcourse.models.kv_cache import KVCache, new_cache
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.numerics.kv import KVCacheArgs, kv_args
from qcourse.shapes import Float, Integer, Tensor
from qcourse.study.cost import KV_BLOCK

CHUNK = 32


@dataclass(frozen=True)
class ThroughCache:
    """A model and a cache's recipe, to be called like the model: ids (B, T) → logits (B, T, V).

    A prompt that is read at once would attend to its own keys before they are rounded; here every `chunk` of tokens is
    written first and read as it is stored, as each token of a decode is. chunk: 1 is decode itself; larger ones are the same
    for formats without a window, and for those with one as long as the chunk is no longer than it.
    """

    model: LlamaForCausalLM
    kv: KVCacheArgs | str | None = None
    chunk: int = CHUNK

    @property
    def config(self) -> LlamaConfig:
        """The model's."""
        return self.model.config

    def parameters(self):
        """The model's."""
        return self.model.parameters()

    def cache(self, batch: int, length: int) -> KVCache | QuantizedKVCache:
        """An empty cache for so many sequences."""
        return new_cache(self.model, batch, length, self.kv)

    def __call__(self, ids: Integer[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """The logits of every position. Raises ValueError for a context longer than the model's."""
        cache = self.cache(*ids.shape)
        return torch.cat([self.model(part, cache) for part in ids.split(self.chunk, 1)], 1)


def through_cache(model: LlamaForCausalLM, kv: KVCacheArgs | str | None = None, chunk: int = CHUNK) -> ThroughCache:
    """The model with its context in a cache: kv a name of KV_PRESETS, args, "auto" for 16 bits, None for the model's own.

        perplexity(through_cache(model, "int8_per_token_head"), text)

    Raises ValueError for an unknown name, and for static scales that were not calibrated.
    """
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: at least 1 token is read at a time")
    return ThroughCache(model, kv, chunk)


def give_cache(model: LlamaForCausalLM, kv: KVCacheArgs | str, ids: Integer[Tensor, "n T"]) -> None:
    """Let a model keep its context so from now on (`model.kv_cache`); static scales are calibrated on ids.

    Raises what `kv_args`, `calibrate_kv` and `new_cache` raise.
    """
    args = kv_args(kv)
    if args is not None and args.static:
        set_kv_scales(model, args, calibrate_kv(model, ids, args))
    else:
        use_cache(model, args)
    new_cache(model, 1, 1)  # what does not fit is said now


def token_bytes(config: LlamaConfig, kv: KVCacheArgs | str | None = None) -> float:
    """Bytes of one token once it is stored: layers · kv_heads · bits of a head's K and V / 8, scales counted; kv None: 16
    bits a number."""
    args = kv_args(kv)
    each = 2 * config.head_dim * 16 if args is None else args.token_bits(config.head_dim)
    return config.num_hidden_layers * config.num_key_value_heads * each / 8


def sequence_bytes(config: LlamaConfig, context: int, kv: KVCacheArgs | str | None = None) -> float:
    """Bytes of one sequence of `context` tokens: codes in whole blocks of 16, and what its window and sinks keep in 16 bits.

    The same that `QuantizedKVCache(config, 1, context, …).nbytes` says; of a plain cache, in 16 bits.
    """
    args = kv_args(kv)
    if args is None:
        return -(-context // KV_BLOCK) * KV_BLOCK * token_bytes(config)
    heads = config.num_hidden_layers * config.num_key_value_heads
    return heads * sum(side_bytes(args, keys, config.head_dim, context) for keys in (True, False))


def side_bytes(args: KVCacheArgs, keys: bool, head_dim: int, context: int) -> float:
    """Bytes of the keys, or the values, of one head."""
    by_channel, own = keys and args.key_axis == "channel", args.keys if keys else args.values
    G = args.group if by_channel else 1
    coded = max(0, context - args.sink - args.window) // G * G
    tokens = -(-coded // KV_BLOCK) * KV_BLOCK
    waiting = args.sink + args.window + (G if by_channel else 0)
    shape = (head_dim, G) if by_channel else (1, head_dim)  # what shares scales: a group of keys, or a token
    scales = own.bits_per_weight(*shape) - own.num_bits if own.dynamic else 0
    return head_dim * (tokens * own.num_bits + (coded if by_channel else tokens) * scales + waiting * 16) / 8


def concurrency(config: LlamaConfig, budget: float, context: int, kv: KVCacheArgs | str | None = None) -> int:
    """How many sequences of `context` tokens fit `budget` bytes. Raises ValueError for a context that the model has not."""
    if not 0 < context <= config.max_position_embeddings:
        raise ValueError(f"a context of {context} tokens: the model has {config.max_position_embeddings} positions")
    return int(budget // sequence_bytes(config, context, kv))
