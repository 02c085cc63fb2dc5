"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "08.1": (
        "Shifts 0, 4, …, 28 on a new last axis: `(words.unsqueeze(-1) >> shifts) & 15`. The mask also removes the sign "
        "that an arithmetic shift drags in.",
        "shifts = torch.arange(0, 32, 4, dtype=torch.int32)",
    ),
    "08.2": (
        "Three loops: rows n, words w, codes j. k = 8w + j, code = (word >> 4j) & 15, and y[n] += scale[n, k // G] · (code "
        "− 8) · x[k].",
        "y = torch.zeros(len(words))",
    ),
    "08.3": (
        "With codes (N, K/G, G) and x (K/G, G): Σ (q − 8)·x = Σ q·x − 8·Σ x in each group. Multiply by scale (N, K/G), sum "
        "the groups.",
        "x = x.float().view(-1, group_size)",
    ),
    "08.4": (
        "Slice i takes K/splits weights: that many of x, an eighth as many words, K/splits/G scales. Each slice goes "
        "through gemv_int4; y is the sum of the rows.",
        "K, groups = len(x) // splits, scale.shape[1] // splits",
    ),
    "08.5": (
        "Each time is the larger of reading (bytes / read) and computing. bf16 computes 2·M·N·K / flops; int4 the same "
        "plus unpacking N·K weights once for each tile of tokens.",
        'arithmetic = 2 * M * N * K / machine["flops"]',
    ),
    "08.6": (
        "Try M = 1 … most; the first for which int4's time is not less than bf16's is the answer. None found: None.",
        "for M in range(1, most + 1):",
    ),
}
