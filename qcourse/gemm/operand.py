"""A packed weight as the CPU kernels want it: checked once, then seen through NumPy without copying."""

import numpy as np
import torch

from qcourse.gemm.mismatch import KernelMismatch
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.packed import PackedWeight
from qcourse.shapes import Tensor

LAYOUTS = ("row", "compressed-tensors")  # the same bytes: a word's first code lies lowest, and so does its first byte
ZERO = {bits: np.array([[1 << (bits - 1)]], np.uint8) for bits in (4, 8)}  # of a symmetric format


def block_size(group: int) -> int | None:
    """Weights that share one activation scale: the largest of 128, 64, 32, 16 that divides G; None if none does."""
    return next((b for b in (128, 64, 32, 16) if group % b == 0), None)


def takes(args: QuantizationArgs) -> bool:
    """Whether these kernels know the format: 4-bit integers with one scale a row or G a multiple of 16, or 8-bit ones
    with one scale a row or G a multiple of 128."""
    if not isinstance(args.grid, IntGrid) or args.num_bits not in (4, 8):
        return False
    return args.group_size is None or args.group_size % (16 if args.num_bits == 4 else 128) == 0


def check(x: Tensor, p: PackedWeight, bias: Tensor | None = None) -> None:
    """Raise KernelMismatch for a weight or device that these kernels do not read, ValueError/TypeError for all else."""
    if x.device.type != "cpu" or p.data.device.type != "cpu":
        raise KernelMismatch(
            f"CPU kernel, but x is on {x.device} and the weight on {p.data.device}: load the model with the device "
            "it will run on (load_model(..., device=...)), so that its kernel is chosen there"
        )
    if p.layout not in LAYOUTS or not takes(p.args):
        raise KernelMismatch(f"layout {p.layout!r}, {p.args.grid}, G={p.args.group_size}: the CPU kernels do not read it")
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"x is {x.dtype}: a floating dtype expected (float32, bfloat16 or float16)")
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError("x requires a gradient, and this kernel has no backward: call the Choice of `choose(p)` instead")
    if x.dim() == 0 or x.shape[-1] != p.shape[1]:
        raise ValueError(f"x has K={x.shape[-1] if x.dim() else 'nothing'}, the weight (N, K) = {p.shape}")
    if bias is not None and (bias.shape != p.shape[:1] or bias.dtype != x.dtype):
        raise ValueError(f"bias {tuple(bias.shape)} {bias.dtype}: ({p.shape[0]},) {x.dtype} expected")
    check_weight(p)


def check_weight(p: PackedWeight) -> None:
    """Raise ValueError when the tensors of p are not of the size that its `shape` and `args` say."""
    (N, K), num_bits = p.shape, p.args.num_bits
    units, size = (-(-K * num_bits // 8), 1) if p.layout == "row" else (-(-K * num_bits // 32), 4)
    if p.data.shape != (N, units) or p.data.element_size() != size:
        raise ValueError(f"data {tuple(p.data.shape)} {p.data.dtype} does not hold (N, K) = {p.shape} at {num_bits} bits")
    groups = K // p.args.group_size if p.args.group_size else 1
    for name, t in (("scale", p.scale), ("zero_point", p.zero_point)):
        if t is not None and t.shape not in ((N, groups), (1, 1)):
            raise ValueError(f"{name} {tuple(t.shape)}: ({N}, {groups}) expected")


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
    zero = ZERO[num_bits] if p.zero_point is None else p.zero_point.contiguous().numpy()
    return w.reshape(N, blocks, size), each_block(scale, N, blocks), each_block(zero, N, blocks)


def bits(t: Tensor) -> np.ndarray:
    """An fp32 tensor as NumPy sees it; bf16, which NumPy has not, as its bits (uint16)."""
    t = t.detach().contiguous()
    return (t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy()


def each_block(values: np.ndarray, N: int, blocks: int) -> np.ndarray:
    """One value a group, a row or a tensor → one a block (N, blocks)."""
    if values.shape[1] not in (1, blocks):
        values = np.repeat(values, blocks // values.shape[1], axis=1)
    return np.broadcast_to(values, (N, blocks))
