"""Lab 11: the mistakes students make with other people's files, in their own code."""

from tools.mutants import Alternative, mutants_by_edits

gptq, zero, block, row, config, box = (mutants_by_edits(f"11.{i}") for i in range(1, 7))

# --- 11.1
GPTQ_NUMPY = """
def read_gptq(qweight, qzeros, scales, g_idx, bits=4):
    n, mask = 32 // bits, 2 ** bits - 1
    w, z = qweight.numpy().view(np.uint32), qzeros.numpy().view(np.uint32)
    K, N = w.shape[0] * n, w.shape[1]
    q = np.zeros((K, N), np.int32)
    zeros = np.zeros((z.shape[0], N), np.int32)
    for j in range(n):
        q[j::n] = (w >> np.uint32(bits * j)) & np.uint32(mask)
        zeros[:, j::n] = (z >> np.uint32(bits * j)) & np.uint32(mask)
    zeros += 1
    g = g_idx.numpy()
    W = (q - zeros[g]) * scales.numpy().astype(np.float32)[g]
    return W.T
"""
GPTQ_LOOP = """
def read_gptq(qweight, qzeros, scales, g_idx, bits=4):
    per = 32 // bits
    words, zeros, s, groups = qweight.tolist(), qzeros.tolist(), scales.tolist(), g_idx.tolist()
    N = len(words[0])
    rows = []
    for n in range(N):
        row = []
        for k, g in enumerate(groups):
            code = words[k // per][n] // 2 ** (bits * (k % per)) % 2 ** bits
            z = (zeros[g][n // per] >> (bits * (n % per))) % 2 ** bits + 1
            row.append(s[g][n] * (code - z))
        rows.append(row)
    return torch.tensor(rows)
"""
GPTQ_BYTES = """
def read_gptq(qweight, qzeros, scales, g_idx, bits=4):
    def numbers(words):
        b = words.contiguous().view(torch.uint8).reshape(*words.shape, 4)
        if bits == 4:
            b = torch.stack((b & 15, b >> 4), -1).flatten(-2)
        return b.int()

    q = numbers(qweight.T).flatten(1)
    z = numbers(qzeros).flatten(1).T + 1
    s = scales.T.double()
    g = g_idx.long()
    return s[:, g] * q - s[:, g] * z[:, g]
"""
GPTQ_SORTED = """
def read_gptq(qweight, qzeros, scales, g_idx, bits=4):
    K, N = len(g_idx), qweight.shape[1]
    shifts = torch.arange(0, 32, bits)
    q = torch.stack([(qweight >> int(s)) & (2 ** bits - 1) for s in shifts], dim=1).reshape(K, N)
    z = torch.stack([(qzeros >> int(s)) & (2 ** bits - 1) for s in shifts], dim=2).reshape(-1, N) + 1
    G = K // len(scales)
    order = torch.argsort(g_idx, stable=True)
    W = (q[order] - z.repeat_interleave(G, 0)).float() * scales.float().repeat_interleave(G, 0)
    out = torch.empty_like(W)
    out[order] = W
    return out.T
"""
GPTQS = [
    gptq("the zero point off by one", (".flatten(1) + 1", ".flatten(1)")),
    gptq("the zero point off by one", ("    zeros += 1\n", ""), code=GPTQ_NUMPY),
    gptq("the zero point off by one", (".flatten(1).T + 1", ".flatten(1).T - 1"), code=GPTQ_BYTES),
    gptq("8 taken for every zero point", ("(q - z[g_idx])", "(q - 2 ** (bits - 1))")),
    gptq("8 taken for every zero point", ("(code - z)", "(code - 8)"), code=GPTQ_LOOP),
    gptq(
        "the sign of the word",
        (
            "(qweight[:, None, :] >> shifts[:, None] & mask).flatten(0, 1)",
            "torch.stack([qweight >> s & mask for s in shifts.tolist()[:-1]] + [qweight >> 32 - bits], 1).flatten(0, 1)",
        ),
    ),
    gptq(
        "the sign of the word",
        (
            "(qzeros >> int(s)) & (2 ** bits - 1) for s in shifts],",
            "(qzeros >> int(s)) & (2 ** bits - 1) if s < 32 - bits else qzeros >> int(s) for s in shifts],",
        ),
        code=GPTQ_SORTED,
    ),
    gptq(
        "no mask behind the shift",
        ("(qweight[:, None, :] >> shifts[:, None] & mask)", "(qweight[:, None, :] >> shifts[:, None])"),
    ),
    gptq("no mask behind the shift", ("(qzeros >> int(s)) & (2 ** bits - 1)", "(qzeros >> int(s))"), code=GPTQ_SORTED),
    gptq("the first number highest", ("bits * torch.arange(32 // bits)", "bits * torch.arange(32 // bits).flip(0)")),
    gptq("the first number highest", ("(bits * (k % per))", "(32 - bits - bits * (k % per))"), code=GPTQ_LOOP),
    gptq("another order within the word", ("(b & 15, b >> 4)", "(b >> 4, b & 15)"), code=GPTQ_BYTES),
    gptq(
        "another order within the word",
        ("bits * torch.arange(32 // bits)", "bits * torch.tensor([0, 4, 1, 5, 2, 6, 3, 7] if bits == 4 else [0, 1, 2, 3])"),
    ),
    gptq("the numbers of a word in the wrong places", ("shifts], dim=1)", "shifts], dim=2)"), code=GPTQ_SORTED),
    gptq("the numbers of a word in the wrong places", ("shifts], dim=1)", "shifts], dim=0)"), code=GPTQ_SORTED),
    gptq("the numbers of a word in the wrong places", ("shifts], dim=2)", "shifts], dim=1)"), code=GPTQ_SORTED),
    gptq(
        "the numbers of a word in the wrong places",
        ("zeros[:, j::n] = ", "zeros[:, j * (N // n) : (j + 1) * (N // n)] = "),
        ("q[j::n] = ", "q[j * (K // n) : (j + 1) * (K // n)] = "),
        code=GPTQ_NUMPY,
    ),
    gptq(
        "g_idx ignored",
        (
            "((q - z[g_idx]) * scales.float()[g_idx]).T",
            "((q - z.repeat_interleave(len(q) // len(z), 0)) * scales.float().repeat_interleave(len(q) // len(z), 0)).T",
        ),
    ),
    gptq("g_idx ignored", ("g = g_idx.numpy()", "g = np.arange(K) // (K // len(scales))"), code=GPTQ_NUMPY),
    gptq("g_idx ignored", ("enumerate(groups)", "enumerate(sorted(groups))"), code=GPTQ_LOOP),
    gptq("g_idx read backwards", ("    out[order] = W\n", "    out = W\n"), code=GPTQ_SORTED),
    gptq(
        "g_idx read backwards",
        (
            "g = g_idx.long()",
            "g = (torch.arange(len(g_idx)) // (len(g_idx) // len(scales)))[torch.argsort(g_idx, stable=True)]",
        ),
        code=GPTQ_BYTES,
    ),
    gptq("g_idx read backwards", ("(q - z[g_idx])", "(q[torch.argsort(g_idx, stable=True)] - z[g_idx])")),
    gptq("another formula", ("(q - z[g_idx])", "(z[g_idx] - q)")),
    gptq("another formula", ("s[g][n] * (code - z)", "s[g][n] * code - z"), code=GPTQ_LOOP),
    gptq("another formula", ("* scales.float()[g_idx]", "/ scales.float()[g_idx]")),
    gptq("another formula", ("s[:, g] * q - s[:, g] * z[:, g]", "s[:, g] * q + s[:, g] * z[:, g]"), code=GPTQ_BYTES),
    gptq("subtracted in a byte", ("(q - z[g_idx])", "(q.to(torch.uint8) - z.to(torch.uint8)[g_idx])")),
    gptq(
        "subtracted in a byte",
        ("q = np.zeros((K, N), np.int32)", "q = np.zeros((K, N), np.uint8)"),
        ("zeros = np.zeros((z.shape[0], N), np.int32)", "zeros = np.zeros((z.shape[0], N), np.uint8)"),
        code=GPTQ_NUMPY,
    ),
    gptq("computed in 16 bits", ("* scales.float()[g_idx]).T", "* scales[g_idx]).T.float()")),
    gptq("computed in 16 bits", ("s = scales.T.double()", "s = scales.T"), code=GPTQ_BYTES),
    gptq("not transposed", ("scales.float()[g_idx]).T", "scales.float()[g_idx])")),
    gptq("not transposed", ("return W.T", "return W.reshape(N, K)"), code=GPTQ_NUMPY),
    gptq(
        None,
        ("shifts, mask = bits * torch.arange(32 // bits), 2**bits - 1", "shifts, mask = 4 * torch.arange(8), 15"),
        outcome="raised",
    ),
]

