"""Lab 12: the mistakes students make with rotations and with training through rounding, in their own code."""

from tools.mutants import Alternative, mutants_of

had, fast, fold, turn, ste, step = (mutants_of(f"12.{i}") for i in range(1, 7))

# --- 12.1
KRON = """
def hadamard(n):
    if n < 1 or 2 ** (n.bit_length() - 1) != n:
        raise ValueError(f"{n}: not a power of two")
    two = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    H = np.ones((1, 1))
    for _ in range(n.bit_length() - 1):
        H = np.kron(two, H)
    return H
"""
BITS = """
def hadamard(n):
    if bin(n).count("1") != 1:
        raise ValueError(n)
    i = torch.arange(n)
    ones = torch.tensor([[bin(a & b).count("1") for b in i.tolist()] for a in i.tolist()])
    return torch.where(ones % 2 == 0, 1.0, -1.0) / n ** 0.5
"""
RECURSIVE = """
def hadamard(n):
    if n == 1:
        return torch.ones(1, 1)
    if n % 2:
        raise ValueError("powers of two only")
    h = hadamard(n // 2)
    top, low = torch.hstack([h, h]), torch.hstack([h, -h])
    return torch.vstack([top, low]) / math.sqrt(2)
"""
FILLED = """
def hadamard(n):
    size = 1
    while size < n:
        size *= 2
    if size != n:
        raise ValueError(f"n={n}: take {size // 2} or {size}")
    H = np.ones((n, n), dtype=np.float32)
    size = 1
    while size < n:
        H[:size, size:2 * size] = H[:size, :size]
        H[size:2 * size, :size] = H[:size, :size]
        H[size:2 * size, size:2 * size] = -H[:size, :size]
        size *= 2
    return H / np.sqrt(n).astype(np.float32)
"""
REFUSED = """    if n & (n - 1):
        low = 1 << (n.bit_length() - 1)
        raise ValueError(f"n={n} is no power of two; the nearest are {low} and {2 * low}")
"""
HAD = [
    had("not scaled", ((" / math.sqrt(n)", ""),)),
    had("not scaled", ((" / np.sqrt(n).astype(np.float32)", ""),), FILLED),
    had("not scaled", ((" / np.sqrt(n).astype(np.float32)", ".astype(np.int64)"),), FILLED),
    had("not scaled", (("1.0, -1.0) / n ** 0.5", "1, -1)"),), BITS),
    had("scaled by 1/n", (("math.sqrt(n)", "n"),)),
    had("scaled by 1/n", (("math.sqrt(2)", "2"),), RECURSIVE),
    had("scaled once instead of at each doubling, or the other way round", (("math.sqrt(n)", "math.sqrt(2)"),)),
    had("scaled once instead of at each doubling, or the other way round", (("math.sqrt(2)", "math.sqrt(n)"),), RECURSIVE),
    had("no minus", (("-H", "H"),)),
    had("no minus", (("[1.0, -1.0]", "[1.0, 1.0]"),), KRON),
    had("the minus in another block", (("torch.cat((H, -H), 1)", "torch.cat((-H, H), 1)"),)),
    had("the minus in another block", (("[[1.0, 1.0], [1.0, -1.0]]", "[[1.0, -1.0], [1.0, 1.0]]"),), KRON),
    had("the minus in another block", (("[[1.0, 1.0], [1.0, -1.0]]", "[[-1.0, 1.0], [1.0, 1.0]]"),), KRON),
    had("blocks of the identity or of zeros", (("    h = hadamard(n // 2)", "    h = torch.eye(n // 2)"),), RECURSIVE),
    had(
        "blocks of the identity or of zeros",
        (("torch.cat((torch.cat((H, H), 1), torch.cat((H, -H), 1)))", "torch.block_diag(H, -H)"),),
    ),
    had(
        "blocks of the identity or of zeros",
        (("        H = torch.cat((", "        H = torch.eye(len(H))\n        H = torch.cat(("),),
    ),
    had(
        "the rows in another order",
        (("    return H /", "    H = H[(H[:, 1:] != H[:, :-1]).sum(1).argsort()]\n    return H /"),),
    ),
    had(
        "the rows in another order",
        (("torch.vstack([top, low])", "torch.stack([top, low], 1).reshape(n, n)"),),
        RECURSIVE,
    ),
    had("no refusal", ((REFUSED, ""),)),
    had("no refusal", ((REFUSED, ""), ("math.sqrt(n)", "math.sqrt(len(H))"))),
    had("no refusal", (("    if n < 1 or 2 ** (n.bit_length() - 1) != n:\n", "    if n < 1:\n"),), KRON),
    had("no refusal", (('    if bin(n).count("1") != 1:\n        raise ValueError(n)\n', ""),), BITS),
    had("no refusal", (("if n & (n - 1)", "if n % 2 and n > 1"),)),
    had(
        "no refusal",
        (
            ("    if n < 1 or 2 ** (n.bit_length() - 1) != n:\n", "    if n < 1:\n"),
            ("range(n.bit_length() - 1)", "range(round(math.log2(n)))"),
        ),
        KRON,
    ),
    had("no refusal", ((REFUSED, ""), ("return H / math.sqrt(n)", "return H[:n, :n] / math.sqrt(n)"))),
]

