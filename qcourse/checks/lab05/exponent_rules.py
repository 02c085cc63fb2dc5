"""e8m0_scale with one thing changed: other rules for the shared exponent."""

import torch


def floored(absmax):
    """Exactly ⌊log2⌋."""
    return torch.frexp(absmax.double()).exponent.double() - 1


def logarithm(absmax):
    """log2 in fp64; of zero, −inf."""
    return torch.log2(absmax.double())


def wrap(code):
    """Into a byte, as a conversion does it; of −inf, 0."""
    return (code.nan_to_num(0, neginf=0).long() & 255).to(torch.uint8)


def clamped(code):
    """Into 0 … 254."""
    return code.clamp(0, 254).nan_to_num(0).to(torch.uint8)


def loudest(blocks):
    """absmax."""
    return blocks.abs().amax(-1)


def refuse(K):
    """What the task asks for."""
    if K % 32:
        raise ValueError(f"32 does not divide K={K}")


def rule(log=floored, emax=2, bias=127, after=clamped, check=True, absmax=loudest):
    """e8m0_scale with one thing changed."""

    def wrong(W):
        if check:
            refuse(W.shape[1])
        return after(log(absmax(W.reshape(len(W), -1, 32))) - emax + bias)

    return wrong


def half_up(absmax, threshold=0.875):
    """The loudest is rounded first, up from `threshold` (of frexp's mantissa, ½ … 1) on: compressed-tensors' rule."""
    mantissa, exponent = torch.frexp(absmax.double())
    return exponent.double() - 1 + (mantissa >= threshold)


def cast(absmax):
    """Rounded to the nearest power of two, as a cast to float8_e8m0fnu does it: from 1.5 on."""
    return half_up(absmax, 0.75)


def along_n(flip=False, check=None):
    """Blocks of 32 rows in one column."""

    def wrong(W):
        if check and len(W) % 32:
            raise check
        codes = rule(check=False)(W.T.contiguous())
        return codes if flip else codes.T

    return wrong


def ragged(W):
    """Whole blocks only."""
    return rule()(W[:, : W.shape[1] // 32 * 32])


def padded(W):
    """The last block filled up with zeros."""
    return rule()(torch.nn.functional.pad(W, (0, -W.shape[1] % 32)))


def row(repeat):
    """One scale a row; `repeat`: written down K/32 times."""

    def wrong(W):
        refuse(W.shape[1])
        code = clamped(floored(W.abs().amax(1, keepdim=True)) + 125)
        return code.expand(-1, W.shape[1] // 32) if repeat else code

    return wrong


def floor_at(eps, shift=False):
    """A guard for zeros that lifts small weights, too."""
    return rule(absmax=lambda b: loudest(b) + eps if shift else loudest(b).clamp(min=eps))


FLOORS = tuple(floor_at(10.0**-n, shift) for n in (12, 30, 20, 16, 10, 9, 8, 7, 6, 5) for shift in (False, True))
ROUNDED_UP = (
    rule(lambda a: logarithm(a).ceil()),
    rule(lambda a: logarithm(a / 6).ceil(), emax=0),
)
CUT = (rule(lambda a: logarithm(a).trunc()), rule(lambda a: (logarithm(a) - 2).trunc(), emax=0))
FORGOTTEN = (rule(emax=0), rule(emax=0, after=wrap), rule(emax=3))
