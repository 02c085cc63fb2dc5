"""08.3, the GEMV that must also be fast: judged by its values, and by the clock against decode-then-multiply."""

import time

import torch

from qcourse.shapes import Tensor
from qcourse.study.checks.lab08.loops import MISTAKES, exact, gemv, layer, loud, same_sum, weight
from qcourse.study.checks.lab08.words import codes
from qcourse.study.checks.task import Mistake, Property, Task
from qcourse.study.checks.watch import timed

ATTEMPTS = 3  # the fastest counts: a shared machine can only make things slower
HEATS = ((32, 1024, 128, 200), (1024, 2048, 128, 10))  # N, K, G, times the baseline; a hopeless one is stopped early


def decode_then_multiply(x, words, scale, group_size) -> Tensor:
    """The baseline: all of Ŵ (N, K) in fp32, then one product."""
    W = (codes(words).float() - 8).view(len(words), -1, group_size) * scale.unsqueeze(-1)
    return W.view(len(words), -1) @ x.float()


def on_one_core(args) -> float:
    """Seconds of the baseline: the median of five, on one core everywhere, so that the bar is as high on every machine."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        return timed(decode_then_multiply, args, 5)
    finally:
        torch.set_num_threads(threads)


class Race:
    """Times an answer by the clock between handing a case out and judging what came back.

    That is the student's call and a few milliseconds of bookkeeping (copying and comparing the arguments, one more
    multiplication), which count against nobody: the bar is ten times the baseline. Earlier properties have warmed up
    whatever had to be compiled.
    """

    def __init__(self):
        self.late = {}  # id of a case's words → None or the sentence
        self.keep = []  # those words, so that an id stays theirs

    def cases(self, g):
        """Up to ATTEMPTS cases a heat, drawn one by one; a heat that is won or lost ends early."""
        self.late, self.keep = {}, []
        for N, K, G, self.bar in HEATS:
            self.fastest, args = float("inf"), layer(g, N, K, G)
            self.baseline = on_one_core(args)
            for self.left in range(ATTEMPTS - 1, -1, -1):
                args = (args[0], args[1].clone(), args[2], args[3])
                self.keep.append(args[1])
                self.began = time.perf_counter()
                yield args
                if self.fastest <= self.bar * self.baseline:
                    break
            else:
                return

    def verify(self, args, got, expected) -> str | None:
        """Wrong values, or too slow at the last attempt. A case is timed once, when it is judged for the first time."""
        case = id(args[1])
        if case not in self.late:
            self.fastest = min(self.fastest, time.perf_counter() - self.began)
            ratio = self.fastest / self.baseline
            self.late[case] = None if self.left or ratio <= self.bar else (
                f"the values are right, but it takes {ratio:.0f} times as long as decoding all of W and multiplying then "
                f"({self.fastest * 1e3:.3g} ms against {self.baseline * 1e3:.3g} ms); at most {self.bar} times are allowed"
            )  # fmt: skip
        return same_sum(args, got, expected) or self.late[case]


def one_by_one(x, words, scale, group_size) -> Tensor:
    """A Python loop over weights."""
    x, y = x.tolist(), []
    for row, scales in zip(words.tolist(), scale.tolist(), strict=True):
        y.append(sum(scales[k // group_size] * ((row[k // 8] >> 4 * (k % 8) & 15) - 8) * x[k] for k in range(len(x))))
    return torch.tensor(y)


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


RACE = Race()

GEMV_INT4 = Task(
    id="08.3",
    function="gemv_int4",
    title="The same, fast",
    points=6,
    expected=exact,
    properties=(
        Property("one group", lambda g: [layer(g, 2, 32, 32), layer(g, 5, 128, 128)]),
        Property("several groups", lambda g: [layer(g, 4, 32, 8), layer(g, 7, 512, 32), layer(g, 3, 1024, 128)], 2),
        Property("bf16 x, summed in fp32", lambda g: [loud(g, 32, 1024, 64, torch.bfloat16)]),
        Property("fast enough: 2 million weights", RACE.cases, 2, RACE.verify),
    ),
    mistakes=(
        *MISTAKES,
        Mistake(
            "the 8 taken off once a group",
            lambda x, words, scale, group_size: (
                gemv(x, words, scale, group_size, offset=0.0) - (8 * scale.double().sum(1)).float()
            ),
            "Drawing the 8 out of the sum is a fine idea. But it stood beside every x[k] of the group, not once in it. "
            "What do you get when you write Σ (q − 8) · x as two sums?",
            "The format: Σ (q − 8) x = Σ q x − 8 Σ x, within each group.",
        ),
        Mistake(
            "summed in low precision",
            in_low_precision,
            "bf16 keeps 8 significant bits. As a *format* for x that is fine; as the type in which a thousand products "
            "are added, or handed back, it is not. Which type should the accumulator and the result have?",
            "Accumulate wider than you store: fp32.",
            also=(summed_in_low_precision, rounded_weights),
        ),
        Mistake(
            "a Python loop over weights",
            one_by_one,
            "Right, and hopeless: the interpreter spends a hundred times longer on each weight than the arithmetic "
            "needs. What if one operation unpacked all words at once, and another multiplied everything? (Or let Numba "
            "compile your loop as it is.)",
            "Invariant 4: a format pays only with a kernel that matches it.",
        ),
    ),
    hint="Give the codes the shape (N, K/G, G) and x the shape (K/G, G). Then a sum over the last axis leaves one "
    "number a group, which has exactly the shape of `scale`.",
    same=same_sum,
    returns=("y",),
    seconds=30.0,
)