# --- 12.2
MATRIX = """
def fast_hadamard(x):
    H = torch.ones(1, 1, dtype=torch.float64)
    while len(H) < x.shape[1]:
        H = torch.kron(H, torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64))
    return x.double() @ H / len(H) ** 0.5
"""
RECURSION = """
def half(x):
    if x.shape[1] == 1:
        return x
    a, b = torch.chunk(x, 2, dim=1)
    return torch.cat([half(a + b), half(a - b)], dim=1)

def fast_hadamard(x):
    return half(x) / x.shape[1] ** 0.5
"""
LOOPS = """
def fast_hadamard(x):
    out = []
    for row in x.tolist():
        h, K = 1, len(row)
        while h < K:
            for i in range(0, K, 2 * h):
                for j in range(i, i + h):
                    a, b = row[j], row[j + h]
                    row[j], row[j + h] = a + b, a - b
            h *= 2
        out.append([v / math.sqrt(K) for v in row])
    return torch.tensor(out)
"""
INPLACE = """
def fast_hadamard(x):
    y = x.numpy().copy()
    K = y.shape[1]
    for s in range(K.bit_length() - 1):
        v = y.reshape(len(y), -1, 2, 2 ** s)
        a, b = v[:, :, 0].copy(), v[:, :, 1].copy()
        v[:, :, 0] = (a + b) * np.float32(0.5 ** 0.5)
        v[:, :, 1] = (a - b) * np.float32(0.5 ** 0.5)
    return y
"""
SHUFFLE = """
def fast_hadamard(x):
    y, K = x, x.shape[1]
    for _ in range(int(math.log2(K))):
        even, odd = y[:, 0::2], y[:, 1::2]
        y = torch.cat((even + odd, even - odd), dim=1)
    return y * K ** -0.5
"""
FAST = [
    fast("not scaled", ((" / math.sqrt(K)", ""),)),
    fast("not scaled", ((" / x.shape[1] ** 0.5", ""),), RECURSION),
    fast("scaled wrongly", (("math.sqrt(K)", "K"),)),
    fast(
        "scaled wrongly",
        (("half(a + b), half(a - b)", "half(a + b) / 2, half(a - b) / 2"), (" / x.shape[1] ** 0.5", "")),
        RECURSION,
    ),
    fast("scaled wrongly", (("K ** -0.5", "0.5 ** 0.5"),), SHUFFLE),
    fast(
        "scaled wrongly",
        (
            ("(a + b) * np.float32(0.5 ** 0.5)", "(a + b) / np.sqrt(K)"),
            ("(a - b) * np.float32(0.5 ** 0.5)", "(a - b) / np.sqrt(K)"),
        ),
        INPLACE,
    ),
    fast("over the tokens instead of the channels", (("x.double() @ H", "H @ x.double()"),), MATRIX),
    fast(
        "over the tokens instead of the channels",
        (("y = x.numpy().copy()", "y = x.numpy().T.copy()"), ("return y", "return y.T")),
        INPLACE,
    ),
    fast(
        "over the tokens instead of the channels",
        (("M, K = x.shape\n    y, stride = x, 1", "K, M = x.shape\n    y, stride = x.T, 1"), ("return y /", "return y.T /")),
    ),
    fast("one stride only", (("stride *= 2", "break"),)),
    fast("one stride only", (("half(a + b), half(a - b)", "a + b, a - b"),), RECURSION),
    fast("one stride only", (("half(a + b), half(a - b)", "a + b, a - b"), ("x.shape[1] ** 0.5", "2 ** 0.5")), RECURSION),
    fast("one stride only", (("2 ** s)", "1)"),), INPLACE),
    fast("a stage missing", (("while stride < K", "while 2 * stride < K"),)),
    fast("a stage missing", (("y, stride = x, 1", "y, stride = x, 2"),)),
    fast("a stage missing", (("range(K.bit_length() - 1)", "range(K.bit_length() - 2)"),), INPLACE),
    fast("a stage missing", (("h, K = 1, len(row)", "h, K = 2, len(row)"),), LOOPS),
    fast(
        "the sum overwritten before the difference",
        (
            ("a, b = v[:, :, 0].copy(), v[:, :, 1].copy()", "a, b = v[:, :, 0], v[:, :, 1]"),
            ("(a + b) * np.float32(0.5 ** 0.5)", "a + b"),
            ("(a - b) * np.float32(0.5 ** 0.5)", "a - b"),
            ("return y", "return y / np.sqrt(K)"),
        ),
        INPLACE,
    ),
    fast(
        "the sum overwritten before the difference",
        (
            (
                "row[j], row[j + h] = a + b, a - b",
                "row[j] = row[j] + row[j + h]\n                    row[j + h] = row[j] - row[j + h]",
            ),
        ),
        LOOPS,
    ),
    fast("the difference the wrong way round", (("(a + b, a - b)", "(a + b, b - a)"),)),
    fast("the difference the wrong way round", (("half(a - b)", "half(b - a)"),), RECURSION),
    fast(
        "the results in another order",
        (("torch.cat([half(a + b), half(a - b)], dim=1)", "torch.stack([half(a + b), half(a - b)], dim=2).flatten(1)"),),
        RECURSION,
    ),
    fast("the results in another order", (("torch.chunk(x, 2, dim=1)", "(x[:, 0::2], x[:, 1::2])"),), RECURSION),
]

