"""hessian, and the known mistakes of 06.1: the same with one thing changed."""

import torch

from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor


def added(H: Tensor, damp: float) -> Tensor:
    """Damping: its share of the mean of the living, and the mean itself for a dead channel."""
    dead = H.diagonal() == 0
    return H + torch.diag((damp + dead.double()) * H.diagonal()[~dead].mean())


def moments(
    product=lambda x: x.T @ x,
    count=lambda x: len(x),
    damped=added,
    centred=False,
):
    """hessian in fp64, with one of its steps changed."""

    def hessian(x, damp=0.01):
        x = x.double()
        x = x - x.mean(0) if centred else x
        return damped(product(x) / count(x), damp).float()

    return hessian


def share(of):
    """Damped by a share of `of(H)`; dead channels get 1."""
    return moments(damped=lambda H, damp: torch.diag((H.diagonal() == 0).double()) + H + damp * of(H) * torch.eye(len(H)))


def each_its_own(H, damp):
    """Every channel damped by a share of itself."""
    return added(H, 0) + torch.diag(damp * H.diagonal())


def everywhere(H, damp):
    """Damping on every entry."""
    return added(H, 0) + damp * H.diagonal()[H.diagonal() != 0].mean()


def replaced(dead_too):
    """The diagonal overwritten by the damping; a dead channel's, too, or not."""

    def damped(H, damp):
        dead = H.diagonal() == 0
        mean = H.diagonal()[~dead].mean()
        return H - torch.diag(H.diagonal()) + torch.diag(torch.where(dead & (not dead_too), mean, damp * mean))

    return damped


def left_dead(H, damp):
    """Damped, a dead channel like the others."""
    return H + damp * H.diagonal()[H.diagonal() != 0].mean() * torch.eye(len(H))


def filled(H, damp):
    """Every 0 replaced by the mean, the zeros beside the diagonal too."""
    mean = H.diagonal()[H.diagonal() != 0].mean()
    return torch.where(H == 0, mean, H) + damp * mean * torch.eye(len(H))


def first_filled(value):
    """Dead channels filled with a number before the mean is taken."""

    def damped(H, damp):
        H = H + torch.diag((H.diagonal() == 0).double() * value)
        return H + damp * H.diagonal().mean() * torch.eye(len(H))

    return damped


MISTAKES = (
    Mistake(
        "x xᵀ instead of xᵀ x",
        moments(lambda x: x @ x.T),
        "Your matrix has a row for every token. H tells how much two *channels* have in common, whatever the text's length. "
        "Over which axis of x must the sum run, so that it disappears?",
        "H = xᵀ x / M is (K, K).",
        also=(moments(lambda x: x @ x.T, count=lambda x: x.shape[1]),),
    ),
    Mistake(
        "another factor than 1/M",
        moments(count=lambda x: 1),
        "Your H is in proportion, and of another size. The same text read twice says nothing new, so H should stay what it "
        "is. (The codes do not mind a factor, but whoever compares two H's does; the paper's 2 is that of a derivative.)",
        "H = xᵀ x / M, a mean over the M tokens.",
        also=tuple(
            moments(count=count)
            for count in (
                lambda x: x.shape[1],
                lambda x: len(x) - 1,
                lambda x: x.numel(),
                lambda x: len(x) / 2,
                lambda x: 0.5,
                lambda x: len(x) ** 0.5,
            )
        ),
    ),
    Mistake(
        "the mean of x taken off",
        moments(centred=True),
        "You made a covariance: each channel without its mean. But the layer multiplies x as it is, and a channel that is "
        "always 5 carries an error in its weight to every output. Which x belongs into xᵀ x?",
        "The output error of a row is the mean of (x · (w − ŵ))², with x as the layer sees it.",
        also=(moments(centred=True, count=lambda x: len(x) - 1),),
    ),
    Mistake(
        "damping forgotten",
        moments(damped=lambda H, damp: added(H, 0)),
        "`damp` changes nothing in your H. With fewer tokens than channels, or two channels that always agree, xᵀ x has no "
        "inverse. What is added, and where, so that there is one?",
        "H + damp · mean(diagonal) · I has an inverse.",
        also=(moments(damped=lambda H, damp: H),),
    ),
    Mistake(
        "damping added to every entry",
        moments(damped=everywhere),
        "You added the number to the whole matrix. That says: all channels have a little in common. Damping says only that "
        "each of them has a little noise of its own. On which entries does a channel meet itself?",
        "Damping stands on the diagonal.",
        also=(moments(damped=lambda H, damp: H + damp * H.diagonal()[H.diagonal() != 0].mean()),),
    ),
    Mistake(
        "the damping in place of the diagonal",
        moments(damped=replaced(True)),
        "The diagonal now holds the damping alone, and what xᵀ x had there is gone. Was it to be overwritten?",
        "Damping is added.",
        also=(moments(damped=replaced(False)),),
    ),
    Mistake(
        "each channel damped by a share of itself",
        moments(damped=each_its_own),
        "A faint channel gets a faint damping in your H. But it is the faint ones whose directions have next to no "
        "inverse. What is the same for all channels?",
        "H + damp · mean(diagonal) · I.",
    ),
    Mistake(
        "a share of something else than the mean of the diagonal",
        share(lambda H: 1.0),
        "`damp` is a share: of what? Were x ten times as loud, H would be a hundred times as large, and the damping should "
        "follow. And an off-diagonal entry may be negative, so the mean over all of H is no measure of size.",
        "H + damp · mean(diagonal) · I.",
        also=tuple(
            share(of)
            for of in (
                lambda H: H.mean(),
                lambda H: H.diagonal().sum(),
                lambda H: H.diagonal().max(),
                lambda H: H.diagonal().median(),
                lambda H: H.abs().mean(),
            )
        ),
    ),
    Mistake(
        "a dead channel left without a diagonal",
        moments(damped=left_dead),
        "With damp = 0 the diagonal of a dead channel is still 0 in your H: it has no inverse, and everything becomes NaN "
        "or an error. No weight of that channel matters; which number stands there is all the same, if it is positive.",
        "H has an inverse.",
    ),
    Mistake(
        "dead channels counted in the mean",
        share(lambda H: H.diagonal().mean()),
        "Your damping changes with the number of dead channels, which say nothing. Is the mean taken over all K, or after "
        "dead channels were given a number like 1? Over which channels should it be taken?",
        "The mean is over the channels that are not dead.",
        also=(moments(damped=first_filled(1.0)),),
    ),
    Mistake(
        "every zero filled, not only those on the diagonal",
        moments(damped=filled),
        "A dead channel's whole row and column hold the mean now: as if it had much in common with all others. It has "
        "nothing in common with anybody. Which single entry has to be positive?",
        "A dead channel: H[k, k] > 0, and 0 beside it.",
    ),
)
