"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "05.1": (
        "Clamp |x| to 448 and take e from frexp, at least −6. One step is 2^(e − 3): round |x| / step, n. The code is 8·(e "
        "+ 6) + n: n = 16 carries by itself, and below 2⁻⁶ it is right, too. Then NaN and the sign bit.",
        "magnitude = x.abs().clamp(max=448)",
    ),
    "05.2": (
        "As integers: E = codes >> 3 & 15, M = codes & 7. The value is 2^(max(E, 1) − 10) · (M + 8, or M if E is 0); NaN "
        "where the lower seven bits are 127; minus where bit 7 is set.",
        "codes = codes.int()",
    ),
    "05.3": (
        "Reshape to (N, K/32, 32), take absmax, and from frexp the exponent minus 1: that is ⌊log2⌋, exactly. Minus 2, "
        "plus 127, clamp to 0 … 254, uint8.",
        "N, K = W.shape",
    ),
    "05.4": (
        "x = ldexp(W, 127 − scale of its block). Then 05.1 with m = 1: clamp |x| to 6, e from frexp, at least 0, n = "
        "round(|x| · 2^(1 − e)), the code 2·e + n, plus 8 for the sign.",
        "scale = e8m0_scale(W)",
    ),
    "05.5": (
        "absmax of (N, K/16, 16); s₂ = its maximum / 2688; scale = encode_e4m3(absmax / 6 / s₂); a step is "
        "decode_e4m3(scale) · s₂. Where the step is 0, x is 0, else w / step; then E2M1 as in 05.4.",
        "N, K = W.shape",
    ),
    "05.6": (
        "x = blocks / absmax (1 for zeros), shape (N, K/64, 64). `(x.unsqueeze(-1) - codebook).abs().argmin(-1)` is the "
        "place of the nearest value, in whatever order the list comes.",
        "N, K = W.shape",
    ),
}