# --- 12.3
FOLD_NUMPY = """
def fold_gain(gain, W):
    g = gain.float().numpy()
    return np.ones_like(g), W.float().numpy() * g[None, :]
"""
FOLD_DIAG = """
def fold_gain(gain, W):
    new = W.double() @ torch.diag(gain.double())
    return gain.new_ones(gain.shape).float(), new.float()
"""
FOLD_LOOP = """
def fold_gain(gain, W):
    g = gain.tolist()
    return torch.tensor([1.0] * len(g)), torch.tensor([[w * f for w, f in zip(row, g)] for row in W.tolist()])
"""
FOLD_COLUMNS = """
def fold_gain(gain, W):
    new = W.clone().to(torch.float32)
    for k in range(len(gain)):
        new[:, k] *= gain[k].float()
    return torch.ones_like(gain), new
"""
FOLD = [
    fold("along N instead of K", (("W.float() * gain.float()", "W.float() * gain.float()[:, None]"),)),
    fold(
        "along N instead of K",
        (("W.double() @ torch.diag(gain.double())", "torch.diag(gain.double()) @ W.double()"),),
        FOLD_DIAG,
    ),
    fold("along N instead of K", (("W.float().numpy() * g[None, :]", "(W.float().numpy().T * g).T"),), FOLD_NUMPY),
    fold("divided by the gain", (("W.float() * gain", "W.float() / gain"),)),
    fold("divided by the gain", (("new[:, k] *=", "new[:, k] /="),), FOLD_COLUMNS),
    fold("the gain left in place, too", (("torch.ones(len(gain))", "gain"),)),
    fold("the gain left in place, too", (("np.ones_like(g)", "g"),), FOLD_NUMPY),
    fold("the gain lost", ((" * gain.float()", ""),)),
    fold("the gain lost", (("        new[:, k] *= gain[k].float()", "        W[:, k] * gain[k].float()"),), FOLD_COLUMNS),
    fold("nothing moved", (("torch.ones(len(gain)), W.float() * gain.float()", "gain, W"),)),
    fold("zeros for the new gain", (("torch.ones", "torch.zeros"),)),
    fold("zeros for the new gain", (("np.ones_like", "np.zeros_like"),), FOLD_NUMPY),
    fold("the gain's reciprocal left in the norm", (("torch.ones(len(gain))", "1 / gain.float()"),)),
    fold("rounded back to bf16", (("W.float() * gain.float()", "W * gain"),)),
    fold("rounded back to bf16", (("new.float()", "new.to(W.dtype)"),), FOLD_DIAG),
    fold(
        "the two results in the other order",
        (("torch.ones(len(gain)), W.float() * gain.float()", "W.float() * gain.float(), torch.ones(len(gain))"),),
    ),
]

