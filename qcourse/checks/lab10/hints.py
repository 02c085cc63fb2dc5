"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "10.1": (
        "Refuse T % G ≠ 0. groups = K.reshape(T/G, G, D); zero and the top are its least and largest along axis 1; "
        "scale is their distance / (2^B − 1), or 1 where that is 0. Codes: (groups − zero) / scale, rounded, back to "
        "(T, D), uint8.",
        "T, D = K.shape",
    ),
    "10.2": (
        "quantize_keys(V.T, …) gives codes (D, T), scale and zero (D/G, T), and refuses what has to be refused. Turn "
        "all three back.",
        "codes, scale, zero = quantize_keys(V.T, num_bits, group_size)",
    ),
    "10.3": (
        "T − window tokens lie outside the window, at least 0. // G · G makes whole groups of them: n. Then K[:n] and "
        "K[n:].",
        "n = max(0, len(K) - window) // group_size * group_size",
    ),
    "10.4": (
        "numbers = 2 · layers · kv_heads · head_dim. bits: 16, or num_bits + 32/G. A sequence has ⌈context/16⌉ · 16 "
        "tokens of that, and `window` tokens of 16 bits; all of it / 8 bytes.",
        'numbers = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]',
    ),
    "10.5": (
        "o(K, V) = softmax(q Kᵀ / √D, over the tokens) V. The pair is ‖o(K̂, V) − o(K, V)‖ and ‖o(K, V̂) − o(K, V)‖, "
        "each divided by ‖o(K, V)‖.",
        "def gathered(K, V):",
    ),
    "10.6": (
        "scale = |seen|'s maximum over tokens and channels / 448, 1 where it is 0. Stored: x / scale (with two axes "
        "more, so that it meets (H, T, D)), clamped to ±448, through e4m3.",
        "scale = seen.abs().amax(dim=(1, 2)) / 448",
    ),
}
