"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "01.1": (
        "The scale is the row's absmax over 127, shape (N, 1), found with `amax(dim=1, keepdim=True)`. Where it is 0, any "
        "other number does. The codes are `W / scale`, rounded, clamped to ±127, as int8.",
        "W = W.float()",
    ),
    "01.2": (
        "A code is a number of steps, a scale the length of one: multiply. Both become float32 first, because bfloat16 "
        "would round the product to 8 bits.",
        "return codes.float() * scale.float()",
    ),
    "01.3": (
        "`x @ codes.T` in float32 sums steps; column n of the result is in steps of row n, so multiply by `scale.T`, shape "
        "(1, N). Add the bias last, in real units.",
        "y = (x.float() @ codes.float().T) * scale.T",
    ),
    "01.4": (
        "Codes: N·K·num_bits bits, rounded up to bytes. Scales: N of them, or N·K/G, each scale_bits bits. Add both in "
        "bytes.",
        "codes = (N * K * num_bits + 7) // 8",
    ),
    "01.5": (
        "low = min(row, 0), high = max(row, 0), scale = (high − low) / (2^B − 1), z = round(−low / scale), and codes = "
        "clamp(round(x / scale) + z, 0, 2^B − 1).",
        "top = 2**num_bits - 1",
    ),
    "01.6": (
        "Keep two columns (N, 1): the least error so far (infinite at first) and the scale that gave it. For each fraction "
        "compute the error of every row, and `torch.where(error < least, scale, best)`.",
        "limit = 2 ** (num_bits - 1) - 1",
    ),
}
