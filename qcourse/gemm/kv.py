"""The attention of a decode step over a quantized KV cache, where the compiled loop (gemm.kv_loops) can serve: fp32 or bf16
on the CPU, whole vectors of 16 channels, numba installed. One loop serves all formats, shapes and both dtypes.
"""

from array import array
from math import gcd
from typing import Protocol, runtime_checkable

import torch

from qcourse.gemm import kv_places as of
from qcourse.gemm.jit import loop
from qcourse.gemm.operand import serves
from qcourse.gemm.threads import SMALL, run
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.grids import E4M3, E5M2
from qcourse.numerics.kv import KVCacheArgs
from qcourse.shapes import Float, Tensor

LEAST = 256  # tokens that a thread should have to read


@runtime_checkable
class Kept(Protocol):
    """Keys or values as models.kv_side keeps them: what the loop reads and writes in place."""

    args: QuantizationArgs
    cache: KVCacheArgs
    codes: Tensor
    scale: Tensor
    zero: Tensor
    near: Tensor
    static: Tensor | None
    clamped: Tensor
    offset: int | None
    ring: int
    width: int
    by_channel: bool
    G: int
    D: int

    def coded(self, length: int) -> int:
        """How many tokens after the sinks are codes once `length` are there."""

    def complete(self, layer: int, length: int) -> None:
        """By channel: write the codes of the group that leaves the window when position `length` comes, if one does."""


def kind(args: QuantizationArgs) -> int:
    """How the loop takes codes apart."""
    return {E4M3: of.E4M3, E5M2: of.E5M2}.get(args.grid, {8: of.BYTE, 4: of.NIBBLE, 2: of.CRUMB}[args.num_bits])


def address(t: Tensor | None, layer: int) -> int:
    """That of one layer of a tensor; 0 where there is none."""
    return 0 if t is None or not t.numel() else t[layer].data_ptr()


def described(side: Kept, layer: int) -> dict[int, int]:
    """What `a` holds of one side of one layer in every step."""
    grid, groups = side.args.grid, 1 if side.by_channel else side.D // (side.args.group_size or side.D)
    low, high = getattr(grid, "qmin", 0), getattr(grid, "qmax", 0)
    tensors = {of.CODES: side.codes, of.SCALE: side.scale, of.ZERO: side.zero, of.NEAR: side.near, of.STATIC: side.static,
               of.CLAMPED: side.clamped}  # fmt: skip
    numbers = {of.KIND: kind(side.args), of.GROUPS: groups, of.TOKENS: side.G, of.RING: side.ring,
               of.BLOCKS: side.codes.shape[2], of.OFFSET: side.offset or 0, of.LOW: low, of.HIGH: high,
               of.LIMIT: round(2 * grid.limit), of.PLACES: side.near.shape[2]}  # fmt: skip
    return {place: address(t, layer) for place, t in tensors.items()} | numbers


class KVStep:
    """One position of a quantized cache: (layer, length, q, k, v, cos, sin) → y, or None where the loop cannot serve."""

    def __init__(self, keys: Kept, values: Kept, each: int, rotate: bool):
        self.sides, self.each, self.rotate = (keys, values), each, rotate
        self.known: dict[int, array] = {}
        self.rows, D = keys.codes.shape[1], keys.D
        groups = [D // (s.args.group_size or D) for s in self.sides if not s.by_channel]
        self.possible = (
            all(s.width == 16 and s.codes.device.type == "cpu" for s in self.sides)
            and all(D // g % 16 == 0 for g in groups)
            and all(t.dtype == torch.bfloat16 for s in self.sides for t in (s.scale, s.zero) if t.numel())
            and not (keys.by_channel and (keys.G % 16 or keys.cache.window == 0))
            and not (rotate and D & (D - 1))
        )
        self.unit, self.partial = max(16, keys.G), torch.empty(0)
        self.counters, self.trouble = array("q", [0] * self.rows), array("q", [0])

    def __call__(
        self, layer: int, length: int, q: Float[Tensor, "B heads T D"], k: Float[Tensor, "B kv T D"],
        v: Float[Tensor, "B kv T D"], cos: Float[Tensor, "T D"], sin: Float[Tensor, "T D"],
    ) -> Float[Tensor, "B heads T D"] | None:  # fmt: skip
        """Turns q and k, writes k and v at `length`, gathers positions 0 … length; None, and nothing written, where the loop
        cannot serve or a number is not finite."""
        if not self.possible or q.shape[2] != 1 or not serves(q, k, v, cos) or {k.dtype, v.dtype, cos.dtype} != {q.dtype}:
            return None
        q, k, v, cos, sin = (t.contiguous() for t in (q, k, v, cos, sin))
        y, work, (keys, values) = torch.empty_like(q), 2 * q.numel() * (length + 1), self.sides
        if keys.by_channel:
            keys.complete(layer, length)
        k_done, v_done, a = keys.coded(length), values.coded(length), self.described(layer)[:]
        split = min(k_done, v_done) // self.unit * self.unit
        pieces = max(1, min(self.pieces(work), split // LEAST))
        a[of.Q], a[of.K], a[of.V] = q.data_ptr(), k.data_ptr(), v.data_ptr()
        a[of.COS], a[of.SIN], a[of.Y] = cos.data_ptr(), sin.data_ptr(), y.data_ptr()
        a[of.PAST], a[of.HALF] = length, q.dtype == torch.bfloat16
        a[of.PARTIAL], a[of.PIECES], a[of.SPLIT] = self.room(pieces, q.shape[3]), pieces, split
        a[of.KEYS + of.DONE], a[of.KEYS + of.END] = k_done, keys.coded(length + 1)
        a[of.VALUES + of.DONE], a[of.VALUES + of.END] = v_done, values.coded(length + 1)
        run(loop("kv_loops", "attend"), a, self.rows * pieces, work, self.rows * pieces)
        if self.trouble[0]:
            self.trouble[0] = 0
            return None
        return y

    def __reduce__(self):
        """A copy is made anew: what is known of the sides are addresses, and those of a copy are others."""
        return KVStep, (*self.sides, self.each, self.rotate)

    def pieces(self, work: int) -> int:
        """Into how many pieces a row's context is cut, so that all threads have as much to do."""
        threads = torch.get_num_threads() if work >= SMALL else 1
        return threads // gcd(self.rows, threads)

    def room(self, pieces: int, D: int) -> int:
        """The address of memory for what the pieces leave behind."""
        size = self.rows * pieces * self.each * (D + of.EXTRA)
        if self.partial.numel() < size:
            self.partial = torch.empty(size)
        return self.partial.data_ptr()

    def described(self, layer: int) -> array:
        """What `a` holds in every step of a layer, made once."""
        if layer not in self.known:
            keys, a = self.sides[0], array("q", [0] * of.END_OF_A)
            a[of.EACH], a[of.DIM], a[of.ROWS], a[of.UNIT] = self.each, keys.D, self.rows, self.unit
            a[of.ROTATE], a[of.SINK] = self.rotate, keys.cache.sink
            a[of.COUNTERS], a[of.TROUBLE] = self.counters.buffer_info()[0], self.trouble.buffer_info()[0]
            for first, side in zip((of.KEYS, of.VALUES), self.sides, strict=True):
                for place, number in described(side, layer).items():
                    a[first + place] = number
            self.known[layer] = a
        return self.known[layer]
