"""10.5 attention_error(q, K, V, K_hat, V_hat) → (the error by the keys' rounding alone, that by the values' alone)."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab10.attention_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

# float32 may be off by QUIET of an error (`noise` is a bound of it); every known slip is off by CLEAR at least.
RTOL, QUIET, CLEAR = 2e-3, 5e-4, 0.02


def expected(q, K, V, K_hat, V_hat) -> tuple[float, float]:
    """Query by query, in float64."""
    exact = gathered(q, K, V)
    return tuple(float((other - exact).norm() / exact.norm()) for other in (gathered(q, K_hat, V), gathered(q, K, V_hat)))


def gathered(q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    """What every query gathers (M, D)."""
    rows = []
    for query in q.double():
        scores = (K.double() * query).sum(1) / K.shape[1] ** 0.5
        share = torch.exp(scores - scores.max())
        rows.append((share[:, None] * V.double()).sum(0) / share.sum())
    return torch.stack(rows)


def noise(q, K, V, K_hat, V_hat) -> float:
    """Bound of float32's relative error of either answer: D + 2 roundings of a score, T + 8 of a sum over the tokens."""
    D, T = K.shape[1], len(K)
    largest = max(float((q.double().abs() @ k.double().abs().T).max()) for k in (K, K_hat)) / D**0.5
    off = 2 * (D + 2) * 2**-24 * largest + (T + 8) * 2**-24
    size = max(float(gathered(q, k, v.abs()).norm()) for k, v in ((K, V), (K_hat, V), (K, V_hat)))
    exact = gathered(q, K, V)
    return max(2 * off * size / float((gathered(q, k, v) - exact).norm()) for k, v in ((K_hat, V), (K, V_hat)))


def step(g, t: Tensor, size: float) -> Tensor:
    """t, off by up to `size` of its own spread in every number."""
    return t + size * t.std() * (2 * torch.rand(*t.shape, generator=g) - 1)


def told_apart(args: tuple, right: tuple) -> bool:
    """Whether every known slip gives another pair of numbers."""
    for program in (p for m in MISTAKES for p in (m.wrong, *m.also)):
        pairs = zip(program(*args), right, strict=True)
        if all(abs(float(mine) / theirs - 1) < CLEAR for mine, theirs in pairs):
            return False
    return True


def attended(g, M: int, T: int, D: int, telling: bool = True) -> tuple:
    """(q, K, V, K_hat, V_hat): a loud channel in K, a common part in V, queries and tokens of different sizes; V_hat is too
    small or too large as a whole, so that ‖ô‖ is not ‖o‖.

    `telling`: drawn until no known slip comes near the right numbers.
    """
    while True:
        loud = torch.ones(D)
        loud[draw.integer(g, 0, D - 1)] = 3.0
        q = draw.normal(g, M, D) * (0.3 + 1.2 * torch.rand(M, 1, generator=g))
        K = draw.normal(g, T, D) * loud
        V = (draw.normal(g, T, D) + draw.normal(g, 1, D)) * (0.3 + torch.rand(T, 1, generator=g))
        V_hat = (0.88, 1.12)[draw.integer(g, 0, 1)] * step(g, V, draw.uniform(g, 0.1, 0.5))
        args = q, K, V, step(g, K, draw.uniform(g, 0.1, 0.5)), V_hat
        right = expected(*args)
        ratio = right[0] / right[1]
        if noise(*args) < QUIET and abs(ratio - 1) > 0.1 and (not telling or told_apart(args, right)):
            return args


def exact_keys(g) -> tuple:
    """Keys that are not rounded at all."""
    q, K, V, _, V_hat = attended(g, 3, 8, 8)
    return q, K, V, K.clone(), V_hat


ATTENTION_ERROR = Task(
    id="10.5",
    function="attention_error",
    title="What attention notices",
    points=4,
    expected=expected,
    properties=(
        Property("as many queries as tokens", lambda g: [attended(g, 4, 4, 4), attended(g, 8, 8, 8)], 2),
        Property("several queries, many tokens", lambda g: [attended(g, *s) for s in ((3, 10, 8), (6, 24, 16), (5, 40, 4))]),
        Property("one query", lambda g: [attended(g, 1, 6, 8, False), attended(g, 1, 24, 16, False)]),
        Property("keys that were not rounded: an error of 0", lambda g: [exact_keys(g)]),
    ),
    mistakes=MISTAKES,
    hint="Write attention once, as a function of q, K and V: scores, softmax, a weighted sum. Then call it three "
    "times: with nothing rounded, with the keys rounded, with the values rounded. What do you divide a difference by?",
    rtol=RTOL,
    atol=1e-6,  # of the error that is 0
    returns=("by the keys", "by the values"),
)