# --- 11.2
ZERO_LOOP = """
def convert_zeros(qzeros, version):
    out = []
    for row in qzeros.tolist():
        new = []
        for word in row:
            word %= 2 ** 32
            total = 0
            for j in range(8):
                z = word >> 4 * j & 15
                z = z + 1 if version == 2 else z - 1
                if not 0 <= z <= 15:
                    raise ValueError(f"z = {z} does not fit")
                total += z << 4 * j
            new.append(total - 2 ** 32 if total >= 2 ** 31 else total)
        out.append(new)
    return torch.tensor(out, dtype=torch.int32)
"""
ZERO_NUMPY = """
def convert_zeros(qzeros, version):
    words = qzeros.numpy().view(np.uint32)
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    z = (words[..., None] >> shifts & np.uint32(15)).astype(np.int64) + (1 if version == 2 else -1)
    if z.min() < 0 or z.max() > 15:
        raise ValueError("a zero point does not fit 4 bits")
    return np.bitwise_or.reduce(z.astype(np.uint32) << shifts, axis=-1).view(np.int32)
"""
ZERO_BYTES = """
def convert_zeros(qzeros, version):
    b = qzeros.contiguous().view(torch.uint8)
    low, high = b & 15, b >> 4
    bad = 15 if version == 2 else 0
    if bool((low == bad).any()) or bool((high == bad).any()):
        raise ValueError(bad)
    step = 0x11 if version == 2 else -0x11
    return (b.int() + step).to(torch.uint8).view(torch.int32)
"""
ZERO_STACK = """
def convert_zeros(qzeros, version):
    z = torch.stack([qzeros >> 4 * j & 15 for j in range(8)], -1)
    z = z + 1 if version == 2 else z - 1
    if z.min() < 0 or z.max() > 15:
        raise ValueError("does not fit")
    out = torch.zeros_like(qzeros)
    for j in range(8):
        out |= z[..., j] << 4 * j
    return out
"""
CHECKING = """    if (nibbles == last).any():
        raise ValueError(f"a stored {last} has no place in version {version}: z = {16 if version == 2 else 0}")
"""
FITS = """    if z.min() < 0 or z.max() > 15:
        raise ValueError("does not fit")
"""
ZEROS = [
    zero("carried into the neighbour", (CHECKING, "")),
    zero("carried into the neighbour", (FITS, ""), code=ZERO_STACK),
    zero("carried into the neighbour", ("(nibbles == last).any()", "version == 2 and (nibbles == 15).any()")),
    zero("carried into the neighbour", ("z.min() < 0 or z.max() > 15", "z.max() > 15"), code=ZERO_STACK),
    zero("wrapped around, or cut off, in silence", (FITS, "    z = z & 15\n"), code=ZERO_STACK),
    zero("wrapped around, or cut off, in silence", (FITS, "    z = z.clamp(0, 15)\n"), code=ZERO_STACK),
    zero(
        "wrapped around, or cut off, in silence",
        (
            '                if not 0 <= z <= 15:\n                    raise ValueError(f"z = {z} does not fit")\n',
            "                z %= 16\n",
        ),
        code=ZERO_LOOP,
    ),
    zero(
        "the other direction",
        ("(15, 1) if version == 2 else (0, -1)", "(15, 1) if version == 1 else (0, -1)"),
        outcome="raised",
    ),
    zero("the other direction", ("(15, 1) if version == 2 else (0, -1)", "(15, -1) if version == 2 else (0, 1)")),
    zero(
        "the other direction",
        ("z + 1 if version == 2 else z - 1", "z - 1 if version == 2 else z + 1"),
        (FITS, "    z = z & 15\n"),
        code=ZERO_STACK,
    ),
    zero("the wanted version ignored", ("(15, 1) if version == 2 else (0, -1)", "15, 1"), outcome="raised"),
    zero(
        "the wanted version ignored",
        ("    z = z + 1 if version == 2 else z - 1\n", "    z = z + 1\n"),
        (FITS, "    z = z & 15\n"),
        code=ZERO_STACK,
    ),
    zero("one added to the word", ("step * 0x11111111", "step")),
    zero("one added to the word", (CHECKING, ""), ("step * 0x11111111", "step")),
    zero("one added to the word", ("0x11 if version == 2 else -0x11", "1 if version == 2 else -1"), code=ZERO_BYTES),
    zero(
        "the numbers of a word in another order",
        ("out |= z[..., j] << 4 * j", "out |= z[..., 7 - j] << 4 * j"),
        code=ZERO_STACK,
    ),
    zero("the numbers of a word in another order", ("total += z << 4 * j", "total = total * 16 + z"), code=ZERO_LOOP),
    zero(
        "the sign of the word",
        ("[qzeros >> 4 * j & 15 for j in range(8)]", "[qzeros >> 4 * j & 15 for j in range(7)] + [qzeros >> 28]"),
        (
            FITS,
            "    if (z[..., :7].min() < 0) or (z[..., :7].max() > 15) or "
            '((z[..., 7] & 15) == (0 if version == 2 else 15)).any():\n        raise ValueError("no")\n',
        ),
        ("    out = torch.zeros_like(qzeros)\n", "    z = z.clamp(min=0)\n    out = torch.zeros_like(qzeros)\n"),
        code=ZERO_STACK,
    ),
    zero(
        "not packed again",
        ("    out = torch.zeros_like(qzeros)\n", "    return z.flatten(-2)\n    out = torch.zeros_like(qzeros)\n"),
        code=ZERO_STACK,
    ),
    zero("not packed again", ("dtype=torch.int32", "dtype=torch.int64"), code=ZERO_LOOP),
    zero("not packed again", (".view(np.int32)", ".astype(np.int64)"), code=ZERO_NUMPY),
    zero(None, ("(nibbles == last).any()", "(nibbles == 0).any() or (nibbles == 15).any()"), outcome="raised"),
    zero(None, ("raise ValueError", "raise AssertionError")),
    zero("one added to the word", ("qzeros + step * 0x11111111", "qzeros + step * 0x1111111")),
]

