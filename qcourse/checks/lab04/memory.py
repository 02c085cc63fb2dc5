"""04.1, what the weights occupy, and how many times less that is than bf16."""

from qcourse.checks.draw import integer
from qcourse.checks.task import Mistake, Property, Task


def model(g, num_bits: int, group_size: int | None, kept: bool = True, layers: int = 2) -> tuple:
    """A small model's shapes, K a multiple of 128; the embedding is kept in 16 bits or there is none."""
    shapes = {f"layers.{i}.proj": (8 * integer(g, 1, 20), 128 * integer(g, 1, 6)) for i in range(layers)}
    if kept:
        shapes["embed"] = (16 * integer(g, 4, 40), 128 * integer(g, 1, 4))
    return shapes, num_bits, group_size, ["embed"] if kept else []


def alike(g) -> list[tuple]:
    """Names that contain, begin or end one another; an embedding need not be kept, and what is kept need not be one."""
    names = {  # the first of each list is kept; the others only look like it
        "head": ["head", "head.up", "layers.0.head", "he"],
        "layers.1": ["layers.1", "layers.10", "model.layers.1", "layers", "embed"],
    }
    return [
        ({n: (8 * integer(g, 1, 20), 128 * integer(g, 1, 3)) for n in order}, bits, G, keep)
        for order, bits, G, keep in (
            (names["head"], 8, None, ["head"]),
            (names["layers.1"][::-1], 4, 64, ["layers.1"]),
            ([*names["head"], *names["layers.1"]], 4, 128, ["layers.1", "head"]),
        )
    ]


def kept_if(matches):
    """The kept ones found by another comparison of two names than equality."""

    def wrong(shapes, num_bits, group_size, keep) -> tuple:
        return count(shapes, num_bits, group_size, [n for n in shapes if any(matches(n, k) for k in keep)])

    return wrong


def upside_down(shapes, num_bits, group_size, keep) -> tuple:
    """The share that is left instead of how many times smaller."""
    total, times = count(shapes, num_bits, group_size, keep)
    return total, 1 / times


