"""A layout: how one ecosystem writes a quantized weight as named tensors. QTensor ⇄ tensors, and every result is checked.

    slots(args, N, K)   which tensors there are, their dtypes and shapes, and where N and K lie in them
    pack(q)             QTensor → tensors                    pack(unpack(file)) is the file, byte for byte:
    unpack(tensors, …)  tensors → QTensor                    nothing is rounded on the way in or out

From its slots alone, any shard of a weight can be cut (`shard`): this is what tensor parallelism asks of a format.
A layout is one file here and one line in `packing.table`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch

from qcourse.numerics.grids import Grid
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs, is_float
from qcourse.shapes import Tensor

HALF_OR_FULL = (torch.bfloat16, torch.float16, torch.float32)
HALF_FIRST = (torch.float16, torch.bfloat16, torch.float32)  # GPTQ's and AWQ's scales


@dataclass(frozen=True)
class Cut:
    """Where N or K lies in a tensor: `size` entries of `axis` hold `step` rows (or columns) of W.

    4-bit words along K: Cut(axis, step=8, size=1); dense 3-bit words: step=32, size=3; a scale for G weights: step=G.
    why: what to say about another place, instead of the step.
    """

    axis: int
    step: int = 1
    size: int = 1
    why: str = ""

    def slice(self, t: Tensor, start: int, stop: int, whole: int, name: str) -> Tensor:
        """The part of t that belongs to start … stop of `whole`. Raises ValueError where it would split a word or group."""
        if not 0 <= start < stop <= whole:
            raise ValueError(f"{name} cannot be cut from {start} to {stop}: a part of 0 … {whole} expected")
        for edge in (start, stop):
            self.refuse(edge, whole, name)
        first, last = start // self.step * self.size, -(-stop // self.step) * self.size
        return t.narrow(self.axis, first, last - first)

    def refuse(self, edge: int, whole: int, name: str) -> None:
        """Raise ValueError unless a cut at `edge` leaves every word and group whole."""
        if edge % self.step and edge != whole:
            why = self.why or f"{self.step} of W lie in one piece; cut at a multiple of {self.step}"
            raise ValueError(f"{name} cannot be cut at {edge}: {why}")


@dataclass(frozen=True)
class Slot:
    """One named tensor of a layout: legal dtypes (the first is what we write), its shape, and where N and K lie in it."""

    shape: tuple[int, ...]
    dtypes: tuple[torch.dtype, ...]
    cuts: dict[str, Cut] = field(default_factory=dict)  # "N", "K"
    optional: bool = False
    also: tuple[tuple[int, ...], ...] = ()  # other shapes that writers use, as (1,) and () for a single scale

    def refuse(self, t: Tensor, name: str) -> None:
        """Raise ValueError for another dtype or shape, saying which is expected."""
        if t.dtype not in self.dtypes:
            legal = " or ".join(str(d).removeprefix("torch.") for d in self.dtypes)
            raise ValueError(f"{name} is {str(t.dtype).removeprefix('torch.')}: {legal} expected")
        if tuple(t.shape) not in (self.shape, *self.also):
            raise ValueError(f"{name} has shape {tuple(t.shape)}: {self.shape} expected")


class Layout(ABC):
    """Base of all layouts: `pack` and `unpack` check what goes in and what comes out, so that a layout cannot lie."""

    name: str
    input_scale: str | None = "input_scale"  # the tensor that holds a static scale of the activations, if there is one

    @abstractmethod
    def slots(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Slot]:
        """The tensors of a weight (N, K). Raises ValueError when this layout cannot hold it."""

    @abstractmethod
    def _pack(self, q: QTensor) -> dict[str, Tensor]: ...

    @abstractmethod
    def _unpack(self, t: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor: ...

    def pack(self, q: QTensor) -> dict[str, Tensor]:
        """QTensor (N, K) → the tensors of a file. Raises ValueError when this layout cannot hold it."""
        if q.codes.dim() != 2:
            raise ValueError(f"codes of shape {tuple(q.codes.shape)}: a weight (N, K) expected")
        self.slots(q.args, *q.shape)
        tensors = self._pack(q)
        self.check(tensors, q.args, *q.shape)
        return tensors

    def unpack(self, tensors: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> QTensor:
        """The tensors of a file → QTensor; `args` from the config, the scales' dtype from the file.

        Raises ValueError for a missing, surplus, misshapen or mistyped tensor, naming it.
        """
        self.check(tensors, args, N, K)
        q = self._unpack(tensors, args, N, K)
        check_record(q, N, K)
        return q

    def check(self, tensors: dict[str, Tensor], args: QuantizationArgs, N: int, K: int) -> None:
        """Raise ValueError unless these are the tensors that `slots` promises."""
        slots = self.slots(args, N, K)
        surplus = sorted(tensors.keys() - slots.keys())
        missing = sorted(n for n, s in slots.items() if not s.optional and n not in tensors)
        if surplus or missing:
            what = f"unexpected tensor {surplus[0]!r}" if surplus else f"tensor {missing[0]!r} is missing"
            raise ValueError(f"layout {self.name!r}: {what}; it has {', '.join(slots)}")
        for name, t in tensors.items():
            slots[name].refuse(t, name)

    def shard(self, tensors: dict[str, Tensor], args: QuantizationArgs, shape, rows=None, columns=None) -> dict[str, Tensor]:
        """The tensors of W[rows, columns], each (start, stop) or None for all, cut out of the whole's.

        Raises ValueError where a cut would split a word or a group, and for columns of act_order.
        """
        said = self.restated(args, *shape)
        said = {n for n, t in said.items() if n in tensors and torch.equal(t.to(tensors[n]), tensors[n])}
        cut = {name: t for name, t in tensors.items() if name not in said}
        for letter, part, whole in (("N", rows, shape[0]), ("K", columns, shape[1])):
            for name, slot in self.slots(args, *shape).items():
                if part is not None and letter in slot.cuts and name in cut:
                    cut[name] = slot.cuts[letter].slice(cut[name], *part, whole, name)
        anew = self.restated(args, *(stop - start for start, stop in (rows or (0, shape[0]), columns or (0, shape[1]))))
        cut |= {name: anew[name].to(tensors[name]) for name in said}
        return {name: cut[name].contiguous() for name in tensors}

    def restated(self, args: QuantizationArgs, N: int, K: int) -> dict[str, Tensor]:
        """Tensors that only say what (N, K) and `args` say already: a shard gets its own instead of a part."""
        return {}


def check_record(q: QTensor, N: int, K: int) -> None:
    """Raise ValueError unless codes, scale and zero point have the shapes and dtypes that `q.args` says."""
    if tuple(q.codes.shape) != (N, K) or q.codes.dtype != q.args.grid.dtype:
        raise ValueError(f"codes {tuple(q.codes.shape)} {q.codes.dtype}: ({N}, {K}) {q.args.grid.dtype} expected")
    wanted = q.args.granularity.scales(N, K)
    zeros = q.args.zeros(N, K)
    for name, t, how in (("scale", q.scale, q.args.scale), ("zero_point", q.zero_point, q.args.zero)):
        if (t is None) != (how is None):
            raise ValueError(f"{name}: {'missing' if t is None else 'unexpected'} for zero={q.args.zero}")
        shape = zeros if name == "zero_point" else wanted
        if t is not None and tuple(t.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(t.shape)}: {shape} expected")
        if isinstance(t, QTensor):
            check_record(t, *shape)
        elif t is not None and is_float(how) and t.dtype != how and t.dtype != torch.float64:
            raise ValueError(f"{name} is {t.dtype}: {how} expected")


def only_plain(args: QuantizationArgs, name: str) -> None:
    """Raise ValueError unless scales are floats and zero points, if there are any, codes of the grid."""
    if not is_float(args.scale) or args.zero is not None and (args.zero != args.grid or args.zero_in != "steps"):
        raise ValueError(f"{name} holds scales in floats and zero points in codes; not scale={args.scale}, zero={args.zero}")


def uncut(K: int) -> Cut:
    """Of a tensor for act_order: whole along K."""
    return Cut(0, K, K, why="act_order: the channels of a group lie all over K, so that no part of K has whole groups")


def scale_slot(args: QuantizationArgs, N: int, K: int, dtypes=HALF_OR_FULL, also=()) -> Slot:
    """The slot of scales (R, C) of plain numbers: a float of any width, or the codes of a Grid.

    Raises ValueError for scales that are themselves quantized.
    """
    R, C = args.granularity.scales(N, K)
    cuts = {} if args.granularity.rows is None else {"N": Cut(0, args.granularity.rows)}
    if args.granularity.cols is not None:
        cuts["K"] = Cut(1, args.granularity.cols)
    if not is_float(args.scale):
        if not isinstance(args.scale, Grid):
            raise ValueError("scales that are themselves quantized have no place in this layout")
        dtypes = (args.scale.dtype,)
    return Slot((R, C), dtypes, cuts, also=also)


def with_scales_of(args: QuantizationArgs, scale: Tensor) -> QuantizationArgs:
    """`args` with the dtype in which a file stores its scales."""
    return replace(args, scale=scale.dtype) if is_float(args.scale) else args
