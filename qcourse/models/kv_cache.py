"""The KV cache: what attention remembers, and the second great eater of memory after the weights."""

import torch


class KVCache:
    """Keys and values of every layer, (layers, batch, kv_heads, max_len, head_dim), filled from the left.

    Bytes a token = 2 (K and V) · layers · kv_heads · head_dim · bytes an element: fewer heads (GQA) or fewer
    bits (notebook 10) buy concurrency. Does not handle: paging, eviction, sequences of different lengths.
    """

    def __init__(self, config, batch: int, max_len: int, dtype=torch.float32, device="cpu"):
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, max_len, config.head_dim)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

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