# --- 12.4
TURN_NUMPY = """
def rotate(W_writer, W_reader, R):
    r = R.numpy()
    return r.T.dot(W_writer.numpy()), W_reader.numpy().dot(r)
"""
TURN_STREAM = """
def rotate(W_writer, W_reader, R):
    return (W_writer.T @ R).T, (R.T @ W_reader.T).T
"""
TURN_INVERSE = """
def rotate(W_writer, W_reader, R):
    back = torch.linalg.inv(R)
    return back @ W_writer, torch.linalg.solve(R, W_reader.T).T
"""
TURN_EINSUM = """
def rotate(W_writer, W_reader, R):
    R = R.double()
    return torch.einsum("ij,ik->jk", R, W_writer.double()), torch.einsum("ni,ij->nj", W_reader.double(), R)
"""
TURN_LOOP = """
def rotate(W_writer, W_reader, R):
    D = len(R)
    writer, reader = torch.zeros_like(W_writer), torch.zeros_like(W_reader)
    for i in range(D):
        for j in range(D):
            writer[j] += R[i, j] * W_writer[i]
            reader[:, j] += R[i, j] * W_reader[:, i]
    return writer, reader
"""
TURN = [
    turn("R instead of Rᵀ in the writer", (("R.T @ W_writer", "R @ W_writer"),)),
    turn("R instead of Rᵀ in the writer", (("r.T.dot", "r.dot"),), TURN_NUMPY),
    turn("R instead of Rᵀ in the writer", (("writer[j] += R[i, j]", "writer[j] += R[j, i]"),), TURN_LOOP),
    turn("Rᵀ instead of R in the reader", (("W_reader @ R", "W_reader @ R.T"),)),
    turn("Rᵀ instead of R in the reader", (("(R.T @ W_reader.T).T", "(R @ W_reader.T).T"),), TURN_STREAM),
    turn("turned the other way on both sides", (("R.T @ W_writer, W_reader @ R", "R @ W_writer, W_reader @ R.T"),)),
    turn("turned the other way on both sides", (("    D = len(R)", "    R, D = R.T, len(R)"),), TURN_LOOP),
    turn("columns of the writer, or rows of the reader", (("R.T @ W_writer", "W_writer @ R"),)),
    turn("columns of the writer, or rows of the reader", (("W_reader @ R", "R.T @ W_reader"),)),
    turn(
        "columns of the writer, or rows of the reader", (("R.T @ W_writer, W_reader @ R", "W_writer @ R.T, R @ W_reader"),)
    ),
    turn(
        "columns of the writer, or rows of the reader", (("W_reader.numpy().dot(r)", "r.dot(W_reader.numpy())"),), TURN_NUMPY
    ),
    turn("only the writer turned", (("W_reader @ R", "W_reader"),)),
    turn(
        "only the writer turned",
        (
            ("            reader[:, j] += R[i, j] * W_reader[:, i]\n", ""),
            ("return writer, reader", "return writer, W_reader"),
        ),
        TURN_LOOP,
    ),
    turn("only the reader turned", (("R.T @ W_writer", "W_writer"),)),
    turn("only the reader turned", (("(W_writer.T @ R).T", "W_writer"),), TURN_STREAM),
    turn(
        "the results transposed, or in the other order", (("R.T @ W_writer, W_reader @ R", "W_reader @ R, R.T @ W_writer"),)
    ),
    turn("the results transposed, or in the other order", (("(W_writer.T @ R).T, (R", "W_writer.T @ R, (R"),), TURN_STREAM),
]

