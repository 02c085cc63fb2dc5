"""Half of a quantized KV cache, keys or values: packed codes and scales of every layer, and the tokens that wait in 16 bits.

A row is one sequence's kv head. Its codes lie in blocks of 16 tokens, one block behind the other, so that a decode step
reads them as one stream. A block of values has a token a line; a block of keys is turned, a line for each byte of a token,
because sixteen scores are then sums over lines, and no sum crosses the lanes of a register.

    keys     codes (layers, rows, blocks, bytes, 16)      scales by token (layers, rows, blocks, groups, 16)
    values   codes (layers, rows, blocks, 16, bytes)                 by channel (layers, rows, groups of G tokens, D)
    near     (layers, rows, sink + window (+ G), D), bf16: the sinks, then a ring in which token t has place t mod its size

Code c·r + 16·p + i of a token is bits p·B … of byte 16·r + i (c = 16 · 8/B codes in 16 bytes), so that a shift and a mask
give 16 neighbours. Signed codes are stored from 0.
"""

import torch

from qcourse.numerics.grids import IntGrid
from qcourse.numerics.kv import KVCacheArgs
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.packing.gguf_bits import gather, signed, spread, unsigned
from qcourse.shapes import Float, Shaped, Tensor, UInt8

BLOCK = 16  # tokens


