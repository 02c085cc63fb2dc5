"""Lab 10: the mistakes students make with a cache in few bits, in their own code."""

from tools.mutants import Alternative, changed, mutants_of

key, value, cut, users, error, fp8 = (mutants_of(f"10.{i}") for i in range(1, 7))

# --- 10.1
KEY_NUMPY = """
def quantize_keys(K, num_bits, group_size):
    k = K.numpy()
    T, D = k.shape
    if T % group_size != 0:
        raise ValueError(f"T={T} is no multiple of {group_size}")
    x = k.reshape(T // group_size, group_size, D)
    low = x.min(axis=1, keepdims=True)
    high = x.max(axis=1, keepdims=True)
    scale = (high - low) / (2 ** num_bits - 1)
    scale[scale == 0] = 1
    codes = np.rint((x - low) / scale)
    return codes.reshape(T, D).astype(np.uint8), scale[:, 0], low[:, 0]
"""
KEY_LOOP = """
def quantize_keys(K, num_bits, group_size):
    T, D = K.shape
    if T % group_size:
        raise ValueError("whole groups only")
    codes = torch.zeros(T, D, dtype=torch.uint8)
    scale = torch.ones(T // group_size, D, dtype=torch.float64)
    zero = torch.zeros(T // group_size, D, dtype=torch.float64)
    for i in range(T // group_size):
        for d in range(D):
            mine = K[i * group_size:(i + 1) * group_size, d].double()
            zero[i, d] = mine.min()
            if mine.max() > mine.min():
                scale[i, d] = (mine.max() - mine.min()) / (2 ** num_bits - 1)
            codes[i * group_size:(i + 1) * group_size, d] = torch.round((mine - zero[i, d]) / scale[i, d]).to(torch.uint8)
    return codes, scale, zero
"""
KEY_WIDE = """
def quantize_keys(K, num_bits, group_size):
    T = K.shape[0]
    n = T // group_size
    if n * group_size != T:
        raise ValueError(f"{T} % {group_size}")
    chunks = torch.stack(K.split(group_size))
    zero = chunks.min(dim=1).values
    scale = ((chunks.max(dim=1).values - zero) / (2 ** num_bits - 1)).clamp(min=1e-8)
    s, z = scale.repeat_interleave(group_size, 0), zero.repeat_interleave(group_size, 0)
    codes = torch.clamp(torch.floor((K - z) / s + 0.5), 0, 2 ** num_bits - 1)
    return codes.byte(), scale, zero
"""
KEY_RECIPROCAL = """
def quantize_keys(K, num_bits, group_size):
    if len(K) % group_size:
        raise ValueError(len(K))
    x = K.T.unflatten(1, (-1, group_size))
    low, high = torch.aminmax(x, dim=-1, keepdim=True)
    steps = 2 ** num_bits - 1
    inverse = torch.where(high > low, steps / (high - low), torch.ones_like(low))
    codes = (x * inverse - low * inverse).round().clamp(0, steps)
    return codes.flatten(1).T.to(torch.uint8), (1 / inverse).squeeze(-1).T, low.squeeze(-1).T
"""
LAB01 = """
def quantize_keys(K, num_bits, group_size):
    T, D = K.shape
    if T % group_size:
        raise ValueError(T)
    x = K.reshape(-1, group_size, D)
    low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
    scale = (high - low) / (2 ** num_bits - 1)
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.round(-low / scale)
    codes = (torch.round(x / scale) + zero).clamp(0, 2 ** num_bits - 1)
    return codes.reshape(T, D).to(torch.uint8), scale[:, 0], zero[:, 0]
"""
PER_TOKEN = """
def quantize_keys(K, num_bits, group_size):
    T, D = K.shape
    x = K.reshape(T, -1, group_size)
    zero, top = x.amin(-1), x.amax(-1)
    scale = (top - zero) / (2 ** num_bits - 1)
    codes = ((x - zero[..., None]) / scale[..., None]).round()
    return codes.reshape(T, D).to(torch.uint8), scale, zero
"""
WHOLE = """
def quantize_keys(K, num_bits, group_size):
    zero, top = K.amin(0, keepdim=True), K.amax(0, keepdim=True)
    scale = (top - zero) / (2 ** num_bits - 1)
    return ((K - zero) / scale).round().to(torch.uint8), scale, zero
"""
REFUSAL = """    if T % group_size:
        raise ValueError(f"{T} tokens are not whole groups of {group_size}")
"""
TAIL = """
def quantize_keys(K, num_bits, group_size):
    parts = K.split(group_size)
    zero = torch.stack([p.amin(0) for p in parts])
    scale = torch.stack([p.amax(0) for p in parts]) - zero
    scale = torch.where(scale == 0, 1.0, scale / (2 ** num_bits - 1))
    codes = torch.cat([((p - z) / s).round() for p, z, s in zip(parts, zero, scale)])
    return codes.to(torch.uint8), scale, zero
"""
DIVISION = "scale = (top - zero) / (2**num_bits - 1)"
KEYS = [
    key("per token instead of per channel", code=PER_TOKEN),
    key(
        "per token instead of per channel",
        (("x = K.reshape(T, -1, group_size)", "x = K.reshape(T, 1, D)"),),
        PER_TOKEN,
    ),
    key(
        "per token instead of per channel",
        (
            (
                "    x = K.reshape(T, -1, group_size)",
                "    if T % group_size:\n        raise ValueError(T)\n    x = K.reshape(T, -1, group_size)",
            ),
        ),
        PER_TOKEN,
    ),
    key("one group for all tokens", code=WHOLE),
    key("one group for all tokens", (("K.amin(0, keepdim=True), K.amax(0, keepdim=True)", "K.amin(0), K.amax(0)"),), WHOLE),
    key(
        "one group for all tokens",
        (
            (
                "zero, top = groups.amin(1), groups.amax(1)",
                "zero, top = (t.expand(len(groups), D) for t in (K.amin(0), K.amax(0)))",
            ),
        ),
    ),
    key(
        "channels that share a scale",
        (
            ("low = x.min(axis=1, keepdims=True)", "low = x.min(axis=(1, 2), keepdims=True)"),
            ("high = x.max(axis=1, keepdims=True)", "high = x.max(axis=(1, 2), keepdims=True)"),
        ),
        KEY_NUMPY,
    ),
    key(
        "channels that share a scale",
        (
            (
                "zero, top = groups.amin(1), groups.amax(1)",
                "zero, top = (t.expand(len(groups), D) for t in (K.amin(), K.amax()))",
            ),
        ),
    ),
    key(
        "channels that share a scale",
        (("K.amin(0, keepdim=True), K.amax(0, keepdim=True)", "K.amin(), K.amax()"),),
        WHOLE.replace("    zero, top", "    if len(K) % group_size:\n        raise ValueError(len(K))\n    zero, top"),
    ),
    key(
        "tokens that are not neighbours in a group",
        (
            (
                "x = k.reshape(T // group_size, group_size, D)",
                "x = k.reshape(group_size, T // group_size, D).transpose(1, 0, 2)",
            ),
            ("codes.reshape(T, D)", "codes.transpose(1, 0, 2).reshape(T, D)"),
        ),
        KEY_NUMPY,
    ),
    key(
        "tokens that are not neighbours in a group",
        (
            ("K.reshape(-1, group_size, D)", "K.reshape(group_size, -1, D).transpose(0, 1)"),
            ("codes.reshape(T, D)", "codes.transpose(0, 1).reshape(T, D)"),
        ),
    ),
    key(
        "turned by a quarter",
        (("(1 / inverse).squeeze(-1).T, low.squeeze(-1).T", "(1 / inverse).squeeze(-1), low.squeeze(-1)"),),
        KEY_RECIPROCAL,
    ),
    key(
        "turned by a quarter",
        (
            ("codes.flatten(1).T.to", "codes.flatten(1).to"),
            ("(1 / inverse).squeeze(-1).T, low.squeeze(-1).T", "(1 / inverse).squeeze(-1), low.squeeze(-1)"),
        ),
        KEY_RECIPROCAL,
    ),
    key("a zero point in codes, as in lab 01", code=LAB01),
    key("a zero point in codes, as in lab 01", (("zero[:, 0]\n", "zero[:, 0].to(torch.uint8)\n"),), LAB01),
    key("a zero point in codes, as in lab 01", ((".clamp(max=0), x", ", x"), (".clamp(min=0)", "")), LAB01),
    key("a zero point in codes, as in lab 01", (("torch.uint8), scale, zero", "torch.uint8), scale, -zero"),)),
    key(
        "the range stretched until it contains 0",
        (("groups.amin(1), groups.amax(1)", "groups.amin(1).clamp(max=0), groups.amax(1).clamp(min=0)"),),
    ),
    key("the range stretched until it contains 0", (("zero[:, 0]\n", "low[:, 0]\n"),), LAB01),
    key(
        "the range stretched until it contains 0",
        (("low = x.min(axis=1, keepdims=True)", "low = np.minimum(0, x.min(axis=1, keepdims=True))"),),
        KEY_NUMPY,
    ),
    key(
        "a symmetric range after all",
        (("zero, top = groups.amin(1), groups.amax(1)", "top = groups.abs().amax(1)\n    zero = -top"),),
    ),
    key(
        "a symmetric range after all",
        (
            (
                "zero, top = groups.amin(1), groups.amax(1)\n    " + DIVISION,
                "half = 2 ** (num_bits - 1)\n    scale = groups.abs().amax(1) / (half - 1)",
            ),
            (
                "codes = ((groups - zero[:, None]) / scale[:, None]).round()",
                "codes = (groups / scale[:, None]).round() + half\n    zero = -half * scale",
            ),
        ),
    ),
    key(
        "a symmetric range after all",
        (
            (
                "zero, top = groups.amin(1), groups.amax(1)\n    " + DIVISION,
                "half = 2 ** (num_bits - 1)\n    scale = groups.abs().amax(1) / (half - 1)",
            ),
            (
                "codes = ((groups - zero[:, None]) / scale[:, None]).round()",
                "codes = (groups / scale[:, None]).round()\n    zero = torch.zeros_like(scale)",
            ),
            ("torch.uint8", "torch.int8"),
        ),
    ),
    key("another number of steps than 2^B − 1", ((DIVISION, "scale = (top - zero) / 2**num_bits"),)),
    key("another number of steps than 2^B − 1", (("- zero) / (2 ** num_bits - 1)", "- zero) / 2 ** num_bits"),), KEY_WIDE),
    key(
        "another number of steps than 2^B − 1", (("steps = 2 ** num_bits - 1", "steps = 2 ** num_bits - 2"),), KEY_RECIPROCAL
    ),
    key("cut off instead of rounded", ((".round()", ".floor()"),)),
    key("cut off instead of rounded", (("np.rint((x - low) / scale)", "(x - low) / scale"),), KEY_NUMPY),
    key(
        "cut off instead of rounded",
        (("torch.round((mine - zero[i, d]) / scale[i, d])", "torch.ceil((mine - zero[i, d]) / scale[i, d])"),),
        KEY_LOOP,
    ),
    key("another number of bits", ((DIVISION, "scale = (top - zero) / 15"),)),
    key("another number of bits", (("(2 ** num_bits - 1)\n    scale[", "255\n    scale["),), KEY_NUMPY),
    key("no guard for a group that does not move", (("    scale = torch.where(scale == 0, 1.0, scale)\n", ""),)),
    key("no guard for a group that does not move", (("    scale[scale == 0] = 1\n", ""),), KEY_NUMPY),
    key("no guard for a group that does not move", ((").clamp(min=1e-8)", ")"),), KEY_WIDE),
    key("a group that is not full", code=TAIL),
    key("a group that is not full", ((REFUSAL, "    T = T // group_size * group_size\n    K = K[:T]\n"),)),
    key(
        "a group that is not full",
        (
            (REFUSAL, "    K = torch.nn.functional.pad(K, (0, 0, 0, -T % group_size))\n"),
            ("codes.reshape(T, D)", "codes.reshape(-1, D)[:T]"),
        ),
    ),
    key(None, ((REFUSAL, ""),)),  # reshape raises RuntimeError: no ValueError, and says so
]

