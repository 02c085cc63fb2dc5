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
]
