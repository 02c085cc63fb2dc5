"""Every format beside a reference that is not ours, byte by byte, on ordinary and adversarial tensors.

`python -m tests.interop.authorities` prints the table: format, reference and version, tensors, elements, mismatches, and of
these how many are unexplained. A difference is explained when a rule names the very elements in which it may lie, and why.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version

os.environ["TORCH_COMPILE_DISABLE"] = "1"
logging.getLogger("torchao").setLevel(logging.CRITICAL)

import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from qcourse.numerics.codebooks import DYNAMIC8  # noqa: E402
from qcourse.numerics.formats import GGUF_ARGS, NF4_ARGS, NVFP4_ARGS, NVFP4_MODELOPT, block_float  # noqa: E402
from qcourse.numerics.grids import E2M1, E2M3, E3M2, E4M3, E5M2  # noqa: E402
from qcourse.numerics.quantize import dequantize, quantize  # noqa: E402
from qcourse.packing.gguf import BLOCKS, split  # noqa: E402
from qcourse.packing.packed import pack  # noqa: E402

N, K = 64, 1024
Parts = Iterator[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor | None]]  # name, ours, theirs, where they may differ


def tensors() -> dict[str, torch.Tensor]:
    """(64, 1024) each: what a quantizer meets, and what it trips over."""
    torch.manual_seed(0)
    W, powers = torch.randn(N, K), 2.0 ** torch.randint(-20, 20, (N, K))
    zeros = W.clone()
    zeros[0], zeros[1, :256], zeros[2, ::2], zeros[3] = 0, 0, 0, -0.0
    return {
        "normal": W,
        "weights": 0.02 * W,
        "bf16": (0.05 * W).bfloat16().float(),
        "heavy tails": W / torch.rand(N, K).clamp(min=1e-3),
        "rows 1e-6 to 1e6": W * torch.logspace(-6, 6, N).unsqueeze(1),
        "blocks 1e-30 to 1e30": W * torch.logspace(-30, 30, K // 16).repeat_interleave(16),
        "zeros": zeros,
        "ties": (8 * W).round() / 8,
        "quarters": torch.randint(-24, 25, (N, K)) / 4.0,
        "-0": torch.where(W.abs() < 0.5, -0.0, W),
        "powers of two": powers * W.sign(),
        "just below": torch.nextafter(powers, torch.zeros(())) * W.sign(),
        "one sign": W.abs(),
        "subnormal": 1e-39 * W,
        "all zero": torch.zeros(N, K),
    }


@dataclass(frozen=True)
class Authority:
    """A format beside a reference. skip: tensors that the format cannot hold (fp16 scales, a reference that gives NaN)."""

    format: str
    reference: str
    package: str
    parts: Callable[[torch.Tensor], Parts]
    skip: tuple[str, ...] = ()
    why: str = ""

    def compare(self, W: torch.Tensor) -> tuple[int, int, int]:
        """(elements, mismatches, unexplained ones)."""
        counts = [0, 0, 0]
        for _, ours, theirs, may in self.parts(W):
            ours, theirs = ours.reshape(-1), theirs.reshape(-1)
            differ = (ours != theirs) & ~(ours.isnan() & theirs.isnan())
            counts[0] += differ.numel()
            counts[1] += int(differ.sum())
            counts[2] += int((differ if may is None else differ & ~may.reshape(-1)).sum())
        return tuple(counts)


def nibbles(codes: torch.Tensor) -> torch.Tensor:
    return codes[:, 0::2] | codes[:, 1::2] << 4


def pairs(mask: torch.Tensor) -> torch.Tensor:
    """Bytes that hold a code of the mask."""
    return mask[:, 0::2] | mask[:, 1::2]


def minus_zero(W: torch.Tensor) -> torch.Tensor:
    return (W == 0) & torch.signbit(W)


def cast(grid, dtype) -> Callable:
    def parts(W: torch.Tensor) -> Parts:
        x = W.clamp(-grid.max, grid.max)
        yield "codes", grid.encode(x), torch.from_numpy(x.numpy().astype(dtype).view(np.uint8).copy()), None

    return parts


def torch_cast(grid, dtype) -> Callable:
    def parts(W: torch.Tensor) -> Parts:
        x = W.clamp(-grid.max, grid.max)
        yield "codes", grid.encode(x), x.to(dtype).view(torch.uint8), None

    return parts


def within_fp16(W: torch.Tensor) -> torch.Tensor:
    """GGUF's scales are fp16: what lies far beyond is refused here, and inf there."""
    return W.clamp(-6e4, 6e4)


