"""03.2, one scale a token: fake quantization of activations."""

import torch

from qcourse.checks.compare import difference
from qcourse.checks.lab03.channels import randn
from qcourse.checks.task import Mistake, Property, Task
from qcourse.numerics.granularity import per_token
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.shapes import Tensor

INT8_TOKEN = QuantizationArgs(IntGrid(8, restricted=True), per_token, scale=torch.float32)


def same_up_to_ties(args, got: Tensor, other: Tensor) -> str | None:
    """Equal to fp32 rounding (bf16 answers: to 2⁻⁸ of their size), or the other end of a step that x lies in the middle of.

    x/s up to 127, rounded up to three times on the way (s, 1/s, the product), is known to 127 · 3 · 2⁻²⁴ < 1e-4 of a step.
    """
    x = args[0].double()
    step = x.abs().amax(-1, keepdim=True) / 127
    steps = x / step  # NaN for a row of zeros, which is no tie
    g, o = got.double(), other.double()
    narrow = 2**-8 if got.dtype == args[0].dtype != torch.float32 else 0.0  # only where x itself came in bf16
    room = 1e-5 * 127 * step + narrow * o.abs()
    tie = (steps - steps.floor() - 0.5).abs() < 1e-4
    ends = [steps.floor() * step, steps.ceil() * step]
    at = [tie & ((v - end).abs() <= room) for v in (g, o) for end in ends]
    good = ((g - o).abs() <= room) | (at[0] | at[1]) & (at[2] | at[3]) | (g == o) | (g.isnan() & o.isnan())
    return difference(torch.where(good, o, g), o, where="x_hat")


def per_row(x: Tensor, scale: Tensor, round_=torch.round, low: int = -127, high: int = 127) -> Tensor:
    """Quantize and dequantize with a given scale: the frame of most mistakes."""
    return torch.clamp(round_(x.float() / scale), low, high) * scale


def row_absmax(x: Tensor) -> Tensor:
    """(..., 1), a row of zeros counting as 127, so that its scale is 1."""
    absmax = x.float().abs().amax(-1, keepdim=True)
    return torch.where(absmax == 0, 127.0, absmax)


def in_its_own_dtype(x: Tensor) -> Tensor:
    """Everything in x's dtype: right for fp32, too coarse for bf16."""
    scale = row_absmax(x).to(x.dtype) / 127
    return torch.clamp(torch.round(x / scale), -127, 127) * scale


def by(axes, guard: bool = True):
    """One scale for all that lie along `axes` (int, or a function of the number of axes); `guard`: no division by zero."""

    def wrong(x: Tensor) -> Tensor:
        absmax = x.float().abs().amax(axes if isinstance(axes, int) else axes(x.dim()), keepdim=True)
        return per_row(x, (torch.where(absmax == 0, 127.0, absmax) if guard else absmax) / 127)

    return wrong


def signed(guard: bool):
    """The largest value instead of the largest magnitude."""

    def wrong(x: Tensor) -> Tensor:
        top = x.float().amax(-1, keepdim=True)
        return per_row(x, (torch.where(top == 0, 127.0, top) if guard else top) / 127)

    return wrong


def level(g, *shape: int) -> Tensor:
    """Evenly spread bf16 numbers: half of their codes lie above 63, where bf16 knows x/s to half a step only."""
    return (torch.rand(*shape, generator=g) * 2 - 1).bfloat16()


