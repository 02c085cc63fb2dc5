"""Lab 02, answered wrongly (as it really happens) and answered otherwise."""

from tools.mutants import Alternative, Mutant

GUARD = "    scale = torch.where(scale == 0, 1.0, scale)\n"
REFUSE = '    if K % group_size:\n        raise ValueError(f"group_size={group_size} does not divide K={K}")\n'
ODD = '    if codes.shape[1] % 2:\n        raise ValueError(f"K={codes.shape[1]} is odd: two codes share a byte")\n'
NO_ZERO = (
    '    if (zeros == 0).any():\n        raise ValueError("GPTQ v1 stores z - 1: a zero point of 0 cannot be stored")\n'
)

MUTANTS = [
    # 02.1
    Mutant(
        "02.1",
        "groups along N",
        (
            ("W.reshape(N, K // group_size, group_size)", "W.T.reshape(K, N // group_size, group_size)"),
            ("codes.reshape(N, K), scale.squeeze(-1)", "codes.reshape(K, N).T, scale.squeeze(-1).T"),
        ),
    ),
    Mutant(
        "02.1",
        "groups along N",
        code="""
def quantize_groups(W, group_size):
    N, K = W.shape
    if K % group_size:
        raise ValueError(f"{group_size} {K}")
    blocks = W.numpy().reshape(N // group_size, group_size, K)
    s = np.abs(blocks).max(axis=1) / np.float32(7.5)
    s = np.where(s == 0, 1, s).astype(np.float32)
    q = np.clip(np.rint(blocks / s[:, None]), -8, 7)
    return q.reshape(N, K).astype(np.int8), s
""",
    ),
    Mutant(
        "02.1",
        "a ragged last group accepted in silence",
        ((REFUSE, "    W = W[:, : K // group_size * group_size]\n    K = W.shape[1]\n"),),
    ),
    Mutant(
        "02.1",
        "a ragged last group accepted in silence",
        code="""
def quantize_groups(W, group_size):
    codes, scales = [], []
    for part in W.split(group_size, dim=1):
        s = part.abs().amax(1, keepdim=True) / 7.5
        s[s == 0] = 1
        codes.append((part / s).round().clamp(-8, 7).to(torch.int8))
        scales.append(s)
    return torch.cat(codes, 1), torch.cat(scales, 1)
""",
    ),
    Mutant(
        "02.1",
        "one scale a row",
        (
            ("groups.abs().amax(dim=-1, keepdim=True)", "groups.abs().amax(dim=(1, 2), keepdim=True)"),
            ("scale.squeeze(-1)", "scale.view(N, 1)"),
        ),
    ),
    Mutant(
        "02.1",
        "one scale a row",
        (
            (
                "groups.abs().amax(dim=-1, keepdim=True)",
                "groups.abs().amax(dim=(1, 2), keepdim=True).expand(-1, K // group_size, 1)",
            ),
        ),
    ),
    Mutant("02.1", "the code 8 exists in no int4", ((".clamp(-8, 7)", ""),)),
    Mutant(
        "02.1",
        "the code 8 exists in no int4",
        (("torch.round(groups / scale).clamp(-8, 7)", "(groups / scale).clamp(-7.5, 7.5).round()"),),
    ),
    Mutant("02.1", "absmax / 7: the other convention", (("/ 7.5", "/ 7"),)),
    Mutant("02.1", "absmax / 8", (("/ 7.5", "/ 8"),)),
    Mutant("02.1", "max instead of absmax", (("groups.abs().amax", "groups.amax"),)),
    Mutant("02.1", "no guard for a group of zeros", ((GUARD, ""),)),
    Mutant("02.1", "truncated instead of rounded", (("torch.round(groups / scale)", "(groups / scale)"),)),
    # 02.2
    Mutant("02.2", "the scales not counted", ((" + (scale_bits + zero_bits) / shared_by", ""),)),
    Mutant("02.2", "the scales not counted", (("scale_bits + zero_bits", "zero_bits"),)),
    Mutant("02.2", "the zero points not counted", (("(scale_bits + zero_bits)", "scale_bits"),)),
    Mutant("02.2", "the scale charged to every weight", ((" / shared_by", ""),)),
    Mutant("02.2", "bytes taken for bits", (("/ shared_by", "/ 8 / shared_by"),)),
    Mutant("02.2", "one scale a row, even in groups", (("K if group_size is None else group_size", "K"),)),
    Mutant("02.2", "rounded to whole bits", (("/ shared_by", "// shared_by"),)),
    # 02.3
    Mutant("02.3", "nibbles swapped", (("u[:, 0::2] | (u[:, 1::2] << 4)", "(u[:, 0::2] << 4) | u[:, 1::2]"),)),
    Mutant("02.3", "the sign lost", (("(codes + 8).to(torch.uint8)", "codes.to(torch.uint8) & 0xF"),)),
    Mutant("02.3", "the sign lost", (("(codes + 8)", "codes"),)),
    Mutant(
        "02.3",
        "halves instead of neighbours",
        (("u[:, 0::2] | (u[:, 1::2] << 4)", "u[:, : u.shape[1] // 2] | (u[:, u.shape[1] // 2 :] << 4)"),),
    ),
    Mutant("02.3", "both codes in the low nibble", ((" << 4", ""),)),
    Mutant("02.3", "an odd K accepted", ((ODD, ""),)),
    Mutant("02.3", "an odd K accepted", ((ODD, "    codes = codes[:, : codes.shape[1] // 2 * 2]\n"),)),
    Mutant(
        "02.3",
        "an odd K accepted",
        code="""
def pack_nibbles(codes):
    u = codes.numpy().astype(np.uint8) + np.uint8(8)
    if u.shape[1] % 2:
        u = np.pad(u, ((0, 0), (0, 1)))
    return (u[:, ::2] & 15) | ((u[:, 1::2] & 15) << 4)
""",
    ),
    Mutant("02.3", "pairs along N", (("u[:, 0::2] | (u[:, 1::2] << 4)", "u[0::2] | (u[1::2] << 4)"), (ODD, ""))),
    # 02.4
    Mutant("02.4", "nibbles swapped", (("(low, high)", "(high, low)"),)),
    Mutant("02.4", "the offset not taken off", ((" - 8", ""),)),
    Mutant(
        "02.4",
        "read as two's complement",
        code="""
def unpack_nibbles(packed):
    p = packed.numpy()
    n = np.stack((p & 15, p >> 4), -1).reshape(len(p), -1).astype(np.int8)
    n[n >= 8] -= 16
    return n
""",
    ),
    Mutant(
        "02.4",
        "columns not interleaved",
        (("torch.stack((low, high), dim=-1).flatten(-2)", "torch.cat((low, high), dim=1)"),),
    ),
    Mutant("02.4", "the low nibble not masked", (("packed & 0xF", "packed"),)),
    Mutant("02.4", "subtracted in uint8", ((".to(torch.int8)", ""),)),
    # 02.5
    Mutant("02.5", "the zero point off by one", ((".to(torch.int32) - 1", ".to(torch.int32)"),)),
    Mutant("02.5", "the zero point off by one", ((".to(torch.int32) - 1", ".to(torch.int32)"), (NO_ZERO, ""))),
    Mutant("02.5", "z = 0 stored as something else", ((NO_ZERO, ""),)),
    Mutant("02.5", "z = 0 stored as something else", ((NO_ZERO, ""), ("torch.int32) - 1", "torch.int32) - 1 & 15"))),
    Mutant(
        "02.5",
        "z = 0 stored as something else",
        ((NO_ZERO, ""), ("zeros.T.to(torch.int32) - 1", "(zeros.T - 1).to(torch.int32)")),
    ),
    Mutant(
        "02.5",
        "packed along N",
        (
            ("torch.zeros(q.shape[0] // 8, q.shape[1], dtype", "torch.zeros(q.shape[0], q.shape[1] // 8, dtype"),
            ("q[j::8]", "q[:, j::8]"),
        ),
    ),
    Mutant("02.5", "not transposed", (("return qweight, qzeros", "return qweight.T, qzeros"),)),
    Mutant("02.5", "the first code highest", (("q[j::8]", "q[7 - j :: 8]"), ("z[:, j::8]", "z[:, 7 - j :: 8]"))),
    Mutant("02.5", "the first code highest", (("q[j::8] << (4 * j)", "q[j::8] << (28 - 4 * j)"),)),
    Mutant(
        "02.5",
        "zero points packed along the groups",
        code="""
def pack_int32_gptq(codes, zeros):
    if (zeros == 0).any():
        raise ValueError("no")
    def pack(u):
        out = np.zeros((u.shape[0] // 8, u.shape[1]), dtype=np.uint32)
        for j in range(8):
            out |= u[j::8].astype(np.uint32) << np.uint32(4 * j)
        return out.view(np.int32)
    return pack(codes.numpy().T), pack(zeros.numpy().T - 1)
""",
    ),
    Mutant(
        "02.5",
        "words of 64 bits",
        code="""
def pack_int32_gptq(codes, zeros):
    if (zeros == 0).any():
        raise ValueError("no")
    shift = 4 * torch.arange(8)
    w = (codes.long().view(len(codes), -1, 8) << shift).sum(-1).T
    z = ((zeros.long() - 1).T.reshape(zeros.shape[1], -1, 8) << shift).sum(-1)
    return w, z
""",
    ),
    # 02.6
    Mutant("02.6", "columns in their natural order", (("(0, 2, 4, 6, 1, 3, 5, 7)", "range(8)"),)),
    Mutant("02.6", "the inverse order", (("q[:, column::8] << (4 * i)", "q[:, i::8] << (4 * column)"),)),
    Mutant(
        "02.6",
        "packed along K",
        (("codes.T", "codes"), ("return qweight", "return qweight.T")),
    ),
    Mutant("02.6", "packed along K", (("codes.T", "codes"),)),
    Mutant("02.6", "not transposed", (("return qweight", "return qweight.T"),)),
    Mutant("02.6", "the first code highest", (("(4 * i)", "(28 - 4 * i)"),)),
    # seen from learners
    Mutant(
        "02.1",
        "one scale for the whole tensor",
        (("groups.abs().amax(dim=-1, keepdim=True)", "groups.abs().max().expand(N, K // group_size, 1)"),),
    ),
    Mutant(
        "02.1",
        "one scale for the whole tensor",
        code="""
def quantize_groups(W, group_size):
    if W.shape[1] % group_size:
        raise ValueError("no")
    s = W.abs().max() / 7.5
    return (W / s).round().clamp(-8, 7).to(torch.int8), s
""",
    ),
    Mutant("02.1", "0.5 added, then cut off", (("torch.round(groups / scale)", "(groups / scale + 0.5).int()"),)),
    Mutant("02.1", None, ((REFUSE, "    assert K % group_size == 0\n"),)),
    Mutant(
        "02.2",
        "no scale where there are no groups",
        (("    shared_by", "    if group_size is None:\n        return num_bits\n    shared_by"),),
    ),
    Mutant(
        "02.2",
        "no scale where there are no groups",
        code="""
def bits_per_weight(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
    return (num_bits * group_size + scale_bits + zero_bits) / group_size if group_size is not None else float(num_bits)
""",
    ),
    Mutant("02.2", None, (("scale_bits + zero_bits", "16 + zero_bits"),)),
    Mutant("02.3", "the offset is 7", (("codes + 8", "codes + 7"),)),
    Mutant("02.4", "the high nibble not shifted", (("packed >> 4", "packed & 0xF0"),)),
    Mutant(
        "02.4",
        "the high nibble not shifted",
        code="""
def unpack_nibbles(packed):
    p = packed.numpy().astype(int)
    out = np.empty((p.shape[0], 2 * p.shape[1]), dtype=np.int64)
    out[:, 0::2], out[:, 1::2] = p & 15, p & 240
    return (out - 8).astype(np.int8)
""",
    ),
    Mutant("02.5", "shifted in uint8", (("codes.T.to(torch.int32), zeros.T.to(torch.int32) - 1", "codes.T, zeros.T - 1"),)),
    Mutant("02.5", "shifted in uint8", (("codes.T.to(torch.int32)", "codes.T"),)),
    Mutant(
        "02.5",
        "shifted in uint8",
        code="""
def pack_int32_gptq(codes, zeros):
    if (zeros == 0).any():
        raise ValueError("z = 0")
    q, z = codes.numpy().T, zeros.numpy().T - 1
    qweight = np.zeros((q.shape[0] // 8, q.shape[1]), dtype=np.int32)
    qzeros = np.zeros((z.shape[0], z.shape[1] // 8), dtype=np.int32)
    for j in range(8):
        qweight |= q[j::8] << np.uint8(4 * j)
        qzeros |= z[:, j::8].astype(np.int32) << 4 * j
    return qweight, qzeros
""",
    ),
    Mutant(
        "02.5",
        "packed along N",
        code="""
def pack_int32_gptq(codes, zeros):
    if (zeros == 0).any():
        raise ValueError("z = 0")
    def pack(u):
        out = torch.zeros(u.shape[0] // 8, u.shape[1], dtype=torch.int32)
        for j in range(8):
            out |= u[j::8].int() << 4 * j
        return out
    return pack(codes), pack(zeros - 1).T
""",
    ),
    Mutant(
        "02.5",
        "packed along N",
        code="""
def pack_int32_gptq(codes, zeros):
    if (zeros == 0).any():
        raise ValueError("z = 0")
    def pack(u):
        out = torch.zeros(u.shape[0] // 8, u.shape[1], dtype=torch.int32)
        for j in range(8):
            out |= u[j::8].int() << 4 * j
        return out
    return pack(codes), pack(zeros - 1)
""",
    ),
    Mutant("02.5", "not transposed", (("return qweight, qzeros", "return qweight, qzeros.T"),)),
    Mutant("02.6", "shifted in uint8", (("codes.T.to(torch.int32)", "codes.T"),)),
    Mutant("02.1", None, (("scale.squeeze(-1)", "scale.squeeze()"),)),  # one row, one group
    Mutant("02.5", None, (("zeros.T.to(torch.int32)", "zeros.squeeze().T.to(torch.int32)"),), outcome="raised"),
]

