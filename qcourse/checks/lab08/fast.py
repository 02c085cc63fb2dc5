"""08.3, the GEMV that must also be fast: judged by its values, and against a Python loop over the same weights.

A vectorised answer takes a thirtieth of the loop's time, and half of it is allowed. Loop and answer take turns, and the best
of each counts. A busy machine slows whole matrices more than the few rows of the loop: where four times decode-then-multiply
(torch, no loop) is more than that half, it is allowed instead.
"""

import time
from contextlib import contextmanager

import torch

from qcourse.checks.lab08.loops import MISTAKES, exact, gemv, layer, loud, same_sum
from qcourse.checks.lab08.words import codes
from qcourse.checks.task import Mistake, Property, Task
from qcourse.checks.watch import timed
from qcourse.shapes import Tensor

ATTEMPTS = 6
HEATS = ((32, 1024, 128, 20.0), (1024, 2048, 128, 0.5))  # N, K, G, times the loop; the first only stops the hopeless
ROWS = 32  # of the loop, then scaled up: all 1024 would take half a second
HOPELESS = 3  # attempts, each slower than HOPELESS times the bar: not tried again


def decode_then_multiply(x, words, scale, group_size) -> Tensor:
    """All of Ŵ (N, K) in fp32, then one product."""
    W = (codes(words).float() - 8).view(len(words), -1, group_size) * scale.unsqueeze(-1)
    return W.view(len(words), -1) @ x.float()


@contextmanager
def one_core():
    """torch on one core, for both runners: the bar is as high on every machine, and a busy one disturbs less."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Race:
    """Times an answer by the clock between handing a case out and judging what came back, less the time of `expected`.

    What remains is the student's call and a few milliseconds of bookkeeping (copying and comparing the arguments), for
    which the bar leaves room. Earlier properties have warmed up whatever had to be compiled.
    """

    def __init__(self):
        self.verdicts = {}  # id of a case's words → None or the sentence
        self.keep = []  # those words, so that an id stays theirs
        self.began = 0.0

    def cases(self, g):
        """Up to ATTEMPTS cases a heat, drawn one by one; a heat that is won or hopeless ends early."""
        self.verdicts, self.keep = {}, []
        with one_core():
            for N, K, G, self.bar in HEATS:
                self.best = self.loop = self.decode = float("inf")
                self.left = ATTEMPTS
                while self.left and not self.fast():
                    self.left -= 1
                    x, w, scale, G = layer(g, N, K, G)  # new numbers: an answer that is remembered is of no use
                    self.loop = min(self.loop, N / ROWS * timed(one_by_one, (x, w[:ROWS], scale[:ROWS], G), 1))
                    self.decode = min(self.decode, timed(decode_then_multiply, (x, w, scale, G), 1))
                    self.keep.append(w.clone())
                    self.began = time.perf_counter()
                    yield x, self.keep[-1], scale, G
                if not self.fast():
                    return

    def fast(self) -> bool:
        """Whether the best attempt so far stayed below the bar; after the last one, also below a busy machine's."""
        return self.best < self.bar * self.loop or not self.left and self.best < 4 * self.decode

    def expected(self, x, words, scale, group_size) -> Tensor:
        """The right answer, in time that does not count."""
        began = time.perf_counter()
        y = exact(x, words, scale, group_size)
        self.began += time.perf_counter() - began
        return y

    def verify(self, args, got, expected) -> str | None:
        """Wrong values, or too slow at the last attempt. A case is timed once, when it is judged for the first time."""
        case = id(args[1])
        if case not in self.verdicts:
            spent = time.perf_counter() - self.began
            self.best = min(self.best, spent)
            if ATTEMPTS - self.left >= HOPELESS and self.best > HOPELESS * self.bar * self.loop:
                self.left = 0
            slow = (
                f"the values are right, but {args[1].numel() * 8:,} weights took {self.best * 1e3:.3g} ms. Beside it, a "
                f"Python loop took {self.loop * 1e3:.3g} ms, and torch, which decodes all of W and multiplies then, "
                f"{self.decode * 1e3:.3g} ms; at most half of the loop's time is allowed"
            )
            self.verdicts[case] = None if self.left or self.fast() else slow
        return same_sum(args, got, expected) or self.verdicts[case]


def one_by_one(x, words, scale, group_size) -> Tensor:
    """A Python loop over weights."""
    x, y = x.tolist(), []
    for row, scales in zip(words.tolist(), scale.tolist(), strict=True):
        y.append(sum(scales[k // group_size] * ((row[k // 8] >> 4 * (k % 8) & 15) - 8) * x[k] for k in range(len(x))))
    return torch.tensor(y)


RACE = Race()

GEMV_INT4 = Task(
    id="08.3",
    function="gemv_int4",
    title="The same, fast",
    points=6,
    expected=RACE.expected,
    properties=(
        Property("one group", lambda g: [layer(g, 2, 32, 32), layer(g, 5, 128, 128)]),
        Property("several groups", lambda g: [layer(g, 4, 32, 8), layer(g, 7, 512, 32), layer(g, 3, 1024, 128)], 2),
        Property(
            "bf16 x, summed in fp32",
            lambda g: [loud(g, 4, 32, 8, torch.bfloat16), loud(g, 32, 1024, 64, torch.bfloat16)],
        ),
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
            "the 8 taken off after the scale",
            lambda x, words, scale, group_size: (
                gemv(x, words, scale, group_size, offset=0.0).double() - 8 * x.double().sum()
            ).float(),
            "You took off 8 · Σx from a sum that was already in units of y. The 8 is counted in codes, like q, and each "
            "group has a scale of its own. Which comes first, the 8 or the scale?",
            "The format: ŵ = s · (q − 8), group by group.",
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
    words=("words",),
    seconds=30.0,
)
