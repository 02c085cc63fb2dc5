"""03.1, the loudness of each channel."""

import torch

from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor


def randn(g: torch.Generator, *shape: int) -> Tensor:
    """Activations with a few channels much louder than the others, as a model has them; no channel is silent."""
    loud = torch.where(torch.rand(shape[-1], generator=g) < 0.2, 20.0, 1.0)
    x = torch.randn(*shape, generator=g) * loud
    return torch.where(x == 0, 0.5, x)


def silence(x: Tensor, *channels: int) -> Tensor:
    """x with these channels set to zero."""
    x[..., list(channels)] = 0
    return x


def batches(g, lengths, K: int = 6, dtype=torch.float32, size: float = 1.0) -> tuple:
    """One argument tuple of 03.1; with several batches, channel 0 peaks in the first and channel 1 in the last."""
    out = [(size * randn(g, M, K)).to(dtype) for M in lengths]
    if len(out) > 1:
        for batch, channel in ((out[0], 0), (out[-1], 1)):
            batch[0, channel] = 3 * torch.cat(out)[:, channel].abs().amax()
    return (out,)


def negative_peak(g) -> list[tuple]:
    """The loudest value of each channel is negative, in the first batch; channel 0 holds nothing else."""
    first, second = randn(g, 4, 5), randn(g, 3, 5)
    first[:, 0], second[:, 0] = -first[:, 0].abs(), -second[:, 0].abs()
    first[2] = -3 * torch.cat((first, second)).abs().amax(0)
    return [([first, second],)]


CHANNEL_ABSMAX = Task(
    id="03.1",
    function="channel_absmax",
    title="The loudness of each channel",
    points=2,
    expected=lambda batches: torch.cat([b.float() for b in batches]).abs().amax(0),
    properties=(
        Property("one batch, faint or loud", lambda g: [batches(g, [4], 3, size=1e-3), batches(g, [9], 8, size=1e5)]),
        Property("batches of different lengths", lambda g: [batches(g, [2, 3], 4), batches(g, [7, 1, 2, 6], 16)], 2),
        Property("peaks on the negative side", negative_peak),
        Property("a channel that is silent", lambda g: [([silence(randn(g, 4, 5), 2), silence(randn(g, 2, 5), 2)],)]),
        Property("bf16 batches", lambda g: [batches(g, [5, 5], 8, torch.bfloat16)]),
    ),
    mistakes=(
        Mistake(
            "the mean instead of the maximum",
            lambda batches: torch.cat([b.float() for b in batches]).abs().mean(0),
            "The mean tells how loud a channel usually is. But a scale has to cover what may come. If one token in a "
            "thousand is 20 times louder, what happens to it when the scale was made from the mean?",
            "Invariant 2: |error| ≤ s/2 holds only for values that the scale covers; the others are clipped.",
        ),
        Mistake(
            "one maximum a token instead of one a channel",
            lambda batches: torch.cat([b.float() for b in batches]).abs().amax(1),
            "You asked every row how loud it is; a row is a token. A channel is a column. Which axis has to disappear "
            "so that K numbers are left, however many tokens have passed?",
            "The shape: one number a channel, (K,).",
        ),
        Mistake(
            "the maximum without the sign removed",
            lambda batches: torch.cat([b.float() for b in batches]).amax(0),
            "The largest value is not the largest magnitude: −9 is louder than 8. What does your function say of a "
            "channel that only ever holds negative numbers?",
            "Invariant 2: a symmetric grid must cover both signs.",
        ),
        Mistake(
            "the sign removed after the maximum",
            lambda batches: torch.cat([b.float() for b in batches]).amax(0).abs(),
            "You take the maximum first and remove the sign afterwards. By then −9 has already lost against 8. In "
            "which order do the two steps see every value?",
            "Invariant 2: a symmetric grid must cover both signs.",
        ),
        Mistake(
            "only the last batch counts",
            lambda batches: batches[-1].float().abs().amax(0),
            "Each batch overwrites what the ones before it have shown. If the loud token came in the first batch, "
            "where is it remembered? Something has to be carried from batch to batch.",
            "Batching must not matter: the result belongs to the text, not to how it was cut.",
        ),
        Mistake(
            "only the first batch counts",
            lambda batches: batches[0].float().abs().amax(0),
            "Your answer is known after the first batch, whatever comes later. (Is there a `return` inside the loop?) "
            "If the loud token comes in the last batch, who sees it?",
            "Batching must not matter: the result belongs to the text, not to how it was cut.",
        ),
        Mistake(
            "the batches' maxima added up",
            lambda batches: torch.stack([b.float().abs().amax(0) for b in batches]).sum(0),
            "Two batches that both reach 5 give 10 in your function. A channel that never left ±5 needs a scale for 5. How "
            "do two maxima become one?",
            "Batching must not matter: the result belongs to the text, not to how it was cut.",
        ),
        Mistake(
            "the mean of the batches' maxima",
            lambda batches: torch.stack([b.float().abs().amax(0) for b in batches]).mean(0),
            "Within a batch you take the maximum, between batches you average. Cut the same text into other batches: "
            "does your answer stay the same?",
            "Batching must not matter: the result belongs to the text, not to how it was cut.",
        ),
    ),
    hint="Two reductions are hidden in the formula: over the tokens of a batch, and over the batches. What would you carry "
    "along if the batches came one by one and you could not keep them?",
    rtol=1e-5,  # a maximum is exact; the mistakes' means of up to 16 numbers are not
    returns=("absmax",),
)
