"""hqq_zero, and the known mistakes of 07.6: the same with one thing changed."""

from qcourse.checks.lab07.shrinking_mistakes import shrunk
from qcourse.checks.task import Mistake

shrink = shrunk()


def step(
    codes=lambda W, s, z, top: (W / s + z).round().clamp(0, top),
    error=lambda W, q, s, z: W - s * (q - z),
    helper=shrink,
    vote=lambda W, q, e, s, z: q - (W - e) / s,
    mean=lambda votes, s: votes.mean(-1),
):
    """hqq_zero in fp64, with one thing changed."""

    def hqq_zero(W, scale, zero, beta, p, num_bits):
        W, s, z = W.double(), scale.double().unsqueeze(-1), zero.double().unsqueeze(-1)
        q = codes(W, s, z, 2**num_bits - 1)
        e = helper(error(W, q, s, z), beta, p)
        return mean(vote(W, q, e, s, z), s)

    return hqq_zero


MISTAKES = (
    Mistake(
        "e forgotten: plain least squares",
        step(vote=lambda W, q, e, s, z: q - W / s),
        "Your zero point is the mean of q − w/s: plain least squares, in which the outliers pull with all their weight. "
        "HQQ is the part that is missing: what `shrink` takes over must not count. Where does e enter?",
        "z' = mean(q − (w − e) / s).",
    ),
    Mistake(
        "the sign of e",
        step(vote=lambda W, q, e, s, z: q - (W + e) / s),
        "You counted the outliers twice instead of not at all. e is the part of w − ŵ that is *taken away*: w minus what?",
        "z' = mean(q − (w − e) / s).",
        also=(step(error=lambda W, q, s, z: s * (q - z) - W),),
    ),
    Mistake(
        "the whole error taken over",
        step(helper=lambda r, beta, p: r),
        "Your e is all of w − ŵ, so that w − e is ŵ and every weight votes for the zero point that is there already. "
        "Nothing moves. What does `shrink` leave?",
        "e = shrink(w − ŵ).",
    ),
    Mistake(
        "the weights shrunk",
        step(error=lambda W, q, s, z: W),
        "You shrank the weights. What is to be taken over is the large part of their *errors*: of what is left between "
        "w and ŵ.",
        "e = shrink(w − ŵ), ŵ = s (q − z).",
    ),
    Mistake(
        "an error in steps",
        step(error=lambda W, q, s, z: W / s + z - q, vote=lambda W, q, e, s, z: q - (W / s - e)),
        "Your error is measured in steps, and β belongs to an error in the units of the weights. (For a β of your own that "
        "would be the better unit; this function is given one.)",
        "e = shrink(w − ŵ), in the units of W.",
        also=(
            step(error=lambda W, q, s, z: W / s + z - q),
            step(vote=lambda W, q, e, s, z: q - (W / s - e)),
        ),
    ),
    Mistake(
        "codes not clamped",
        step(codes=lambda W, s, z, top: (W / s + z).round()),
        "Your q runs beyond the last code. Then even an outlier seems to be well rounded, and the error that HQQ is "
        "about never appears. Which codes are there?",
        "0 ≤ q ≤ 2^B − 1.",
        also=(step(codes=lambda W, s, z, top: (W / s + z).round().clamp(min=0)),),
    ),
    Mistake(
        "other codes than 0 … 2^B − 1",
        step(codes=lambda W, s, z, top: (W / s + z).round().clamp(0, 15)),
        "B bits have the codes 0 … 2^B − 1: sixteen of them for 4 bits, eight for 3. With a zero point there are no "
        "negative ones.",
        "0 ≤ q ≤ 2^B − 1.",
        also=(
            step(codes=lambda W, s, z, top: (W / s + z).round().clamp(0, top + 1)),
            step(codes=lambda W, s, z, top: (W / s + z).round().clamp(-(top + 1) // 2, top // 2)),
            step(codes=lambda W, s, z, top: (W / s + z).round().clamp(0, 7)),
        ),
    ),
    Mistake(
        "rounded before the zero point was added",
        step(codes=lambda W, s, z, top: ((W / s).round() + z).clamp(0, top)),
        "Your q is no whole number. A zero point of 6.4 is no code, so it has to be added before the rounding, not "
        "after it.",
        "q = clamp(round(w / s + z)), the codes of a file.",
    ),
    Mistake(
        "truncated instead of rounded",
        step(codes=lambda W, s, z, top: (W / s + z).floor().clamp(0, top)),
        "You cut fractions off, so that every error lies on one side, and the zero point moves to make up for it. Which "
        "code is nearest?",
        "q = round(w / s + z).",
        also=(step(codes=lambda W, s, z, top: (W / s + z).trunc().clamp(0, top)),),
    ),
    Mistake(
        "multiplied by the scale",
        step(codes=lambda W, s, z, top: (W * s + z).round().clamp(0, top)),
        "A scale is the size of one step, so a weight has w / s of them. (HQQ's own source keeps 1/s under the name of "
        "scale; here it multiplies on the way back.)",
        "ŵ = s (q − z), q = w / s + z.",
        also=(
            step(vote=lambda W, q, e, s, z: q - (W - e) * s),
            step(
                lambda W, s, z, top: (W * s + z).round().clamp(0, top),
                lambda W, q, s, z: W - (q - z) / s,
                shrink,
                lambda W, q, e, s, z: q - (W - e) * s,
            ),
        ),
    ),  # fmt: skip
    Mistake(
        "a zero point in the units of the weights",
        step(mean=lambda votes, s: (s * votes).mean(-1)),
        "Your zero point is multiplied by the scale. It is the code that stands for 0, a number of steps: w / s + z.",
        "z' in steps: q − (w − e) / s.",
        also=(step(vote=lambda W, q, e, s, z: W - e - s * q), step(vote=lambda W, q, e, s, z: q - (W - e))),
    ),
    Mistake(
        "the zero point turned round",
        step(vote=lambda W, q, e, s, z: (W - e) / s - q),
        "You averaged (w − e)/s − q: the same with the other sign. If w is 0, which code stands for it?",
        "z' = q − (w − e) / s.",
    ),
    Mistake(
        "rounded to a whole number",
        step(mean=lambda votes, s: votes.mean(-1).round()),
        "You rounded the zero point. Then it stays where it was in most groups, for one step moves it by a fraction "
        "only. HQQ keeps it as a float.",
        "z' is a real number.",
        also=(step(mean=lambda votes, s: votes.round().mean(-1)),),
    ),
    Mistake(
        "the mean over the wrong axis",
        step(mean=lambda votes, s: votes.mean(1)),
        "Your answer has not the shape of `zero`. Every group has one zero point, on which its G weights vote. Which "
        "axis of (N, K/G, G) has to disappear?",
        "The shape: z' is (N, K/G).",
        also=(
            step(mean=lambda votes, s: votes.mean(0)),
            step(mean=lambda votes, s: votes),
            step(mean=lambda votes, s: votes.mean(-1, keepdim=True)),
            step(mean=lambda votes, s: votes.mean()),
        ),
    ),
    Mistake(
        "another middle than the mean",
        step(mean=lambda votes, s: votes.median(-1).values),
        "A sum grows with the group, and a median does not answer the question: what makes the sum of squares least is the "
        "mean of the votes.",
        "z' is a mean over the group.",
        also=(step(mean=lambda votes, s: votes.sum(-1)), step(mean=lambda votes, s: votes.quantile(0.5, -1))),
    ),
)
