"""04.6, the format that goes into production, or none."""

from qcourse.checks.lab04.market import FITTING, UNSURE, choose, draw, wrong
from qcourse.checks.task import Mistake, Property, Task


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
        Property("the fastest of those that fit and are good", lambda g: draw(g, FITTING, (*FITTING, "terrible"))),
        Property(
            "too big to fit, alone or with the KV cache",
            lambda g: draw(g, ("no room for users", "right", "too big"), (*FITTING, "too big", "no room for users")),
        ),
        Property(
            "the error bar counts",
            lambda g: draw(g, ("perhaps good", "right", "within one error"), (*FITTING, *UNSURE), (*FITTING, *UNSURE)),
        ),
        Property(
            "better than bf16", lambda g: draw(g, ("small", "better than bf16", "right"), (*FITTING, "better than bf16"))
        ),
        Property(
            "exactly full, exactly good enough",
            lambda g: draw(g, (*FITTING, "exactly full"), (*FITTING, "just good enough")),
        ),
        Property(
            "equally fast",
            lambda g: draw(
                g,
                ("small", "as fast, larger", "right", "best quality"),
                ("small", "right", "as fast, larger", "best quality"),
            ),
        ),
        Property(
            "one will do, or nothing",
            lambda g: draw(
                g, ("terrible", "right", "too big"), ("terrible", "too big"), ("perhaps good", "no room for users")
            ),
        ),
    ),
    mistakes=(
        Mistake(
            "the smallest instead of the fastest",
            wrong(key=lambda r: r["bytes"]),
            "What fits, fits: bytes below the budget buy nothing more here. What is the service paid for?",
            "Constraints first, then the objective: memory is a constraint, speed the objective.",
        ),
        Mistake(
            "the best quality instead of the fastest",
            wrong(key=lambda r: r["added"]),
            "All that pass the second test are good enough; that is what *max_added* means. By what are they compared "
            "afterwards?",
            "Constraints first, then the objective: quality is a constraint, speed the objective.",
        ),
        Mistake(
            "the quality ignored",
            wrong(limit=0, errors=0),
            "Your choice is fast, and it answers nonsense. Which column of the table says how much was lost, and what "
            "is its limit?",
            "Constraints first, then the objective.",
        ),
        Mistake(
            "the budget ignored",
            wrong(budget=0),
            "Your choice does not fit the machine. Which rows should not even be considered?",
            "Constraints first, then the objective.",
        ),
        Mistake(
            "no room left for the KV cache",
            wrong(kv=0),
            "The weights of your choice fit, and then the first user comes. What else has to be in memory at the same time?",
            "The budget holds weights and cache together.",
        ),
        Mistake(
            "the error bar ignored",
            wrong(errors=0),
            "The measured loss is below the limit, but the measurement is uncertain, and with some bad luck the true "
            "one is not. At which end of the error bar does a careful engineer look?",
            "A measurement is a number with an error: sure means 2 standard errors away.",
            also=(wrong(errors=-2), wrong(errors=-1)),
        ),
        Mistake(
            "a gain taken for a loss",
            wrong(loss=abs),
            "One format answered a little better than bf16: its `added` is negative. You threw it out as if it had lost as "
            "much. Which sign does a loss have?",
            "The specification: added + 2 · stderr ≤ max_added, with the sign of `added`.",
        ),
        Mistake(
            "exactly good enough counted as too bad",
            wrong(below=True),
            "`max_added` is the most that may be lost, and this format loses just that. Which of < and ≤ says so?",
            "The specification: ≤ max_added.",
        ),
        Mistake(
            "one standard error instead of two",
            wrong(errors=1),
            "One standard error is exceeded about one time in six. How many does the second test ask for?",
            "A measurement is a number with an error: sure means 2 standard errors away.",
        ),
        Mistake(
            "exactly full counted as too much",
            wrong(strict=True),
            "A budget may be used up to the last byte. Which of < and ≤ says so?",
            "The specification: ≤ budget.",
        ),
        Mistake(
            "equally fast, and the larger one taken",
            wrong(key=lambda r: -r["tokens_per_second"]),
            "Two formats are equally fast and both good enough, and you took whichever came first in the table. What "
            "would you rather have free?",
            "The specification: equally fast → fewer bytes.",
            also=(
                wrong(key=lambda r: (-r["tokens_per_second"], -r["bytes"])),
                lambda table, budget, kv_bytes, max_added: choose(
                    table[::-1], budget, kv_bytes, max_added, key=lambda r: -r["tokens_per_second"]
                ),
            ),
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