# --- 10.2
VALUE_NUMPY = """
def quantize_values(V, num_bits, group_size):
    v = V.numpy()
    T, D = v.shape
    if D % group_size:
        raise ValueError(f"{D} channels, groups of {group_size}")
    x = v.reshape(T, D // group_size, group_size)
    low, high = x.min(axis=2), x.max(axis=2)
    scale = np.where(high > low, (high - low) / (2 ** num_bits - 1), 1).astype(np.float32)
    codes = np.rint((x - low[..., None]) / scale[..., None]).astype(np.uint8)
    return codes.reshape(T, D), scale, low
"""
VALUE_TORCH = """
def quantize_values(V, num_bits, group_size):
    if V.shape[-1] % group_size:
        raise ValueError("whole groups only")
    x = V.double().unflatten(-1, (-1, group_size))
    low, high = x.min(-1, keepdim=True)[0], x.max(-1, keepdim=True)[0]
    scale = (high - low) / (2 ** num_bits - 1)
    scale = scale + (scale == 0)
    codes = torch.round((x - low) / scale)
    return codes.flatten(-2).to(torch.uint8), scale.squeeze(-1), low.squeeze(-1)
"""
VALUE_LOOP = """
def quantize_values(V, num_bits, group_size):
    codes, scales, zeros = [], [], []
    for row in V.tolist():
        if len(row) % group_size:
            raise ValueError(len(row))
        groups = [row[i:i + group_size] for i in range(0, len(row), group_size)]
        zeros.append([min(m) for m in groups])
        scales.append([(max(m) - min(m)) / (2 ** num_bits - 1) or 1.0 for m in groups])
        codes.append([round((v - z) / s) for m, z, s in zip(groups, zeros[-1], scales[-1]) for v in m])
    return torch.tensor(codes, dtype=torch.uint8), torch.tensor(scales), torch.tensor(zeros)
"""
VALUE_TAIL = """
def quantize_values(V, num_bits, group_size):
    codes, scales, zeros = [], [], []
    for part in V.split(group_size, dim=1):
        low, high = part.amin(1, keepdim=True), part.amax(1, keepdim=True)
        scale = (high - low) / (2 ** num_bits - 1)
        scale[scale == 0] = 1
        codes.append(torch.round((part - low) / scale))
        scales.append(scale)
        zeros.append(low)
    return torch.cat(codes, 1).to(torch.uint8), torch.cat(scales, 1), torch.cat(zeros, 1)
"""
VALUES = [
    value(
        "per channel instead of per token",
        (("V.T, num_bits", "V, num_bits"), ("codes.T, scale.T, zero.T", "codes, scale, zero")),
    ),
    value(
        "per channel instead of per token",
        (
            ("V.double().unflatten(-1, (-1, group_size))", "V.double().T.unflatten(-1, (-1, group_size))"),
            (
                "codes.flatten(-2).to(torch.uint8), scale.squeeze(-1), low.squeeze(-1)",
                "codes.flatten(-2).T.to(torch.uint8), scale.squeeze(-1).T, low.squeeze(-1).T",
            ),
        ),
        VALUE_TORCH,
    ),
    value("one group for all channels", (("num_bits, group_size)\n", "num_bits, V.shape[1])\n"),)),
    value(
        "one group for all channels",
        (("V.double().unflatten(-1, (-1, group_size))", "V.double().unsqueeze(1)"),),
        VALUE_TORCH,
    ),
    value(
        "tokens that share a scale",
        (("x.min(axis=2), x.max(axis=2)", "x.min(axis=(0, 2))[None], x.max(axis=(0, 2))[None]"),),
        VALUE_NUMPY,
    ),
    value(
        "tokens that share a scale",
        (
            (
                "x.min(-1, keepdim=True)[0], x.max(-1, keepdim=True)[0]",
                "x.amin((0, 2), keepdim=True).expand(len(V), -1, 1), x.amax((0, 2), keepdim=True).expand(len(V), -1, 1)",
            ),
        ),
        VALUE_TORCH.replace("scale = scale + (scale == 0)", "scale = torch.where(scale == 0, 1.0, scale)"),
    ),
    value(
        "channels that are not neighbours in a group",
        (
            ("v.reshape(T, D // group_size, group_size)", "v.reshape(T, group_size, D // group_size).transpose(0, 2, 1)"),
            ("return codes.reshape(T, D)", "return codes.transpose(0, 2, 1).reshape(T, D)"),
        ),
        VALUE_NUMPY,
    ),
    value(
        "channels that are not neighbours in a group",
        (
            ("V.double().unflatten(-1, (-1, group_size))", "V.double().unflatten(-1, (group_size, -1)).mT"),
            ("codes.flatten(-2)", "codes.mT.flatten(-2)"),
        ),
        VALUE_TORCH,
    ),
    value("turned by a quarter", (("codes.T, scale.T, zero.T", "codes, scale, zero"),)),
    value("turned by a quarter", (("codes.T, scale.T, zero.T", "codes.T, scale, zero"),)),
    value(
        "a zero point in codes, as in lab 01",
        (("low.squeeze(-1)\n", "(-low / scale).round().squeeze(-1)\n"),),
        changed(
            VALUE_TORCH,
            (
                "torch.round((x - low) / scale)",
                "(torch.round(x / scale) + torch.round(-low / scale)).clamp(0, 2 ** num_bits - 1)",
            ),
        ),
    ),
    value(
        "a zero point in codes, as in lab 01",
        (("return codes.reshape(T, D), scale, low", "return codes.reshape(T, D), scale, -low"),),
        VALUE_NUMPY,
    ),
    value(
        "the range stretched until it contains 0",
        (("x.min(axis=2), x.max(axis=2)", "x.min(axis=2).clip(max=0), x.max(axis=2).clip(min=0)"),),
        VALUE_NUMPY,
    ),
    value(
        "the range stretched until it contains 0",
        (
            (
                "x.min(-1, keepdim=True)[0], x.max(-1, keepdim=True)[0]",
                "x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True)",
            ),
        ),
        VALUE_TORCH,
    ),
    value(
        "a symmetric range after all",
        (("low, high = x.min(axis=2), x.max(axis=2)", "high = abs(x).max(axis=2)\n    low = -high"),),
        VALUE_NUMPY,
    ),
    value(
        "a symmetric range after all",
        (
            (
                "low, high = x.min(-1, keepdim=True)[0], x.max(-1, keepdim=True)[0]\n"
                "    scale = (high - low) / (2 ** num_bits - 1)",
                "top = 2 ** (num_bits - 1)\n    scale = x.abs().amax(-1, keepdim=True) / (top - 1)",
            ),
            ("codes = torch.round((x - low) / scale)", "codes = torch.round(x / scale) + top\n    low = -top * scale"),
        ),
        VALUE_TORCH,
    ),
    value("another number of steps than 2^B − 1", (("(2 ** num_bits - 1), 1)", "2 ** num_bits, 1)"),), VALUE_NUMPY),
    value(
        "another number of steps than 2^B − 1",
        (
            ("torch.round((x - low) / scale)", "torch.round((x - low) / scale).clamp(max=2 ** num_bits - 1)"),
            ("/ (2 ** num_bits - 1)", "/ (2 ** num_bits)"),
        ),
        VALUE_TORCH,
    ),
    value(
        "cut off instead of rounded",
        (("np.rint((x - low[..., None]) / scale[..., None])", "((x - low[..., None]) / scale[..., None])"),),
        VALUE_NUMPY,
    ),
    value("cut off instead of rounded", (("round((v - z) / s)", "int((v - z) / s)"),), VALUE_LOOP),
    value("another number of bits", (("(max(m) - min(m)) / (2 ** num_bits - 1)", "(max(m) - min(m)) / 15"),), VALUE_LOOP),
    value("another number of bits", (("V.T, num_bits", "V.T, 8"),)),
    value("no guard for a group that does not move", (("    scale = scale + (scale == 0)\n", ""),), VALUE_TORCH),
    value("no guard for a group that does not move", (("        scale[scale == 0] = 1\n", ""),), VALUE_TAIL),
    value("a group that is not full", code=VALUE_TAIL),
    value(
        "a group that is not full",
        (
            (
                '    if V.shape[-1] % group_size:\n        raise ValueError("whole groups only")\n',
                "    V = V[:, :V.shape[1] // group_size * group_size]\n",
            ),
        ),
        VALUE_TORCH,
    ),
]

