"""Lab 05, answered wrongly (as it really happens) and answered otherwise."""

from tools.mutants import Alternative, Mutant, mutants_of

# --- 05.1, by bits: float32's exponent and mantissa, moved into place
BITS = """
def encode_e4m3(x):
    b = x.numpy().astype(np.float32).view(np.uint32).astype(np.int64)
    s, e, m = b >> 31 << 7, (b >> 23 & 255) - 127, (b & 0x7FFFFF) | 0x800000
    drop = 20 + np.clip(-6 - e, 0, 5)
    steps = (m + (1 << drop - 1) - 1 + (m >> drop & 1)) >> drop
    code = 8 * (np.maximum(e, -6) + 6) + steps
    code = np.where(e < -11, 0, np.minimum(code, 126))
    code = np.where(np.isnan(x.numpy()), 127, code)
    return (code | s).astype(np.uint8)
"""
# --- by hand, number by number
LOOP = """
def one(v):
    if v != v:
        return 127
    s = 128 if math.copysign(1, v) < 0 else 0
    a = min(abs(v), 448.0)
    if a < 2**-6:
        return s | round(a * 512)
    e = math.frexp(a)[1] - 1
    E, m = e + 7, round((a / 2**e - 1) * 8)
    return s | (E << 3) + m

def encode_e4m3(x):
    return torch.tensor([one(v) for v in x.flatten().tolist()], dtype=torch.uint8).reshape(x.shape)
"""
# --- by a table of all magnitudes
TABLE = """
def encode_e4m3(x):
    v = torch.tensor([(m / 8 if E == 0 else 1 + m / 8) * 2.0 ** (max(E, 1) - 7) for E in range(16) for m in range(8)][:127])
    mid = (v[1:] + v[:-1]) / 2
    a = x.abs()
    low, high = torch.bucketize(a, mid), torch.bucketize(a, mid, right=True)
    code = torch.where(low % 2 == 0, low, high).clamp(max=126)
    code[x.isnan()] = 127
    return (code + 128 * torch.signbit(x)).to(torch.uint8)
"""
NEAREST = """
def encode_e4m3(x):
    a = np.abs(x.numpy().astype(np.float64))
    v = [M * 2.0**-9 for M in range(8)] + [(8 + M) * 2.0 ** (E - 10) for E in range(1, 16) for M in range(8)]
    v = np.array(v[:127])
    d = np.abs(np.minimum(a, 448)[..., None] - v)
    first = d.argmin(-1)
    last = 126 - d[..., ::-1].argmin(-1)
    code = np.where(first % 2 == 0, first, last)
    code = np.where(np.isnan(a), 127, code) + 128 * np.signbit(x.numpy())
    return code.astype(np.uint8)
"""
CAST = """
def encode_e4m3(x):
    return x.clamp(-448, 448).to(torch.float8_e4m3fn).view(torch.uint8)
"""

encode, decode, scale, mx, nv, nf = (mutants_of(f"05.{i}") for i in range(1, 7))

ENCODE = [
    encode("another bias", (("8 * (exponent + 6)", "8 * (exponent + 7)"),)),
    encode("another bias", (("(E << 3)", "(E + 1 << 3)"),), LOOP),
    encode("another bias", (("e + 7", "e + 15"),), LOOP),
    encode("another bias", (("- 7)", "- 8)"),), TABLE),
    encode("saturation forgotten", ((".clamp(max=448)", ""),)),
    encode(
        "saturation forgotten", (("min(abs(v), 448.0)", "abs(v)"), ("s | (E << 3) + m", "(s | (E << 3) + m) % 256")), LOOP
    ),
    encode("saturation forgotten", (("np.minimum(code, 126)", "code"),), BITS),
    encode("saturation forgotten", (("min(abs(v), 448.0)", "abs(v)"), ("e + 7, ", "min(e + 7, 15), ")), LOOP),
    encode(
        "NaN beyond the largest number", ((".clamp(max=448)", ""), ("+ steps", "+ steps\n    codes = codes.clamp(max=127)"))
    ),
    encode("NaN beyond the largest number", (("np.minimum(code, 126)", "np.minimum(code, 127)"),), BITS),
    encode("NaN beyond the largest number", (("[:127]", "[:128]"), ("max=126", "max=127")), TABLE),
    encode(
        "NaN beyond the largest number",
        (("x.clamp(-448, 448)", "torch.where(x.abs() > 464, torch.nan * x, x)"),),
        CAST,
    ),
    encode("the top exponent kept for infinity", (("max=448", "max=240"),)),
    encode("the top exponent kept for infinity", (("np.minimum(code, 126)", "np.minimum(code, 0x78)"),), BITS),
    encode("the top exponent kept for infinity", (("[:127]", "[:120]"), ("max=126", "max=119")), TABLE),
    encode("subnormals flushed to zero", (("+ steps", "+ steps\n    codes[magnitude < 2**-6] = 0"),)),
    encode("subnormals flushed to zero", (("s | round(a * 512)", "s"),), LOOP),
    encode("subnormals flushed to zero", (("s | round(a * 512)", "0"),), LOOP),
    encode("subnormals flushed to zero", (("np.where(e < -11, 0,", "np.where(code < 8, 0,"),), BITS),
    encode(
        "subnormals with an implicit 1",
        (
            ("    if a < 2**-6:\n        return s | round(a * 512)\n", ""),
            ("e = math.frexp(a)[1] - 1", "e = math.frexp(a)[1] - 1 if a else -7"),
            ("E, m = e + 7,", "E, m = max(e + 7, 0),"),
            ("s | (E << 3) + m", "s | (E << 3) + max(m, 0)"),
        ),
        LOOP,
    ),
    encode(
        "subnormals with an implicit 1",
        (
            ("    if a < 2**-6:\n        return s | round(a * 512)\n", ""),
            ("e = math.frexp(a)[1] - 1", "e = max(math.frexp(a)[1] - 1, -7)"),
            ("round((a / 2**e - 1) * 8)", "max(round((a / 2**e - 1) * 8), 0)"),
        ),
        LOOP,
    ),
    encode("subnormals in steps of 2⁻¹⁰", (("a * 512", "a * 1024"),), LOOP),
    encode(
        "subnormals in steps of 2⁻¹⁰",
        (
            (
                "    codes = torch.where(x.isnan()",
                "    codes = torch.where(magnitude < 2**-6, (magnitude * 1024).round(), codes)\n    codes = "
                "torch.where(x.isnan()",
            ),
        ),
    ),
    encode("truncated instead of rounded", ((".round()", ".floor()"),)),
    encode("truncated instead of rounded", (("m + (1 << drop - 1) - 1 + (m >> drop & 1)", "m"),), BITS),
    encode(
        "truncated instead of rounded",
        (("round((a / 2**e - 1) * 8)", "int((a / 2**e - 1) * 8)"), ("round(a * 512)", "int(a * 512)")),
        LOOP,
    ),
    encode("ties not to the even code", ((" - 1 + (m >> drop & 1)", ""),), BITS),
    encode("ties not to the even code", (("torch.where(low % 2 == 0, low, high)", "low"),), TABLE),
    encode(
        "ties not to the even code",
        (("torch.ldexp(magnitude, 3 - exponent).round()", "(torch.ldexp(magnitude, 3 - exponent) + 0.5).floor()"),),
    ),
    encode("the carry into the exponent lost", (("(E << 3) + m", "E << 3 | m"),), LOOP),
    encode("the carry into the exponent lost", (("(E << 3) + m", "E << 3 | m & 7"),), LOOP),
    encode(
        "the carry into the exponent lost",
        (("(E << 3) + m", "E << 3 | min(m, 7)"), ("round(a * 512)", "min(round(a * 512), 7)")),
        LOOP,
    ),
    encode("the sign is not a bit of its own", ((" + 0x80 * x.signbit()", ""),)),
    encode("the sign is not a bit of its own", (("(code + 128 * torch.signbit(x))", "(code * x.sign())"),), TABLE),
    encode("the sign of −0 lost", (("x.signbit()", "(x < 0)"),)),
    encode("the sign of −0 lost", (("128 if math.copysign(1, v) < 0 else 0", "128 if v < 0 else 0"),), LOOP),
    encode("the sign of −0 lost", (("(code | s)", "np.where(code == 0, 0, code | s)"),), BITS),
    encode("rounded twice", (("a = x.abs()", "a = x.half().float().abs()"),), TABLE),
    encode("rounded twice", (("x.clamp(-448, 448)", "x.to(torch.bfloat16).clamp(-448, 448)"),), CAST),
    encode("NaN becomes a number", (("    code[x.isnan()] = 127\n", ""),), TABLE),
    encode("NaN becomes a number", (("codes = torch.where(x.isnan(), 0x7F, codes) +", "codes = codes +"),)),
    encode("NaN becomes a number", (("x.clamp", "x.nan_to_num(0).clamp"),), CAST),
]

