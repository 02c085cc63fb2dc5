"""Lab 06, answered wrongly (as it really happens) and answered otherwise."""

from tools.mutants import Alternative, mutants_of

# --- 06.1
H_NUMPY = """
def hessian(x, damp=0.01):
    a = x.numpy().astype(np.float64)
    H = a.T @ a / a.shape[0]
    d = np.diag(H).copy()
    m = d[d > 0].mean()
    d[d == 0] = m
    np.fill_diagonal(H, d + damp * m)
    return H
"""
H_TOKENS = """
def hessian(x, damp=0.01):
    M, K = x.shape
    H = torch.zeros(K, K)
    for token in x:
        H += torch.outer(token, token) / M
    alive = H.diagonal() > 0
    mean = H.diagonal().sum() / alive.sum()
    for k in range(K):
        H[k, k] = H[k, k] + damp * mean if alive[k] else mean
    return H
"""
H_EINSUM = """
def hessian(x, damp=0.01):
    x = x.double()
    H = torch.einsum("mi,mj->ij", x, x).div(x.size(0))
    idx = torch.arange(x.size(1))
    add = damp * H[idx, idx].sum() / (H[idx, idx] != 0).sum()
    H[idx, idx] += add
    H[idx, idx] = torch.where((x == 0).all(0), torch.ones(()).double(), H[idx, idx])
    return H.float()
"""
H_CHANNELS = """
def hessian(x, damp=0.01):
    cols = x.T.tolist()
    H = [[sum(a * b for a, b in zip(u, v)) / len(u) for v in cols] for u in cols]
    own = [H[k][k] for k in range(len(H)) if H[k][k]]
    mean = sum(own) / len(own)
    for k in range(len(H)):
        H[k][k] = (H[k][k] or mean) + damp * mean
    return torch.tensor(H)
"""

moment, cost, step, factor, column, block = (mutants_of(f"06.{i}") for i in range(1, 7))

HESSIAN = [
    moment("x xᵀ instead of xᵀ x", (("x.T @ x", "x @ x.T"),)),
    moment("x xᵀ instead of xᵀ x", (("a.T @ a / a.shape[0]", "a @ a.T / a.shape[1]"),), H_NUMPY),
    moment("another factor than 1/M", ((" / len(x)", ""),)),
    moment("another factor than 1/M", (("a.shape[0]", "a.shape[1]"),), H_NUMPY),
    moment("another factor than 1/M", (("x.T @ x", "2 * x.T @ x"),)),
    moment("another factor than 1/M", (("div(x.size(0))", "mul(2)"),), H_EINSUM),
    moment("another factor than 1/M", (("/ len(x)", "/ (len(x) - 1)"),)),
    moment("another factor than 1/M", (("a.T @ a / a.shape[0]", "np.mean(a.T[:, None] * a.T, -1) / a.shape[1]"),), H_NUMPY),
    moment("the mean of x taken off", (("x.T @ x / len(x)", "torch.cov(x.T, correction=0)"),)),
    moment("the mean of x taken off", (("a.T @ a / a.shape[0]", "np.cov(a.T)"),), H_NUMPY),
    moment(
        "the mean of x taken off", (("x = x.double()", "x = x.double() - x.double().mean(dim=0, keepdim=True)"),), H_EINSUM
    ),
    moment("damping forgotten", (("(damp + dead.to(H.dtype))", "dead"),)),
    moment("damping forgotten", (("d + damp * m", "d"),), H_NUMPY),
    moment("damping forgotten", (("    H[idx, idx] += add\n", ""),), H_EINSUM),
    moment(
        "damping added to every entry",
        (("torch.diag(mean * (damp + dead.to(H.dtype)))", "damp * mean + torch.diag(mean * dead)"),),
    ),
    moment(
        "damping added to every entry",
        (("    np.fill_diagonal(H, d + damp * m)\n    return H", "    np.fill_diagonal(H, d)\n    return H + damp * m"),),
        H_NUMPY,
    ),
    moment("the damping in place of the diagonal", (("d + damp * m", "damp * m"),), H_NUMPY),
    moment("the damping in place of the diagonal", (("H[idx, idx] += add", "H[idx, idx] = add"),), H_EINSUM),
    moment("each channel damped by a share of itself", (("d + damp * m", "d * (1 + damp)"),), H_NUMPY),
    moment("each channel damped by a share of itself", (("H[k, k] + damp * mean", "H[k, k] * (1 + damp)"),), H_TOKENS),
    moment("a share of something else than the mean of the diagonal", (("d + damp * m", "d + damp"),), H_NUMPY),
    moment(
        "a share of something else than the mean of the diagonal",
        (("mean * (damp + dead.to(H.dtype))", "damp + mean * dead"),),
    ),
    moment(
        "a share of something else than the mean of the diagonal",
        (("add = damp * H[idx, idx].sum() / (H[idx, idx] != 0).sum()", "add = damp * H.mean()"),),
        H_EINSUM,
    ),
    moment(
        "a share of something else than the mean of the diagonal",
        (("mean * (damp + dead.to(H.dtype))", "damp * H.trace() + mean * dead"),),
    ),
    moment("a share of something else than the mean of the diagonal", (("own) / len(own)", "own)"),), H_CHANNELS),
    moment("a share of something else than the mean of the diagonal", (("sum(own) / len(own)", "max(own)"),), H_CHANNELS),
    moment("a dead channel left without a diagonal", (("(damp + dead.to(H.dtype))", "damp * torch.ones(len(H))"),)),
    moment("a dead channel left without a diagonal", (("    d[d == 0] = m\n", ""),), H_NUMPY),
    moment("a dead channel left without a diagonal", (("(H[k][k] or mean)", "H[k][k]"),), H_CHANNELS),
    moment("dead channels counted in the mean", (("H.diagonal()[~dead].mean()", "H.diagonal().mean()"),)),
    moment(
        "dead channels counted in the mean",
        (("    m = d[d > 0].mean()\n    d[d == 0] = m\n", "    d[d == 0] = 1\n    m = d.mean()\n"),),
        H_NUMPY,
    ),
    moment("dead channels counted in the mean", ((" if H[k][k]]", "]"),), H_CHANNELS),
    moment(
        "every zero filled, not only those on the diagonal",
        (("    np.fill_diagonal(H, d + damp * m)\n", "    H[H == 0] = m\n    H += damp * m * np.eye(len(d))\n"),),
        H_NUMPY,
    ),
    moment(None, ((" / len(x)", " // 1 / len(x)"),)),
]

