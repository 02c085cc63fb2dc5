"""audit with one of its three questions changed: what the mistakes of 13.5 are made of."""

import torch

from qcourse.shapes import Tensor


def in_front(inputs: Tensor, bos: int) -> int:
    """Markers that the first window begins with."""
    return int((inputs[0] == bos).long().cumprod(0).sum())


def next_ids(inputs: Tensor, targets: Tensor) -> float:
    """The share of columns 0 … m − 2 whose target is the input behind."""
    return mean(targets[:, :-1] == inputs[:, 1:])


def mean(t: Tensor) -> float:
    """A share."""
    return t.double().mean().item()


def behind(inputs: Tensor, markers: int, read: Tensor) -> Tensor:
    """The first ids of each text, as many as calibration's windows have."""
    return inputs[:, markers : markers + read.shape[1]]


def pairs(texts: Tensor, read: Tensor) -> Tensor:
    """(n, r): whether text i is window j. All false where the lengths differ."""
    if texts.shape[1] != read.shape[1]:
        return torch.zeros(len(texts), len(read), dtype=torch.bool)
    return (texts[:, None] == read[None]).all(2)


def seen(texts: Tensor, read: Tensor) -> float:
    """The share of texts that are one of the windows."""
    return mean(pairs(texts, read).any(1))


def audited(markers=in_front, follows=next_ids, share=seen, texts=None):
    """audit with one of its questions changed. texts(inputs, targets, read): what is looked for in `read`."""

    def wrong(inputs, targets, bos, read):
        count = in_front(inputs, bos)
        looked = behind(inputs, count, read) if texts is None else texts(inputs, targets, read)
        return markers(inputs, bos), follows(inputs, targets), share(looked, read)

    return wrong


def counting(of):
    """Markers anywhere, also where that number decides where a text begins."""

    def wrong(inputs, targets, bos, read):
        count = of(inputs, bos)
        return count, next_ids(inputs, targets), seen(behind(inputs, int(count), read), read)

    def strict(inputs, targets, bos, read):
        count = of(inputs, bos)
        texts = behind(inputs, int(count), read)  # none are left where the count is large, and then torch raises
        return count, next_ids(inputs, targets), mean((texts[:, None] == read).all(2).any(1))

    return wrong, audited(markers=of), strict


def flat(inputs: Tensor, targets: Tensor) -> float:
    """All windows as one: the last target of each meets the marker of the next."""
    return mean(targets.flatten()[:-1] == inputs.flatten()[1:])


def scaled(by, n=lambda t: 1.0):
    """Both shares times a number."""
    return audited(follows=lambda i, t: by * n(t) * next_ids(i, t), share=lambda t, r: by * seen(t, r))
