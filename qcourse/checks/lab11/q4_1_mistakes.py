"""The known mistakes of 11.3: a block whose fields, nibbles or numbers are read as something else."""

import torch

from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor


def half(pair: Tensor) -> Tensor:
    """Two bytes as the float16 that they are."""
    return pair.contiguous().view(torch.float16).double()


def bfloat(pair: Tensor) -> Tensor:
    """Two bytes as a bf16."""
    return pair.contiguous().view(torch.bfloat16).double()


def big_endian(pair: Tensor) -> Tensor:
    """The first byte as the higher one."""
    return half(pair.flip(-1))


def as_integer(pair: Tensor) -> Tensor:
    """Two bytes as a whole number."""
    return pair.contiguous().view(torch.int16).double()


def unsigned(pair: Tensor) -> Tensor:
    """Likewise, without a sign."""
    return as_integer(pair) % 2**16


def first_byte(pair: Tensor) -> Tensor:
    """Converted instead of looked at: the number in the first byte."""
    return pair[..., :1].double()


def halves(qs: Tensor) -> Tensor:
    """All low nibbles, then all high ones."""
    return torch.cat((qs & 0xF, qs >> 4), -1)


def high_first(qs: Tensor) -> Tensor:
    """All high nibbles, then all low ones."""
    return torch.cat((qs >> 4, qs & 0xF), -1)


def neighbours(qs: Tensor) -> Tensor:
    """Low and high nibble of a byte beside each other."""
    return torch.stack((qs & 0xF, qs >> 4), -1).flatten(-2)


def neighbours_high_first(qs: Tensor) -> Tensor:
    """High and low nibble of a byte beside each other."""
    return torch.stack((qs >> 4, qs & 0xF), -1).flatten(-2)


def block(
    number=half, nibbles=halves, d=slice(0, 2), m=slice(2, 4), qs=slice(4, 20), value=lambda d, q, m: d * q + m,
    share=lambda t: t,
):  # fmt: skip
    """read_q4_1 with one thing changed."""

    def wrong(blocks):
        b = blocks.reshape(len(blocks), -1, 20)
        q = nibbles(b[..., qs]).double()
        return value(share(number(b[..., d])), q, share(number(b[..., m]))).float().flatten(1)

    return wrong


def fields(which: tuple):
    """A row that is all d, then all m, then all nibbles: no blocks. `which`: the order of the three."""

    def wrong(blocks):
        N, many = len(blocks), blocks.shape[1] // 20
        sizes = {"d": 2 * many, "m": 2 * many, "qs": 16 * many}
        parts = dict(zip(which, blocks.split([sizes[w] for w in which], 1), strict=True))
        d, m = (half(parts[w].reshape(N, many, 2)) for w in "dm")
        return (d * halves(parts["qs"].reshape(N, many, 16)).double() + m).float().flatten(1)

    return wrong


def in_16_bits(d, q, m):
    """Everything in float16."""
    return d.half() * q.half() + m.half()


