"""Lab 07, answered wrongly (as it really happens) and answered otherwise."""

from tools.mutants import Alternative, changed, mutants_by_edits

salient, scales, error, search, shrink, zero = (mutants_by_edits(f"07.{i}") for i in range(1, 7))

# --- 07.1
ARGSORT = """
def salient_channels(x, share):
    m = np.abs(x.numpy()).mean(axis=0)
    n = max(1, int(share * x.shape[1]))
    return np.sort(np.argsort(m)[-n:])
"""
LOOP = """
def salient_channels(x, share):
    M, K = x.shape
    loud = [sum(abs(v) for v in x[:, k].tolist()) / M for k in range(K)]
    n = int(share * K) or 1
    ranked = sorted(range(K), key=lambda k: loud[k], reverse=True)
    return torch.tensor(sorted(ranked[:n]))
"""
MASK = """
def salient_channels(x, share):
    m = x.double().abs().sum(0)
    n = max(int(share * m.numel()), 1)
    limit = m.sort(descending=True).values[n - 1]
    return (m >= limit).nonzero().flatten()
"""
SALIENT = [
    salient("the maximum instead of the mean", ("mean(dim=0)", "amax(dim=0)")),
    salient("the maximum instead of the mean", (".mean(axis=0)", ".max(axis=0)"), code=ARGSORT),
    salient(
        "the maximum instead of the mean", ("sum(abs(v) for v in x[:, k].tolist()) / M", "max(abs(x[:, k]))"), code=LOOP
    ),
    salient("the mean without magnitudes", (".abs()", "")),
    salient(
        "the mean without magnitudes", ("sum(abs(v) for v in x[:, k].tolist())", "abs(sum(x[:, k].tolist()))"), code=LOOP
    ),
    salient("another statistic than the mean magnitude", (".abs().mean(dim=0)", ".square().mean(dim=0).sqrt()")),
    salient("another statistic than the mean magnitude", ("abs().sum(0)", "norm(dim=0)"), code=MASK),
    salient(
        "another statistic than the mean magnitude",
        ("np.abs(x.numpy()).mean(axis=0)", "x.numpy().std(axis=0)"),
        code=ARGSORT,
    ),
    salient(
        "another statistic than the mean magnitude",
        (".mean(axis=0)", ".__array__()\n    m = np.median(m, axis=0)"),
        code=ARGSORT,
    ),
    salient("rows instead of channels", ("dim=0", "dim=1")),
    salient("rows instead of channels", ("axis=0", "axis=1"), code=ARGSORT),
    salient("the quietest channels", ("torch.topk(loudness, n)", "torch.topk(loudness, n, largest=False)")),
    salient("the quietest channels", ("[-n:]", "[:n]"), code=ARGSORT),
    salient("the quietest channels", (", reverse=True", ""), code=LOOP),
    salient("in order of loudness", (".sort().values", "")),
    salient("in order of loudness", ("np.sort(np.argsort(m)[-n:])", "np.argsort(m)[-n:]"), code=ARGSORT),
    salient("in order of loudness", ("sorted(ranked[:n])", "ranked[:n]"), code=LOOP),
    salient("rounded up, or to the nearest", ("math.floor(", "math.ceil(")),
    salient("rounded up, or to the nearest", ("int(share * x.shape[1])", "round(share * x.shape[1])"), code=ARGSORT),
    salient("rounded up, or to the nearest", ("int(share * K) or 1", "int(share * K) + 1"), code=LOOP),
    salient(
        "no channel at all, or all of them", ("max(1, math.floor(share * len(loudness)))", "int(share * len(loudness))")
    ),
    salient(
        "no channel at all, or all of them", ("max(1, int(share * x.shape[1]))", "int(share * x.shape[1])"), code=ARGSORT
    ),
    salient("how loud instead of where", (".indices.sort()", ".values.sort()")),
    salient("how loud instead of where", ("np.sort(np.argsort(m)[-n:])", "m[np.sort(np.argsort(m)[-n:])]"), code=ARGSORT),
    salient("a mask instead of indices", (".nonzero().flatten()", ""), code=MASK),
]

