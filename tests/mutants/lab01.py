"""Lab 01, answered wrongly (as it really happens) and answered otherwise."""

from tools.mutants import Alternative, Mutant

GUARD = "    scale = torch.where(scale == 0, 1.0, scale)\n"
ABSMAX = "W.abs().amax(dim=1, keepdim=True)"

MUTANTS = [
    # 01.1
    Mutant("01.1", "max instead of absmax", (("W.abs().amax", "W.amax"),)),
    Mutant(
        "01.1",
        "max instead of absmax",
        code="""
def quantize_per_channel(W, clip=1.0):
    w = W.float().numpy()
    s = clip * np.max(w, axis=1, keepdims=True) / 127
    s[s == 0] = 1
    return np.clip(np.rint(w / s), -127, 127).astype(np.int8), s
""",
    ),
    Mutant("01.1", "128 steps instead of 127", (("/ 127", "/ 128"),)),
    Mutant("01.1", "128 steps instead of 127", (("/ 127", "/ 128"), ("clamp(-127, 127)", "clamp(-128, 127)"))),
    Mutant("01.1", "one scale for the whole tensor", ((ABSMAX, "W.abs().max() * torch.ones(len(W), 1)"),)),
    Mutant("01.1", "one scale for the whole tensor", ((ABSMAX, "W.abs().max()"),)),
    Mutant("01.1", "a scale for each column (along K)", (("dim=1", "dim=0"),)),
    Mutant("01.1", "truncated instead of rounded", (("torch.round(W / scale)", "(W / scale)"),)),
    Mutant("01.1", "truncated instead of rounded", (("torch.round(W / scale)", "torch.floor(W / scale)"),)),
    Mutant("01.1", "codes outside the grid wrap around", ((".clamp(-127, 127)", ""),)),
    Mutant(
        "01.1",
        "codes outside the grid wrap around",
        ((".clamp(-127, 127).to(torch.int8)", ".to(torch.int8).clamp(-127, 127)"),),
    ),
    Mutant(
        "01.1",
        "codes outside the grid wrap around",
        code="""
def quantize_per_channel(W, clip=1.0):
    w = W.float().numpy()
    s = clip * np.abs(w).max(axis=1, keepdims=True) / 127
    s = np.where(s == 0, 1, s).astype(np.float32)
    return np.round(w / s).astype(np.int32).astype(np.int8), s
""",
    ),
    Mutant("01.1", "no guard for a row of zeros", ((GUARD, ""),)),
    Mutant(
        "01.1", "computed in 16 bits", (("    W = W.float()\n", ""), ("return codes, scale", "return codes, scale.float()"))
    ),
    Mutant("01.1", "computed in 16 bits", (("    W = W.float()\n", ""), ("W / scale", "W.float() / scale.float()"))),
    Mutant("01.1", "codes kept as floats", ((".to(torch.int8)", ""),)),
    Mutant("01.1", "the reciprocal as scale", (("return codes, scale", "return codes, 1 / scale"),)),
    # 01.2
    Mutant("01.2", "divided instead of multiplied", ((" * ", " / "),)),
    Mutant("01.2", "the scale runs along K", (("scale.float()", "scale.float().T"),)),
    Mutant("01.2", "the scale runs along K", (("scale.float()", "scale.float().squeeze()"),)),
    Mutant("01.2", "the scale forgotten", ((" * scale.float()", ""),)),
    Mutant("01.2", "multiplied in 16 bits", (("codes.float() * scale.float()", "codes * scale"),)),
    Mutant("01.2", "multiplied in 16 bits", (("codes.float() * scale.float()", "(codes * scale).float()"),)),
    # 01.3
    Mutant("01.3", "a scale for each token", (("scale.T", "scale"),)),
    Mutant("01.3", "a scale for each token", (("codes.float().T) * scale.T", "(codes.float() * scale.T).T)"),)),
    Mutant("01.3", "the scale forgotten", ((" * scale.T", ""),)),
    Mutant(
        "01.3",
        "the bias scaled too",
        code="""
def quant_linear(x, codes, scale, bias=None):
    b = 0 if bias is None else bias
    return torch.nn.functional.linear(x.float(), codes.float(), None if bias is None else b) * scale.flatten()
""",
    ),
    Mutant("01.3", "divided by the scale", (("* scale.T", "/ scale.T"),)),
    Mutant("01.3", "the bias forgotten", (("return y if bias is None else y + bias", "return y"),)),
    # 01.4
    Mutant("01.4", "the scales not counted", ((" + scales * scale_bits // 8", ""),)),
    Mutant("01.4", "one byte a code, whatever its bits", (("(N * K * num_bits + 7) // 8", "N * K"),)),
    Mutant("01.4", "bits taken for bytes", (("scale_bits // 8", "scale_bits"),)),
    Mutant(
        "01.4",
        "bits taken for bytes",
        (("(N * K * num_bits + 7) // 8", "N * K * num_bits"), ("scale_bits // 8", "scale_bits")),
    ),
    Mutant("01.4", "the groups of one row only", (("N * K // group_size", "K // group_size"),)),
    Mutant("01.4", "one scale a row, even in groups", (("N if group_size is None else N * K // group_size", "N"),)),
    Mutant("01.4", "rounded down to whole bytes", ((" + 7", ""),)),
    Mutant("01.4", "scales always in 16 bits", (("scale_bits // 8", "2"),)),
    Mutant("01.4", "scales always in 16 bits", (("scale_bits // 8", "4"),)),
    # 01.5
    Mutant("01.5", "the range does not contain 0", ((".clamp(max=0)", ""), (".clamp(min=0)", ""))),
    Mutant("01.5", "2^B steps instead of 2^B - 1", (("(high - low) / top", "(high - low) / 2**num_bits"),)),
    Mutant("01.5", "the sign of the zero point", (("torch.round(-low / scale)", "torch.round(low / scale)"),)),
    Mutant(
        "01.5",
        "clamped before the zero point is added",
        (("(torch.round(x / scale) + zero_point).clamp(0, top)", "torch.round(x / scale).clamp(0, top) + zero_point"),),
    ),
    Mutant("01.5", "one rounding for both", (("torch.round(x / scale) + zero_point", "torch.round((x - low) / scale)"),)),
    Mutant(
        "01.5",
        "a symmetric range after all",
        (
            (
                "    scale = (high - low) / top\n",
                "    high = torch.maximum(high, -low)\n    low = -high\n    scale = 2 * high / top\n",
            ),
        ),
    ),
    Mutant("01.5", "no guard for a row of zeros", ((GUARD, ""),)),
    Mutant("01.5", "truncated instead of rounded", (("torch.round(x / scale) +", "torch.trunc(x / scale) +"),)),
    # 01.6
    Mutant("01.6", "no search: always absmax", (("    for fraction in fractions:", "    for fraction in [1.0]:"),)),
    Mutant(
        "01.6",
        "one fraction for all rows",
        ((".sum(dim=1, keepdim=True)", ".sum()"), ("torch.full_like(absmax, torch.inf)", "torch.tensor(torch.inf)")),
    ),
    Mutant("01.6", "no clamp in the trial", ((".clamp(-limit, limit)", ""),)),
    Mutant("01.6", "the error counted in steps", (("(stored - W).square()", "((stored - W) / scale).square()"),)),
    Mutant(
        "01.6",
        "the error counted in steps",
        code="""
def mse_scale(W, num_bits, fractions):
    w, top = W.numpy(), 2 ** (num_bits - 1) - 1
    out = np.ones((len(w), 1), dtype=np.float32)
    for n, row in enumerate(w):
        if not row.any():
            continue
        def loss(s):
            return np.mean((np.clip(np.rint(row / s), -top, top) - row / s) ** 2)
        out[n, 0] = min((np.abs(row).max() * f / top for f in fractions), key=loss)
    return out
""",
    ),
    Mutant("01.6", "absolute error instead of squared", ((".square()", ".abs()"),)),
    Mutant("01.6", "the fraction instead of the scale", (("error < least, scale, best", "error < least, fraction, best"),)),
    Mutant("01.6", "no guard for a row of zeros", (("    absmax = torch.where(absmax == 0, 1.0, absmax)\n", ""),)),
    Mutant(
        "01.6",
        "no guard for a row of zeros",
        code="""
def mse_scale(W, num_bits, fractions):
    top = 2 ** (num_bits - 1) - 1
    s = W.abs().amax(1, keepdim=True) * torch.tensor(fractions) / top
    w = W.unsqueeze(1)
    e = (((w / s.unsqueeze(-1)).round().clamp(-top, top) * s.unsqueeze(-1) - w) ** 2).mean(-1)
    return s.gather(1, e.argmin(1, keepdim=True))
""",
    ),
    # seen from learners
    Mutant("01.1", "clip unused", (("clip * W.abs()", "W.abs()"),)),
    Mutant(
        "01.1",
        "clip unused",
        code="""
def quantize_per_channel(W, clip=1.0):
    s = [max(abs(v) for v in row) / 127 or 1.0 for row in W.tolist()]
    q = [[max(-127, min(127, round(v / t))) for v in row] for row, t in zip(W.tolist(), s)]
    return torch.tensor(q, dtype=torch.int8), torch.tensor(s).view(-1, 1)
""",
    ),
    Mutant("01.1", "0.5 added, then cut off", (("torch.round(W / scale)", "(W / scale + 0.5).int()"),)),
    Mutant(
        "01.1",
        "0.5 added, then cut off",
        code="""
def quantize_per_channel(W, clip=1.0):
    codes, scales = [], []
    for row in W.tolist():
        s = clip * max(map(abs, row)) / 127
        s = s if s else 1.0
        codes.append([max(-127, min(127, int(v / s + 0.5))) for v in row])
        scales.append([s])
    return torch.tensor(codes).to(torch.int8), torch.tensor(scales)
""",
    ),
    Mutant("01.1", "the code -128 used", (("clamp(-127, 127)", "clamp(-128, 127)"),)),
    Mutant("01.1", None, (("clip * W.abs()", "W.abs().clamp(max=clip)"),)),
    Mutant("01.3", "the product not transposed", (("codes.float().T", "codes.float()"),), outcome="wrong"),
    Mutant(
        "01.3",
        "the product not transposed",
        code="""
def quant_linear(x, codes, scale, bias=None):
    y = np.matmul(x.float().numpy(), (codes.float() * scale).numpy())
    return y if bias is None else y + bias.numpy()
""",
    ),
    Mutant(
        "01.3", "y lies on its side", (("(x.float() @ codes.float().T) * scale.T", "(codes.float() @ x.float().T) * scale"),)
    ),
    Mutant(
        "01.3",
        "y lies on its side",
        code="""
def quant_linear(x, codes, scale, bias=None):
    y = (codes.float() * scale) @ x.float().T
    return y if bias is None else y + bias[:, None]
""",
    ),
    Mutant("01.3", "multiplied in 16 bits", (("x.float() @ codes.float().T", "x @ codes.to(x.dtype).T"),)),
    Mutant(
        "01.3",
        "multiplied in 16 bits",
        code="""
def quant_linear(x, codes, scale, bias=None):
    W = (codes.float() * scale).to(x.dtype)
    y = torch.nn.functional.linear(x, W).float()
    return y if bias is None else y + bias
""",
    ),
    Mutant("01.3", None, (("x.float() @ codes.float().T", "x @ codes.T"),), outcome="raised"),  # dtypes that do not fit
    Mutant("01.3", None, (("x.float() @ codes.float().T", "x @ codes.float().T"),), outcome="raised"),  # in bfloat16 only
    Mutant("01.4", "every row begins a new byte", (("(N * K * num_bits + 7) // 8", "N * ((K * num_bits + 7) // 8)"),)),
    Mutant(
        "01.4",
        "every row begins a new byte",
        code="""
def memory_bytes(N, K, num_bits=8, group_size=None, scale_bits=16):
    per_row = math.ceil(K * num_bits / 8) + (1 if group_size is None else K // group_size) * scale_bits // 8
    return N * per_row
""",
    ),
    Mutant("01.5", "no clamp", ((".clamp(0, top)", ""),)),
    Mutant(
        "01.5",
        "no clamp",
        code="""
def quantize_asymmetric(x, num_bits=8):
    a = x.numpy()
    low, high = np.minimum(a.min(1, keepdims=True), 0), np.maximum(a.max(1, keepdims=True), 0)
    s = (high - low) / (2**num_bits - 1)
    s[s == 0] = 1
    z = np.rint(-low / s)
    return (np.rint(a / s) + z).astype(np.int64).astype(np.uint8), s, z.astype(np.uint8)
""",
    ),
    Mutant(
        "01.5",
        "one range for the whole tensor",
        (
            ("x.amin(dim=1, keepdim=True)", "x.min().expand(len(x), 1)"),
            ("x.amax(dim=1, keepdim=True)", "x.max().expand(len(x), 1)"),
        ),
    ),
    Mutant(
        "01.5",
        "one range for the whole tensor",
        (("x.amin(dim=1, keepdim=True)", "x.min()"), ("x.amax(dim=1, keepdim=True)", "x.max()")),
    ),
    Mutant("01.5", "a range for each column", (("amin(dim=1", "amin(dim=0"), ("amax(dim=1", "amax(dim=0"))),
    Mutant("01.5", None, (("top = 2**num_bits - 1", "top = 255"),)),
    Mutant("01.6", "the last fraction never tried", (("in fractions:", "in fractions[:-1]:"),)),
    Mutant(
        "01.6",
        "the last fraction never tried",
        code="""
def mse_scale(W, num_bits, fractions):
    top = 2 ** (num_bits - 1) - 1
    reach = W.abs().amax(1, keepdim=True)
    reach[reach == 0] = 1
    def error(f):
        s = reach * f / top
        return ((s * (W / s).round().clamp(-top, top) - W) ** 2).sum(1, keepdim=True)
    best, least, i = reach / top, error(1.0), 1
    while i < len(fractions) - 1:
        e = error(fractions[i])
        best = torch.where(e < least, reach * fractions[i] / top, best)
        least = torch.minimum(least, e)
        i += 1
    return best
""",
    ),
    Mutant("01.6", "the first fraction never tried", (("in fractions:", "in fractions[1:]:"),)),
    Mutant(
        "01.6", "2^(B-1) steps instead of 2^(B-1) - 1", (("limit = 2 ** (num_bits - 1) - 1", "limit = 2 ** (num_bits - 1)"),)
    ),
    Mutant(
        "01.6",
        "2^(B-1) steps instead of 2^(B-1) - 1",
        (
            ("limit = 2 ** (num_bits - 1) - 1", "limit = 2 ** (num_bits - 1)"),
            ("clamp(-limit, limit)", "clamp(-limit, limit - 1)"),
        ),
    ),
    Mutant("01.6", "one code more below zero", (("clamp(-limit, limit)", "clamp(-limit - 1, limit)"),)),
    Mutant("01.6", None, (("        least = torch.minimum(error, least)\n", ""),)),
    Mutant("01.6", None, (("2 ** (num_bits - 1) - 1", "7"),)),
]

