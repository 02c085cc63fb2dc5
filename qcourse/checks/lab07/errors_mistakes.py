"""scaled_error, and the known mistakes of 07.3: the same with one thing changed."""

from qcourse.checks.lab07.rounding import rounded
from qcourse.checks.task import Mistake


def error(
    round_=lambda W, s, G, B: rounded(W * s, G, B),
    left=lambda x, s: x / s,
    exact=lambda x, W, s: x @ W.T,
    total=lambda d: d.square().sum(),
):
    """scaled_error in fp64: what is rounded, what multiplies it, what it is compared with, how differences are counted."""

    def scaled_error(x, W, s, group_size, num_bits):
        x, W, s = x.double(), W.double(), s.double()
        return total(left(x, s) @ round_(W, s, group_size, num_bits).T - exact(x, W, s)).item()

    return scaled_error


def of_weights(difference):
    """The error of the weights alone."""
    return lambda x, W, s, group_size, num_bits: (
        difference(W.double(), s.double(), group_size, num_bits).square().sum().item()
    )


MISTAKES = (
    Mistake(
        "x not divided",
        error(left=lambda x, s: x),
        "W grew by s and x stayed what it was, so ŷ is too loud by s, and that is not the fault of rounding. Leave the "
        "rounding out for a moment: is your product still x Wᵀ?",
        "Migration: (x / s) (W · s)ᵀ = x Wᵀ.",
    ),
    Mistake(
        "s on the wrong side",
        error(lambda W, s, G, B: rounded(W / s, G, B), lambda x, s: x * s),
        "The product is unchanged, so it looks right. But s is large where x is loud, and there you made the weights "
        "smaller: their rounding errors are now multiplied by s. Which side was to be made larger before it is rounded?",
        "AWQ: Q(W · s), and x / s.",
    ),
    Mistake(
        "both sides multiplied, or both divided",
        error(left=lambda x, s: x * s),
        "Each term of the sum carries s² now, or 1/s². What is given to one factor of a product has to be taken from the "
        "other.",
        "Migration: (x / s) (W · s)ᵀ = x Wᵀ.",
        also=(
            error(lambda W, s, G, B: rounded(W / s, G, B)),
            error(lambda W, s, G, B: rounded(W * s, G, B) / s),
            error(lambda W, s, G, B: rounded(W, G, B)),
            error(lambda W, s, G, B: rounded(W / s, G, B), lambda x, s: x),
        ),
    ),
    Mistake(
        "the rows of W multiplied",
        error(lambda W, s, G, B: rounded(W * s[:, None], G, B)),
        "W is (N, K), and s has one factor for each k: an input channel, a column. Yours run along N, the outputs.",
        "Migration: w[n, k] · s[k].",
        also=(error(lambda W, s, G, B: rounded(s[:, None] * W, G, B) / s[:, None]),),
    ),
    Mistake(
        "rounded before it was scaled",
        error(lambda W, s, G, B: rounded(W, G, B), lambda x, s: x),
        "Your error is the same for every s: W was rounded as it is, and the factors that came afterwards cancelled. "
        "(Or s is not there at all.) At which moment must a column be larger, for its error to become relatively "
        "smaller?",
        "AWQ: Q(W · s), not Q(W) · s.",
        also=(error(lambda W, s, G, B: rounded(W, G, B) * s),),
    ),
    Mistake(
        "compared with another product",
        error(exact=lambda x, W, s: (x / s) @ W.T),
        "ŷ is compared with a product in which s stands only once. The layer is to compute what it always did, before "
        "anyone thought of s. What is y?",
        "y = x Wᵀ.",
        also=(error(exact=lambda x, W, s: x @ (W * s).T),),
    ),
    Mistake(
        "the error of the weights",
        of_weights(lambda W, s, G, B: rounded(W * s, G, B) / s - W),
        "You compare Ŵ with W, and x is not asked. Then a column that meets silence counts as much as one that meets the "
        "loudest channel, and that difference is all that AWQ lives on.",
        "AWQ: the error of the *output*.",
        also=(
            of_weights(lambda W, s, G, B: rounded(W * s, G, B) - W * s),
            of_weights(lambda W, s, G, B: rounded(W, G, B) - W),
        ),
    ),
    Mistake(
        "the mean instead of the sum",
        error(total=lambda d: d.square().mean()),
        "Your number is smaller than E by a whole factor: the number of outputs, of tokens or of rows. The formula has a Σ "
        "over both m and n, and divides by nothing.",
        "E = Σ over m and n.",
        also=(
            error(total=lambda d: d.square().sum(1).mean()),
            error(total=lambda d: d.square().sum(0).mean()),
            error(total=lambda d: d.square().mean(0).mean()),
        ),
    ),
    Mistake(
        "magnitudes instead of squares",
        error(total=lambda d: d.abs().sum()),
        "You added |error|. Twice the error has to count four times.",
        "E = Σ (ŷ − y)².",
        also=(error(total=lambda d: d.abs().mean()), error(total=lambda d: d.abs().max())),
    ),
    Mistake(
        "the root of the sum",
        error(total=lambda d: d.norm()),
        "That is the *length* of the error, the square root of E (or of its mean). For finding the best α it would do "
        "as well; asked for is the sum itself.",
        "E = Σ (ŷ − y)².",
        also=(error(total=lambda d: d.square().mean().sqrt()),),
    ),
    Mistake(
        "added up before it was squared",
        error(total=lambda d: d.sum().square()),
        "Errors of both signs cancel in your sum, and only then you square. A layer that is wrong by +1 here and by −1 "
        "there would be perfect.",
        "E = Σ (ŷ − y)², the square inside.",
        also=(error(total=lambda d: d.sum()), error(total=lambda d: d.mean())),
    ),
    Mistake(
        "another number of bits",
        error(lambda W, s, G, B: rounded(W * s, G, 4)),
        "Your error does not depend on `num_bits`. It is an argument: hand it on.",
        "The specification: Q has num_bits.",
        also=(error(lambda W, s, G, B: rounded(W * s, G, 3)),),
    ),
    Mistake(
        "another group size",
        error(lambda W, s, G, B: rounded(W * s, W.shape[1], B)),
        "Your error does not depend on `group_size`. It is an argument: hand it on.",
        "The specification: groups of group_size along K.",
        also=tuple(error(lambda W, s, G, B, n=n: rounded(W * s, n, B)) for n in (4, 8)),
    ),
)