ALTERNATIVES = [
    Alternative(
        "02.1",
        "numpy, ties up",
        code="""
def quantize_groups(W, group_size):
    w = W.numpy()
    if w.shape[1] % group_size != 0:
        raise ValueError(f"K={w.shape[1]} is not a multiple of {group_size}")
    g = w.reshape(w.shape[0], -1, group_size)
    s = np.abs(g).max(-1) * 2 / 15
    s[s == 0] = 1
    q = np.clip(np.floor(g / s[..., None] + 0.5), -8, 7)
    return q.reshape(w.shape).astype(np.int8), s
""",
    ),
    Alternative(
        "02.1",
        "group by group",
        code="""
def quantize_groups(W, group_size):
    if W.shape[1] % group_size:
        raise ValueError("G must divide K")
    codes, scales = [], []
    for part in W.split(group_size, dim=1):
        s = (part.abs().amax(1, keepdim=True) / 7.5).clamp(min=1e-20)
        codes.append((part / s).round().clamp(-8, 7).to(torch.int8))
        scales.append(s)
    return torch.cat(codes, 1), torch.cat(scales, 1)
""",
    ),
    Alternative(
        "02.2",
        "the whole row, counted",
        code="""
def bits_per_weight(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
    groups = 1 if not group_size else K // group_size
    return (K * num_bits + groups * scale_bits + groups * zero_bits) / K
""",
    ),
    Alternative(
        "02.3",
        "arithmetic instead of bits",
        code="""
def pack_nibbles(codes):
    if codes.shape[1] % 2 == 1:
        raise ValueError("odd")
    u = codes.int() + 8
    return (u[:, ::2] + 16 * u[:, 1::2]).to(torch.uint8)
""",
    ),
    Alternative(
        "02.3",
        "numpy",
        code="""
def pack_nibbles(codes):
    u = (codes.numpy() + 8).astype(np.uint8)
    pairs = u.reshape(len(u), u.shape[1] // 2, 2) if u.shape[1] % 2 == 0 else None
    if pairs is None:
        raise ValueError("odd")
    return pairs[..., 0] | pairs[..., 1] << 4
""",
    ),
    Alternative(
        "02.4",
        "fills an empty matrix",
        code="""
def unpack_nibbles(packed):
    out = torch.empty(packed.shape[0], 2 * packed.shape[1], dtype=torch.int8)
    out[:, 0::2] = (packed % 16).to(torch.int8) - 8
    out[:, 1::2] = packed.div(16, rounding_mode="floor").to(torch.int8) - 8
    return out
""",
    ),
    Alternative(
        "02.5",
        "numpy, unsigned words seen as int32",
        code="""
def pack_int32_gptq(codes, zeros):
    q, z = codes.numpy().astype(np.uint32), zeros.numpy().astype(np.uint32)
    if not z.all():
        raise ValueError("z = 0")
    place = np.uint32(16) ** np.arange(8, dtype=np.uint32)
    qweight = (q.reshape(len(q), -1, 8) * place).sum(-1, dtype=np.uint32).T
    qzeros = ((z - 1).T.reshape(z.shape[1], -1, 8) * place).sum(-1, dtype=np.uint32)
    return np.ascontiguousarray(qweight).view(np.int32), qzeros.view(np.int32)
""",
    ),
    Alternative(
        "02.6",
        "gathers the columns first, counts in int64",
        code="""
def pack_awq(codes):
    q = codes.T.long().reshape(codes.shape[1], -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]]
    return (q << (4 * torch.arange(8))).sum(-1).to(torch.int32)
""",
    ),
    Alternative(
        "02.1",
        "pure Python, ties away from zero",
        code="""
def quantize_groups(W, group_size):
    codes, scales = [], []
    for row in W.tolist():
        if len(row) % group_size:
            raise ValueError("G must divide K")
        q, s = [], []
        for i in range(0, len(row), group_size):
            step = max(map(abs, row[i : i + group_size])) / 7.5 or 1.0
            q += [max(-8, min(7, int(v / step + math.copysign(0.5, v)))) for v in row[i : i + group_size]]
            s.append(step)
        codes.append(q)
        scales.append(s)
    return torch.tensor(codes, dtype=torch.int8), torch.tensor(scales)
""",
    ),
    Alternative(
        "02.1",
        "float64; ties towards zero",
        code="""
def quantize_groups(W, group_size):
    if W.size(1) % group_size != 0:
        raise ValueError
    g = W.double().unflatten(1, (-1, group_size))
    s = g.abs().amax(-1) / 7.5
    s[s == 0] = 2.0
    x = g / s.unsqueeze(-1)
    return (x.sign() * (x.abs() - 0.5).ceil().clamp(max=7)).flatten(1).to(torch.int8), s
""",
    ),
    Alternative(
        "02.2",
        "exactly, as a fraction",
        code="""
def bits_per_weight(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
    from fractions import Fraction
    return float(num_bits + Fraction(scale_bits + zero_bits, group_size or K))
""",
    ),
    Alternative(
        "02.2",
        "numpy, float32",
        code="""
def bits_per_weight(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
    return np.float32(num_bits) + np.float32(scale_bits + zero_bits) / np.float32(group_size or K)
""",
    ),
    Alternative(
        "02.2",
        "a tensor",
        code="""
def bits_per_weight(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
    return torch.tensor([float(num_bits), scale_bits / (group_size or K), zero_bits / (group_size or K)]).sum()
""",
    ),
    Alternative(
        "02.3",
        "pure Python",
        code="""
def pack_nibbles(codes):
    rows = codes.tolist()
    if len(rows[0]) % 2:
        raise ValueError("odd K")
    return torch.tensor([[(a + 8) | (b + 8) << 4 for a, b in zip(r[::2], r[1::2])] for r in rows], dtype=torch.uint8)
""",
    ),
    Alternative(
        "02.3",
        "stays in int8 and views the bits",
        code="""
def pack_nibbles(codes):
    if codes.shape[1] % 2 != 0:
        raise ValueError("K must be even")
    u = codes + 8
    return (u[:, 0::2] | u[:, 1::2] << 4).contiguous().view(torch.uint8)
""",
    ),
    Alternative(
        "02.4",
        "pure Python",
        code="""
def unpack_nibbles(packed):
    return torch.tensor([[n - 8 for b in row for n in (b % 16, b // 16)] for row in packed.tolist()], dtype=torch.int8)
""",
    ),
    Alternative(
        "02.4",
        "numpy",
        code="""
def unpack_nibbles(packed):
    p = packed.numpy()
    return (np.stack((p & 15, p >> 4), axis=2).reshape(len(p), -1).astype(np.int8) - 8).astype(np.int8)
""",
    ),
    Alternative(
        "02.4",
        "a table of all bytes",
        code="""
def unpack_nibbles(packed):
    table = torch.tensor([[b & 15, b >> 4] for b in range(256)]) - 8
    return table[packed.int()].view(len(packed), -1).char()
""",
    ),
    Alternative(
        "02.5",
        "pure Python, hexadecimal text",
        code="""
def pack_int32_gptq(codes, zeros):
    def word(u):
        n = int("".join(f"{v:x}" for v in reversed(u)), 16)
        return n - 2**32 if n >= 2**31 else n
    q, z = codes.tolist(), zeros.T.tolist()
    if any(0 in row for row in z):
        raise ValueError("z = 0")
    qweight = [[word(row[k : k + 8]) for row in q] for k in range(0, len(q[0]), 8)]
    qzeros = [[word([v - 1 for v in row[n : n + 8]]) for n in range(0, len(row), 8)] for row in z]
    return torch.tensor(qweight, dtype=torch.int32), torch.tensor(qzeros, dtype=torch.int32)
""",
    ),
    Alternative(
        "02.5",
        "counts in int64",
        code="""
def pack_int32_gptq(codes, zeros):
    if not bool(zeros.all()):
        raise ValueError("z = 0")
    shift = 4 * torch.arange(8)
    w = (codes.long().view(len(codes), -1, 8) << shift).sum(-1).T
    z = ((zeros.long() - 1).T.reshape(zeros.shape[1], -1, 8) << shift).sum(-1)
    return w.to(torch.int32), z.to(torch.int32)
""",
    ),
    Alternative(
        "02.5",
        "bytes seen as words",
        code="""
def pack_int32_gptq(codes, zeros):
    if (zeros < 1).any():
        raise ValueError("z = 0")
    def pack(u):
        return (u[:, ::2] | u[:, 1::2] << 4).clone(memory_format=torch.contiguous_format).view(torch.int32)
    return pack(codes).T, pack(zeros.T.contiguous() - 1)
""",
    ),
    Alternative(
        "02.6",
        "pure Python",
        code="""
def pack_awq(codes):
    rows = []
    for column in codes.T.tolist():
        order = (0, 2, 4, 6, 1, 3, 5, 7)
        words = [sum(column[n + j] << 4 * i for i, j in enumerate(order)) for n in range(0, len(column), 8)]
        rows.append([w - 2**32 if w >> 31 else w for w in words])
    return torch.tensor(rows, dtype=torch.int32)
""",
    ),
    Alternative(
        "02.6",
        "numpy, unsigned words seen as int32",
        code="""
def pack_awq(codes):
    q = codes.numpy().T.astype(np.uint32).reshape(codes.shape[1], -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
    return (q << np.arange(0, 32, 4, dtype=np.uint32)).sum(-1, dtype=np.uint32).view(np.int32)
""",
    ),
    Alternative(
        "02.6",
        "bytes seen as words",
        code="""
def pack_awq(codes):
    q = codes.T.reshape(codes.shape[1], -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]].flatten(1)
    return (q[:, ::2] | q[:, 1::2] << 4).clone(memory_format=torch.contiguous_format).view(torch.int32)
""",
    ),
]