# --- 06.2
E_EINSUM = """
def output_error(W, W_hat, H):
    e = W.numpy() - W_hat.numpy()
    return np.einsum("nj,jk,nk->n", e, H.numpy(), e)
"""
E_ROOT = """
def output_error(W, W_hat, H):
    L = torch.linalg.cholesky(H.double())
    return ((W - W_hat).double() @ L).square().sum(-1)
"""
E_LOOP = """
def output_error(W, W_hat, H):
    return torch.stack([(w - v) @ (H @ (w - v)) for w, v in zip(W, W_hat)])
"""
E_PAIRS = """
def output_error(W, W_hat, H):
    d = W_hat - W
    return torch.diagonal(d @ H @ d.T)
"""

COST = [
    cost("the error of the weights", (("(e @ H * e)", "(e * e)"),)),
    cost("the error of the weights", (("(w - v) @ (H @ (w - v))", "(w - v).square().mean()"),), E_LOOP),
    cost("the error of the weights", (("return (e @ H * e).sum(dim=1)", "return e.norm(dim=1)"),)),
    cost("the diagonal of H alone", (("(e @ H * e)", "(e * e * H.diagonal())"),)),
    cost("the diagonal of H alone", (('"nj,jk,nk->n", e, H.numpy(), e', '"nj,jj,nj->n", e, H.numpy(), e'),), E_EINSUM),
    cost("every pair of rows", (("torch.diagonal(d @ H @ d.T)", "d @ H @ d.T"),), E_PAIRS),
    cost("every pair of rows", (('"nj,jk,nk->n"', '"nj,jk,mk->nm"'),), E_EINSUM),
    cost("the sum over all rows", ((".sum(dim=1)", ".sum()"),)),
    cost("the sum over all rows", (("torch.diagonal(d @ H @ d.T)", "torch.trace(d @ H @ d.T)"),), E_PAIRS),
    cost("the sum over all rows", (("torch.diagonal(d @ H @ d.T)", "torch.diagonal(d @ H @ d.T).mean()"),), E_PAIRS),
    cost("one number a column", ((".sum(dim=1)", ".sum(dim=0)"),)),
    cost("one number a column", ((".sum(dim=1)", ""),)),
    cost("the inverse of H", (("e @ H", "e @ torch.linalg.inv(H)"),)),
    cost("the inverse of H", (("(H @ (w - v))", "torch.linalg.solve(H, w - v)"),), E_LOOP),
    cost("the root taken", ((".sum(dim=1)", ".sum(dim=1).sqrt()"),)),
    cost("the root taken", ((".square().sum(-1)", ".norm(dim=-1)"),), E_ROOT),
    cost("a mean over the channels", ((".sum(dim=1)", ".mean(dim=1)"),)),
    cost("a mean over the channels", ((".sum(-1)", ".mean(-1)"),), E_ROOT),
    cost("multiplied by H on one side only", (("e @ H * e", "e @ H"),)),
    cost("multiplied by H on one side only", (("@ L)", "@ H.double())"),), E_ROOT),
    cost("the cost of Ŵ, not of what was lost", (("e = W - W_hat", "e = W_hat"),)),
    cost("the cost of Ŵ, not of what was lost", (("d = W_hat - W", "d = W"),), E_PAIRS),
    cost(
        "the cost of Ŵ, not of what was lost",
        (("torch.diagonal(d @ H @ d.T)", "torch.diagonal(W @ H @ W.T - W_hat @ H @ W_hat.T)"),),
        E_PAIRS,
    ),
    cost(None, (("e @ H * e", "e @ H.tril() * e"),)),
]

# --- 06.3
S_NUMPY = """
def round_and_repair(W, H_inv, j, scale, limit=7):
    w, h, s = W.numpy().astype(np.float64), H_inv.numpy().astype(np.float64), scale.numpy().astype(np.float64)
    q = np.clip(np.rint(w[:, j] / s), -limit, limit)
    e = w[:, j] - q * s
    w[:, j:] -= e[:, None] * (h[j, j:] / h[j, j])
    return q.astype(np.int8), w
"""
S_LOOP = """
def round_and_repair(W, H_inv, j, scale, limit=7):
    out = W.clone()
    codes = torch.empty(len(W), dtype=torch.int8)
    for n in range(len(W)):
        q = max(-limit, min(limit, round(float(W[n, j] / scale[n]))))
        codes[n] = q
        out[n, j] = q * scale[n]
        share = (W[n, j] - out[n, j]) / H_inv[j, j]
        for k in range(j + 1, W.shape[1]):
            out[n, k] -= share * H_inv[j, k]
    return codes, out
"""
S_CAT = """
def round_and_repair(W, H_inv, j, scale, limit=7):
    left, w, right = W[:, :j], W[:, j : j + 1], W[:, j + 1 :]
    s = scale.unsqueeze(1)
    q = torch.floor(w / s + 0.5).clamp(min=-limit, max=limit)
    back = q * s
    gain = H_inv[j + 1 :, j] / H_inv[j, j]
    return q.squeeze(1).char(), torch.cat((left, back, right + (back - w) * gain), dim=1)
"""
S_ADDR = """
def round_and_repair(W, H_inv, j, scale, limit=7):
    code = torch.round(W[:, j].double() / scale).clamp(-limit, limit)
    delta = W[:, j] - code * scale
    row = H_inv[j].double() / H_inv[j, j]
    row[:j] = 0
    return code.to(torch.int8), W.double() - delta[:, None] * row[None, :]
"""
UPDATE = "    W[:, j + 1 :] -= torch.outer(e, H_inv[j, j + 1 :])\n"

