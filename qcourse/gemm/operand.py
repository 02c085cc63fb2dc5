"""A packed weight as the CPU kernels want it: checked once, at loading, then seen through NumPy without copying."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from qcourse.gemm.jit import has_jit
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.numerics.grids import Grid, IntGrid
from qcourse.numerics.schemes import QuantizationArgs, is_float
from qcourse.packing.bits import to_unsigned
from qcourse.packing.packed import PackedWeight, layout_of
from qcourse.shapes import Float, Tensor

ROWS = ("row", "words")


def block_size(group: int) -> int | None:
    """Weights that share one activation scale: the largest of 128, 64, 32, 16 that divides G; None if none does."""
    return next((b for b in (128, 64, 32, 16) if group % b == 0), None)


def takes(args: QuantizationArgs) -> bool:
    """Whether these kernels know the format: integers of 4 or 8 bits with one scale a row or G a multiple of 16; scales in
    plain floats."""
    if not isinstance(args.grid, IntGrid) or args.num_bits not in (4, 8) or not is_float(args.scale):
        return False
    if args.granularity.rows not in (1, None) or not (args.zero is None or is_float(args.zero) or args.zero == args.grid):
        return False
    return args.group_size is None or args.group_size % 16 == 0


def takes_blocks(args: QuantizationArgs | None) -> bool:
    """Whether activations are int8 with one scale for each 16, 32, 64 or 128 columns, found from the token itself."""
    if args is None or not args.dynamic or not args.symmetric or args.scale != torch.float32:
        return False
    return args.grid == IntGrid(8) and args.granularity.rows == 1 and args.group_size in (16, 32, 64, 128)


ROOM = 256  # bytes that a vector loop may read beyond a row


@dataclass(frozen=True)
class Operand:
    """w (N, bytes), scale and zero point (N, groups) as NumPy sees them; `p` keeps them alive.

    group: columns that share a scale, None when all of a row do · block: columns that can share an activation scale
    zero: None when all are `middle` · last: the last rows of w, scale and zero (or a row of `middle`), with ROOM behind
    minus (N, groups) fp32: what a matmul of group sums subtracts, for zero points in weight units; or None. Codes are
    centred, w = s·q - m = s·(q - 8) - (m - 8·s), so that x, which is rounded, meets numbers of w's size
    """

    p: PackedWeight
    group: int | None
    block: int
    w: np.ndarray
    scale: np.ndarray
    zero: np.ndarray | None
    last: tuple[np.ndarray, np.ndarray, np.ndarray]
    minus: Float[Tensor, "N groups"] | None = None
    known: dict = field(default_factory=dict, compare=False)  # loops that were chosen for it, by what x is

    @cached_property
    def described(self) -> list[int]:
        """w, scale and zero, and the last rows of each: address, rows, columns of every array."""
        w, scale, zero = self.last
        arrays = (self.w, self.scale, self.zero if self.zero is not None else zero, w, scale, zero)
        return [n for a in arrays for n in (a.ctypes.data, *a.shape)]

    @property
    def num_bits(self) -> int:
        """4 or 8."""
        return self.p.args.num_bits

    @property
    def middle(self) -> int:
        """The zero point that all codes share, if they do: half of their range."""
        return 1 << (self.num_bits - 1)

    @classmethod
    def of(cls, p: "PackedWeight | Operand") -> "Operand":
        """Raise KernelMismatch for a weight or device that these kernels do not read, ValueError for tensors that do not
        fit each other."""
        if isinstance(p, Operand):
            return p
        if p.data.device.type != "cpu":
            raise KernelMismatch(f"CPU kernel, but the weight is on {p.data.device}: load the model with device='cpu'")
        if p.layout not in ROWS or not takes(p.args):
            raise KernelMismatch(f"layout {p.layout!r}, {p.args.grid}, {p.args.granularity}: the CPU kernels do not read it")
        layout_of(p.layout).check(p.tensors, p.args.with_(scale=p.scale.dtype), *p.shape)
        N, G = p.shape[0], p.args.group_size
        block = block_size(G or 128)
        group = G if G is None or G & (G - 1) == 0 else block  # others: each block gets a copy of its group's scale
        repeat, minus, zero = 1 if G is None else G // group, None, None
        if p.zero_point is not None and isinstance(p.args.zero, Grid):
            zero = each_group(bits(to_unsigned(p.zero_point, p.args.num_bits)), N, repeat)  # shifted as the codes are
        elif p.zero_point is not None:
            minus = p.zero_point.float() - (1 << (p.args.num_bits - 1)) * p.scale.float()
        rows = p.data.contiguous().view(torch.uint8).numpy()
        arrays = rows, each_group(scale_bits(p.scale), N, repeat), zero
        spans = [ROOM / max(1, arrays[0].shape[1])] + ([16 / arrays[1].shape[1]] if group is not None else [])
        rows = min(N, math.ceil(max(spans)))  # that a vector of bytes, or of scales, may reach into
        last = [with_room(a[N - rows :]) for a in arrays if a is not None]
        if zero is None:
            last.append(np.full((1, ROOM), 1 << (p.args.num_bits - 1), np.uint8))
        return cls(p, group, block, *arrays, tuple(last), minus)


def with_room(rows: np.ndarray) -> np.ndarray:
    """A copy of these rows, in memory that goes on for ROOM numbers (zeros) behind the last."""
    flat = np.zeros(rows.size + ROOM, rows.dtype)
    flat[: rows.size] = rows.reshape(-1)
    return flat[: rows.size].reshape(rows.shape)


def each_group(values: np.ndarray, N: int, repeat: int) -> np.ndarray:
    """One value a group, a row or a tensor → one a row and group, `repeat` times each: a view where nothing changes."""
    values = values if len(values) == N else np.repeat(values, N, axis=0)
    return np.ascontiguousarray(values if repeat == 1 else np.repeat(values, repeat, axis=1))


def scale_bits(scale: Tensor) -> np.ndarray:
    """Scales as compiled loops take them: fp32, bf16 bits (uint16), fp16 bits (int16, only where all are finite)."""
    if scale.dtype == torch.float16 and torch.isfinite(scale).all():
        return scale.detach().contiguous().view(torch.int16).numpy()
    return bits(scale if scale.dtype == torch.bfloat16 else scale.float())


def check(x: Tensor, o: Operand, bias: Tensor | None = None) -> None:
    """Raise KernelMismatch for x on another device, ValueError/TypeError for another K, dtype or bias."""
    if x.device.type != "cpu":
        raise KernelMismatch(
            f"CPU kernel, but x is on {x.device}: load the model with the device it will run on "
            "(load_model(..., device=...)), so that its kernel is chosen there"
        )
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"x is {x.dtype}: a floating dtype expected (float32, bfloat16 or float16)")
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError("x requires a gradient, and this kernel has no backward: call the Product of `choose(p)` instead")
    N, K = o.p.shape
    if x.dim() == 0 or x.shape[-1] != K:
        raise ValueError(f"x has K={x.shape[-1] if x.dim() else 'nothing'}, the weight (N, K) = {o.p.shape}")
    if bias is not None and (bias.shape != (N,) or bias.dtype != x.dtype):
        raise ValueError(f"bias {tuple(bias.shape)} {bias.dtype}: ({N},) {x.dtype} expected")


FEW = 4  # tokens up to which the loops of a decode step (gemm.half, gemm.step) serve
DTYPES = (torch.float32, torch.bfloat16)


def serves(*tensors: Tensor) -> bool:
    """Whether compiled loops can take these tensors: fp32 or bf16, on the CPU, no gradient wanted, numba installed."""
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not wanted and all(t.dtype in DTYPES and t.device.type == "cpu" for t in tensors) and has_jit()


def described(t: Tensor, *shape: int) -> tuple[int, int, int]:
    """A contiguous matrix as tasks take it: address, rows, columns (as `shape` if that is given)."""
    return (t.data_ptr(), *(shape or t.shape))


KINDS = {torch.float32: np.float32, torch.bfloat16: np.uint16}  # what compiled loops see of a tensor


def bits(t: Tensor) -> np.ndarray:
    """A tensor as NumPy sees it; bf16, which NumPy has not, as its bits (uint16)."""
    t = t.detach().contiguous()
    return (t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy()
