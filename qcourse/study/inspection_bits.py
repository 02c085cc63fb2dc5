"""The smallest piece of a quantized weight that stands by itself, byte by byte: every tensor's part, and each bit named.

Any layout is cut here by its own slots (`Layout.shard`): the fewest rows and columns that no word, no group and no block is
split by. So one view serves GPTQ's words of eight, three-bit codes that straddle bytes, and GGUF's blocks.
"""

import math

import torch

from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.models.checkpoint import build
from qcourse.numerics.grids import FloatGrid, IntGrid
from qcourse.numerics.quantize import dequantize
from qcourse.shapes import Tensor
from qcourse.study.inspection import Inspection

SHOWN = 8  # codes that are taken apart
WHOLE = ("plain", "int-quantized", "torchao")  # where a signed code has a byte of its own, and lies there as it is


def piece(found: Inspection, name: str | None = None) -> str:
    """The view of layer `name` (None: the first that is quantized). Raises ValueError for a layer that is not there, or is
    not quantized."""
    checkpoint = found.checkpoint
    names = [layer.name for layer in found.layers]
    if not names:
        raise ValueError(f"{found.source}: no quantized layer to look into ({found.why or 'its weights are floats'})")
    name = name or names[0]
    if name not in names:
        raise ValueError(f"{name!r} is no quantized layer of {found.source}; the first are {', '.join(names[:3])}")
    layer = build(checkpoint.config, checkpoint.quantization, found.source).linears()[name]
    method, shape = layer.quant_method, (layer.output_size, layer.input_size)
    tensors = {
        leaf: checkpoint.weights.read(f"{name}.{leaf}") for leaf in layer.slots if f"{name}.{leaf}" in checkpoint.weights
    }
    tensors.pop(method.layout.input_scale, None)
    return "\n".join(lines(method, tensors, shape, name))


def lines(method: QuantizedLinearMethod, tensors: dict[str, Tensor], shape: tuple[int, int], name: str) -> list[str]:
    """The text."""
    layout, args = method.layout, method.scheme.weights
    slots = layout.slots(args, *shape)
    steps = {}
    for letter, size in (("N", shape[0]), ("K", shape[1])):
        cuts = [s.cuts[letter].step for leaf, s in slots.items() if leaf in tensors and letter in s.cuts]
        step = math.lcm(*cuts) if cuts else size
        steps[letter] = min(step * (-(-SHOWN // step) if letter == "K" else 1), size)
    try:
        part = layout.shard(tensors, args, shape, (0, steps["N"]), (0, steps["K"]))
    except ValueError:  # act_order, or a layout that is not cut: all of it
        part, steps = tensors, {"N": shape[0], "K": shape[1]}
    q = layout.unpack(part, args, steps["N"], steps["K"])
    told = [f"{name}: rows 0…{steps['N'] - 1}, columns 0…{steps['K'] - 1} of {shape}, layout {layout.name!r}"]
    for leaf, t in part.items():
        data = t.contiguous().flatten().view(torch.uint8)[:16].tolist()
        more = " …" if t.nbytes > 16 else ""
        told.append(f"  {leaf:20s} {str(t.dtype).removeprefix('torch.'):14s} {' '.join(f'{b:02x}' for b in data)}{more}")
    values = dequantize(q)[0, :SHOWN].tolist()
    signed = isinstance(q.args.grid, IntGrid) and q.args.grid.signed
    shift = 1 << (q.args.num_bits - 1) if signed and layout.name not in WHOLE else 0  # the bits as they are stored
    told += ["", f"  k   bits{' ' * max(0, q.args.num_bits - 4)}   code   weight   ({words(q.args.grid)})"]
    for k, (code, w) in enumerate(zip(q.codes[0, :SHOWN].tolist(), values, strict=True)):
        told.append(f"  {k:<3d} {bits_of(code + shift, q.args.grid):>8s} {shown(code, q.args.grid):>6s}   {w:+.6f}")
    return told


def words(grid) -> str:
    """What the bits of a code are, from the highest."""
    if isinstance(grid, FloatGrid):
        return f"sign, {grid.exponent_bits} of exponent, {grid.mantissa_bits} of mantissa"
    if isinstance(grid, IntGrid):
        return f"{grid.num_bits}-bit integer" + (
            ", signed; packed codes are stored with 2^(B-1) added" if grid.signed else ""
        )
    return f"an index into the {1 << grid.num_bits} values of the grid"


def bits_of(code: int, grid) -> str:
    """A code's bits, fields of a float apart."""
    text = f"{code & ((1 << grid.num_bits) - 1):0{grid.num_bits}b}"
    if not isinstance(grid, FloatGrid):
        return text
    e = 1 + grid.exponent_bits
    return f"{text[0]} {text[1:e]} {text[e:]}"


def shown(code: int, grid) -> str:
    """The code as a number: floats by their value."""
    if isinstance(grid, IntGrid):
        return str(code)
    dtype = grid.dtype
    return f"{grid.decode(torch.tensor([code], dtype=dtype)).item():g}"
