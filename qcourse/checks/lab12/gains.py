"""12.3 fold_gain(gain, W) → (ones, W · gain): a norm without a gain, which a rotation may pass."""

import torch

from qcourse.checks import draw
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor


def folded(gain: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """In float64, then float32: nothing is rounded twice."""
    return torch.ones(len(gain)), torch.einsum("nk,k->nk", W.double(), gain.double()).float()


def norm(g, N: int, K: int, dtype=torch.float32, silent: bool = False) -> tuple:
    """(gain, W): gains 0.3 … 0.8 and 1.5 … 4, a loud one of 20 … 90; `silent`: one is 0, one negative. No weight is 0."""
    small = torch.rand(K, generator=g) < 0.5
    gain = torch.where(small, 0.3 + 0.5 * torch.rand(K, generator=g), 1.5 + 2.5 * torch.rand(K, generator=g))
    places = torch.randperm(K, generator=g)
    gain[places[0]] = draw.uniform(g, 20, 90)
    if silent:
        gain[places[1]], gain[places[2]] = 0.0, -draw.uniform(g, 1.5, 3)
    W = draw.normal(g, N, K)
    return gain.to(dtype), torch.where(W.abs() < 0.05, 0.5, W).to(dtype)


def returning(weight, gain=lambda gain, W: torch.ones(len(gain))):
    """fold_gain with another weight, or another gain."""
    return lambda g, W: (gain(g, W), weight(g.double(), W.double()))


def right(gain: Tensor, W: Tensor) -> Tensor:
    """The folded weight."""
    return W * gain


def unchanged(gain: Tensor, W: Tensor) -> Tensor:
    """The gain that was given."""
    return gain.double()


MISTAKES = (
    Mistake(
        "along N instead of K",
        returning(lambda gain, W: W * gain[:, None]),
        "Your gain runs along the rows of W (N, K), the outputs. It multiplied the channels of x, which W sums over. Which "
        "index of w[n, k] is a channel of x?",
        "The fold: w[n, k] · gain[k]. The norm writes what the columns read.",
        also=(returning(lambda gain, W: W * gain[:, None], unchanged), returning(lambda gain, W: torch.diag(gain) @ W)),
    ),
    Mistake(
        "divided by the gain",
        returning(lambda gain, W: W / gain),
        "You divided. In SmoothQuant one side of the product was divided and the other multiplied; here the norm stops "
        "multiplying altogether. Who has to do it instead?",
        "The fold: (h · g) Wᵀ = h (W · g)ᵀ.",
        also=(
            returning(lambda gain, W: W / gain, unchanged),
            returning(lambda gain, W: W / gain, lambda gain, W: gain.double() ** 2),
        ),
    ),
    Mistake(
        "the gain left in place, too",
        returning(right, unchanged),
        "The weight has the gain now, and the norm still has it: every channel is multiplied by it twice. What must the "
        "norm multiply by from now on?",
        "The fold is an exact no-op: the gain moves, it is not copied.",
    ),
    Mistake(
        "the gain lost",
        returning(lambda gain, W: W),
        "The norm has no gain any more, and the weight did not get it. Without the gain the model is another model. Who "
        "reads what the norm writes?",
        "The fold is an exact no-op: what leaves the norm arrives in the weight.",
    ),
    Mistake(
        "nothing moved",
        returning(lambda gain, W: W, unchanged),
        "You returned what you were given. That computes the same, of course; but a norm whose gain is still there does not "
        "let a rotation through: (h R) · g is not (h · g) R.",
        "A norm commutes with a rotation only if its gain is 1.",
    ),
    Mistake(
        "zeros for the new gain",
        returning(right, lambda gain, W: torch.zeros(len(gain))),
        "A gain of zero silences the norm. (There are models that store gain − 1, but this one multiplies by what stands "
        "there.) Which factor changes nothing?",
        "The fold is an exact no-op: the gain that is left is 1.",
    ),
    Mistake(
        "the gain's reciprocal left in the norm",
        returning(right, lambda gain, W: 1 / gain.double()),
        "You moved a factor to and fro, as in SmoothQuant: the norm now divides by what it multiplied by before. It has to "
        "be left with no gain at all. By what does such a norm multiply?",
        "A norm commutes with a rotation only if its gain is 1.",
    ),
    Mistake(
        "rounded back to bf16",
        lambda gain, W: (torch.ones(len(gain)), (W.double() * gain.double()).to(W.dtype)),
        "The product of two bf16 numbers has 16 bits of mantissa, and you kept 8 of them. That is a rounding nobody asked "
        "for, before the real one. In which dtype is the product exact?",
        "The fold is an exact no-op: two mantissas of 8 bits fit float32's 24.",
    ),
    Mistake(
        "the two results in the other order",
        lambda gain, W: (W.double() * gain.double(), torch.ones(len(gain))),
        "Both are right, in the other order. What does the specification promise first?",
        "The specification: (the new gain, the new W).",
    ),
)

FOLD_GAIN = Task(
    id="12.3",
    function="fold_gain",
    title="A norm that lets a rotation through",
    points=3,
    expected=folded,
    properties=(
        Property("as many outputs as inputs", lambda g: [norm(g, 4, 4), norm(g, 8, 8)], 2),
        Property("other shapes", lambda g: [norm(g, 1, 5), norm(g, 7, 3), norm(g, 3, 16)]),
        Property("a channel of gain 0, one of negative gain", lambda g: [norm(g, 5, 5, silent=True)]),
        Property("a bf16 checkpoint, folded without rounding", lambda g: [norm(g, 8, 8, torch.bfloat16)]),
    ),
    mistakes=MISTAKES,
    hint="Write out one term of the layer behind the norm: h[m, k] · gain[k] · w[n, k]. Now the norm writes h[m, k] alone. "
    "What must stand in the place of w[n, k]?",
    rtol=1e-6,
    returns=("the gain", "W"),
)
