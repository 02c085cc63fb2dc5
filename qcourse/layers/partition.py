"""One rank's part of a linear layer: what it holds, how it takes that out of a file's tensors, and its product.

The classes that say which part are in `layers.parallel`.
"""

from typing import NamedTuple

import torch
from torch import nn

from qcourse.layers.merged import put, room
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.packing.layout import HALF_OR_FULL


class Part(NamedTuple):
    """A matrix of the file: its rows, and the first and end of those that this rank holds."""

    size: int
    first: int
    end: int


def divided(size: int, count: int, what: str, by: str = "world") -> int:
    """size / count. Raises ValueError, with the numbers, unless it is whole."""
    if count < 1 or size % count:
        raise ValueError(f"{what} = {size} is not a multiple of {by} = {count}: the parts would differ")
    return size // count


def equal(size: int, rank: int, world: int, what: str) -> Part:
    """Rank `rank`'s part of `world` equal ones. Raises ValueError for a rank that is none, and sizes that do not divide."""
    if type(rank) is not int or type(world) is not int or not 0 <= rank < world:
        raise ValueError(f"{what}: rank={rank!r}, world={world!r}: a rank from 0 to world - 1 expected")
    n = divided(size, world, what)
    return Part(size, rank * n, (rank + 1) * n)


class ParallelLinear(nn.Module):
    """What all have in common: `parts` by name, of which this rank holds rows; `columns` of x that it reads.

    rank, world: this rank, and how many there are. Raises ValueError, naming layer and tensor, before anything is loaded,
    where a share would tear a word, a group or a block. (act_order is a tensor: it is refused when it is seen, in `load`.)
    """

    def __init__(
        self, input_size: int, output_size: int, parts: dict, columns: Part, *, rank: int = 0, world: int = 1,
        bias: bool = False, quant_config: QuantizationConfig | None = None, prefix: str = "",
        dtype: torch.dtype = torch.bfloat16,
    ):  # fmt: skip
        super().__init__()
        self.tp_rank, self.tp_size, self.prefix = rank, world, prefix
        self.input_size, self.output_size, self.parts, self.columns = input_size, output_size, parts, columns
        self.output_partition_sizes = [p.end - p.first for p in parts.values()]
        self.input_size_per_partition = columns.end - columns.first
        self.output_size_per_partition = sum(self.output_partition_sizes)
        self.waiting = set(parts)  # for `load`
        self.quant_method = quant_config.get_quant_method(self, prefix) if quant_config else UnquantizedLinearMethod()
        self.quant_method.create_weights(
            layer=self, input_size_per_partition=self.input_size_per_partition,
            output_partition_sizes=self.output_partition_sizes, input_size=input_size, output_size=output_size,
            params_dtype=dtype, weight_loader=self.weight_loader,
        )  # fmt: skip
        self.expects_bias, self.bias = bias, None
        if bias and (rank == 0 or self.input_size_per_partition == input_size):
            self.bias = nn.Parameter(torch.zeros(self.output_size_per_partition, dtype=dtype), requires_grad=False)
            self.bias.output_dim = 0

    def load(self, tensors: dict[str, torch.Tensor], part=None) -> None:
        """The whole file's tensors of one part (leaf name → tensor): this rank's share of each is put in its place.

        part: "q", "k", "v"; 0, 1 …; None where the layer is one of the file's. Raises ValueError, naming layer and tensor,
        for tensors that are not the format's, and for a share that cannot be cut out of them.
        """
        try:
            if part not in self.waiting:
                known = ", ".join(map(repr, self.parts))
                raise ValueError("loaded already" if part in self.parts else f"{part!r} is none of its parts: {known}")
            tensors, first = dict(tensors), len(self.waiting) == len(self.parts)
            bias = tensors.pop("bias", None)
            if (bias is not None) != self.expects_bias:
                raise ValueError(f"tensor 'bias' is {'missing' if bias is None else 'unexpected'}")
            if hasattr(self, "slots"):
                put(self, self.share(tensors, self.parts[part]), list(self.parts).index(part), first)
            else:
                self.load_by_attributes(tensors, part, first)
            if self.bias is not None:
                self.place("bias", bias, part, first)
        except ValueError as e:
            raise ValueError(f"{self.prefix}{'' if part is None else f', part {part!r}'}: {e}") from e
        self.waiting.discard(part)

    def share(self, tensors: dict[str, torch.Tensor], part: Part) -> dict[str, torch.Tensor]:
        """This rank's share of a part's tensors, by the slots of its layout; a static scale of x is every rank's."""
        layout, args = self.quant_method.layout, self.quant_method.scheme.weights
        static = {name: tensors.get(name) for name in self.slots.keys() & {layout.input_scale}}
        for name, t in static.items():
            if t is None or t.numel() != 1:
                raise ValueError(f"tensor {name!r} {'is missing' if t is None else f'has {t.numel()} numbers, not one'}")
        weight = {name: t for name, t in tensors.items() if name not in static}
        layout.check(weight, args, part.size, self.input_size)
        return self.cut(weight, part) | static

    def cut(self, tensors: dict[str, torch.Tensor], part: Part) -> dict[str, torch.Tensor]:
        """Some of a part's tensors, cut as its layout says. Raises ValueError for columns of act_order."""
        layout, args = self.quant_method.layout, self.quant_method.scheme.weights
        rows, columns = (None if p.end - p.first == p.size else p[1:] for p in (part, self.columns))
        return layout.shard(tensors, args, (part.size, self.input_size), rows, columns)

    def load_by_attributes(self, tensors: dict[str, torch.Tensor], part, first: bool) -> None:
        """Every parameter of a method that has no layout."""
        params = {name: p for name, p in self._parameters.items() if name != "bias"}
        if tensors.keys() != params.keys():
            odd = sorted(tensors.keys() ^ params.keys())[0]
            raise ValueError(
                f"tensor {odd!r} {'has no place' if odd in tensors else 'is missing'}; it has {', '.join(params)}"
            )
        for name, t in tensors.items():
            self.place(name, t, part, first)

    def place(self, name: str, t: torch.Tensor, part, first: bool) -> None:
        """One tensor by the parameter's own `weight_loader`, called as vLLM's models do, or by ours."""
        ours = name == "bias" or isinstance(self.quant_method, (UnquantizedLinearMethod, QuantizedLinearMethod))
        dtype = self._parameters[name].dtype
        if t.dtype != dtype and not (first and ours and t.dtype in HALF_OR_FULL):  # then 16 or 32 bits, as the file has it
            raise ValueError(f"{name} is {t.dtype}: {dtype} expected{'' if first else ', as in the parts before'}")
        param = room(self, name, t)
        getattr(param, "weight_loader", self.weight_loader)(param, t, *([] if part is None else [part]))

    def weight_loader(self, param: nn.Parameter, loaded_weight: torch.Tensor, loaded_shard_id=None) -> None:
        """vLLM's: the rank's share of one tensor of a file, found by what the parameter says about its axes.

        output_dim, input_dim    the axes of rows and columns    packed_dim, packed_factor    rows in a word of that axis
        needs_scalar_to_array    one number a part               neither                      one tensor for all parts
        """
        part, index = self.parts[loaded_shard_id], list(self.parts).index(loaded_shard_id)
        rows, columns = getattr(param, "output_dim", None), getattr(param, "input_dim", None)
        source, target = loaded_weight, param.data
        if rows is not None:
            factor = param.packed_factor if getattr(param, "packed_dim", None) == rows else 1
            begin = sum(self.output_partition_sizes[:index])
            source = narrowed(source, rows, part.first, part.end, part.size, factor)
            target = narrowed(target, rows, begin, begin + part.end - part.first, self.output_size_per_partition, factor)
        elif getattr(param, "needs_scalar_to_array", False):
            source, target = source.reshape(()), target[index]
        if columns is not None and self.cuts_columns:
            size = target.shape[columns]
            source = narrowed(source, columns, self.tp_rank * size, (self.tp_rank + 1) * size, self.tp_size * size)
        if source.shape != target.shape:
            raise ValueError(f"a share of shape {tuple(source.shape)} for a place of shape {tuple(target.shape)}")
        if rows is None and target.dim() and len(self.waiting) < len(self.parts) and not torch.equal(source, target):
            raise ValueError("one tensor for all parts (it has no output_dim), and the parts' differ")
        target.copy_(source)

    @property
    def cuts_columns(self) -> bool:
        """Whether this rank has some of the columns only."""
        return self.input_size_per_partition != self.input_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., this rank's K) → (..., this rank's N); a row-parallel layer's outputs are still to be added."""
        if self.waiting:
            raise ValueError(f"{self.prefix}: nothing was loaded for {', '.join(map(repr, self.waiting))}")
        return self.quant_method.apply(self, x, None if self.bias is None else self.bias.to(x.dtype))

    def dequantized(self) -> torch.Tensor:
        """This rank's Ŵ in fp32."""
        return self.quant_method.dequantized(self)


def narrowed(t: torch.Tensor, axis: int, first: int, end: int, of: int, factor: int = 1) -> torch.Tensor:
    """Rows (or columns) first to end, `of` in all, out of an axis on which `factor` of them are one word. Raises ValueError
    for a torn word, and for another length of the axis."""
    if any(n % factor for n in (first, end, of)):
        raise ValueError(f"{first} to {end} of {of} would tear a word of {factor} (packed_factor)")
    first, end, of = (int(n // factor) for n in (first, end, of))
    if t.shape[axis] != of:
        raise ValueError(f"a tensor {tuple(t.shape)}: {of} along axis {axis} expected")
    return t.narrow(axis, first, end - first)
