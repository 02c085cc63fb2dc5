"""What `hint(task, 2)` and `hint(task, 3)` say: the idea, and one way to begin. The nudge (1) stands beside each task."""

HINTS = {
    "09.1": (
        'Refuse K % G ≠ 0 and 3 · K % 8 ≠ 0, each with its numbers. Then a dict: qweight ((N, 3 · K // 8), "uint8"), scale '
        '((N, K // G), "bfloat16"). vLLM registers the same with `input_dim` 1 and `output_dim` 0.',
        "if K % group_size:",
    ),
    "09.2": (
        "Reshape to (N, K/8, 3) in int32; number = b0 | b1 << 8 | b2 << 16. With a new last axis, shift by 0, 3, … 21 and "
        "keep three bits (& 7); take 4 off, flatten to (N, K), and make it int8.",
        "b = qweight.reshape(len(qweight), -1, 3).int()",
    ),
    "09.3": (
        "G = K / groups. Ŵ = codes · `repeat_interleave`(scale, G, dim=1), both in float32; y = x @ Ŵ.T in float32; add the "
        "bias unless it is None; `.to(x.dtype)`.",
        "G = codes.shape[1] // scale.shape[1]",
    ),
    "09.4": (
        "For each (pattern, scheme): if it begins with `re:`, ask `re.match(pattern[3:], prefix)`; otherwise whether it "
        'is the prefix or `prefix.rsplit(".", 1)[-1]`. If so, *return* the scheme, None included. Behind the loop: None.',
        "for pattern, scheme in rules:",
    ),
    "09.5": (
        "last = what stands behind the last dot; its parts are `packed.get(last, [last])`, each with the same beginning "
        "as the prefix. A set of what `choose_scheme` says of each: if it holds more than one, ValueError; otherwise that "
        "one.",
        'above, dot, last = prefix.rpartition(".")',
    ),
    "09.6": (
        "K = 8 · bytes / 3, n = K // world. Refuse K % world, n % G and n % 8. This rank's columns are a = rank · n … b = "
        "a + n: bytes 3a/8 … 3b/8, scales a/G … b/G, both along axis 1.",
        "K = qweight.shape[1] * 8 // 3",
    ),
}