# --- 07.2
NUMPY_SCALES = """
def awq_scales(x, alpha):
    m = np.abs(x.numpy()).mean(0)
    t = np.maximum(m ** alpha, 1e-4)
    return t / np.sqrt(t.max() * t.min())
"""
PYTHON_SCALES = """
def awq_scales(x, alpha):
    t = []
    for column in zip(*x.tolist()):
        m = sum(map(abs, column)) / len(column)
        t.append(max(m ** alpha, 1e-4))
    middle = math.sqrt(max(t) * min(t))
    return torch.tensor([v / middle for v in t])
"""
LOG_SCALES = """
def awq_scales(x, alpha):
    m = x.double().abs().mean(dim=0)
    logs = (alpha * torch.log(m)).clamp(min=math.log(1e-4)) if alpha else torch.zeros_like(m)
    return torch.exp(logs - (logs.max() + logs.min()) / 2)
"""
SCALES = [
    scales("the maximum instead of the mean", ("mean(dim=0)", "amax(dim=0)")),
    scales(
        "the maximum instead of the mean",
        ("sum(map(abs, column)) / len(column)", "max(map(abs, column))"),
        code=PYTHON_SCALES,
    ),
    scales("the mean without magnitudes", (".abs()", "")),
    scales("the mean without magnitudes", ("np.abs(x.numpy()).mean(0)", "np.abs(x.numpy().mean(0))"), code=NUMPY_SCALES),
    scales("a root mean square", (".abs().mean(dim=0)", ".pow(2).mean(dim=0).sqrt()")),
    scales("a root mean square", ("np.abs(x.numpy()).mean(0)", "np.square(x.numpy()).mean(0)"), code=NUMPY_SCALES),
    scales("one factor a token", ("dim=0", "dim=1")),
    scales("one factor a token", ("zip(*x.tolist())", "x.tolist()"), code=PYTHON_SCALES),
    scales("the power taken before the mean", (".mean(dim=0).pow(alpha)", ".pow(alpha).mean(dim=0)")),
    scales("α is not an exponent", (".pow(alpha)", ".mul(alpha)")),
    scales("α is not an exponent", ("m ** alpha", "m * alpha"), code=PYTHON_SCALES),
    scales("the exponent turned round", (".pow(alpha)", ".pow(1 - alpha)")),
    scales(
        "the exponent turned round", ("t / np.sqrt(t.max() * t.min())", "np.sqrt(t.max() * t.min()) / t"), code=NUMPY_SCALES
    ),
    scales("the exponent turned round", (".pow(alpha)", ".pow(-alpha)")),
    scales("not centred", ("return t / (t.max() * t.min()).sqrt()", "return t")),
    scales("the root left out of the centring", (".sqrt()", "")),
    scales("the root left out of the centring", ("math.sqrt(max(t) * min(t))", "max(t) * min(t)"), code=PYTHON_SCALES),
    scales("centred by something else", ("(t.max() * t.min()).sqrt()", "t.max()")),
    scales("centred by something else", ("np.sqrt(t.max() * t.min())", "t.mean()"), code=NUMPY_SCALES),
    scales("centred by something else", ("math.sqrt(max(t) * min(t))", "(max(t) + min(t)) / 2"), code=PYTHON_SCALES),
    scales("centred by something else", ("(logs.max() + logs.min()) / 2", "logs.mean()"), code=LOG_SCALES),
    scales("a dead channel is not guarded", (".clamp(min=1e-4)", "")),
    scales("a dead channel is not guarded", ("np.maximum(m ** alpha, 1e-4)", "m ** alpha"), code=NUMPY_SCALES),
    scales("the guard before the power", (".pow(alpha).clamp(min=1e-4)", ".clamp(min=1e-4).pow(alpha)")),
    scales(
        "the guard before the power", ("np.maximum(m ** alpha, 1e-4)", "np.maximum(m, 1e-8) ** alpha"), code=NUMPY_SCALES
    ),
    scales("another value for a dead channel", (".clamp(min=1e-4)", ".clamp(min=1e-5)")),
    scales("another value for a dead channel", ("max(m ** alpha, 1e-4)", "m ** alpha if m else 1.0"), code=PYTHON_SCALES),
    scales("1e-4 only where it is exactly 0", ("max(m ** alpha, 1e-4)", "m ** alpha or 1e-4"), code=PYTHON_SCALES),
    scales("1e-4 added", (".clamp(min=1e-4)", ".add(1e-4)")),
    scales("1e-4 added", ("np.maximum(m ** alpha, 1e-4)", "(m + 1e-4) ** alpha"), code=NUMPY_SCALES),
]

