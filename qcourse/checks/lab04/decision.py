"""04.6, the format that goes into production, or none."""

import torch

from qcourse.checks.draw import integer, uniform
from qcourse.checks.task import Mistake, Property, Task

NAMES = ("bf16", "int8", "fp8", "awq", "gptq", "rtn4", "hqq", "int3")


def table(g, rows: list[tuple], *rest) -> tuple:
    """Rows (bytes, added, stderr, tokens/s) in random order under random names; then budget, kv_bytes, max_added."""
    names = [NAMES[i] for i in torch.randperm(len(NAMES), generator=g)]
    keys = ("bytes", "added", "stderr", "tokens_per_second")
    made = [{"name": n, **dict(zip(keys, row, strict=True))} for n, row in zip(names, rows, strict=False)]
    return [made[i] for i in torch.randperm(len(made), generator=g)], *rest


def market(g, *wanted: str) -> tuple:
    """A table in which each kind of row tempts one mistake. `right` is the answer whenever it is there."""
    budget, kv, limit = integer(g, 40, 60) * 1000, integer(g, 10, 20) * 1000, uniform(g, 0.004, 0.02)
    room, s = budget - kv, uniform(g, 50, 100)
    kinds = {  # bytes, added, stderr, tokens a second
        "terrible": (room // 4, 9 * limit, 0.1 * limit, 9 * s),
        "too big": (budget + 5000, 0.0, 0.0, 8 * s),
        "no room for users": (room + kv // 2, 0.1 * limit, 0.01 * limit, 7 * s),
        "perhaps good": (room - 3000, 0.9 * limit, 0.3 * limit, 6 * s),
        "within one error": (room - 2500, 0.8 * limit, 0.15 * limit, 5 * s),
        "exactly full": (room, 0.3 * limit, 0.05 * limit, 4.5 * s),
        "right": (room - 2000, 0.6 * limit, 0.1 * limit, 4 * s),
        "as fast, larger": (room - 1000, 0.2 * limit, 0.1 * limit, 4 * s),
        "small": (room // 3, 0.7 * limit, 0.1 * limit, 2 * s),
        "best quality": (room - 4000, 0.01 * limit, 0.001 * limit, s),
    }
    return table(g, [kinds[w] for w in wanted], budget, kv, limit)


def equally_fast(g) -> list[tuple]:
    """Two equally fast rows: once the larger one stands first, once the smaller one."""
    cases = [market(g, *FITTING, "as fast, larger") for _ in range(2)]
    return [
        (sorted(t, key=lambda r: r["bytes"], reverse=down), *rest)
        for (t, *rest), down in zip(cases, (True, False), strict=True)
    ]


FITTING = ("right", "small", "best quality")


def choose(table, budget, kv, limit, *, errors=2.0, key=lambda r: (-r["tokens_per_second"], r["bytes"]), strict=False):
    """The row that is best under `key` among those that fit and are good enough; what can be got wrong as keywords."""
    fit = [r for r in table if r["bytes"] + kv + strict <= budget]
    good = [r for r in fit if r["added"] + errors * r["stderr"] <= limit]
    return sorted(good, key=key)[0]["name"] if good else None


def fallback(table, budget, kv, limit, instead) -> str:
    """Something instead of None."""
    return choose(table, budget, kv, limit) or instead(table)["name"]


CHOOSE_FORMAT = Task(
    id="04.6",
    function="choose_format",
    title="Decide",
    points=3,
    expected=lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added),
    properties=(
        Property(
            "the fastest of those that fit and are good", lambda g: [market(g, *FITTING), market(g, *FITTING, "terrible")]
        ),
        Property("too big to fit", lambda g: [market(g, *FITTING, "too big"), market(g, *FITTING, "no room for users")]),
        Property(
            "the error bar counts", lambda g: [market(g, *FITTING, "perhaps good"), market(g, *FITTING, "within one error")]
        ),
        Property("exactly full", lambda g: [market(g, *FITTING, "exactly full")]),
        Property("equally fast", equally_fast),
        Property("nothing will do", lambda g: [market(g, "terrible", "too big"), market(g, "perhaps good", "terrible")]),
    ),
    mistakes=(
        Mistake(
            "the smallest instead of the fastest",
            lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added, key=lambda r: r["bytes"]),
            "What fits, fits: bytes below the budget buy nothing more here. What is the service paid for?",
            "Constraints first, then the objective: memory is a constraint, speed the objective.",
        ),
        Mistake(
            "the best quality instead of the fastest",
            lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added, key=lambda r: r["added"]),
            "All that pass the second test are good enough; that is what *max_added* means. By what are they compared "
            "afterwards?",
            "Constraints first, then the objective: quality is a constraint, speed the objective.",
        ),
        Mistake(
            "the quality ignored",
            lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, float("inf"), errors=0),
            "Your choice is fast, and it answers nonsense. Which column of the table says how much was lost, and what "
            "is its limit?",
            "Constraints first, then the objective.",
        ),
        Mistake(
            "the budget ignored",
            lambda table, budget, kv_bytes, max_added: choose(table, float("inf"), 0, max_added),
            "Your choice does not fit the machine. Which rows should not even be considered?",
            "Constraints first, then the objective.",
        ),
        Mistake(
            "no room left for the KV cache",
            lambda table, budget, kv_bytes, max_added: choose(table, budget, 0, max_added),
            "The weights of your choice fit, and then the first user comes. What else has to be in memory at the same time?",
            "The budget holds weights and cache together.",
        ),
        Mistake(
            "the error bar ignored",
            lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added, errors=0),
            "The measured loss is below the limit, but the measurement is uncertain, and with some bad luck the true "
            "one is not. At which end of the error bar does a careful engineer look?",
            "A measurement is a number with an error: sure means 2 standard errors away.",
        ),
        Mistake(
            "one standard error instead of two",
            lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added, errors=1),
            "One standard error is exceeded about one time in six. How many does the second test ask for?",
            "A measurement is a number with an error: sure means 2 standard errors away.",
        ),
        Mistake(
            "exactly full counted as too much",
            lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added, strict=True),
            "A budget may be used up to the last byte. Which of < and ≤ says so?",
            "The specification: ≤ budget.",
        ),
        Mistake(
            "equally fast, and the larger one taken",
            lambda table, budget, kv_bytes, max_added: choose(
                table, budget, kv_bytes, max_added, key=lambda r: -r["tokens_per_second"]
            ),
            "Two formats are equally fast and both good enough, and you took whichever came first in the table. What "
            "would you rather have free?",
            "The specification: equally fast → fewer bytes.",
        ),
        Mistake(
            "something instead of nothing",
            lambda table, budget, kv_bytes, max_added: fallback(table, budget, kv_bytes, max_added, lambda t: t[0]),
            "Nothing in the table meets both conditions, and your function cannot say so. What should whoever calls it "
            "at three in the morning get: a format that fails, an error, or the plain answer?",
            "The specification: None, if none will do.",
            also=(
                lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added) or min([]),
                lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added) or [][0],
                lambda table, budget, kv_bytes, max_added: choose(table, budget, kv_bytes, max_added) or "",
                lambda table, budget, kv_bytes, max_added: fallback(
                    table, budget, kv_bytes, max_added, lambda t: min(t, key=lambda r: r["bytes"])
                ),
            ),
        ),
    ),
    hint="Filter twice, then choose once. Write the two filters as you would say them aloud, and ask what is left when "
    "nothing passes.",
    returns=("name",),
)
