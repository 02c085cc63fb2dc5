"""13.3 swap_nibbles(words) → the words with the two 4-bit halves of each byte exchanged."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab13.nibbles_mistakes import MISTAKES, exchanged, signed
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor


def eights(g, *shape: int) -> Tensor:
    """Words of eight different digits each, some of whose bytes have a top bit in the upper half, some in the lower."""
    words = []
    for i in range(torch.Size(shape).numel()):
        digits = torch.randperm(16, generator=g)[:8]
        while (digits[0] > 7, digits[1] > 7) != ((True, True), (True, False), (False, True), (False, False))[i % 4]:
            digits = torch.randperm(16, generator=g)[:8]
        words.append(signed(int("".join(f"{d:X}" for d in digits.tolist()), 16)))
    return torch.tensor(words, dtype=torch.int32).reshape(shape)


def single(g) -> list[tuple]:
    """One code at a time: eight words, each with one digit that is not 0."""
    digits = [draw.integer(g, 1, 15) for _ in range(8)]
    words = [signed(d << 4 * i) for i, d in enumerate(digits)]
    return [(torch.tensor([words], dtype=torch.int32),), (torch.tensor([[w] for w in words], dtype=torch.int32),)]


def positive(g) -> list[tuple]:
    """No number of 32 bits here is negative, before or after."""
    return [(eights(g, *shape) & 0x77777777 | 0x01000000,) for shape in ((2, 4), (3, 5))]


SWAP_NIBBLES = Task(
    id="13.3",
    function="swap_nibbles",
    title="Mend them",
    points=4,
    expected=exchanged,
    properties=(
        Property("words without a sign", positive, 2),
        Property("words with a sign, before or after", lambda g: [(eights(g, 2, 4),), (eights(g, 4, 3),)], 2),
        Property("one code at a time", single),
        Property("one word, and many", lambda g: [(eights(g, 1, 1),), (eights(g, 5, 1),), (eights(g, 1, 8),)]),
    ),
    mistakes=MISTAKES,
    hint="Write a word in hexadecimal: 0x12345678. What should come back? Then two masks: which bits move to the left by "
    "four places, and which to the right? Mind that int32 has a sign.",
    bits=32,
    words=("words",),
    returns=("words",),
)