STEP = [
    step("the repair with the wrong sign", ((":] -= torch", ":] += torch"),)),
    step(
        "the repair with the wrong sign",
        (
            ("e = w[:, j] - q * s", "e = q * s - w[:, j]"),
            ("w[:, j:] -=", "w[:, j + 1:] -="),
            ("h[j, j:] /", "h[j, j + 1:] /"),
            ("    return", "    w[:, j] = q * s\n    return"),
        ),
        S_NUMPY,
    ),
    step("the repair with the wrong sign", (("(back - w) * gain", "(w - back) * gain"),), S_CAT),
    step("not divided by the diagonal", ((") / H_inv[j, j]\n", ")\n"),)),
    step("not divided by the diagonal", ((" / H_inv[j, j]\n", "\n"),), S_CAT),
    step("divided by the root of the diagonal", (("/ H_inv[j, j]", "/ H_inv[j, j].sqrt()"),)),
    step("divided by the root of the diagonal", (("/ H_inv[j, j]", "/ H_inv[j, j] ** 0.5"),), S_LOOP),
    step("divided by each column's own diagonal", (("/ H_inv[j, j]\n", "/ H_inv.diagonal()[j + 1 :]\n"),), S_CAT),
    step(
        "divided by each column's own diagonal",
        ((") / H_inv[j, j]\n", ")\n"), ("share * H_inv[j, k]", "share * H_inv[j, k] / H_inv[k, k]")),
        S_LOOP,
    ),
    step("repaired by H instead of its inverse", (("W = W.clone()", "W, H_inv = W.clone(), torch.linalg.inv(H_inv)"),)),
    step(
        "repaired by H instead of its inverse",
        (("H_inv.numpy().astype(np.float64)", "np.linalg.inv(H_inv.numpy())"),),
        S_NUMPY,
    ),
    step(
        "columns repaired that are rounded already",
        (("W[:, j + 1 :] -= torch.outer(e, H_inv[j, j + 1 :])", "W -= torch.outer(e, H_inv[j])"),),
    ),
    step("columns repaired that are rounded already", (("    row[:j] = 0\n", ""),), S_ADDR),
    step("only the next column repaired", (("[:, j + 1 :]", "[:, j + 1 : j + 2]"), ("[j, j + 1 :]", "[j, j + 1 : j + 2]"))),
    step("only the next column repaired", (("range(j + 1, W.shape[1])", "range(j + 1, W.shape[1])[:1]"),), S_LOOP),
    step("nothing repaired", ((UPDATE, ""),)),
    step("nothing repaired", (("H_inv[j, j + 1 :]", "H_inv.triu().T[j, j + 1 :]"),)),
    step("column j left as it was", (("    W[:, j] = codes * scale\n", ""),)),
    step("column j left as it was", (("(left, back,", "(left, w,"),), S_CAT),
    step("codes in W, not what they stand for", (("W[:, j] = codes * scale", "W[:, j] = codes"),)),
    step("codes in W, not what they stand for", (("(left, back,", "(left, q,"),), S_CAT),
    step("the code taken off the weight", (("W[:, j] - codes * scale", "W[:, j] - codes"),)),
    step("the code taken off the weight", (("(back - w) * gain", "(q - w) * gain"),), S_CAT),
    step("the error in steps", (("W[:, j] - codes * scale", "W[:, j] / scale - codes"),)),
    step("the error in steps", (("(back - w) * gain", "(q - w / s) * gain"),), S_CAT),
    step("truncated instead of rounded", (("torch.round", "torch.trunc"),)),
    step("truncated instead of rounded", (("round(float(W[n, j] / scale[n]))", "int(W[n, j] / scale[n])"),), S_LOOP),
    step("truncated instead of rounded", ((" + 0.5", ""),), S_CAT),
    step("codes beyond the grid", ((".clamp(-limit, limit)", ""),)),
    step(
        "codes beyond the grid",
        (("max(-limit, min(limit, round(float(W[n, j] / scale[n]))))", "round(float(W[n, j] / scale[n]))"),),
        S_LOOP,
    ),
    step(
        "the error of a code that is not stored",
        ((".clamp(-limit, limit)", ""), ("codes.to(", "codes.clamp(-limit, limit).to(")),
    ),
    step(
        "the error of a code that is not stored",
        (
            ("np.clip(np.rint(w[:, j] / s), -limit, limit)", "np.rint(w[:, j] / s)"),
            ("return q.astype", "q = np.clip(q, -limit, limit)\n    w[:, j] = q * s\n    return q.astype"),
        ),
        S_NUMPY,
    ),
    step("one code more on the negative side", (("clamp(-limit, limit)", "clamp(-limit - 1, limit)"),)),
    step("one code more on the negative side", (("-limit, limit)", "~limit, limit)"),), S_NUMPY),
    step("always the grid of 4 bits", (("clamp(-limit, limit)", "clamp(-7, 7)"),)),
    step("always the grid of 4 bits", (("-limit, limit)", "-8, 7)"),), S_NUMPY),
    step("multiplied by the scale", (("W[:, j] / scale", "W[:, j] * scale"),)),
    step("multiplied by the scale", (("np.rint(w[:, j] / s)", "np.rint(w[:, j] * s)"),), S_NUMPY),
    step(None, (("    W = W.clone()\n", ""),)),
    step(None, (("codes * scale) /", "codes * scale).abs() /"),)),
]