# --- 07.3: whoever writes the whole function writes a quantizer, too
OWN = """
def quantized(W, G, B):
    g = W.unflatten(1, (-1, G))
    lo, hi = torch.clamp(g.min(-1, keepdim=True).values, max=0), torch.clamp(g.max(-1, keepdim=True).values, min=0)
    s = (hi - lo) / (2**B - 1)
    z = torch.round(-lo / s)
    return (s * (torch.clamp(torch.round(g / s + z), 0, 2**B - 1) - z)).flatten(1)
"""
TORCH_ERROR = (
    OWN
    + """
def scaled_error(x, W, s, group_size, num_bits):
    W_hat = quantized(W * s, group_size, num_bits)
    d = (x / s) @ W_hat.T - x @ W.T
    return (d ** 2).sum()
"""
)
NUMPY_ERROR = """
def scaled_error(x, W, s, group_size, num_bits):
    x, W, s = (t.numpy().astype(np.float64) for t in (x, W, s))
    top = 2**num_bits - 1
    moved = W * s
    for n in range(len(W)):
        for k in range(0, W.shape[1], group_size):
            g = moved[n, k : k + group_size]
            lo, hi = min(g.min(), 0), max(g.max(), 0)
            step = (hi - lo) / top
            zero = np.rint(-lo / step)
            moved[n, k : k + group_size] = step * (np.clip(np.rint(g / step) + zero, 0, top) - zero)
    return float(np.sum(((x / s) @ moved.T - x @ W.T) ** 2))
"""
ERROR = [
    error("x not divided", ("(x / s)", "x")),
    error("x not divided", ("(x / s)", "x"), code=NUMPY_ERROR),
    error("s on the wrong side", ("(x / s)", "(x * s)"), ("W * s", "W / s")),
    error("s on the wrong side", ("(x / s)", "(x * s)"), ("W * s", "W / s"), code=TORCH_ERROR),
    error("both sides multiplied, or both divided", ("(x / s)", "(x * s)")),
    error("both sides multiplied, or both divided", ("quantized(W * s,", "quantized(W / s,"), code=TORCH_ERROR),
    error("both sides multiplied, or both divided", ("num_bits).T", "num_bits).div(s).T")),
    error("the rows of W multiplied", ("W * s", "(W.T * s).T")),
    error("the rows of W multiplied", ("W * s", "W * s[:, None]"), code=NUMPY_ERROR),
    error(
        "rounded before it was scaled",
        (
            "(x / s) @ fake_quantize(W * s, group_size, num_bits).T",
            "(x / s) @ (fake_quantize(W, group_size, num_bits) * s).T",
        ),
    ),
    error("rounded before it was scaled", ("(x / s)", "x"), ("W * s", "W"), code=TORCH_ERROR),
    error("compared with another product", ("y = x @ W.T", "x = x / s\n    y = x @ W.T"), ("(x / s)", "x")),
    error("compared with another product", ("- x @ W.T", "- x @ (W * s).T"), code=TORCH_ERROR),
    error("the error of the weights", ("(y_hat - y)", "(fake_quantize(W * s, group_size, num_bits) / s - W)")),
    error("the error of the weights", ("d = (x / s) @ W_hat.T - x @ W.T", "d = W_hat - W * s"), code=TORCH_ERROR),
    error("the mean instead of the sum", (".sum()", ".mean()")),
    error(
        "the mean instead of the sum",
        ("(d ** 2).sum()", "torch.nn.functional.mse_loss(d, torch.zeros_like(d))"),
        code=TORCH_ERROR,
    ),
    error("the mean instead of the sum", ("(d ** 2).sum()", "(d ** 2).sum(dim=1).mean()"), code=TORCH_ERROR),
    error("magnitudes instead of squares", (".square()", ".abs()")),
    error(
        "magnitudes instead of squares",
        ("np.sum(((x / s) @ moved.T - x @ W.T) ** 2)", "np.abs((x / s) @ moved.T - x @ W.T).mean()"),
        code=NUMPY_ERROR,
    ),
    error("the root of the sum", ("(d ** 2).sum()", "torch.linalg.norm(d)"), code=TORCH_ERROR),
    error("the root of the sum", (".square().sum()", ".square().mean().sqrt()")),
    error("added up before it was squared", (".square().sum()", ".sum().square()")),
    error("added up before it was squared", ("(d ** 2).sum()", "d.sum()"), code=TORCH_ERROR),
    error("another number of bits", ("group_size, num_bits).T", "group_size, 4).T")),
    error("another number of bits", ("top = 2**num_bits - 1", "top = 15"), code=NUMPY_ERROR),
    error("another group size", ("group_size, num_bits).T", "len(s), num_bits).T")),
    error("another group size", ("W * s, group_size,", "W * s, W.shape[1],"), code=TORCH_ERROR),
]

