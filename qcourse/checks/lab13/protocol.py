"""13.5 audit(inputs, targets, bos, read) → markers in front, share of next ids among the targets, share of windows read."""

import torch
import torch.nn.functional as F

from qcourse.checks import draw
from qcourse.checks.lab13.protocol_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

BOS, WORDS = 2, 6  # few words, so that a text repeats itself
T = 5  # ids of a window of calibration


def expected(inputs: Tensor, targets: Tensor, bos: int, read: Tensor) -> tuple[int, float, float]:
    """With Python's lists."""
    rows, known = inputs.tolist(), {tuple(row) for row in read.tolist()}
    markers = next((i for i, word in enumerate(rows[0]) if word != bos), len(rows[0]))
    pairs = [
        (a, b) for row, asked in zip(rows, targets.tolist(), strict=True) for a, b in zip(row[1:], asked[:-1], strict=True)
    ]
    hits = [tuple(row[markers : markers + read.shape[1]]) in known for row in rows]
    return markers, sum(a == b for a, b in pairs) / len(pairs), sum(hits) / len(hits)


def text(g, n: int, length: int) -> Tensor:
    """n windows of few different ids, 10 … 15, none like another in its first ids; the marker stands inside as well, where
    a document ends: in every window, once in the first and twice in the last."""
    while True:
        ids = 10 + draw.codes(g, 0, WORDS - 1, n, length, dtype=torch.int64)
        ids[torch.arange(n), 1 + draw.codes(g, 0, T - 2, n, dtype=torch.int64)] = BOS
        ids[-1, length - 1] = BOS
        if len(ids[:, :T].unique(dim=0)) == n:
            return ids


def entered(body: Tensor, markers: int = 1, shift: tuple[int, ...] = (1,)) -> tuple[Tensor, Tensor]:
    """(inputs, targets): `markers` in front; window i asks for what stands shift[i] places further on."""
    ids = F.pad(body, (markers, 0), value=BOS)
    m = ids.shape[1] - max(shift)
    targets = [row[shift[i % len(shift)] :][:m] for i, row in enumerate(ids)]
    return ids[:, :m].contiguous(), torch.stack(targets)


def near(g, body: Tensor, wanted: int, twice: bool = False) -> Tensor:
    """What calibration has read: `wanted` of the windows (every other one), one of them twice if so asked; of the rest some
    that begin alike and end otherwise, or have the same ids in another order; and three of none."""
    first = body[:, :T].clone()
    known, rest = first[::2][:wanted], torch.cat((first[1::2], first[::2][wanted:]))
    turned = rest.roll(1, 1)
    rest[:, -1] = 20 + draw.integer(g, 0, 5)
    strange = 10 + draw.codes(g, 0, WORDS - 1, 3, T, dtype=torch.int64)
    strange[:, 1] = 30
    known = torch.cat((known, known[:1])) if twice else known
    found = torch.cat((known, rest, turned, strange))
    return found[torch.randperm(len(found), generator=g)]


def case(g, n=4, length=9, markers=1, shift=(1,), wanted=0, twice=False) -> tuple:
    """(inputs, targets, bos, read)."""
    body = text(g, n, length)
    return (*entered(body, markers, shift), BOS, near(g, body, wanted, twice))


def of_targets(g) -> list[tuple]:
    """As it should be; not shifted; shifted twice; a mixture. Nothing was read."""
    return [case(g, shift=shift) for shift in ((1, 1, 0), (0,), (2,), (1, 0, 2, 1))]


def of_markers(g) -> list[tuple]:
    """Two, three, none."""
    return [case(g, markers=2), case(g, 5, 11, 3), case(g, 3, 8, 0), case(g, 3, 8, 2, (0,))]


def of_calibration(g) -> list[tuple]:
    """Some of the windows were read, and something that begins like the others; one of them read twice, or scored twice."""
    doubled = text(g, 4, 9)[[0, 1, 0, 2, 3, 3]]
    read = near(g, doubled[[0, 1]], 1)
    return [
        case(g, 5, 9, wanted=2),
        case(g, 6, 9, 2, wanted=1),
        case(g, 4, 10, 0, wanted=1, twice=True),
        (*entered(doubled), BOS, read),
    ]


def all_at_once(g) -> list[tuple]:
    """Two markers, targets that are not always the next id, some windows read."""
    return [case(g, 5, 10, 2, (1, 0), 2, True), case(g, 7, 8, 2, (0, 1, 1), 3), case(g, 3, 12, 3, (2, 1), 1)]


AUDIT = Task(
    id="13.5",
    function="audit",
    title="Is the meter right?",
    points=5,
    expected=expected,
    properties=(
        Property("targets", of_targets, 2),
        Property("markers", of_markers),
        Property("windows that calibration has read", of_calibration, 2),
        Property("all at once", all_at_once),
    ),
    mistakes=MISTAKES,
    hint="Three questions to one table. Which ids stand in front, before the text begins? In which column of the inputs "
    "does the right target of column j stand, and which column has none? Where does the text of a window begin?",
    rtol=1e-5,
    atol=1e-7,
    returns=("markers", "next ids", "read"),
)
