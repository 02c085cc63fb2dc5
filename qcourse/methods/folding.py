"""Moving a factor from one matrix into the one before it, without changing the function.

A linear layer reads x; whatever wrote x can write x / s instead, and the layer's columns are multiplied by s:

    x @ W.T = (x / s) @ (W · s).T        s (K): one factor an input channel

Who writes x: a norm (its gain), or for `down_proj` the up projection, since silu(gate) · up is linear in up.
The change is exact in real arithmetic; weights are kept in fp32 until the format rounds them.
"""

from dataclasses import dataclass

import torch
from torch import nn

from qcourse.shapes import Tensor


@dataclass(frozen=True)
class Fold:
    """One place where a factor can move: `writer`'s rows (or gain) are divided, the columns of `readers` multiplied."""

    writer: nn.Module
    readers: tuple[nn.Module, ...]

    @property
    def name(self) -> str:
        """The prefix of the first reader: whose statistics describe this input."""
        return self.readers[0].prefix


def widen(model) -> None:
    """Everything that a fold touches → fp32, so that folding rounds nothing. Embeddings keep their 16 bits."""
    for fold in model.folds():
        for module in (fold.writer, *fold.readers):
            for p in module.parameters():
                p.data = p.data.float()


def apply_fold(fold: Fold, s: Tensor) -> None:
    """Divide the writer by s and multiply the readers' columns by s, in place. Needs fp32 weights (see `widen`).

    Raises ValueError for a factor that is zero, negative or not finite, naming the channel.
    """
    bad = ~(torch.isfinite(s) & (s > 0))
    if bad.any():
        channel = int(bad.nonzero()[0])
        raise ValueError(
            f"{fold.name}: factor {s[channel].item()} in channel {channel}; factors must be positive and finite"
        )
    weight = fold.writer.weight.data
    s = s.to(weight.device)
    weight.div_(s if weight.dim() == 1 else s.unsqueeze(1))
    if getattr(fold.writer, "bias", None) is not None:
        fold.writer.bias.data.div_(s)
    for reader in fold.readers:
        reader.weight.data.mul_(s)