MISTAKES = (
    Mistake(
        "nibbles 0 and 1 taken for neighbours",
        block(nibbles=neighbours),
        "Your byte 4 holds the weights 0 and 1, as in lab 02's packing. In GGUF's 4-bit blocks it holds the weights 0 and "
        "16: one mask gives 16 weights that are neighbours, one shift the other 16.",
        "Layout is a contract: low nibbles are weights 0 … 15, high ones 16 … 31.",
        also=(block(nibbles=neighbours_high_first),),
    ),
    Mistake(
        "high nibbles first",
        block(nibbles=high_first),
        "Your first 16 weights come from the high nibbles. The picture has w0 on the right side of byte 4: which of the two "
        "is that?",
        "Layout is a contract: low nibbles are weights 0 … 15, high ones 16 … 31.",
    ),
    Mistake(
        "d and m exchanged",
        block(d=slice(2, 4), m=slice(0, 2)),
        "You multiply by m and add d. Both are float16 and lie side by side; in a real file d is small and positive, m the "
        "least weight of the block, mostly below 0. Which comes first?",
        "Q4_1: d, m, then the codes.",
    ),
    Mistake(
        "m subtracted",
        block(value=lambda d, q, m: d * q - m),
        "You subtract m. Here m is the block's least weight itself, already with its sign: code 0 has to give m. (Q4_K's "
        "minimum *is* subtracted, which is where the confusion comes from.)",
        "w = d · q + m.",
        also=(block(value=lambda d, q, m: d * (q - m)), block(value=lambda d, q, m: d * (q + m))),
    ),
    Mistake(
        "codes taken as signed",
        block(value=lambda d, q, m: d * (q - 8) + m),
        "You moved the codes by 8, or took the upper half for negative numbers, as in Q4_0. Q4_1 has a minimum instead: "
        "its codes are 0 … 15, and code 0 is the least weight of the block.",
        "w = d · q + m, with q from 0 to 15.",
        also=(
            block(value=lambda d, q, m: d * torch.where(q > 7, q - 16, q) + m),
            block(value=lambda d, q, m: d * (q - 8)),
        ),
    ),
    Mistake(
        "m left out",
        block(value=lambda d, q, m: d * q),
        "You read m over. Without it all weights of a block have d's sign; with it, code 0 stands for the least weight.",
        "w = d · q + m.",
    ),
    Mistake(
        "bf16 instead of fp16",
        block(bfloat),
        "You looked at the two bytes as bfloat16. Both have 16 bits, and both give a number: yours are too small by many "
        "powers of two. How many bits of exponent has GGUF's f16?",
        "d and m are float16: 1 + 5 + 10 bits.",
    ),
    Mistake(
        "the two bytes of a number exchanged",
        block(big_endian),
        "The first byte of a little-endian number is its *lower* one: sign and exponent are in the second. You turned them "
        "around, or read them as big endian.",
        "Numbers in a file are little endian, as this machine's are.",
    ),
    Mistake(
        "bits converted instead of read",
        block(as_integer),
        "Two bytes of d are a pattern of bits. You took them for whole numbers and *converted* those to floats: 0x2800, "
        "which is 0.03125, becomes 10,240. Which torch method looks at the same bits as another dtype?",
        "A float16 in bytes is viewed, not converted.",
        also=(block(first_byte), block(unsigned)),
    ),
    Mistake(
        "one block's numbers for the whole row",
        block(share=lambda t: t[:, :1]),
        "All blocks of a row use the d and m of the first one in your function, or all rows those of row 0. A block brings "
        "its own pair: what is the shape of d, if every block has one?",
        "One d and one m for 32 weights: (N, K/32) each.",
        also=(block(share=lambda t: t[:1]), block(share=lambda t: t[:1, :1])),
    ),
    Mistake(
        "fields instead of blocks",
        fields(("d", "m", "qs")),
        "You read a row as all scales, then all minima, then all codes, as most formats keep them. Here each block carries "
        "its own: after 20 bytes the next d begins.",
        "GGUF: a row is K/32 blocks of 20 bytes.",
        also=(
            fields(("qs", "d", "m")),
            block(d=slice(16, 18), m=slice(18, 20), qs=slice(0, 16)),
        ),
    ),
    Mistake(
        "computed in 16 bits",
        block(value=in_16_bits),
        "d and m are float16, and you computed with them as they are: every weight is rounded to 11 bits twice. What they "
        "stand for is exact in float32, but for the last bit.",
        "Computed in float32 or wider.",
        also=(block(value=lambda d, q, m: (d * q + m).half()),),
    ),
    Mistake(
        "blocks not put in a row",
        lambda blocks: block()(blocks).reshape(-1, 32),
        "The weights are right, a block in each row. The matrix has as many rows as came in: K/32 blocks lie behind each "
        "other in each of them.",
        "W is (N, K).",
        also=(
            lambda blocks: block()(blocks).reshape(len(blocks), -1, 32),
            lambda blocks: block()(blocks).reshape(len(blocks), -1, 32).transpose(1, 2).flatten(1),
            lambda blocks: block()(blocks).flatten(),
        ),
    ),
)
