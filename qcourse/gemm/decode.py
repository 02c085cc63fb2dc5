"""Packed integers → Ŵ, a few rows at a time: the loop that feeds BLAS when there are many tokens."""

import numpy as np

from qcourse.gemm.arguments import halves, matrix, next_rows, packed_weight
from qcourse.gemm.jit import task
from qcourse.gemm.operations import field, floats, load_as, minus, spread, store, times
from qcourse.gemm.vectors import PIECE

NUMBERS = PIECE // 2  # of 16 bits, in what is loaded at once


def decode(bits: int, groups: int, per: int, types):
    """The loop for codes of `bits`, PIECE bytes of which span `groups` groups; per: such pieces a group, 0 when only the
    weight tells; types: of the scales, whether groups have zero points of their own, and of Ŵ (fp32, or bf16 bits)."""
    planes, mask, own = 16 // bits, (1 << bits) - 1, 1 if types[1] else 0
    few, half = max(1, groups // 2), groups // 2
    scale_type, out_type = types[0], types[2]

    @task
    def decode_rows(a):
        """a: two · the weight (`packed_weight`) · out (rows, pieces · planes · NUMBERS) · the first row.

        Plane p of a piece holds its columns p, p + planes, …, one behind the other: x is brought into the same order."""
        weight = packed_weight(a, scale_type)
        out, like = matrix(a, 20, out_type), np.empty((1, 1), np.int16)
        pieces = out.shape[1] // (planes * NUMBERS)
        a_scale = per or pieces // weight[1].shape[1]
        n0, n1 = next_rows(a, len(out))
        while n0 < n1:
            for w, scale, zero, begin, first, end in halves(weight, a[23] + n0, a[23] + n1):
                for row in range(first - begin, end - begin):
                    n = row + begin - a[23]
                    for c in range(pieces):
                        g = c // a_scale * groups
                        packed = load_as(like, w, row, c * PIECE)
                        low, high = spread(scale, row, g, few), spread(scale, row, g + half, few)
                        for p in range(planes):
                            code = minus(field(packed, bits * p, mask), zero, row * own, g * own, groups)
                            at = (c * planes + p) * NUMBERS
                            store(out, n, at, times(floats(code, 0), low), times(floats(code, 1), high))
            n0, n1 = next_rows(a, len(out))

    return decode_rows
