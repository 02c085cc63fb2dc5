"""08.5, the floor of a bf16 and of an int4 matmul of M tokens."""

import math

from qcourse.checks.draw import integer, uniform
from qcourse.checks.task import Mistake, Property, Task


def machine(g, unpack: float = 1.0) -> dict:
    """A plausible machine: its ridge lies at 100 to 250 operations a byte.

    With N, K ≥ 1024, per weight: one token costs bf16 at least 2 / read, int4 at least 0.5 / read and at most 0.4 / read for
    unpacking (unpack = 1): bytes decide. From M = 489 on, 2 M / flops > 2 / read + 2 M (1/N + 1/K) / read: arithmetic does.
    """
    read = uniform(g, 0.5e12, 4e12)
    flops = read * uniform(g, 100, 250)
    return {"read": read, "flops": flops, "unpack": unpack * flops / integer(g, 10, 40), "tile": 2 ** integer(g, 3, 6)}


def case(g, M: int) -> tuple:
    """(M, N, K, G, machine)."""
    return M, 128 * integer(g, 8, 40), 128 * integer(g, 8, 40), 2 ** integer(g, 5, 7), machine(g)


def tiles(g, whole: bool) -> tuple:
    """Between 1000 and 5000 tokens: a whole number of tiles, or a few more."""
    _, *rest = case(g, 1)
    tile = rest[-1]["tile"]
    M = tile * (integer(g, 1000, 4900) // tile + 1)
    return (M if whole else M + integer(g, 1, tile - 1), *rest)


def seconds(M, N, K, G, m, *, scale=2.0, x=2.0, y=2.0, multiply_add=2.0, weights=1.0, passes=math.ceil, both=max) -> tuple:
    """(bf16, int4); the keywords are what can be got wrong."""
    arithmetic, traffic = multiply_add * M * N * K / m["flops"], x * M * K + y * M * N
    sizes = (2.0 * N * K, N * K / 2 + scale * N * (K // G))
    unpacking = (0.0, passes(M / m["tile"]) * N * K / m["unpack"])
    pairs = zip(sizes, unpacking, strict=True)
    return tuple(both((weights * size + traffic) / m["read"], arithmetic + extra) for size, extra in pairs)


def wrong(**how):
    """A mistake in the law."""
    return lambda M, N, K, group_size, machine: seconds(M, N, K, group_size, machine, **how)


KERNEL_SECONDS = Task(
    id="08.5",
    function="kernel_seconds",
    title="What should it cost?",
    points=4,
    expected=lambda M, N, K, group_size, machine: seconds(M, N, K, group_size, machine),
    properties=(
        Property("one token", lambda g: [case(g, 1), case(g, 1)]),
        Property("some tokens", lambda g: [case(g, integer(g, 2, 40)) for _ in range(3)]),
        Property("thousands of tokens", lambda g: [tiles(g, False) for _ in range(2)]),
        Property("a whole number of tiles", lambda g: [tiles(g, True), tiles(g, True)]),
    ),
    mistakes=(
        Mistake(
            "added instead of overlapped",
            wrong(both=lambda a, b: a + b),
            "You let the machine wait for all its bytes before it multiplies. Memory and arithmetic units work at the "
            "same time. When two things run side by side, which one says when both are done?",
            "Roofline: the slower of the two decides.",
        ),
        Mistake(
            "unpacking is free",
            wrong(passes=lambda tiles: 0),
            "For many tokens your int4 costs exactly as much as bf16. Who turns the codes into numbers that can be "
            "multiplied?",
            "Invariant 4: weight-only multiplies in 16 bits, after unpacking.",
        ),
        Mistake(
            "unpacked once for all tokens",
            wrong(passes=lambda tiles: 1),
            "A kernel keeps an unpacked piece of W only as long as its tile of tokens needs it. With M = 10 tiles, how "
            "often does it come by the same weight?",
            "Invariant 4: the more tiles, the more often a weight is unpacked.",
        ),
        Mistake(
            "parts of a tile counted as parts",
            wrong(passes=lambda tiles: tiles),
            "One token alone needs every weight unpacked, just as a full tile does. How many passes are 1.1 tiles?",
            "A tile is whole: ⌈M / tile⌉.",
            also=(wrong(passes=math.floor), wrong(passes=lambda tiles: math.floor(tiles) + 1)),
        ),
        Mistake(
            "the scales not read",
            wrong(scale=0.0),
            "Half a byte a weight is not all that int4 has to read. What else belongs to each group, and how many "
            "groups are there?",
            "Invariant 2: quantization stores codes *and* scales.",
        ),
        Mistake(
            "one operation for a multiply-add",
            wrong(multiply_add=1.0),
            "Each weight is multiplied, and its product is added. How many operations is that? (Vendors count them so, "
            "too.)",
            "A matmul takes 2·M·N·K operations.",
        ),
        Mistake(
            "the activations not counted",
            wrong(x=0.0, y=0.0),
            "At M = 1 nobody notices. But x comes in and y goes out, and with thousands of tokens those are no longer "
            "small beside W. How many numbers are they?",
            "Roofline: all bytes that move, not only the weights.",
        ),
        Mistake(
            "y not counted",
            wrong(y=0.0),
            "x is read, and that you have counted. What does the kernel do with its result, and how many numbers is that "
            "for M tokens?",
            "Roofline: all bytes that move, also those that are written.",
        ),
        Mistake(
            "x not counted",
            wrong(x=0.0),
            "y is written, and that you have counted. What had to come in before it could be computed, besides the weights?",
            "Roofline: all bytes that move, also those that are read.",
        ),
        Mistake(
            "scales of four bytes",
            wrong(scale=4.0),
            "In the first tasks a scale was fp32. How many bytes does the box above give it here?",
            "The specification: 2 bytes for every scale.",
        ),
        Mistake(
            "one byte a number of x and y",
            wrong(x=1.0, y=1.0),
            "You counted the numbers of x and y. How many bytes does each take, also beside 4-bit weights?",
            "Weight-only: the activations stay in 16 bits.",
            also=(wrong(x=4.0, y=4.0),),
        ),
        Mistake(
            "the weights read again for every token",
            lambda M, N, K, group_size, machine: seconds(M, N, K, group_size, machine, weights=M),
            "That would be M products of one token each. The point of a batch is that a weight, once it is there, "
            "serves all tokens. How often is W read?",
            "Invariant 1 turned round: batching shares the weight bytes.",
        ),
    ),
    hint="Four quantities first, each with its unit: bytes of bf16, bytes of int4, seconds of arithmetic, seconds of "
    "unpacking. Then two times `max`.",
    rtol=1e-6,
    returns=("seconds in bf16", "seconds in int4"),
)
