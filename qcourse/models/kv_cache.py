"""The KV cache: what attention remembers, and the second great eater of memory after the weights."""

import torch

from qcourse.gemm.step import attend
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.numerics.kv import KVCacheArgs, kv_args, name_of

PATHS = ("cpu",)  # devices on which packed codes are written and read (tested)


class KVCache:
    """Keys and values of every layer, (layers, batch, kv_heads, max_len, head_dim), filled from the left.

    Bytes a token = 2 (K and V) · layers · kv_heads · head_dim · bytes an element: fewer heads (GQA) or fewer
    bits (`quantized_kv`, notebook 10) buy concurrency. Does not handle: paging, eviction, sequences of different lengths.

    Attention asks a cache four things and never which numbers it keeps: `turn` (queries as its keys are), `step`, `update`,
    `unturn` (what was gathered, as its values were).
    """

    def __init__(self, config, batch: int, max_len: int, dtype=torch.float32, device="cpu"):
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, max_len, config.head_dim)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    def turn(self, q: torch.Tensor) -> torch.Tensor:
        """Queries, as the keys are kept: as they are."""
        return q

    def unturn(self, y: torch.Tensor) -> torch.Tensor:
        """What attention gathered, as the values were: as it is."""
        return y

    def step(self, layer: int, q, k, v, rope: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor | None:
        """One position of one sequence, before RoPE: writes k and v, returns what q (1, heads, 1, D) gathers; None, and
        nothing written, where the compiled loop cannot serve. Raises ValueError when the cache is full."""
        return attend(q, k, v, *rope, *self.room(layer), self.length)

    def update(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write T new positions of one layer; return all keys and values so far (batch, kv_heads, length+T, D).

        Raises ValueError when the cache is full: nothing is dropped silently.
        """
        end = self.length + k.shape[2]
        self.refuse_beyond(end)
        self.k[layer, :, :, self.length : end] = k
        self.v[layer, :, :, self.length : end] = v
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]

    def room(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """All of a layer's keys and values (batch, kv_heads, max_len, D), for a kernel that writes the next position itself.

        Raises ValueError when the cache is full.
        """
        self.refuse_beyond(self.length + 1)
        return self.k[layer], self.v[layer]

    def refuse_beyond(self, end: int) -> None:
        """Raise ValueError unless `end` positions fit."""
        if end > self.k.shape[3]:
            raise ValueError(f"KV cache is full: {end} positions needed, {self.k.shape[3]} allocated (max_len)")

    @property
    def nbytes(self) -> int:
        """Bytes allocated for K and V together."""
        return self.k.nbytes + self.v.nbytes


def new_cache(
    model, batch: int, max_len: int, kv: str | KVCacheArgs | None = None, dtype: torch.dtype | None = None
) -> KVCache | QuantizedKVCache:
    """An empty cache for a model, on its device.

    kv: a name of KV_PRESETS or a recipe; "auto": not quantized; None: what the model itself says (`model.kv_cache`, from its
    file or from `set_kv_scales`), not quantized where it says nothing. dtype: of what attention computes with (None: the
    model's activations).

    Raises ValueError for more positions than the model has, a batch below 1, an unknown name, a head that the recipe does
    not divide, a device without a path, and static scales that are missing or no scales.
    """
    most, device = model.config.max_position_embeddings, next(model.parameters()).device
    dtype = dtype or model.compute_dtype
    if batch < 1 or max_len < 1:
        raise ValueError(f"a cache for batch={batch}, max_len={max_len}: both at least 1")
    if max_len > most:
        raise ValueError(f"max_len={max_len}: the model has {most} positions (max_position_embeddings)")
    args = kv_args(model.kv_cache if kv is None else kv)
    if args is None:
        return KVCache(model.config, batch, max_len, dtype, device)
    if device.type not in PATHS:
        raise ValueError(f"{name_of(args)} has no path on {device.type} here: {' or '.join(PATHS)}, or kv='auto'")
    return QuantizedKVCache(model.config, batch, max_len, args, dtype, device, static_scales(model, args))


def static_scales(model, args: KVCacheArgs) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
    """(k_scale, v_scale) of every layer, where the recipe needs them. Raises ValueError naming the first that is missing."""
    if not args.static:
        return None
    found = []
    for prefix, layer in model.attentions().items():
        if layer.k_scale is None or layer.v_scale is None:
            raise ValueError(
                f"{name_of(args)} needs fixed scales, and {prefix} has no k_scale and v_scale: "
                "set_kv_scales(model, args, calibrate_kv(model, ids, args)) finds them"
            )
        found.append((layer.k_scale, layer.v_scale))
    return found
