"""Exercises A1.18 to A1.23: a function each, run on inputs that are drawn anew every time."""

import torch

from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import INT8_TOKEN, PRESETS
from qcourse.packing.bits import pack_bytes
from qcourse.study import exercises_written as written
from qcourse.study.cost import KV_BLOCK
from qcourse.study.exercise import Exercise, Program, code, results
from qcourse.study.exercises_warm_up import bits

CHANNEL = PRESETS["W8A16"].weights.with_(scale=torch.float32, grid=IntGrid(8, restricted=True))
TENSOR = PRESETS["W8A16_TENSOR"].weights.with_(scale=torch.float32, grid=IntGrid(8, restricted=True))
INT4 = PRESETS["W4A16_G32"].weights.with_(scale=torch.float32)
TOKEN = INT8_TOKEN.with_(grid=IntGrid(8, restricted=True))


def normal(g: torch.Generator, N: int, K: int) -> torch.Tensor:
    """A weight whose rows are of different sizes."""
    return torch.randn(N, K, generator=g) * 10 ** (2 * torch.rand(N, 1, generator=g) - 1)


def whole(g: torch.Generator, low: int, high: int) -> int:
    """One of low … high."""
    return int(torch.randint(low, high + 1, (1,), generator=g))


def coded(g: torch.Generator, M: int, K: int) -> torch.Tensor:
    """Rows of which each number lies within 0.4 steps of an int8 code, so that rounding is the same in every dtype."""
    steps = torch.randint(-126, 127, (M, K), generator=g) + 0.8 * torch.rand(M, K, generator=g) - 0.4
    steps[:, whole(g, 0, K - 1)] = 127
    return steps * 10 ** (2 * torch.rand(M, 1, generator=g) - 3)


def near(got, expected: torch.Tensor, rtol: float = 1e-4) -> str | None:
    """None, or how a result differs from a tensor of the same shape, each row within rtol of its largest number."""
    got = torch.as_tensor(got)
    if got.shape != expected.shape:
        return f"the shape is {tuple(got.shape)}, expected {tuple(expected.shape)}"
    off = (got.double() - expected.double()).abs() - rtol * expected.double().abs().amax(-1, keepdim=True)
    if bool((off <= 0).all()):
        return None
    return f"{int((off > 0).sum() + off.isnan().sum())} of {expected.numel()} numbers differ"


def on_int4(args: tuple, got) -> str | None:
    """Whether each number is a code −8 … 7 of its group's step, and a nearest one. (At the ends a tie may go either way.)"""
    W, got = args[0], torch.as_tensor(got)
    if got.shape != W.shape:
        return f"the shape is {tuple(got.shape)}, expected {tuple(W.shape)}"
    groups, back = W.double().unflatten(1, (-1, 32)), got.double().unflatten(1, (-1, 32))
    s = groups.abs().amax(2, keepdim=True) / 7.5
    codes = back / s
    if not bool(((codes - codes.round()).abs() < 1e-3).all()) or codes.min() < -8.01 or codes.max() > 7.01:
        return "not every number is a whole multiple, −8 … 7, of its group's step"
    return None if ((back - groups).abs() <= s * 0.501).all() else "some weights are further than half a step away"


def lost(W: torch.Tensor, args) -> torch.Tensor:
    """Relative error of each row of W."""
    return (fake_quantize(W, args) - W).norm(dim=1) / W.norm(dim=1)


def is_lost(args: tuple, W) -> str | None:
    """Whether one scale for the tensor erases a row of W that one scale a row keeps."""
    W = torch.as_tensor(W).float()
    if tuple(W.shape) != args or not W.isfinite().all():
        return f"a matrix of {args[0]} × {args[1]} finite numbers is expected"
    if (W == 0).all(1).any():
        return written.ZEROS
    if lost(W, CHANNEL).max() > 0.05:
        return written.COLUMN
    return None if (lost(W, TENSOR) == 1).any() else written.ALIKE


def gap(captures) -> dict:
    """What the model's matrix loses either way."""
    W = written.lost_channel(4, 64)
    return {"tensor": lost(W, TENSOR).max().item(), "channel": lost(W, CHANNEL).max().item(),
            "step": (TENSOR.grid.limit * 2), "code": code(written.lost_channel)}  # fmt: skip


def grouped(captures) -> dict:
    """Errors on a Gaussian matrix, and bits."""
    W = torch.randn(256, 4096, generator=torch.Generator().manual_seed(0))
    return {"four": lost(W, INT4).mean().item(), "eight": lost(W, CHANNEL).mean().item(), "bits4": bits("W4A16_G32"),
            "bits8": bits("W8A16"), "share": bits("W4A16_G32") / bits("W8A16"),
            "code": code(written.fake_int4)}  # fmt: skip


def both(captures) -> dict:
    """What W8A8 costs SmolLM2 with a scale a token, and with one for all."""
    r = results(captures, "smollm2-both")
    return {n: r[k]["added_bits_per_byte"] for n, k in (("token", "W8A8"), ("static", "W8A8_STATIC"))} | {
        "code": code(written.int8_linear)}  # fmt: skip


def product(args: tuple, y) -> str | None:
    """Against the law: both sides dequantized."""
    x, W = args
    return near(y, fake_quantize(x, TOKEN).double() @ fake_quantize(W, CHANNEL).double().T)