def tipped(W: torch.Tensor) -> torch.Tensor:
    """Blocks of 32 whose largest value lies so close below a power of two that log2 in fp32 rounds up to it, (N, K / 32)."""
    top = W.view(N, -1, 32).abs().amax(-1)
    return torch.from_numpy(np.floor(np.log2(top.clamp(min=1e-37).numpy()))) != torch.frexp(top.clamp(min=1e-37))[1] - 1


def mxfp4_parts(W: torch.Tensor, raw: torch.Tensor, theirs: np.ndarray) -> Parts:
    """Exponent and codes of each block of MXFP4. Explained: blocks that are `tipped`."""
    ours, theirs = raw.view(N, -1, 17), torch.from_numpy(theirs.view(np.uint8).reshape(N, -1, 17).copy())
    may = tipped(W)
    yield "scale", ours[..., 0], theirs[..., 0], may
    yield "codes", ours[..., 1:], theirs[..., 1:], may.unsqueeze(-1).expand(-1, -1, 16).contiguous()


def split_parts(kind: str, raw: torch.Tensor, theirs: np.ndarray) -> Parts:
    """The parts of the blocks. Explained: codes under a scale that rounded to 0, which nothing reads."""
    ours, theirs = (vars(split(t, kind)) for t in (raw, torch.from_numpy(theirs.view(np.uint8).reshape(N, -1).copy())))
    G, block = GGUF_ARGS[kind].group_size, BLOCKS[kind].weights
    unread = torch.zeros(N, K, dtype=torch.bool)
    if ours["scales"] is not None:
        unread = ours["d"].float().repeat_interleave(block, 1) * ours["scales"].float().repeat_interleave(G, 1) == 0
    for name, part in ours.items():
        if part is not None:
            may = unread if name == "codes" else None
            if name in ("scales", "mins"):
                may = (ours["d"] == 0).repeat_interleave(block // G, 1)
            yield name, *(t.view(torch.int16) if t.dtype == torch.float16 else t for t in (part, theirs[name])), may


def gguf_py(kind: str) -> Callable:
    import gguf

    def parts(W: torch.Tensor) -> Parts:
        W = within_fp16(W)
        ours = pack(quantize(W, GGUF_ARGS[kind]), "gguf").tensors["blocks"]
        if kind == "MXFP4":
            yield from mxfp4_parts(W, ours, gguf.quantize(W.numpy(), gguf.GGMLQuantizationType[kind]))
            return
        silent = (W.view(N, -1, GGUF_ARGS[kind].group_size) == 0).all(-1)
        for name, a, b, may in split_parts(kind, ours, gguf.quantize(W.numpy(), gguf.GGMLQuantizationType[kind])):
            yield name, a, b, silent if name in ("d", "m") else may  # the sign of a zero

    return parts


def libgguf(kind: str, imatrix: bool = False) -> Callable:
    import gguf
    import libgguf

    def parts(W: torch.Tensor) -> Parts:
        W = within_fp16(W)
        heard = torch.rand(K, generator=torch.Generator().manual_seed(1)) + 0.01 if imatrix else None
        ours = pack(quantize(W, GGUF_ARGS[kind], importance=heard), "gguf").tensors["blocks"]
        more = {"imatrix": heard.numpy()} if imatrix else {}
        theirs = np.asarray(libgguf.quantize_rows(W.numpy(), gguf.GGMLQuantizationType[kind], **more))
        yield from mxfp4_parts(W, ours, theirs) if kind == "MXFP4" else split_parts(kind, ours, theirs)

    return parts


def gguf_values(kind: str) -> Callable:
    import gguf

    def parts(W: torch.Tensor) -> Parts:
        W = within_fp16(W)
        q = quantize(W, GGUF_ARGS[kind])
        theirs = gguf.dequantize(pack(q, "gguf").tensors["blocks"].numpy(), gguf.GGMLQuantizationType[kind])
        yield "values", dequantize(q), torch.from_numpy(theirs), None

    return parts


def compressed_tensors(bits: int) -> Callable:
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    nv = bits == 0
    form = {0: "nvfp4-pack-quantized", 4: "mxfp4-pack-quantized", 6: "mxfp6-pack-quantized", 8: "mxfp8-quantized"}[bits]
    G, strategy, scale = (16, "tensor_group", torch.float8_e4m3fn) if nv else (32, "group", torch.uint8)
    args = QuantizationArgs(
        num_bits=bits or 4, type="float", symmetric=True, strategy=strategy, group_size=G, scale_dtype=scale
    )

    def parts(W: torch.Tensor) -> Parts:
        blocks, given = W.view(N, -1, G), {"weight": W}
        above = {"global_scale": generate_gparam(W.amin(), W.amax())} if nv else {}
        given["weight_scale"], _ = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args, **above)
        given |= {"weight_global_scale": above["global_scale"]} if nv else {}
        theirs = BaseCompressor.get_value_from_registry(form).compress(
            given, QuantizationScheme(targets=["Linear"], weights=args)
        )
        ours = pack(quantize(W, NVFP4_ARGS if nv else block_float({4: E2M1, 6: E2M3, 8: E4M3}[bits])), form).tensors
        for name, t in ours.items():
            may = pairs(minus_zero(W)) if bits == 4 and name == "weight_packed" else None
            if t.dtype == torch.float8_e4m3fn:
                t, theirs[name] = t.view(torch.uint8), theirs[name].view(torch.uint8)
            yield name, t, theirs[name], may

    return parts


