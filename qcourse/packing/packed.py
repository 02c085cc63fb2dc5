"""A quantized weight as tensors in some layout: what a file holds and what a kernel is handed. `pack(q)`, `unpack(p)`.

Every layout is one line of `LAYOUTS`; the words `row` and `plain` are our own, the others name an ecosystem's.
"""

from dataclasses import dataclass

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.grids import E2M1, E2M3, E4M3
from qcourse.numerics.qtensor import QTensor
from qcourse.packing.awq import Awq
from qcourse.packing.bitsandbytes import BitsAndBytes
from qcourse.packing.block_floats import block_float_layouts
from qcourse.packing.compressed_tensors import PackQuantized, Quantized
from qcourse.packing.gguf_layout import Gguf
from qcourse.packing.gptq import Gptq
from qcourse.packing.layout import Layout
from qcourse.packing.row import Plain, Row
from qcourse.packing.torchao import TorchAO
from qcourse.shapes import Shaped, Tensor

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Row(),
        Row("words", 4),
        Plain(),
        PackQuantized(),
        Quantized("int-quantized", torch.int8),
        Quantized("float-quantized", torch.float8_e4m3fn),
        Quantized("fp8", torch.float8_e4m3fn, scale="weight_scale_inv"),
        *block_float_layouts({"mxfp4-pack-quantized": E2M1, "mxfp6-pack-quantized": E2M3, "mxfp8-quantized": E4M3}),
        Gptq(1),
        Gptq(2),
        Awq(),
        Gguf(),
        BitsAndBytes(),
        TorchAO(),
    )
}


def layout_of(name: str) -> Layout:
    """The layout called `name`. Raises ValueError for an unknown one, listing the known."""
    if name not in LAYOUTS:
        raise ValueError(f"unknown layout {name!r}: one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def holders(args: QuantizationArgs, N: int, K: int) -> list[str]:
    """The layouts that can hold a weight (N, K) quantized so, our own first. Raises ValueError when none can, saying why."""
    found, why = [], ""
    for name, layout in LAYOUTS.items():
        try:
            layout.slots(args, N, K)
            found.append(name)
        except ValueError as e:
            why = why or str(e)
    if not found:
        raise ValueError(why)
    return found


@dataclass(frozen=True)
class PackedWeight:
    """tensors: by the layout's names · shape (N, K) · args: how it was made · layout: a name of LAYOUTS."""

    tensors: dict[str, Tensor]
    shape: tuple[int, int]
    args: QuantizationArgs
    layout: str = "row"

    @property
    def data(self) -> Shaped[Tensor, "..."]:
        """The codes: the first tensor of the layout."""
        return next(iter(self.tensors.values()))

    @property
    def scale(self) -> Tensor:
        """The scales of our own layouts."""
        return self.tensors["scale"]

    @property
    def zero_point(self) -> Tensor | None:
        """The zero points of our own layouts, or None."""
        return self.tensors.get("zero_point")

    @property
    def nbytes(self) -> int:
        """Measured bytes as they lie in memory: packed codes, scales, zero points, and what else the layout keeps."""
        return sum(t.untyped_storage().nbytes() for t in self.tensors.values())


def pack(q: QTensor, layout: str | None = None) -> PackedWeight:
    """The codes of q (N, K) in a layout; None: the first that can hold it, `row` for all that have plain scales.

    Raises ValueError for an unknown layout, and when this one (or none) can hold q.
    """
    if layout is None:
        layout = "row" if q.codes.dim() != 2 else holders(q.args, *q.shape)[0]
    return PackedWeight(layout_of(layout).pack(q), tuple(q.codes.shape), q.args, layout)


def unpack(p: PackedWeight) -> QTensor:
    """The QTensor that was packed, bit for bit."""
    return layout_of(p.layout).unpack(p.tensors, p.args, *p.shape)


def repack(p: PackedWeight, layout: str) -> PackedWeight:
    """The same codes and scales in another layout: a permutation, exact. Raises what `pack` raises."""
    return p if p.layout == layout else pack(unpack(p), layout)