# --- 07.4
SEARCH_OWN = (
    OWN
    + """
def factors(x, a):
    t = (x.abs().mean(0) ** a).clamp(min=1e-4)
    return t / torch.sqrt(t.max() * t.min())

def E(x, W, s, G, B):
    return (((x / s) @ quantized(W * s, G, B).T - x @ W.T) ** 2).sum().item()
"""
)
LIST = (
    SEARCH_OWN
    + """
def search_alpha(x, W, group_size, num_bits):
    alphas = [i / 20 for i in range(20)]
    errors = [E(x, W, factors(x, a), group_size, num_bits) for a in alphas]
    best = errors.index(min(errors))
    return alphas[best], errors[best]
"""
)
ARANGE = (
    SEARCH_OWN
    + """
def search_alpha(x, W, group_size, num_bits):
    alphas = np.arange(0, 1, 0.05)
    errors = np.array([E(x, W, factors(x, float(a)), group_size, num_bits) for a in alphas])
    i = errors.argmin()
    return alphas[i], errors[i]
"""
)
PAIRS = (
    SEARCH_OWN
    + """
def search_alpha(x, W, group_size, num_bits):
    x, W = x.double(), W.double()
    error, i = min((E(x, W, factors(x, i / 20), group_size, num_bits), i) for i in range(20))
    return i / 20, error
"""
)
ALL_AT_ONCE = (
    OWN
    + """
def search_alpha(x, W, group_size, num_bits):
    a = torch.linspace(0, 0.95, 20)
    t = torch.maximum(x.abs().mean(0) ** a[:, None], torch.tensor(1e-4))
    s = t / (t.amax(1) * t.amin(1)).sqrt()[:, None]
    d = torch.stack([quantized(W * f, group_size, num_bits) / f - W for f in s])
    e = torch.einsum("mk,ank->amn", x, d).square().sum((1, 2))
    i = int(torch.argmin(e))
    return a[i].item(), e[i]
"""
)
WHILE = (
    SEARCH_OWN
    + """
def search_alpha(x, W, group_size, num_bits):
    i, best = 0, E(x, W, factors(x, 0.0), group_size, num_bits)
    while i < 19:
        e = E(x, W, factors(x, (i + 1) / 20), group_size, num_bits)
        if e >= best:
            break
        i, best = i + 1, e
    return i / 20, best
"""
)
SEARCH = [
    search(
        "only one α tried",
        code=SEARCH_OWN
        + """
def search_alpha(x, W, group_size, num_bits):
    return 0.5, E(x, W, factors(x, 0.5), group_size, num_bits)
""",
    ),
    search("the largest error", ("error < least", "error > least"), ("0.0, math.inf", "0.0, -math.inf")),
    search("the largest error", ("min(errors)", "max(errors)"), code=LIST),
    search(
        "judged by the weights",
        (
            "scaled_error(x, W, awq_scales(x, i / 20), group_size, num_bits)",
            "(fake_quantize(W * (s := awq_scales(x, i / 20)), group_size, num_bits) / s - W).square().sum().item()",
        ),
    ),
    search(
        "judged by the weights",
        (
            "best = errors.index(min(errors))",
            "moved = [W * factors(x, a) for a in alphas]\n"
            "    lost = [(quantized(w, group_size, num_bits) - w).square().sum() for w in moved]\n"
            "    best = lost.index(min(lost))",
        ),
        code=LIST,
    ),
    search("stopped at the first rise", code=WHILE),
    search(
        "stopped at the first rise",
        (
            "            best, least = i / 20, error",
            "            best, least = i / 20, error\n        else:\n            break",
        ),
    ),
    search("of equal errors, a later α", ("error < least", "error <= least")),
    search(
        "of equal errors, a later α",
        (
            "(E(x, W, factors(x, i / 20), group_size, num_bits), i)",
            "(E(x, W, factors(x, i / 20), group_size, num_bits), -i)",
        ),
        ("return i / 20", "return -i / 20"),
        code=PAIRS,
    ),
    search("α = 1 tried, too", ("range(20)", "range(21)")),
    search("α = 1 tried, too", ("np.arange(0, 1, 0.05)", "np.arange(0, 1.01, 0.05)"), code=ARANGE),
    search("α = 0 not tried", ("range(20)", "range(1, 20)")),
    search("α = 0 not tried", ("np.arange(0, 1, 0.05)", "np.arange(0.05, 1, 0.05)"), code=ARANGE),
    search("other steps than a twentieth", ("np.arange(0, 1, 0.05)", "np.linspace(0, 1, 20)"), code=ARANGE),
    search("other steps than a twentieth", ("i / 20 for i in range(20)", "i / 10 for i in range(10)"), code=LIST),
    search("the number of the α", ("best, least = i / 20, error", "best, least = i, error")),
    search("the number of the α", ("return alphas[best]", "return best"), code=LIST),
    search("the two results in the other order", ("return best, least", "return least, best")),
    search("the error of another α", ("return best, least", "return best, error")),
    search("the error of another α", ("errors[best]", "errors[0]"), code=LIST),
]

