"""A packed weight as the CPU kernels want it: checked once, at loading, then seen through NumPy without copying."""

from dataclasses import dataclass

import numpy as np
import torch

from qcourse.gemm.jit import has_jit
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.numerics.grids import Grid, IntGrid
from qcourse.numerics.schemes import QuantizationArgs, is_float
from qcourse.packing.packed import PackedWeight, layout_of
from qcourse.shapes import Float, Tensor

ROWS = ("row", "words")
ZERO = {bits: np.array([[1 << (bits - 1)]], np.uint8) for bits in (4, 8)}  # of a symmetric format


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


@dataclass(frozen=True)
class Operand:
    """w (N, blocks, bytes), scale and zero point of each block (N, blocks) as NumPy sees them; `p` keeps them alive.

    minus (N, groups) fp32: zero points in weight units (w = s·q - m), which a matmul of block sums subtracts; or None.
    """

    p: PackedWeight
    block: int
    w: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    minus: Float[Tensor, "N groups"] | None = None

    @property
    def num_bits(self) -> int:
        """4 or 8."""
        return self.p.args.num_bits

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
        block, minus = block_size(p.args.group_size or 128), None
        w, scale, zero = arrays(p, block)
        if p.zero_point is not None and not isinstance(p.args.zero, Grid):
            zero, minus = np.broadcast_to(np.zeros((1, 1), np.uint8), zero.shape), p.zero_point.float()
        return cls(p, block, w, scale, zero, minus)


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


def arrays(p: PackedWeight, block: int):
    """(w (N, blocks, bytes), scale and zero point of each block (N, blocks)) as NumPy sees them.

    Views, not copies, except for rows that end within a block, and for groups of several blocks (their scales repeat).
    """
    (N, K), num_bits = p.shape, p.args.num_bits
    w = p.data.contiguous().view(torch.uint8).numpy()
    blocks, size = -(-K // block), block * num_bits // 8
    if w.shape[1] != blocks * size:
        w = np.pad(w, ((0, 0), (0, max(0, blocks * size - w.shape[1]))))[:, : blocks * size]
    scale = bits(p.scale if p.scale.dtype == torch.bfloat16 else p.scale.float())
    zero = ZERO[num_bits] if p.zero_point is None else bits(p.zero_point)
    return w.reshape(N, blocks, size), each_block(scale, N, blocks), each_block(zero, N, blocks)


FEW = 4  # tokens up to which the loops of a decode step (gemm.half, gemm.step) serve
DTYPES = (torch.float32, torch.bfloat16)


def serves(*tensors: Tensor) -> bool:
    """Whether compiled loops can take these tensors: fp32 or bf16, on the CPU, no gradient wanted, numba installed."""
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not wanted and all(t.dtype in DTYPES and t.device.type == "cpu" for t in tensors) and has_jit()


def room(shape: tuple[int, ...], dtype: torch.dtype) -> np.ndarray:
    """Room for a result: bf16 as its bits, anything else in fp32."""
    return np.empty(shape, np.uint16 if dtype == torch.bfloat16 else np.float32)


def tensor(out: np.ndarray) -> Tensor:
    """What `room` gave room for, as a tensor."""
    y = torch.from_numpy(out)
    return y.view(torch.bfloat16) if out.dtype == np.uint16 else y


def bits(t: Tensor) -> np.ndarray:
    """A tensor as NumPy sees it; bf16, which NumPy has not, as its bits (uint16)."""
    t = t.detach().contiguous()
    return (t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy()


def each_block(values: np.ndarray, N: int, blocks: int) -> np.ndarray:
    """One value a group, a row or a tensor → one a block (N, blocks)."""
    if values.shape[1] not in (1, blocks):
        values = np.repeat(values, blocks // values.shape[1], axis=1)
    return np.broadcast_to(values, (N, blocks))
