"""12.4 rotate(W_writer, W_reader, R) → (Rᵀ W_writer, W_reader R): the stream between them is turned, y is not."""

import torch

from qcourse.checks import draw
from qcourse.checks.compare import difference
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor

APART = 0.3  # of an entry of R from its transpose: R and Rᵀ are told apart
# Of the length of a weight's longest row or column: K ≤ 32 products are 32 · 2⁻²⁴ off at most, R's inverse ten times that.
ROUNDING = 3e-5


def same(args, got, other):
    """Each weight within what float32 may be off: ROUNDING of its longest row or column, whichever is longer."""
    for name, W, mine, theirs in zip(("W_writer", "W_reader"), args, got, other, strict=False):
        longest = max(W.double().norm(dim=0).max(), W.double().norm(dim=1).max())
        near = (mine.double() - theirs.double()).abs() <= ROUNDING * longest
        found = difference(torch.where(near, theirs.double(), mine.double()), theirs, where=name)
        if found:
            return found
    return None


def turned(W_writer: Tensor, W_reader: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """Sum by sum: h'[j] = Σ h[i] R[i, j], so row j of the writer is Σ R[i, j] w[i]."""
    writer = torch.einsum("ij,ik->jk", R.double(), W_writer.double())
    return writer.float(), torch.einsum("ni,ij->nj", W_reader.double(), R.double()).float()


def rotation(g, D: int) -> Tensor:
    """Any rotation (D, D), D ≥ 3, that is far from its own transpose, and from every permutation."""
    while True:
        R, _ = torch.linalg.qr(torch.randn(D, D, generator=g, dtype=torch.float64))
        if (R - R.T).abs().max() > APART and R.abs().max() < 0.99:
            return R.float()


def layers(g, K: int, D: int, N: int) -> tuple:
    """(W_writer (D, K), W_reader (N, D), R)."""
    return draw.normal(g, D, K), draw.normal(g, N, D), rotation(g, D)


def by(writer, reader):
    """rotate with other products, in float64."""
    return lambda W_writer, W_reader, R: (writer(W_writer.double(), R.double()), reader(W_reader.double(), R.double()))


def left(W, R):
    """Rᵀ W."""
    return R.T @ W


def left_other(W, R):
    """R W."""
    return R @ W


def right(W, R):
    """W R."""
    return W @ R


def right_other(W, R):
    """W Rᵀ."""
    return W @ R.T


def alone(W, R):
    """W."""
    return W


MISTAKES = (
    Mistake(
        "R instead of Rᵀ in the writer",
        by(left_other, right),
        "Your writer makes h Rᵀ, your reader undoes h R. For Hadamard's H the two are the same, so there the slip would "
        "never show. Write h R = x W_wᵀ R as x (…)ᵀ: what stands in the brackets?",
        "(x Wᵀ) R = x (Rᵀ W)ᵀ: a transpose turns the order round, and R with it.",
    ),
    Mistake(
        "Rᵀ instead of R in the reader",
        by(left, right_other),
        "Your writer makes h R, and your reader multiplies by W_r Rᵀ, which would undo h Rᵀ. With h' = h R, y = h' W'ᵀ = "
        "h R W'ᵀ. Which W' makes R W'ᵀ the old W_rᵀ?",
        "A rotation is undone by its transpose, and y = x Wᵀ transposes W already: W' = W R.",
    ),
    Mistake(
        "turned the other way on both sides",
        by(left_other, right_other),
        "Your two layers compute what they did before, so the logits would not complain. But the stream between them is "
        "h Rᵀ, and all its other readers were promised h R. Which product of x, W_w and R is the new stream?",
        "The stream becomes h R: the writer is Rᵀ W, the readers W R.",
    ),
    Mistake(
        "columns of the writer, or rows of the reader",
        by(right, right),
        "You mixed an axis of W that has nothing to do with the stream: the writer's inputs, or the reader's outputs. The "
        "stream is what the writer has as rows, and the reader as columns. Which side of W does R belong on?",
        "W (N, K): rows write, columns read.",
        also=(
            by(right_other, right),
            by(right, right_other),
            by(right_other, right_other),
            *(by(w, r) for w in (left, left_other, right, right_other) for r in (left, left_other)),
        ),
    ),
    Mistake(
        "only the writer turned",
        by(left, alone),
        "The stream is turned, and its reader does not know: it takes a mixture of channels for the channels. Which weight "
        "has to undo what the writer does?",
        "A rotation is an exact no-op: who reads the stream turns back.",
        also=(by(left_other, alone), by(right, alone), by(right_other, alone)),
    ),
    Mistake(
        "only the reader turned",
        by(alone, right),
        "The reader expects h R, but who turns h? Nothing is done while the model runs; the weights must do all of it. "
        "Which weight writes the stream?",
        "A rotation is an exact no-op: what is turned back has to be turned first.",
        also=(by(alone, right_other), by(alone, left), by(alone, left_other)),
    ),
    Mistake(
        "the results transposed, or in the other order",
        lambda W_writer, W_reader, R: turned(W_writer, W_reader, R)[::-1],
        "The numbers are right, and do not stand where they are looked for: the pair is turned round, or a weight came "
        "back as (K, N). What takes the place of W_writer, and in which shape?",
        "The specification: (W_writer, W_reader), each in its own shape.",
        also=(
            by(lambda W, R: (R.T @ W).T, right),
            by(left, lambda W, R: (W @ R).T),
            by(lambda W, R: (R.T @ W).T, lambda W, R: (W @ R).T),
        ),
    ),
)

ROTATE = Task(
    id="12.4",
    function="rotate",
    title="Turn the stream between two layers",
    points=4,
    expected=turned,
    properties=(
        Property("three sizes alike", lambda g: [layers(g, 3, 3, 3), layers(g, 8, 8, 8)], 2),
        Property("other shapes", lambda g: [layers(g, *s) for s in ((5, 4, 3), (2, 16, 7), (24, 8, 1), (6, 32, 8))]),
    ),
    mistakes=MISTAKES,
    hint="Write the new stream with the old weights, h R = x W_wᵀ R, and bring it into the form x (…)ᵀ: what stands in the "
    "brackets is the new writer. Then find the W' for which h R W'ᵀ is h W_rᵀ.",
    returns=("W_writer", "W_reader"),
    same=same,
)
