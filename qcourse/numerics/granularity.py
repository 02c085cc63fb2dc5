"""Who shares a scale: the rows and columns of W that stand under one number. None means the whole axis.

    per_tensor  (None, None)   one scale for all of W          per_group(G)     (1, G)    G weights along K
    per_channel (1, None)      one a row (an out_feature)      per_block(r, c)  (r, c)    a rectangle, as in DeepSeek's FP8
    per_token   (1, None)      the same, of an activation x    per_run(G)       (None, G) G in the order of memory

Finer is more accurate and costs more scales (invariant 2): tensor < channel < group. Everything is done by one view,
`blocks` (R, C, weights of a block), against which a scale (R, C, 1) broadcasts; no format needs a loop.
"""

from dataclasses import dataclass

import torch.nn.functional as F

from qcourse.shapes import Shaped, Tensor


@dataclass(frozen=True)
class Granularity:
    """`rows` × `cols` weights share a scale; None: all rows, or all columns. Raises ValueError for a size below 1."""

    rows: int | None
    cols: int | None

    def __post_init__(self):
        for name, size in (("rows", self.rows), ("cols", self.cols)):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise ValueError(f"granularity {name}={size!r}: an integer of at least 1, or None for the whole axis")

    def __str__(self) -> str:
        if self.rows is None:
            return "per tensor" if self.cols is None else f"runs of {self.cols}"
        if self.rows > 1:
            return f"per block {self.rows}×{self.cols or 'K'}"
        return "per channel" if self.cols is None else f"group_size={self.cols}"

    @property
    def group_size(self) -> int | None:
        """G: how many weights along K share a scale; None where a row (or all of W) does."""
        return None if self.rows is None else self.cols

    def check(self, K: int) -> None:
        """Raise ValueError unless G divides K (one row at a time), naming both and the nearest legal G."""
        if self.rows == 1 and self.cols is not None and K % self.cols:
            raise ValueError(
                f"group_size={self.cols} does not divide K={K}: the last group would hold {K % self.cols} weights; "
                f"nearest legal group_size: {nearest_legal(K, self.cols)}"
            )

    def blocks(self, W: Shaped[Tensor, "... K"]) -> Shaped[Tensor, "R C block"]:
        """W seen as blocks that share one scale; a copy only if W is not contiguous, or for rectangles of several rows.

        >>> per_group(128).blocks(torch.zeros(8, 512)).shape, per_block(128, 128).blocks(torch.zeros(200, 256)).shape
        (torch.Size([8, 4, 128]), torch.Size([2, 2, 16384]))

        Rectangles at a ragged edge, and the last run, are filled with zeros. Raises ValueError if W is empty or has no
        axis, or if G does not divide K (see `check`).
        """
        if W.dim() == 0 or W.numel() == 0:
            raise ValueError(f"nothing to quantize: shape {tuple(W.shape)}")
        K = W.shape[-1]
        self.check(K)
        if self.rows is None:
            flat = W.reshape(1, 1, -1)
            return flat if self.cols is None else F.pad(flat, (0, -W.numel() % self.cols)).view(1, -1, self.cols)
        if self.rows == 1:
            return W.reshape(-1, K // (self.cols or K), self.cols or K)
        flat, cols = W.reshape(-1, K), self.cols or K
        padded = F.pad(flat, (0, -K % cols, 0, -len(flat) % self.rows))
        return padded.unflatten(1, (-1, cols)).unflatten(0, (-1, self.rows)).transpose(1, 2).flatten(2)

    def unblocks(self, blocks: Shaped[Tensor, "R C block"], shape) -> Shaped[Tensor, "... K"]:
        """Inverse of `blocks`: back to `shape`, what filled a ragged edge cut off."""
        if self.rows is None and self.cols is not None:
            return blocks.reshape(-1)[: shape.numel()].view(shape)
        if self.rows in (1, None):
            return blocks.reshape(shape)
        K, cols = shape[-1], self.cols or shape[-1]
        whole = blocks.unflatten(2, (self.rows, cols)).transpose(1, 2).flatten(2).flatten(0, 1)
        return whole[: shape[:-1].numel(), :K].reshape(shape)

    def scales(self, N: int, K: int) -> tuple[int, int]:
        """(R, C): the shape of the scales of a weight (N, K).

        >>> per_block(128, 128).scales(576, 1536), per_channel.scales(576, 1536)
        ((5, 12), (576, 1))
        """
        if self.rows is None:
            return 1, 1 if self.cols is None else -(-N * K // self.cols)
        return -(-N // self.rows), (1 if self.cols is None else -(-K // self.cols))


def nearest_legal(K: int, G: int) -> int:
    """The divisor of K nearest to G (the larger of two equally near).

    >>> nearest_legal(300, 128)
    150
    """
    return min((d for d in range(1, K + 1) if K % d == 0), key=lambda d: (abs(d - G), -d))


per_tensor = Granularity(None, None)
per_channel = per_token = Granularity(1, None)


def per_group(group_size: int) -> Granularity:
    """One scale for every `group_size` weights along K."""
    return Granularity(1, group_size)


def per_block(rows: int, cols: int) -> Granularity:
    """One scale a rectangle of rows × cols weights."""
    return Granularity(rows, cols)


def per_run(size: int) -> Granularity:
    """One scale for `size` neighbours in the order of memory, over the ends of rows: bitsandbytes' blocks."""
    return Granularity(None, size)
