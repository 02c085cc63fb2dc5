"""Small products by the Triton doors, judged against the reference in fp64: run by test_triton.py in the interpreter and by
test_triton_gpu.py on a device.

    TRITON_INTERPRET=1 python tests/gemm/triton_cases.py         one JSON line a case: {"case", "ratio"} or {"case", "error"}

ratio = largest |y - exact| / bound over the outputs; the law says ≤ 1. Bounds, with u = 2^-8 for bf16, 2^-11 for fp16
(in the interpreter 2^-7 for bf16: it cuts the low bits off where a GPU rounds; a test below pins that down):

    sum        (K + 20) additions and multiplications in fp32, 2^-24 each, relative to Σ|x||ŵ| + |bias|; tensor cores
               truncate instead of rounding: 2^-23
    weight     u·Σ|x||ŵ|, only where a group is finer than a step, so that ŵ is rounded to x's dtype; FP4's ŵ fits into it
    output     u·|y|, the last rounding
"""

import json
from dataclasses import dataclass, replace

import numpy as np
import torch
import triton
import triton.language as tl

from qcourse.gemm import triton_fp4, triton_w8a8, triton_weight_only
from qcourse.gemm.reference import reference
from qcourse.gemm.triton_weight_only import (
    TILES,
    Format,
    mxfp4a16_matmul,
    nvfp4a16_matmul,
    w4a16_matmul,
    w8a16_matmul,
)
from qcourse.numerics.codebooks import E8M0
from qcourse.numerics.formats import MXFP4_ARGS, NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.granularity import per_channel, per_group, per_tensor
from qcourse.numerics.grids import E2M1, E4M3, FloatGrid, IntGrid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import (
    E5M2,
    FP8_TENSOR,
    FP8_TOKEN,
    INT8_TOKEN,
    PRESETS,
    QuantizationArgs,
    fp8_weight,
    int_weight,
)
from qcourse.packing.packed import PackedWeight, pack, unpack

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def u(dtype, y):
    """Largest relative error of one rounding to dtype where y lives."""
    return {BF16: 2**-8 if y.is_cuda else 2**-7, FP16: 2**-11, FP32: 2**-24}[dtype]


def with_tensors(p, **changed):
    """A packed weight with some of its tensors changed (a script of its own: it cannot import the tests' bounds)."""
    return replace(p, tensors=p.tensors | changed)


@dataclass(frozen=True)
class Weights:
    """y (M, N) from packed weights; group 0 is per channel, -1 per tensor."""

    bits: int
    M: int
    N: int
    K: int
    group: int = 0
    symmetric: bool = True
    dtype: torch.dtype = BF16
    bias: bool = False
    layout: str = "words"
    signed: bool = False  # codes and zero points of TorchAO, and of compressed-tensors' int-quantized

    def args(self):
        granularity = {0: per_channel, -1: per_tensor}.get(self.group) or per_group(self.group)
        if self.signed:
            return QuantizationArgs(IntGrid(self.bits), granularity, "minmax", zero=IntGrid(self.bits))
        return int_weight(self.bits, granularity, self.symmetric)

    def operands(self, device):
        p = pack(quantize(torch.randn(self.N, self.K, device=device), self.args()), self.layout)
        bias = torch.randn(self.N, device=device).to(self.dtype) if self.bias else None
        return torch.randn(self.M, self.K, device=device).to(self.dtype), p, bias

    def door(self):
        return {4: w4a16_matmul, 8: w8a16_matmul}[self.bits]

    def step(self):
        return TILES["decode"].BK * 8 // self.bits  # codes a step

    def rounded(self, x):
        """Largest relative error of a weight on its way into the tensor core."""
        return u(self.dtype, x) if 0 < self.group < self.step() else 0

    def ratio(self, device, law=lambda p: p):
        """`law` may change the weight that the exact product uses: a mistake that the bound must notice."""
        x, p, bias = self.operands(device)
        y = self.door()(x, p, bias)
        b = torch.zeros(self.N, device=device).double() if bias is None else bias.double()
        exact = reference(x.double(), law(p), b)  # in fp64: the law without its own rounding
        size = x.double().abs() @ dequantize(unpack(p)).double().abs().T + b.abs()
        one = 2**-23 if x.is_cuda else 2**-24
        return worst(y, exact, (self.rounded(x) + (self.K + 20) * one) * size, self.dtype)


