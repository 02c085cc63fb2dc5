"""The functions of exercises A1.18 to A1.23 as one may write them, and as people write them first, with what is wrong."""

import math

import torch


def lost_channel(N, K):
    """A first row a thousand times larger than the others."""
    W = torch.linspace(0.5, 1, K).repeat(N, 1)
    W[0] *= 1000
    return W


def fake_int4(W):
    """Ŵ of W (N, K)."""
    groups = W.reshape(len(W), -1, 32)
    s = groups.abs().amax(-1, keepdim=True) / 7.5
    return (s * torch.clamp(torch.round(groups / s), -8, 7)).reshape(W.shape)


def int8_linear(x, W):
    """x Wᵀ, codes against codes."""
    s_x, s_w = (t.abs().amax(1, keepdim=True) / 127 for t in (x, W))
    q_x, q_w = torch.round(x / s_x).to(torch.int8), torch.round(W / s_w).to(torch.int8)
    return (q_x.int() @ q_w.int().T) * s_x * s_w.T


def pack_int3(codes):
    """Three bytes of eight codes."""
    word = sum(int(code) << (3 * i) for i, code in enumerate(codes))
    return torch.tensor([word & 255, word >> 8 & 255, word >> 16], dtype=torch.uint8)


def bounds(W):
    """Half a step of each group."""
    return W.reshape(len(W), -1, 32).abs().amax(-1) / 7.5 / 2


def sequences(free, token_bytes, context):
    """Whole sequences of whole blocks."""
    blocks = -(-context // 16)
    return int(free // (blocks * 16 * token_bytes))


def rounded(W, axis, limit=7.5, last=7):
    """W on a grid, with the scale shared along `axis` (None: all of W)."""
    s = (W.abs().max() if axis is None else W.abs().amax(axis, keepdim=True)) / limit
    return s * torch.clamp(torch.round(W / s), -last - 1, last)


def flat(W, axis, **how):
    """fake_int4 with groups cut along K, and something else changed."""
    return rounded(W.reshape(len(W), -1, 32), axis, **how).reshape(W.shape)


def codes8(t, axis):
    """(codes as floats, scale) in int8."""
    s = t.abs().amax(axis, keepdim=True) / 127
    return torch.round(t / s), s


def per_tensor(x, W):
    """One scale for all tokens."""
    q, s = codes8(W, 1)
    scale = x.abs().max() / 127
    return (torch.round(x / scale) @ q.T) * scale * s.T


def unscaled(x, W, sides=0):
    """The sum of codes; `sides` 1: rescaled for x alone."""
    (q, s), (p, _) = codes8(x, 1), codes8(W, 1)
    return (q @ p.T) * (s if sides else 1)


def wrapped(x, W):
    """The sum kept in int8."""
    (q, s), (p, t) = codes8(x, 1), codes8(W, 1)
    return (q @ p.T).to(torch.int64).to(torch.int8) * s * t.T


def packed3(codes, step=3, back=False):
    """pack_int3 with another step, or from the left."""
    codes = list(codes)[::-1] if back else codes
    word = sum(int(code) << (step * i) for i, code in enumerate(codes)) & 0xFFFFFF
    return torch.tensor([word & 255, word >> 8 & 255, word >> 16], dtype=torch.uint8)


ALIKE = "no row is lost: rows of like size all survive, so make one far larger than another"
ZEROS = "a row of zeros loses nothing: it has to be small, not 0"
COLUMN = "the loud numbers lie in a column, so each row has one: with a scale of its own a row loses as much"
LOST = (
    (lambda N, K: torch.linspace(-1, 1, N * K).reshape(N, K), ALIKE),
    (lambda N, K: torch.cat([torch.ones(1, K), torch.zeros(N - 1, K)]), ZEROS),
    (lambda N, K: torch.cat([lost_channel(N, K), 3e5 * torch.ones(N, 1)], 1)[:, 1:], COLUMN),
)
FAKE_INT4 = (
    (lambda W: rounded(W, 1), "one scale a row: 32 neighbours share one here"),
    (lambda W: rounded(W, None), "one scale for all of W"),
    (
        lambda W: flat(W, 2, limit=7),
        "max|w| / 7 is the restricted range; here −8 is a code, too, and the step is max|w| / 7.5",
    ),
    (lambda W: flat(W, 2, last=127), "not clamped: round(7.5) is 8, which is no code"),
)
INT8_LINEAR = (
    (lambda x, W: x @ W.T, "nothing was rounded: that is the product in floats"),
    (per_tensor, "one scale for all of x: each token has its own"),
    (unscaled, "the sum of codes, never rescaled"),
    (lambda x, W: unscaled(x, W, 1), "rescaled for x, not for W"),
    (wrapped, "the sum does not fit int8: add up in int32"),
)
PACK_INT3 = (
    (lambda codes: packed3(codes, 4), "moved by four bits each: three are enough, and 32 bits do not fit three bytes"),
    (lambda codes: packed3(codes, back=True), "the last code lies lowest; the first one has to"),
    (lambda codes: packed3(codes).flip(0), "the bytes are in the opposite order: the lowest bits are in the first"),
)
BOUNDS = (
    (lambda W: 2 * bounds(W), "that is the step; rounding is off by half of it"),
    (lambda W: bounds(W) * 7.5 / 7, "that is half a step of the restricted range, max|w| / 7"),
    (
        lambda W: (W.abs().amax(1, keepdim=True) / 15).expand(-1, W.shape[1] // 32),
        "one bound a row: each group has a step of its own",
    ),
)
SEQUENCES = (
    (lambda free, token, context: free / (context * token), "a sequence that fits in part cannot be served: round down"),
    (lambda free, token, context: int(free // (context // 16 * 16 * token)),
        "blocks rounded down: the last, partly filled, is missing"),
    (lambda free, token, context: int(free // (16 * token)), "that counts blocks, not sequences"),
    (lambda free, token, context: math.ceil(free / (-(-context // 16) * 16 * token)),
        "rounded up: the last one does not fit"),
)  # fmt: skip
