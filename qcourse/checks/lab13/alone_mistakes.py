"""The known mistakes of 13.1: errors of a chain with one thing changed."""

import torch

from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖ / ‖b‖."""
    return (a - b).norm() / b.norm()


def measured(what=ratio, flows="twin", squash=torch.tanh, seen=lambda y: y, turned=False):
    """errors_alone in float64 with another measure (`what`), or another input of each layer (`flows`): "twin", "running"
    (each model its own), "patient" (the patient's for both), "x" (the same x for all)."""

    def wrong(x, twin, patient):
        a = b = x.double()
        found = []
        for right, ill in zip(twin.double(), patient.double(), strict=True):
            right, ill = (right.T, ill.T) if turned else (right, ill)
            y, y_twin = a @ ill.T, b @ right.T
            found.append(what(seen(y), seen(y_twin)))
            if flows == "twin":
                a = b = squash(y_twin)
            elif flows == "patient":
                a = b = squash(y)
            elif flows == "running":
                a, b = squash(y), squash(y_twin)
        return torch.stack(found).float()

    return wrong


def everywhere(what):
    """A measure on the twin's input, in the running model, and on x."""
    return tuple(measured(what, flows) for flows in ("twin", "running", "x"))


def squared(a, b):
    """No root."""
    return ratio(a, b).square()


def by_patient(a, b):
    """‖a − b‖ / ‖a‖."""
    return (a - b).norm() / a.norm()


def absolute(a, b):
    """‖a − b‖."""
    return (a - b).norm()


def elementwise(a, b):
    """The mean of |a − b| / |b|."""
    return ((a - b) / b).abs().mean()


def by_axis(axis: int):
    """The mean of the ratios of tokens, or of channels."""
    return lambda a, b: ((a - b).norm(dim=axis) / b.norm(dim=axis)).mean()


def by_weights(what=ratio):
    """The weights compared, layer by layer."""
    return lambda x, twin, patient: torch.stack(
        [what(ill, right) for ill, right in zip(patient.double(), twin.double(), strict=True)]
    ).float()


MISTAKES = (
    Mistake(
        "each model on its own stream",
        measured(flows="running"),
        "Your layers behind the ill one are ill as well, though their weights are the twin's. You gave them what the "
        "patient's earlier layers made, so their errors are inherited. What would tell a layer's own error from one that "
        "it was handed?",
        "Alone: both layers l read the same input, the twin's.",
        also=(measured(squared, "running"), measured(by_patient, "running")),
    ),
    Mistake(
        "the patient's stream for both",
        measured(flows="patient"),
        "Both layers read the same, and that is right, but it is the patient's: behind the ill layer you measure on inputs "
        "that a healthy model never makes. Whose output has to go on to the next layer?",
        "Alone: the input of layer l is what the twin's layer l − 1 made.",
    ),
    Mistake(
        "patient and twin exchanged",
        lambda x, twin, patient: measured()(x, patient, twin),
        "You measured the twin against the patient: on the patient's stream, in the patient's norm. Which of the two is "
        "the reference, and in which order do the arguments come?",
        "‖y − y_twin‖ / ‖y_twin‖, on the twin's input.",
    ),
    Mistake(
        "x for every layer",
        measured(flows="x"),
        "Every layer of yours read x itself. Layer 3 never meets x in the model: it meets what three layers made of it, "
        "and an error depends on the input on which it is measured. What goes into layer l?",
        "Layer l reads tanh of what the twin's layer l − 1 gave.",
    ),
    Mistake(
        "the tanh left out",
        measured(squash=lambda y: y),
        "Your first error is right, the others are not: the next layer of yours reads the linear output itself. What lies "
        "between two layers of this chain?",
        "h ← tanh(h Wᵀ).",
        also=(measured(squash=torch.relu), measured(flows="running", squash=lambda y: y)),
    ),
    Mistake(
        "compared behind the tanh",
        measured(seen=torch.tanh),
        "You compared what comes out of the tanh. It flattens large numbers, and a layer that is wrong by a factor of a "
        "million looks hardly worse than one that is wrong by ten. Which output is the layer's own?",
        "Errors are those of the linear output, in front of the tanh.",
        also=(measured(seen=torch.tanh, flows="running"),),
    ),
    Mistake(
        "a weight transposed",
        measured(turned=True),
        "Your y is h W. A weight (N, K) holds the numbers of one output in a row, so y = h Wᵀ; with square layers both fit, "
        "and nothing complains. Along which axis of W does the sum run?",
        "y = h Wᵀ.",
        also=(measured(turned=True, flows="running"),),
    ),
    Mistake(
        "divided by the patient's norm",
        measured(by_patient),
        "You divided by the norm of the patient's output. A layer that is a million times too loud then has an error of "
        "1, and one that gives nearly nothing a huge one. Which of the two outputs can be trusted as a unit?",
        "Relative to the twin: / ‖y_twin‖.",
        also=(
            measured(lambda a, b: (a - b).norm() / (a.norm() + b.norm())),
            measured(lambda a, b: ratio(a, b).clamp(max=1)),
        ),
    ),
    Mistake(
        "not divided",
        measured(absolute),
        "Your errors are lengths: a loud layer seems ill because it is loud. By what is an error divided, so that layers "
        "can be compared with each other?",
        "Relative: ‖y − y_twin‖ / ‖y_twin‖.",
        also=(
            *everywhere(absolute)[1:],
            measured(lambda a, b: (a - b).square().mean()),
            measured(lambda a, b: (a - b).square().mean().sqrt()),
            measured(lambda a, b: (a - b).square().sum()),
            measured(lambda a, b: (a - b).abs().mean()),
            measured(lambda a, b: (a - b).abs().max()),
        ),
    ),
    Mistake(
        "squares without the root",
        measured(squared),
        "Your numbers are the squares of the right ones: an error of 0.01 became 0.0001. A ratio of sums of squares is a "
        "ratio of energies. What makes a length of a sum of squares?",
        "‖v‖ is the root of the sum of squares.",
        also=(
            measured(lambda a, b: (a - b).square().sum() / b.norm()),
            measured(lambda a, b: absolute(a, b) / b.square().sum()),
        ),
    ),
    Mistake(
        "an average of ratios",
        measured(elementwise),
        "You made a ratio for each number, token or channel, and averaged those. Where an output happens to be near 0 its "
        "ratio is huge and means nothing. What is compared with what, if the layer shall have one number?",
        "One ratio of two norms over all numbers of the layer.",
        also=(
            measured(by_axis(1)),
            measured(by_axis(0)),
            measured(lambda a, b: ((a - b) / b).square().mean().sqrt()),
            measured(lambda a, b: ((a - b) / b).norm()),
            measured(lambda a, b: ((a - b) / b).abs().max()),
        ),
    ),
    Mistake(
        "another norm",
        measured(lambda a, b: (a - b).abs().sum() / b.abs().sum()),
        "A ratio for each layer, and nearly the right one: you added magnitudes, or took the largest, where ‖·‖ adds "
        "squares and takes the root. Which of the three does `norm` stand for, when nothing else is said?",
        "‖v‖ is the root of the sum of squares, over all numbers of the layer.",
        also=(
            measured(lambda a, b: (a - b).abs().max() / b.abs().max()),
            measured(lambda a, b: (a.norm() - b.norm()).abs() / b.norm()),
            measured(lambda a, b: torch.linalg.matrix_norm(a - b, 2) / torch.linalg.matrix_norm(b, 2)),
            measured(lambda a, b: (a - b).std() / b.std()),
        ),
    ),
    Mistake(
        "the weights compared",
        by_weights(),
        "You compared weights, and no input has met them. That finds what differs, not what it does: a change in a channel "
        "that is always quiet costs nothing. What do the two layers give for the same input?",
        "The error is that of the outputs.",
        also=(by_weights(squared), by_weights(absolute)),
    ),
)
