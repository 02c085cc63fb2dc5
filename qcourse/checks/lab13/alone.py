"""13.1 errors_alone(x, twin, patient) → the relative error of each layer of a chain, on the twin's input of that layer."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab13.alone_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

QUIET = 0.03  # a damage that is drawn is at least this large; the tolerance is a thousandth of it
LOUD = 1e6  # what an inverted global scale does


def expected(x: Tensor, twin: Tensor, patient: Tensor) -> Tensor:
    """Token by token and output by output, float64."""
    h, found = x.double(), []
    for right, ill in zip(twin.double(), patient.double(), strict=True):
        y = (h[:, None, :] * right).sum(2)
        apart = (h[:, None, :] * (ill - right)).sum(2)
        found.append((apart.square().sum() / y.square().sum()).sqrt())
        h = y.tanh()
    return torch.stack(found).float()


def healthy(g, L: int, K: int) -> Tensor:
    """L square layers (L, K, K) that keep a token's size, and are far from symmetric."""
    return draw.normal(g, L, K, K) * (1.4 / K**0.5)


def chain(g, L: int, M: int, K: int, ill: dict[int, float]) -> tuple:
    """(x, twin, patient): layer l's weights are off by the share ill[l]; the others are the twin's."""
    twin = healthy(g, L, K)
    patient = twin.clone()
    for layer, share in ill.items():
        patient[layer] += share * draw.normal(g, K, K) * twin[layer].std()
    return draw.normal(g, M, K), twin, patient


def one_ill(g) -> list[tuple]:
    """A layer that is not the last, at another place in each."""
    return [chain(g, 4, 5, 6, {draw.integer(g, 0, 2): draw.uniform(g, 0.3, 0.6)}), chain(g, 5, 9, 8, {1: 0.5})]


def two_ill(g) -> list[tuple]:
    """The later one is hurt less than what runs into it."""
    return [chain(g, 5, 6, 8, {0: 0.8, 3: draw.uniform(g, QUIET, 0.1)}), chain(g, 4, 3, 5, {1: 0.6, 2: 0.1})]


def rounded(g) -> list[tuple]:
    """Every layer in 3 bits, a scale a row: no error is 0."""
    found = []
    for L, M, K in ((4, 6, 8), (3, 10, 6)):
        x, twin, _ = chain(g, L, M, K, {})
        scale = twin.abs().amax(2, keepdim=True) / 3
        found.append((x, twin, (twin / scale).round() * scale))
    return found


def loud(g) -> list[tuple]:
    """A layer wrong by a factor of a million, or of a thousand, either way; and one whose sign is lost."""
    found = []
    for factor in (LOUD, 1e-3, -1.0):
        x, twin, patient = chain(g, 4, 5, 6, {3: 0.2})
        patient[1] *= factor
        found.append((x, twin, patient))
    return found


def small(g) -> list[tuple]:
    """One token and one layer; two tokens; one layer."""
    return [chain(g, 1, 1, 5, {0: 0.5}), chain(g, 3, 2, 6, {0: 0.4, 2: 0.3}), chain(g, 1, 7, 3, {0: 0.2})]


ERRORS_ALONE = Task(
    id="13.1",
    function="errors_alone",
    title="Which layer is ill?",
    points=4,
    expected=expected,
    properties=(
        Property("one ill layer", one_ill, 2),
        Property("two ill layers", two_ill),
        Property("every layer rounded", rounded),
        Property("off by a large factor, or a sign", loud),
        Property("few tokens, few layers", small),
    ),
    mistakes=MISTAKES,
    hint="Walk through the twin alone: what goes into its layer l? Give that to both layers l, and compare what comes out. "
    "Which of the two outputs goes on to layer l + 1?",
    rtol=1e-3,
    atol=1e-5,
    returns=("errors",),
)