# --- 11.3
BLOCK_NUMPY = """
def read_q4_1(blocks):
    dt = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)])
    b = np.ascontiguousarray(blocks.numpy()).view(dt)
    d, m = (b[name].astype(np.float32)[..., None] for name in "dm")
    q = np.concatenate([b["qs"] & 15, b["qs"] >> 4], axis=-1)
    return (d * q + m).reshape(len(b), -1)
"""
BLOCK_LOOP = """
import struct
def read_q4_1(blocks):
    rows = []
    for raw in blocks.tolist():
        row = []
        for i in range(0, len(raw), 20):
            d, m = struct.unpack("<ee", bytes(raw[i:i + 4]))
            qs = raw[i + 4:i + 20]
            row += [d * (byte % 16) + m for byte in qs]
            row += [d * (byte // 16) + m for byte in qs]
        rows.append(row)
    return torch.tensor(rows)
"""
BLOCK_WIDE = """
def read_q4_1(blocks):
    N = blocks.shape[0]
    b = blocks.view(N, -1, 20)
    d = b[:, :, 0:2].contiguous().view(torch.float16).double()
    m = b[:, :, 2:4].contiguous().view(torch.float16).double()
    out = torch.zeros(N, b.shape[1], 32, dtype=torch.float64)
    out[:, :, :16] = (b[:, :, 4:] & 0x0F) * d + m
    out[:, :, 16:] = (b[:, :, 4:] >> 4) * d + m
    return out.view(N, -1)
"""
BLOCK_STACK = """
def read_q4_1(blocks):
    b = blocks.unflatten(1, (-1, 20))
    head, qs = b.split((4, 16), dim=-1)
    d, m = head.contiguous().view(torch.int16).view(torch.float16).float().split(1, dim=-1)
    q = torch.stack((qs.remainder(16), qs.div(16, rounding_mode="floor")), dim=-2).flatten(-2)
    return torch.addcmul(m, d, q.float()).flatten(1)
"""
BLOCKS = [
    block(
        "nibbles 0 and 1 taken for neighbours",
        (
            "torch.cat((b[..., 4:] & 0xF, b[..., 4:] >> 4), dim=-1)",
            "torch.stack((b[..., 4:] & 0xF, b[..., 4:] >> 4), dim=-1).flatten(-2)",
        ),
    ),
    block(
        "nibbles 0 and 1 taken for neighbours",
        ("out[:, :, :16] =", "out[:, :, 0::2] ="),
        ("out[:, :, 16:] =", "out[:, :, 1::2] ="),
        code=BLOCK_WIDE,
    ),
    block("nibbles 0 and 1 taken for neighbours", ("dim=-2)", "dim=-1)"), code=BLOCK_STACK),
    block("high nibbles first", ("(b[..., 4:] & 0xF, b[..., 4:] >> 4)", "(b[..., 4:] >> 4, b[..., 4:] & 0xF)")),
    block(
        "high nibbles first",
        ("(byte % 16)", "(byte // 16 * 1)"),
        ("d * (byte // 16) + m for", "d * (byte % 16) + m for"),
        code=BLOCK_LOOP,
    ),
    block("d and m exchanged", ("d, m = b[..., :4]", "m, d = b[..., :4]")),
    block("d and m exchanged", ("d, m = struct", "m, d = struct"), code=BLOCK_LOOP),
    block("d and m exchanged", ('("d", "<f2"), ("m", "<f2")', '("m", "<f2"), ("d", "<f2")'), code=BLOCK_NUMPY),
    block("m subtracted", ("* q + m[", "* q - m[")),
    block("m subtracted", ("(d * q + m)", "(d * (q - m))"), code=BLOCK_NUMPY),
    block("codes taken as signed", ("* q + m[", "* (q.float() - 8) + m[")),
    block(
        "codes taken as signed",
        ("    return (d * q", "    q = np.where(q >= 8, q.astype(int) - 16, q)\n    return (d * q"),
        code=BLOCK_NUMPY,
    ),
    block("m left out", ("d[..., None] * q + m[..., None]", "d[..., None] * q")),
    block("m left out", ("torch.addcmul(m, d, q.float())", "(d * q)"), code=BLOCK_STACK),
    block("bf16 instead of fp16", ("torch.float16", "torch.bfloat16")),
    block("bf16 instead of fp16", ("view(torch.float16).float()", "view(torch.bfloat16).float()"), code=BLOCK_STACK),
    block(
        "the two bytes of a number exchanged", ('("d", "<f2"), ("m", "<f2")', '("d", ">f2"), ("m", ">f2")'), code=BLOCK_NUMPY
    ),
    block("the two bytes of a number exchanged", ('"<ee"', '">ee"'), code=BLOCK_LOOP),
    block(
        "bits converted instead of read",
        ("view(torch.int16).view(torch.float16).float()", "view(torch.int16).float()"),
        code=BLOCK_STACK,
    ),
    block("bits converted instead of read", ('("d", "<f2"), ("m", "<f2")', '("d", "<u2"), ("m", "<u2")'), code=BLOCK_NUMPY),
    block(
        "bits converted instead of read",
        ("b[:, :, 0:2].contiguous().view(torch.float16).double()", "b[:, :, 0:1].double()"),
        ("b[:, :, 2:4].contiguous().view(torch.float16).double()", "b[:, :, 2:3].double()"),
        code=BLOCK_WIDE,
    ),
    block(
        "one block's numbers for the whole row", ("d[..., None] * q + m[..., None]", "d[:, :1, None] * q + m[:, :1, None]")
    ),
    block(
        "one block's numbers for the whole row",
        ("    return (d * q", "    d, m = d[:, :1], m[:, :1]\n    return (d * q"),
        code=BLOCK_NUMPY,
    ),
    block(
        "fields instead of blocks",
        (
            "b = blocks.reshape(len(blocks), -1, 20)  # (N, K/32, 20)",
            "n = blocks.shape[1] // 20\n    head, qs = blocks[:, :4 * n], blocks[:, 4 * n:]",
        ),
        (
            "d, m = b[..., :4].contiguous().view(torch.float16).float().unbind(-1)",
            "d, m = head.contiguous().view(torch.float16).float().split(n, -1)\n"
            "    b = torch.cat((head.reshape(-1, n, 4), qs.reshape(-1, n, 16)), -1)",
        ),
    ),
    block(
        "fields instead of blocks",
        ("b[:, :, 0:2]", "b[:, :, 16:18]"),
        ("b[:, :, 2:4]", "b[:, :, 18:20]"),
        ("(b[:, :, 4:] & 0x0F)", "(b[:, :, :16] & 0x0F)"),
        ("(b[:, :, 4:] >> 4)", "(b[:, :, :16] >> 4)"),
        code=BLOCK_WIDE,
    ),
    block("computed in 16 bits", (".view(torch.float16).float()", ".view(torch.float16)")),
    block("computed in 16 bits", (".astype(np.float32)", ""), code=BLOCK_NUMPY),
    block("computed in 16 bits", (".flatten(1)\n", ".flatten(1).half()\n"), code=BLOCK_STACK),
    block("blocks not put in a row", (".reshape(len(b), -1)", ".reshape(-1, 32)"), code=BLOCK_NUMPY),
    block("blocks not put in a row", ("m[..., None]).flatten(1)", "m[..., None])")),
    block(None, (">> 4", ">> 3")),
]