def fp8_block(W: torch.Tensor) -> Parts:
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import quantize as theirs
    from compressed_tensors.quantization.utils import calculate_qparams

    from qcourse.numerics.schemes import PRESETS

    args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="block", block_structure=[128, 128])
    blocks = torch.nn.functional.pad(W, (0, 0, 0, 64)).view(1, 128, -1, 128).transpose(1, 2).flatten(2)
    scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
    q = quantize(W, PRESETS["FP8_BLOCK"].weights)
    silent = (q.scale == 1) & (blocks.abs().amax(-1) == 0)
    yield "scale", q.scale, scale, silent  # any scale serves a block of zeros
    codes = theirs(W, q.scale, zero, args, dtype=torch.float8_e4m3fn)
    yield "codes", q.codes, codes.view(torch.uint8), minus_zero(W)


def modelopt(W: torch.Tensor) -> Parts:
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor

    theirs, scale, above = NVFP4QTensor.quantize(W.clone(), 16)
    ours = pack(quantize(W, NVFP4_MODELOPT), "modelopt-nvfp4").tensors
    yield "weight", ours["weight"], theirs._quantized_data, None
    yield "weight_scale", ours["weight_scale"].view(torch.uint8), scale.view(torch.uint8), None
    yield "weight_scale_2", ours["weight_scale_2"], above, None


def torchao(grid, dtype, rule: str) -> Callable:
    from torchao.prototype.mx_formats.config import ScaleCalculationMode
    from torchao.prototype.mx_formats.mx_tensor import to_mx

    mode = ScaleCalculationMode["RCEIL" if rule == "round_up" else rule.upper()]

    def parts(W: torch.Tensor) -> Parts:
        scale, data = to_mx(W, dtype, 32, mode)
        q = quantize(W, block_float(grid, rule))
        small = (W.view(N, -1, 32).abs().amax(-1, keepdim=True) < 2.0**-110).expand(-1, -1, 32).reshape(N, K)
        yield "scale", q.scale, scale.view(torch.uint8).reshape(q.scale.shape), None
        codes = nibbles(q.codes) if grid == E2M1 else q.codes
        yield "codes", codes, data.view(torch.uint8).reshape(codes.shape), pairs(small) if grid == E2M1 else small

    return parts


def bitsandbytes(W: torch.Tensor) -> Parts:
    import bitsandbytes.functional as F

    packed, state = F.quantize_4bit(W, blocksize=64, quant_type="nf4", compress_statistics=True)
    ours = pack(quantize(W, NF4_ARGS), "bitsandbytes").tensors
    yield "weight", ours["weight"], packed, None
    yield "nested_absmax", ours["nested_absmax"], state.state2.absmax, None
    yield "nested_offset", ours["nested_offset"], state.offset, None
    top = W.view(-1, 64).abs().amax(1)
    x = (top - top.mean()) / state.state2.absmax.repeat_interleave(256)[: len(top)]
    v = torch.tensor(DYNAMIC8.values)
    close = ((x.unsqueeze(1) - (v[1:] + v[:-1]) / 2).abs() < 2e-5).any(1)  # its table of codes is 65,536 cells wide
    yield "absmax", ours["absmax"], state.absmax, close


