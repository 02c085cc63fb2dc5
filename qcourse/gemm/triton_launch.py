"""What the Triton doors share: tiles, how many programs, what a device can hold, and the checks at the door."""

import inspect
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from qcourse.gemm.mismatch import KernelMismatch
from qcourse.shapes import Tensor

SHARED_KB = {80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 120: 99}  # CUDA guide: shared memory a block
PROGRAMS_A_SM = 4  # as many as fit at 128 threads × 128 registers in 64 K registers


def jit(kernel):
    """triton.jit of the function as it is written: where a shape checker wraps every function (our tests), without that."""
    return triton.jit(inspect.unwrap(kernel))


@dataclass(frozen=True)
class Tile:
    """One program's work: BM tokens × BN out_features, BK bytes of a weight row a step; warps; loads in flight (stages)."""

    BM: int
    BN: int
    BK: int
    num_warps: int
    num_stages: int

    def options(self, bytes_a_step: int, arch: int) -> dict[str, int]:
        """num_warps and num_stages, with as many stages as shared memory of `arch` (80, 89, 90, …) holds."""
        fit = SHARED_KB.get(arch, 99) * 1024 // bytes_a_step
        return {"num_warps": self.num_warps, "num_stages": max(1, min(self.num_stages, fit))}


@dataclass(frozen=True)
class Launch:
    """What a kernel is compiled with and run on: the launcher and the compile tests read the same object."""

    grid: tuple[int, ...]
    constants: dict
    options: dict[str, int]


def regime(M: int) -> str:
    """Which tile: "decode" (M ≤ 16), "batch" (≤ 64), "prefill" (above)."""
    return "decode" if M <= 16 else "batch" if M <= 64 else "prefill"


def split_count(tiles: int, steps: int, processors: int) -> int:
    """Into how many parts K is cut so that few tiles still occupy every processor: a power of two, 1 if they do.

    Every part keeps at least 4 steps, or its pipeline would drain before it is full.

    >>> split_count(tiles=64, steps=64, processors=132), split_count(tiles=4096, steps=64, processors=132)
    (8, 1)
    """
    wanted = max(1, min(PROGRAMS_A_SM * processors // tiles, steps // 4))
    return 1 << (wanted.bit_length() - 1)


@jit
def tile_of(M, N, BM: tl.constexpr, BN: tl.constexpr, GROUP_M: tl.constexpr):
    """Program → (tile of M, tile of N), GROUP_M rows of tiles at a time: neighbours in time share weights in L2."""
    pid = tl.program_id(0)
    across = GROUP_M * tl.cdiv(N, BN)
    first = (pid // across) * GROUP_M
    height = tl.minimum(tl.cdiv(M, BM) - first, GROUP_M)
    return first + (pid % across) % height, (pid % across) // height


@jit
def sum_splits_kernel(part_ptr, bias_ptr, y_ptr, size, N, SPLITS: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr):
    """y = Σ_split part (SPLITS, M·N) + bias, in the order of the splits, so that every run gives the same bits."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    parts = part_ptr + i
    for _ in range(SPLITS):
        total += tl.load(parts, mask=i < size, other=0.0)
        parts += size
    if HAS_BIAS:
        total += tl.load(bias_ptr + i % N, mask=i < size, other=0.0).to(tl.float32)
    tl.store(y_ptr + i, total.to(y_ptr.dtype.element_ty), mask=i < size)


def sum_splits(parts: Tensor, bias: Tensor | None, y: Tensor) -> None:
    """parts (splits, M, N) fp32 → y (M, N), with the bias, in a second pass: no atomics, so the order is always the same."""
    grid = (triton.cdiv(y.numel(), 1024),)
    constants = {"SPLITS": len(parts), "HAS_BIAS": bias is not None, "BLOCK": 1024}
    sum_splits_kernel[grid](parts, bias, y, y.numel(), y.shape[1], **constants, num_warps=4)


INTERPRETED = not isinstance(tile_of, triton.JITFunction)  # TRITON_INTERPRET=1 was set before triton was imported


def compute_dtype(dtype: torch.dtype) -> tl.dtype:
    """The dtype of operands in registers: x's own. Triton's interpreter keeps bf16 as bits and cannot add them: fp32."""
    if dtype == torch.bfloat16:
        return tl.float32 if INTERPRETED else tl.bfloat16
    return tl.float16


def architecture(x: Tensor, kernel: str) -> tuple[int, int]:
    """(compute capability × 10, number of processors) of x's device; (90, 1) in the interpreter, which has neither.

    Raises KernelMismatch for a tensor that is not on a CUDA device.
    """
    if x.is_cuda:
        properties = torch.cuda.get_device_properties(x.device)
        return 10 * properties.major + properties.minor, properties.multi_processor_count
    if not INTERPRETED:
        raise KernelMismatch(
            f"{kernel} runs on CUDA, x is on {x.device}: move both to the GPU, use gemm.reference, or set "
            "TRITON_INTERPRET=1 before Python starts (slow: for reading and testing)"
        )
    return 90, 1


def check_bias(bias: Tensor | None, N: int, device: torch.device) -> Tensor | None:
    """The bias, contiguous. Raises ValueError unless it has N entries on x's device."""
    if bias is None:
        return None
    if bias.shape != (N,) or bias.device != device:
        raise ValueError(f"bias {tuple(bias.shape)} on {bias.device}: ({N},) on {device} expected")
    return bias.contiguous()
