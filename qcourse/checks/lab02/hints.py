"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "02.1": (
        "Reshape W to (N, K/G, G), take the absmax of the last axis over 7.5, round and clamp to −8 … 7, and reshape back. "
        "If G does not divide K, raise ValueError.",
        "N, K = W.shape",
    ),
    "02.2": (
        "num_bits for the code, plus (scale_bits + zero_bits) shared by the weights of one group: G of them, or K.",
        "shared_by = K if group_size is None else group_size",
    ),
    "02.3": (
        "u = codes + 8 as uint8; `u[:, 0::2]` are the even columns, `u[:, 1::2]` the odd; the byte is even | odd << 4. An "
        "odd K has no partner: ValueError.",
        "if codes.shape[1] % 2:",
    ),
    "02.4": (
        "low = packed & 15 and high = packed >> 4 are the even and the odd columns. Stack them on a new last axis, flatten "
        "it, and subtract 8 as int8.",
        "low, high = packed & 0xF, packed >> 4",
    ),
    "02.5": (
        "With q = codes.T as int32, word row i is the OR over j of q[8i + j] << 4j: `q[j::8]` gives all those rows at "
        "once. Zero points minus one, transposed, and packed along N: `z[:, j::8]`.",
        "if (zeros == 0).any():",
    ),
    "02.6": (
        "For i = 0 … 7, nibble i (shifted by 4·i) holds column (0, 2, 4, 6, 1, 3, 5, 7)[i] of each eight: `q[:, column::8] "
        "<< 4 * i`, ORed together, with q = codes.T as int32.",
        "order = (0, 2, 4, 6, 1, 3, 5, 7)",
    ),
}