ALTERNATIVES = [
    Alternative(
        "01.1",
        "numpy, ties away from zero",
        code="""
def quantize_per_channel(W, clip=1.0):
    w = W.float().numpy()
    s = clip * np.abs(w).max(axis=1, keepdims=True) / np.float32(127)
    s = np.where(s > 0, s, 1).astype(np.float32)
    x = w / s
    q = np.sign(x) * np.floor(np.abs(x) + 0.5)
    return np.clip(q, -127, 127).astype(np.int8), s
""",
    ),
    Alternative(
        "01.1",
        "multiplies with the reciprocal; float64 scale; tiny scale for zeros",
        code="""
def quantize_per_channel(W, clip=1.0):
    s = (W.double().abs().amax(1, keepdim=True) * clip / 127).clamp(min=1e-30)
    return torch.round(W.double() * (1 / s)).clamp(-127, 127).to(torch.int8), s
""",
    ),
    Alternative(
        "01.1",
        "a loop over rows, clipping the weights first",
        code="""
def quantize_per_channel(W, clip=1.0):
    W, codes, scales = W.float(), [], []
    for row in W:
        end = clip * float(row.abs().max())
        s = end / 127 if end else 1.0
        codes.append((row.clamp(-end, end) / s).round().to(torch.int8))
        scales.append([s])
    return torch.stack(codes), torch.tensor(scales)
""",
    ),
    Alternative("01.2", "numpy", code="def dequantize(codes, scale):\n    return codes.numpy() * scale.float().numpy()\n"),
    Alternative("01.2", "float64", (("codes.float() * scale.float()", "codes.double() * scale.double()"),)),
    Alternative(
        "01.3",
        "dequantizes first",
        code="""
def quant_linear(x, codes, scale, bias=None):
    return torch.nn.functional.linear(x.float(), codes.float() * scale, bias)
""",
    ),
    Alternative(
        "01.3",
        "numpy, einsum",
        code="""
def quant_linear(x, codes, scale, bias=None):
    y = np.einsum("mk,nk->mn", x.float().numpy(), codes.numpy().astype(np.float32)) * scale.numpy().ravel()
    return y if bias is None else y + bias.numpy()
""",
    ),
    Alternative(
        "01.4",
        "bits first, and a float that is whole",
        code="""
def memory_bytes(N, K, num_bits=8, group_size=None, scale_bits=16):
    groups = K / (group_size or K)
    return math.ceil(N * K * num_bits / 8) + N * groups * scale_bits / 8
""",
    ),
    Alternative(
        "01.5",
        "numpy",
        code="""
def quantize_asymmetric(x, num_bits=8):
    a, top = x.numpy(), 2**num_bits - 1
    low, high = np.minimum(a.min(1, keepdims=True), 0), np.maximum(a.max(1, keepdims=True), 0)
    s = np.where(high > low, (high - low) / top, 1).astype(np.float32)
    z = np.rint(-low / s)
    return np.clip(np.rint(a / s) + z, 0, top).astype(np.uint8), s, z.astype(np.uint8)
""",
    ),
    Alternative(
        "01.6",
        "all candidates at once; mean instead of sum",
        code="""
def mse_scale(W, num_bits, fractions):
    top = 2 ** (num_bits - 1) - 1
    reach = W.abs().amax(1, keepdim=True)
    s = torch.where(reach > 0, reach, 1) * torch.tensor(fractions) / top
    w = W.unsqueeze(1)
    e = (((w / s.unsqueeze(-1)).round().clamp(-top, top) * s.unsqueeze(-1) - w) ** 2).mean(-1)
    return s.gather(1, e.argmin(1, keepdim=True))
""",
    ),
    Alternative(
        "01.6",
        "numpy, from the shortest range up",
        code="""
def mse_scale(W, num_bits, fractions):
    w, top = W.numpy().astype(np.float64), 2 ** (num_bits - 1) - 1
    out = []
    for row in w:
        reach = np.abs(row).max() or 1.0
        def loss(s):
            return ((s * np.clip(np.rint(row / s), -top, top) - row) ** 2).sum()
        out.append([min((reach * f / top for f in reversed(fractions)), key=loss)])
    return np.array(out)
""",
    ),
    Alternative(
        "01.1",
        "pure Python",
        code="""
def quantize_per_channel(W, clip=1.0):
    codes, scales = [], []
    for row in W.tolist():
        s = clip * max(map(abs, row)) / 127 or 1.0
        codes.append([max(-127, min(127, round(v / s))) for v in row])
        scales.append([s])
    return torch.tensor(codes, dtype=torch.int8), torch.tensor(scales, dtype=torch.float32)
""",
    ),
    Alternative(
        "01.1",
        "pure Python, ties away from zero",
        code="""
def quantize_per_channel(W, clip=1.0):
    codes, scales = [], []
    for row in W.float().tolist():
        s = clip * max(abs(v) for v in row) / 127
        s = s if s > 0 else 0.5
        q = [math.floor(abs(v) / s + 0.5) * (1 if v > 0 else -1) for v in row]
        codes.append([max(-127, min(127, c)) for c in q])
        scales.append([s])
    return np.array(codes, dtype=np.int8), np.array(scales)
""",
    ),
    Alternative(
        "01.1", "ties towards zero", (("torch.round(W / scale)", "((W / scale).sign() * ((W / scale).abs() - 0.5).ceil())"),)
    ),
    Alternative(
        "01.2",
        "pure Python",
        code="""
def dequantize(codes, scale):
    s = scale.flatten().tolist() * (len(codes) if scale.numel() == 1 else 1)
    return torch.tensor([[q * t for q in row] for row, t in zip(codes.tolist(), s)])
""",
    ),
    Alternative(
        "01.2",
        "a diagonal matrix",
        code="""
def dequantize(codes, scale):
    return torch.diag(scale.float().flatten().expand(len(codes))) @ codes.float()
""",
    ),
    Alternative(
        "01.3",
        "pure Python",
        code="""
def quant_linear(x, codes, scale, bias=None):
    b = [0.0] * len(codes) if bias is None else bias.tolist()
    rows = [[q * s for q in row] for row, (s,) in zip(codes.tolist(), scale.tolist())]
    return torch.tensor([[sum(u * w for u, w in zip(xs, row)) + c for row, c in zip(rows, b)] for xs in x.tolist()])
""",
    ),
    Alternative(
        "01.3",
        "np.matrix, float64",
        code="""
def quant_linear(x, codes, scale, bias=None):
    W = np.diag(scale.double().flatten().numpy()) @ codes.double().numpy()
    y = x.double().numpy().view(np.matrix) * W.T
    return y if bias is None else y + bias.double().numpy()
""",
    ),
    Alternative(
        "01.3",
        "one output after the other",
        code="""
def quant_linear(x, codes, scale, bias=None):
    y = torch.stack([(x.float() * q.float()).sum(1) * s for q, s in zip(codes, scale)], dim=1)
    return y + (0 if bias is None else bias)
""",
    ),
    Alternative(
        "01.4",
        "fractions",
        code="""
def memory_bytes(N, K, num_bits=8, group_size=None, scale_bits=16):
    from fractions import Fraction
    return math.ceil(N * K * (num_bits + Fraction(scale_bits, group_size or K)) / 8)
""",
    ),
    Alternative(
        "01.4",
        "a loop over rows; numpy's integers",
        code="""
def memory_bytes(N, K, num_bits=8, group_size=None, scale_bits=16):
    bits = np.int64(0)
    scales = np.int64(0)
    for _ in range(N):
        bits += K * num_bits
        scales += 1 if group_size is None else K // group_size
    return (bits + 7) // 8 + scales * (scale_bits // 8)
""",
    ),
    Alternative(
        "01.4",
        "a tensor",
        code="""
def memory_bytes(N, K, num_bits=8, group_size=None, scale_bits=16):
    scales = torch.tensor(N if group_size is None else N * (K // group_size))
    return torch.ceil(torch.tensor(N * K * num_bits, dtype=torch.float64) / 8) + scales * scale_bits / 8
""",
    ),
    Alternative(
        "01.5",
        "pure Python, ties away from zero",
        code="""
def quantize_asymmetric(x, num_bits=8):
    top, q, s, z = 2**num_bits - 1, [], [], []
    def nearest(t):
        return math.floor(t + 0.5) if t >= 0 else -math.floor(0.5 - t)
    for row in x.tolist():
        low, high = min(0.0, *row), max(0.0, *row)
        step = (high - low) / top or 1.0
        zero = nearest(-low / step)
        q.append([min(max(nearest(v / step) + zero, 0), top) for v in row])
        s.append([step])
        z.append([zero])
    return torch.tensor(q, dtype=torch.uint8), torch.tensor(s), torch.tensor(z, dtype=torch.uint8)
""",
    ),
    Alternative(
        "01.5",
        "float64, ties down",
        code="""
def quantize_asymmetric(x, num_bits=8):
    x = x.double()
    zero = torch.zeros(len(x), 1, dtype=torch.float64)
    low, high = torch.cat((x, zero), 1).aminmax(dim=1, keepdim=True)
    s = (high - low) / (2**num_bits - 1)
    s = s.masked_fill(s == 0, 1e-3)
    z = torch.ceil(-low / s - 0.5)
    return torch.clip(torch.ceil(x / s - 0.5) + z, 0, 2**num_bits - 1).byte(), s.float(), z.byte()
""",
    ),
    Alternative(
        "01.5",
        "multiplies with the reciprocal",
        code="""
def quantize_asymmetric(x, num_bits=8):
    top = 2**num_bits - 1
    low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
    s = ((high - low) / top).clamp(min=1e-30)
    z = (-low / s).round()
    return ((x * (1 / s)).round() + z).clamp(0, top).to(torch.uint8), s, z.to(torch.uint8)
""",
    ),
    Alternative(
        "01.6",
        "pure Python",
        code="""
def mse_scale(W, num_bits, fractions):
    top, out = 2 ** (num_bits - 1) - 1, []
    for row in W.tolist():
        reach = max(map(abs, row)) or 1.0
        best = None
        for f in fractions:
            s = f * reach / top
            e = sum((v - s * max(-top, min(top, round(v / s)))) ** 2 for v in row)
            if best is None or e < best[0]:
                best = (e, s)
        out.append([best[1]])
    return torch.tensor(out)
""",
    ),
    Alternative(
        "01.6",
        "the later of two equals; ties away from zero",
        (
            ("error < least", "error <= least"),
            ("torch.round(W / scale)", "((W / scale).sign() * ((W / scale).abs() + 0.5).floor())"),
        ),
    ),
]