# --- 12.5
STE_NUMPY = """
def straight_through(W, scale, limit, grad):
    w, s = W.numpy(), scale.numpy()
    codes = np.clip(np.rint(w / s), -limit, limit)
    free = np.abs(w) <= s * (limit + 0.5)
    return codes * s, grad.numpy() * free
"""
STE_AUTOGRAD = """
def straight_through(W, scale, limit, grad):
    w = W.clone().requires_grad_(True)
    x = torch.clamp(w / scale, -limit, limit)
    codes = x + (x.round() - x).detach()
    W_hat = codes * scale
    W_hat.backward(grad)
    return W_hat.detach(), w.grad
"""
STE_LOOP = """
def straight_through(W, scale, limit, grad):
    out, back = [], []
    for row, s, gs in zip(W.tolist(), scale.flatten().tolist(), grad.tolist()):
        out.append([max(-limit, min(limit, round(w / s))) * s for w in row])
        back.append([g if -limit <= w / s <= limit else 0.0 for w, g in zip(row, gs)])
    return torch.tensor(out), torch.tensor(back)
"""
STE_MASK = """
def straight_through(W, scale, limit, grad):
    codes = torch.round(W.double() / scale.double())
    inside = (codes >= -limit) & (codes <= limit)
    fake = torch.clamp(codes, -limit, limit) * scale
    return W + (fake.float() - W), grad * inside
"""
STE = [
    ste("the true gradient of rounding", (("torch.where(x.abs() <= limit, grad, 0.0)", "torch.zeros_like(grad)"),)),
    ste("the true gradient of rounding", (("x + (x.round() - x).detach()", "x.round()"),), STE_AUTOGRAD),
    ste("the gradient passes outside, too", (("torch.where(x.abs() <= limit, grad, 0.0)", "grad"),)),
    ste(
        "the gradient passes outside, too",
        (("(codes >= -limit) & (codes <= limit)", "torch.clamp(codes, -limit, limit).abs() <= limit"),),
        STE_MASK,
    ),
    ste("the gradient multiplied by the scale, or divided by it", (("limit, grad, 0.0", "limit, grad * scale, 0.0"),)),
    ste(
        "the gradient multiplied by the scale, or divided by it",
        (("grad.numpy() * free", "grad.numpy() * free / s"),),
        STE_NUMPY,
    ),
    ste("the mask compares W, not W / scale", (("x.abs() <= limit", "W.abs() <= limit"),)),
    ste("the mask compares W, not W / scale", (("-limit <= w / s <= limit", "-limit <= w <= limit"),), STE_LOOP),
    ste("the mask upside down", (("<= limit, grad, 0.0", "<= limit, 0.0, grad"),)),
    ste("the mask upside down", (("grad * inside", "grad * ~inside"),), STE_MASK),
    ste("the mask at one end only", (("x.abs() <= limit", "x <= limit"),)),
    ste("the mask at one end only", (("(codes >= -limit) & ", ""),), STE_MASK),
    ste("weights on the last code stopped", (("(codes >= -limit) & (codes <= limit)", "codes.abs() < limit"),), STE_MASK),
    ste("weights on the last code stopped", (("np.abs(w) <= s * (limit + 0.5)", "np.abs(codes) < limit"),), STE_NUMPY),
    ste("the gradient clamped", (("torch.where(x.abs() <= limit, grad, 0.0)", "grad.clamp(-limit, limit)"),)),
    ste("the gradient clamped", (("grad * inside", "grad.clamp(-limit, limit) * inside"),), STE_MASK),
    ste("codes instead of values", ((" * scale", ""),)),
    ste("codes instead of values", (("return codes * s,", "return codes,"),), STE_NUMPY),
    ste("Ŵ not clamped", ((".clamp(-limit, limit)", ""),)),
    ste(
        "Ŵ not clamped",
        (("max(-limit, min(limit, round(w / s)))", "round(w / s)"), ("g if -limit <= w / s <= limit else 0.0", "g")),
        STE_LOOP,
    ),
    ste("Ŵ not clamped", (("x.round().clamp(-limit, limit) * scale", "(x.round() * scale).clamp(-limit, limit)"),)),
    ste("one code too many below", (("clamp(-limit,", "clamp(-limit - 1,"),)),
    ste("one code too many below", (("np.clip(np.rint(w / s), -limit,", "np.clip(np.rint(w / s), -limit - 1,"),), STE_NUMPY),
    ste("truncated instead of rounded", (("x.round()", "x.trunc()"),)),
    ste("truncated instead of rounded", (("round(w / s)", "int(w / s)"),), STE_LOOP),
    ste("truncated instead of rounded", (("np.rint", "np.floor"),), STE_NUMPY),
    ste(
        "the two results in the other order",
        (("return W_hat.detach(), w.grad", "return w.grad, W_hat.detach()"),),
        STE_AUTOGRAD,
    ),
]

