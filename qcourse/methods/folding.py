"""Moving a factor from one matrix into the one before it, without changing the function.

A linear layer reads x; whatever wrote x can write x / s instead, and the layer's columns are multiplied by s:

    x @ W.T = (x / s) @ (W · s).T        s (K): one factor an input channel

Who writes x: a norm (its gain); for `down_proj` the up projection, since silu(gate) · up is linear in up; for `o_proj` the
values, since attention only adds them up: head by head, and one factor for all query heads that share a value head.
The change is exact in real arithmetic; weights are kept in fp32 until the format rounds them.
"""

from dataclasses import dataclass

import torch
from torch import nn

from qcourse.shapes import Shaped, Tensor


@dataclass(frozen=True)
class Fold:
    """One place where a factor can move: `writer`'s rows (or gain) are divided, the columns of `readers` multiplied.

    head, shared: the writer's channels come in heads of so many, and `shared` heads of the readers' input repeat each
    (values under grouped-query attention): one factor serves all that repeat a channel.
    """

    writer: nn.Module
    readers: tuple[nn.Module, ...]
    head: int = 1
    shared: int = 1

    @property
    def name(self) -> str:
        """The prefix of the first reader: whose statistics describe this input."""
        return self.readers[0].prefix

    def repeated(self, t: Shaped[Tensor, "n"]) -> Shaped[Tensor, "K"]:
        """A number for each channel of the writer → one for each input channel of the readers."""
        return t.view(-1, self.head).repeat_interleave(self.shared, 0).flatten()

    def pooled(self, t: Shaped[Tensor, "K"]) -> Shaped[Tensor, "n"]:
        """The other direction: the mean over the input channels that repeat one of the writer's."""
        return t.view(-1, self.shared, self.head).mean(1).flatten()


def widen(model) -> None:
    """Everything that a fold touches → fp32, so that folding rounds nothing. Embeddings keep their 16 bits."""
    for fold in (*model.folds(), *model.value_folds()):
        for module in (fold.writer, *fold.readers):
            for p in module.parameters():
                p.data = p.data.float()


def apply_fold(fold: Fold, s: Tensor) -> None:
    """Divide the writer by s (a factor for each of its channels) and multiply the readers' columns by it, in place. Needs
    fp32 weights (see `widen`).

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
        reader.weight.data.mul_(fold.repeated(s))