def whole(n: int) -> int:
    """n, in whole blocks."""
    return -(-n // BLOCK)


def by_token(blocks: Shaped[Tensor, "rows blocks 16 n"], first: int, end: int) -> Shaped[Tensor, "rows tokens n"]:
    """Tokens first … end - 1 of what lies in blocks."""
    low = first // BLOCK
    return blocks[:, low : whole(end)].flatten(1, 2)[:, first - low * BLOCK : end - low * BLOCK]


class Side:
    """name: "k" or "v". static: one scale a row (layers, rows), or None. Tensors are zeros until they are written."""

    def __init__(self, name: str, args: KVCacheArgs, shape, max_len: int, device, static: Tensor | None):
        (layers, rows, D), self.name, self.cache = shape, name, args
        self.args = args.keys if name == "k" else args.values
        self.by_channel = name == "k" and args.key_axis == "channel"
        self.D, self.G, bits = D, args.group if self.by_channel else 1, self.args.num_bits
        grid = self.args.grid
        self.offset = 1 << (bits - 1) if isinstance(grid, IntGrid) and grid.signed else None
        self.width = 16 if D % (128 // bits) == 0 else D * bits // 8
        self.ring = args.window + (self.G if self.by_channel else 0)
        blocks, recipe = whole(self.coded(max_len)), self.args
        line = (D * bits // 8, BLOCK) if name == "k" else (BLOCK, D * bits // 8)
        at = (layers, rows, self.coded(max_len) // self.G, D) if self.by_channel else (
            layers, rows, blocks, D // (self.args.group_size or D), BLOCK)  # fmt: skip
        zeros = lambda shape, dtype: torch.zeros(shape, dtype=dtype, device=device)  # noqa: E731
        self.codes = zeros((layers, rows, blocks, *line), torch.uint8)
        self.scale = zeros((0,) if static is not None else at, recipe.scale)
        self.zero = zeros((0,) if recipe.zero is None else at, recipe.zero or recipe.scale)
        self.near = zeros((layers, rows, args.sink + self.ring, D), torch.bfloat16)
        self.static = None if static is None else static.to(device)
        self.clamped = zeros((layers, rows), torch.int64)

    def coded(self, length: int) -> int:
        """How many tokens after the sinks are codes once `length` are there: whole groups, out of the window."""
        return max(0, length - self.cache.sink - self.cache.window) // self.G * self.G

    def places(self, first: int, end: int) -> Tensor:
        """Where tokens first … end - 1, counted after the sinks, wait."""
        return self.cache.sink + torch.arange(first, end, device=self.near.device) % max(1, self.ring)

    def extend(self, layer: int, start: int, x: Float[Tensor, "rows T D"]) -> Float[Tensor, "rows past+T D"]:
        """Write T tokens from position `start` on; all of them so far, as they are stored, in x's dtype."""
        sink, near, T = self.cache.sink, self.near[layer], x.shape[1]
        done, end = self.coded(start), self.coded(start + T)
        first = min(T, max(0, sink - start))  # of the new ones, those that are sinks
        near[:, min(start, sink) : min(start + T, sink)] = x[:, :first].to(near.dtype)
        rest = x[:, first:]
        if self.ring:
            waiting = near[:, self.places(done, max(done, start - sink))]
            rest = torch.cat((waiting, rest.to(near.dtype)), 1)
        if end > done:
            self.write(layer, done, rest[:, : end - done])
        rest = rest[:, end - done :]
        if self.ring:
            near[:, self.places(end, end + rest.shape[1])] = rest
        parts = near[:, : min(start + T, sink)], self.read(layer, 0, end), rest
        return torch.cat([t.to(x.dtype) for t in parts], 1)

    def go_back(self, layer: int, reached: int, length: int) -> None:
        """Undo what came after `length`: tokens that wait in 16 bits there, and are codes by now, wait again."""
        first, end = self.coded(length), min(self.coded(reached), -(-(length - self.cache.sink) // self.G) * self.G)
        if end > first and self.ring:
            back = self.read(layer, first, end)[:, : length - self.cache.sink - first]
            self.near[layer][:, self.places(first, first + back.shape[1])] = back.to(self.near.dtype)

    def complete(self, layer: int, length: int) -> None:
        """By channel: write the codes of the group that leaves the window when position `length` comes, if one does."""
        first, end = self.coded(length), self.coded(length + 1)
        if end > first:
            self.write(layer, first, self.near[layer][:, self.places(first, end)])

    def lines(self, layer: int) -> UInt8[Tensor, "rows blocks 16 bytes"]:
        """The codes of a layer, a token a line: a view."""
        return self.codes[layer].transpose(2, 3) if self.name == "k" else self.codes[layer]

    def write(self, layer: int, first: int, x: Float[Tensor, "rows n D"]) -> None:
        """x → the codes of tokens first … first + n - 1 (after the sinks). By channel, both are whole groups."""
        end, (rows, n, D) = first + x.shape[1], x.shape
        t = torch.arange(first, end, device=x.device)
        if self.static is not None:
            s = self.static[layer].view(-1, 1, 1)
            codes = self.args.grid.encode(x.float() / s)
            self.clamped[layer] += (x.abs() > self.args.grid.limit * (1 + 2.0**-20) * s).sum((1, 2))
        elif self.by_channel:
            q = quantize(x.transpose(1, 2), self.args, f"keys of layer {layer}")
            codes = q.codes.transpose(1, 2)
            for kept, mine in self.stored(q):
                kept[layer][:, first // self.G : end // self.G] = mine.view(rows, D, -1).transpose(1, 2)
        else:
            q = quantize(x, self.args, f"{'keys' if self.name == 'k' else 'values'} of layer {layer}")
            codes = q.codes
            for kept, mine in self.stored(q):
                kept[layer][:, t // BLOCK, :, t % BLOCK] = mine.view(rows, n, -1).transpose(0, 1)
        packed = gather(unsigned(codes, self.offset), self.args.num_bits, self.width)
        self.lines(layer)[:, t // BLOCK, t % BLOCK] = packed

    def stored(self, q: QTensor) -> list[tuple[Tensor, Tensor]]:
        """(where they are kept, what `quantize` found) of scales and minima."""
        pairs = [(self.scale, q.scale)]
        return pairs if q.zero_point is None else [*pairs, (self.zero, q.zero_point)]

    def read(self, layer: int, first: int, end: int) -> Float[Tensor, "rows n D"]:
        """Tokens first … end - 1 (after the sinks) as their codes say, fp32. By channel, both are whole groups."""
        rows, n, args = self.codes.shape[1], end - first, self.args
        if n == 0:
            return torch.zeros(rows, 0, self.D, device=self.codes.device)
        packed = by_token(self.lines(layer), first, end)
        codes = signed(spread(packed, args.num_bits, self.width), self.offset)
        if self.static is not None:
            return args.grid.decode(codes) * self.static[layer].view(-1, 1, 1)
        kept = [t[layer] if t.numel() else None for t in (self.scale, self.zero)]
        if self.by_channel:
            at = slice(first // self.G, end // self.G)
            s, z = (None if t is None else t[:, at].transpose(1, 2).reshape(rows * self.D, -1) for t in kept)
            return dequantize(QTensor(codes.transpose(1, 2), s, z, args)).transpose(1, 2)
        s, z = (None if t is None else by_token(t.transpose(2, 3), first, end).reshape(rows * n, -1) for t in kept)
        return dequantize(QTensor(codes, s, z, args))

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        kept = (self.codes, self.scale, self.zero, self.near, *([] if self.static is None else [self.static]))
        return sum(t.nbytes for t in kept)

    def used(self, length: int) -> int:
        """Bytes that `length` tokens take: codes and their scales in whole blocks, the others in 16 bits."""
        layers, rows = self.codes.shape[:2]
        coded, plain = self.coded(length), min(length, self.cache.sink)
        waiting = length - plain - coded if self.ring else 0
        a_block = lambda t: t.shape[3:].numel() * t.element_size()  # noqa: E731
        each = whole(coded) * a_block(self.codes)
        for t in (self.scale, self.zero):
            each += 0 if not t.numel() else (coded // self.G if self.by_channel else whole(coded)) * a_block(t)
        return layers * rows * (each + (plain + waiting) * self.D * 2) + (0 if self.static is None else self.static.nbytes)