# --- 12.6
STEP_NUMPY = """
def train_step(x, y, W, scale, limit, lr):
    x, y, w, s = (t.numpy() for t in (x, y, W, scale))
    used = np.clip(np.rint(w / s), -limit, limit) * s
    wrong = x @ used.T - y
    grad = 2 * wrong.T @ x / wrong.size
    grad[np.abs(w) > limit * s] = 0
    return w - lr * grad
"""
STEP_AUTOGRAD = """
def train_step(x, y, W, scale, limit, lr):
    w = W.clone().requires_grad_(True)
    v = torch.clamp(w / scale, -limit, limit)
    used = (v + (torch.round(v) - v).detach()) * scale
    loss = torch.mean((x @ used.T - y) ** 2)
    loss.backward()
    with torch.no_grad():
        w -= lr * w.grad
    return w.detach()
"""
STEP_LOSS = """
def train_step(x, y, W, scale, limit, lr):
    fake = torch.clamp(torch.round(W / scale), -limit, limit) * scale
    fake = fake.detach().requires_grad_(True)
    loss = torch.nn.functional.mse_loss(torch.nn.functional.linear(x, fake), y)
    (grad,) = torch.autograd.grad(loss, fake)
    return torch.where((W / scale).abs() < limit + 0.5, W - lr * grad, W)
"""
STEP_LOOP = """
def train_step(x, y, W, scale, limit, lr):
    new = W.double().clone()
    M, N = y.shape
    for n in range(N):
        s = scale[n].double()
        row = torch.clamp(torch.round(W[n].double() / s), -limit, limit) * s
        for k in range(W.shape[1]):
            if abs(W[n, k].double() / s) <= limit:
                new[n, k] -= lr * sum(2 * (x[m].double() @ row - y[m, n]) * x[m, k] for m in range(M)) / (M * N)
    return new
"""
STEP = [
    step("the latent weights replaced by the rounded ones", (("return W - lr", "return W_hat - lr"),)),
    step(
        "the latent weights replaced by the rounded ones",
        (("return w - lr * grad", "w = used\n    return w - lr * grad"),),
        STEP_NUMPY,
    ),
    step(
        "the latent weights replaced by the rounded ones",
        (("return W - lr * grad", "return straight_through(W - lr * grad, scale, limit, grad)[0]"),),
    ),
    step("no quantization in the loop", (("x @ W_hat.T", "x @ W.T"),)),
    step(
        "no quantization in the loop", (("x @ used.T", "x @ w.T"), ("    grad[np.abs(w) > limit * s] = 0\n", "")), STEP_NUMPY
    ),
    step("uphill", (("W - lr", "W + lr"),)),
    step("uphill", (("x @ used.T - y", "y - x @ used.T"),), STEP_NUMPY),
    step("the sum instead of the mean", (("2 / error.numel()", "2"),)),
    step("the sum instead of the mean", (("torch.mean", "torch.sum"),), STEP_AUTOGRAD),
    step("the mean over one axis only", (("error.numel()", "len(x)"),)),
    step(
        "the mean over one axis only",
        (("torch.mean((x @ used.T - y) ** 2)", "((x @ used.T - y) ** 2).sum(0).mean()"),),
        STEP_AUTOGRAD,
    ),
    step("the mean over one axis only", (("wrong.size", "len(x)"), ("2 * wrong", "wrong")), STEP_NUMPY),
    step("the 2 of the square lost", (("2 / error", "1 / error"),)),
    step("the 2 of the square lost", (("sum(2 * ", "sum("),), STEP_LOOP),
    step("the mask forgotten", (("    _, grad = straight_through(W, scale, limit, grad)\n", ""),)),
    step(
        "the mask forgotten",
        (
            (
                "    v = torch.clamp(w / scale, -limit, limit)\n    used = (v + (torch.round(v) - v).detach()) * scale",
                "    fake = torch.clamp(torch.round(w / scale), -limit, limit) * scale\n    used = w + (fake - w).detach()",
            ),
        ),
        STEP_AUTOGRAD,
    ),
    step("nothing learned", (("v + (torch.round(v) - v).detach()", "torch.round(v)"),), STEP_AUTOGRAD),
    step("nothing learned", (("torch.where((W / scale).abs() < limit + 0.5, W - lr * grad, W)", "W"),), STEP_LOSS),
    step("the gradient through the scale", (("W - lr * grad", "W - lr * grad * scale"),)),
    step("the gradient through the scale", (("W - lr * grad, W", "W - lr * grad / scale, W"),), STEP_LOSS),
    step("the learning rate lost", (("W - lr * grad", "W - grad"),)),
    step("the learning rate lost", (("w - lr * grad", "lr * grad"),), STEP_NUMPY),
    step("the learning rate lost", (("return W - lr * grad", "return grad"),)),
]

