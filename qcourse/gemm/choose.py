"""Which kernel multiplies by which weight, on which device, for how many tokens. Invariant 4 as a table (gemm.table).

    choose(p)            → a Product, made once (`process_weights_after_loading`); product(x, bias) multiplies
    choose(p).describe() → the rows that serve p, as text; `describe()` shows the whole table
    home(args, …)        → the layout in which a weight is kept, so that the fastest kernel reads it

A layout that only a repack away from a fast kernel is an error (`KernelMismatch`), never a slow surprise: the message names
the kernels that exist and the repack that makes it legal. Where two rows share a weight, the number of tokens decides, at
the measured cross-over (gemm.crossover; measure your own machine with `python -m benchmarks.gemm_cpu`).
"""

import logging

import torch

from qcourse.gemm.activations import check_input_scale
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.reference import reference
from qcourse.gemm.table import TABLE, Kernel, describe
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.packed import LAYOUTS, PackedWeight, repack

__all__ = ["KernelMismatch", "Product", "choose", "describe", "home", "repack"]
SAID: set[str] = set()  # formats without a fast kernel that were mentioned already


class Product:
    """y = x @ Ŵ.T + bias for one weight, by the rows of the table that serve it: the first that fits x is taken.

    It owns its operands: the weight's tensors were checked and laid out when it was made.
    """

    def __init__(
        self,
        rows: list[Kernel],
        p: PackedWeight,
        activations: QuantizationArgs | None = None,
        input_scale: torch.Tensor | None = None,
    ):
        self.rows, self.p, self.activations, self.input_scale = rows, p, activations, input_scale
        self.order = p.tensors.get("order")
        self.calls = [row.make(p, activations, input_scale) for row in rows]

    def kernel(self, M: int, dtype: torch.dtype) -> int:
        """The index of the row for M tokens of `dtype`. Raises TypeError for a dtype that no row takes."""
        for i, row in enumerate(self.rows):
            if dtype in row.dtypes and (row.few is None or row.most(dtype) >= M):
                return i
        legal = dict.fromkeys(str(d) for row in self.rows for d in row.dtypes)
        raise TypeError(f"x is {dtype}: the kernels here take {', '.join(legal)}")

    def __call__(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """x (..., K) → (..., N). Where a gradient is wanted the reference does it: the kernels have no backward."""
        if x.requires_grad and torch.is_grad_enabled() and self.activations is None:
            return reference(x, self.p, bias)
        call = self.calls[self.kernel(x.shape[:-1].numel(), x.dtype)]
        if self.order is not None and self.rows[0].layouts:  # the reference undoes act_order by itself
            x = x.index_select(-1, self.order)
        return call(x, bias)

    def __reduce__(self):
        """Pickled and copied as a weight and places in the table: a kernel is code, not data."""
        return of_rows, ([TABLE.index(k) for k in self.rows], self.p, self.activations, self.input_scale)

    def describe(self) -> str:
        """The rows as text, in order of preference."""
        return describe(self.rows)


def of_rows(indices: list[int], p: PackedWeight, activations, input_scale) -> Product:
    """The Product of some rows of the table."""
    return Product([TABLE[i] for i in indices], p, activations, input_scale)


def here(device: str | torch.device, args: QuantizationArgs, activations: QuantizationArgs | None) -> list[Kernel]:
    """The rows that take these formats on `device`, in whatever layout; the reference, which always does, is the last."""
    kind = torch.device(device).type
    return [k for k in TABLE if k.device in (kind, "any") and k.takes(args, activations)]


def home(
    args: QuantizationArgs, activations: QuantizationArgs | None, shape, device: str | torch.device, layout: str
) -> str:
    """The layout in which a weight is kept: the one that its fastest kernel reads, else rows, else the file's own."""
    wanted = [name for k in here(device, args, activations) if k.available() for name in k.layouts[:1]]
    for name in (*wanted, "row", layout):
        try:
            LAYOUTS[name].slots(args, *shape)
            return name
        except ValueError:
            continue
    return layout


def choose(
    p: PackedWeight,
    activations: QuantizationArgs | None = None,
    input_scale: torch.Tensor | None = None,
    device: str | torch.device | None = None,
) -> Product:
    """The Product of p on `device` (default: where p lies), with activations in 16 bits (None) or quantized as said.

    Raises KernelMismatch when a kernel for this format exists and does not read p's layout, naming the legal repack;
    ValueError for a static scale that is missing, surplus, or not a positive number.
    """
    device = torch.device(device or p.data.device).type
    static = activations is not None and activations.calibrated
    if static != (input_scale is not None):
        raise ValueError(
            "static activations need their input_scale" if static else "input_scale belongs to static activations"
        )
    input_scale = check_input_scale(input_scale) if static else None
    rows = here(device, p.args, activations)
    fast = [k for k in rows if k.layouts]
    if fast and not any(p.layout in k.layouts for k in fast):
        there = ", ".join(dict.fromkeys(f"{k.name} ({k.reads})" for k in fast))
        readable = fast[0].layouts[0]
        raise KernelMismatch(
            f"no kernel on {device} reads layout {p.layout!r} ({p.args.grid}, {p.args.granularity}). There are: {there}; "
            f"they read {readable!r}. Repack it once, at loading: repack(p, {readable!r})"
        )
    served = [k for k in rows if k.available() and (not k.layouts or p.layout in k.layouts)]
    if not served[0].layouts:
        mention(p.args, activations, device)
    return Product(served, p, activations, input_scale)


def mention(args: QuantizationArgs, activations: QuantizationArgs | None, device: str) -> None:
    """Say once a format that nothing but the reference multiplies it: right, and slow."""
    what = f"{args.grid}, {args.granularity}" + ("" if activations is None else f" with {activations.grid} activations")
    if what not in SAID:
        SAID.add(what)
        logging.getLogger("qcourse").warning("%s on %s: no fast kernel, the reference multiplies (slowly)", what, device)
