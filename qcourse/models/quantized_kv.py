"""A KV cache of packed codes: numerics.kv says how numbers are rounded, models.kv_side where their bytes lie.

    new token ─(rotate)→ 16 bits, while in the window ─→ codes and scales, in blocks of 16 tokens
    decode: the compiled loop (gemm.kv) reads the bytes as they lie; anything else dequantizes all of them for torch

What is stored depends on the length that was reached and on the numbers that were written, not on the chunks they came in:
how many tokens are codes is a function of the length alone (`Side.coded`). So a chunk that is longer than the window meets
keys and values as they are stored after it, its own included; in decode a token meets its neighbours in 16 bits. Setting
`length` back is allowed; positions that have been rounded since then come back as their codes say.
"""

import torch

from qcourse.gemm.kv import KVStep
from qcourse.methods.hadamard import hadamard, hadamard_transform, orders_of
from qcourse.models.kv_side import Side
from qcourse.numerics.kv import KVCacheArgs

LARGEST = torch.finfo(torch.bfloat16).max  # what a bf16 scale, or a number that waits in bf16, can be


class QuantizedKVCache:
    """Keys and values of every layer as `args` says, for `batch` sequences of up to `max_len` tokens.

    Codes are packed (int4 two a byte, int2 four), dynamic scales and minima as the recipe says (bf16 in every preset).
    Windows and sinks are bf16: rounded to 8 bits of mantissa first, |error| ≤ 2⁻⁹·|x|, where the activations are fp32;
    nothing is lost where they are bf16.

    length   tokens so far; the model adds to it after its last layer
    nbytes   what is allocated · used: what `length` tokens take of it · clamped: numbers beyond a static scale, so far
    scales   static: scales[layer] = (k_scale, v_scale), one number or one a kv head; stored = value / scale

    Raises ValueError for a head that does not divide, and for scales that are missing or not positive and finite.
    Does not handle: paging, eviction, sequences of different lengths.
    """

    def __init__(self, config, batch: int, max_len: int, args: KVCacheArgs, dtype=torch.float32, device="cpu", scales=None):
        c, D, each = config, config.head_dim, config.num_attention_heads // config.num_key_value_heads
        args.check(D)
        if args.rotate:
            orders_of(D)  # raises where there is no such matrix
        self.args, self.batch, self.max_len, self.dtype, self.length = args, batch, max_len, dtype, 0
        self.kv_heads, rows = c.num_key_value_heads, batch * c.num_key_value_heads
        if args.static and (scales is None or len(scales) != c.num_hidden_layers):
            raise ValueError(
                f"static scales of {c.num_hidden_layers} layers expected, {len(scales or ())} given (calibrate_kv)"
            )
        pairs = zip(*scales, strict=True) if args.static else (None, None)
        shape = (c.num_hidden_layers, rows, D)
        self.k, self.v = (
            Side(name, args, shape, max_len, device, self.spread(name, of)) for name, of in zip("kv", pairs, strict=True)
        )
        self.reached = [0] * c.num_hidden_layers  # tokens that each layer has written
        self.compiled = KVStep(self.k, self.v, each, args.rotate)

    def spread(self, name: str, scales) -> torch.Tensor | None:
        """One static scale a row (layers, batch · kv_heads), fp32. Raises ValueError for what is no scale, naming it."""
        if scales is None:
            return None
        wanted, found = self.kv_heads if self.args.per_head else 1, []
        for layer, scale in enumerate(scales):
            s = torch.as_tensor(scale).detach().float().flatten()
            if len(s) != wanted:
                raise ValueError(f"{name}_scale of layer {layer} holds {len(s)} numbers: {wanted} expected")
            bad = ~(torch.isfinite(s) & (s >= torch.finfo(torch.float32).tiny))
            if bad.any():
                raise ValueError(
                    f"{name}_scale of layer {layer} is {s[bad][0].item():.3g}: a positive, finite number expected; "
                    "calibrate again (calibrate_kv)"
                )
            found.append(s.expand(self.kv_heads).repeat(self.batch))
        return torch.stack(found)

    def turn(self, q: torch.Tensor) -> torch.Tensor:
        """Queries, as the keys are kept: x H for each head (rotate), or as they are."""
        return hadamard_transform(q) if self.args.rotate else q

    def unturn(self, y: torch.Tensor) -> torch.Tensor:
        """What attention gathered, as the values were: y Hᵀ, or as it is."""
        if not self.args.rotate:
            return y
        return (y.float() @ hadamard(y.shape[-1]).T.to(y.device)).to(y.dtype)

    def step(self, layer: int, q, k, v, rope: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor | None:
        """One position, before RoPE: writes k and v (batch, kv_heads, 1, D), returns what q (batch, heads, 1, D) gathers
        from the packed codes; None, and nothing written, where the compiled loop cannot serve. Raises what `update` does."""
        self.begin(layer, k)
        y = self.compiled(layer, self.length, q, k, v, *rope)
        if y is not None:
            self.reached[layer] = self.length + 1
        return y

    def update(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write T new positions (batch, kv_heads, T, D) of one layer; return all keys and values so far as they are stored,
        turned if the recipe rotates: (batch, kv_heads, length + T, D) in k's dtype.

        Raises ValueError, before anything is written, when the cache is full or a number is not finite, naming the layer.
        """
        self.begin(layer, k)
        for name, x in (("keys", k), ("values", v)):
            self.refuse_nonfinite(layer, name, x)
        found = []
        for side, x in ((self.k, k), (self.v, v)):
            every = side.extend(layer, self.length, self.turn(x).flatten(0, 1))
            found.append(every.unflatten(0, (self.batch, self.kv_heads)))
        self.reached[layer] = self.length + k.shape[2]
        return found[0], found[1]

    def begin(self, layer: int, k: torch.Tensor) -> None:
        """Make ready for new positions at `length`: raise ValueError where they do not fit, and go back where the layer has
        been further already (length was set back, or a forward pass did not come to its end)."""
        end = self.length + k.shape[2]
        if k.shape[:2] != (self.batch, self.kv_heads):
            raise ValueError(f"keys (batch, heads) {tuple(k.shape[:2])}: this cache is for {(self.batch, self.kv_heads)}")
        if end > self.max_len:
            raise ValueError(f"KV cache is full: {end} positions needed, {self.max_len} allocated (max_len)")
        if self.reached[layer] < self.length:
            raise ValueError(f"length={self.length}, but layer {layer} has written {self.reached[layer]} positions")
        if self.reached[layer] > self.length:
            for side in (self.k, self.v):
                side.go_back(layer, self.reached[layer], self.length)
            self.reached[layer] = self.length

    @staticmethod
    def refuse_nonfinite(layer: int, name: str, x: torch.Tensor) -> None:
        """Raise ValueError for NaN, inf, or more than bf16 can hold."""
        bad = ~(x.abs() <= LARGEST)
        if bad.any():
            raise ValueError(f"{name} of layer {layer} hold {x[bad][0].item()}: only finite numbers can be kept")

    @property
    def nbytes(self) -> int:
        """Bytes allocated: codes, scales, windows, sinks."""
        return self.k.nbytes + self.v.nbytes

    @property
    def used(self) -> int:
        """Bytes that `length` tokens take, in blocks of 16."""
        return self.k.used(self.length) + self.v.used(self.length)

    @property
    def clamped(self) -> int:
        """Numbers that lay beyond a static scale's range, and were moved to its end, so far."""
        return int(self.k.clamped.sum() + self.v.clamped.sum())
