"""Scales that stand already: the codes of another W under them, a column at a time or all at once.

Whoever rounds with hindsight first lets a format find its scales, as it stores them, and then chooses codes.
"""

from dataclasses import dataclass, replace

import torch

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import values_of
from qcourse.shapes import Float, Shaped, Tensor


@dataclass(frozen=True)
class Steps:
    """What a code means in each column: w = scale · (decode(q) - zero). scale, zero (N, K); zero None: there is none."""

    scale: Float[Tensor, "N K"]
    zero: Float[Tensor, "N K"] | None
    args: QuantizationArgs

    def encode(self, w: Float[Tensor, "N n"], columns: slice) -> Shaped[Tensor, "N n"]:
        """The nearest codes of these columns."""
        s = self.scale[:, columns]
        x = w / s.masked_fill(s == 0, torch.inf)  # a quantized scale may be 0: whatever it stands for is code 0
        return self.args.grid.encode(x if self.zero is None else x + self.zero[:, columns])

    def decode(self, codes: Shaped[Tensor, "N n"], columns: slice) -> Float[Tensor, "N n"]:
        """What codes of these columns stand for, fp32."""
        x = self.args.grid.decode(codes)
        return (x if self.zero is None else x - self.zero[:, columns]) * self.scale[:, columns]


def steps_of(q: QTensor) -> Steps:
    """The scales and zero points of q, one for each weight."""
    N, K = q.shape
    s = values_of(q.scale, q.args.scale).float()
    z = None if q.zero_point is None else values_of(q.zero_point, q.args.zero).float()
    if z is not None and q.args.zero_in != "steps":
        z = z / s  # w = s·q - m is s·(q - m/s)
    return Steps(spread(s, q.args, N, K), None if z is None else spread(z, q.args, N, K), q.args)


def spread(t: Float[Tensor, "R C"], args: QuantizationArgs, N: int, K: int) -> Float[Tensor, "N K"]:
    """One number a block → one a weight."""
    rows, cols = args.granularity.rows or N, args.granularity.cols or K
    wide = t.unsqueeze(-1).expand(-1, -1, cols).flatten(1)[:, :K] if t.shape[1] > 1 else t.expand(-1, K)
    return wide.expand(N, -1) if t.shape[0] == 1 else wide.repeat_interleave(rows, 0)[:N] if rows > 1 else wide


def with_scales(W: Float[Tensor, "N K"], q: QTensor) -> QTensor:
    """W rounded to the nearest codes under the scales and zero points of q: codes of W, the rest of q."""
    return replace(q, codes=steps_of(q).encode(W.float(), slice(None)))