# --- 07.5
WHERE = """
def shrink(e, beta, p):
    a = e.abs()
    left = a - a ** (p - 1) / beta
    return torch.where(left > 0, left * torch.sign(e), torch.zeros_like(e))
"""
NUMPY_SHRINK = """
def shrink(e, beta, p):
    e = e.numpy().astype(np.float64)
    a = np.abs(e)
    with np.errstate(divide="ignore"):
        return np.sign(e) * np.maximum(a - a ** (p - 1) / beta, 0)
"""
PYTHON_SHRINK = """
def one(v, beta, p):
    if v == 0:
        return 0.0
    left = abs(v) - abs(v) ** (p - 1) / beta
    if left <= 0:
        return 0.0
    return left if v > 0 else -left

def shrink(e, beta, p):
    return torch.tensor([one(v, beta, p) for v in e.flatten().tolist()]).reshape(e.shape)
"""
LIMIT = """
def shrink(e, beta, p):
    out = torch.zeros_like(e)
    big = e.abs() > (1 / beta) ** (1 / (2 - p))
    v = e[big]
    out[big] = v - v.sign() * v.abs() ** (p - 1) / beta
    return out
"""
SHRINK = [
    shrink("a hard threshold", ("left * torch.sign(e)", "e"), code=WHERE),
    shrink("a hard threshold", ("v - v.sign() * v.abs() ** (p - 1) / beta", "v"), code=LIMIT),
    shrink("a hard threshold", code="\ndef shrink(e, beta, p):\n    return e * (e.abs() > 1 / beta)\n"),
    shrink("the same taken from every error", ("size.pow(p - 1) / beta", "1 / beta")),
    shrink("the same taken from every error", ("v.abs() ** (p - 1) / beta", "(1 / beta) ** (1 / (2 - p))"), code=LIMIT),
    shrink(
        "the same taken from every error",
        code="\ndef shrink(e, beta, p):\n    return torch.nn.functional.softshrink(e, 1 / beta)\n",
    ),
    shrink("the sign lost", ("torch.sign(e) * smaller", "smaller")),
    shrink("the sign lost", ("left if v > 0 else -left", "left"), code=PYTHON_SHRINK),
    shrink("negative errors become 0", ("torch.relu(size -", "torch.relu(e -"), ("torch.sign(e) * smaller", "smaller")),
    shrink("negative errors become 0", ("abs(v) - abs(v)", "v - abs(v)"), code=PYTHON_SHRINK),
    shrink(
        "negative errors become 0",
        (
            "np.sign(e) * np.maximum(a - a ** (p - 1) / beta, 0)",
            "np.maximum(np.sign(e) * np.where(e == 0, 0, a - a ** (p - 1) / beta), 0)",
        ),
        code=NUMPY_SHRINK,
    ),
    shrink("the power of a negative number", ("size = e.abs()", "size = e"), ("torch.sign(e) * smaller", "smaller")),
    shrink("the power of a negative number", ("size.pow(p - 1)", "e.pow(p - 1)")),
    shrink("the exponent p instead of p − 1", ("pow(p - 1)", "pow(p)")),
    shrink("the exponent p instead of p − 1", ("abs(v) ** (p - 1)", "abs(v) ** (1 - p)"), code=PYTHON_SHRINK),
    shrink("multiplied by β", ("pow(p - 1) / beta", "pow(p - 1) * beta")),
    shrink("multiplied by β", ("a ** (p - 1) / beta", "(a / beta) ** (p - 1)"), code=NUMPY_SHRINK),
    shrink("the factor p of the derivative", ("size.pow(p - 1) / beta", "p * size.pow(p - 1) / beta")),
    shrink("the factor p of the derivative", ("- a ** (p - 1) / beta", "- p * a ** (p - 1) / beta"), code=WHERE),
    shrink("not cut at 0", ("torch.relu(size - size.pow(p - 1) / beta)", "size - size.pow(p - 1) / beta")),
    shrink("not cut at 0", ("    if left <= 0:\n        return 0.0\n", ""), code=PYTHON_SHRINK),
    shrink("NaN where e is 0", ("torch.sign(e)", "(e / size)")),
    shrink(
        "NaN where e is 0",
        ("torch.where(left > 0, left * torch.sign(e), torch.zeros_like(e))", "left * torch.sign(e) * (left > 0)"),
        code=WHERE,
    ),
    shrink("what is left instead of what is taken over", ("return torch.sign(e)", "return e - torch.sign(e)")),
]