MUTANTS = [*HAD, *FAST, *FOLD, *TURN, *STE, *STEP]

ALTERNATIVES = [
    Alternative("12.1", "numpy, Kronecker products, √2 at each, float64", code=KRON),
    Alternative("12.1", "the ones in common, counted", code=BITS),
    Alternative("12.1", "recursive", code=RECURSIVE),
    Alternative("12.1", "a matrix filled block by block, float32", code=FILLED),
    Alternative("12.2", "a matrix after all, float64", code=MATRIX),
    Alternative("12.2", "recursive, the largest stride first", code=RECURSION),
    Alternative("12.2", "pure Python", code=LOOPS),
    Alternative("12.2", "numpy, in place in a copy, √½ at each stage", code=INPLACE),
    Alternative("12.2", "even and odd places, a shuffle at each stage", code=SHUFFLE),
    Alternative("12.3", "numpy", code=FOLD_NUMPY),
    Alternative("12.3", "a diagonal matrix, float64", code=FOLD_DIAG),
    Alternative("12.3", "pure Python", code=FOLD_LOOP),
    Alternative("12.3", "column by column, the new gain in the old one's dtype", code=FOLD_COLUMNS),
    Alternative("12.4", "numpy", code=TURN_NUMPY),
    Alternative("12.4", "written as x sees it", code=TURN_STREAM),
    Alternative("12.4", "the inverse instead of the transpose", code=TURN_INVERSE),
    Alternative("12.4", "einsum, float64", code=TURN_EINSUM),
    Alternative("12.4", "loops", code=TURN_LOOP),
    Alternative("12.5", "numpy, open until limit + ½", code=STE_NUMPY),
    Alternative("12.5", "autograd with detach", code=STE_AUTOGRAD),
    Alternative("12.5", "pure Python", code=STE_LOOP),
    Alternative("12.5", "float64 codes, W + (Ŵ − W)", code=STE_MASK),
    Alternative("12.6", "numpy", code=STEP_NUMPY),
    Alternative("12.6", "autograd with detach", code=STEP_AUTOGRAD),
    Alternative("12.6", "torch's own loss, autograd up to Ŵ", code=STEP_LOSS),
    Alternative("12.6", "loops, float64", code=STEP_LOOP),
]
