"""Lab 08: the mistakes students make in a 4-bit kernel, in their own code; and other right answers."""

from tools.mutants import Alternative, Mutant

MUTANTS = [
    Mutant("08.1", "the highest code first",
            edits=(("torch.arange(0, 32, 4, dtype=torch.int32)", "torch.arange(28, -1, -4, dtype=torch.int32)"),)),
    Mutant("08.1", "the two codes of each byte swapped", code="""
def unpack_words(words):
    b = words.contiguous().view(torch.uint8).view(*words.shape, 4)
    return torch.stack((b >> 4, b & 15), dim=-1).flatten(-2).int()
"""),
    Mutant("08.1", "AWQ's order", edits=(
        ("torch.arange(0, 32, 4, dtype=torch.int32)", "torch.tensor([0, 16, 4, 20, 8, 24, 12, 28], dtype=torch.int32)"),)),
    Mutant("08.1", "the mask forgotten", edits=((" & 15", ""),)),
    Mutant("08.1", "the last code with its sign", code="""
def unpack_words(words):
    out = []
    for j in range(7):
        out.append((words >> (4 * j)) % 16)
    out.append(words >> 28)
    return torch.stack(out, dim=-1)
"""),
    Mutant("08.1", "the 8 subtracted already", edits=(("& 15", "& 15) - 8"), ("return (words", "return ((words"))),
    Mutant("08.1", "shifted by one bit a code",
            edits=(("torch.arange(0, 32, 4, dtype=torch.int32)", "torch.arange(8, dtype=torch.int32)"),)),
    Mutant("08.2", "the 8 forgotten", edits=(("(code - 8)", "code"),)),
    Mutant("08.2", "the codes of a word in the wrong order", edits=(("word >> 4 * j", "word >> 28 - 4 * j"),)),
    Mutant("08.2", "the codes of a word in the wrong order", edits=(("word >> 4 * j", "word >> 4 * (j ^ 1)"),)),
    Mutant("08.2", "the group counted in words", edits=(("k // group_size", "w // group_size"),)),
    Mutant("08.2", "one scale for the whole row", edits=(("scale[n, k // group_size]", "scale[n, 0]"),)),
    Mutant("08.2", "the 8 taken off after the scale",
            edits=(("scale[n, k // group_size] * (code - 8)", "(scale[n, k // group_size] * code - 8)"),)),
    Mutant("08.2", "divided by the scale", code="""
def gemv_naive(x, words, scale, group_size):
    out = []
    for row, s in zip(words, scale):
        total = 0.0
        for k in range(len(x)):
            q = (int(row[k // 8]) >> (4 * (k % 8))) % 16
            total += (q - 8) / float(s[k // group_size]) * float(x[k])
        out.append(total)
    return torch.tensor(out)
"""),
    Mutant("08.3", "the 8 forgotten", edits=((" - 8 * x.sum(1)", ""),)),
    Mutant("08.3", "the codes of a word in the wrong order", code="""
def gemv_int4(x, words, scale, group_size):
    codes = torch.stack([(words >> s) & 15 for s in (28, 24, 20, 16, 12, 8, 4, 0)], dim=2)
    W = (codes.reshape(len(words), -1, group_size).float() - 8) * scale[:, :, None]
    return W.reshape(len(words), -1) @ x.float()
"""),
    Mutant("08.3", "the group counted in words", code="""
def gemv_int4(x, words, scale, group_size):
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).float() - 8
    which = torch.arange(words.shape[1]) // group_size
    W = codes * scale[:, which].unsqueeze(-1)
    return W.flatten(1) @ x.float()
"""),
    Mutant("08.3", "one scale for the whole row", edits=(("(per_group * scale).sum(1)", "per_group.sum(1) * scale[:, 0]"),)),
    Mutant("08.3", "one scale for the whole row",
            edits=(("(per_group * scale).sum(1)", "per_group.sum(1) * scale.mean(1)"),)),
    Mutant("08.3", "the 8 taken off once a group", edits=(("8 * x.sum(1)", "8"),)),
    Mutant("08.3", "summed in low precision", code="""
def gemv_int4(x, words, scale, group_size):
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).flatten(1)
    W = (codes - 8).float() * scale.repeat_interleave(group_size, dim=1)
    return W.to(x.dtype) @ x
"""),
    Mutant("08.3", "summed in low precision", code="""
def gemv_int4(x, words, scale, group_size):
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).flatten(1)
    W = (codes - 8).float() * scale.repeat_interleave(group_size, dim=1)
    return (W @ x.float()).to(x.dtype)
"""),
    Mutant("08.3", "a Python loop over weights", code="""
def gemv_int4(x, words, scale, group_size):
    x, scale, y = x.tolist(), scale.tolist(), []
    for n, row in enumerate(words.tolist()):
        total, k = 0.0, 0
        for word in row:
            s = scale[n][k // group_size]
            for j in range(8):
                total += s * ((word >> 4 * j & 15) - 8) * x[k + j]
            k += 8
        y.append(total)
    return torch.tensor(y)
"""),
    Mutant("08.3", "a Python loop over weights", code="""
def gemv_int4(x, words, scale, group_size):
    y = torch.zeros(len(words))
    for n, row in enumerate(words.tolist()):
        for w, word in enumerate(row):
            for j in range(8):
                k = 8 * w + j
                y[n] += scale[n, k // group_size] * (((word >> 4 * j) & 15) - 8) * x[k].float()
    return y
"""),
    Mutant("08.4", "the partial sums overwritten", edits=(("partials.sum(0)", "partials[splits - 1]"),)),
    Mutant("08.4", "the group number restarts in every slice",
            edits=(("scale[:, i * groups : (i + 1) * groups]", "scale[:, :groups]"),)),
    Mutant("08.4", "every slice meets the beginning of x", edits=(("x[i * K : (i + 1) * K]", "x[:K]"),)),
    Mutant("08.4", "the mean of the partials", edits=(("partials.sum(0)", "partials.mean(0)"),)),
    Mutant("08.4", "the groups dealt out like cards", code="""
def split_k(x, words, scale, group_size, splits):
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).float().flatten(1) - 8
    group = torch.arange(len(x)) // group_size
    W = codes * scale[:, group]
    partials = torch.stack([W[:, group % splits == i] @ x[group % splits == i] for i in range(splits)])
    return partials, partials.sum(0)
"""),
    Mutant("08.4", "each partial contains the ones before it", code="""
def split_k(x, words, scale, group_size, splits):
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).float().flatten(1) - 8
    W, step, acc, partials = codes * scale.repeat_interleave(group_size, 1), len(x) // splits, torch.zeros(len(words)), []
    for k in range(0, len(x), step):
        acc = acc + W[:, k : k + step] @ x[k : k + step]
        partials.append(acc)
    return torch.stack(partials), acc
"""),
    Mutant("08.5", "added instead of overlapped", edits=(
        ('max(bf16 / machine["read"], arithmetic)', 'bf16 / machine["read"] + arithmetic'),
        ('max(int4 / machine["read"], arithmetic + unpacking)', 'int4 / machine["read"] + arithmetic + unpacking'))),
    Mutant("08.5", "unpacking is free", edits=(("arithmetic + unpacking", "arithmetic"),)),
    Mutant("08.5", "unpacked once for all tokens", edits=(('math.ceil(M / machine["tile"]) * N', "N"),)),
    Mutant("08.5", "parts of a tile counted as parts", edits=(('math.ceil(M / machine["tile"])', 'M / machine["tile"]'),)),
    Mutant("08.5", "parts of a tile counted as parts", edits=(('math.ceil(M / machine["tile"])', 'M // machine["tile"]'),)),
    Mutant("08.5", "the scales not read", edits=((" + 2 * N * K / group_size", ""),)),
    Mutant("08.5", "one operation for a multiply-add", edits=(("2 * M * N * K", "M * N * K"),)),
    Mutant("08.5", "the activations not counted", edits=(("2 * M * (K + N)", "0"),)),
    Mutant("08.5", "the weights read again for every token", edits=(
        ("2 * N * K + activations", "M * 2 * N * K + activations"),
        ("N * K / 2 + 2 * N * K / group_size", "M * (N * K / 2 + 2 * N * K / group_size)"))),
    Mutant("08.6", "the last M that is won", edits=(("return M", "return M - 1"),)),
    Mutant("08.6", "only powers of two tried", code="""
def kernel_seconds(M, N, K, group_size, machine):
    passes = -(-M // machine["tile"])
    flops, x = 2 * M * N * K / machine["flops"], 2 * M * (N + K)
    sixteen, four = 2 * N * K + x, N * K * (0.5 + 2 / group_size) + x
    return max(sixteen / machine["read"], flops), max(four / machine["read"], flops + passes * N * K / machine["unpack"])

def cross_over(N, K, group_size, machine, most):
    M = 1
    while M <= most:
        bf16, int4 = kernel_seconds(M, N, K, group_size, machine)
        if int4 >= bf16:
            return M
        M *= 2
"""),
    Mutant("08.6", "the other way round", edits=(("int4 >= bf16", "int4 <= bf16"),)),
    Mutant("08.6", "most itself not tried", edits=(("most + 1", "most"),)),
    Mutant("08.6", "one token not tried", edits=(("range(1, ", "range(2, "),)),
    Mutant("08.6", "most instead of None", edits=(("return None", "return most"),)),
    Mutant("08.6", "most instead of None", edits=(("return None", "return -1"),)),
]  # fmt: skip

