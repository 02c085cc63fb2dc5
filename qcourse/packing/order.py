"""act_order: the groups of a GPTQ file need not be neighbours along K. `g_idx` says which group each input channel is in.

Sorting the columns by group makes them neighbours; then every kernel for groups fits, fed with x[..., order].
"""

import torch

from qcourse.shapes import Integer, Tensor


def order_of(g_idx: Integer[Tensor, "K"], group_size: int | None) -> Integer[Tensor, "K"] | None:
    """The permutation that puts groups side by side (stable), or None if they already are.

    >>> order_of(torch.tensor([1, 0, 1, 0]), 2)
    tensor([1, 3, 0, 2])

    Raises ValueError for a group outside 0 … K/G-1, or one that does not hold G channels.
    """
    K, G = len(g_idx), group_size or len(g_idx)
    g_idx = g_idx.long()
    if (g_idx < 0).any() or (g_idx >= -(-K // G)).any():
        raise ValueError(
            f"g_idx holds group {int(g_idx[(g_idx < 0) | (g_idx >= -(-K // G))][0])}: 0 … {-(-K // G) - 1} expected"
        )
    counts = torch.bincount(g_idx, minlength=K // G)
    if (counts != G).any():
        group = int((counts != G).nonzero()[0])
        raise ValueError(f"g_idx: group {group} holds {int(counts[group])} channels, group_size={G}")
    order = torch.sort(g_idx, stable=True).indices
    return None if torch.equal(order, torch.arange(K)) else order


def g_idx_of(order: Integer[Tensor, "K"] | None, group_size: int | None, K: int | None = None) -> Integer[Tensor, "K"]:
    """The group of each input channel, int32: the inverse of `order_of`; without an order (K given), 0, 0, … 1, 1, …"""
    K = len(order) if order is not None else K
    groups = torch.arange(K, dtype=torch.int32) // (group_size or K)
    return groups if order is None else torch.empty_like(groups).index_copy_(0, order.cpu(), groups)


def sorted_codes(codes: Tensor, order: Tensor | None) -> Tensor:
    """Columns by channel → columns by group."""
    return codes if order is None else codes.index_select(1, order)


def unsorted_codes(codes: Tensor, order: Tensor | None) -> Tensor:
    """Columns by group → columns by channel."""
    return codes if order is None else torch.empty_like(codes).index_copy_(1, order, codes)