# --- 11.4
ROW_NUMPY = """
def permute_qk(q, k, heads, kv_heads, to):
    def order(n, heads):
        i = np.arange(n).reshape(heads, 2, n // heads // 2).swapaxes(1, 2).ravel()
        return i if to == "pairs" else np.argsort(i)
    return q.numpy()[order(len(q), heads)], k.numpy()[order(len(k), kv_heads)]
"""
ROW_LOOP = """
def permute_qk(q, k, heads, kv_heads, to):
    out = []
    for t, n in ((q, heads), (k, kv_heads)):
        D = len(t) // n
        new = t.clone()
        for h in range(n):
            for j in range(D // 2):
                for p in range(2):
                    halves, pairs = h * D + p * D // 2 + j, h * D + 2 * j + p
                    if to == "pairs":
                        new[pairs] = t[halves]
                    else:
                        new[halves] = t[pairs]
        out.append(new)
    return out
"""
ROW_SLICES = """
def permute_qk(q, k, heads, kv_heads, to):
    def one(t, n):
        parts = []
        for head in t.chunk(n):
            D = head.shape[0]
            if to == "pairs":
                new = torch.empty_like(head)
                new[0::2], new[1::2] = head[:D // 2], head[D // 2:]
            else:
                new = torch.cat((head[0::2], head[1::2]))
            parts.append(new)
        return torch.cat(parts)
    return one(q, heads), one(k, kv_heads)
"""
ROW_VIEW = """
def permute_qk(q, k, heads, kv_heads, to):
    def one(t, n):
        d = t.shape[0] // n
        if to == "pairs":
            t3 = t.reshape(n, 2, d // 2, *t.shape[1:])
        else:
            t3 = t.reshape(n, d // 2, 2, *t.shape[1:])
        return t3.swapaxes(1, 2).reshape(t.shape)
    return one(q, heads), one(k, kv_heads)
"""
ROWS = [
    row(
        "the wrong way",
        ('(heads, 2, -1) if to == "pairs" else (heads, -1, 2)', '(heads, -1, 2) if to == "pairs" else (heads, 2, -1)'),
    ),
    row(
        "the wrong way",
        ('return i if to == "pairs" else np.argsort(i)', 'return i if to == "halves" else np.argsort(i)'),
        code=ROW_NUMPY,
    ),
    row("the wrong way", ('if to == "pairs":', 'if to != "pairs":'), code=ROW_LOOP),
    row("the wanted order ignored", (' if to == "pairs" else (heads, -1, 2)', "")),
    row(
        "the wanted order ignored", ('return i if to == "pairs" else np.argsort(i)', "return np.argsort(i)"), code=ROW_NUMPY
    ),
    row("one head as wide as the matrix", ("return moved(q, heads), moved(k, kv_heads)", "return moved(q, 1), moved(k, 1)")),
    row("one head as wide as the matrix", ("for head in t.chunk(n):", "for head in [t]:"), code=ROW_SLICES),
    row("K cut into the heads of Q", ("moved(k, kv_heads)", "moved(k, heads)")),
    row("K cut into the heads of Q", ("one(k, kv_heads)", "one(k, heads)"), code=ROW_VIEW),
    row("K cut into the heads of Q", ("moved(q, heads), moved(k, kv_heads)", "moved(q, kv_heads), moved(k, heads)")),
    row("only Q", ("moved(k, kv_heads)", "k")),
    row("only Q", ("one(q, heads), one(k, kv_heads)", "q, one(k, kv_heads)"), code=ROW_SLICES),
    row("nothing moved", (".transpose(1, 2)", "")),
    row("nothing moved", (".swapaxes(1, 2)", ""), code=ROW_VIEW),
    row("the wrong two axes exchanged", (".transpose(1, 2)", ".transpose(0, 1)")),
    row("the wrong two axes exchanged", (".swapaxes(1, 2)", ".swapaxes(0, 1)"), code=ROW_VIEW),
    row(
        "b before a",
        ("new[0::2], new[1::2] =", "new[1::2], new[0::2] ="),
        ("(head[0::2], head[1::2])", "(head[1::2], head[0::2])"),
        code=ROW_SLICES,
    ),
    row("b before a", ("2 * j + p", "2 * j + 1 - p"), code=ROW_LOOP),
    row(
        "columns instead of rows",
        ("t.unflatten(0, sizes).transpose(1, 2).flatten(0, 2)", "t.unflatten(-1, sizes).transpose(-2, -1).flatten(-3)"),
    ),
    row(
        "columns instead of rows",
        (
            "one(q, heads), one(k, kv_heads)",
            "one(q.transpose(-1, 0), heads).transpose(-1, 0), one(k.transpose(-1, 0), kv_heads).transpose(-1, 0)",
        ),
        code=ROW_SLICES,
    ),
    row(
        "rows torn apart",
        ("t.unflatten(0, sizes).transpose(1, 2).flatten(0, 2)", "t.reshape(sizes).transpose(1, 2).reshape(t.shape)"),
    ),
    row(
        "rows torn apart",
        ("t.reshape(n, 2, d // 2, *t.shape[1:])", "t.reshape(n, 2, -1)"),
        ("t.reshape(n, d // 2, 2, *t.shape[1:])", "t.reshape(n, -1, 2)"),
        code=ROW_VIEW,
    ),
    row(
        "the two in the other order",
        ("return moved(q, heads), moved(k, kv_heads)", "return moved(k, kv_heads), moved(q, heads)"),
    ),
    row("the two in the other order", ("    return out\n", "    return out[::-1]\n"), code=ROW_LOOP),
    row(None, ("return moved(q, heads), moved(k, kv_heads)", "return moved(q, heads)")),
]