# --- 10.3
CUT_LOOP = """
def split(K, window, group_size):
    n = 0
    while len(K) - (n + group_size) >= window:
        n += group_size
    return K[:n], K[n:]
"""
CUT_CHUNKS = """
def split(K, window, group_size):
    T, D = K.shape
    if T <= window:
        return K.new_empty(0, D), K.clone()
    spare = (T - window) % group_size
    recent = window + spare
    return K[:T - recent], K[T - recent:]
"""
CUT_NUMPY = """
def split(K, window, group_size):
    k = K.numpy()
    groups = (len(k) - window) // group_size if len(k) > window else 0
    old, recent = np.split(k, [groups * group_size])
    return old, recent
"""
SLICED = """
def split(K, window, group_size):
    older = K[:-window]
    n = len(older) // group_size * group_size
    return K[:n], K[n:]
"""
CUTS = [
    cut("the window quantized, too", (("max(0, len(K) - window)", "len(K)"),)),
    cut("the window quantized, too", (("    n = max(0, len(K) - window) // group_size * group_size", "    n = len(K)"),)),
    cut("a part of a group quantized", ((" // group_size * group_size", ""),)),
    cut("a part of a group quantized", (("spare = (T - window) % group_size", "spare = 0"),), CUT_CHUNKS),
    cut(
        "one group too many",
        (
            (
                "max(0, len(K) - window) // group_size * group_size",
                "min(len(K), math.ceil(max(0, len(K) - window) / group_size) * group_size)",
            ),
        ),
    ),
    cut("one group too many", (("while len(K) - (n + group_size) >= window", "while len(K) - n > window"),), CUT_LOOP),
    cut(
        "one group too many",
        (("while len(K) - (n + group_size) >= window", "while n + group_size <= len(K) and len(K) - n >= window"),),
        CUT_LOOP,
    ),
    cut("one group too few", ((">= window", "> window"),), CUT_LOOP),
    cut("one group too few", (("len(K) - window)", "len(K) - window - 1)"),)),
    cut("one group too few", (("n + group_size)", "n + 2 * group_size)"),), CUT_LOOP),
    cut("the window counted from the left", (("K[:n], K[n:]", "K[len(K) - n:], K[:len(K) - n]"),)),
    cut("the window counted from the left", (("K[:n], K[n:]", "K[window:window + n], K[:window]"),)),
    cut("the window counted from the left", (("K[:T - recent], K[T - recent:]", "K[recent:], K[:recent]"),), CUT_CHUNKS),
    cut("tokens lost in between", (("K[:n], K[n:]", "K[:n], K[max(0, len(K) - window):]"),)),
    cut("tokens lost in between", (("K[T - recent:]", "K[T - window:]"),), CUT_CHUNKS),
    cut("a negative number of tokens", (("max(0, len(K) - window)", "(len(K) - window)"),)),
    cut(
        "a negative number of tokens",
        ((" if len(k) > window else 0", ""),),
        CUT_NUMPY.replace("np.split(k, [groups * group_size])", "k[:groups * group_size], k[groups * group_size:]"),
    ),
    cut(
        "a negative number of tokens",
        (("    if T <= window:\n        return K.new_empty(0, D), K.clone()\n", ""),),
        CUT_CHUNKS,
    ),
    cut("a window of 0 taken for everything", code=SLICED),
    cut("a window of 0 taken for everything", (("K[:n], K[n:]", "K[:n], K[n - len(K):]"),)),
    cut(
        "the window counted in groups",
        (("max(0, len(K) - window) // group_size * group_size", "max(0, len(K) // group_size - window) * group_size"),),
    ),
    cut(
        "the window counted in groups",
        (
            (
                "max(0, len(K) - window) // group_size * group_size",
                "max(0, len(K) // group_size - window // group_size) * group_size",
            ),
        ),
    ),
    cut("the two parts in the other order", (("K[:n], K[n:]", "K[n:], K[:n]"),)),
    cut("the two parts in the other order", (("return old, recent", "return recent, old"),), CUT_NUMPY),
]

