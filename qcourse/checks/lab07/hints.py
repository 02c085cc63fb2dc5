"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "07.1": (
        "loudness = mean over dim 0 of |x|, K numbers. n = max(1, floor(share · K)). The indices of the n largest come from "
        "topk, or from the end of argsort; then sort the indices themselves.",
        "loudness = x.abs().mean(dim=0)",
    ),
    "07.2": (
        "Four steps: |x|, its mean over dim 0, the power, and *then* clamp(min=1e-4). Divide by the square root of the "
        "largest times the smallest of what came out.",
        "t = x.abs().mean(dim=0).pow(alpha).clamp(min=1e-4)",
    ),
    "07.3": (
        "y = x @ W.T. ŷ = (x / s) @ fake_quantize(W * s, …).T: s has K entries and stands along the last axis of both. Then "
        "the differences, squared, and their sum.",
        "y = x @ W.T",
    ),
    "07.4": (
        "A loop over i = 0 … 19 with α = i / 20. Keep the best α and its error; replace them only when a new error is "
        "really *smaller* (<), so that of equal ones the first stays.",
        "best, least = 0.0, math.inf",
    ),
    "07.5": (
        "size = |e|. What is left of it: size − size^(p − 1) / β, cut at 0 by relu; where size is 0 that is −∞, and the cut "
        "makes it 0. Multiply by sign(e) last.",
        "size = e.abs()",
    ),
    "07.6": (
        "Give scale and zero a last axis of 1. q from them, Ŵ = s · (q − z), e = shrink(W − Ŵ, β, p). Every weight now "
        "votes for a zero point, q − (W − e) / s: take the mean of the votes over the last axis.",
        "s, z = scale.unsqueeze(-1), zero.unsqueeze(-1)",
    ),
}