@dataclass(frozen=True, kw_only=True)
class FP4(Weights):
    """E2M1 weights in the layout of a file; their scales leave them exact."""

    bits: int = 4
    stored: QuantizationArgs = NVFP4_ARGS
    layout: str | None = None  # the first that holds them

    def args(self):
        return self.stored

    def door(self):
        return {16: nvfp4a16_matmul, 32: mxfp4a16_matmul}[self.stored.group_size]

    def rounded(self, x):
        return 0


@dataclass(frozen=True)
class Codes:
    """y (M, N) from 8-bit codes on both sides."""

    kind: str
    M: int
    N: int
    K: int
    per_tensor: bool = False
    out: torch.dtype = BF16
    bias: bool = False

    def operands(self, device):
        channel, tensor = (INT8_TOKEN, PRESETS["W8A8"]), (INT8_TOKEN, PRESETS["W8A16_TENSOR"])
        if self.kind == "fp8":
            channel, tensor = (FP8_TOKEN, PRESETS["FP8_DYNAMIC"]), (FP8_TENSOR, PRESETS["FP8"])
        x, scheme = tensor if self.per_tensor else channel
        w = scheme.weights
        x = x.with_(granularity=per_tensor) if self.per_tensor else x
        x, w = (
            quantize(torch.randn(self.M, self.K, device=device), x),
            quantize(torch.randn(self.N, self.K, device=device), w),
        )
        return x, w, torch.randn(self.N, device=device).to(self.out) if self.bias else None

    def ratio(self, device):
        x, w, bias = self.operands(device)
        door = {"int8": triton_w8a8.int8_w8a8_matmul, "fp8": triton_w8a8.fp8_w8a8_matmul}[self.kind]
        y = door(x.codes, w.codes, x.scale, w.scale.float(), self.out, bias)
        X, W = (q.args.grid.decode(q.codes).double() for q in (x, w))
        b = torch.zeros(self.N, device=device).double() if bias is None else bias.double()
        exact = X @ W.T * x.scale.double() * w.scale.double().T + b
        size = X.abs() @ W.abs().T * x.scale.double() * w.scale.double().T + b.abs()
        if self.kind == "int8":  # the sum is exact; int32 → fp32, two scales and the bias are four roundings
            return worst(y, exact, 4 * 2**-24 * (exact.abs() + 2 * b.abs()), self.out)
        one, step = (2**-23, 2**-13) if x.codes.is_cuda else (2**-24, 0)  # Hopper aligns a step's products to 14 bits
        return worst(y, exact, ((self.K + 4) * one + step) * size, self.out)


def worst(y, exact, bound, out):
    """Largest error over its bound, with the output's own rounding."""
    assert y.dtype == out and y.shape == exact.shape
    bound = bound + u(out, y) * (exact.abs() + bound) + 1e-30
    return ((y.double() - exact).abs() / bound).max().item()


