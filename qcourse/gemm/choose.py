"""Which kernel multiplies by which packed weight, on which device, for how many tokens. Invariant 4 as a table.

    choose(p)            → a Choice, made once (`process_weights_after_loading`); calling it multiplies
    choose(p).describe() → the rows that serve p, as text; `describe()` shows the whole table

A layout that no kernel of the device reads is an error (`KernelMismatch`), never a slow surprise: the message names the
kernels that exist and the repack that makes it legal. Where two rows share a weight, the number of tokens decides, at
the measured cross-over (gemm.crossover; measure your own machine with `python -m benchmarks.gemm_cpu`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch

from qcourse.gemm.crossover import crossover
from qcourse.gemm.jit import has_jit
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.reference import reference
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.packed import PackedWeight, pack, unpack

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
HALVES = (torch.bfloat16, torch.float16)


def groups_of(step: int, *bits: int) -> Callable[[QuantizationArgs], bool]:
    """A condition: integers of these widths, one scale a row (or for all) or G a multiple of `step`."""
    return lambda a: isinstance(a.grid, IntGrid) and a.num_bits in bits and (a.group_size or step) % step == 0


def gpu_groups(num_bits: int, step: int) -> Callable[[QuantizationArgs], bool]:
    """What the Triton kernels read: per channel, G = 16, 32 or 64, or a multiple of the step that they load at once."""
    return lambda a: groups_of(16, num_bits)(a) and (a.group_size in (None, 16, 32, 64) or a.group_size % step == 0)


@dataclass(frozen=True)
class Kernel:
    """A row of the table. `few`: up to the cross-over only. `door` is imported when the kernel is chosen."""

    name: str
    device: str
    layouts: tuple[str, ...]
    reads: str  # the formats, in words
    takes: Callable[[QuantizationArgs], bool]
    dtypes: tuple[torch.dtype, ...]
    door: str
    needs: str | None = None
    few: bool = False

    def available(self) -> bool:
        """Whether what it needs is installed (numba's absence is said once, with a warning)."""
        return has_jit() if self.needs == "numba" else self.needs is None or find_spec(self.needs) is not None


ROWS = ("row", "compressed-tensors")
CPU, GPU = "qcourse.gemm.cpu", "qcourse.gemm.triton_weight_only"
TABLE: tuple[Kernel, ...] = (
    Kernel("int_dot", "cpu", ROWS, "int4, G % 16 == 0", groups_of(16, 4), FLOATS, f"{CPU}:int_dot", "numba", few=True),
    Kernel("int_dot", "cpu", ROWS, "int8, G % 128 == 0", groups_of(128, 8), FLOATS, f"{CPU}:int_dot", "numba", few=True),
    Kernel("blocked", "cpu", ROWS, "int4, G % 16 == 0", groups_of(16, 4), FLOATS, f"{CPU}:blocked", "numba"),
    Kernel("blocked", "cpu", ROWS, "int8, G % 128 == 0", groups_of(128, 8), FLOATS, f"{CPU}:blocked", "numba"),
    Kernel(
        "w4a16_matmul", "cuda", ROWS, "int4, G 16…64, 128·n", gpu_groups(4, 128), HALVES, f"{GPU}:w4a16_matmul", "triton"
    ),
    Kernel("w8a16_matmul", "cuda", ROWS, "int8, G 16, 32, 64·n", gpu_groups(8, 64), HALVES, f"{GPU}:w8a16_matmul", "triton"),
    Kernel("reference", "any", ROWS, "everything (slowly)", lambda a: True, FLOATS, "qcourse.gemm.reference:reference"),
)


def few_tokens(num_bits: int, dtype: torch.dtype) -> int:
    """The largest M for which the kernel for few tokens is the faster one."""
    return crossover()[f"int{num_bits} {'fp32' if dtype == torch.float32 else '16-bit'}"]


class Choice:
    """The rows that serve one weight, in order of preference; `choice(x, p, bias)` takes the first that fits x."""

    def __init__(self, rows: list[Kernel]):
        self.rows = rows
        self.calls = [getattr(import_module(k.door.split(":")[0]), k.door.split(":")[1]) for k in rows]

    def kernel(self, M: int, p: PackedWeight, dtype: torch.dtype) -> int:
        """The index of the row for M tokens of `dtype`. Raises TypeError for a dtype that no row takes."""
        for i, row in enumerate(self.rows):
            if dtype in row.dtypes and (not row.few or few_tokens(p.args.num_bits, dtype) >= M):
                return i
        legal = dict.fromkeys(str(d) for row in self.rows for d in row.dtypes)
        raise TypeError(f"x is {dtype}: the kernels here take {', '.join(legal)}")

    def __call__(self, x: torch.Tensor, p: PackedWeight, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ Ŵ.T + bias. Where a gradient is wanted the reference does it: the kernels have no backward."""
        if x.requires_grad and torch.is_grad_enabled():
            return reference(x, p, bias)
        return self.calls[self.kernel(x.shape[:-1].numel(), p, x.dtype)](x, p, bias)

    def __reduce__(self):
        """Pickled and copied as places in the table: a kernel is code, not data."""
        return of_rows, ([TABLE.index(k) for k in self.rows],)

    def describe(self) -> str:
        """The rows as text, in order of preference."""
        return describe(self.rows)


def of_rows(indices: list[int]) -> Choice:
    """The Choice of some rows of the table."""
    return Choice([TABLE[i] for i in indices])


def choose(p: PackedWeight, device: str | torch.device | None = None) -> Choice:
    """The kernels that multiply by p on `device` (default: where p lies).

    Raises KernelMismatch when none reads p's layout there, naming those that exist and the legal repack.
    """
    device = torch.device(device or p.data.device).type
    here = [k for k in TABLE if k.device in (device, "any")]
    rows = [k for k in here if p.layout in k.layouts and k.takes(p.args)]
    if not rows:
        readable = sorted({layout for k in here for layout in k.layouts if k.takes(p.args)}, key=len)
        there = ", ".join(dict.fromkeys(f"{k.name} ({k.reads})" for k in here))
        raise KernelMismatch(
            f"no kernel on {device} reads layout {p.layout!r} ({p.args.num_bits} bits, group_size={p.args.group_size}). "
            f"There are: {there}; they read {' or '.join(readable)}. Repack it once, at loading: repack(p, {readable[0]!r})"
        )
    return Choice([k for k in rows if k.available()])


def repack(p: PackedWeight, layout: str) -> PackedWeight:
    """The same codes and scales in another layout: a permutation, exact. Raises what `pack` raises."""
    return p if p.layout == layout else pack(unpack(p), layout)


W8A8 = (  # 8 bits on both sides takes codes, not a PackedWeight: gemm.w8a8 decides, and says so here
    ("int8_dots", "cpu", "int8 × int8", "M ≤ {w8a8}"),
    ("torch._int_mm", "any", "int8 × int8", "above that; on cuda any"),
    ("torch._scaled_mm", "cuda", "E4M3 × E4M3", "any, capability ≥ 8.9"),
    ("widen to fp32", "any", "E4M3 × E4M3", "any (slowly)"),
)


def describe(rows: list[Kernel] | tuple[Kernel, ...] = TABLE) -> str:
    """The table as text: layout × device × tokens → kernel."""
    lines = [f"{'kernel':17s}{'device':8s}{'layouts':24s}{'reads':22s}tokens M"]
    for k in rows:
        width = "int4" if "int4" in k.reads else "int8"
        first, second = crossover()[f"{width} fp32"], crossover()[f"{width} 16-bit"]
        many = any(other.few and other.reads == k.reads and other.device == k.device for other in rows)
        tokens = f"M ≤ {first} (fp32 x), ≤ {second} (16-bit x)" if k.few else "above that" if many else "any"
        lines.append(f"{k.name:17s}{k.device:8s}{', '.join(k.layouts):24s}{k.reads:22s}{tokens}")
    if rows is TABLE:
        lines += [
            f"{name:17s}{device:8s}{'codes':24s}{reads:22s}{tokens}".format(**crossover())
            for name, device, reads, tokens in W8A8
        ]
    return "\n".join(lines)