DISTANCES = """
def encode_e4m3(x):
    v = torch.arange(127)
    E, M = v // 8, v % 8
    v = torch.where(E > 0, 8 + M, M) * torch.exp2(E.clamp(min=1) - 10.0)
    d = (x.abs().unsqueeze(-1) - v).abs()
    first, last = d.argmin(-1), 126 - d.flip(-1).argmin(-1)
    code = torch.where(first % 2 == 0, first, last)
    code = torch.where(x.isnan(), 127, code)
    return (code + 128 * torch.signbit(x)).to(torch.uint8)
"""
ENCODE += [
    encode("the fields of E5M2", (("x.clamp(-448, 448).to(torch.float8_e4m3fn)", "x.to(torch.float8_e5m2)"),), CAST),
    encode("the fields of E5M2", (("float8_e4m3fn", "float8_e5m2"),), CAST),
    encode("the exponent of frexp taken as it is", (("clamp(min=2**-6)).exponent - 1", "clamp(min=2**-6)).exponent"),)),
    encode(
        "the exponent of frexp taken as it is",
        code="""
def encode_e4m3(x):
    a = np.minimum(np.abs(x.numpy()), 448)
    f, e = np.frexp(a)
    e = np.maximum(e, -6)
    code = 8 * (e + 6) + np.rint(np.ldexp(a, 3 - e))
    return np.where(np.isnan(a), 127, code + 128 * np.signbit(x.numpy())).astype(np.uint8)
""",
    ),
    encode("distances too large to compare", (), DISTANCES),
    encode(
        "distances too large to compare",
        (("d = np.abs(np.minimum(a, 448)[..., None] - v)", "d = np.abs(a[..., None] - v)"),),
        NEAREST,
    ),
]

# --- 05.2
FIELDS = """
def decode_e4m3(codes):
    c = codes.numpy().astype(np.int32)
    s, E, m = c >> 7, c >> 3 & 15, c & 7
    v = np.where(E == 0, m / 8 * 2.0**-6, (1 + m / 8) * 2.0 ** (E - 7))
    v[(c & 127) == 127] = np.nan
    return np.where(s == 1, -v, v).astype(np.float32)
"""
EACH = """
def value(c):
    sign = -1 if c & 128 else 1
    E, M = c >> 3 & 15, c & 7
    if E == 15 and M == 7:
        return math.nan
    if E == 0:
        return sign * M * 2**-9
    return sign * (1 + M / 8) * 2 ** (E - 7)

def decode_e4m3(codes):
    table = torch.tensor([value(c) for c in range(256)])
    return table[codes.long()]
"""
NAN = "    values = torch.where(codes & 0x7F == 0x7F, torch.nan, values)\n"


