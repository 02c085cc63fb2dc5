"""Quantizers of groups with one thing changed, for 10.1; turned, for 10.2: values by token are Vᵀ by channel."""

import torch

from qcourse.checks.lab10.grouping import (
    by_channel,
    by_token,
    channels_together,
    ends_of,
    every_nth_token,
    everything,
    right,
    tokens_together,
    whole_channel,
    whole_token,
)
from qcourse.checks.task import Refuse
from qcourse.shapes import Tensor


def as_they_are(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The range from the least to the largest number."""
    return low, high


def with_zero(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Stretched until it contains 0, as in lab 01."""
    return low.clamp(max=0), high.clamp(min=0)


def mirrored(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """From −absmax to absmax."""
    top = torch.maximum(high, -low)
    return -top, top


def whole_groups(x: Tensor, group_size: int, axis: int | None) -> None:
    """Refused along `axis`; None: nothing is."""
    if axis is not None and x.shape[axis] % group_size:
        raise Refuse("no whole groups")


def bytes_of(codes: Tensor) -> Tensor:
    """uint8, as a cast makes them: of NaN a 0, of 256 a 0."""
    return codes.nan_to_num(0, 0, 0).long().to(torch.uint8)


def plain(x, num_bits, codes, scale, zero) -> tuple:
    """What the task asks for."""
    return codes, scale, zero


def quantizer(owners=by_channel, axis=0, reach=as_they_are, steps=-1, round_=torch.round, guard=1.0, give=plain, **how):
    """A quantizer with one thing changed. `steps` is added to 2^B; `guard` is the scale of a group that does not move (None:
    what comes of it); `give` makes the answer of (x, B, codes, scale, zero); also `dtype`, and `bits` instead of num_bits.
    """

    def wrong(x, num_bits, group_size):
        whole_groups(x, group_size, axis)
        y, top = x.to(how.get("dtype", torch.float32)), 2 ** how.get("bits", num_bits) - 1
        owner, shape = owners(*x.shape, group_size)
        low, high = reach(*ends_of(y, owner))
        scale = (high - low) / (top + 1 + steps)
        scale = scale if guard is None else torch.where(scale == 0, guard, scale)
        codes = bytes_of(round_((y - low[owner]) / scale[owner]))
        return give(x, num_bits, codes, scale.view(shape), low.view(shape))

    return wrong


def counted(reach=with_zero, zero_of=lambda z, low, s: z, whole=True):
    """Codes counted from a zero point z = round(−low/s), as in lab 01; `zero_of` makes of it what is returned."""

    def wrong(x, num_bits, group_size):
        whole_groups(x, group_size, 0)
        owner, shape = by_channel(*x.shape, group_size)
        low, high = reach(*ends_of(x, owner))
        scale = (high - low) / (2**num_bits - 1)
        scale = torch.where(scale == 0, 1.0, scale)
        z = (-low / scale).round() if whole else -low / scale
        codes = ((x / scale[owner]).round() + z[owner]) if whole else (x / scale[owner] + z[owner]).round()
        return bytes_of(codes.clamp(0, 2**num_bits - 1)), scale.view(shape), zero_of(z, low, scale).view(shape)

    return wrong


def signed(shift: bool):
    """absmax / (2^(B−1) − 1), codes of both signs; `shift`: with 2^(B−1) added, so that they are bytes."""

    def wrong(x, num_bits, group_size):
        whole_groups(x, group_size, 0)
        half = 2 ** (num_bits - 1)
        owner, shape = by_channel(*x.shape, group_size)
        _, top = mirrored(*ends_of(x, owner))
        scale = torch.where(top == 0, 1.0, top / (half - 1))
        codes = (x / scale[owner]).round().clamp(-half, half - 1)
        codes = (codes + half).to(torch.uint8) if shift else codes.to(torch.int8)
        return codes, scale.view(shape), (-half * scale if shift else 0 * scale).view(shape)

    return wrong


def without_axis(x, num_bits, codes, scale, zero) -> tuple:
    """Scale and zero without their axis of length 1."""
    return codes, scale.squeeze(), zero.squeeze()


def repeated(owners):
    """Fewer scales, written down for every channel of every group."""

    def program(x, num_bits, group_size):
        codes, scale, zero = quantizer(owners)(x, num_bits, group_size)
        shape = (len(x) // group_size, x.shape[1])
        return codes, scale.expand(shape), zero.expand(shape)

    return program


def padded(keep: bool):
    """Zeros behind the last token until its group is full; `keep` leaves them in the codes."""

    def program(x, num_bits, group_size):
        longer = torch.nn.functional.pad(x, (0, 0, 0, -len(x) % group_size))
        codes, scale, zero = right(longer, num_bits, group_size, by_channel)
        return (codes if keep else codes[: len(x)]), scale, zero

    return program


def whole_part(x, num_bits, group_size) -> tuple:
    """The tokens behind the last whole group are gone."""
    return right(x[: len(x) // group_size * group_size], num_bits, group_size, by_channel)


def cut_off(round_):
    """In float32 and in float64, which do not cut off alike at whole numbers."""
    return quantizer(round_=round_), quantizer(round_=round_, dtype=torch.float64)


TOO_WIDE = (tokens_together, everything, channels_together)
PROGRAMS = {
    "other axis": [quantizer(o, axis) for o in (by_token, whole_token) for axis in (1, 0, None)],
    "all tokens": [
        *(quantizer(whole_channel, axis, give=give) for axis in (0, None) for give in (plain, without_axis)),
        repeated(whole_channel),
    ],
    "all channels": [
        *(quantizer(o, give=give) for o in TOO_WIDE for give in (plain, without_axis)),
        repeated(tokens_together),
        repeated(everything),
    ],
    "dealt": [quantizer(every_nth_token)],
    "transposed": [
        quantizer(give=lambda x, B, codes, scale, zero: (codes, scale.T, zero.T)),
        quantizer(give=lambda x, B, codes, scale, zero: (codes.T, scale.T, zero.T)),
        quantizer(give=lambda x, B, codes, scale, zero: (codes.T, scale, zero)),
    ],
    "counted": [
        *(counted(reach, zero_of) for reach in (with_zero, as_they_are) for zero_of in (
            lambda z, low, s: z, lambda z, low, s: z.int(), lambda z, low, s: z.clamp(0, 255).to(torch.uint8))),
        counted(as_they_are, whole=False),
        quantizer(give=lambda x, B, codes, scale, zero: (codes, scale, zero / scale)),
        quantizer(give=lambda x, B, codes, scale, zero: (codes, scale, -zero)),
    ],
    "stretched": [
        quantizer(reach=with_zero),
        quantizer(reach=lambda low, high: (low.clamp(max=0), high)),
        quantizer(reach=lambda low, high: (low, high.clamp(min=0))),
        counted(zero_of=lambda z, low, s: low),
        counted(zero_of=lambda z, low, s: -s * z),
    ],
    "symmetric": [quantizer(reach=mirrored), signed(True), signed(False)],
    "steps": [
        quantizer(steps=0),
        quantizer(steps=0, give=lambda x, B, codes, scale, zero: (codes.clamp(max=2**B - 1), scale, zero)),
        quantizer(steps=-2),
        quantizer(steps=-2, give=lambda x, B, codes, scale, zero: (codes.clamp(max=2**B - 1), scale, zero)),
    ],
    "truncated": [*cut_off(torch.floor), *cut_off(torch.ceil)],
    "bits": [quantizer(bits=4), quantizer(bits=8)],
    "flat": [quantizer(guard=None), quantizer(guard=0.0)],
    "ragged": [quantizer(by_channel, None), whole_part, padded(False), padded(True)],
}  # fmt: skip


def turned(program):
    """The same for values: on Vᵀ, and everything turned back."""
    return lambda V, num_bits, group_size: tuple(t.T if t.dim() == 2 else t for t in program(V.T, num_bits, group_size))