FAKE_QUANT_PER_TOKEN = Task(
    id="03.2",
    function="fake_quant_per_token",
    title="One scale a token",
    points=3,
    expected=lambda x: fake_quantize(x.float(), INT8_TOKEN),
    properties=(
        Property("a matrix of tokens", lambda g: [(randn(g, 3, 4),), (randn(g, 6, 64),)], 2),
        Property("tokens of very different loudness", lambda g: [(randn(g, 4, 8) * torch.logspace(-3, 5, 4)[:, None],)]),
        Property("a row of zeros stays zero", lambda g: [(randn(g, 3, 4) * torch.tensor([[1.0], [0.0], [1.0]]),)]),
        Property(
            "sequences (B, T, K), one token (K,)",
            lambda g: [(randn(g, 2, 2, 3),), (randn(g, 5),), (randn(g, 2, 1, 3, 8),)],
        ),
        Property("bf16 input", lambda g: [(level(g, 2, 6),), (level(g, 4, 256),)]),
    ),
    mistakes=(
        Mistake(
            "one scale for the whole tensor",
            by(lambda axes: tuple(range(axes))),
            "Your scale comes from the loudest token of all, and a quiet token gets the few levels that are left. How "
            "many scales should a batch of M tokens have, and which axis must survive the maximum?",
            "Invariant 2: accuracy depends on who shares a scale.",
        ),
        Mistake(
            "one scale a channel",
            by(lambda axes: tuple(range(axes - 1)), guard=False),
            "A scale for each column would indeed be more accurate here. But it depends on k, and the matmul sums over "
            "k. Can it leave the sum? Which axis, then, may a scale follow?",
            "Invariant 3: only a factor that leaves the sum keeps the matmul in integers.",
            also=(by(lambda axes: tuple(range(axes - 1))), by(0, guard=False), by(0)),
        ),
        Mistake(
            "the second axis instead of the last",
            by(1, guard=False),
            "A token is the last axis, however many axes stand before it. You counted axes from the front, which is the "
            "same only for a matrix. From which end does the last axis always have the same number?",
            "The specification: x is (..., K), one scale for each row of K.",
            also=(by(1),),
        ),
        Mistake(
            "a row of zeros divided by its scale of zero",
            lambda x: per_row(x, x.float().abs().amax(-1, keepdim=True) / 127),
            "A token of padding is all zero, so its absmax is 0, and 0 / 0 is NaN, which then spreads through the "
            "whole model. Which scale would do no harm to a row that has nothing to scale?",
            "Invariant 2: every row needs a scale that is positive and finite.",
        ),
        Mistake(
            "the maximum without the sign removed",
            signed(False),
            "Your scale looks at the largest value, not at the largest magnitude. What happens to a row whose loudest "
            "entry is negative?",
            "Invariant 2: a symmetric grid must cover both signs.",
            also=(signed(True),),
        ),
        Mistake(
            "128 steps instead of 127",
            lambda x: per_row(x, row_absmax(x) / 128, low=-128),
            "int8 holds −128 … 127, so on the positive side there are only 127 steps. With absmax / 128, which code "
            "does the loudest positive value ask for, and does it exist?",
            "Invariant 2: |error| ≤ s/2 for every value, the loudest one included.",
        ),
        Mistake(
            "truncated instead of rounded",
            lambda x: per_row(x, row_absmax(x) / 127, round_=torch.trunc),
            "A cast to an integer cuts the fraction off: 2.9 becomes 2, and the nearest level was 3. (`floor` does it to "
            "−2.1, too.) How large can an error get that way, in steps?",
            "Invariant 2: |error| ≤ s/2 needs rounding to the nearest level; truncation doubles it.",
            also=(lambda x: per_row(x, row_absmax(x) / 127, round_=torch.floor),),
        ),
        Mistake(
            "codes instead of values",
            lambda x: torch.clamp(torch.round(x.float() / (row_absmax(x) / 127)), -127, 127),
            "What you return are the codes, −127 … 127. They are right, but nobody can add them to anything yet. What "
            "has to happen before x̂ stands beside x?",
            "Round trip: dequantize(quantize(x)) lies near x.",
        ),
        Mistake(
            "computed in bf16",
            in_its_own_dtype,
            "bf16 keeps 8 significant bits, so x / s near 100 is only known to half a step: the rounding is decided by "
            "noise, and a scale in bf16 is itself off by up to 0.4 %. In which dtype should the division be done?",
            "Invariant 2: |error| ≤ s/2, if s and x / s are exact enough to say so.",
        ),
    ),
    hint="Write it for one row first: its absmax, its scale, its codes, its values. Then let the maximum keep its axis "
    "(`keepdim`), so that one scale a row broadcasts. And what is the scale of a row of zeros?",
    same=same_up_to_ties,
    returns=("x_hat",),
)