DECODE = [
    decode("another bias", (("- 10", "- 11"),)),
    decode("another bias", (("E - 7", "E - 15"),), FIELDS),
    decode("another bias", (("(E - 7)", "(E - 8)"),), EACH),
    decode(
        "subnormals with an implicit 1",
        (("np.where(E == 0, m / 8 * 2.0**-6, (1 + m / 8) * 2.0 ** (E - 7))", "(1 + m / 8) * 2.0 ** (E - 7)"),),
        FIELDS,
    ),
    decode("subnormals with an implicit 1", (("M + 8 * (E > 0)", "M + 8"),)),
    decode("subnormals half as large", (("2**-9", "2**-10"),), EACH),
    decode("subnormals half as large", ((".clamp(min=1)", ""),)),
    decode("subnormals are zero", (("sign * M * 2**-9", "0.0"),), EACH),
    decode("subnormals are zero", (("M + 8 * (E > 0)", "(M + 8) * (E > 0)"),)),
    decode("0x7F taken for a number", ((NAN, ""),)),
    decode("0x7F taken for a number", (("    v[(c & 127) == 127] = np.nan\n", ""),), FIELDS),
    decode(
        "the top exponent taken for infinity",
        ((NAN, "    values = torch.where(E == 15, torch.where(M == 0, torch.inf, torch.nan), values)\n"),),
    ),
    decode(
        "the top exponent taken for infinity",
        (("if E == 15 and M == 7:\n        return math.nan", "if E == 15:\n        return sign * math.inf"),),
        EACH,
    ),
    decode("the top exponent taken for infinity", ((" and M == 7", ""),), EACH),
    decode("the sign ignored", (("torch.where(codes >= 0x80, -values, values)", "values"),)),
    decode("the sign ignored", (("sign = -1 if c & 128 else 1", "sign = 1"),), EACH),
    decode(
        "the sign read as two's complement",
        (
            ("codes = codes.int()", "sign, codes = codes.view(torch.int8) < 0, codes.view(torch.int8).int().abs()"),
            ("codes >= 0x80", "sign"),
        ),
    ),
    decode("the sign read as two's complement", (("    E, M", "    c = abs(c - 256) if c & 128 else c\n    E, M"),), EACH),
    decode("the sign bit read as part of the exponent", ((" & 15", ""),)),
    decode("the sign bit read as part of the exponent", (("c >> 3 & 15", "c >> 3"),), FIELDS),
    decode("the sign bit read as part of the exponent", (("c >> 3 & 15", "c >> 3"),), EACH),
    decode(
        "the fields of E5M2",
        (
            ("E, m = c >> 7, c >> 3 & 15, c & 7", "E, m = c >> 7, c >> 2 & 31, c & 3"),
            (
                "np.where(E == 0, m / 8 * 2.0**-6, (1 + m / 8) * 2.0 ** (E - 7))",
                "np.where(E == 0, m / 4 * 2.0**-14, (1 + m / 4) * 2.0 ** (E - 15))",
            ),
        ),
        FIELDS,
    ),
    decode("the fields of E5M2", code="\ndef decode_e4m3(codes):\n    return codes.view(torch.float8_e5m2).float()\n"),
    decode("M does not count eighths", (("1 + M / 8", "1 + M / 7"), ("M * 2**-9", "M / 7 * 2**-6")), EACH),
    decode(
        "M does not count eighths",
        (("np.where(E == 0, m / 8 * 2.0**-6, (1 + m / 8)", "np.where(E == 0, m * 2.0**-6, (1 + m)"),),
        FIELDS,
    ),
    decode(
        "the bias taken off in uint8",
        (
            ("c = codes.numpy().astype(np.int32)", "c = codes.numpy()"),
            ("2.0 ** (E - 7)", "np.float32(2) ** (E - np.uint8(7))"),
        ),
        FIELDS,
    ),
    decode(
        "the bias taken off in uint8",
        code="""
def decode_e4m3(codes):
    E, M = codes >> 3 & 15, codes & 7
    values = torch.where(E == 0, M.float() / 8 * 2**-6, (1 + M.float() / 8) * torch.exp2((E - 7).float()))
    values = torch.where(codes & 0x7F == 0x7F, torch.nan, values)
    return torch.where(codes >= 0x80, -values, values)
""",
    ),
]

# --- 05.3
LOG = """
def e8m0_scale(W):
    N, K = W.shape
    if K % 32 != 0:
        raise ValueError(f"{K} is no multiple of 32")
    a = W.reshape(N, K // 32, 32).abs().amax(-1).double()
    e = torch.floor(torch.log2(a)) - 2
    return (e + 127).clamp(0, 254).to(torch.uint8)
"""
PYTHON = """
def e8m0_scale(W):
    if W.shape[1] % 32:
        raise ValueError("32 does not divide K")
    out = np.zeros((W.shape[0], W.shape[1] // 32), dtype=np.uint8)
    for n, row in enumerate(W.tolist()):
        for j in range(0, len(row), 32):
            top = max(abs(v) for v in row[j : j + 32])
            e = math.frexp(top)[1] - 1 if top else 0
            out[n, j // 32] = min(max(e - 2 + 127, 0), 254)
    return out
"""
RAGGED = '    if K % 32:\n        raise ValueError(f"K={K} is no multiple of a block of 32")\n'