def all_of_them() -> list[Authority]:
    """The table's rows."""
    from torchao.prototype.mx_formats.constants import DTYPE_FP6_E2M3, DTYPE_FP6_E3M2

    legacy, searched = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"), ("IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
    dtypes = {E4M3: ml_dtypes.float8_e4m3fn, E5M2: ml_dtypes.float8_e5m2, E3M2: ml_dtypes.float6_e3m2fn,
              E2M3: ml_dtypes.float6_e2m3fn, E2M1: ml_dtypes.float4_e2m1fn}  # fmt: skip
    mx = {E4M3: torch.float8_e4m3fn, E5M2: torch.float8_e5m2, E3M2: DTYPE_FP6_E3M2, E2M3: DTYPE_FP6_E2M3,
          E2M1: torch.float4_e2m1fn_x2}  # fmt: skip
    tiny = ("subnormal",)  # 1/d is infinite there
    unread = "codes under a scale that rounds to 0, which nothing reads"
    close = "blocks whose largest value lies just below a power of two: log2 in fp32 rounds up to it there"
    sign = "the sign of a zero scale, in a block of nothing but 0 and -0: gguf-py looks at the first, ggml's C at none"
    return [
        *(Authority(f"{g}", "cast", "ml_dtypes", cast(g, d)) for g, d in dtypes.items()),
        *(Authority(f"{g}", "cast", "torch", torch_cast(g, d)) for g, d in list(mx.items())[:2]),
        *(Authority(f"MX {g}, {rule}", "to_mx", "torchao", torchao(g, d, rule),
                    why="scales below 2^-126: torchao divides by fp32's least normal number")
          for g, d in mx.items() for rule in ("floor", "even", "ceil", "round_up")),
        Authority("MXFP4", "compressor", "compressed-tensors", compressed_tensors(4), ("subnormal",), "-0 is written as 0"),
        Authority("MXFP6 E2M3", "compressor", "compressed-tensors", compressed_tensors(6), ("subnormal",)),
        Authority("MXFP8 E4M3", "compressor", "compressed-tensors", compressed_tensors(8), ("subnormal",)),
        Authority("NVFP4, divides", "compressor", "compressed-tensors", compressed_tensors(0)),
        Authority("NVFP4, multiplies", "NVFP4QTensor", "nvidia-modelopt", modelopt, ("all zero",), "(NaN there)"),
        Authority("FP8 128×128", "quantize", "compressed-tensors", fp8_block, ("subnormal",),
                  "-0 is written as 0; any scale serves a block of zeros"),
        Authority("NF4, double quantized", "quantize_4bit", "bitsandbytes", bitsandbytes, ("subnormal", "all zero"),
                  "codes of scales within 2e-5 of a midpoint: it looks them up in a table that is coarser"),
        *(Authority(k, "quantize", "gguf", gguf_py(k), tiny, sign) for k in (*legacy, "TQ2_0")),
        *(Authority(k, "quantize_rows", "libgguf", libgguf(k), tiny, unread) for k in (*legacy, *searched)),
        Authority("MXFP4 (GGUF)", "quantize", "gguf", gguf_py("MXFP4"), tiny, close),
        Authority("MXFP4 (GGUF)", "quantize_rows", "libgguf", libgguf("MXFP4"), tiny, close),
        *(Authority(f"{k}, imatrix", "quantize_rows", "libgguf", libgguf(k, True), tiny, unread)
          for k in ("IQ4_NL", "Q3_K", "Q4_K", "Q5_K", "Q6_K")),
        *(Authority(f"{k}, read", "dequantize", "gguf", gguf_values(k), tiny) for k in GGUF_ARGS),
    ]  # fmt: skip


def table(only: str = "") -> None:
    """Print it (rows whose format or package holds `only`)."""
    cases, total = tensors(), [0, 0, 0]
    print(f"{'format':24s}{'reference':40s}{'tensors':>8s}{'elements':>12s}{'differ':>8s}{'unexplained':>12s}  why")
    for a in (a for a in all_of_them() if only in f"{a.format} {a.package}"):
        counts = [0, 0, 0]
        used = {name: W for name, W in cases.items() if name not in a.skip}
        for W in used.values():
            counts = [x + y for x, y in zip(counts, a.compare(W), strict=True)]
        total = [x + y for x, y in zip(total, counts, strict=True)]
        name = f"{a.package} {version(a.package)} {a.reference}"
        row = f"{a.format:24s}{name:40s}{len(used):8d}{counts[0]:12,d}{counts[1]:8,d}{counts[2]:12d}"
        print(f"{row}  {a.why if counts[1] else ''}")
    print(f"{'':72s}{total[0]:12,d}{total[1]:8,d}{total[2]:12d}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    table(*sys.argv[1:2])