# --- 06.4
U_SHORT = """
def inverse_factor(H):
    return torch.linalg.cholesky(torch.linalg.inv(H)).T
"""
U_SHRINK = """
def inverse_factor(H):
    inv = np.linalg.inv(H.numpy().astype(np.float64))
    U = np.zeros_like(inv)
    for j in range(len(inv)):
        U[j, j:] = inv[j, j:] / np.sqrt(inv[j, j])
        inv -= np.outer(inv[:, j], inv[j]) / inv[j, j]
    return U
"""
U_QR = """
def inverse_factor(H):
    L = torch.linalg.cholesky(H)
    return torch.linalg.qr(torch.linalg.inv(L)).R
"""
U_HAND = """
def inverse_factor(H):
    A = torch.cholesky_inverse(torch.linalg.cholesky(H.double()))
    U = torch.zeros_like(A)
    for j in range(len(A)):
        U[j, j] = (A[j, j] - U[:j, j].square().sum()).sqrt()
        for k in range(j + 1, len(A)):
            U[j, k] = (A[j, k] - U[:j, j] @ U[:j, k]) / U[j, j]
    return U.float()
"""

FACTOR = [
    factor("the lower triangular factor", ((").T", ")"),), U_SHORT),
    factor("the lower triangular factor", (("return U.float()", "return U.T.float()"),), U_HAND),
    factor("the lower triangular factor", (("torch.linalg.qr(torch.linalg.inv(L)).R", "torch.linalg.inv(L)"),), U_QR),
    factor("the factor of H, not of its inverse", (("torch.linalg.inv(H)", "H"),), U_SHORT),
    factor("the factor of H, not of its inverse", (("torch.linalg.qr(torch.linalg.inv(L)).R", "L"),), U_QR),
    factor(
        "the factor of H, not of its inverse",
        (("torch.linalg.solve_triangular(V, torch.eye(len(H), dtype=H.dtype), upper=True)", "V"),),
    ),
    factor("the factors in the other order", (("torch.linalg.qr(torch.linalg.inv(L)).R", "torch.linalg.inv(L).T"),), U_QR),
    factor(
        "the factors in the other order",
        (("torch.linalg.cholesky(H.flip(0, 1)).flip(0, 1)", "torch.linalg.cholesky(H, upper=True)"),),
    ),
    factor(
        "not turned back",
        (
            (
                "    return torch.linalg.solve_triangular(V",
                "    V = V.flip(0, 1)\n    return torch.linalg.solve_triangular(V",
            ),
            ("upper=True", "upper=False"),
        ),
    ),
    factor(
        "not turned back",
        (
            (
                "    return torch.linalg.solve_triangular(V",
                "    V = V.flip(0, 1).T\n    return torch.linalg.solve_triangular(V",
            ),
        ),
    ),
    factor("not turned back", (("torch.linalg.inv(H)).T", "H.flip(0, 1))"),), U_SHORT),
    factor("the inverse itself", (("torch.linalg.cholesky(torch.linalg.inv(H)).T", "torch.linalg.inv(H)"),), U_SHORT),
    factor("the inverse itself", (("torch.linalg.cholesky(torch.linalg.inv(H)).T", "torch.linalg.inv(H).triu()"),), U_SHORT),
    factor(
        "a root that is not triangular",
        (
            (
                "    L = torch.linalg.cholesky(H)\n    return torch.linalg.qr(torch.linalg.inv(L)).R",
                "    v, Q = torch.linalg.eigh(H)\n    return Q @ torch.diag(v**-0.5) @ Q.T",
            ),
        ),
        U_QR,
    ),
    factor("rows divided by their diagonal", (("np.sqrt(inv[j, j])", "inv[j, j]"),), U_SHRINK),
    factor(
        "rows divided by their diagonal", (("return U.float()", "return (U / U.diagonal().unsqueeze(1)).float()"),), U_HAND
    ),
    factor("rows not divided by the root", (("inv[j, j:] / np.sqrt(inv[j, j])", "inv[j, j:]"),), U_SHRINK),
    factor(
        "rows not divided by the root", (("return U.float()", "return (U * U.diagonal().unsqueeze(1)).float()"),), U_HAND
    ),
    factor(
        "each entry by itself",
        (("torch.linalg.cholesky(torch.linalg.inv(H)).T", "torch.linalg.inv(H).abs().sqrt().triu()"),),
        U_SHORT,
    ),
    factor(
        "each entry by itself", (("torch.linalg.cholesky(torch.linalg.inv(H))", "(1 / torch.linalg.cholesky(H))"),), U_SHORT
    ),
    factor(None, (("    U = np.zeros_like(inv)\n", "    U = np.ones_like(inv)\n"),), U_SHRINK),
]