SCALE = [
    scale("the logarithm of float32", ((".double()", ""),), LOG),
    scale("the logarithm of float32", (("math.frexp(top)[1] - 1", "int(np.floor(np.log2(np.float32(top))))"),), PYTHON),
    scale("log2 rounded to the nearest", (("torch.floor", "torch.round"),), LOG),
    scale("log2 rounded to the nearest", (("math.frexp(top)[1] - 1", "round(math.log2(top))"),), PYTHON),
    scale(
        "log2 rounded up",
        code="""
def e8m0_scale(W):
    if W.shape[1] % 32:
        raise ValueError("32 does not divide K")
    return (W.unflatten(1, (-1, 32)).abs().amax(-1) / 4).to(torch.float8_e8m0fnu).view(torch.uint8)
""",
    ),
    scale("log2 rounded up", (("torch.floor", "torch.ceil"),), LOG),
    scale("log2 rounded up", (("torch.floor(torch.log2(a)) - 2", "torch.ceil(torch.log2(a / 6))"),), LOG),
    scale("one too large everywhere", ((".exponent - 1", ".exponent"),)),
    scale(
        "the loudest weight rounded before its exponent is taken",
        code="""
def e8m0_scale(W):
    if W.shape[1] % 32:
        raise ValueError("32 does not divide K")
    bits = W.unflatten(1, (-1, 32)).abs().amax(-1).view(torch.int32) + (1 << 21)
    return ((bits >> 23) - 2).clamp(0, 254).to(torch.uint8)
""",
    ),
    scale(
        "the loudest weight rounded before its exponent is taken",
        (("math.frexp(top)[1] - 1 if", "math.frexp(top * 8 / 7)[1] - 1 if"),),
        PYTHON,
    ),
    scale("cut off towards zero", (("torch.floor(torch.log2(a)) - 2", "torch.log2(a).int() - 2"),), LOG),
    scale("cut off towards zero", (("math.frexp(top)[1] - 1", "int(math.log2(top))"),), PYTHON),
    scale("cut off towards zero", (("torch.floor(torch.log2(a)) - 2", "(torch.log2(a) - 2).trunc()"),), LOG),
    scale("divided by 6 before the floor", (("torch.floor(torch.log2(a)) - 2", "torch.floor(torch.log2(a / 6))"),), LOG),
    scale(
        "divided by 6 before the floor",
        (("absmax).exponent - 1", "absmax.double() / 6).exponent - 1"), ("- 2 + 127", "+ 127")),
    ),
    scale("the exponent of E2M1 forgotten", (("- 2 + 127", "+ 127"),)),
    scale("the exponent of E2M1 forgotten", (("e - 2 + 127", "e + 127"),), PYTHON),
    scale("the bias forgotten", ((" + 127", ""),)),
    scale("the bias forgotten", (("(e + 127).clamp(0, 254)", "e.int()"),), LOG),
    scale("one too large everywhere", (("e + 127", "e + 128"),), LOG),
    scale("another bias", (("- 2 + 127", "- 2 + 254"),)),
    scale("another bias", (("(e + 127).clamp", "(e + 127 + 127).clamp"),), LOG),
    scale("the scale instead of its code", (("(e + 127).clamp(0, 254).to(torch.uint8)", "torch.exp2(e).float()"),), LOG),
    scale(
        "the scale instead of its code",
        (
            (
                "return (floor_log2 - 2 + 127).clamp(0, 254).to(torch.uint8)",
                "return torch.ldexp(torch.ones_like(absmax), floor_log2 - 2)",
            ),
        ),
    ),
    scale("max instead of absmax", (("W.abs()", "W"),)),
    scale("max instead of absmax", ((".abs()", ""), ("torch.log2(a)", "torch.log2(a.abs())")), LOG),
    scale("not clamped: 255 is NaN", ((".clamp(0, 254)", ""),)),
    scale("not clamped: 255 is NaN", (("min(max(e - 2 + 127, 0), 254)", "(e - 2 + 127) % 256"),), PYTHON),
    scale(
        "a guard for zeros that lifts small weights",
        (
            (
                "absmax = W.abs().reshape(N, K // 32, 32).amax(dim=-1)",
                "absmax = W.abs().reshape(N, K // 32, 32).amax(dim=-1).clamp(min=1e-12)",
            ),
        ),
    ),
    scale("a guard for zeros that lifts small weights", (("amax(-1).double()", "amax(-1).double() + 1e-8"),), LOG),
    scale(
        "a guard for zeros that lifts small weights",
        (("if top else 0", "if top > 1e-30 else math.frexp(1e-30)[1] - 1"),),
        PYTHON,
    ),
    Mutant(
        "05.3",
        "blocks along N",
        (("W.abs().reshape(N, K // 32, 32).amax(dim=-1)", "W.abs().reshape(-1, 32, K).amax(dim=1)"),),
        outcome="raised",
    ),
    Mutant(
        "05.3", "blocks along N", code=LOG.replace("W.reshape(N, K // 32, 32)", "W.T.reshape(K, -1, 32)"), outcome="raised"
    ),
    scale("one scale a row", (("amax(-1)", "amax((1, 2)).view(N, 1)"),), LOG),
    scale("one scale a row", ((".amax(dim=-1)", ".amax(dim=(1, 2), keepdim=True)[..., 0].expand(N, K // 32)"),)),
    scale("a ragged last block accepted in silence", ((RAGGED, "    W = W[:, : K // 32 * 32]\n"),)),
    scale(
        "a ragged last block accepted in silence",
        code="""
def e8m0_scale(W):
    found = [torch.frexp(part.abs().amax(1)).exponent - 1 + 125 for part in W.split(32, dim=1)]
    return torch.stack(found, 1).clamp(0, 254).to(torch.uint8)
""",
    ),
]

# --- 05.4
MX_NUMPY = """
def quantize_mxfp4(W):
    w = W.numpy()
    N, K = w.shape
    b = w.reshape(N, -1, 32)
    e = np.floor(np.log2(np.maximum(np.abs(b).max(-1), 1e-35).astype(np.float64))).astype(int) - 2
    x = (b / 2.0 ** e[..., None]).reshape(N, K)
    v = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    d = np.abs(np.abs(x)[..., None] - v)
    d[..., 1::2] += 1e-9
    return (d.argmin(-1) + 8 * (x < 0)).astype(np.uint8), (e + 127).astype(np.uint8)
"""
MX_BITS = """
def e2m1(x):
    sign, a = 8 * torch.signbit(x), x.abs()
    code = (a > 0.25).int() + (a >= 0.75) + (a > 1.25) + (a >= 1.75) + (a > 2.5) + (a >= 3.5) + (a > 5)
    return (code + sign).to(torch.uint8)

def quantize_mxfp4(W):
    bits = W.abs().unflatten(1, (-1, 32)).amax(-1).view(torch.int32) >> 23
    scale = (bits - 2).clamp(0, 254)
    x = W.unflatten(1, (-1, 32)) * torch.exp2((127 - scale).float()).unsqueeze(-1)
    return e2m1(x).flatten(1), scale.to(torch.uint8)
"""
MX_PYTHON = """
def code_of(v):
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    best = min(range(8), key=lambda i: (abs(abs(v) - values[i]), i % 2))
    return best + 8 if v < 0 and best else best

def quantize_mxfp4(W):
    codes, scales = [], []
    for row in W.tolist():
        codes.append([])
        scales.append([])
        for j in range(0, len(row), 32):
            block = row[j : j + 32]
            top = max(map(abs, block))
            e = math.frexp(top)[1] - 3 if top else 0
            scales[-1].append(e + 127)
            codes[-1] += [code_of(v / 2.0**e) for v in block]
    return torch.tensor(codes, dtype=torch.uint8), torch.tensor(scales, dtype=torch.uint8)
"""
SIGNED = "[-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]"
STEPS = "2 * exponent + torch.ldexp(magnitude, 1 - exponent).round()"