CASES = {  # every regime, both widths, symmetric or not, every kind of group, odd sizes, both dtypes
    "w4 decode": Weights(4, 1, 33, 256, 128),
    "w4 decode, bias, fp16": Weights(4, 3, 64, 128, 128, bias=True, dtype=FP16),
    "w4 decode, zero points": Weights(4, 2, 40, 256, 128, symmetric=False),
    "w4 decode, zero points, fp16": Weights(4, 16, 16, 128, 64, symmetric=False, dtype=FP16),
    "w4 decode, G=16": Weights(4, 3, 17, 64, 16),
    "w4 decode, G=32, zero points": Weights(4, 3, 17, 160, 32, symmetric=False),
    "w4 decode, per channel, K=100": Weights(4, 3, 9, 100),
    "w4 decode, per channel, K=3": Weights(4, 3, 9, 3, symmetric=False),
    "w4 decode, signed zero points": Weights(4, 2, 9, 64, 32, signed=True),
    "w8 decode, signed zero points": Weights(8, 2, 9, 50, signed=True),
    "w4 decode, per tensor": Weights(4, 1, 5, 64, -1),
    "w4 decode, K split": Weights(4, 5, 33, 2048, 128, bias=True),
    "w4 decode, K split unevenly": Weights(4, 1, 7, 1664, 128, symmetric=False),
    "w4 batch": Weights(4, 17, 33, 128, 128, layout="row"),
    "w4 batch, zero points, G=32, bias": Weights(4, 19, 20, 192, 32, symmetric=False, bias=True),
    "w4 batch, per channel, K=99": Weights(4, 64, 8, 99, dtype=FP16),
    "w4 prefill": Weights(4, 65, 33, 128, 128),
    "w4 prefill, G=64": Weights(4, 130, 9, 192, 64, symmetric=False, bias=True),
    "w8 decode": Weights(8, 1, 33, 64, layout="row"),
    "w8 decode, G=128, fp16": Weights(8, 3, 17, 256, 128, dtype=FP16, bias=True),
    "w8 decode, zero points, G=32": Weights(8, 3, 17, 96, 32, symmetric=False),
    "w8 decode, zero points": Weights(8, 2, 8, 50, symmetric=False),
    "w8 batch, per tensor": Weights(8, 17, 20, 100, -1),
    "w8 prefill, zero points": Weights(8, 70, 20, 101, symmetric=False, bias=True),
    "nvfp4 decode": FP4(M=1, N=33, K=256),
    "nvfp4 decode, K=16, fp16": FP4(M=16, N=7, K=16, dtype=FP16),
    "nvfp4 decode, bias, fp16": FP4(M=3, N=17, K=208, dtype=FP16, bias=True),
    "nvfp4 decode, K split": FP4(M=5, N=33, K=2048, bias=True),
    "nvfp4 batch, bias": FP4(M=19, N=20, K=144, bias=True),
    "nvfp4 batch, fp16": FP4(M=17, N=130, K=128, dtype=FP16),
    "nvfp4 prefill": FP4(M=65, N=33, K=272),
    "nvfp4 decode, ModelOpt": FP4(M=2, N=9, K=96, stored=NVFP4_MODELOPT, dtype=FP16),
    "nvfp4 prefill, ModelOpt, bias": FP4(M=130, N=9, K=192, stored=NVFP4_MODELOPT, bias=True),
    "mxfp4 decode": FP4(M=1, N=33, K=256, stored=MXFP4_ARGS, layout="mxfp4-pack-quantized"),
    "mxfp4 decode, K=32, fp16, bias": FP4(M=3, N=17, K=32, stored=MXFP4_ARGS, dtype=FP16, bias=True),
    "mxfp4 decode, K split unevenly": FP4(M=1, N=7, K=1664, stored=MXFP4_ARGS, layout="mxfp4-pack-quantized"),
    "mxfp4 batch, row": FP4(M=17, N=20, K=160, stored=MXFP4_ARGS, layout="row"),
    "mxfp4 prefill, words, fp16": FP4(M=70, N=130, K=96, stored=MXFP4_ARGS, layout="words", dtype=FP16, bias=True),
    "int8 decode": Codes("int8", 1, 33, 64),
    "int8 decode, fp32, bias": Codes("int8", 3, 17, 300, out=FP32, bias=True),
    "int8 batch, per tensor": Codes("int8", 17, 20, 100, per_tensor=True, out=FP16),
    "int8 prefill": Codes("int8", 65, 20, 128, out=FP32),
    "fp8 decode, per token": Codes("fp8", 1, 33, 64, out=FP32),
    "fp8 decode, per tensor, bias": Codes("fp8", 3, 17, 300, per_tensor=True, bias=True),
    "fp8 batch, per token": Codes("fp8", 17, 20, 48, out=FP16),
    "fp8 prefill, per tensor": Codes("fp8", 65, 20, 128, per_tensor=True, out=FP32),
}  # fmt: skip


def exactness(device):
    """int8 sums are integers: with scales of 1 and an fp32 output they come out equal, not close."""
    x, w = (torch.randint(-128, 128, (r, 200), dtype=torch.int8, device=device) for r in (5, 9))
    one = torch.ones(1, 1, device=device)
    y = triton_w8a8.int8_w8a8_matmul(x, w, one, one, FP32)
    assert torch.equal(y.double(), x.double() @ w.double().T)
    return 0.0