# --- 06.5: optimal brain quantization, whose inverse shrinks column by column
OBQ = """
def gptq(W, H, scale, limit=7):
    W, inv = W.clone(), torch.linalg.inv(H)
    N, K = W.shape
    wide = scale.repeat_interleave(K // scale.shape[1], dim=1)
    codes = torch.empty(N, K)
    for j in range(K):
        codes[:, j] = torch.round(W[:, j] / wide[:, j]).clamp(-limit, limit)
        err = (W[:, j] - codes[:, j] * wide[:, j]) / inv[j, j]
        W[:, j:] -= err[:, None] * inv[j, j:]
        inv = inv - torch.outer(inv[:, j], inv[j]) / inv[j, j]
    return codes.to(torch.int8)
"""
# --- in NumPy, each column catching up when its turn has come
CATCH_UP = """
def gptq(W, H, scale, limit=7):
    w, s = W.numpy().astype(np.float64), scale.numpy().astype(np.float64)
    U = np.linalg.cholesky(np.linalg.inv(H.numpy().astype(np.float64))).T
    K = w.shape[1]
    G = K // s.shape[1]
    errors, codes = np.zeros_like(w), np.zeros(w.shape, dtype=np.int8)
    for j in range(K):
        now = w[:, j] - errors[:, :j] @ U[:j, j]
        q = np.clip(np.rint(now / s[:, j // G]), -limit, limit)
        errors[:, j] = (now - q * s[:, j // G]) / U[j, j]
        codes[:, j] = q
    return codes
"""
# --- group by group, a scale taken apart once
GROUPS = """
def gptq(W, H, scale, limit=7):
    W, U = W.double().clone(), torch.linalg.cholesky(torch.linalg.inv(H.double())).T
    R = U / U.diagonal().unsqueeze(1)
    G = W.size(1) // scale.size(1)
    found = []
    for g in range(scale.size(1)):
        s = scale[:, g].double()
        for j in range(g * G, g * G + G):
            q = torch.round(W[:, j] / s)
            q = torch.minimum(torch.maximum(q, torch.tensor(-limit)), torch.tensor(limit))
            found.append(q)
            W -= (W[:, j] - q * s)[:, None] * R[j]
    return torch.stack(found, dim=1).char()
"""
# --- row by row, each by itself, in plain Python
ROWS = """
def gptq(W, H, scale, limit=7):
    U = torch.linalg.cholesky(torch.linalg.inv(H.double()), upper=True).tolist()
    G, out = W.shape[1] // scale.shape[1], []
    for w, s in zip(W.double().tolist(), scale.double().tolist()):
        codes = []
        for j in range(len(w)):
            q = int(min(max(round(w[j] / s[j // G]), -limit), limit))
            e = (w[j] - q * s[j // G]) / U[j][j]
            for k in range(j + 1, len(w)):
                w[k] -= e * U[j][k]
            codes.append(q)
        out.append(codes)
    return torch.tensor(out, dtype=torch.int8)
"""
REST = "W[:, j + 1 :] -= torch.outer(e, U[j, j + 1 :])"
REPAIR = f"        {REST}\n"
ACROSS = """
def gptq(W, H, scale, limit=7):
    W, U = W.clone(), torch.linalg.cholesky(torch.linalg.inv(H)).T
    wide = scale.repeat_interleave(W.shape[1] // scale.shape[1], dim=1)
    codes = torch.zeros(W.shape, dtype=torch.int8)
    for n in range(W.shape[0]):
        codes[n] = torch.round(W[n] / wide[n]).clamp(-limit, limit)
        e = (W[n] - codes[n] * wide[n]) / U[n, n]
        W[n + 1 :] -= torch.outer(U[n, n + 1 : len(W)], e)
    return codes
"""

