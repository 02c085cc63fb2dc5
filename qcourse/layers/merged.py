"""Several matrices of a file as one layer, and a rank's share of them: what a layout's slots say about both.

    engines multiply q, k, v as one matrix, and gate, up: N rows of one behind those of the other (`output_partition_sizes`)
    a tensor in which N lies somewhere    holds the rows of all parts        codes, scales a row or group, zero points
    a tensor without an N                 is held once a part                a scale for the whole, weight_shape, g_idx

The life of such a layer: `refuse_cuts` and `held` when it is created, `put` for every part, `parts_of` when it is processed;
then `numerics.joined` makes one weight of the parts. See packing.layout for what a cut is.
"""

import logging
from dataclasses import replace
from itertools import accumulate

import torch
from torch import nn

from qcourse.numerics.schemes import QuantizationScheme
from qcourse.numerics.two_level import divides
from qcourse.packing.layout import Slot
from qcourse.shapes import Tensor


def refuse_cuts(whole: dict[str, Slot], N: int, K: int, sizes: list[int], k: int) -> None:
    """Raise ValueError where a rank's rows (sizes, one a part, of N in all) or its k columns of K would tear a word, a group
    or a block, naming the tensor. act_order is not known here: a file's g_idx says it (`orders`)."""
    for letter, edges, end in (("N", accumulate(sizes), N), ("K", [k], K)):
        for edge in edges:
            for name, slot in whole.items():
                if letter in slot.cuts and name not in orders(whole):
                    slot.cuts[letter].refuse(edge, end, name)


def orders(slots: dict[str, Slot]) -> list[str]:
    """The tensors that may hold an act_order: those that no part of K can be cut out of."""
    return [name for name, slot in slots.items() if slot.optional and "K" in slot.cuts and slot.cuts["K"].why]


def held(slots: dict[str, Slot], count: int) -> dict[str, Slot]:
    """The tensors of a layer of `count` parts, `slots` being those of all rows: one without an N gets a place a part."""
    if count == 1:
        return slots
    once = lambda slot: replace(slot, shape=(count, *slot.shape), also=())  # noqa: E731
    return {name: slot if "N" in slot.cuts else once(slot) for name, slot in slots.items()}


def put(layer: nn.Module, share: dict[str, Tensor], index: int, first: bool) -> None:
    """A rank's share of one part's tensors into the layer's parameters. first: whether no other part is there yet.

    Raises ValueError for parts that bring different tensors, or tensors of different dtypes; nothing has changed then.
    """
    sizes, names = layer.logical_widths, [name for name in layer.slots if layer._parameters.get(name) is not None]
    if not first and set(names) != share.keys():
        odd = sorted(set(names) ^ share.keys())[0]
        raise ValueError(f"{odd} comes with some of the parts only: all of one matrix need it, or none")
    for name, t in share.items():
        if not first and layer._parameters[name].dtype != t.dtype:
            before = layer._parameters[name].dtype
            raise ValueError(f"{name} is {t.dtype}, and {before} in the parts before: one matrix has one dtype")
    for name in names:
        if name not in share:
            del layer._parameters[name]  # optional, and this file does without
    begin, end = sum(sizes[:index]), sum(sizes[: index + 1])
    for name, t in share.items():
        place, slot = room(layer, name, t).data, layer.slots[name]
        if len(sizes) > 1:
            place = slot.cuts["N"].slice(place, begin, end, sum(sizes), name) if "N" in slot.cuts else place[index]
        place.copy_(t.reshape(place.shape))


def room(layer: nn.Module, name: str, t: Tensor) -> nn.Parameter:
    """The parameter that t goes into, with t's dtype, on t's device; what it says about itself (output_dim …) is kept."""
    param = layer._parameters[name]
    if param.dtype != t.dtype or param.device != t.device:
        new = nn.Parameter(torch.empty(param.shape, dtype=t.dtype, device=t.device), requires_grad=False)
        new.__dict__.update(param.__dict__)
        layer._parameters[name] = param = new
    return param


def parts_of(tensors: dict[str, Tensor], slots: dict[str, Slot], sizes: list[int]) -> list[dict[str, Tensor]]:
    """The tensors of each part, out of those of a layer: the way back from `put`."""
    found, begin = [], 0
    for i, n in enumerate(sizes):
        rows = begin, begin + n, sum(sizes)
        cut = lambda name, t: slots[name].cuts["N"].slice(t, *rows, name) if "N" in slots[name].cuts else t[i]  # noqa: B023, E731
        found.append({name: cut(name, t).contiguous() for name, t in tensors.items()})
        begin += n
    return found


def one_method(prefix: str, methods: dict[str, object]):
    """The method of a layer that is made of several, by their names in the file. Raises ValueError, naming them, unless all
    have the same scheme and layout: one matrix has one format."""
    (first, method), *others = methods.items()
    for name, other in others:
        if type(other) is not type(method) or settings(other) != settings(method):
            said = [f"{n.rpartition('.')[2]}: {format_of(m)}" for n, m in ((first, method), (name, other))]
            raise ValueError(
                f"{prefix} is one layer here, and its parts are in different formats ({'; '.join(said)}): give {first} and "
                f"{name} the same scheme and layout"
            )
    scales = [s for s in (getattr(m, "input_scale", None) for m in methods.values()) if s is not None]
    if scales:
        method.input_scale = widest(torch.tensor(scales, dtype=torch.float64), prefix, method.scheme).item()
    return method


def settings(method) -> dict:
    """What has to be the same."""
    return {name: value for name, value in vars(method).items() if name != "input_scale"}


def format_of(method) -> str:
    """A method in a few words."""
    scheme, layout = getattr(method, "scheme", None), getattr(method, "layout", None)
    if scheme is None:
        return "16 bits" if not vars(method) else str(vars(method))
    w, a = scheme.weights, scheme.input_activations
    words = [str(w.grid), str(w.granularity), f"scaling {w.scaling}", "no zero point" if w.symmetric else f"zero {w.zero}"]
    words += [] if a is None else [f"activations {a.grid} {a.granularity}"]
    return ", ".join(words + ([] if layout is None else [f"layout {layout.name}"]))


def widest(scales: Tensor, prefix: str, scheme: QuantizationScheme) -> Tensor:
    """One static scale for the x that all parts read: the largest of theirs, as engines take it, and said where they differ.
    (Of NVFP4's numbers that divide, the smallest, where vLLM takes the largest and clips.)

    Nothing is clipped that was not before. A part whose own scale was s now reads x rounded in steps of the largest: its
    error grows from s/2 to largest/2 (integers), so its outputs are no longer those of a layer of its own.
    """
    top = scales.min() if divides(scheme.input_activations) else scales.max()
    if (scales != top).any():
        logging.getLogger("qcourse").warning(
            "%s: its parts have static input scales of their own (%s), and x is rounded once, with the widest: the outputs "
            "of the others are not those of separate layers. Calibrate them together",
            prefix, ", ".join(f"{s:.4g}" for s in scales.flatten().tolist()),
        )  # fmt: skip
    return top
