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
    Mutant("08.3", "one scale for the whole row",
            edits=(("(per_group * scale).sum(1)", "per_group.sum(1) * scale[:, 0]"),)),
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
    x = x.float()
    partials = torch.stack([W[:, group % splits == i] @ x[group % splits == i] for i in range(splits)])
    return partials, partials.sum(0)
"""),
    Mutant("08.4", "each partial contains the ones before it", code="""
def split_k(x, words, scale, group_size, splits):
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).float().flatten(1) - 8
    W, step, acc, partials = codes * scale.repeat_interleave(group_size, 1), len(x) // splits, torch.zeros(len(words)), []
    for k in range(0, len(x), step):
        acc = acc + W[:, k : k + step] @ x[k : k + step].float()
        partials.append(acc)
    return torch.stack(partials), acc
"""),
    Mutant("08.5", "added instead of overlapped", edits=(
        ('max(bf16 / machine["read"], arithmetic)', 'bf16 / machine["read"] + arithmetic'),
        ('max(int4 / machine["read"], arithmetic + unpacking)', 'int4 / machine["read"] + arithmetic + unpacking'))),
    Mutant("08.5", "unpacking is free", edits=(("arithmetic + unpacking", "arithmetic"),)),
    Mutant("08.5", "unpacked once for all tokens", edits=(('math.ceil(M / machine["tile"]) * N', "N"),)),
    Mutant("08.5", "parts of a tile counted as parts",
            edits=(('math.ceil(M / machine["tile"])', 'M / machine["tile"]'),)),
    Mutant("08.5", "parts of a tile counted as parts",
            edits=(('math.ceil(M / machine["tile"])', 'M // machine["tile"]'),)),
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
    Mutant("08.1", "the bytes from the top", code="""
def unpack_words(words):
    b = words.contiguous().view(torch.uint8).view(*words.shape, 4).flip(-1)
    return torch.stack((b & 15, b >> 4), dim=-1).flatten(-2).int()
"""),
    Mutant("08.1", "the sign thrown away", code="""
def unpack_words(words):
    w = words.abs()
    return torch.stack([(w >> 4 * j) & 15 for j in range(8)], dim=-1)
"""),
    Mutant("08.1", "the sign thrown away", code="""
def unpack_words(words):
    w = words & 0x7FFFFFFF
    return torch.stack([(w >> 4 * j) & 15 for j in range(8)], dim=-1)
"""),
    Mutant("08.2", "summed in low precision", code="""
def gemv_naive(x, words, scale, group_size):
    y = torch.zeros(len(words), dtype=x.dtype)
    codes = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).flatten(1)
    for n in range(len(words)):
        W = (codes[n] - 8).float() * scale[n].repeat_interleave(group_size)
        y[n] = (W * x.float()).sum()
    return y
"""),
    Mutant("08.3", "the 8 taken off after the scale", code="""
def gemv_int4(x, words, scale, group_size):
    x = x.float()
    q = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).reshape(len(words), -1, group_size)
    y = ((q.float() * x.view(-1, group_size)).sum(2) * scale).sum(1)
    return y - 8 * x.sum()
"""),
    Mutant("08.5", "y not counted", edits=(('2 * M * (K + N)', '2 * M * K'),)),
    Mutant("08.5", "x not counted", edits=(('2 * M * (K + N)', '2 * M * N'),)),
    Mutant("08.5", "scales of four bytes", edits=(('2 * N * K / group_size', '4 * N * K / group_size'),)),
    Mutant("08.5", "one byte a number of x and y", edits=(('2 * M * (K + N)', 'M * (K + N)'),)),
    Mutant("08.5", "y not counted", code="""