COLUMN = [
    column("the codes of round-to-nearest", ((REPAIR, ""),)),
    column("the codes of round-to-nearest", (("U[j, j + 1 :])", "U[j + 1 :, j])"),)),
    column(
        "the codes of round-to-nearest",
        (("W, U = W.clone()", "first, W, U = W, W.clone()"), ("torch.round(W[:, j] / s)", "torch.round(first[:, j] / s)")),
    ),
    column(
        "the codes of round-to-nearest",
        (("inv(H.numpy().astype(np.float64))).T", "inv(H.numpy().astype(np.float64)))"),),
        CATCH_UP,
    ),
    column(
        "the codes of round-to-nearest",
        (
            ("codes = torch.empty(N, K)\n", "codes = torch.round(W / wide).clamp(-limit, limit)\n"),
            ("        codes[:, j] = torch.round(W[:, j] / wide[:, j]).clamp(-limit, limit)\n", ""),
        ),
        OBQ,
    ),
    column("the repair with the wrong sign", ((":] -= torch", ":] += torch"),)),
    column("the repair with the wrong sign", (("w[:, j] - errors[:, :j]", "w[:, j] + errors[:, :j]"),), CATCH_UP),
    column("the repair with the wrong sign", (("(W[:, j] - q * s)[:, None]", "(q * s - W[:, j])[:, None]"),), GROUPS),
    column("repaired by H instead of its inverse", (("U = W.clone(), inverse_factor(H)", "U = W.clone(), H"),)),
    column(
        "repaired by H instead of its inverse",
        (("torch.linalg.inv(H)", "H"), ("        inv = inv - torch.outer(inv[:, j], inv[j]) / inv[j, j]\n", "")),
        OBQ,
    ),
    column(
        "repaired by H instead of its inverse",
        (("np.linalg.cholesky(np.linalg.inv(H.numpy().astype(np.float64))).T", "np.linalg.cholesky(H.numpy()).T"),),
        CATCH_UP,
    ),
    column("repaired by H instead of its inverse", (("inverse_factor(H)", "H"), (" / U[j, j]", ""))),
    column("not divided by the diagonal", ((" / U[j, j]", ""),)),
    column("not divided by the diagonal", ((" / U[j][j]", ""),), ROWS),
    column("not divided by the diagonal", ((") / inv[j, j]\n        W", ")\n        W"),), OBQ),
    column("divided by U's diagonal once too often", (("/ U[j, j]", "/ U[j, j] ** 2"),)),
    column(
        "divided by U's diagonal once too often",
        (("U / U.diagonal().unsqueeze(1)", "U / U.diagonal().unsqueeze(1).square()"),),
        GROUPS,
    ),
    column(
        "an inverse that never shrinks", (("        inv = inv - torch.outer(inv[:, j], inv[j]) / inv[j, j]\n", ""),), OBQ
    ),
    column("an inverse that never shrinks", (("inverse_factor(H)", "torch.linalg.inv(H)"),)),
    column("the factor in the other order", (("inverse_factor(H)", "torch.linalg.inv(torch.linalg.cholesky(H)).T"),)),
    column(
        "the factor in the other order",
        (
            (
                "np.linalg.cholesky(np.linalg.inv(H.numpy().astype(np.float64))).T",
                "np.linalg.inv(np.linalg.cholesky(H.numpy())).T",
            ),
        ),
        CATCH_UP,
    ),
    column("only the next column repaired", ((REST, "W[:, j + 1 : j + 2] -= torch.outer(e, U[j, j + 1 : j + 2])"),)),
    column("only the next column repaired", (("range(j + 1, len(w))", "range(j + 1, min(j + 2, len(w)))"),), ROWS),
    column("rows repaired instead of columns", (), ACROSS),
    column(
        "the error measured from the original weight",
        (("W, U = W.clone()", "first, W, U = W, W.clone()"), ("e = (W[:, j] -", "e = (first[:, j] -")),
    ),
    column("the error measured from the original weight", (("(now - q *", "(w[:, j] - q *"),), CATCH_UP),
    column("the code taken off the weight", (("(W[:, j] - codes[:, j] * s)", "(W[:, j] - codes[:, j])"),)),
    column("the code taken off the weight", (("(now - q * s[:, j // G])", "(now - q)"),), CATCH_UP),
    column("the error in steps", (("(W[:, j] - codes[:, j] * s)", "(W[:, j] / s - codes[:, j])"),)),
    column("the error in steps", (("(w[j] - q * s[j // G])", "(w[j] / s[j // G] - q)"),), ROWS),
    column("groups counted by their number, not by their size", (("scale[:, j // G]", "scale[:, j // scale.shape[1]]"),)),
    column("groups counted by their number, not by their size", (("G = K // s.shape[1]", "G = s.shape[1]"),), CATCH_UP),
    column("groups taken in turns", (("scale[:, j // G]", "scale[:, j % scale.shape[1]]"),)),
    column(
        "groups taken in turns",
        (("scale.repeat_interleave(K // scale.shape[1], dim=1)", "scale.repeat(1, K // scale.shape[1])"),),
        OBQ,
    ),
    column("one scale a row", (("scale[:, j // G]", "scale[:, 0]"),)),
    column("one scale a row", (("scale.repeat_interleave(K // scale.shape[1], dim=1)", "scale[:, :1].expand(-1, K)"),), OBQ),
    column("truncated instead of rounded", (("torch.round(W[:, j] / s)", "torch.trunc(W[:, j] / s)"),)),
    column("truncated instead of rounded", (("round(w[j] / s[j // G])", "math.floor(w[j] / s[j // G])"),), ROWS),
    column("codes beyond the grid", ((".clamp(-limit, limit)", ""),)),
    column(
        "codes beyond the grid",
        (("np.clip(np.rint(now / s[:, j // G]), -limit, limit)", "np.rint(now / s[:, j // G])"),),
        CATCH_UP,
    ),
    column(
        "clipped after the repair",
        ((".clamp(-limit, limit)", ""), ("return codes.to", "return codes.clamp(-limit, limit).to")),
        OBQ,
    ),
    column(
        "clipped after the repair",
        (
            ("np.clip(np.rint(now / s[:, j // G]), -limit, limit)", "np.rint(now / s[:, j // G])"),
            ("codes[:, j] = q", "codes[:, j] = np.clip(q, -limit, limit)"),
        ),
        CATCH_UP,
    ),
    column("one code more on the negative side", (("clamp(-limit, limit)", "clamp(-limit - 1, limit)"),)),
    column("one code more on the negative side", (("torch.tensor(-limit)", "torch.tensor(-(limit + 1))"),), GROUPS),
    column("always the grid of 4 bits", (("clamp(-limit, limit)", "clamp(-7, 7)"),)),
    column("always the grid of 4 bits", (("-limit), limit)", "-8), 7)"),), ROWS),
    column("multiplied by the scale", (("torch.round(W[:, j] / s)", "torch.round(W[:, j] * s)"),)),
    column("multiplied by the scale", (("np.rint(now / s[:, j // G])", "np.rint(now * s[:, j // G])"),), CATCH_UP),
    column(None, (("U[j, j + 1 :])", "U[j, j + 1 :].abs())"),)),
]

# --- 06.6: as in GPTQ's own program, every block cut out
CUT = """
def gptq_blocks(W, H, scale, block, limit=7):
    W = W.clone()
    U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)
    columns = W.shape[1]
    G = columns // scale.shape[1]
    Q = torch.zeros_like(W)
    for i1 in range(0, columns, block):
        i2 = min(i1 + block, columns)
        W1 = W[:, i1:i2].clone()
        Q1, Err1 = torch.zeros_like(W1), torch.zeros_like(W1)
        U1 = U[i1:i2, i1:i2]
        for i in range(i2 - i1):
            w, d = W1[:, i], U1[i, i]
            s = scale[:, (i1 + i) // G]
            q = torch.clamp(torch.round(w / s), -limit, limit)
            Q1[:, i] = q
            err1 = (w - q * s) / d
            W1[:, i:] -= err1.unsqueeze(1).matmul(U1[i, i:].unsqueeze(0))
            Err1[:, i] = err1
        Q[:, i1:i2] = Q1
        W[:, i2:] -= Err1.matmul(U[i1:i2, i2:])
    return Q.to(torch.int8)
"""
# --- NumPy; inside the block each column catches up when its turn has come
BEHIND = """
def gptq_blocks(W, H, scale, block, limit=7):
    w, s = np.array(W.numpy(), dtype=np.float64), scale.numpy().astype(np.float64)
    U = np.linalg.cholesky(np.linalg.inv(H.numpy().astype(np.float64))).T
    K = w.shape[1]
    wide = np.repeat(s, K // s.shape[1], axis=1)
    codes = np.zeros(w.shape, dtype=np.int8)
    done = 0
    while done < K:
        stop = min(done + block, K)
        E = []
        for j in range(done, stop):
            now = w[:, j] - sum(e * U[done + i, j] for i, e in enumerate(E))
            q = np.clip(np.rint(now / wide[:, j]), -limit, limit)
            E.append((now - q * wide[:, j]) / U[j, j])
            codes[:, j] = q
        w[:, stop:] -= np.stack(E, axis=1) @ U[done:stop, stop:]
        done = stop
    return codes
"""
# --- the product runs over all columns: those of the block have their codes, those before it meet zeros
WHOLE = """
def gptq_blocks(W, H, scale, block, limit=7):
    W, U = W.double().clone(), torch.linalg.cholesky(torch.linalg.inv(H.double())).T
    G = W.shape[1] // scale.shape[1]
    codes = []
    for columns in torch.arange(W.shape[1]).split(block):
        B, errors = W[:, columns].clone(), []
        for i, j in enumerate(columns.tolist()):
            s = scale[:, j // G].double()
            q = (B[:, i] / s).round().clamp(-limit, limit)
            codes.append(q.to(torch.int8))
            errors.append((B[:, i] - q * s) / U[j, j])
            B -= torch.outer(errors[-1], U[j, columns])
        W -= torch.stack(errors, 1) @ U[columns]
    return torch.stack(codes, 1)
"""
KEEP = "errors[:, j - start] = e = (W[:, j] - codes[:, j] * s) / U[j, j]"
INNER = "            W[:, j + 1 : end] -= torch.outer(e, U[j, j + 1 : end])\n"
LATER = "        W[:, end:] -= errors @ U[start:end, end:]\n"
LOOP = "    for start in range(0, K, block):\n"

