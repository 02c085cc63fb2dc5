"""What benchmarks.gemm_gpu times: our Triton products and what others offer, all on the same random weight W (N, K)."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from qcourse.gemm.reference import reference
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import FP8_TENSOR, FP8_TOKEN, INT8_TOKEN, PRESETS
from qcourse.packing.packed import pack, unpack

G = 128


@dataclass(frozen=True)
class Kernel:
    """prepare(x) → what call(prepared, weight) takes; law(prepared) → y in fp32; nbytes: one weight with its scales."""

    name: str
    weights: list
    nbytes: int
    call: Callable
    law: Callable
    prepare: Callable = lambda x: x
    least: int = 1  # smallest M it takes


EIGHT_BITS = {  # kind: (activations, preset of the weights)
    "int8": (INT8_TOKEN, "W8A8"),
    "fp8 token": (FP8_TOKEN, "FP8_DYNAMIC"),
    "fp8 tensor": (FP8_TENSOR, "FP8"),
}


def nbytes(*tensors) -> int:
    """Bytes of the tensors that are there."""
    return sum(t.nbytes for t in tensors if t is not None)


def weight_only(W, copies: int) -> list[Kernel]:
    """Ours, W4A16 (G = 128) and W8A16 (per channel)."""
    from qcourse.gemm.triton_weight_only import w4a16_matmul, w8a16_matmul

    kernels = []
    for name, call in (("W4A16", w4a16_matmul), ("W8A16", w8a16_matmul)):
        p = pack(quantize(W, PRESETS[name].weights), "words")
        weights = [replace(p, tensors={n: t.clone() for n, t in p.tensors.items()}) for _ in range(copies)]
        law = lambda x, p=p: reference(x.float(), p)  # noqa: E731
        kernels.append(Kernel(f"{name} ours", weights, nbytes(p.data, p.scale), call, law))
    return kernels


def eight_bits(W, copies: int) -> list[Kernel]:
    """INT8 and FP8 on both sides: ours and torch's (its int8 product returns int32 and leaves the scales out)."""
    from qcourse.gemm.triton_w8a8 import fp8_w8a8_matmul, int8_w8a8_matmul

    kernels = []
    for kind, (x_args, preset) in EIGHT_BITS.items():
        w = quantize(W, PRESETS[preset].weights)
        w = replace(w, scale=w.scale.float())
        weights = [replace(w, codes=w.codes.clone()) for _ in range(copies)]
        ours = int8_w8a8_matmul if kind == "int8" else fp8_w8a8_matmul
        of = partial(Kernel, weights=weights, nbytes=nbytes(w.codes, w.scale), prepare=partial(quantize, args=x_args))
        law = lambda x, w=w: dequantize(x) @ dequantize(w).T  # noqa: E731
        kernels.append(of(f"{kind} ours", call=lambda x, w, f=ours: f(x.codes, w.codes, x.scale, w.scale), law=law))
        if W.is_cuda and kind == "int8":
            sums = lambda x, w=w: x.codes.float() @ w.codes.float().T  # noqa: E731
            kernels.append(of("int8 torch._int_mm", call=lambda x, w: torch._int_mm(x.codes, w.codes.T), law=sums, least=17))
        elif W.is_cuda and torch.cuda.get_device_capability() >= (8, 9):
            kernels.append(of(f"{kind} torch._scaled_mm", call=scaled_mm, law=law))
    return kernels


def scaled_mm(x, w):
    """torch's FP8 product of two QTensors; scales per row and column, or one each."""
    a, b = x.codes.view(torch.float8_e4m3fn), w.codes.view(torch.float8_e4m3fn).T
    sx, sw = (x.scale, w.scale.T) if x.scale.numel() > 1 or w.scale.numel() > 1 else (x.scale.squeeze(), w.scale.squeeze())
    sx = sx.expand(len(a), 1).contiguous() if w.scale.numel() > 1 else sx
    return torch._scaled_mm(a, b, sx, sw.contiguous(), out_dtype=torch.bfloat16)


def tinygemm(W, copies: int) -> list[Kernel]:
    """torch's own int4: even columns in the high nibble, value (q - 8)·s + z, scales and zeros (K/G, N, 2)."""
    q = quantize(W, PRESETS["W4A16"].weights)
    codes = (q.codes.int() + 8).to(torch.uint8)
    data = torch._convert_weight_to_int4pack(codes[:, ::2] << 4 | codes[:, 1::2], 8)
    both = torch.stack((q.scale, torch.zeros_like(q.scale)), -1).transpose(0, 1).contiguous()
    weights = [(data.clone(), both.clone()) for _ in range(copies)]
    call = lambda x, w: torch._weight_int4pack_mm(x, w[0], G, w[1])  # noqa: E731
    return [Kernel("W4A16 tinygemm", weights, nbytes(data, both), call, lambda x: x.float() @ dequantize(q).T)]


def gemlite(W, copies: int) -> list[Kernel]:
    """gemlite's autotuned Triton kernels on the same codes, symmetric with a shift of 8."""
    from gemlite.core import DType, GemLiteLinearTriton

    p = pack(quantize(W, PRESETS["W4A16"].weights))
    codes, weights = (unpack(p).codes.int() + 8).to(torch.uint8), []
    for _ in range(copies):
        layer = GemLiteLinearTriton(4, G, W.shape[1], W.shape[0], DType.BF16, DType.BF16)
        layer.pack(codes.clone(), p.scale.clone(), 8, None)
        weights.append(layer)
    call = lambda x, layer: layer(x)  # noqa: E731
    return [Kernel("W4A16 gemlite", weights, nbytes(p.data, p.scale), call, lambda x: reference(x.float(), p))]


def kernels_of(W, copies: int) -> list[Kernel]:
    """All that can be built here; the others are left out with a printed reason."""
    bf16 = [W.bfloat16() for _ in range(copies)]
    found = [Kernel("bf16 cuBLAS", bf16, bf16[0].nbytes, lambda x, w: x @ w.T, lambda x: x.float() @ bf16[0].float().T)]
    for build in (weight_only, eight_bits, *((tinygemm, gemlite) if W.is_cuda else ())):
        try:
            found += build(W, copies)
        except (ImportError, RuntimeError, AttributeError, TypeError, ValueError) as e:
            print(f"left out: {build.__name__} ({type(e).__name__}: {str(e).splitlines()[0]})", file=sys.stderr)
    return found
