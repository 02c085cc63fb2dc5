"""Every kernel of the course, one row each: what weights and activations it takes, in which layout, on which device."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch

from qcourse.gemm import operand, w8a8
from qcourse.gemm.activations import fake_quantize_input
from qcourse.gemm.crossover import crossover
from qcourse.gemm.jit import has_jit
from qcourse.gemm.reference import reference
from qcourse.numerics.formats import MXFP4_ARGS, NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.schemes import QuantizationArgs, is_float

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
HALVES = (torch.bfloat16, torch.float16)
Takes = Callable[[QuantizationArgs, QuantizationArgs | None], bool]


@dataclass(frozen=True)
class Kernel:
    """A row of the table.

    layouts: how the weight has to lie; () means any that no other kernel of the device reads after a repack
    takes(weights, activations): the formats, which `reads` says in words
    make(p, activations, input_scale) → call(x, bias): checks the weight once; imports what it needs when it is called
    few: the cross-over (gemm.crossover) up to which it is preferred, None for any number of tokens
    """

    name: str
    device: str
    layouts: tuple[str, ...]
    reads: str
    takes: Takes
    dtypes: tuple[torch.dtype, ...]
    make: Callable
    needs: str | None = None
    few: str | None = None

    def available(self) -> bool:
        """Whether what it needs is installed (numba's absence is said once, with a warning)."""
        return has_jit() if self.needs == "numba" else self.needs is None or find_spec(self.needs) is not None

    def most(self, dtype: torch.dtype) -> int | float:
        """The largest M for which this kernel is preferred."""
        if self.few is None:
            return float("inf")
        known = crossover()
        return known[self.few if self.few in known else f"{self.few} {'fp32' if dtype == torch.float32 else '16-bit'}"]


def weight_only(num_bits: int) -> Takes:
    """Integers of this width for the CPU loops, activations in 16 or 32 bits."""
    return lambda w, a: a is None and w.num_bits == num_bits and operand.takes(w)


def with_blocks(num_bits: int) -> Takes:
    """The same under int8 activations in blocks."""
    return lambda w, a: operand.takes_blocks(a) and w.num_bits == num_bits and operand.takes(w)


def with_any(num_bits: int) -> Takes:
    """The same under activations of any kind: W4AFP8, and W4A8 with a scale a token."""
    return lambda w, a: a is not None and w.num_bits == num_bits and operand.takes(w)


def on_gpu(num_bits: int, step: int) -> Takes:
    """What the Triton kernels read: per channel, G = 16, 32 or 64, or a multiple of the step that they load at once."""

    def takes(w: QuantizationArgs, a: QuantizationArgs | None) -> bool:
        if a is not None or not isinstance(w.grid, IntGrid) or w.num_bits != num_bits or w.granularity.rows not in (1, None):
            return False
        if not is_float(w.scale) or not (w.zero is None or w.zero == w.grid):
            return False
        return w.group_size in (None, 16, 32, 64) or w.group_size % step == 0

    return takes


def stored_as(*formats: QuantizationArgs) -> Takes:
    """Weights that are stored as one of these, however their scales were found; activations in 16 bits."""
    return lambda w, a: a is None and any(w.same_storage(f) for f in formats)


def kernel_of(module: str, name: str, prepare: Callable = lambda p: p) -> Callable:
    """make for a function (x, prepared weight, bias); `prepare` checks the weight once."""

    def make(p, activations, input_scale):
        call, weight = getattr(import_module(f"qcourse.gemm.{module}"), name), prepare(p)
        return lambda x, bias=None: call(x, weight, bias)

    return make


def int8_blocks(p, activations, input_scale) -> Callable:
    """make for `int_dot` under int8 activations in blocks. Raises ValueError unless the blocks fit K."""
    activations.granularity.check(p.shape[1])
    call, o = import_module("qcourse.gemm.cpu").int_dot, operand.Operand.of(p)
    return lambda x, bias=None: call(x, o, bias, block=activations.group_size)


def rounded_blocks(p, activations, input_scale) -> Callable:
    """make for `blocked` under quantized activations of any kind: x is rounded to them first, and multiplied as floats."""
    call, o = import_module("qcourse.gemm.cpu").blocked, operand.Operand.of(p)
    return lambda x, bias=None: call(fake_quantize_input(x, activations, input_scale), o, bias)


def product_of(name: str) -> Callable:
    """make for a class of gemm.w8a8."""
    return lambda p, activations, input_scale: getattr(w8a8, name)(p, activations, input_scale)


def reference_of(p, activations, input_scale) -> Callable:
    """make for the reference: activations, if they are quantized, are rounded and multiplied as floats."""
    if activations is None:
        return lambda x, bias=None: reference(x, p, bias)
    return lambda x, bias=None: reference(fake_quantize_input(x, activations, input_scale), p, bias)


ROWS, PLAIN, ANY = operand.ROWS, ("plain",), ()
NVFP4_FILES, MXFP4_FILES = ("nvfp4-pack-quantized", "modelopt-nvfp4"), ("mxfp4-pack-quantized", *ROWS)
INT_DOT, BLOCKED = (kernel_of("cpu", name, operand.Operand.of) for name in ("int_dot", "blocked"))
W4_GPU, W8_GPU = (kernel_of("triton_weight_only", name) for name in ("w4a16_matmul", "w8a16_matmul"))
NVFP4_GPU, MXFP4_GPU = (kernel_of("triton_weight_only", f"{name}a16_matmul") for name in ("nvfp4", "mxfp4"))
NVFP4, MXFP4 = stored_as(NVFP4_ARGS, NVFP4_MODELOPT), stored_as(MXFP4_ARGS)

TABLE: tuple[Kernel, ...] = (
    Kernel("int_dot", "cpu", ROWS, "int4, G % 16 == 0", weight_only(4), FLOATS, INT_DOT, "numba", few="int4"),
    Kernel("int_dot", "cpu", ROWS, "int8, G % 16 == 0", weight_only(8), FLOATS, INT_DOT, "numba", few="int8"),
    Kernel("blocked", "cpu", ROWS, "int4, G % 16 == 0", weight_only(4), FLOATS, BLOCKED, "numba"),
    Kernel("blocked", "cpu", ROWS, "int8, G % 16 == 0", weight_only(8), FLOATS, BLOCKED, "numba"),
    Kernel("int_dot", "cpu", ROWS, "int4 × int8 blocks", with_blocks(4), FLOATS, int8_blocks, "numba", few="int4 × int8"),
    Kernel("int_dot", "cpu", ROWS, "int8 × int8 blocks", with_blocks(8), FLOATS, int8_blocks, "numba", few="int8 × int8"),
    Kernel("blocked", "cpu", ROWS, "int4 × int8 blocks", with_blocks(4), FLOATS, rounded_blocks, "numba"),
    Kernel("blocked", "cpu", ROWS, "int8 × int8 blocks", with_blocks(8), FLOATS, rounded_blocks, "numba"),
    Kernel("blocked", "cpu", ROWS, "int4 × rounded x", with_any(4), FLOATS, rounded_blocks, "numba"),
    Kernel("w4a16_matmul", "cuda", ROWS, "int4, G 16…64, 128·n", on_gpu(4, 128), HALVES, W4_GPU, "triton"),
    Kernel("w8a16_matmul", "cuda", ROWS, "int8, G 16, 32, 64·n", on_gpu(8, 64), HALVES, W8_GPU, "triton"),
    Kernel("nvfp4a16_matmul", "cuda", NVFP4_FILES, "NVFP4, both dialects", NVFP4, HALVES, NVFP4_GPU, "triton"),
    Kernel("mxfp4a16_matmul", "cuda", MXFP4_FILES, "MXFP4", MXFP4, HALVES, MXFP4_GPU, "triton"),
    Kernel("int8_dots", "cpu", PLAIN, "int8 × int8", w8a8.takes_int8, FLOATS, product_of("Int8Dots"), "numba", few="w8a8"),
    Kernel("torch._int_mm", "any", PLAIN, "int8 × int8", w8a8.takes_int8, FLOATS, product_of("IntMM")),
    Kernel("torch._scaled_mm", "any", PLAIN, "E4M3 × E4M3", w8a8.takes_fp8, FLOATS, product_of("ScaledMM")),
    Kernel("reference", "any", ANY, "everything (slowly)", lambda w, a: True, FLOATS, reference_of),
)


def describe(rows: list[Kernel] | tuple[Kernel, ...] = TABLE) -> str:
    """The table as text: layout × device × tokens → kernel."""
    wide = 2 + max(len("layouts"), *(len(", ".join(k.layouts)) for k in rows))
    lines = [f"{'kernel':17s}{'device':8s}{'layouts':{wide}s}{'reads':22s}tokens M"]
    for k in rows:
        few, many = k.most(torch.float32), k.most(torch.bfloat16)
        tokens = f"M ≤ {few}" if few == many else f"M ≤ {few} (fp32 x), ≤ {many} (16-bit x)"
        if k.few is None:
            rest = any(other.few and other.reads == k.reads and k.device in (other.device, "any") for other in rows)
            tokens = "above that" if rest else "any"
        lines.append(f"{k.name:17s}{k.device:8s}{', '.join(k.layouts) or 'any':{wide}s}{k.reads:22s}{tokens}")
    return "\n".join(lines)