BLOCK = [
    block("each block alone", ((LATER, ""),)),
    block("each block alone", (("        W[:, i2:] -= Err1.matmul(U[i1:i2, i2:])\n", ""),), CUT),
    block(
        "a factor for each block",
        (("U1 = U[i1:i2, i1:i2]", "U1 = torch.linalg.inv(H[i1:i2, i1:i2])\n        U1 = torch.linalg.cholesky(U1).T"),),
        CUT,
    ),
    block(
        "a factor for each block",
        (
            (LATER, ""),
            (
                "        errors = torch",
                "        U, b = torch.eye(K), slice(start, end)\n        U[b, b] = inverse_factor(H[b, b])\n        "
                "errors = torch",
            ),
        ),
    ),
    block("inside the block nothing repaired", ((INNER, ""),)),
    block(
        "inside the block nothing repaired",
        (("            W1[:, i:] -= err1.unsqueeze(1).matmul(U1[i, i:].unsqueeze(0))\n", ""),),
        CUT,
    ),
    block("the rest repaired twice", ((INNER, "            W[:, j + 1 :] -= torch.outer(e, U[j, j + 1 :])\n"),)),
    block(
        "the rest repaired twice",
        (
            (
                "B -= torch.outer(errors[-1], U[j, columns])",
                "B -= torch.outer(errors[-1], U[j, columns])\n            W -= torch.outer(errors[-1], U[j])",
            ),
        ),
        WHOLE,
    ),
    block("the rest repaired by the first rows of U", (("U[start:end, end:]", "U[: end - start, end:]"),)),
    block(
        "the rest repaired by the first rows of U",
        (("U[i1:i2, i2:]", "U[:block, i2:]"), ("W[:, i2:] -=", "W[:, i2:] -= 0 if i2 == columns else")),
        CUT,
    ),
    block(
        "the rest repaired by errors that were not divided",
        ((KEEP, "errors[:, j - start] = W[:, j] - codes[:, j] * s\n            e = errors[:, j - start] / U[j, j]"),),
    ),
    block(
        "the rest repaired by errors that were not divided",
        (("Err1[:, i] = err1", "Err1[:, i] = w - q * s"), ("w, d = W1[:, i], ", "w, d = W1[:, i].clone(), ")),
        CUT,
    ),
    block("the rest repaired with the wrong sign", (("W[:, end:] -=", "W[:, end:] +="),)),
    block("the rest repaired with the wrong sign", (("w[:, stop:] -=", "w[:, stop:] +="),), BEHIND),
    block(
        "the rest repaired by the last error alone", ((LATER, "        W[:, end:] -= torch.outer(e, U[end - 1, end:])\n"),)
    ),
    block(
        "the rest repaired by the last error alone",
        (("Err1.matmul(U[i1:i2, i2:])", "err1.unsqueeze(1).matmul(U[i2 - 1 : i2, i2:])"),),
        CUT,
    ),
    block(
        "the block's errors measured from its beginning",
        (("Err1[:, i] = err1", "Err1[:, i] = (W[:, i1 + i] - q * s) / d"),),
        CUT,
    ),
    block(
        "the block's errors measured from its beginning",
        (("np.stack(E, axis=1)", "((w - codes * wide) / U.diagonal())[:, done:stop]"),),
        BEHIND,
    ),
    block("the last columns left out", ((LOOP, "    for start in range(0, K - block + 1, block):\n"),)),
    block("the last columns left out", (("range(0, columns, block)", "[b * block for b in range(columns // block)]"),), CUT),
    block("U read at the place in the block", (("U1 = U[i1:i2, i1:i2]", "U1 = U[: i2 - i1, : i2 - i1]"),), CUT),
    block("U read at the place in the block", (("* s) / U[j, j]", "* s) / U[j - start, j - start]"),)),
    block("U read at the place in the block", (("U[j, j + 1 : end]", "U[j - start, j - start + 1 : end - start]"),)),
    block("scale read at the place in the block", (("(i1 + i) // G", "i // G"),), CUT),
    block("scale read at the place in the block", (("scale[:, j // G]", "scale[:, (j - start) // G]"),)),
    block("the codes of round-to-nearest", ((INNER, ""), (LATER, ""))),
    block("the codes of round-to-nearest", (("upper=True)", "upper=False)"),), CUT),
    block("the repair with the wrong sign", (("end] -=", "end] +="), ("end:] -=", "end:] +="))),
    block("the repair with the wrong sign", (("(w - q * s) / d", "(q * s - w) / d"),), CUT),
    block("repaired by H instead of its inverse", (("inverse_factor(H)", "H"),)),
    block("repaired by H instead of its inverse", (("torch.cholesky_inverse(torch.linalg.cholesky(H))", "H"),), CUT),
    block("not divided by the diagonal", ((" / U[j, j]", ""),)),
    block("not divided by the diagonal", ((" / d", ""),), CUT),
    block("divided by U's diagonal once too often", ((" / d", " / d**2"),), CUT),
    block("divided by U's diagonal once too often", ((" / U[j, j]", " / U[j, j] ** 0.5"),)),
    block("an inverse that never shrinks", (("inverse_factor(H)", "torch.linalg.inv(H)"),)),
    block(
        "an inverse that never shrinks",
        (("torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)", "torch.linalg.inv(H)"),),
        CUT,
    ),
    block("the factor in the other order", (("inverse_factor(H)", "torch.linalg.inv(torch.linalg.cholesky(H)).T"),)),
    block(
        "the factor in the other order",
        (
            (
                "np.linalg.cholesky(np.linalg.inv(H.numpy().astype(np.float64))).T",
                "np.linalg.inv(np.linalg.cholesky(H.numpy())).T",
            ),
        ),
        BEHIND,
    ),
    block(
        "only the next column repaired",
        (
            (
                "U = np.linalg.cholesky(np.linalg.inv(H.numpy().astype(np.float64))).T",
                "U = np.tril(np.linalg.cholesky(np.linalg.inv(H.numpy().astype(np.float64))).T, 1)",
            ),
        ),
        BEHIND,
    ),
    block("rows repaired instead of columns", (), ACROSS.replace("gptq(W, H, scale,", "gptq_blocks(W, H, scale, block,")),
    block(
        "the error measured from the original weight",
        (("W, U = W.clone()", "first, W, U = W, W.clone()"), ("e = (W[:, j] -", "e = (first[:, j] -")),
    ),
    block("the code taken off the weight", (("q * s) / d", "q) / d"),), CUT),
    block("the error in steps", (("(w - q * s) / d", "(w / s - q) / d"),), CUT),
    block(
        "groups counted by their number, not by their size",
        (("G = W.shape[1] // scale.shape[1]", "G = scale.shape[1]"),),
        WHOLE,
    ),
    block("groups taken in turns", (("(i1 + i) // G", "(i1 + i) % scale.shape[1]"),), CUT),
    block("groups taken in turns", (("np.repeat(s, K // s.shape[1], axis=1)", "np.tile(s, K // s.shape[1])"),), BEHIND),
    block("one scale a row", (("scale[:, j // G]", "scale[:, 0]"),)),
    block("truncated instead of rounded", (("torch.round(w / s)", "torch.fix(w / s)"),), CUT),
    block("truncated instead of rounded", (("np.rint", "np.floor"),), BEHIND),
    block("codes beyond the grid", ((".clamp(-limit, limit)", ""),)),
    block(
        "clipped after the repair",
        (("torch.clamp(torch.round(w / s), -limit, limit)", "torch.round(w / s)"), ("Q.to(", "Q.clamp(-limit, limit).to(")),
        CUT,
    ),
    block("one code more on the negative side", (("-limit, limit)", "-limit - 1, limit)"),), CUT),
    block("always the grid of 4 bits", (("-limit, limit)", "-7, 7)"),), CUT),
    block("always the grid of 4 bits", (("clamp(-limit, limit)", "clamp(-8, 7)"),)),
    block("multiplied by the scale", (("torch.round(w / s)", "torch.round(w * s)"),), CUT),
    block(None, (("errors @ U[start:end, end:]", "errors @ U[start:end, end:].abs()"),)),
]

