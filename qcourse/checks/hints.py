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
    "03.1": (
        "Start with K zeros and fold each batch in: `torch.maximum(so_far, x.abs().amax(0))`. The maximum of maxima is the "
        "maximum of all.",
        "absmax = torch.zeros(batches[0].shape[1])",
    ),
    "03.2": (
        "absmax over the last axis with keepdim, scale = absmax / 127 (1 where it is 0), codes = clamp(round(x / scale)), "
        "and back with `codes * scale`, all in float32.",
        "absmax = x.float().abs().amax(-1, keepdim=True)",
    ),
    "03.3": (
        "Concatenate the readers' rows and take the absmax of each column; s = act^α / w^(1−α); where either is 0, s = 1.",
        "w_absmax = torch.cat(weights).float().abs().amax(0)",
    ),
    "03.4": (
        "x[m,k] / s[k] times w[n,k] · s[k] is the same product. k is the last axis of both, so `s` (K,) broadcasts.",
        "return x / s, W * s",
    ),
    "03.5": (
        "The gain is divided by s, every reader's columns are multiplied by s, all in float32: bfloat16 would round the "
        "gain and change the function.",
        "return gain.float() / s, [W.float() * s for W in weights]",
    ),
    "03.6": (
        "Convert the codes to int32 before the product, then multiply by x_scale (M, 1) and by w_scale.T (1, N).",
        "total = x_codes.int() @ w_codes.int().T",
    ),
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
