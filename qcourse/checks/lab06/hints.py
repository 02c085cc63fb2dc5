"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "06.1": (
        "H = x.T @ x / len(x). dead = (diagonal == 0), mean = diagonal[~dead].mean(). Add mean · (damp + dead) to the "
        "diagonal, with torch.diag.",
        "H = x.T @ x / len(x)",
    ),
    "06.2": (
        "e = W − Ŵ; `e @ H` is (N, K); times e, element by element, and summed over axis 1.",
        "e = W - W_hat",
    ),
    "06.3": (
        "Clone W. codes = clamp(round(W[:, j] / scale), −limit, limit); e = (W[:, j] − codes · scale) / H_inv[j, j]; W[:, j "
        "+ 1:] −= torch.outer(e, H_inv[j, j + 1:]); W[:, j] = codes · scale. The codes as int8.",
        "W = W.clone()",
    ),
    "06.4": (
        "H.flip(0, 1) has a Cholesky factor L. L.flip(0, 1) = V is upper triangular and V Vᵀ = H. Then U = V⁻¹: Uᵀ U = (V "
        "Vᵀ)⁻¹. (Short and less exact: torch.linalg.cholesky(torch.linalg.inv(H)).T.)",
        "V = torch.linalg.cholesky(H.flip(0, 1)).flip(0, 1)  # upper triangular, V Vᵀ = H",
    ),
    "06.5": (
        "U once, before the loop. For each j: s = scale[:, j // G], the codes of W[:, j], e = (W[:, j] − codes · s) / U[j, "
        "j], and W[:, j + 1:] −= torch.outer(e, U[j, j + 1:]).",
        "W, U = W.clone(), inverse_factor(H)",
    ),
    "06.6": (
        "For start in range(0, K, block): end = min(start + block, K), errors (N, end − start). The inner loop is 06.5 with "
        "`:end` in place of `:`, and keeps e in errors[:, j − start]. After it: W[:, end:] −= errors @ U[start:end, end:].",
        "W, U = W.clone(), inverse_factor(H)",
    ),
}