# --- 10.4
USERS_INT = """
def sequences_that_fit(budget, config, context, num_bits, group_size, window):
    n = config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    blocks = (context + 15) // 16
    codes = 16 * blocks * 2 * n * num_bits // 8
    beside = 0 if num_bits == 16 else 16 * blocks * 2 * n // group_size * 4
    return budget // (codes + beside + window * 2 * n * 2)
"""
USERS_BLOCKS = """
def sequences_that_fit(budget, config, context, num_bits, group_size, window):
    per_token = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"] / 8
    width = num_bits
    if group_size is not None and num_bits < 16:
        width += 16 / group_size + 16 / group_size
    block = 16 * per_token * width
    one = block * -(-context // 16) + window * per_token * 16
    users = 0
    while (users + 1) * one <= budget:
        users += 1
    return users
"""
USERS = [
    users("only K or only V", (("numbers = 2 * ", "numbers = "),)),
    users("only K or only V", (("per_token = 2 * ", "per_token = "),), USERS_BLOCKS),
    users("query heads instead of key/value heads", (("num_key_value_heads", "num_attention_heads"),)),
    users("query heads instead of key/value heads", (('config["num_hidden_layers"] * ', ""),)),
    users("query heads instead of key/value heads", ((' * config["num_key_value_heads"]', ""),), USERS_INT),
    users("tokens instead of blocks", (("16 * math.ceil(context / 16)", "context"),)),
    users("tokens instead of blocks", (("-(-context // 16)", "context / 16"),), USERS_BLOCKS),
    users("the last block of a sequence not counted", (("math.ceil(context / 16)", "max(1, context // 16)"),)),
    users("the last block of a sequence not counted", (("(context + 15) // 16", "max(1, context // 16)"),), USERS_INT),
    users("a block too many", (("math.ceil(context / 16)", "(context // 16 + 1)"),)),
    users("a block too many", (("(context + 15) // 16", "(context + 16) // 16"),), USERS_INT),
    users("scales and zeros not counted", (("num_bits + 32 / group_size", "num_bits"),)),
    users("scales and zeros not counted", (("codes + beside + window", "codes + window"),), USERS_INT),
    users("the scales counted without the zeros", (("32 / group_size", "16 / group_size"),)),
    users("the scales counted without the zeros", (("group_size * 4", "group_size * 2"),), USERS_INT),
    users("a scale and a zero for every number", (("num_bits + 32 / group_size", "num_bits + 32"),)),
    users("a scale and a zero for every number", (("16 / group_size + 16 / group_size", "32 * group_size"),), USERS_BLOCKS),
    users("the window forgotten", ((" + window * 16", ""),)),
    users("the window forgotten", ((" + window * per_token * 16", ""),), USERS_BLOCKS),
    users(
        "one window for all sequences",
        (
            (
                "budget // (numbers * (tokens * bits + window * 16) / 8)",
                "max(0, budget - window * numbers * 2) // (numbers * tokens * bits / 8)",
            ),
        ),
    ),
    users(
        "one window for all sequences",
        (
            (
                "    users = 0\n",
                "    users, one, budget = 0, one - window * per_token * 16, budget - window * per_token * 16\n",
            ),
        ),
        USERS_BLOCKS,
    ),
    users("the window in codes", (("(tokens * bits + window * 16)", "(tokens + window) * bits"),)),
    users("the window in codes", (("window * 2 * n * 2", "window * 2 * n * num_bits // 8"),), USERS_INT),
    users("bits taken for bytes", ((" / 8)", ")"),)),
    users("bits taken for bytes", ((" / 8\n", "\n"),), USERS_BLOCKS),
    users(
        "a part of a sequence counted",
        (
            (
                "int(budget // (numbers * (tokens * bits + window * 16) / 8))",
                "budget / (numbers * (tokens * bits + window * 16) / 8)",
            ),
        ),
    ),
    users("a part of a sequence counted", (("int(budget // ", "math.ceil(budget / "),)),
    users(
        "a part of a sequence counted", (("while (users + 1) * one <= budget", "while users * one < budget"),), USERS_BLOCKS
    ),
    users("a part of a sequence counted", (("<= budget", "< budget"),), USERS_BLOCKS),
    users(
        "blocks or tokens counted instead of sequences",
        (("tokens = 16 * math.ceil(context / 16)", "tokens, window = 16, 0"),),
    ),
    users(
        "blocks or tokens counted instead of sequences",
        (("(numbers * (tokens * bits + window * 16) / 8)", "(numbers * bits / 8)"),),
    ),
]