# --- 07.6
SHRINKS = """
def shrink(e, beta, p):
    a = np.abs(e)
    with np.errstate(divide="ignore"):
        return np.sign(e) * np.maximum(a - a ** (p - 1) / beta, 0)
"""
NUMPY_ZERO = (
    SHRINKS
    + """
def hqq_zero(W, scale, zero, beta, p, num_bits):
    W, s, z = W.numpy(), scale.numpy()[..., None], zero.numpy()[..., None]
    q = np.clip(np.rint(W / s + z), 0, 2**num_bits - 1)
    e = shrink(W - (q - z) * s, beta, p)
    return np.mean(q - (W - e) / s, axis=2)
"""
)
PYTHON_ZERO = """
def vote(w, s, z, beta, p, top):
    q = min(max(round(w / s + z), 0), top)
    r = w - s * (q - z)
    left = abs(r) - abs(r) ** (p - 1) / beta if r else 0.0
    e = math.copysign(max(left, 0.0), r)
    return q - (w - e) / s

def hqq_zero(W, scale, zero, beta, p, num_bits):
    out = []
    for groups, ss, zs in zip(W.tolist(), scale.tolist(), zero.tolist()):
        rows = zip(groups, ss, zs)
        out.append([sum(vote(w, s, z, beta, p, 2**num_bits - 1) for w in g) / len(g) for g, s, z in rows])
    return torch.tensor(out)
"""
OFFSET = """
def shrink(e, beta, p):
    a = e.abs()
    return e.sign() * (a - a.pow(p - 1) / beta).clamp(min=0)

def hqq_zero(W, scale, zero, beta, p, num_bits):
    s = scale[:, :, None].double()
    offset = zero[:, :, None].double() * s
    q = ((W + offset) / s).round().clamp(0, 2**num_bits - 1)
    e = shrink(W + offset - s * q, beta, p)
    return (s * q - W + e).mean(-1) / scale
"""
INVERSE = """
def shrink(e, beta, p):
    return torch.sign(e) * torch.relu(torch.abs(e) - (1.0 / beta) * torch.pow(torch.abs(e), p - 1))

def hqq_zero(W, scale, zero, beta, p, num_bits):
    inv_scale, zero = 1 / scale.unsqueeze(2), zero.unsqueeze(2)
    W_q = torch.round(W * inv_scale + zero).clamp(0, 2**num_bits - 1)
    W_r = (W_q - zero) / inv_scale
    W_e = shrink(W - W_r, beta, p)
    return torch.mean(W_q - (W - W_e) * inv_scale, dim=2)
"""
ZERO = [
    zero("e forgotten: plain least squares", ("(W - e) / s", "W / s")),
    zero("e forgotten: plain least squares", ("q - (w - e) / s", "q - w / s"), code=PYTHON_ZERO),
    zero("the sign of e", ("(W - e) / s", "(W + e) / s")),
    zero("the sign of e", ("W - (q - z) * s", "(q - z) * s - W"), code=NUMPY_ZERO),
    zero("the whole error taken over", ("shrink(W - s * (q - z), beta, p)", "W - s * (q - z)")),
    zero("the weights shrunk", ("shrink(W - s * (q - z), beta, p)", "shrink(W, beta, p)")),
    zero("an error in steps", ("shrink(W - s * (q - z), beta, p)", "s * shrink(W / s - (q - z), beta, p)")),
    zero("an error in steps", ("(W - e) / s", "(W / s - e)"), code=NUMPY_ZERO),
    zero("codes not clamped", ("torch.clamp(torch.round(W / s + z), 0, 2**num_bits - 1)", "torch.round(W / s + z)")),
    zero("codes not clamped", ("min(max(round(w / s + z), 0), top)", "round(w / s + z)"), code=PYTHON_ZERO),
    zero("other codes than 0 … 2^B − 1", ("2**num_bits - 1", "15")),
    zero("other codes than 0 … 2^B − 1", ("2**num_bits - 1", "2**num_bits"), code=NUMPY_ZERO),
    zero("other codes than 0 … 2^B − 1", ("0, 2**num_bits - 1", "-(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1")),
    zero("rounded before the zero point was added", ("torch.round(W / s + z)", "torch.round(W / s) + z")),
    zero("rounded before the zero point was added", ("round(w / s + z)", "round(w / s) + z"), code=PYTHON_ZERO),
    zero("truncated instead of rounded", ("round(w / s + z)", "int(w / s + z)"), code=PYTHON_ZERO),
    zero("truncated instead of rounded", ("np.rint(", "np.floor("), code=NUMPY_ZERO),
    zero("multiplied by the scale", ("1 / scale.unsqueeze(2)", "scale.unsqueeze(2)"), code=INVERSE),
    zero("multiplied by the scale", ("torch.round(W / s + z)", "torch.round(W * s + z)")),
    zero("multiplied by the scale", ("(W - e) / s", "(W - e) * s")),
    zero("a zero point in the units of the weights", ("+ e).mean(-1) / scale", "+ e).mean(-1)"), code=OFFSET),
    zero("a zero point in the units of the weights", ("q - (W - e) / s", "W - e - s * q")),
    zero("the zero point turned round", ("(q - (W - e) / s)", "((W - e) / s - q)")),
    zero("the zero point turned round", ("q - (w - e) / s", "(w - e) / s - q"), code=PYTHON_ZERO),
    zero("rounded to a whole number", (".mean(dim=-1)", ".mean(dim=-1).round()")),
    zero(
        "rounded to a whole number",
        ("np.mean(q - (W - e) / s, axis=2)", "np.rint(np.mean(q - (W - e) / s, axis=2))"),
        code=NUMPY_ZERO,
    ),
    zero("the mean over the wrong axis", ("mean(dim=-1)", "mean(dim=1)")),
    zero("the mean over the wrong axis", ("axis=2)", "axis=0)"), code=NUMPY_ZERO),
    zero("the mean over the wrong axis", (".mean(dim=-1)", "")),
    zero("another middle than the mean", (".mean(dim=-1)", ".median(dim=-1).values")),
    zero("another middle than the mean", (" / len(g)", ""), code=PYTHON_ZERO),
]