ALTERNATIVES = [
    Alternative("08.1", "numpy, unsigned", code="""
def unpack_words(words):
    w = words.numpy().astype(np.uint32)[..., None]
    return ((w >> np.arange(0, 32, 4, dtype=np.uint32)) & np.uint32(15)).astype(np.int32)
"""),
    Alternative("08.1", "bytes first", code="""
def unpack_words(words):
    b = words.contiguous().view(torch.uint8).view(*words.shape, 4)
    return torch.stack((b & 15, b >> 4), dim=-1).flatten(-2).int()
"""),
    Alternative("08.2", "Python numbers only", code="""
def gemv_naive(x, words, scale, group_size):
    return torch.tensor([
        sum(s[k // group_size] * ((row[k // 8] >> 4 * (k % 8) & 15) - 8) * v for k, v in enumerate(x.tolist()))
        for row, s in zip(words.tolist(), scale.tolist())
    ])
"""),
    Alternative("08.3", "decode, then multiply", code="""
def gemv_int4(x, words, scale, group_size):
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).flatten(1)
    return ((codes.float() - 8) * scale.repeat_interleave(group_size, dim=1)) @ x.float()
"""),
    Alternative("08.3", "numpy", code="""
def gemv_int4(x, words, scale, group_size):
    w, x = words.numpy(), x.float().numpy()
    codes = ((w[..., None] >> np.arange(0, 32, 4, dtype=np.int32)) & 15).astype(np.float32) - 8
    per_group = (codes.reshape(len(w), -1, group_size) * x.reshape(-1, group_size)).sum(axis=2)
    return (per_group * scale.numpy()).sum(axis=1)
"""),
    Alternative("08.3", "numba", code="""
import numba

@numba.njit(fastmath=True)
def loops(x, words, scale, group_size):
    y = np.zeros(len(words), dtype=np.float32)
    for n in range(len(words)):
        for g in range(scale.shape[1]):
            part = np.float32(0)
            for w in range(g * group_size // 8, (g + 1) * group_size // 8):
                for j in range(8):
                    part += np.float32(((words[n, w] >> 4 * j) & 15) - 8) * x[8 * w + j]
            y[n] += part * scale[n, g]
    return y

def gemv_int4(x, words, scale, group_size):
    return torch.from_numpy(loops(x.float().numpy(), words.numpy(), scale.numpy(), group_size))
"""),
    Alternative("08.4", "one product a group, then added", code="""
def split_k(x, words, scale, group_size, splits):
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).float().flatten(1) - 8
    products = (codes * x.float()).view(len(words), -1, group_size).sum(2) * scale
    partials = products.view(len(words), splits, -1).sum(2).T
    return partials.contiguous(), products.sum(1)
"""),
    Alternative("08.5", "bits instead of bytes", code="""
def kernel_seconds(M, N, K, group_size, machine):
    passes = (M + machine["tile"] - 1) // machine["tile"]
    times = []
    for bits, unpacked in ((16, 0), (4 + 16 / group_size, passes)):
        memory = (N * K * bits + 16 * M * (N + K)) / 8 / machine["read"]
        compute = N * K * (2 * M / machine["flops"] + unpacked / machine["unpack"])
        times.append(memory if memory > compute else compute)
    return times
"""),
    Alternative("08.6", "all at once", code="""
def cross_over(N, K, group_size, machine, most):
    M = np.arange(1, most + 1)
    flops, x = 2.0 * M * N * K / machine["flops"], 2.0 * M * (N + K)
    bf16 = np.maximum((2 * N * K + x) / machine["read"], flops)
    unpacking = np.ceil(M / machine["tile"]) * N * K / machine["unpack"]
    int4 = np.maximum((N * K * (0.5 + 2 / group_size) + x) / machine["read"], flops + unpacking)
    lost = np.nonzero(int4 >= bf16)[0]
    return int(lost[0]) + 1 if len(lost) else None
"""),
]  # fmt: skip
