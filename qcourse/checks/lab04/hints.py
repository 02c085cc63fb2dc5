"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "04.1": (
        "For each (N, K): bf16 costs 2·N·K. Quantized: N·K·num_bits/8 plus 2 bytes for each of N (or N·K/G) scales; kept "
        "ones cost 2·N·K. The ratio is over the whole model.",
        "total, bf16 = 0, 0",
    ),
    "04.2": (
        "A token: 2 (keys and values) · layers · KV heads · head_dim numbers of kv_bits bits. A block: 16 tokens. Blocks: "
        "what the budget leaves, floor-divided; never negative.",
        'numbers = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]',
    ),
    "04.3": (
        "For each chunk, row t of the logits predicts ids[t + 1]. Sum −log p and count tokens over all chunks; then "
        "exp(nats/tokens), and nats / ln 2 / bytes.",
        "nats, tokens = 0.0, 0",
    ),
    "04.4": (
        "d = b − a for each window. Mean: Σd / (ln 2 · Σbytes). Standard error of a sum of n terms: √n · std(d), over the "
        "same bytes.",
        "d = nats_b.double() - nats_a.double()",
    ),
    "04.5": (
        "Drop the warm-up, take the median of the rest (one slow step must not count), and each step makes one token for "
        "each user.",
        "return users / statistics.median(step_seconds[warmup:])",
    ),
    "04.6": (
        "Keep rows whose bytes + kv_bytes fit, then rows whose added + 2·stderr is within max_added. None left: None. Else "
        "the fastest; of equally fast ones the smallest.",
        'fits = [row for row in table if row["bytes"] + kv_bytes <= budget]',
    ),
}