def count(shapes, num_bits, group_size, keep, *, scale=2, baseline=2, codes=1 / 8, by_group=True) -> tuple:
    """(bytes, times smaller), matrix by matrix; the keywords are what can be got wrong."""
    total = 0
    for name, (N, K) in shapes.items():
        if num_bits == 16 or name in keep:
            total += N * K * 2
        else:
            total += round(N * K * num_bits * codes) + scale * (N * (K // group_size) if group_size and by_group else N)
    return total, baseline * sum(N * K for N, K in shapes.values()) / total


def left_out(shapes, num_bits, group_size, keep) -> tuple:
    """The kept matrices counted nowhere."""
    return count({n: s for n, s in shapes.items() if n not in keep}, num_bits, group_size, keep)


def left_out_above(shapes, num_bits, group_size, keep) -> tuple:
    """The kept matrices counted in the baseline only."""
    total = left_out(shapes, num_bits, group_size, keep)[0]
    return total, 2 * sum(N * K for N, K in shapes.values()) / total


def scales_for_bf16(shapes, num_bits, group_size, keep) -> tuple:
    """Scales counted at 16 bits, too."""
    total = count(shapes, num_bits, group_size, keep)[0]
    if num_bits == 16:
        total += 2 * sum(N * K // (group_size or K) for n, (N, K) in shapes.items() if n not in keep)
    return total, 2 * sum(N * K for N, K in shapes.values()) / total


WEIGHT_BYTES = Task(
    id="04.1",
    function="weight_bytes",
    title="Honest bytes",
    points=3,
    expected=lambda shapes, num_bits, group_size, keep: count(shapes, num_bits, group_size, keep),
    properties=(
        Property("a scale a row", lambda g: [model(g, 8, None, False, 1), model(g, 4, None, False)]),
        Property("a scale a group", lambda g: [model(g, 4, 128, False, 1), model(g, 4, 32, False)]),
        Property("the embedding stays in bf16", lambda g: [model(g, 8, None), model(g, 4, 128), model(g, 3, 64, layers=4)]),
        Property("kept is what `keep` names, and nothing else", alike),
        Property(
            "4 bits, and 16 bits, where nothing is quantized",
            lambda g: [model(g, 4, 128), model(g, 16, None), model(g, 16, 128), model(g, 16, 64, False)],
        ),
    ),
    mistakes=(
        Mistake(
            "compared with fp32 instead of bf16",
            lambda shapes, num_bits, group_size, keep: count(shapes, num_bits, group_size, keep, baseline=4),
            "Your bytes are right; your *times smaller* are twice as large as they should be. Which format would this model "
            "be served in if nobody quantized it? That is what a saving is measured against.",
            "The baseline is bf16: 16 bits are the honest 1×.",
        ),
        Mistake(
            "the ratio upside down",
            upside_down,
            "What you return is the share that is left. 0.25 and “4 times smaller” say the same; one of them was asked for.",
            "The specification: how many times smaller than bf16.",
        ),
        Mistake(
            "the scales forgotten",
            lambda shapes, num_bits, group_size, keep: count(shapes, num_bits, group_size, keep, scale=0),
            "Codes alone are not a weight: nobody can dequantize them. What has to lie beside them in memory, and how "
            "many of those are there?",
            "Invariant 2: quantization stores round(W/s) *and* s. 4 bits with G = 128 are 4.125.",
        ),
        Mistake(
            "the kept matrices quantized too",
            lambda shapes, num_bits, group_size, keep: count(shapes, num_bits, group_size, []),
            "You shrank everything, but embeddings usually stay as they are, and in a small model they are a large "
            "part. Which list says what is left alone?",
            "True sizes: 4-bit weights do not make a file four times smaller.",
        ),
        Mistake(
            "kept by a part of the name",
            kept_if(lambda name, kept: kept in name),
            "You look for the kept name inside other names, so `layers.1` also keeps `layers.10`. When do two names mean "
            "the same matrix?",
            "The specification: `keep` is a list of names, not of patterns.",
            also=(
                kept_if(str.startswith),
                kept_if(str.endswith),
                kept_if(lambda name, kept: name in kept),
                kept_if(lambda name, kept: name.split(".")[-1] == kept),
                kept_if(lambda name, kept: kept in name.split(".")),
            ),
        ),
        Mistake(
            "the embedding kept, whatever the list says",
            lambda shapes, num_bits, group_size, keep: count(shapes, num_bits, group_size, ["embed"]),
            "You know what is usually kept. But this function is told what is kept, and the next model keeps its head or a "
            "layer. Which argument have you not read?",
            "The specification: `keep` names what stays in bf16.",
            also=(
                lambda shapes, num_bits, group_size, keep: count(
                    shapes, num_bits, group_size, [n for n in shapes if "embed" in n or "head" in n]
                ),
            ),
        ),
        Mistake(
            "the kept matrices not counted",
            left_out,
            "What is not quantized still has to be in memory. What does an embedding in bf16 add to the total, and to the "
            "model it is compared with?",
            "True sizes: a table that forgets the 16-bit part shows savings that nobody gets.",
            also=(left_out_above,),
        ),
        Mistake(
            "bits taken for bytes",
            lambda shapes, num_bits, group_size, keep: count(shapes, num_bits, group_size, keep, codes=1),
            "A 4-bit code does not take 4 bytes. How many codes of B bits fill one byte?",
            "8 codes of B bits are B bytes.",
        ),
        Mistake(
            "one scale a row, whatever the group",
            lambda shapes, num_bits, group_size, keep: count(shapes, num_bits, group_size, keep, by_group=False),
            "Per channel your count is right. But with groups, a row of K weights is cut into pieces of G, and each "
            "piece has a scale of its own. How many are there in a row?",
            "Invariant 2: finer granularity costs more scales, N · K / G of them.",
        ),
        Mistake(
            "scales of four bytes",
            lambda shapes, num_bits, group_size, keep: count(shapes, num_bits, group_size, keep, scale=4),
            "Twice too many bytes for the scales: they are stored in 16 bits, like the weights that they replace.",
            "The specification: a scale is 2 bytes.",
        ),
        Mistake(
            "scales for weights that are not quantized",
            scales_for_bf16,
            "At 16 bits nothing is rounded, and 1 is what *times smaller* must say. What would a scale be good for there?",
            "The baseline is bf16: 16 bits are the honest 1×.",
        ),
    ),
    hint="Take one matrix (N, K) and write down its bytes: the codes, then the scales. Then the sum over all matrices, and "
    "beside it the same sum as if every number took 2 bytes.",
    rtol=1e-9,
    returns=("bytes", "times smaller"),
)