# --- 10.5
ERROR_NUMPY = """
def attention_error(q, K, V, K_hat, V_hat):
    q, K, V, K_hat, V_hat = (t.numpy() for t in (q, K, V, K_hat, V_hat))
    def out(k, v):
        s = q @ k.T / np.sqrt(q.shape[1])
        e = np.exp(s - s.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        return p @ v
    o = out(K, V)
    return np.linalg.norm(out(K_hat, V) - o) / np.linalg.norm(o), np.linalg.norm(out(K, V_hat) - o) / np.linalg.norm(o)
"""
ERROR_SDPA = """
def attention_error(q, K, V, K_hat, V_hat):
    f = torch.nn.functional.scaled_dot_product_attention
    o, by_k, by_v = (f(q[None], k[None], v[None])[0] for k, v in ((K, V), (K_hat, V), (K, V_hat)))
    size = o.square().sum().sqrt()
    return (by_k - o).square().sum().sqrt() / size, (by_v - o).square().sum().sqrt() / size
"""
ERROR_LOOP = """
def attention_error(q, K, V, K_hat, V_hat):
    def gather(K, V):
        rows = []
        for one in q.double():
            shares = torch.exp(K.double() @ one / math.sqrt(len(one)))
            rows.append((shares / shares.sum()) @ V.double())
        return torch.stack(rows)
    o = gather(K, V)
    total = (o ** 2).sum()
    return tuple(math.sqrt(((x - o) ** 2).sum() / total) for x in (gather(K_hat, V), gather(K, V_hat)))
"""
ERROR_SCORES = """
def attention_error(q, K, V, K_hat, V_hat):
    def share(K):
        return torch.softmax(q @ K.T / math.sqrt(K.shape[1]), -1)
    p, o = share(K), share(K) @ V
    return (share(K_hat) - p).norm() / p.norm(), (p @ V_hat - o).norm() / o.norm()
"""
ERRORS = [
    error(
        "softmax forgotten",
        (("torch.softmax(q @ K.T / math.sqrt(K.shape[1]), dim=-1)", "(q @ K.T / math.sqrt(K.shape[1]))"),),
    ),
    error("softmax forgotten", (("p = e / e.sum(axis=1, keepdims=True)", "p = np.exp(s)"),), ERROR_NUMPY),
    error("√D forgotten", ((" / math.sqrt(K.shape[1])", ""),)),
    error("√D forgotten", (("np.sqrt(q.shape[1])", "q.shape[1]"),), ERROR_NUMPY),
    error("√D forgotten", (("v[None])[0]", "v[None], scale=1.0)[0]"),), ERROR_SDPA),
    error("the softmax over the queries", (("dim=-1", "dim=0"),)),
    error(
        "the softmax over the queries",
        (("s.max(axis=1, keepdims=True)", "s.max(axis=0)"), ("e.sum(axis=1, keepdims=True)", "e.sum(axis=0)")),
        ERROR_NUMPY,
    ),
    error("a causal mask", (("v[None])[0]", "v[None], is_causal=True)[0]"),), ERROR_SDPA),
    error(
        "a causal mask",
        (
            (
                "        return torch.softmax(q @ K.T / math.sqrt(K.shape[1]), dim=-1) @ V",
                "        s = q @ K.T / math.sqrt(K.shape[1])\n"
                "        seen = torch.ones_like(s).tril(len(K) - len(q)).bool()\n"
                "        return torch.softmax(s.masked_fill(~seen, -torch.inf), dim=-1) @ V",
            ),
        ),
    ),
    error("the error of the scores, not of the output", code=ERROR_SCORES),
    error(
        "the error of the scores, not of the output",
        (("(share(K_hat) - p).norm() / p.norm()", "((q @ K_hat.T) - (q @ K.T)).norm() / (q @ K.T).norm()"),),
        ERROR_SCORES,
    ),
    error(
        "the error of K and V themselves",
        (("for o in (gathered(K_hat, V), gathered(K, V_hat))", "for o, exact in ((K_hat, K), (V_hat, V))"),),
    ),
    error(
        "the error of K and V themselves",
        (
            ("(p @ V_hat - o).norm() / o.norm()", "(V_hat - V).norm() / V.norm()"),
            ("(share(K_hat) - p).norm() / p.norm()", "(share(K_hat) @ V - o).norm() / o.norm()"),
        ),
        ERROR_SCORES,
    ),
    error("both rounded at once", (("gathered(K, V_hat))", "gathered(K_hat, V_hat))"),)),
    error("both rounded at once", (("out(K_hat, V) - o", "out(K_hat, V_hat) - o"),), ERROR_NUMPY),
    error("both rounded at once", (("(gather(K_hat, V), gather(K, V_hat))", "2 * [gather(K_hat, V_hat)]"),), ERROR_LOOP),
    error("the two in the other order", (("errors[0].item(), errors[1].item()", "errors[1].item(), errors[0].item()"),)),
    error("the two in the other order", (("(K_hat, V), (K, V_hat)))", "(K, V_hat), (K_hat, V)))"),), ERROR_SDPA),
    error(
        "a mean of the queries' errors",
        (("(o - exact).norm() / exact.norm()", "((o - exact).norm(dim=1) / exact.norm(dim=1)).mean()"),),
    ),
    error(
        "a mean of the queries' errors", (("(o - exact).norm() / exact.norm()", "((o - exact).abs() / exact.abs()).mean()"),)
    ),
    error(
        "squared, or in other units",
        (("tuple(math.sqrt(((x - o) ** 2).sum() / total)", "tuple(((x - o) ** 2).sum() / total"),),
        ERROR_LOOP,
    ),
    error("squared, or in other units", (("(o - exact).norm() / exact.norm()", "(o - exact).norm()"),)),
    error(
        "squared, or in other units",
        (("(o - exact).norm() / exact.norm()", "(o - exact).abs().mean() / exact.abs().mean()"),),
    ),
    error("squared, or in other units", (("(o - exact).norm() / exact.norm()", "torch.nn.functional.mse_loss(o, exact)"),)),
    error("relative to something else", (("(o - exact).norm() / exact.norm()", "(o - exact).norm() / o.norm()"),)),
    error(
        "relative to something else", (("(o - exact).norm() / exact.norm()", "abs(o.norm() - exact.norm()) / exact.norm()"),)
    ),
]