# --- 11.5
CONFIG_LIBRARY = """
def compressed_tensors_config(num_bits, group_size, symmetric, ignore):
    weights = {"num_bits": num_bits, "type": "int", "symmetric": symmetric, "group_size": group_size,
               "strategy": "group" if group_size else "channel", "dynamic": False, "actorder": None,
               "observer": "minmax", "block_structure": None}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None,
             "format": "pack-quantized"}
    return {"config_groups": {"group_0": group}, "quant_method": "compressed-tensors", "kv_cache_scheme": None,
            "format": "pack-quantized", "quantization_status": "compressed", "global_compression_ratio": None,
            "ignore": ignore}
"""
CONFIG_SHORT = """
def compressed_tensors_config(num_bits, group_size, symmetric, ignore):
    weights = dict(num_bits=num_bits, symmetric=symmetric, strategy="channel")
    if group_size:
        weights.update(strategy="group", group_size=group_size)
    whole = dict(quant_method="compressed-tensors", format="pack-quantized")
    whole["config_groups"] = {"linear layers": dict(targets=["Linear"], weights=weights)}
    whole["ignore"] = sorted(ignore, reverse=True)
    return whole
"""
CONFIG_MINUS_ONE = """
def compressed_tensors_config(num_bits, group_size, symmetric, ignore):
    weights = {"num_bits": num_bits, "type": "int", "symmetric": bool(symmetric)}
    weights["group_size"] = -1 if group_size is None else group_size
    if group_size is not None:
        weights["strategy"] = "group"
    return {"quant_method": "compressed-tensors",
            "config_groups": {"w": {"targets": ("re:.*",), "weights": weights, "format": "pack-quantized"}},
            "ignore": tuple(ignore)}
"""
CONFIG_JSON = """
import json
def compressed_tensors_config(num_bits, group_size, symmetric, ignore):
    text = json.dumps({"num_bits": num_bits, "group_size": group_size, "symmetric": symmetric,
                       "strategy": "group" if group_size is not None else "channel", "dynamic": False})
    whole = '{"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": '
    whole += '{"targets": ["Linear"], '
    whole += '"input_activations": null, "weights": ' + text + '}}, "ignore": ' + json.dumps(list(ignore)) + '}'
    return json.loads(whole)
"""
CONFIG_GROUPS = """
def compressed_tensors_config(num_bits, group_size, symmetric, ignore):
    def weights():
        return {"num_bits": num_bits, "type": "int", "symmetric": symmetric, "group_size": group_size,
                "strategy": "channel" if group_size is None else "group"}
    groups = {name: {"targets": [f"re:.*{name}.*"], "weights": weights()} for name in ("self_attn", "mlp", "lm_head")}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups, "ignore": ignore}
"""
CONFIGS = [
    config("symmetric the other way around", ('"symmetric": symmetric', '"symmetric": not symmetric')),
    config("symmetric the other way around", ('"symmetric": symmetric, ', "")),
    config("symmetric the other way around", ("symmetric=symmetric, ", "symmetric=True, "), code=CONFIG_SHORT),
    config("no format, or one that does not exist", ('        "format": "pack-quantized",\n', "")),
    config("no format, or one that does not exist", ('"pack-quantized"', '"int4"')),
    config("no format, or one that does not exist", ("pack-quantized", "packed"), code=CONFIG_SHORT),
    config("the format of another layout", ('"pack-quantized"', '"int-quantized"')),
    config("the format of another layout", ("pack-quantized", "float-quantized"), code=CONFIG_SHORT),
    config("another strategy than the scales have", ('"channel" if group_size is None else "group"', '"channel"')),
    config("another strategy than the scales have", ('"channel" if group_size is None else "group"', '"group"')),
    config(
        "another strategy than the scales have",
        ('"channel" if group_size is None else "group"', '"tensor" if group_size is None else "group"'),
    ),
    config("another strategy than the scales have", ('strategy="channel"', "type='int'"), code=CONFIG_SHORT),
    config("a fixed group size", ('"group_size": group_size}', '"group_size": 128}')),
    config("a fixed group size", ("group_size=group_size", "group_size=64"), code=CONFIG_SHORT),
    config("a fixed group size", (', "group_size": group_size}', "}")),
    config("a fixed number of bits", ('"num_bits": num_bits', '"num_bits": 4')),
    config("a fixed number of bits", ("num_bits=num_bits, ", ""), code=CONFIG_SHORT),
    config("the ignored layers forgotten", ('        "ignore": list(ignore),\n', "")),
    config("the ignored layers forgotten", ("list(ignore)", '["lm_head"]')),
    config("the ignored layers forgotten", ("sorted(ignore, reverse=True)", "list(ignore)[:1]"), code=CONFIG_SHORT),
    config("targets that name no layer", ('["Linear"]', '["linear"]')),
    config("targets that name no layer", ('["Linear"]', '["torch.nn.Linear"]')),
    config("targets that name no layer", ('["Linear"]', '["re:.*_proj"]')),
    config("targets missing, or no list", ('["Linear"]', '"Linear"')),
    config("targets missing, or no list", ('targets=["Linear"], ', ""), code=CONFIG_SHORT),
    config("no weights in the group", ('"weights": weights', '"weight": weights')),
    config("no weights in the group", ("weights=weights)", "**weights)"), code=CONFIG_SHORT),
    config("no config_groups", ('"config_groups": {"group_0": group}', '"groups": {"group_0": group}')),
    config("no config_groups", ('"config_groups": {"group_0": group}', '"config_groups": [group]')),
    config("no config_groups", ('"config_groups": {"group_0": group}', "**group")),
    config("whose config it is", ('        "quant_method": "compressed-tensors",\n', "")),
    config("whose config it is", ('"quant_method": "compressed-tensors"', '"quant_method": "compressed_tensors"')),
    config("whose config it is", ("    return whole\n", '    return {"quantization_config": whole}\n'), code=CONFIG_SHORT),
    config(
        "activations quantized as well",
        (
            '"input_activations": None',
            '"input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}',
        ),
    ),
    config("activations quantized as well", ('"input_activations": None', '"input_activations": weights')),
    config("another type than int", ('"type": "int"', '"type": "int4"')),
    config("another type than int", ('"type": "int"', '"type": "float"')),
    config("names of another dialect", ('"num_bits": num_bits', '"bits": num_bits')),
    config("names of another dialect", ('"symmetric": symmetric', '"sym": symmetric')),
    config("names of another dialect", ('"ignore": list(ignore)', '"modules_to_not_convert": list(ignore)')),
    config("text instead of numbers", ('"num_bits": num_bits', '"num_bits": str(num_bits)')),
    config("text instead of numbers", ("symmetric=symmetric", "symmetric=str(symmetric)"), code=CONFIG_SHORT),
    config("JSON text instead of a dict", ("    return json.loads(whole)", "    return whole"), code=CONFIG_JSON),
    config("another quantization_status", ('"compressed"', '"frozen"')),
    config(
        "another quantization_status",
        ('"quantization_status": "compressed"', '"quantization_status": "quantized"'),
        code=CONFIG_LIBRARY,
    ),
    config(None, ('"input_activations": None', '"input_activations": torch.nn.Linear')),
    config(None, ('"dynamic": False', '"dynamic": True'), code=CONFIG_LIBRARY),
]

