"""03.4 and 03.5: moving the loudness, first in the open, then inside the norm that wrote x."""

import torch

from qcourse.checks.compare import difference
from qcourse.checks.lab03.channels import randn
from qcourse.checks.task import Mistake, Property, Task
from qcourse.shapes import Tensor


def factor(g, K: int) -> Tensor:
    """A factor a channel between 1/8 and 8, none of them 1."""
    return 8.0 ** (2 * torch.rand(K, generator=g) - 1)


def layer(g, M: int, N: int, K: int) -> tuple:
    """(x, W, s)."""
    return randn(g, M, K), torch.randn(N, K, generator=g), factor(g, K)


MIGRATE = Task(
    id="03.4",
    function="migrate",
    title="Move it",
    points=2,
    expected=lambda x, W, s: tuple((a.double() * f.double()).float() for a, f in ((x, 1 / s.double()), (W, s))),
    properties=(
        Property("as many outputs as inputs", lambda g: [layer(g, 2, 2, 2), layer(g, 5, 8, 8)], 2),
        Property("other shapes", lambda g: [layer(g, 1, 3, 5), layer(g, 4, 7, 2), layer(g, 3, 2, 16)]),
        Property("powers of two change no bit", lambda g: [(randn(g, 2, 4), randn(g, 3, 4), torch.tensor([0.5, 2, 8, 64]))]),
    ),
    mistakes=(
        Mistake(
            "s on the wrong side",
            lambda x, W, s: (x * s, W / s),
            "The product is unchanged, so it looks right. But s is large where x is loud: has x become calmer or "
            "louder? Whose burden was to be made lighter?",
            "Migration: x' = x / s is the side that must become easy to quantize.",
        ),
        Mistake(
            "W left as it was",
            lambda x, W, s: (x / s, W),
            "You made x quieter and told nobody. Take one term, x[m,k]/s[k] · w[n,k]: is it still x[m,k] · w[n,k]? "
            "What has to happen to w[n,k]?",
            "Migration is an exact no-op: x' @ W'.T = x @ W.T.",
        ),
        Mistake(
            "both sides divided",
            lambda x, W, s: (x / s, W / s),
            "Each term of the sum now carries 1/s². What you take from one factor of a product has to be given to "
            "the other.",
            "Migration is an exact no-op: x' @ W'.T = x @ W.T.",
        ),
        Mistake(
            "the rows of W multiplied instead of its columns",
            lambda x, W, s: (x / s, W * s[:, None]),
            "W is (N, K), and s has one factor for each k. Your factors run along the N axis, the outputs. Along which "
            "axis of W does the sum of the matmul go?",
            "Migration: w[n, k] · s[k]. A factor belongs to a column of W.",
        ),
        Mistake(
            "the two results in the other order",
            lambda x, W, s: (W * s, x / s),
            "Both tensors are right, but they come back in the other order. What does the specification promise first?",
            "The specification: (x', W').",
        ),
        Mistake(
            "W transposed",
            lambda x, W, s: (x / s, (W * s).T),
            "The numbers are right, but W' has come back as (K, N), ready for x' @ W'. The next layer will transpose it "
            "again. Which shape did W have?",
            "Migration: W' stands where W stood, (N, K).",
        ),
    ),
    hint="Write out one term of the sum: x[m,k] · w[n,k]. Divide the first factor by s[k]; what must happen to the second "
    "so that the product stays? Then look along which axis of W the k runs.",
    rtol=1e-6,
    returns=("x'", "W'"),
)


def norm(g, K: int, readers: list[int], dtype=torch.float32) -> tuple:
    """(gain, weights, s) in the dtype of a checkpoint."""
    gain = 1 + torch.rand(K, generator=g)
    return gain.to(dtype), [torch.randn(N, K, generator=g).to(dtype) for N in readers], factor(g, K)


def exact(gain, weights, s) -> tuple:
    """In fp64, then fp32: nothing is rounded twice."""
    return (gain.double() / s.double()).float(), [(W.double() * s.double()).float() for W in weights]