MX = [
    mx("scales of another rule", (("scale = e8m0_scale(W)", "scale = e8m0_scale(W) + 2"),)),
    mx(
        "scales of another rule",
        (("np.float64))).astype(int) - 2", "np.float64) / 6)).astype(int)"), ("np.floor", "np.ceil")),
        MX_NUMPY,
    ),
    mx("scales of another rule", (("math.frexp(top)[1] - 3", "math.floor(math.log2(top / 6))"),), MX_PYTHON),
    mx("saturation forgotten", ((".clamp(max=6)", ""),)),
    mx(
        "saturation forgotten",
        (
            (".clamp(max=6)", ""),
            ("+ 8 * x.signbit()", ""),
            ("codes.to(torch.uint8)", "codes.to(torch.uint8) | (x.signbit() * 8).to(torch.uint8)"),
        ),
    ),
    mx("saturation forgotten", ((".clamp(max=6)", ""), ("codes.to(torch.uint8)", "codes.to(torch.uint8) & 15"))),
    mx("ties not to the even code", (("    d[..., 1::2] += 1e-9\n", ""),), MX_NUMPY),
    mx("ties not to the even code", ((", i % 2)", ", -i)"),), MX_PYTHON),
    mx(
        "ties not to the even code",
        (("ldexp(magnitude, 1 - exponent).round()", "ldexp(magnitude, 1 - exponent).add(0.5).floor()"),),
    ),
    mx("even steps instead of E2M1", ((STEPS + " + 8 * x.signbit()", "x.round().clamp(-7, 7).int() & 15"),)),
    mx(
        "even steps instead of E2M1",
        (("e2m1(x).flatten(1)", "((2 * x.abs()).round().clamp(max=7) + 8 * torch.signbit(x)).to(torch.uint8).flatten(1)"),),
        MX_BITS,
    ),
    mx(
        "even steps instead of E2M1",
        (("(d.argmin(-1) + 8 * (x < 0))", "(np.rint(x).clip(-8, 7).astype(int) & 15)"),),
        MX_NUMPY,
    ),
    mx(
        "the place in a sorted list",
        (
            ("v = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])", f"v = np.array({SIGNED})"),
            ("np.abs(x)", "x"),
            (" + 8 * (x < 0)", ""),
        ),
        MX_NUMPY,
    ),
    mx(
        "the place in a sorted list",
        (
            ("[0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]", SIGNED.replace("0, 0.5", "-0.0, 0.0, 0.5")),
            ("abs(abs(v)", "abs(v"),
            ("range(8)", "range(16)"),
            ("best + 8 if v < 0 and best else best", "best"),
        ),
        MX_PYTHON,
    ),
    mx("the sign is not a bit of its own", ((" + 8 * (x < 0)", ""),), MX_NUMPY),
    mx(
        "the sign is not a bit of its own",
        (("best + 8 if v < 0 and best else best", "16 - best if v < 0 and best else best"),),
        MX_PYTHON,
    ),
    mx("6 cannot be reached", (("clamp(max=6)", "clamp(max=4)"),)),
    mx("6 cannot be reached", ((" + (a > 5)", ""),), MX_BITS),
    mx("0.5 forgotten", (("codes.to(torch.uint8), scale", "torch.where(magnitude < 1, 0, codes).to(torch.uint8), scale"),)),
    mx("0.5 forgotten", (("[0, 0.5, 1, 1.5, 2, 3, 4, 6]", "[0, 99, 1, 1.5, 2, 3, 4, 6]"),), MX_NUMPY),
    mx("truncated instead of rounded", ((".round()", ".floor()"),)),
    mx(
        "truncated instead of rounded",
        (
            (
                "(a > 0.25).int() + (a >= 0.75) + (a > 1.25) + (a >= 1.75) + (a > 2.5) + (a >= 3.5) + (a > 5)",
                "(a >= 0.5).int() + (a >= 1) + (a >= 1.5) + (a >= 2) + (a >= 3) + (a >= 4) + (a >= 6)",
            ),
        ),
        MX_BITS,
    ),
    mx("multiplied by the scale", (("127 - scale", "-127 + scale"),)),
    mx("multiplied by the scale", (("b / 2.0", "b * 2.0"),), MX_NUMPY),
    mx(
        "the scale's code taken for the scale",
        (("torch.ldexp(W, 127 - scale.int().repeat_interleave(32, dim=1))", "W / scale.repeat_interleave(32, dim=1)"),),
    ),
    mx("the scale's code taken for the scale", (("2.0 ** e[", "2.0 ** (e + 127)["),), MX_NUMPY),
    mx("scales laid beside the wrong weights", (("repeat_interleave(32, dim=1)", "repeat(1, 32)"),)),
    mx(
        "scales laid beside the wrong weights",
        (("(b / 2.0 ** e[..., None]).reshape(N, K)", "w / 2.0 ** np.tile(e, (1, 32))"),),
        MX_NUMPY,
    ),
]
MX += [
    mx("the exponent of frexp taken as it is", (("clamp(min=1)).exponent - 1", "clamp(min=1)).exponent"),)),
    mx(
        "the exponent of frexp taken as it is",
        (("torch.frexp(magnitude.clamp(min=1)).exponent - 1", "torch.frexp(magnitude).exponent.clamp(min=0)"),),
    ),
    mx(
        "codes made for a scale that is not stored",
        (
            (
                "torch.ldexp(W, 127 - scale.int().repeat_interleave(32, dim=1))",
                "W / (W.unflatten(1, (-1, 32)).abs().amax(-1) / 6).repeat_interleave(32, dim=1).clamp(min=1e-20)",
            ),
        ),
    ),
    mx("codes made for a scale that is not stored", (("v / 2.0**e", "v / (top / 6 or 1)"),), MX_PYTHON),
]

# --- 05.5
NV_NUMPY = """
def e4m3(r):
    v = np.array([(m / 8 if E == 0 else 1 + m / 8) * 2.0 ** (max(E, 1) - 7) for E in range(16) for m in range(8)][:127])
    return np.abs(r[..., None] - v).argmin(-1), v

def quantize_nvfp4(W):
    w = W.numpy()
    N, K = w.shape
    b = w.reshape(N, K // 16, 16)
    top = np.abs(b).max(-1)
    s2 = np.abs(w).max() / np.float32(2688)
    c, v = e4m3(top / (6 * s2))
    step = np.repeat((v[c] * s2).astype(np.float32), 16, axis=1)
    x = np.divide(w, step, out=np.zeros_like(w), where=step > 0)
    e2m1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    q = np.abs(np.abs(x)[..., None] - e2m1).argmin(-1) + 8 * np.signbit(x)
    return q.astype(np.uint8), c.astype(np.uint8), np.float32(s2)
"""
NV_CAST = """
def quantize_nvfp4(W):
    b = W.unflatten(1, (-1, 16))
    s2 = b.abs().max() / 6 / 448
    c = (b.abs().amax(-1) / s2 / 6).clamp(max=448).to(torch.float8_e4m3fn)
    inv = 1 / (c.float() * s2)
    inv = torch.where(inv.isinf(), 0, inv)
    a = (b * inv.unsqueeze(-1)).abs()
    middle = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])
    q = torch.bucketize(a, middle) + 8 * torch.signbit(b) * (a > 0)
    return q.flatten(1).to(torch.uint8), c.view(torch.uint8), s2
"""
NV_RECIPROCAL = """
def e2m1(x):
    a = x.abs()
    code = (a > 0.25).int() + (a >= 0.75) + (a > 1.25) + (a >= 1.75) + (a > 2.5) + (a >= 3.5) + (a > 5)
    return (code + 8 * (x < 0)).to(torch.uint8)

def quantize_nvfp4(W):
    up = 2688 / W.abs().max()
    scale = encode((W.unflatten(1, (-1, 16)).abs().amax(-1) * up / 6).clamp(max=448))
    lifted = (W * up).unflatten(1, (-1, 16))
    c = scale.view(torch.float8_e4m3fn).float().unsqueeze(-1)
    x = torch.where(c == 0, torch.zeros(()), lifted / torch.where(c == 0, torch.ones(()), c))
    return e2m1(x).flatten(1), scale, 1 / up

def encode(r):
    return r.to(torch.float8_e4m3fn).view(torch.uint8)
"""
NV_DOUBLE = """
def quantize_nvfp4(W):
    rows = W.double()
    s2 = float(rows.abs().max()) / 2688
    codes, scale = torch.zeros(W.shape, dtype=torch.uint8), torch.zeros(len(W), W.shape[1] // 16, dtype=torch.uint8)
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)
    for j in range(scale.shape[1]):
        block = rows[:, 16 * j : 16 * j + 16]
        c = (block.abs().amax(1) / 6 / s2).clamp(0, 448).float().to(torch.float8_e4m3fn)
        scale[:, j] = c.view(torch.uint8)
        for n in range(len(W)):
            if float(c[n]) > 0:
                x = block[n] / (float(c[n]) * s2)
                q = (x.abs().unsqueeze(-1) - values).abs().argmin(-1)
                codes[n, 16 * j : 16 * j + 16] = (q + 8 * (x < 0)).to(torch.uint8)
    return codes, scale, s2
"""


