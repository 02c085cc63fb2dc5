"""Tasks 10.1 and 10.2: codes of groups that share a scale and a least value, whoever shares them; and draws without ties.

Who shares is an `owner`: a function of (T, D, G) that gives the group of every number, (T, D), and the shape of the scales.
"""

import torch

from qcourse.checks.compare import difference
from qcourse.checks.nearest import TIE, free_zeros
from qcourse.checks.task import Refuse
from qcourse.shapes import Tensor

SCALE_RTOL = 1e-5  # of (max − min)/(2^B − 1), also where someone divides first: the ends are at most 5 ranges from 0
APART = 0.02  # of a step: no number that is drawn is this near to a tie


def places(T: int, D: int) -> tuple[Tensor, Tensor]:
    """The token (T, 1) and the channel (1, D) of every number."""
    return torch.arange(T)[:, None], torch.arange(D)[None, :]


def by_channel(T: int, D: int, G: int) -> tuple:
    """Each channel, G tokens at a time."""
    t, d = places(T, D)
    return t // G * D + d, (-(-T // G), D)


def by_token(T: int, D: int, G: int) -> tuple:
    """Each token, G channels at a time."""
    t, d = places(T, D)
    many = -(-D // G)
    return t * many + d // G, (T, many)


def every_nth_token(T: int, D: int, G: int) -> tuple:
    """Each channel, but tokens that are T/G apart together."""
    t, d = places(T, D)
    return t % (T // G) * D + d, (T // G, D)


def whole_channel(T: int, D: int, G: int) -> tuple:
    """Each channel, all tokens."""
    t, d = places(T, D)
    return 0 * t + d, (1, D)


def whole_token(T: int, D: int, G: int) -> tuple:
    """Each token, all channels."""
    t, d = places(T, D)
    return t + 0 * d, (T, 1)


def tokens_together(T: int, D: int, G: int) -> tuple:
    """G tokens with all their channels."""
    t, d = places(T, D)
    return t // G + 0 * d, (T // G, 1)


def channels_together(T: int, D: int, G: int) -> tuple:
    """G channels of all tokens."""
    t, d = places(T, D)
    return d // G + 0 * t, (1, D // G)


def everything(T: int, D: int, G: int) -> tuple:
    """One group."""
    t, d = places(T, D)
    return 0 * t + 0 * d, (1, 1)


def ends_of(x: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest number of every group."""
    many = int(owner.max()) + 1
    low, high = torch.full((many,), torch.inf, dtype=x.dtype), torch.full((many,), -torch.inf, dtype=x.dtype)
    flat, into = x.flatten(), owner.flatten()
    return low.scatter_reduce(0, into, flat, "amin"), high.scatter_reduce(0, into, flat, "amax")


def right(x: Tensor, num_bits: int, group_size: int, owners) -> tuple:
    """Codes, scale, zero: in float64, a group that does not move with the scale 1."""
    owner, shape = owners(*x.shape, group_size)
    low, high = ends_of(x.double(), owner)
    scale = (high - low) / (2**num_bits - 1)
    scale = torch.where(scale > 0, scale, 1.0)
    codes = ((x.double() - low[owner]) / scale[owner]).round()
    return codes.to(torch.uint8), scale.float().view(shape), low.float().view(shape)


def refuse(size: int, group_size: int, what: str) -> None:
    """Whole groups only."""
    if size % group_size:
        near = size // group_size * group_size
        raise Refuse(f"{size} {what} are not whole groups of {group_size}; {near} or {near + group_size} are")


def wide(t: Tensor, T: int, D: int) -> Tensor | None:
    """Scales or zeros of whatever shape beside the numbers (T, D); None where they do not fit."""
    t = t.reshape(-1, t.shape[-1]) if t.dim() else t.view(1, 1)
    fits = t.numel() and T % t.shape[0] == 0 and D % t.shape[1] == 0
    return t.double().repeat_interleave(T // t.shape[0], 0).repeat_interleave(D // t.shape[1], 1) if fits else None


def same_by(owners):
    """Compare answers: scales to float32, that of a flat group free if it is positive; codes up to exact ties.

    Of a group without a usable scale (a mistake's) the codes are what a cast makes of NaN, and no matter.
    """

    def same(args, got, other):
        x, _, G = args
        scale, codes = got[1], got[0]
        low, high = ends_of(x, owners(*x.shape, G)[0])
        if scale.numel() == low.numel():
            scale = free_zeros((low == high).view(scale.shape), scale, other[1])
        s, z = wide(other[1], *x.shape), wide(other[2], *x.shape)
        if s is not None and z is not None and codes.shape == x.shape:
            steps = (x.double() - z) / s
            tie = ((steps - steps.floor() - 0.5).abs() < TIE) & ((codes.double() - other[0].double()).abs() == 1)
            codes = torch.where(tie | ~((s > 0) & s.isfinite()), other[0], codes)
        return (
            difference(scale, other[1], rtol=SCALE_RTOL, where="scale")
            or difference(got[2], other[2], rtol=SCALE_RTOL, where="zero")
            or difference(codes, other[0], where="codes")
        )

    return same


def moving(g, T: int, D: int, group_size: int, num_bits: int) -> Tensor:
    """Numbers (T, D) in groups of G tokens a channel: codes clear of ties, each group with both its ends.

    Channels of sizes from 0.1 to 10, groups of one channel within a factor 3. A third of the channels lies on both sides of
    zero, a third above it and a third below, by up to 4 ranges.
    """
    n, top = T // group_size, 2**num_bits - 1
    steps = top * torch.rand(n, D, group_size, generator=g, dtype=torch.float64)
    steps = torch.where((steps - steps.floor() - 0.5).abs() < APART, steps.floor() + 0.7, steps)
    two = torch.rand(n, D, group_size, generator=g).argsort(-1)[..., :2]  # who is least, who is largest
    steps = steps.scatter(-1, two[..., :1], 0.0).scatter(-1, two[..., 1:], float(top))
    size = 10 ** (2 * torch.rand(1, D, generator=g) - 1) * 3 ** (torch.rand(n, D, generator=g) - 0.5)
    kind = (torch.arange(D) + torch.randint(0, 3, (1,), generator=g)) % 3
    some = torch.rand(n, D, generator=g)
    start = torch.where(kind == 0, -0.3 - 0.4 * some, torch.where(kind == 1, 0.5 + 3 * some, -1.5 - 3 * some))
    groups = (size * start)[..., None].double() + (size / top)[..., None].double() * steps
    return groups.transpose(1, 2).reshape(T, D).float()


def still(g, x: Tensor, group_size: int) -> Tensor:
    """`x` with one group of G tokens that does not move, and one of zeros, in two channels."""
    x = x.clone()
    a, b = torch.randperm(x.shape[1], generator=g)[:2].tolist()
    starts = group_size * torch.randint(0, len(x) // group_size, (2,), generator=g)
    x[starts[0] : starts[0] + group_size, a] = 0.5 + float(torch.rand(1, generator=g))
    x[starts[1] : starts[1] + group_size, b] = 0.0
    return x