def computes_the_same(args, got, expected) -> str | None:
    """h → RMSNorm → every reader: the outputs before and after the fold agree to fp32 rounding. And it was this fold."""
    (gain, weights, s), (new_gain, new_weights) = args, got
    if len(new_weights) != len(weights):
        return f"{len(new_weights)} weights came back for {len(weights)} readers"
    if torch.equal(new_gain.double(), gain.double()):
        return "nothing was moved: the gain is what it was"
    h = torch.sin(torch.arange(4 * len(s), dtype=torch.float64)).view(4, -1) * 3
    h = h / h.square().mean(-1, keepdim=True).sqrt()
    for i, (W, new_W) in enumerate(zip(weights, new_weights, strict=True)):
        before = (h * gain.double()) @ W.double().T
        after = (h * new_gain.double()) @ new_W.double().T
        room = 1e-6 * (h * gain.double()).abs() @ W.double().abs().T  # fp32 rounds twice: 2 · 2⁻²⁴ a term
        if not ((after - before).abs() <= room).all():
            worst = ((after - before).norm() / before.norm()).item()
            return f"reader {i} no longer computes what it did: its output has moved by {worst:.2g} of its size"
    return difference(got, expected, rtol=1e-6, names=("gain'", "weights'"))


FOLD_INTO_RMSNORM = Task(
    id="03.5",
    function="fold_into_rmsnorm",
    title="Hide it in the norm",
    points=3,
    expected=exact,
    properties=(
        Property("one reader", lambda g: [norm(g, 2, [2]), norm(g, 8, [3])]),
        Property("three readers", lambda g: [norm(g, 3, [3, 3, 3]), norm(g, 8, [8, 2, 2])]),
        Property("the outputs of all readers stay", lambda g: [norm(g, 16, [5, 16])], verify=computes_the_same),
        Property("a bf16 checkpoint, moved without rounding", lambda g: [norm(g, 8, [4, 4], torch.bfloat16)]),
    ),
    mistakes=(
        Mistake(
            "s on the wrong side",
            lambda gain, weights, s: (gain.float() * s, [W.float() / s for W in weights]),
            "The model computes the same, so no test of the logits will complain. But what comes out of the norm is now s "
            "times louder instead of quieter. What was to be hidden in the gain: · s or · 1/s?",
            "Migration: x' = x / s is the side that must become easy to quantize.",
        ),
        Mistake(
            "the fold forgotten: the gain left as it was",
            lambda gain, weights, s: (gain.float(), [W.float() * s for W in weights]),
            "The weights expect x / s, but who divides? The norm still writes the old x. A SmoothQuant that never applies "
            "its factors passes many a test, and ruins the model.",
            "A fold is an exact no-op: the outputs of every reader stay.",
        ),
        Mistake(
            "the readers forgotten: the weights left as they were",
            lambda gain, weights, s: (gain.float() / s, [W.float() for W in weights]),
            "The norm now writes x / s, and its readers multiply it as if nothing had happened. What has to be true of "
            "every layer that reads this x?",
            "A fold is an exact no-op: the outputs of every reader stay.",
        ),
        Mistake(
            "only the first reader follows",
            lambda gain, weights, s: (gain.float() / s, [W.float() * (s if i == 0 else 1) for i, W in enumerate(weights)]),
            "One reader is right, and the others read x / s with their old weights. Who else reads what this norm writes?",
            "A fold is an exact no-op: the outputs of every reader stay, not only the first one's.",
            also=(
                lambda gain, weights, s: (
                    gain.float() / s,
                    [W.float() * (s if i == len(weights) - 1 else 1) for i, W in enumerate(weights)],
                ),
            ),
        ),
        Mistake(
            "rounded back to bf16",
            lambda gain, weights, s: ((gain.float() / s).to(gain.dtype), [(W.float() * s).to(W.dtype) for W in weights]),
            "The algebra is right, but the moved numbers were squeezed into bf16's 8 bits once more. That is a quantization "
            "nobody asked for, before the real one. In which dtype does the change stay exact?",
            "A fold is an exact no-op, to fp32 rounding.",
            also=(
                lambda gain, weights, s: (
                    gain.float() / s.to(gain.dtype).float(),
                    [W.float() * s.to(W.dtype).float() for W in weights],
                ),
                lambda gain, weights, s: (gain / s.to(gain.dtype), [W * s.to(W.dtype) for W in weights]),
            ),
        ),
        Mistake(
            "the rows of the weights multiplied instead of their columns",
            lambda gain, weights, s: (gain.float() / s, [W.float() * s[:, None] for W in weights]),
            "s has one factor for each k, and k runs along the columns of W (N, K). Which axis did your factors run along?",
            "Migration: w[n, k] · s[k]. A factor belongs to a column of W.",
        ),
    ),
    hint="This is task 03.4 with two differences: the gain stands for x (the norm's output is gain · something), and there "
    "are several W. Every one of them must learn of it. Mind the dtype.",
    rtol=1e-6,
    returns=("gain'", "weights'"),
)
