"""The tables of 04.6: rows that tempt one mistake each, and the choice among them, right or wrong."""

import torch

from qcourse.checks.draw import integer, uniform

NAMES = ("bf16", "int8", "fp8", "awq", "gptq", "rtn4", "hqq", "int3", "nf4", "mxfp4")
KEYS = ("bytes", "added", "stderr", "tokens_per_second")
FITTING = ("small", "right", "best quality")
UNSURE = ("good with luck", "perhaps good", "within one error")


def market(g, *wanted: str) -> tuple:
    """A table (rows in this order) in which each kind of row tempts one mistake; then budget, kv_bytes, max_added.

    Losses are whole multiples of 2⁻¹⁶, so that a sum that equals the limit does so in any order of addition.
    """
    budget, kv, limit = integer(g, 40, 60) * 1000, integer(g, 10, 20) * 1000, 32 * integer(g, 8, 40) / 2**16
    room, s, u = budget - kv, uniform(g, 50, 100), limit / 32
    kinds = {  # bytes, added, stderr, tokens a second
        "terrible": (room // 4, 288 * u, 3 * u, 9 * s),
        "too big": (budget + 5000, 0.0, 0.0, 8 * s),
        "no room for users": (room + kv // 2, 3 * u, u, 7 * s),
        "good with luck": (room - 3500, 35 * u, 10 * u, 6.5 * s),
        "perhaps good": (room - 3000, 29 * u, 10 * u, 6 * s),
        "within one error": (room - 2500, 26 * u, 5 * u, 5 * s),
        "better than bf16": (room - 2200, -40 * u, 3 * u, 4.8 * s),
        "just good enough": (room - 1500, 26 * u, 3 * u, 4.6 * s),
        "exactly full": (room, 10 * u, 2 * u, 4.5 * s),
        "right": (room - 2000, 19 * u, 3 * u, 4 * s),
        "as fast, larger": (room - 1000, 6 * u, 3 * u, 4 * s),
        "small": (room // 3, 22 * u, 3 * u, 2 * s),
        "best quality": (room - 4000, u / 4, u / 16, s),
    }
    return [dict(zip(KEYS, kinds[w], strict=True)) for w in wanted], budget, kv, limit


def draw(g, *tables: tuple[str, ...]) -> list[tuple]:
    """Cases whose answers have different names, none in the first or last row: a name, or a place, is right at most once."""
    cases, used = [], set()
    for wanted in tables:
        rows, *rest = market(g, *wanted)
        names = [NAMES[i] for i in torch.randperm(len(NAMES), generator=g)]
        for shift in range(len(NAMES)):
            table = [{"name": names[(i + shift) % len(NAMES)], **row} for i, row in enumerate(rows)]
            if (answer := choose(table, *rest)) not in used:
                break
        used.add(answer)
        cases.append((mixed(g, table, answer), *rest))
    return cases


def mixed(g, table: list[dict], answer: str | None) -> list[dict]:
    """The rows in random order, the right one and its equals in speed in theirs, and others before and behind them."""
    speed = next((r["tokens_per_second"] for r in table if r["name"] == answer), None)
    inner = [r for r in table if r["tokens_per_second"] == speed]
    others = [r for r in table if r["tokens_per_second"] != speed]
    others = [others[i] for i in torch.randperm(len(others), generator=g)]
    cut = integer(g, 1, len(others) - 1) if inner else 0
    return others[:cut] + inner + others[cut:]


def fastest(row: dict) -> tuple:
    """The fastest first; equally fast: the smaller."""
    return -row["tokens_per_second"], row["bytes"]


def choose(table, budget, kv, limit, *, errors=2.0, key=fastest, strict=False, below=False, loss=float):
    """The row that is best under `key` among those that fit and are good enough; what can be got wrong as keywords."""
    fit = [r for r in table if r["bytes"] + kv + strict <= budget]
    sure = [(loss(r["added"]) + errors * r["stderr"], r) for r in fit]
    good = [r for high, r in sure if (high < limit if below else high <= limit)]
    return sorted(good, key=key)[0]["name"] if good else None


def wrong(kv=1, budget=1, limit=1, **how):
    """A mistake in the choice; 0 for a constraint that is ignored (a budget of 0 is no limit)."""
    unlimited = float("inf")
    return lambda table, budget_, kv_bytes, max_added: choose(
        table, budget_ if budget else unlimited, kv * kv_bytes, max_added if limit else unlimited, **how
    )