def kernel_seconds(M, N, K, group_size, machine):
    memory16 = (N * K * 2 + M * K * 2) / machine['read']
    memory4 = (N * K // 2 + N * (K // group_size) * 2 + M * K * 2) / machine['read']
    flops = 2 * M * N * K / machine['flops']
    tiles = -(-M // machine['tile'])
    return max(memory16, flops), max(memory4, flops + tiles * N * K / machine['unpack'])
"""),
    Mutant("08.5", "parts of a tile counted as parts",
            edits=(('math.ceil(M / machine["tile"])', '(M // machine["tile"] + 1)'),)),
    Mutant("08.6", "equal counted as faster", edits=(('int4 >= bf16', 'int4 > bf16'),)),
    Mutant("08.6", "most instead of None", edits=(('return None', 'return 0'),)),
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
    Alternative("08.1", "pure Python", code="""
def unpack_words(words):
    flat = [[(w >> 4 * j) & 15 for j in range(8)] for w in words.reshape(-1).tolist()]
    return torch.tensor(flat, dtype=torch.int32).reshape(*words.shape, 8)
"""),
    Alternative("08.1", "division in int64", code="""
def unpack_words(words):
    w = words.long() % 2**32
    return torch.stack([w // 16**j % 16 for j in range(8)], dim=-1).to(torch.int32)
"""),
    Alternative("08.2", "numpy, fp64", code="""
def gemv_naive(x, words, scale, group_size):
    w = words.numpy().astype(np.uint32)
    q = np.stack([w >> np.uint32(4 * j) & np.uint32(15) for j in range(8)], axis=2).reshape(len(w), -1).astype(np.float64)
    return ((q - 8) * scale.numpy().repeat(group_size, axis=1)) @ x.double().numpy()
"""),
    Alternative("08.2", "torch, a row at a time", code="""
def gemv_naive(x, words, scale, group_size):
    rows = []
    for row, s in zip(words, scale):
        q = ((row[:, None] >> torch.arange(0, 32, 4)) & 15).reshape(-1, group_size).float()
        rows.append(((q - 8) * s[:, None] * x.float().view(-1, group_size)).sum())
    return torch.stack(rows)
"""),
    Alternative("08.2", "fp32 numbers one after the other, the 8 drawn out", code="""
def gemv_naive(x, words, scale, group_size):
    x, y = x.float().numpy(), np.zeros(len(words), dtype=np.float32)
    for n in range(len(words)):
        for g in range(len(x) // group_size):
            part, plain = np.float32(0), np.float32(0)
            for k in range(g * group_size, (g + 1) * group_size):
                part += np.float32((int(words[n, k // 8]) >> 4 * (k % 8)) & 15) * x[k]
                plain += x[k]
            y[n] += scale[n, g].item() * (part - np.float32(8) * plain)
    return y
"""),
    Alternative("08.3", "a row at a time", code="""
def gemv_int4(x, words, scale, group_size):
    x, y = x.float(), torch.empty(len(words))
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    for n in range(len(words)):
        q = ((words[n, :, None] >> shifts) & 15).view(-1, group_size).float() - 8
        y[n] = (q @ x.view(-1, group_size).T).diagonal() @ scale[n]
    return y
"""),
    Alternative("08.4", "numpy, fp64", code="""
def split_k(x, words, scale, group_size, splits):
    w = words.numpy().astype(np.uint32)
    q = np.stack([w >> np.uint32(4 * j) & np.uint32(15) for j in range(8)], axis=2)
    q = q.reshape(len(w), -1).astype(np.float64) - 8
    y = q * scale.numpy().repeat(group_size, axis=1) * x.double().numpy()
    partials = y.reshape(len(w), splits, -1).sum(axis=2).T
    return partials, partials.sum(axis=0)
"""),
    Alternative("08.4", "pure Python", code="""
def split_k(x, words, scale, group_size, splits):
    x, s, K = x.tolist(), scale.tolist(), len(x) // splits
    partials = [[0.0] * len(words) for _ in range(splits)]
    for n, row in enumerate(words.tolist()):
        for k, v in enumerate(x):
            partials[k // K][n] += s[n][k // group_size] * ((row[k // 8] >> 4 * (k % 8) & 15) - 8) * v
    return torch.tensor(partials), torch.tensor(partials).sum(0)
"""),
    Alternative("08.4", "a batch of matrices", code="""
def split_k(x, words, scale, group_size, splits):
    q = torch.stack([(words >> 4 * j) & 15 for j in range(8)], dim=2).flatten(1).float() - 8
    W = (q * scale.repeat_interleave(group_size, 1)).view(len(words), splits, -1).transpose(0, 1)
    partials = torch.bmm(W, x.float().view(splits, -1, 1)).squeeze(2)
    return partials, torch.einsum('sn->n', partials)
"""),
    Alternative("08.5", "numpy", code="""
def kernel_seconds(M, N, K, group_size, machine):
    traffic = 2.0 * M * (N + K)
    size = np.array([2.0 * N * K, N * K / 2 + N * (K // group_size) * 2]) + traffic
    work = 2.0 * M * N * K / machine['flops'] + np.array([0.0, np.ceil(M / machine['tile']) * N * K / machine['unpack']])
    return tuple(np.maximum(size / machine['read'], work))
"""),
    Alternative("08.5", "torch", code="""
def kernel_seconds(M, N, K, group_size, machine):
    size = torch.tensor([2.0, 0.5 + 2 / group_size], dtype=torch.float64) * N * K + 2 * M * (N + K)
    passes = (M - 1) // machine['tile'] + 1
    work = 2 * M * N * K / machine['flops'] + torch.tensor([0, passes], dtype=torch.float64) * N * K / machine['unpack']
    return tuple(torch.maximum(size / machine['read'], work).tolist())
"""),
    Alternative("08.5", "seconds a weight, then times N·K", code="""
def kernel_seconds(M, N, K, group_size, machine):
    x_and_y, work = 2 * M / N + 2 * M / K, 2 * M / machine['flops']
    t16 = max((2 + x_and_y) / machine['read'], work)
    t4 = max((0.5 + 2 / group_size + x_and_y) / machine['read'], work + -(-M // machine['tile']) / machine['unpack'])
    return N * K * t16, N * K * t4
"""),
    Alternative("08.6", "a generator, differences", code="""
def kernel_seconds(M, N, K, group_size, machine):
    passes = -(-M // machine["tile"])
    flops, x = 2 * M * N * K / machine["flops"], 2 * M * (N + K)
    sixteen, four = 2 * N * K + x, N * K * (0.5 + 2 / group_size) + x
    return max(sixteen / machine["read"], flops), max(four / machine["read"], flops + passes * N * K / machine["unpack"])

def cross_over(N, K, group_size, machine, most):
    def won(M):
        bf16, int4 = kernel_seconds(M, N, K, group_size, machine)
        return bf16 - int4 > 0
    return next((M for M in range(1, most + 1) if not won(M)), None)
"""),
    Alternative("08.6", "bisection", code="""
def kernel_seconds(M, N, K, group_size, machine):
    passes = -(-M // machine["tile"])
    flops, x = 2 * M * N * K / machine["flops"], 2 * M * (N + K)
    sixteen, four = 2 * N * K + x, N * K * (0.5 + 2 / group_size) + x
    return max(sixteen / machine["read"], flops), max(four / machine["read"], flops + passes * N * K / machine["unpack"])

def cross_over(N, K, group_size, machine, most):
    def lost(M):
        bf16, int4 = kernel_seconds(M, N, K, group_size, machine)
        return int4 >= bf16
    if not lost(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) else (middle, high)
    return high
"""),
    Alternative("08.6", "torch, all at once", code="""
def cross_over(N, K, group_size, machine, most):
    M = torch.arange(1, most + 1, dtype=torch.float64)
    work, x = 2 * M * N * K / machine['flops'], 2 * M * (N + K)
    bf16 = torch.maximum((2 * N * K + x) / machine['read'], work)
    unpacking = torch.ceil(M / machine['tile']) * N * K / machine['unpack']
    int4 = torch.maximum((N * K * (0.5 + 2 / group_size) + x) / machine['read'], work + unpacking)
    lost = torch.nonzero(int4 >= bf16)
    return int(lost[0]) + 1 if len(lost) else None
"""),
]  # fmt: skip