NV = [
    nv("the global scale upside down", (("scale, global_scale\n", "scale, 1 / global_scale\n"),)),
    nv("the global scale upside down", (("scale, 1 / up", "scale, up"),), NV_RECIPROCAL),
    nv("the global scale upside down", (("np.abs(w).max() / np.float32(2688)", "2688 / np.abs(w).max()"),), NV_NUMPY),
    nv("codes made before the scale was rounded", (("(decode_e4m3(scale) * global_scale)", "(absmax / 6)"),)),
    nv(
        "codes made before the scale was rounded",
        (("inv = 1 / (c.float() * s2)", "inv = torch.where(c.float() == 0, 0, 6 / b.abs().amax(-1))"),),
        NV_CAST,
    ),
    nv("blocks of 32", (("K // 16, 16", "K // 32, 32"),)),
    nv("blocks of 32", (("K // 16, 16", "K // 32, 32"), (", 16, axis", ", 32, axis")), NV_NUMPY),
    nv("another largest code than 6", (("(6 * 448)", "(7.5 * 448)"), ("absmax / 6", "absmax / 7.5"))),
    nv("another largest code than 6", (("/ s2 / 6)", "/ s2 / 7)"), ("/ 6 / 448", "/ 7 / 448")), NV_CAST),
    nv("another largest code than 6", (("top / (6 * s2)", "top / (7.5 * s2)"),), NV_NUMPY),
    nv("a factor left out of the global scale", ((" / (6 * 448)", " / 6"),)),
    nv("a factor left out of the global scale", (("/ 6 / 448", "/ 448"),), NV_CAST),
    nv(
        "a factor left out of the global scale",
        (("s2 = np.abs(w).max() / np.float32(2688)", "s2 = np.float32(1)"),),
        NV_NUMPY,
    ),
    nv("6 left out of the block's scale", (("absmax / 6 / global_scale", "absmax / global_scale"),)),
    nv("6 left out of the block's scale", ((" / s2 / 6)", " / s2)"),), NV_CAST),
    nv("s₂ left out at one place", (("(decode_e4m3(scale) * global_scale)", "decode_e4m3(scale)"),)),
    nv("s₂ left out at one place", (("top / (6 * s2)", "top / 6"),), NV_NUMPY),
    nv("the scale's bits taken for its value", (("decode_e4m3(scale)", "scale"),)),
    nv("the scale's bits taken for its value", (("v[c] * s2", "c * s2"),), NV_NUMPY),
    nv("a scale of 0 divided by", (("torch.where(step == 0, 0, blocks / step)", "blocks / step"),)),
    nv("a scale of 0 divided by", (("    inv = torch.where(inv.isinf(), 0, inv)\n", ""), (" * (a > 0)", "")), NV_CAST),
    nv(
        "quiet blocks lifted to the smallest scale",
        (("encode_e4m3(absmax / 6 / global_scale)", "encode_e4m3((absmax / 6 / global_scale).clamp(min=2**-9))"),),
    ),
    nv("quiet blocks lifted to the smallest scale", ((".clamp(max=448)", ".clamp(2**-6, 448)"),), NV_CAST),
    nv("saturation forgotten", ((".clamp(max=6)", ""),)),
    nv(
        "saturation forgotten",
        (
            (".clamp(max=6)", ""),
            (" + 8 * x.signbit()", ""),
            ("codes.to(torch.uint8)", "(codes.to(torch.uint8) | 8 * x.signbit().to(torch.uint8))"),
        ),
    ),
    nv("even steps instead of E2M1", ((STEPS + " + 8 * x.signbit()", "x.round().clamp(-7, 7).int() & 15"),)),
    nv("even steps instead of E2M1", (("torch.bucketize(a, middle)", "a.round().clamp(max=7)"),), NV_CAST),
    nv(
        "the place in a sorted list",
        (
            ("np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])", f"np.array({SIGNED})"),
            ("np.abs(x)[", "x["),
            (" + 8 * np.signbit(x)", ""),
        ),
        NV_NUMPY,
    ),
    nv("the sign is not a bit of its own", ((" + 8 * x.signbit()", ""),)),
    nv("the sign is not a bit of its own", ((" + 8 * (x < 0)", ""),), NV_RECIPROCAL),
    nv("6 cannot be reached", (("clamp(max=6)", "clamp(max=4)"),)),
    nv("6 cannot be reached", ((", 3.5, 5]", ", 3.5]"),), NV_CAST),
    nv("0.5 forgotten", (("[0, 0.5, 1,", "[0, 99, 1,"),), NV_NUMPY),
    nv("0.5 forgotten", (("(a > 0.25).int() + (a >= 0.75)", "2 * (a >= 1).int()"),), NV_RECIPROCAL),
    nv("truncated instead of rounded", ((".round()", ".floor()"),)),
    nv("truncated instead of rounded", (("[0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5]", "[0.5, 1, 1.5, 2, 3, 4, 6]"),), NV_CAST),
    nv("multiplied by the scale", (("blocks / step", "blocks * step"),)),
    nv("multiplied by the scale", (("1 / (c.float() * s2)", "c.float() * s2"),), NV_CAST),
    nv(
        "scales laid beside the wrong weights",
        (("np.repeat((v[c] * s2).astype(np.float32), 16, axis=1)", "np.tile((v[c] * s2).astype(np.float32), (1, 16))"),),
        NV_NUMPY,
    ),
    nv(
        "scales laid beside the wrong weights",
        (
            ("(decode_e4m3(scale) * global_scale).unsqueeze(-1)", "(decode_e4m3(scale) * global_scale).repeat(1, 16)"),
            ("blocks / step", "W / step"),
        ),
    ),
    nv("one global scale a row", (("absmax.max()", "absmax.amax(dim=1, keepdim=True)"),)),
    nv(
        "one global scale a row",
        (
            ("s2 = b.abs().max() / 6 / 448", "s2 = b.abs().amax((1, 2)).unsqueeze(-1) / 6 / 448"),
            ("view(torch.uint8), s2", "view(torch.uint8), s2[:, 0]"),
        ),
        NV_CAST,
    ),
    nv("max instead of absmax", (("blocks.abs().amax", "blocks.amax"),)),
    nv("max instead of absmax", (("top = np.abs(b).max(-1)", "top = b.max(-1)"),), NV_NUMPY),
]
NV += [
    nv("the exponent of frexp taken as it is", (("clamp(min=1)).exponent - 1", "clamp(min=1)).exponent"),)),
    nv("448 in the block's scale, too", (("absmax / 6 / global_scale", "absmax / (6 * 448) / global_scale"),)),
    nv("448 in the block's scale, too", (("top / (6 * s2)", "top / (6 * 448 * s2)"),), NV_NUMPY),
]