# --- 11.6
BOX_STRUCT = """
import json, struct
def read_safetensors(data, name):
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n].decode("utf-8"))
    body = data[8 + n:]
    info = header.get(name)
    if info is None or name == "__metadata__":
        raise ValueError(name)
    first, last = info["data_offsets"]
    dtype = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1", "I8": "i1", "I32": "<i4"}[info["dtype"]]
    size = np.dtype(dtype).itemsize * int(np.prod(info["shape"]))
    if first < 0 or last > len(body) or last - first != size:
        raise ValueError(f"{name}: {info}")
    a = np.frombuffer(body[first:last], dtype).reshape(info["shape"])
    if info["dtype"] == "BF16":
        return (a.astype(np.uint32) << 16).view(np.float32)
    return a
"""
BOX_TORCH = """
import json
def read_safetensors(data, name):
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    n = int(raw[:8].view(torch.int64))
    entries = json.loads(bytes(raw[8:8 + n].tolist()))
    if name not in entries:
        raise ValueError(f"{name} is not in the file")
    shape, (a, b) = entries[name]["shape"], entries[name]["data_offsets"]
    kinds = {"F32": torch.float32, "F16": torch.half, "BF16": torch.bfloat16}
    kinds.update({"U8": torch.uint8, "I8": torch.int8, "I32": torch.int})
    kind = kinds[entries[name]["dtype"]]
    if a < 0 or 8 + n + b > len(raw):
        raise ValueError("outside")
    if b - a != math.prod(shape) * torch.empty(0, dtype=kind).element_size():
        raise ValueError("another size")
    return raw[8 + n + a:8 + n + b].clone().view(kind).view(shape)
"""
BOX_PYTHON = """
import json, struct
def read_safetensors(data, name):
    n = sum(data[i] << 8 * i for i in range(8))
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    if name not in header:
        raise ValueError("no " + name)
    entry = header[name]
    count = 1
    for d in entry["shape"]:
        count *= d
    letter = {"F32": "f", "F16": "e", "BF16": "H", "U8": "B", "I8": "b", "I32": "i"}[entry["dtype"]]
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(data) - 8 - n:
        raise ValueError("offsets")
    if struct.calcsize("<" + str(count) + letter) != end - begin:
        raise ValueError("size")
    numbers = list(struct.unpack_from("<" + str(count) + letter, data, 8 + n + begin))
    if entry["dtype"] == "BF16":
        numbers = [struct.unpack("<f", struct.pack("<I", bits << 16))[0] for bits in numbers]
    dtype = {"U8": torch.uint8, "I8": torch.int8, "I32": torch.int32}.get(entry["dtype"], torch.float32)
    return torch.tensor(numbers, dtype=dtype).reshape(entry["shape"])
"""
BOX_LIBRARY = """
import io, json
def read_safetensors(data, name):
    file = io.BytesIO(data)
    n = int.from_bytes(file.read(8), byteorder="little")
    info = json.loads(file.read(n))
    try:
        info = info[name]
    except KeyError:
        raise ValueError(f"no tensor called {name}") from None
    begin, end = info["data_offsets"]
    names = dict(F32=torch.float32, F16=torch.float16, BF16=torch.bfloat16, U8=torch.uint8, I8=torch.int8, I32=torch.int32)
    dtype = names[info["dtype"]]
    if begin < 0:
        raise ValueError(begin)
    file.seek(begin, 1)
    raw = file.read(end - begin)
    count = math.prod(info["shape"])
    if len(raw) != end - begin or len(raw) != count * dtype.itemsize:
        raise ValueError(f"{name}: {len(raw)} bytes")
    return torch.tensor(list(raw), dtype=torch.uint8).view(dtype).reshape(info["shape"])
"""
BOUNDS = """    if not 0 <= begin <= end <= len(data) - start or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name}: offsets [{begin}, {end}] are not {dtype} {shape} in {len(data) - start} bytes")
"""
COUNTED = (
    "bytearray(data[start + begin : start + end])",
    "bytearray(data[start + begin : start + begin + math.prod(shape) * dtype.itemsize])",
)
BOXES = [
    box("offsets counted from the beginning of the file", ("data[start + begin : start + end]", "data[begin:end]")),
    box("offsets counted from the beginning of the file", ("body[first:last]", "data[first:last]"), code=BOX_STRUCT),
    box("offsets counted from the beginning of the file", ("raw[8 + n + a:8 + n + b]", "raw[8 + a:8 + b]"), code=BOX_TORCH),
    box(
        "the eight bytes of the length forgotten",
        ("body = data[8 + n:]", "body = data[n:]"),
        ("last > len(body)", "last > len(body) - 8"),
        code=BOX_STRUCT,
    ),
    box("the eight bytes of the length forgotten", ("raw[8 + n + a:8 + n + b]", "raw[n + a:n + b]"), code=BOX_TORCH),
    box("another tensor's place", ("data[start + begin : start + end]", "data[start : start + end - begin]")),
    box(
        "another tensor's place",
        (
            '    begin, end = header[name]["data_offsets"]\n',
            '    begin, end = header[name]["data_offsets"]\n    before = 0\n'
            "    for other in header:\n        if other == name:\n            break\n"
            '        if other != "__metadata__":\n            a, b = header[other]["data_offsets"]\n'
            "            before += b - a\n",
        ),
        ("data[start + begin : start + end]", "data[start + before : start + before + end - begin]"),
    ),
    box("F16 and BF16 confused", ("BF16=torch.bfloat16", "BF16=torch.float16"), code=BOX_LIBRARY),
    box(
        "F16 and BF16 confused",
        ('"F16": torch.half, "BF16": torch.bfloat16', '"F16": torch.bfloat16, "BF16": torch.half'),
        code=BOX_TORCH,
    ),
    box(
        "F16 and BF16 confused",
        ('    if info["dtype"] == "BF16":\n        return (a.astype(np.uint32) << 16).view(np.float32)\n', ""),
        ('"BF16": "<u2"', '"BF16": "<f2"'),
        code=BOX_STRUCT,
    ),
    box("signs lost or invented", ('"U8": "u1", "I8": "i1"', '"U8": "i1", "I8": "i1"'), code=BOX_STRUCT),
    box("signs lost or invented", ("I8=torch.int8", "I8=torch.uint8"), code=BOX_LIBRARY),
    box("another dtype came back", ("dtype=dtype).reshape(shape)", "dtype=dtype).reshape(shape).float()")),
    box("another dtype came back", ('.get(entry["dtype"], torch.float32)', '.get("")'), code=BOX_PYTHON),
    box("another dtype came back", ('"I32": "<i4"', '"I32": "<f4"'), code=BOX_STRUCT),
    box(
        "the bytes of a number from behind",
        ('"F32": "<f4", "F16": "<f2", "BF16": "<u2"', '"F32": ">f4", "F16": ">f2", "BF16": ">u2"'),
        ('"<i4"', '">i4"'),
        code=BOX_STRUCT,
    ),
    box("the bytes of a number from behind", ('struct.unpack_from("<" +', 'struct.unpack_from(">" +'), code=BOX_PYTHON),
    box("the shape left out", (".reshape(shape)", "")),
    box("the shape left out", (".view(kind).view(shape)", ".view(kind)"), code=BOX_TORCH),
    box(
        "read column by column",
        ('.reshape(info["shape"])\n    if', '.reshape(info["shape"], order="F")\n    if'),
        code=BOX_STRUCT,
    ),
    box("read column by column", (".reshape(shape)", ".reshape(shape[::-1])")),
    box(
        "bytes instead of a tensor",
        ('return torch.tensor(list(raw), dtype=torch.uint8).view(dtype).reshape(info["shape"])', "return raw"),
        code=BOX_LIBRARY,
    ),
    box("bytes instead of a tensor", (".clone().view(kind).view(shape)", ""), code=BOX_TORCH),
    box(
        "a missing name passed over",
        ("        raise ValueError(f\"no tensor {name!r}: there is {', '.join(header)}\")\n", "        return None\n"),
    ),
    box(
        "a missing name passed over",
        ('        raise ValueError(f"{name} is not in the file")\n', "        return torch.zeros(0)\n"),
        code=BOX_TORCH,
    ),
    box("a missing name passed over", ('        raise ValueError("no " + name)\n', "        return\n"), code=BOX_PYTHON),
    box("the number of bytes not compared", (" or end - begin != math.prod(shape) * dtype.itemsize", ""), COUNTED),
    box(
        "the number of bytes not compared",
        ('    if struct.calcsize("<" + str(count) + letter) != end - begin:\n        raise ValueError("size")\n', ""),
        code=BOX_PYTHON,
    ),
    box(
        "the number of bytes not compared",
        (
            BOUNDS,
            "    if end - begin < math.prod(shape) * dtype.itemsize or begin < 0 or end > len(data) - start:\n"
            "        raise ValueError(name)\n",
        ),
        COUNTED,
    ),
    box("offsets that leave the data", ("not 0 <= begin <= end <= len(data) - start or ", ""), COUNTED),
    box(
        "offsets that leave the data",
        ("    if a < 0 or 8 + n + b > len(raw):", "    if 8 + n + b > len(raw):"),
        code=BOX_TORCH,
    ),
    box("offsets that leave the data", ("not 0 <= begin <= end <= len(data) - start", "end > len(data) - start")),
    box(None, ('"little"', '"big"'), outcome="raised"),
    box(None, ('        raise ValueError(f"no tensor called {name}") from None', "        raise"), code=BOX_LIBRARY),
]

