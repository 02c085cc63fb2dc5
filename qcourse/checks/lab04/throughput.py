"""04.5, tokens a second from a list of step times."""

from statistics import fmean, median

import torch

from qcourse.checks.draw import integer
from qcourse.checks.task import Mistake, Property, Task


def steps(g, warmup: int, counted: int, users: int, hiccups: int = 0) -> tuple:
    """Step times in whole tenths of ms, all different: warm-up, then steady ones around 10 ms with some hiccups among them.

    Not every warm-up step is slow, and no warm-up step is the slowest of all where there are hiccups: whoever sorts first
    drops others. The median never lies in the middle of the list as it was measured.
    """
    first = [50 + 10 * i for i in torch.randperm(40, generator=g)[:warmup].tolist()]
    if warmup:
        first[integer(g, 0, warmup - 1)] = 8 * integer(g, 5, 8)
    rest = [90 + i for i in torch.randperm(max(counted, 21), generator=g)[:counted].tolist()]
    for i in torch.randperm(counted, generator=g)[:hiccups].tolist():
        rest[i] *= integer(g, 6, 20)
    middle, of_all = counted // 2, rest.index(sorted(rest)[counted // 2])
    if of_all == middle:
        other = (middle + 1) % counted
        rest[middle], rest[other] = rest[other], rest[middle]
    return [t / 10_000 for t in first + rest], warmup, users


def dropped_after_sorting(step_seconds, warmup, slowest: bool) -> list[float]:
    """What is left when the steps are sorted before the first are dropped."""
    return sorted(step_seconds, reverse=slowest)[warmup:]


def beside(offset: int):
    """The step `offset` places from the median."""

    def wrong(step_seconds, warmup, users) -> float:
        counted = sorted(step_seconds[warmup:])
        return users / counted[len(counted) // 2 + offset]

    return wrong


DECODE_TOKENS_PER_SECOND = Task(
    id="04.5",
    function="decode_tokens_per_second",
    title="Tokens a second",
    points=2,
    expected=lambda step_seconds, warmup, users: users / sorted(step_seconds[warmup:])[(len(step_seconds) - warmup) // 2],
    properties=(
        Property("one user, warm-up", lambda g: [steps(g, 2, 3, 1), steps(g, 2, 5, 1), steps(g, 4, 11, 1)], 2),
        Property("several users", lambda g: [steps(g, 1, 5, integer(g, 2, 64)), steps(g, 2, 7, integer(g, 2, 64))]),
        Property("hiccups", lambda g: [steps(g, 2, 7, 2, 2), steps(g, 4, 15, 8, 3)]),
        Property("nothing to drop", lambda g: [steps(g, 0, 5, 3, 1), steps(g, 0, 9, 2, 2)]),
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
            "sorted before the warm-up is dropped",
            lambda step_seconds, warmup, users: users / median(dropped_after_sorting(step_seconds, warmup, False)),
            "After sorting, the first steps of your list are no longer the first that were measured: you dropped the "
            "fastest, or the slowest, instead of the cold ones. In which order do the two have to happen?",
            "A measurement starts when the machine is warm.",
            also=(lambda step_seconds, warmup, users: users / median(dropped_after_sorting(step_seconds, warmup, True)),),
        ),
        Mistake(
            "the middle of the list, unsorted",
            lambda step_seconds, warmup, users: users / step_seconds[warmup:][(len(step_seconds) - warmup) // 2],
            "You took the step that was measured in the middle. Half of the steps should be faster than a median and half "
            "slower. What has to be done to the list first?",
            "A median is the middle by size, not by time.",
        ),
        Mistake(
            "a neighbour of the median",
            beside(-1),
            "Your step lies next to the middle one. Of five numbers, counted from 0, which is the middle?",
            "A median has as many below as above.",
            also=(beside(1),),
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
