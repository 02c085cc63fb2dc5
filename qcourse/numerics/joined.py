"""Several weights behind each other along N as one: the same values, bit for bit.

    a scale a row, a group, a block    lie behind each other like the codes
    one scale for a whole part         becomes one a row: part 0's for its rows, part 1's for its own. An engine with room
                                       for one only takes the largest and rounds the other parts again; nothing is here
    one number above the scales        (NVFP4) has no rows to stand beside: the parts must have the same one, or they are
                                       not one weight

q, k, v and gate, up are joined this way when engines multiply them as one matrix (layers.parallel).
"""

from collections.abc import Sequence

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.granularity import Granularity, per_tensor
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import values_of
from qcourse.shapes import Tensor


def joined(parts: Sequence[QTensor]) -> QTensor:
    """(N_0, K), (N_1, K) … → (N_0 + N_1 + …, K).

    Raises ValueError for parts of another K, format or act_order, for NVFP4 with different upper scales, and for NF4.
    """
    first, *others = parts
    for i, q in enumerate(others, 1):
        refuse_unlike(first, q, i)
    if not others:
        return first
    rows = first.args.granularity.rows
    if rows is None or any(len(q.codes) % rows for q in parts[:-1]):  # a scale would cover rows of two parts
        parts = [scale_a_row(q) for q in parts]
    args = parts[0].args
    scale = stacked([q.scale for q in parts], args.scale, "scale")
    zero = stacked([q.zero_point for q in parts], args.zero, "zero_point")
    return QTensor(torch.cat([q.codes for q in parts]), scale, zero, args, first.order)


def refuse_unlike(a: QTensor, b: QTensor, i: int) -> None:
    """Raise ValueError unless part 0 and part i have the same K, format and order."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"part {i} has K={b.shape[1]}, part 0 has K={a.shape[1]}: they read different inputs")
    if not a.args.same_storage(b.args):
        raise ValueError(f"part {i} is stored as {b.args}, part 0 as {a.args}: one matrix has one format")
    if (a.order is None) != (b.order is None) or a.order is not None and not torch.equal(a.order, b.order):
        raise ValueError(
            f"part {i} and part 0 sort their input channels differently (act_order), and one matrix reads x in one order; "
            "keep them as layers of their own, or quantize them with the same order"
        )


def scale_a_row(q: QTensor) -> QTensor:
    """The same values with a scale (and a zero point) for every row. Raises ValueError where scales run over rows' ends."""
    N, K = q.shape
    rows, cols = q.args.granularity.rows, q.args.granularity.cols
    if rows is None and cols is not None:
        raise ValueError(f"{q.args.granularity}, over the ends of rows: such a part has no scales of its own")
    args = q.args.with_(granularity=Granularity(1, cols))
    args.check(K)

    def spread(t: Tensor | QTensor | None) -> Tensor | None:
        if isinstance(t, QTensor):
            raise ValueError(f"scales under a scale of their own, {q.args.granularity}: they cannot be spread over rows")
        return None if t is None else t.repeat_interleave(rows or N, 0)[:N]

    return QTensor(q.codes, spread(q.scale), spread(q.zero_point), args, q.order)


def stacked(scales: list, how: QuantizationArgs | object, name: str) -> Tensor | QTensor | None:
    """Scales or zero points behind each other, as they are stored."""
    if scales[0] is None:
        return None
    if not isinstance(scales[0], QTensor):
        return torch.cat(scales)
    if how.granularity != per_tensor:
        return joined(scales)
    above = [s.scale for s in scales]
    if any(not torch.equal(above[0], t) for t in above[1:]):
        numbers = ", ".join(f"{values_of(t, how.scale).item():.4g}" for t in above)
        raise ValueError(
            f"the parts' {name}s lie under different numbers ({numbers}), and one matrix has one. Engines take the largest "
            "for all, and the other parts' E4M3 scales lose range; nothing is rounded again here. Quantize the parts with "
            "one peak (layers.fused.shared_peaks)"
        )
    return QTensor(torch.cat([s.codes for s in scales]), above[0], None, scales[0].args)
