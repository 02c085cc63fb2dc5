"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "12.1": (
        "Refuse n & (n − 1) ≠ 0. From H = [[1]], while it is smaller than n: `torch.cat` of (H, H) and (H, −H) side by "
        "side, one above the other. At the end divide by √n, once.",
        "if n & (n - 1):",
    ),
    "12.2": (
        "For stride 1, 2, 4 … K/2: reshape to (M, K/(2·stride), 2, stride); a and b are the two halves of axis 2; stack "
        "a + b and a − b there and reshape back to (M, K). At the end divide by √K.",
        "M, K = x.shape",
    ),
    "12.3": (
        "The gain of channel k belongs to column k of W: W · gain broadcasts along the last axis. Both in float32; the "
        "norm is left with ones.",
        "return torch.ones(len(gain)), W.float() * gain.float()",
    ),
    "12.4": (
        "h R = x W_wᵀ R = x (Rᵀ W_w)ᵀ, so the writer becomes Rᵀ W_w. y = h R W'ᵀ with W' = W_r R is h R Rᵀ W_rᵀ = h W_rᵀ.",
        "return R.T @ W_writer, W_reader @ R",
    ),
    "12.5": (
        "x = W / scale. Ŵ = clamp(round(x), −limit, limit) · scale; the gradient is `grad` where |x| ≤ limit, and 0 "
        "elsewhere.",
        "x = W / scale",
    ),
    "12.6": (
        "Ŵ from 12.5; error = x Ŵᵀ − y (M, N); the gradient with respect to Ŵ is 2/(M·N) · errorᵀ x (N, K); 12.5 masks it; "
        "return W − lr · that.",
        "W_hat, _ = straight_through(W, scale, limit, torch.zeros_like(W))",
    ),
}