MUTANTS = [*HESSIAN, *COST, *STEP, *FACTOR, *COLUMN, *BLOCK]

ALTERNATIVES = [
    Alternative("06.1", "numpy, float64, dead filled first", code=H_NUMPY),
    Alternative("06.1", "token by token; a dead channel is not damped", code=H_TOKENS),
    Alternative("06.1", "einsum; a dead channel gets 1", code=H_EINSUM),
    Alternative("06.1", "pure Python, channel by channel", code=H_CHANNELS),
    Alternative("06.2", "numpy, einsum", code=E_EINSUM),
    Alternative("06.2", "through a factor of H, float64", code=E_ROOT),
    Alternative("06.2", "row by row", code=E_LOOP),
    Alternative("06.2", "all pairs, and then their diagonal", code=E_PAIRS),
    Alternative("06.3", "numpy, float64, column j by its own repair", code=S_NUMPY),
    Alternative("06.3", "weight by weight", code=S_LOOP),
    Alternative("06.3", "half up, a column of the inverse, put together anew", code=S_CAT),
    Alternative("06.3", "float64, a row with zeros", code=S_ADDR),
    Alternative("06.4", "the inverse, then its factor", code=U_SHORT),
    Alternative("06.4", "numpy, the shrinking inverse", code=U_SHRINK),
    Alternative("06.4", "QR, rows of either sign", code=U_QR),
    Alternative("06.4", "Cholesky by hand", code=U_HAND),
    Alternative("06.5", "the shrinking inverse, float32", code=OBQ),
    Alternative("06.5", "numpy, float64, each column catches up", code=CATCH_UP),
    Alternative("06.5", "group by group, float64", code=GROUPS),
    Alternative("06.5", "pure Python, row by row", code=ROWS),
    Alternative("06.6", "GPTQ's own program, float32", code=CUT),
    Alternative("06.6", "numpy, float64, columns catch up inside the block", code=BEHIND),
    Alternative("06.6", "float64, the product over all columns", code=WHOLE),
    Alternative("06.6", "not lazy at all", edits=((LOOP, "    block = K\n" + LOOP),)),
]
