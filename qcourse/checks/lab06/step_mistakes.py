"""round_and_repair, and the known mistakes of 06.3: the same with one thing changed."""

import torch

from qcourse.checks.task import Mistake

INFINITE = torch.inf


def step(
    rounded=torch.round,
    bounds=lambda limit: (-limit, limit),
    x=lambda w, s: w / s,
    error=lambda w, q, s: w - q * s,
    row=lambda H_inv, j: H_inv[j] / H_inv[j, j],
    touched=lambda j, K: range(j + 1, K),
    column=lambda w, q, s, limit: q * s,
    stored=lambda q, limit: q,
):
    """round_and_repair in fp64, with one of its decisions changed. touched: the columns that are repaired."""

    def round_and_repair(W, H_inv, j, scale, limit=7):
        W, H_inv, s = W.double().clone(), H_inv.double(), scale.double()
        w, where = W[:, j].clone(), list(touched(j, W.shape[1]))
        q = rounded(x(w, s)).clamp(*bounds(limit))
        W[:, where] -= error(w, q, s)[:, None] * row(H_inv, j)[where]
        W[:, j] = column(w, q, s, limit)
        return stored(q, limit).to(torch.int64).to(torch.int8), W.float()

    return round_and_repair


def root(H_inv, j):
    """Row j over the root of its diagonal: row j of the factor."""
    return H_inv[j] / H_inv[j, j].sqrt()


def by_H(H_inv, j):
    """Row j of the inverse's inverse."""
    H = torch.linalg.inv(H_inv)
    return H[j] / H[j, j]


def everybody(j, K):
    """All columns but j."""
    return [k for k in range(K) if k != j]


def clipped(q, limit):
    """q on the grid."""
    return q.clamp(-limit, limit)


MISTAKES = (
    Mistake(
        "the repair with the wrong sign",
        step(row=lambda H_inv, j: -H_inv[j] / H_inv[j, j]),
        "Your repair pushes the output the same way as the rounding did, so the error is made twice. Put k = j into the "
        "law: then w_j must become ŵ_j. Does it, with your sign?",
        "w_k −= (w_j − ŵ_j) / H_inv[j, j] · H_inv[j, k].",
    ),
    Mistake(
        "not divided by the diagonal",
        step(row=lambda H_inv, j: H_inv[j]),
        "The error goes into the repair as it is. Were x ten times as loud, H_inv would be a hundred times smaller, and "
        "your repair with it. Put k = j into the law: w_j has to lose exactly w_j − ŵ_j. Which number makes it so?",
        "w_k −= (w_j − ŵ_j) / H_inv[j, j] · H_inv[j, k].",
    ),
    Mistake(
        "divided by the root of the diagonal",
        step(row=root),
        "You divided by the root of H_inv[j, j]. The root belongs to the factor of 06.4, whose row has been divided by it "
        "already. Here the row is that of H_inv itself.",
        "w_k −= (w_j − ŵ_j) / H_inv[j, j] · H_inv[j, k].",
    ),
    Mistake(
        "divided by each column's own diagonal",
        step(row=lambda H_inv, j: H_inv[j] / H_inv.diagonal()),
        "Column k divides by H_inv[k, k]. The error is that of column j, and all columns hear the same of it. Whose "
        "diagonal says how easily *j* is replaced?",
        "w_k −= (w_j − ŵ_j) / H_inv[j, j] · H_inv[j, k].",
    ),
    Mistake(
        "repaired by H instead of its inverse",
        step(row=by_H),
        "You inverted what you were given, and that is H again. H says how much two channels have in common; how much of an "
        "error k can take over beside all others stands in the inverse. H_inv is it.",
        "w_k −= (w_j − ŵ_j) / H_inv[j, j] · H_inv[j, k].",
    ),
    Mistake(
        "columns repaired that are rounded already",
        step(touched=everybody),
        "The columns left of j have changed, too. Their codes are written, so nothing may be taken from them any more. "
        "Which columns can still help?",
        "Only the columns k > j are repaired.",
    ),
    Mistake(
        "only the next column repaired",
        step(touched=lambda j, K: range(j + 1, min(j + 2, K))),
        "Column j + 1 hears of the error, and those behind it do not. What does row j of H_inv hold beyond j + 1?",
        "All columns k > j are repaired.",
    ),
    Mistake(
        "nothing repaired",
        step(touched=lambda j, K: []),
        "Column j is rounded, and the others are as they were: that is round-to-nearest. Where does the error go?",
        "w_k −= (w_j − ŵ_j) / H_inv[j, j] · H_inv[j, k].",
    ),
    Mistake(
        "column j left as it was",
        step(column=lambda w, q, s, limit: w),
        "W still holds the exact weights in column j, but the codes say otherwise, and the repair counts on that. What will "
        "the layer multiply by?",
        "After its step, column j holds ŵ_j = code · scale.",
    ),
    Mistake(
        "codes in W, not what they stand for",
        step(column=lambda w, q, s, limit: q),
        "Column j of your W holds whole numbers. W is in units of the weight: what does a code of 5 stand for?",
        "After its step, column j holds ŵ_j = code · scale.",
    ),
    Mistake(
        "the code taken off the weight",
        step(error=lambda w, q, s: w - q),
        "You subtract a code, a number like −5, from a weight, a number like −0.3. What does the code stand for?",
        "ŵ = code · scale.",
    ),
    Mistake(
        "the error in steps",
        step(error=lambda w, q, s: w / s - q),
        "Your error is a number of steps, at most a half, and it is taken from weights. What is it in units of the weight?",
        "ŵ = code · scale, and the error is w − ŵ.",
    ),
    Mistake(
        "truncated instead of rounded",
        step(rounded=torch.trunc),
        "Your codes are cut off instead of rounded: the error reaches a whole step. What is the nearest code to 2.9?",
        "|w − ŵ| ≤ s/2 inside the grid.",
        also=(step(rounded=torch.floor), step(rounded=torch.ceil)),
    ),
    Mistake(
        "codes beyond the grid",
        step(bounds=lambda limit: (-INFINITE, INFINITE)),
        "A weight may be larger than any that the scale was made for (repairs make some so), and your code leaves the grid. "
        "What is stored in 4 bits when the code is 9?",
        "The codes: −limit … limit.",
    ),
    Mistake(
        "the error of a code that is not stored",
        step(bounds=lambda limit: (-INFINITE, INFINITE), stored=clipped),
        "You clip what you return, and repair for the code before it was clipped. What clipping takes off is an error, too, "
        "often the largest. Which ŵ_j will the layer have?",
        "The error is w_j − ŵ_j, with ŵ_j what is stored.",
        also=(
            step(
                bounds=lambda limit: (-INFINITE, INFINITE),
                stored=clipped,
                column=lambda w, q, s, limit: clipped(q, limit) * s,
            ),
        ),
    ),
    Mistake(
        "one code more on the negative side",
        step(bounds=lambda limit: (-limit - 1, limit)),
        "Your lowest code is −limit − 1, as two's complement would allow. Here the grid is symmetric.",
        "The codes: −limit … limit.",
    ),
    Mistake(
        "always the grid of 4 bits",
        step(bounds=lambda limit: (-7, 7)),
        "Your codes go to 7 whatever `limit` is. With limit = 3, in 3 bits, what would be stored for 5?",
        "The codes: −limit … limit.",
        also=(step(bounds=lambda limit: (-8, 7)),),
    ),
    Mistake(
        "multiplied by the scale",
        step(x=lambda w, s: w * s),
        "You made small weights smaller still. A scale is the weight of one step, so how many steps is w?",
        "`scale` multiplies on the way back, so it divides here.",
    ),
)