def bf16_is_cut_not_rounded(device):
    """The reason for the interpreter's 2^-7; when this fails, Triton rounds there too and the bound can be halved."""
    x = torch.randn(1, 1000, device=device)
    y = torch.empty(1000, dtype=BF16, device=device)
    triton_weight_only.triton_launch.sum_splits(x.view(1, 1, 1000), None, y.view(1, 1000))
    assert torch.equal(y, x[0].bfloat16()) if x.is_cuda else (y.abs() <= x[0].abs()).all() and (y != x[0].bfloat16()).any()
    return 0.0


@triton.jit
def unpack_e3m0(units, j: tl.constexpr, zero, DTYPE: tl.constexpr, COMPUTE: tl.constexpr):
    """Nibble s.eee → ±2^(e - 3), and 0 for e = 0: a sign and an exponent, nothing else."""
    code = (units >> (4 * j)) & 0xF
    e = code & 7
    eighths = tl.where(e > 0, 1 << e, 0)
    return tl.where(code >= 8, -eighths, eighths).to(tl.float32).to(DTYPE).to(COMPUTE) * 0.125


def a_new_format(device):
    """E3M0 joins by its unpack step and one line in FORMATS; returns the largest ratio."""
    triton_weight_only.FORMATS["e3m0"] = Format(unpack_e3m0)
    try:
        return max(
            E3M0(4, M, 33, 256, G, dtype=dtype).ratio(device)
            for M, G, dtype in ((1, 128, BF16), (3, 32, FP16), (17, 64, BF16))
        )
    finally:
        del triton_weight_only.FORMATS["e3m0"]


class E3M0(Weights):
    """Powers of two instead of integers."""

    def args(self):
        return QuantizationArgs(FloatGrid("e3m0", 3, 0, bias=3, max=16.0), per_group(self.group))

    def door(self):
        return lambda x, p, bias: triton_weight_only.weight_only(x, p, bias, "e3m0", "powers of two")


@triton.jit
def decode_kernel(in_ptr, out_ptr, DECODE: tl.constexpr, COMPUTE: tl.constexpr):
    """256 bytes of scales, as fp32."""
    i = tl.arange(0, 256)
    tl.store(out_ptr + i, DECODE(tl.load(in_ptr + i), COMPUTE).to(tl.float32))


@triton.jit
def unpack_kernel(in_ptr, out_ptr, j: tl.constexpr, DTYPE: tl.constexpr, COMPUTE: tl.constexpr):
    """Nibble j of 256 units, as fp32."""
    i = tl.program_id(0) * 256 + tl.arange(0, 256)
    tl.store(out_ptr + i, triton_fp4.unpack_e2m1(tl.load(in_ptr + i), j, 0, DTYPE, COMPUTE).to(tl.float32))


