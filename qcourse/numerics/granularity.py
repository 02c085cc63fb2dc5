"""Who shares a scale: the whole tensor, a channel, a group of G weights, or a token.

Finer is more accurate and costs more scales (invariant 2): tensor < channel < group. Everything is done by one view,
`blocks` (rows, groups, G), against which a scale (rows, groups, 1) broadcasts; no format needs a loop.
"""

from dataclasses import dataclass

from qcourse.shapes import Shaped, Tensor


@dataclass(frozen=True)
class Granularity:
    """`kind` is "tensor", "channel" (a row of W), "group" (G along K) or "token" (a row of x)."""

    kind: str
    group_size: int | None = None

    def __post_init__(self):
        kinds = ("tensor", "channel", "group", "token")
        if self.kind not in kinds:
            raise ValueError(f"granularity {self.kind!r}: one of {', '.join(kinds)}")
        if (self.kind == "group") != (self.group_size is not None):
            raise ValueError("group_size belongs to granularity 'group', and only there")
        if self.group_size is not None and self.group_size < 1:
            raise ValueError(f"group_size={self.group_size}: at least 1")

    def blocks(self, W: Shaped[Tensor, "... K"]) -> Shaped[Tensor, "rows groups G"]:
        """W seen as blocks that share one scale; a copy only if W is not contiguous.

        >>> Granularity("group", 128).blocks(torch.zeros(8, 512)).shape
        torch.Size([8, 4, 128])

        Raises ValueError if W is empty or has no axis, or if K % G != 0 (naming both and the nearest legal G).
        """
        if W.dim() == 0 or W.numel() == 0:
            raise ValueError(f"nothing to quantize: shape {tuple(W.shape)}")
        K = W.shape[-1]
        if self.kind == "tensor":
            return W.reshape(1, 1, -1)
        if self.kind != "group":
            return W.reshape(-1, 1, K)
        if K % self.group_size:
            raise ValueError(
                f"group_size={self.group_size} does not divide K={K}: the last group would hold "
                f"{K % self.group_size} weights; nearest legal group_size: {nearest_legal(K, self.group_size)}"
            )
        return W.reshape(-1, K // self.group_size, self.group_size)

    def num_scales(self, N: int, K: int) -> int:
        """How many scales a weight (N, K) stores."""
        return {"tensor": 1, "channel": N, "token": N, "group": N * K // (self.group_size or K)}[self.kind]


def nearest_legal(K: int, G: int) -> int:
    """The divisor of K nearest to G (the larger of two equally near).

    >>> nearest_legal(300, 128)
    150
    """
    return min((d for d in range(1, K + 1) if K % d == 0), key=lambda d: (abs(d - G), -d))


per_tensor = Granularity("tensor")
per_channel = Granularity("channel")
per_token = Granularity("token")


def per_group(group_size: int) -> Granularity:
    """One scale for every `group_size` weights along K."""
    return Granularity("group", group_size)
