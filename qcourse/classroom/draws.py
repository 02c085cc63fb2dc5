"""One grade from several draws: one unlucky draw takes no point, one lucky draw gives none.

    a property that holds on all of the K draws counts; one that fails on two draws does not
    a property that fails on one draw only is tried on K more: a second failure settles it, else it counts

The teacher is told where draws disagree, and their seeds. All seeds come from the grading's one number, for everybody.
A draw on which the course's own second implementation does not hold, or the check itself fails, is a bad draw: nobody
is judged on it, and the next one takes its place.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

MOST_BAD = 10  # draws in a row that may be bad; after that the fault is not the draw's, and they are used as they are
HANGS = 2  # calls that hang or end their process until no more draws are tried


def hidden_seed(seed: int, task_id: str, draw: int = 0) -> int:
    """The seed of one draw of a task: the same for every student of a grading, unknown to all of them."""
    words = f"{seed} {task_id}" + (f" {draw}" if draw else "")
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "little")


def good_seeds(task, seed: int) -> Iterator[int]:
    """The seeds of a task's draws, one after another, without the bad ones."""
    bad = 0
    for draw in range(10_000):
        one = hidden_seed(seed, task.id, draw)
        if bad < MOST_BAD and not sound(task.id, one):
            bad += 1
            continue
        yield one


@lru_cache(maxsize=4096)
def sound(task_id: str, seed: int) -> bool:
    """Whether the course's own second implementation passes the task's check on this draw."""
    from qcourse.checks.judge import judge
    from qcourse.checks.task import TASKS

    task = TASKS[task_id]
    try:
        return judge(replace(task, seconds=60.0), task.expected, seed).outcome == "right"
    except Exception:
        return False


def settled(task, seed: int, seeds: int, once) -> tuple[dict, list[str]]:
    """The result of a task over its draws, and what a teacher should look at.

    once(seed): the result of one draw, as data; its "final" says that no other draw would tell more, "hung" that it took all
    the time it had, or its process.
    """
    draws, hangs, stream, tried = [], 0, good_seeds(task, seed), []
    for count in range(2 * seeds):
        if count == seeds and (seeds == 1 or not split(draws)):
            break
        tried.append(next(stream))
        draws.append(once(tried[-1]))
        hangs += draws[-1]["hung"]
        if draws[-1]["final"] or (draws[-1]["hung"] and (count == 0 or hangs == HANGS)):
            return draws[-1], []
    failed = Counter(name for d in draws for name, held in d["passed"].items() if not held)
    kept = {name: failed[name] < min(2, len(draws)) for name in draws[0]["passed"]}
    look = []
    for name in (n for n in kept if 0 < failed[n] < len(draws)):
        where = ", ".join(str(s) for s, d in zip(tried, draws, strict=True) if not d["passed"].get(name))
        verdict = "it counts" if kept[name] else "it does not count"
        look.append(f"{task.id} “{name}” fails on {failed[name]} of {len(draws)} draws (seeds {where}): {verdict}")
    return merged(task, draws, kept), look


def split(draws: list[dict]) -> bool:
    """Whether some property failed on exactly one draw."""
    failed = Counter(name for d in draws for name, held in d["passed"].items() if not held)
    return len(draws) > 1 and 1 in failed.values()


def merged(task, draws: list[dict], kept: dict[str, bool]) -> dict:
    """The draw that found just this, else the first that failed where it counts, with the score of what counts."""
    for draw in draws:
        if draw["passed"] == kept:
            return draw
    lost = {name for name, held in kept.items() if not held}
    draw = next((d for d in draws if any(not d["passed"].get(name) for name in lost)), draws[0])
    weights = {p.name: p.weight for p in task.properties}
    score = sum(weights.get(name, 0) for name, held in kept.items() if held) / (sum(weights.values()) or 1)
    if not any(kept[p.name] and not getattr(p, "edge", False) for p in task.properties if p.name in kept):
        score = 0.0
    draw = draw | {"passed": kept, "score": min(score, max(d["score"] for d in draws)) if lost else 1.0}
    if not lost:
        draw |= {"outcome": "right", "mistake": None, "message": f"`{task.function}` holds."}
    return draw