MUTANTS = [*SALIENT, *SCALES, *ERROR, *SEARCH, *SHRINK, *ZERO]

ALTERNATIVES = [
    Alternative("07.1", "NumPy, argsort", code=ARGSORT),
    Alternative("07.1", "pure Python", code=LOOP),
    Alternative("07.1", "a limit in fp64, sums instead of means", code=MASK),
    Alternative(
        "07.1",
        "argpartition",
        code=changed(ARGSORT, ("np.sort(np.argsort(m)[-n:])", "np.sort(np.argpartition(m, -n)[-n:])")),
    ),
    Alternative("07.1", "einsum, fp32", edits=(("x.abs().mean(dim=0)", "torch.einsum('mk->k', x.abs()) / len(x)"),)),
    Alternative("07.2", "NumPy", code=NUMPY_SCALES),
    Alternative("07.2", "pure Python", code=PYTHON_SCALES),
    Alternative("07.2", "logarithms, fp64", code=LOG_SCALES),
    Alternative(
        "07.2",
        "two roots, a product with ones",
        code="""
def awq_scales(x, alpha):
    m = torch.ones(len(x)) @ x.abs() / len(x)
    t = torch.maximum(torch.exp(alpha * torch.log(m)) if alpha > 0 else torch.ones_like(m), torch.tensor(1e-4))
    return t / t.max().sqrt() / t.min().sqrt()
""",
    ),
    Alternative("07.3", "another quantizer, a tensor of one number", code=TORCH_ERROR),
    Alternative("07.3", "NumPy in fp64, group by group", code=NUMPY_ERROR),
    Alternative(
        "07.3",
        "the difference of the weights first",
        edits=(
            ("    y = x @ W.T\n", ""),
            (
                "y_hat = (x / s) @ fake_quantize(W * s, group_size, num_bits).T",
                "d = fake_quantize(W * s, group_size, num_bits) / s - W",
            ),
            ("(y_hat - y).square()", "(x @ d.T).square()"),
        ),
    ),
    Alternative(
        "07.3",
        "token by token",
        code=changed(
            TORCH_ERROR,
            (
                "    d = (x / s) @ W_hat.T - x @ W.T\n    return (d ** 2).sum()",
                "    total = 0.0\n    for row in x:\n        d = W_hat @ (row / s) - W @ row\n"
                "        total += float(d @ d)\n    return total",
            ),
        ),
    ),
    Alternative(
        "07.3",
        "einsum, the squared norm",
        code=changed(
            TORCH_ERROR,
            ("(x / s) @ W_hat.T", "torch.einsum('mk,nk->mn', x / s, W_hat)"),
            ("(d ** 2).sum()", "d.double().norm() ** 2"),
        ),
    ),
    Alternative("07.4", "a list and its least", code=LIST),
    Alternative("07.4", "NumPy's arange, argmin", code=ARANGE),
    Alternative("07.4", "pairs, fp64", code=PAIRS),
    Alternative("07.4", "all at once", code=ALL_AT_ONCE),
    Alternative(
        "07.4", "backwards, with ≤", edits=(("range(20)", "reversed(range(20))"), ("error < least", "error <= least"))
    ),
    Alternative("07.5", "where", code=WHERE),
    Alternative("07.5", "NumPy, fp64", code=NUMPY_SHRINK),
    Alternative("07.5", "pure Python", code=PYTHON_SHRINK),
    Alternative("07.5", "the threshold first", code=LIMIT),
    Alternative(
        "07.5",
        "one power, a factor",
        code="""
def shrink(e, beta, p):
    return e * (1 - e.abs() ** (p - 2) / beta).clamp(min=0)
""",
    ),
    Alternative("07.6", "NumPy", code=NUMPY_ZERO),
    Alternative("07.6", "pure Python", code=PYTHON_ZERO),
    Alternative("07.6", "an offset in units of the weights, fp64", code=OFFSET),
    Alternative("07.6", "reciprocal scales, as in HQQ's source", code=INVERSE),
    Alternative(
        "07.6",
        "z and a mean of corrections",
        edits=(
            (
                "return (q - (W - e) / s).mean(dim=-1)",
                "return zero + ((e - (W - s * (q - z))) / s).sum(dim=-1) / W.shape[-1]",
            ),
        ),
    ),
]
