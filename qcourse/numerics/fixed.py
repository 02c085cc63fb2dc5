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
    """What a code means, weight by weight: w = scale · (decode(q) - zero) - minus. zero: in steps, minus: in weight units;
    None where a format has none. All have the shape of the weights."""

    scale: Float[Tensor, "..."]
    zero: Float[Tensor, "..."] | None
    minus: Float[Tensor, "..."] | None
    args: QuantizationArgs

    def encode(self, w: Float[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The nearest code of each weight."""
        x = w if self.minus is None else w + self.minus
        x = x / self.scale.masked_fill(self.scale == 0, torch.inf)  # a stored scale may be 0: then nothing but code 0 helps
        return self.args.grid.encode(x if self.zero is None else x + self.zero)

    def decode(self, codes: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """What each code stands for, fp32."""
        x = self.args.grid.decode(codes)
        x = (x if self.zero is None else x - self.zero) * self.scale
        return x if self.minus is None else x - self.minus

    def at(self, index) -> "Steps":
        """Those of some weights: every tensor at this index."""
        return self.of(lambda t: t[index])

    def of(self, change) -> "Steps":
        """With every tensor changed alike."""
        parts = {name: getattr(self, name) for name in ("scale", "zero", "minus")}
        return replace(self, **{name: None if t is None else change(t) for name, t in parts.items()})


def steps_of(q: QTensor) -> Steps:
    """The scales and zero points of q, one for each weight."""
    N, K = q.shape
    s = values_of(q.scale, q.args.scale).float()
    z = None if q.zero_point is None else spread(values_of(q.zero_point, q.args.zero).float(), q.args, N, K)
    in_steps = q.args.zero_in == "steps"
    return Steps(spread(s, q.args, N, K), z if in_steps else None, None if in_steps else z, q.args)


def spread(t: Float[Tensor, "R C"], args: QuantizationArgs, N: int, K: int) -> Float[Tensor, "N K"]:
    """One number a block → one a weight."""
    rows, cols = args.granularity.rows or N, args.granularity.cols or K
    wide = t.unsqueeze(-1).expand(-1, -1, cols).flatten(1)[:, :K] if t.shape[1] > 1 else t.expand(-1, K)
    return wide.expand(N, -1) if t.shape[0] == 1 else wide.repeat_interleave(rows, 0)[:N] if rows > 1 else wide