# --- 10.6
FP8_NUMPY = """
def store_fp8(x, seen):
    x, seen = x.numpy(), seen.numpy()
    loudest = np.abs(seen).reshape(len(seen), -1).max(axis=1)
    scale = np.where(loudest == 0, 1, loudest / 448)
    v = np.clip(x / scale[:, None, None], -448, 448)
    step = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(v), 2.0 ** -6))) - 3)
    return scale, np.rint(v / step) * step
"""
FP8_LOOP = """
def store_fp8(x, seen):
    scales, stored = [], []
    for new, old in zip(x, seen):
        s = max(abs(v) for row in old.tolist() for v in row) / 448
        s = s if s > 0 else 1.0
        scales.append(s)
        stored.append((new / s).clip(-448, 448).to(torch.float8_e4m3fn).float())
    return torch.tensor(scales), torch.stack(stored)
"""
FP8_AMINMAX = """
def store_fp8(x, seen):
    low, high = torch.aminmax(seen.double().flatten(1), dim=1)
    scale = torch.maximum(-low, high) / 448
    scale[scale == 0] = 1
    y = x.double() / scale.view(-1, 1, 1)
    y = torch.where(y.abs() > 448, 448 * y.sign(), y)
    m, e = torch.frexp(y)
    step = torch.exp2(e.clamp(min=-5).double() - 4)
    return scale, torch.round(y / step) * step
"""
FP8 = [
    fp8("the scale of what comes instead of what was seen", (("seen.abs().amax", "x.abs().amax"),)),
    fp8(
        "the scale of what comes instead of what was seen",
        (("for v in row) / 448", "for v in row) / 448\n        s = float(new.abs().max()) / 448"),),
        FP8_LOOP,
    ),
    fp8(
        "the scale of what comes instead of what was seen",
        (("scale = seen.abs().amax(dim=(1, 2))", "scale = torch.cat([seen, x], dim=1).abs().amax(dim=(1, 2))"),),
    ),
    fp8("one scale for all heads", (("seen.abs().amax(dim=(1, 2)) / 448", "(seen.abs().amax() / 448).expand(len(seen))"),)),
    fp8(
        "one scale for all heads",
        (("np.abs(seen).reshape(len(seen), -1).max(axis=1)", "np.abs(seen).max().repeat(len(seen))"),),
        FP8_NUMPY,
    ),
    fp8(
        "a scale for every channel or every token",
        (("amax(dim=(1, 2))", "amax(dim=1)"), ("scale[:, None, None]", "scale[:, None]")),
    ),
    fp8(
        "a scale for every channel or every token",
        (("amax(dim=(1, 2))", "amax(dim=1, keepdim=True)"), ("scale[:, None, None]", "scale")),
    ),
    fp8("the maximum without magnitudes", (("seen.abs().amax", "seen.amax"),)),
    fp8("the maximum without magnitudes", (("max(abs(v) for", "max(v for"),), FP8_LOOP),
    fp8("the maximum without magnitudes", (("torch.maximum(-low, high)", "high"),), FP8_AMINMAX),
    fp8("multiplied by the scale", (("x / scale", "x * scale"),)),
    fp8("multiplied by the scale", (("return scale, e4m3", "return 1 / scale, e4m3"),)),
    fp8(
        "multiplied by the scale",
        (
            ("scale = np.where(loudest == 0, 1, loudest / 448)", "scale = np.where(loudest == 0, 1, 448 / loudest)"),
            ("x / scale", "x * scale"),
        ),
        FP8_NUMPY,
    ),
    fp8("no scale at all", (("seen.abs().amax(dim=(1, 2)) / 448", "torch.ones(len(seen))"),)),
    fp8("no scale at all", (("x / scale[:, None, None]", "x"),), FP8_NUMPY),
    fp8("not cut off before the rounding", ((".clamp(-448, 448)", ""),)),
    fp8(
        "not cut off before the rounding",
        (("(x / scale[:, None, None]).clamp(-448, 448))", "x / scale[:, None, None]).clamp(-448, 448)"),),
    ),
    fp8(
        "cut off before the scale",
        (("(x / scale[:, None, None]).clamp(-448, 448)", "x.clamp(-448, 448) / scale[:, None, None]"),),
    ),
    fp8("another limit than 448", (("/ 448", "/ 240"),)),
    fp8("another limit than 448", (("loudest / 448", "loudest / 127"),), FP8_NUMPY),
    fp8("another limit than 448", (("for v in row) / 448", "for v in row) / 480"),), FP8_LOOP),
    fp8(
        "rounded to whole numbers, or not at all",
        (("e4m3((x / scale[:, None, None]).clamp(-448, 448))", "(x / scale[:, None, None]).clamp(-448, 448)"),),
    ),
    fp8("rounded to whole numbers, or not at all", (("np.rint(v / step) * step", "np.rint(v)"),), FP8_NUMPY),
    fp8("what is read instead of what is stored", (("clamp(-448, 448))", "clamp(-448, 448)) * scale[:, None, None]"),)),
    fp8(
        "what is read instead of what is stored",
        (("np.rint(v / step) * step", "np.rint(v / step) * step * scale[:, None, None]"),),
        FP8_NUMPY,
    ),
    fp8("no guard for a silent head", (("    scale = torch.where(scale == 0, 1.0, scale)\n", ""),)),
    fp8(
        "no guard for a silent head", (("    scale[scale == 0] = 1\n", "    scale = scale.clamp(min=1e-12)\n"),), FP8_AMINMAX
    ),
    fp8(
        "the two results in the other order",
        (
            (
                "return scale, e4m3((x / scale[:, None, None]).clamp(-448, 448))",
                "return e4m3((x / scale[:, None, None]).clamp(-448, 448)), scale",
            ),
        ),
    ),
    fp8(
        "the two results in the other order",
        (("return scale, np.rint(v / step) * step", "return np.rint(v / step) * step, scale"),),
        FP8_NUMPY,
    ),
]

