"""08.2, the GEMV that nobody can doubt; and the law by which every GEMV of this lab is judged."""

import torch

from qcourse.checks.compare import difference
from qcourse.checks.lab08.words import codes, words
from qcourse.checks.task import Mistake, Property, Task
from qcourse.packing.bits import unpack_words
from qcourse.shapes import Tensor


def layer(g, N: int, K: int, G: int, dtype=torch.float32) -> tuple:
    """(x, words, scale, G): no x is small and no two scales agree, so that a code in the wrong place shows."""
    x = (1 + torch.rand(K, generator=g)) * torch.where(torch.rand(K, generator=g) < 0.5, -1.0, 1.0)
    return x.to(dtype), words(g, N, K // 8), 0.02 + torch.rand(N, K // G, generator=g), G


def loud(g, N: int, K: int, G: int, dtype) -> tuple:
    """The same with every product positive: the sum is as large as its parts, and low precision cannot hide."""
    x, w, scale, G = layer(g, N, K, G, dtype)
    return x.abs(), w | 0x08888888 | -(2**31), scale, G


def weight(w: Tensor, scale: Tensor, group_size: int) -> Tensor:
    """Ŵ (N, K) in fp64, by the package's own unpacking."""
    q = unpack_words(w, 4, 8 * w.shape[1]).double() - 8
    return q * scale.double().repeat_interleave(group_size, 1)


def exact(x, words, scale, group_size) -> Tensor:
    """y in fp64, rounded once."""
    return (weight(words, scale, group_size) @ x.double()).float()


def room(x, words, scale, group_size) -> Tensor:
    """How far fp32 may lie from the truth: (K + 16) · 2⁻²⁴ · Σ s (q + 8) |x|.

    A sum of K terms in any order, and a few roundings a term, as Σ s (q − 8) x or as Σ s q x − 8 Σ s x (Higham 2002, §3.1).
    """
    parts = (codes(words).flatten(1).double() + 8) * scale.double().repeat_interleave(group_size, 1)
    return parts @ x.double().abs() * (len(x) + 16) * 2.0**-24


def same_sum(args, got: Tensor, other: Tensor) -> str | None:
    """Equal within `room`, or NaN together. (Two bf16 answers, both wrong, also where their roundings fell apart.)"""
    g, o = got.double(), other.double()
    coarse = 2.0**-7 * o.abs() if got.dtype == other.dtype == torch.bfloat16 else 0.0
    good = ((g - o).abs() <= room(*args[:4]) + coarse) | (g == o) | (g.isnan() & o.isnan())
    return difference(torch.where(good, o, g), o, where="y")


def gemv(x, words, scale, group_size, *, unpack=codes, offset=8.0, spread=None) -> Tensor:
    """y = Σ s·(q − offset)·x; how codes are unpacked and how scales are spread over K can be got wrong."""
    q = unpack(words).flatten(1).double() - offset
    s = scale.double().repeat_interleave(group_size, 1) if spread is None else spread(scale.double(), q.shape[1])
    return ((q * s) @ x.double()).float()


def by_words(group_size: int):
    """Scales found by the number of the word instead of the weight."""
    return lambda s, K: s[:, torch.arange(K) // 8 // group_size]


def in_low_precision(x, words, scale, group_size) -> Tensor:
    """Rounded to x's dtype at the end: what a product in that dtype gives."""
    return exact(x, words, scale, group_size).to(x.dtype)


def summed_in_low_precision(x, words, scale, group_size) -> Tensor:
    """Every tensor in x's dtype."""
    W = (codes(words).to(x.dtype) - 8).view(len(words), -1, group_size) * scale.to(x.dtype).unsqueeze(-1)
    return W.view(len(words), -1) @ x


def rounded_weights(x, words, scale, group_size) -> Tensor:
    """Ŵ rounded to x's dtype, then a product in it."""
    return weight(words, scale, group_size).float().to(x.dtype) @ x


MISTAKES = (
    Mistake(
        "summed in low precision",
        in_low_precision,
        "bf16 keeps 8 significant bits. As a format for x that is fine; as the type in which a thousand products "
        "are added, or handed back, it is not. Which type should the accumulator and the result have?",
        "Accumulate wider than you store: fp32.",
        also=(summed_in_low_precision, rounded_weights),
    ),
    Mistake(
        "the 8 forgotten",
        lambda x, words, scale, group_size: gemv(x, words, scale, group_size, offset=0.0),
        "Stored codes are 0 … 15, weights are positive *and* negative. Your weights are all ≥ 0. Which code stands for "
        "a weight of zero?",
        "The format: ŵ = s · (q − 8).",
    ),
    Mistake(
        "the codes of a word in the wrong order",
        lambda x, words, scale, group_size: gemv(x, words, scale, group_size, unpack=lambda w: codes(w, range(7, -1, -1))),
        "Each x[k] meets a weight of the right word, but not its own. Which bits of a word hold the weight with the "
        "smallest k?",
        "Invariant 4: the order of the codes is part of the format.",
        also=(
            lambda x, words, scale, group_size: gemv(
                x, words, scale, group_size, unpack=lambda w: codes(w, (1, 0, 3, 2, 5, 4, 7, 6))
            ),
        ),
    ),
    Mistake(
        "the group counted in words",
        lambda x, words, scale, group_size: gemv(x, words, scale, group_size, spread=by_words(group_size)),
        "G counts *weights*, and a word holds eight of them. After G words your group number has moved on by one: by "
        "how many should it have?",
        "Invariant 2: G weights along K share a scale.",
    ),
    Mistake(
        "one scale for the whole row",
        lambda x, words, scale, group_size: gemv(x, words, scale, group_size, spread=lambda s, K: s[:, :1]),
        "A row has K/G scales, and you used one of them for all its weights. When is a scale of a group to be "
        "multiplied in: before or after the groups are added?",
        "Invariant 2: a scale belongs to its group.",
        also=(
            lambda x, words, scale, group_size: gemv(
                x, words, scale, group_size, spread=lambda s, K: s.mean(1, keepdim=True)
            ),
        ),
    ),
)

GEMV_NAIVE = Task(
    id="08.2",
    function="gemv_naive",
    title="So slowly that nobody can doubt it",
    points=3,
    expected=exact,
    properties=(
        Property("one group", lambda g: [layer(g, 2, 8, 8), layer(g, 3, 32, 32)]),
        Property("several groups", lambda g: [layer(g, 2, 16, 8), layer(g, 2, 192, 8), layer(g, 4, 128, 32)], 2),
        Property(
            "bf16 x, summed in fp32", lambda g: [loud(g, 4, 32, 8, torch.bfloat16), loud(g, 16, 64, 16, torch.bfloat16)]
        ),
    ),
    mistakes=(
        *MISTAKES,
        Mistake(
            "the 8 taken off after the scale",
            lambda x, words, scale, group_size: (
                (codes(words).flatten(1) * scale.double().repeat_interleave(group_size, 1) - 8) @ x.double()
            ).float(),
            "You compute s · q − 8. The 8 is counted in codes, like q; s turns codes into weights. What has to be "
            "bracketed?",
            "The format: ŵ = s · (q − 8).",
        ),
        Mistake(
            "divided by the scale",
            lambda x, words, scale, group_size: gemv(x, words, 1 / scale, group_size),
            "Dividing by s turns weights into codes; here the codes are given. Which way round do you have to go?",
            "`scale` always multiplies on dequantize.",
        ),
    ),
    hint="Number the weight first: word w and code j make k = 8w + j. From k follow both, the x that it meets and the "
    "group whose scale it needs.",
    same=same_sum,
    returns=("y",),
    words=("words",),
    seconds=10.0,
)
