"""The known mistakes of 12.6: a training step with one thing changed."""

from qcourse.checks.lab12.estimator_mistakes import masked, passed, rounded
from qcourse.checks.task import Mistake


def mean(M, N):
    """2 / (M · N)."""
    return 2 / (M * N)


def trained(used=None, factor=mean, backward=masked, start=None, sign=-1, rate=lambda lr: lr, end=None):
    """train_step in float64, with another weight in the forward pass (`used`), or in the place where the step `start`s."""

    def wrong(x, y, W, scale, limit, lr):
        x, y, W, s = x.double(), y.double(), W.double(), scale.double()
        W_hat = rounded(W / s, limit, s)
        error = x @ (W_hat if used is None else used(W, W_hat)).T - y
        grad = backward(W / s, limit, s, factor(*y.shape) * error.T @ x)
        new = (W if start is None else start(W, W_hat)) + sign * rate(lr) * grad
        return new if end is None else end(new, limit, s)

    return wrong


def with_and_without_mask(**change):
    """The change beside the mask, and without it."""
    return trained(**change), trained(**change, backward=passed)


def quantized(new, limit, s):
    """The result rounded to the grid."""
    return rounded(new / s, limit, s)


def latent(W, W_hat):
    """W itself."""
    return W


def hat(W, W_hat):
    """Ŵ."""
    return W_hat


MISTAKES = (
    Mistake(
        "the latent weights replaced by the rounded ones",
        trained(start=hat),
        "You moved Ŵ, or rounded the result. A step is much smaller than the grid's, so rounding takes it back at once, "
        "and a thousand small steps come to nothing. Which W can add them up?",
        "QAT keeps a latent W in full precision: it is rounded for the forward pass only.",
        also=(
            trained(start=hat, backward=passed),
            *with_and_without_mask(end=quantized),
            *with_and_without_mask(start=hat, end=quantized),
        ),
    ),
    Mistake(
        "no quantization in the loop",
        trained(used=latent),
        "Your forward pass used W itself, so the error that you measured is that of the unquantized layer. Training "
        "cannot mend what it never sees. Which weight will the layer multiply by when it is served?",
        "QAT: the forward pass uses Ŵ.",
        also=(trained(used=latent, backward=passed),),
    ),
    Mistake(
        "uphill",
        trained(sign=1),
        "The loss grows with your step. The gradient points to where the loss rises, and the error is (what came out) − "
        "(what was wanted). Which of the two signs is the wrong one?",
        "Gradient descent: W − lr · gradient.",
        also=(trained(sign=1, backward=passed),),
    ),
    Mistake(
        "the sum instead of the mean",
        trained(factor=lambda M, N: 2),
        "Your step is M · N times too long: the loss is the mean of the squares over tokens and outputs. With the sum, the "
        "learning rate would have to change with the size of the batch. By what is a mean divided?",
        "mean((x Ŵᵀ − y)²) has the gradient 2/(M·N) · (x Ŵᵀ − y)ᵀ x.",
        also=(
            trained(factor=lambda M, N: 2, backward=passed),
            trained(factor=lambda M, N: 1),
            trained(factor=lambda M, N: 1, backward=passed),
        ),
    ),
    Mistake(
        "the mean over one axis only",
        trained(factor=lambda M, N: 2 / M),
        "Your step is N or M times too long: you took the mean over the tokens, or over the outputs. The loss is a mean "
        "over both, M · N numbers. How many has x Ŵᵀ − y?",
        "mean((x Ŵᵀ − y)²) has the gradient 2/(M·N) · (x Ŵᵀ − y)ᵀ x.",
        also=(
            trained(factor=lambda M, N: 2 / M, backward=passed),
            *with_and_without_mask(factor=lambda M, N: 2 / N),
            *with_and_without_mask(factor=lambda M, N: 1 / M),
            *with_and_without_mask(factor=lambda M, N: 1 / N),
        ),
    ),
    Mistake(
        "the 2 of the square lost",
        trained(factor=lambda M, N: 1 / (M * N)),
        "Your step is half as long as it should be. (Many write ½ into the loss to be rid of the factor; this loss has "
        "none.) What is the derivative of a square?",
        "mean((x Ŵᵀ − y)²) has the gradient 2/(M·N) · (x Ŵᵀ − y)ᵀ x.",
        also=(trained(factor=lambda M, N: 1 / (M * N), backward=passed),),
    ),
    Mistake(
        "the mask forgotten",
        trained(backward=passed),
        "Weights beyond the end of the grid moved, too. They cannot change Ŵ by moving, so their gradient says nothing "
        "about them, and they may drift out for ever. Which of your functions stops them?",
        "Straight-through: no gradient outside the clamp's range.",
    ),
    Mistake(
        "nothing learned",
        trained(rate=lambda lr: 0),
        "W came back as it was. If autograd gave you the gradient: that of `round` is zero everywhere, and nothing moves. "
        "Which estimate of it did 12.5 make?",
        "Straight-through: the gradient passes the rounding as if it were not there.",
    ),
    Mistake(
        "the gradient through the scale",
        trained(backward=lambda x, limit, s, grad: masked(x, limit, s, grad * s)),
        "Each row of your step is off by its own scale. Ŵ = s · clamp(round(W / s)): one factor s outside, one 1/s inside. "
        "What is left of them?",
        "The slope of s · (W / s) is 1.",
        also=(
            trained(backward=lambda x, limit, s, grad: masked(x, limit, s, grad / s)),
            trained(backward=lambda x, limit, s, grad: grad * s),
            trained(backward=lambda x, limit, s, grad: grad / s),
        ),
    ),
    Mistake(
        "the learning rate lost",
        trained(rate=lambda lr: 1),
        "You took the whole gradient for the step, or returned the step without W. How far does a step go, and where "
        "does it begin?",
        "Gradient descent: W − lr · gradient.",
        also=(
            trained(rate=lambda lr: 1, backward=passed),
            *with_and_without_mask(start=lambda W, W_hat: 0 * W),
            *with_and_without_mask(start=lambda W, W_hat: 0 * W, sign=1),
            *with_and_without_mask(start=lambda W, W_hat: 0 * W, sign=1, rate=lambda lr: 1),
        ),
    ),
)