MUTANTS = [*KEYS, *VALUES, *CUTS, *USERS, *ERRORS, *FP8]

ALTERNATIVES = [
    Alternative("10.1", "numpy", code=KEY_NUMPY),
    Alternative("10.1", "loops, float64", code=KEY_LOOP),
    Alternative("10.1", "chunks, a least scale of 1e-8, ties up", code=KEY_WIDE),
    Alternative("10.1", "turned, by reciprocals, the zero divided too", code=KEY_RECIPROCAL),
    Alternative("10.2", "numpy", code=VALUE_NUMPY),
    Alternative("10.2", "an axis of its own, float64", code=VALUE_TORCH),
    Alternative("10.2", "pure Python", code=VALUE_LOOP),
    Alternative("10.3", "a loop", code=CUT_LOOP),
    Alternative("10.3", "the recent ones counted", code=CUT_CHUNKS),
    Alternative("10.3", "numpy", code=CUT_NUMPY),
    Alternative("10.4", "whole numbers", code=USERS_INT),
    Alternative("10.4", "users counted one by one", code=USERS_BLOCKS),
    Alternative("10.5", "numpy", code=ERROR_NUMPY),
    Alternative("10.5", "torch's own attention, tensors without axes", code=ERROR_SDPA),
    Alternative("10.5", "query by query, float64", code=ERROR_LOOP),
    Alternative("10.6", "numpy, by steps", code=FP8_NUMPY),
    Alternative("10.6", "head by head, torch's cast", code=FP8_LOOP),
    Alternative("10.6", "min and max, frexp, float64", code=FP8_AMINMAX),
]