BUILD = (
    Exercise("A1.18", "build", "Lose a channel", "lost_channel(N, K): a matrix in which int8 with one scale for the "
        "tensor erases a whole row (every code is 0), while a scale a row keeps each of its rows within 5 %.",
        ("01 §2",), 2,
        Program("lost_channel", lambda g: (whole(g, 2, 8), 16 * whole(g, 2, 8)),
        is_lost, written.lost_channel, written.LOST),
        "A row vanishes when its largest weight is below half a step, so when it is more than {step:.0f} times smaller "
        "than the largest of the matrix. Its relative error is then {tensor:.0%}, and {channel:.2%} with a scale of its "
        "own. The mean error of the whole matrix hardly shows it: the lost row is the small one. So look at errors by "
        "row.\n\n{code}",
        gap, guide="a matrix on which per-tensor int8 loses a channel"),
    Exercise("A1.19", "build", "int4 in groups of 32", "fake_int4(W): W (N, K) rounded to int4 and back; 32 neighbours "
        "of a row share s = max|w| / 7.5, codes are −8 … 7. No group is all zero.", ("02 §2",), 2,
        Program("fake_int4", lambda g: (normal(g, whole(g, 2, 6), 32 * whole(g, 2, 5)),),
                on_int4, written.fake_int4, written.FAKE_INT4),
        "Cut each row into groups, find each one's scale, round, clamp, multiply back. On Gaussian weights its relative "
        "error is {four:.1%}, where int8 with a scale a row has {eight:.1%}. It takes {bits4:g} bits a weight instead of "
        "{bits8:.3f}: {share:.0%}. Halving the bits makes the error many times larger, and only a measurement on the "
        "model says whether that matters.\n\n{code}",
        grouped, guide="int4 per group of 32 against int8 per channel"),
    Exercise("A1.20", "build", "W8A8, in integers", "int8_linear(x, W): x Wᵀ, with codes −127 … 127 on both sides, one "
        "scale a row of x and one a row of W; the product of codes in integers, rescaled afterwards.", ("03 §3",
        "08 §3"), 3,
        Program("int8_linear", lambda g: (normal(g, whole(g, 2, 6), k := 16 * whole(g, 2, 8)), normal(g, whole(g, 2, 6),
        k)), product,
                written.int8_linear, written.INT8_LINEAR),
        "Both sides are codes when they meet, and the sum runs in int32: a product of two codes needs up to 15 bits, and "
        "hundreds of them are added. The scales act on the sum, one for each row and one for each column of y. On "
        "SmolLM2 a scale a token costs {token:+.4f} bits/byte, one static scale for all tokens {static:+.4f} "
        "(smollm2-both.json).\n\n{code}",
        both, ("smollm2-both",), guide="fake activation quantization; the product in int8, then rescaled"),
    Exercise("A1.21", "build", "Three bits in a row", "pack_int3(codes): eight codes 0 … 7, (8,), as three bytes "
        "(uint8): code i begins at bit 3·i, the lowest bit of the first byte is bit 0.", ("02 §3", "09 §5"), 4,
        Program("pack_int3", lambda g: (torch.randint(0, 8, (8,), generator=g),),
                lambda args, got: near(got, pack_bytes(args[0], 3), 0), written.pack_int3, written.PACK_INT3),
        "Join the codes in one number of {all} bits, then cut that into bytes. Codes {split} lie in two bytes each, so a "
        "kernel that reads a byte at a time has to join two. Formats whose bits divide 8 never have that, which is one "
        "reason why 3 bits are rare; other layouts keep two planes, of 2 bits and of 1.\n\n{code}",
        lambda captures: {"code": code(written.pack_int3), "all": 3 * 8,
                          "split": " and ".join(str(i) for i in range(8) if 3 * i // 8 != (3 * i + 2) // 8)}),
    Exercise("A1.22", "build", "The bound", "bounds(W): for int4 with groups of 32 (s = max|w| / 7.5, codes −8 … 7), the "
        "most that a weight of each group can be off: (N, K/32).", ("01 §1", "02 §1"), 2,
        Program("bounds", lambda g: (normal(g, whole(g, 2, 6), 32 * whole(g, 2, 5)),),
                lambda args, got: near(got, args[0].unflatten(1, (-1, 32)).abs().amax(2) / 15),
                written.bounds, written.BOUNDS),
        "Half a step: s / 2 = max|w| / 15. Rounding is off by at most half a step. At the ends it holds, too: max|w| "
        "lies at 7.5 steps, and the codes end at −8 and 7, so the largest weight becomes 7 or −8 steps and is off by "
        "exactly half of one. The bound needs no data. Where a weight is further off, somebody chose the code for "
        "another reason (GPTQ does, on purpose), or something is broken.\n\n{code}",
        lambda captures: {"code": code(written.bounds)}),
    Exercise("A1.23", "build", "Who fits", "sequences(free, token_bytes, context): how many sequences of `context` "
        "tokens fit `free` bytes of cache, in whole blocks of 16 tokens.", ("10 §7", "04 §4"), 6,
        Program("sequences", lambda g: (float(whole(g, 10**8, 10**9)), 1024 * whole(g, 1, 16), 16 * whole(g, 10, 40) + 1),
                lambda args, got: None if got == written.sequences(*args) else f"{got!r} came back; another number fits",
                written.sequences, written.SEQUENCES),
        "A sequence takes whole blocks of {block} tokens, its last one in part empty, and only whole sequences count. "
        "Rounding twice in the right direction is all of it: up for blocks, down for sequences. The free bytes are what "
        "weights and activations leave, so 4-bit weights make room for users as well; an FP8 cache halves "
        "token_bytes.\n\n{code}",
        lambda captures: {"block": KV_BLOCK, "code": code(written.sequences)}),
)  # fmt: skip