MUTANTS = [*GPTQS, *ZEROS, *BLOCKS, *ROWS, *CONFIGS, *BOXES]

ALTERNATIVES = [
    Alternative("11.1", "numpy, words as uint32", code=GPTQ_NUMPY),
    Alternative("11.1", "pure Python, floor division", code=GPTQ_LOOP),
    Alternative("11.1", "by bytes, float64, multiplied out", code=GPTQ_BYTES),
    Alternative("11.1", "sorted by group, and put back", code=GPTQ_SORTED),
    Alternative("11.2", "pure Python", code=ZERO_LOOP),
    Alternative("11.2", "numpy, words as uint32", code=ZERO_NUMPY),
    Alternative("11.2", "by bytes", code=ZERO_BYTES),
    Alternative("11.2", "stacked, joined by OR", code=ZERO_STACK),
    Alternative("11.3", "numpy, a record", code=BLOCK_NUMPY),
    Alternative("11.3", "pure Python, struct", code=BLOCK_LOOP),
    Alternative("11.3", "float64, into place", code=BLOCK_WIDE),
    Alternative("11.3", "by remainders, a fused product", code=BLOCK_STACK),
    Alternative("11.4", "numpy, an index", code=ROW_NUMPY),
    Alternative("11.4", "row by row, a list", code=ROW_LOOP),
    Alternative("11.4", "head by head", code=ROW_SLICES),
    Alternative("11.4", "one reshape", code=ROW_VIEW),
    Alternative("11.5", "every key that the library writes", code=CONFIG_LIBRARY),
    Alternative("11.5", "only what is needed", code=CONFIG_SHORT),
    Alternative("11.5", "the format in the group, −1 for a row, tuples", code=CONFIG_MINUS_ONE),
    Alternative("11.5", "through JSON", code=CONFIG_JSON),
    Alternative("11.5", "several groups", code=CONFIG_GROUPS),
    Alternative("11.6", "numpy and struct, bf16 as float32", code=BOX_STRUCT),
    Alternative("11.6", "torch", code=BOX_TORCH),
    Alternative("11.6", "pure Python", code=BOX_PYTHON),
    Alternative("11.6", "as a stream", code=BOX_LIBRARY),
]
