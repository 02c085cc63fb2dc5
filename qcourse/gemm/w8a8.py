"""Both sides in 8 bits: the only kind of quantization that also speeds up the arithmetic (invariant 3).

    int8   y = (x_q · w_qᵀ in int32) · s_x · s_w      the sum is exact; scales come in afterwards
    fp8    y = (x_q · w_qᵀ in fp32)  · s_x · s_w      tensor cores multiply E4M3 directly

A scale can leave the sum only if it does not depend on k: one a token for x, one a channel for w.
"""

from array import array

import torch

from qcourse.gemm.activations import quantize_input
from qcourse.gemm.cpu import check_codes8, int8_dots
from qcourse.gemm.jit import has_jit, loop
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.operand import KINDS, described, serves
from qcourse.gemm.threads import run
from qcourse.numerics.grids import E4M3, IntGrid
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.packed import PackedWeight
from qcourse.shapes import Float, Integer, Tensor, UInt8

EXACT = 1024  # products of int8 codes that fp32 adds exactly: 128 · 128 · 1024 = 2^24


def torch_int8_matmul(x: Integer[Tensor, "M K"], w: Integer[Tensor, "N K"]) -> Integer[Tensor, "M N"]:
    """x @ w.T of int8 codes in int32, exactly, by torch: `torch._int_mm` where it has instructions for it.

    On CUDA that wants M > 16, so few tokens are padded. On a processor without AVX-512 it is a plain loop, many times slower
    than an fp32 product: there, stretches of K that fp32 adds exactly are multiplied as floats.
    """
    check_codes8(x, w)
    if not x.is_cuda and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        parts = zip(x.split(EXACT, 1), w.split(EXACT, 1), strict=True)
        return torch.stack([(a.float() @ b.float().T).int() for a, b in parts]).sum(0, dtype=torch.int32)
    padded = torch.nn.functional.pad(x, (0, 0, 0, max(0, 17 - len(x)))) if x.is_cuda else x
    return torch._int_mm(padded.contiguous(), w.T)[: len(x)]


def has_scaled_mm(device: torch.device) -> bool:
    """FP8 tensor cores behind `torch._scaled_mm`: CUDA with compute capability 8.9 or higher."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def fp8_matmul(
    x: UInt8[Tensor, "M K"], w: UInt8[Tensor, "N K"], x_scale: Float[Tensor, "rows 1"], w_scale: Float[Tensor, "channels 1"]
) -> Float[Tensor, "M N"]:
    """(x · s_x) @ (w · s_w).T of E4M3 codes, in fp32 (bf16 on CUDA): `torch._scaled_mm` where the device has it.

    Scales are (M, 1) or (1, 1) for x and (N, 1) or (1, 1) for w. Elsewhere torch widens the codes to fp32 first: the same
    products, no speed.
    """
    if has_scaled_mm(x.device) and x.shape[1] % 16 == 0 and len(w) % 16 == 0:  # what the tensor cores take
        a, b = x.view(torch.float8_e4m3fn), w.view(torch.float8_e4m3fn).T
        rows, columns = x_scale.expand(len(x), 1).contiguous(), w_scale.expand(len(w), 1).T.contiguous()
        return torch._scaled_mm(a, b, rows, columns, out_dtype=torch.bfloat16)
    a, b = (codes.view(torch.float8_e4m3fn).float() for codes in (x, w))
    return (a @ b.T) * x_scale * w_scale.T


def whole_rows(args: QuantizationArgs | None) -> bool:
    """One scale a row (a channel, a token) or one for all, in plain floats and without zero points."""
    return args is not None and args.group_size is None and args.granularity.rows in (1, None) and args.symmetric


def takes_int8(weights: QuantizationArgs, activations: QuantizationArgs | None) -> bool:
    """int8 × int8, scales outside of the sum."""
    both = (weights, activations)
    return all(whole_rows(a) and isinstance(a.grid, IntGrid) and a.num_bits == 8 for a in both)


def takes_fp8(weights: QuantizationArgs, activations: QuantizationArgs | None) -> bool:
    """E4M3 × E4M3, scales outside of the sum."""
    return all(whole_rows(a) and a.grid == E4M3 for a in (weights, activations))


class W8A8:
    """A product with quantized activations: y = (x_q @ w_q.T) · s_x · s_w + bias, in x's dtype. Made once, by `choose`."""

    def __init__(self, p: PackedWeight, activations: QuantizationArgs, input_scale: Tensor | None = None):
        if p.layout != "plain" or p.zero_point is not None:
            raise KernelMismatch(f"layout {p.layout!r}: products of codes read 'plain' codes without zero points")
        self.codes, self.scale = p.data, p.scale.float()
        self.activations, self.input_scale = activations, input_scale

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (..., K) → (..., N)."""
        flat = x.reshape(-1, x.shape[-1])
        if not len(flat):  # no tokens: nothing to find a scale of
            return x.new_empty(*x.shape[:-1], len(self.codes))
        codes, scale = self.quantize(flat)
        y = self.multiply(codes, scale, x.dtype).view(*x.shape[:-1], -1)
        return y if bias is None else y + bias

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (M, K) → codes and their scale (M or 1, 1). Raises ValueError for NaN or inf."""
        return quantize_input(x, self.activations, self.input_scale)

    def multiply(self, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """Codes of x and their scale → y (M, N) in `dtype`."""
        raise NotImplementedError


class Int8(W8A8):
    """int8 on both sides; before and after the product, one pass each where loops can be compiled."""

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same codes and scales as `quantize_input`."""
        if self.input_scale is not None or not serves(x):
            return super().quantize(x)
        x, codes, scale = x.contiguous(), torch.empty(x.shape, dtype=torch.int8), torch.empty(len(x), 1)
        from qcourse.gemm.int8_loops import quantize_tokens  # needs numba

        a = array("q", (0, 0, *described(x), *described(codes), *described(scale), x.dtype == torch.bfloat16))
        run(quantize_tokens, a, len(x), x.numel())
        return (codes, scale) if torch.isfinite(scale).all() else super().quantize(x)  # which says where

    def multiply(self, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """Exact in int32, then the two scales."""
        sums = self.sums(codes)
        if dtype not in KINDS or sums.is_cuda or not has_jit():
            return (sums.float() * scale * self.scale.T).to(dtype)
        sums, y = sums.contiguous(), torch.empty(sums.shape, dtype=dtype)
        a = array("q", (0, 0, *described(sums), *described(scale), *described(self.scale.view(1, -1)), *described(y)))
        run(loop("int8_loops", "scale_sums", KINDS[dtype]), a, len(y), y.numel())
        return y

    def sums(self, codes: Tensor) -> Tensor:
        """Products of codes, summed in int32 (M, N)."""
        raise NotImplementedError


class Int8Dots(Int8):
    """Few tokens on the CPU: our own loop (`torch._int_mm` first reorders all of w there)."""

    def sums(self, codes: Tensor) -> Tensor:
        """`int8_dots`."""
        return int8_dots(codes, self.codes)


class IntMM(Int8):
    """Many tokens, and CUDA: `torch._int_mm`."""

    def sums(self, codes: Tensor) -> Tensor:
        """`torch_int8_matmul`."""
        return torch_int8_matmul(codes, self.codes)


class ScaledMM(W8A8):
    """E4M3 on both sides: tensor cores where there are any, else widened to fp32."""

    def multiply(self, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """`fp8_matmul`."""
        return fp8_matmul(codes, self.codes, scale, self.scale).to(dtype)
