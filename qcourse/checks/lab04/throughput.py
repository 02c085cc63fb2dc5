"""04.5, tokens a second from a list of step times."""

from statistics import fmean, median

import torch

from qcourse.checks.draw import integer, uniform
from qcourse.checks.task import Mistake, Property, Task


def steps(g, warmup: int, counted: int, users: int, hiccups: int = 0) -> tuple:
    """Step times: slow ones first, then steady ones around 10 ms with some hiccups among them."""
    first = [uniform(g, 0.05, 0.5) for _ in range(warmup)]
    rest = [uniform(g, 0.009, 0.012) for _ in range(counted)]
    for i in torch.randperm(counted, generator=g)[:hiccups].tolist():
        rest[i] *= uniform(g, 5, 20)
    return first + rest, warmup, users


DECODE_TOKENS_PER_SECOND = Task(
    id="04.5",
    function="decode_tokens_per_second",
    title="Tokens a second",
    points=2,
    expected=lambda step_seconds, warmup, users: users / sorted(step_seconds[warmup:])[(len(step_seconds) - warmup) // 2],
    properties=(
        Property("one user, warm-up", lambda g: [steps(g, 2, 5, 1), steps(g, 4, 11, 1)], 2),
        Property("several users", lambda g: [steps(g, 2, 7, integer(g, 2, 64))]),
        Property("hiccups", lambda g: [steps(g, 4, 15, 8, 3)]),
        Property("nothing to drop", lambda g: [steps(g, 0, 5, 3, 1)]),
    ),
    mistakes=(
        Mistake(
            "no warm-up",
            lambda step_seconds, warmup, users: users / median(step_seconds),
            "The slow first steps are still among your numbers. They measure what happens once (memory touched for the "
            "first time, kernels chosen), not what happens at every token. Which steps are to count?",
            "A measurement starts when the machine is warm.",
        ),
        Mistake(
            "the mean instead of the median",
            lambda step_seconds, warmup, users: users / fmean(step_seconds[warmup:]),
            "One hiccup of the operating system, twenty times as long as a step, moves your mean. Which statistic does "
            "not notice a few outliers?",
            "On a shared machine the median is what you can repeat.",
            also=(lambda step_seconds, warmup, users: users * fmean(1 / s for s in step_seconds[warmup:]),),
        ),
        Mistake(
            "the last steps dropped instead of the first",
            lambda step_seconds, warmup, users: users / median(step_seconds[: len(step_seconds) - warmup]),
            "You removed as many steps as you should, at the wrong end: the cold ones are the first.",
            "A measurement starts when the machine is warm.",
            also=(lambda step_seconds, warmup, users: users / median(step_seconds[:-warmup]),),
        ),
        Mistake(
            "only one user counted",
            lambda step_seconds, warmup, users: 1 / median(step_seconds[warmup:]),
            "That is what a single user sees. A step gives every user of the batch a token: how many tokens leave the "
            "machine in it?",
            "Throughput counts all users; latency is another number.",
        ),
        Mistake(
            "seconds a token instead of tokens a second",
            lambda step_seconds, warmup, users: median(step_seconds[warmup:]) / users,
            "Your number gets smaller when the machine gets faster. Look at the unit that was asked for.",
            "tokens/s: the tokens stand above.",
        ),
        Mistake(
            "the fastest step",
            lambda step_seconds, warmup, users: users / min(step_seconds[warmup:]),
            "The best step of all is a record, not a speed: nobody gets it twice. Which step stands in the middle of "
            "what users see?",
            "On a shared machine the median is what you can repeat.",
        ),
    ),
    hint="Three decisions: which steps count, which of those stands for all, and how many tokens one step makes. Check "
    "the unit at the end.",
    rtol=1e-6,
    returns=("tokens a second",),
)