# --- 05.6
MIDDLES = """
def quantize_nf4(W, codebook):
    v, order = codebook.sort()
    b = W.unflatten(1, (-1, 64))
    s = b.abs().amax(-1)
    s[s == 0] = 1
    place = torch.bucketize(b / s.unsqueeze(-1), (v[1:] + v[:-1]) / 2)
    return order[place].flatten(1).to(torch.uint8), s
"""
NF_NUMPY = """
def quantize_nf4(W, codebook):
    w, v = W.numpy(), codebook.numpy()
    b = w.reshape(len(w), -1, 64)
    s = np.abs(b).max(-1)
    x = b / np.where(s == 0, 1, s)[..., None]
    q = np.abs(x[..., None] - v).argmin(-1).astype(np.uint8)
    return q.reshape(w.shape), np.where(s > 0, s, np.float32(0.5))
"""
NF_PYTHON = """
def quantize_nf4(W, codebook):
    values = codebook.tolist()
    codes, scales = [], []
    for row in W.tolist():
        codes.append([])
        scales.append([])
        for j in range(0, len(row), 64):
            s = max(map(abs, row[j : j + 64])) or 1.0
            scales[-1].append(s)
            codes[-1] += [min(range(16), key=lambda i: abs(values[i] * s - w)) for w in row[j : j + 64]]
    return torch.tensor(codes, dtype=torch.uint8), torch.tensor(scales)
"""
NF_ROUNDS = """
def quantize_nf4(W, codebook):
    x = W.double().unflatten(1, (-1, 64))
    s = x.abs().amax(-1, keepdim=True).clamp(min=1e-30)
    x = (x * (1 / s)).flatten(1)
    best, code = torch.full_like(x, 9), torch.zeros(x.shape, dtype=torch.uint8)
    for i, v in enumerate(codebook):
        d = (x - v) ** 2
        code[d < best] = i
        best = torch.minimum(best, d)
    return code, s.squeeze(-1)
"""


NF = [
    nf(
        "the entry below or above instead of the nearest",
        (("(v[1:] + v[:-1]) / 2", "v"), ("order[place]", "place.clamp(max=15)")),
        MIDDLES,
    ),
    nf(
        "the entry below or above instead of the nearest",
        (
            ("(v[1:] + v[:-1]) / 2)", "v, right=True) - 1"),
            ("v, order = codebook.sort()", "v = codebook"),
            ("order[place]", "place"),
        ),
        MIDDLES,
    ),
    nf(
        "the entry below or above instead of the nearest",
        (("np.abs(x[..., None] - v).argmin(-1)", "np.searchsorted(v, x)"),),
        NF_NUMPY,
    ),
    nf(
        "the entry below or above instead of the nearest",
        (("np.abs(x[..., None] - v).argmin(-1)", "(np.searchsorted(v, x, side='right') - 1)"),),
        NF_NUMPY,
    ),
    nf("the list taken for sorted", (("v, order = codebook.sort()", "v = codebook"), ("order[place]", "place")), MIDDLES),
    nf("the list taken for sorted", (("order[place]", "place"),), MIDDLES),
    nf(
        "the list taken for sorted",
        (("np.abs(x[..., None] - v).argmin(-1)", "np.searchsorted((v[1:] + v[:-1]) / 2, x)"),),
        NF_NUMPY,
    ),
    nf(
        None,
        (("np.abs(x[..., None] - v).argmin(-1)", "np.digitize(x, (v[1:] + v[:-1]) / 2)"),),
        NF_NUMPY,
        "raised",
    ),
    nf("signed codes", (("argmin(dim=-1).to(torch.uint8)", "argmin(dim=-1).sub(8).to(torch.int8)"),)),
    nf("signed codes", ((".argmin(-1).astype", ".argmin(-1).__sub__(8).astype"),), NF_NUMPY),
    nf("signed codes", (("order[place].flatten(1)", "(order[place].flatten(1) - 7 & 15)"),), MIDDLES),
    nf(
        "the values instead of their places",
        (("distance.argmin(dim=-1).to(torch.uint8)", "codebook[distance.argmin(dim=-1)]"),),
    ),
    nf("the values instead of their places", (("q.reshape(w.shape)", "v[q].reshape(w.shape)"),), NF_NUMPY),
    nf("even steps instead of the list", (("np.abs(x[..., None] - v).argmin(-1)", "(np.rint(x * 7) + 8)"),), NF_NUMPY),
    nf(
        "even steps instead of the list",
        (("    return distance.argmin(dim=-1)", "    return ((blocks / scale * 7.5).round().clamp(-8, 7) + 8)"),),
    ),
    nf("the scale of int4", (("keepdim=True)\n", "keepdim=True) / 7\n"),)),
    nf("the scale of int4", (("np.abs(b).max(-1)", "np.abs(b).max(-1) / np.float32(7.5)"),), NF_NUMPY),
    nf(
        "one scale a row",
        (("amax(dim=-1, keepdim=True)", "amax(dim=(1, 2), keepdim=True)"), ("scale.squeeze(-1)", "scale.view(N, 1)")),
    ),
    nf("one scale a row", (("amax(dim=-1, keepdim=True)", "amax(dim=(1, 2), keepdim=True).expand(-1, K // 64, -1)"),)),
    nf("another block than 64", (("K // 64, 64", "K // 32, 32"),)),
    nf("another block than 64", (("-1, 64", "-1, 16"),), NF_NUMPY),
    nf("max instead of absmax", (("blocks.abs().amax", "blocks.amax"),)),
    nf(
        "max instead of absmax",
        (("np.abs(b).max(-1)", "b.max(-1)"), ("s > 0, s, np.float32(0.5)", "s != 0, s, np.float32(1)")),
        NF_NUMPY,
    ),
    nf("no guard for a block of zeros", (("    scale = torch.where(scale == 0, 1.0, scale)\n", ""),)),
    nf("no guard for a block of zeros", (("    s[s == 0] = 1\n", ""),), MIDDLES),
]
NF4 = "[-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0, 0.0795803, 0.1609302, "
NF4 += "0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]"
NF += [
    nf("the list that was given not used", (("values = codebook.tolist()", f"values = {NF4}"),), NF_PYTHON),
    nf("the list that was given not used", (("codebook.numpy()", f"np.array({NF4}, dtype=np.float32)"),), NF_NUMPY),
]