def fp4_bits(device):
    """Every nibble and every byte of scale is what its grid says: subnormals, signs, NaN; in fp16 and bf16."""
    codes = torch.arange(256, device=device).to(torch.uint8)
    units = torch.arange(-(2**15), 2**15, device=device).to(torch.int16)
    for dtype, name in ((FP16, tl.float16), (BF16, tl.bfloat16)):
        compute = triton_weight_only.triton_launch.compute_dtype(dtype)
        for decode, grid in ((triton_fp4.from_e4m3, E4M3), (triton_fp4.from_e8m0, E8M0)):
            out = torch.empty(256, device=device)
            decode_kernel[(1,)](codes, out, decode, compute)
            assert torch.equal(out.isnan(), grid.decode(codes).isnan())
            assert torch.equal(out.nan_to_num(0), grid.decode(codes).nan_to_num(0)), (grid, dtype)
        for j in range(4):
            out = torch.empty(len(units), device=device)
            unpack_kernel[(len(units) // 256,)](units, out, j, name, compute)
            assert torch.equal(out, E2M1.decode(((units >> 4 * j) & 15).to(torch.uint8))), (j, dtype)
    return 0.0


FP4_FILES = {16: "nvfp4-pack-quantized", 32: "mxfp4-pack-quantized"}


def every_code(args, device):
    """W (scales, G) with all 16 codes in each row and all scales of its format, t = 2^-6, as it lies in a file.

    Without E8M0's 2^-127 and 2^-126: half of them is no normal number in bf16, and the interpreter loses those.
    """
    scale = torch.arange(0 if args is NVFP4_ARGS else 2, 256, device=device).to(torch.uint8).view(-1, 1)
    codes = torch.arange(16, device=device).to(torch.uint8).repeat(len(scale), args.group_size // 16)
    if args is NVFP4_ARGS:
        scale = QTensor(scale, torch.full((1, 1), 2.0**-6, device=device).double(), None, args.scale)
    return pack(QTensor(codes, scale, None, args), FP4_FILES[args.group_size])


def fp4_is_exact(device):
    """All codes under all scales come out of the product as they are in x's dtype: x picks them one by one."""
    for args, door in ((NVFP4_ARGS, nvfp4a16_matmul), (MXFP4_ARGS, mxfp4a16_matmul)):
        p = every_code(args, device)
        for dtype, M in ((d, M) for d in (BF16, FP16) for M in (16, 64, 128)):
            pick = torch.eye(args.group_size, device=device, dtype=dtype).repeat(M // 16, 1)[:M]
            with np.errstate(over="ignore", invalid="ignore"):  # scales that no half holds, and NaN
                y = door(pick, p)[: args.group_size].T
            W = dequantize(unpack(p)).to(dtype)
            finite = W.isfinite().all(1)  # where one is not, 0 · inf makes all sums of its row NaN
            assert torch.equal(y[finite], W[finite, : y.shape[1]]), (args.scale, dtype, M)
            assert not y[~finite].isfinite().any() and 0 < (~finite).sum() < 128
    return 0.0


def no_tokens(device):
    x, p, _ = Weights(4, 1, 8, 64, 32).operands(device)
    assert w4a16_matmul(x[:0], p).shape == (0, 8)
    codes, one = torch.zeros(3, 32, dtype=torch.int8, device=device), torch.ones(1, 1, device=device)
    assert triton_w8a8.int8_w8a8_matmul(codes[:0], codes, one, one).shape == (0, 3)
    return 0.0


def views(device):
    """Strided x, leading axes, and a transposed scale mean the same numbers."""
    x, p, _ = Weights(4, 6, 8, 64, 32).operands(device)
    y = w4a16_matmul(x, p)
    assert torch.equal(w4a16_matmul(x.T.contiguous().T, p), y)
    assert torch.equal(w4a16_matmul(x.view(2, 3, 64), p), y.view(2, 3, 8))
    assert torch.equal(w4a16_matmul(x, with_tensors(p, scale=p.scale.T.contiguous().T)), y)
    assert torch.equal(w4a16_matmul(x, p), y)  # the same bits again
    return 0.0


def mistakes(device):
    """The bounds notice a zero point off by one, a lost group, and FP4's last bit; returns 1 / the smallest ratio."""
    grouped = Weights(4, 3, 16, 256, 128, symmetric=False)
    nvfp4 = FP4(M=3, N=16, K=256)
    seen = [grouped.ratio(device, lambda p: with_tensors(p, zero_point=p.zero_point ^ 1)),
            grouped.ratio(device, lambda p: with_tensors(p, scale=p.scale.flip(1))),
            nvfp4.ratio(device, lambda p: with_tensors(p, weight_packed=p.data ^ 0x10)),
            nvfp4.ratio(device, lambda p: with_tensors(p, weight_scale=p.tensors["weight_scale"].view(torch.uint8).flip(1)
                                                       .view(torch.float8_e4m3fn)))]  # fmt: skip
    return 1 / min(seen)


def refusals(device):
    """What is not understood is refused: door → (call, words that the message must hold)."""
    x, p, _ = Weights(4, 2, 16, 96, 48).operands(device)
    good = Weights(4, 2, 16, 64, 32).operands(device)[1]
    e5m2 = pack(quantize(torch.randn(16, 96, device=device), fp8_weight(E5M2, per_channel)))
    odd = PackedWeight(
        {"qweight": torch.zeros(16, 49, dtype=torch.uint8, device=device), "scale": p.scale}, (16, 98), good.args
    )
    codes, one = torch.zeros(3, 32, dtype=torch.int8, device=device), torch.ones(1, 1, device=device)
    nvfp4 = FP4(M=2, N=16, K=64).operands(device)[1]
    mxfp4 = quantize(torch.randn(16, 64, device=device), MXFP4_ARGS)
    int8, fp8 = triton_w8a8.int8_w8a8_matmul, triton_w8a8.fp8_w8a8_matmul
    return {
        "KernelMismatch: group_size=48": lambda: w4a16_matmul(x, p),
        "KernelMismatch: layout 'gptq'": lambda: w4a16_matmul(x[:, :64], pack(unpack(good), "gptq")),
        "KernelMismatch: the weight is int4": lambda: w8a16_matmul(x[:, :64], good),
        "KernelMismatch: the weight is e5m2": lambda: w8a16_matmul(x, e5m2),
        "KernelMismatch: the weight is e2m1 × e4m3: this kernel unpacks int4": lambda: w4a16_matmul(x[:, :64], nvfp4),
        "KernelMismatch: the weight is e2m1 × e8m0: this": lambda: nvfp4a16_matmul(x[:, :64], pack(mxfp4)),
        "KernelMismatch: the weight is int4: this kernel unpacks e2m1": lambda: mxfp4a16_matmul(x[:, :64], good),
        "KernelMismatch: layout 'plain'": lambda: mxfp4a16_matmul(x[:, :64], pack(mxfp4, "plain")),
        "ValueError: x has K=96, the weight (N, K) = (16, 64)": lambda: nvfp4a16_matmul(x, nvfp4),
        "TypeError: x is torch.float32: nvfp4a16_matmul": lambda: nvfp4a16_matmul(x[:, :64].float(), nvfp4),
        "KernelMismatch: K=98": lambda: w4a16_matmul(torch.zeros(1, 98, dtype=BF16, device=device), odd),
        "ValueError: x has K=96": lambda: w4a16_matmul(x, good),
        "TypeError: x is torch.float32": lambda: w4a16_matmul(x[:, :64].float(), good),
        "ValueError: bias (3,)": lambda: w4a16_matmul(x[:, :64], good, x[0, :3]),
        "TypeError: int8 codes expected": lambda: int8(codes.view(torch.uint8), codes, one, one),
        "ValueError: x has K=32, w has K=16": lambda: int8(codes, codes[:, :16], one, one),
        "ValueError: K=131072": lambda: int8(*[torch.zeros(1, 131072, dtype=torch.int8, device=device)] * 2, one, one),
        "ValueError: x_scale of shape (2, 1)": lambda: int8(codes, codes, one.expand(2, 1), one),
        "TypeError: out_dtype=torch.int32": lambda: int8(codes, codes, one, one, torch.int32),
        "TypeError: E4M3 codes expected": lambda: fp8(codes, codes, one, one),
    }


def refused(call):
    """ "Name: message" of the error that `call` raises, or "nothing"."""
    try:
        call()
    except (ValueError, TypeError) as e:
        return f"{type(e).__name__}: {e}"
    return "nothing"


FACTS = {
    "int8 is exact": exactness,
    "bf16 is cut": bf16_is_cut_not_rounded,
    "a new format": a_new_format,
    "fp4 bits": fp4_bits,
    "fp4 is exact": fp4_is_exact,
    "no tokens": no_tokens,
    "views": views,
    "mistakes are seen": mistakes,
}


def main(device="cpu"):
    for name, case in CASES.items():
        torch.manual_seed(0)
        print(json.dumps({"case": name, "ratio": case.ratio(device)}), flush=True)
    for name, fact in FACTS.items():
        print(json.dumps({"case": name, "ratio": fact(device)}), flush=True)
    for words, call in refusals(device).items():
        print(json.dumps({"case": words, "error": refused(call)}), flush=True)


if __name__ == "__main__":
    assert triton_weight_only.triton_launch.INTERPRETED, "set TRITON_INTERPRET=1"
    main()