MUTANTS = [*ENCODE, *DECODE, *SCALE, *MX, *NV, *NF]

ALTERNATIVES = [
    Alternative("05.1", "numpy, the bits of float32", code=BITS),
    Alternative("05.1", "pure Python, number by number", code=LOOP),
    Alternative("05.1", "a table and its middles", code=TABLE),
    Alternative("05.1", "torch's cast, clamped first", code=CAST),
    Alternative("05.1", "numpy, distances in float64", code=NEAREST),
    Alternative(
        "05.1",
        "log2 in float32, which is good enough here",
        code="""
def encode_e4m3(x):
    a = torch.clamp(x.abs(), 0, 448)
    e = torch.log2(a).floor().clamp(-6, 8)
    n = torch.round(a / 2 ** (e - 3))
    code = torch.where(torch.isnan(x), torch.full_like(x, 127), (e + 6) * 8 + n).int()
    return (code | torch.signbit(x).int() << 7).byte()
""",
    ),
    Alternative("05.2", "numpy, three fields", code=FIELDS),
    Alternative("05.2", "a table of all bytes", code=EACH),
    Alternative(
        "05.2", "torch's own view", code="\ndef decode_e4m3(codes):\n    return codes.view(torch.float8_e4m3fn).float()\n"
    ),
    Alternative(
        "05.2",
        "the bits of a float32, scaled",
        code="""
def decode_e4m3(codes):
    c = codes.int()
    v = (((c & 127) << 20)).view(torch.float32) * 2.0**120
    v = torch.where((c & 127) == 127, torch.nan, v)
    return v * (1 - 2 * (c >> 7))
""",
    ),
    Alternative(
        "05.2",
        "float64",
        code="""
def decode_e4m3(codes):
    c = codes.long()
    E, M = (c % 128) // 8, (c % 8).double()
    v = torch.where(E > 0, 8 + M, M) * torch.pow(2.0, (torch.clamp(E, min=1) - 10).double())
    v[c % 128 == 127] = float("nan")
    v[c > 127] *= -1
    return v
""",
    ),
    Alternative("05.3", "log2 in float64", code=LOG),
    Alternative("05.3", "pure Python", code=PYTHON),
    Alternative(
        "05.3",
        "the exponent field of float32",
        code="""
def e8m0_scale(W):
    if W.shape[1] % 32:
        raise ValueError(f"K={W.shape[1]}, block 32")
    bits = W.unflatten(1, (-1, 32)).abs().amax(-1).view(torch.int32)
    return ((bits >> 23) - 2).clamp(min=0).to(torch.uint8)
""",
    ),
    Alternative(
        "05.3",
        "numpy, frexp; zeros are 2⁰",
        code="""
def e8m0_scale(W):
    w = W.numpy()
    if w.shape[1] % 32 > 0:
        raise ValueError("a block of 32 is cut")
    a = np.abs(w).reshape(w.shape[0], -1, 32).max(axis=2)
    e = np.frexp(a)[1] - 3
    e[a == 0] = 0
    return np.clip(e + 127, 0, 254).astype(np.uint8)
""",
    ),
    Alternative("05.4", "numpy, distances", code=MX_NUMPY),
    Alternative("05.4", "comparisons, the exponent field", code=MX_BITS),
    Alternative("05.4", "pure Python", code=MX_PYTHON),
    Alternative(
        "05.4",
        "float64, a quotient; zeros have scale 2⁻¹²⁷",
        code="""
def quantize_mxfp4(W):
    b = W.double().unflatten(1, (-1, 32))
    e = torch.floor(torch.log2(b.abs().amax(-1, keepdim=True))) - 2
    e = e.clamp(min=-127)
    x = (b / 2**e).clamp(-6, 6)
    step = torch.where(x.abs() < 2, 0.5, torch.where(x.abs() < 4, 1.0, 2.0))
    v = (x / step).round() * step
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    code = torch.searchsorted(values, v.abs().float()) + 8 * (v < 0)
    return code.flatten(1).to(torch.uint8), (e + 127).squeeze(-1).to(torch.uint8)
""",
    ),
    Alternative("05.5", "numpy, distances", code=NV_NUMPY),
    Alternative("05.5", "torch's cast, reciprocals", code=NV_CAST),
    Alternative("05.5", "compressed-tensors' order of operations, turned round at the end", code=NV_RECIPROCAL),
    Alternative("05.5", "float64, block by block", code=NV_DOUBLE),
    Alternative("05.6", "sorted, cut in the middles, and back", code=MIDDLES),
    Alternative("05.6", "numpy", code=NF_NUMPY),
    Alternative("05.6", "pure Python, distances in units of w", code=NF_PYTHON),
    Alternative("05.6", "one entry after the other, float64, squares", code=NF_ROUNDS),
]
