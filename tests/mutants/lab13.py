"""Lab 13: the mistakes students make in the clinic, in their own code."""

from tools.mutants import Alternative, mutants_by_edits

alone, moved, swap, gain, meter, own = (mutants_by_edits(f"13.{i}") for i in range(1, 7))

# --- 13.1
ALONE_NUMPY = """
def errors_alone(x, twin, patient):
    h, out = x.numpy().astype(np.float64), []
    for l in range(len(twin)):
        a, b = h.dot(patient[l].numpy().T), h.dot(twin[l].numpy().T)
        out.append(np.linalg.norm(a - b) / np.linalg.norm(b))
        h = np.tanh(b)
    return np.array(out, dtype=np.float32)
"""
ALONE_TWO_PASSES = """
def errors_alone(x, twin, patient):
    inputs = [x]
    for W in twin[:-1]:
        inputs.append(torch.tanh(torch.nn.functional.linear(inputs[-1], W)))
    h = torch.stack(inputs)
    y = torch.bmm(h, patient.transpose(1, 2))
    y_twin = torch.bmm(h, twin.transpose(1, 2))
    return (y - y_twin).square().sum((1, 2)).sqrt() / y_twin.square().sum((1, 2)).sqrt()
"""
ALONE_LOOPS = """
def errors_alone(x, twin, patient):
    rows, errors = x.tolist(), []
    for A, B in zip(twin.tolist(), patient.tolist()):
        top = bottom = 0.0
        new = []
        for row in rows:
            right = [sum(w * v for w, v in zip(ws, row)) for ws in A]
            ill = [sum(w * v for w, v in zip(ws, row)) for ws in B]
            top += sum((p - q) ** 2 for p, q in zip(ill, right))
            bottom += sum(q ** 2 for q in right)
            new.append([math.tanh(q) for q in right])
        errors.append(math.sqrt(top / bottom))
        rows = new
    return torch.tensor(errors)
"""
OWN_STREAM = (
    ("h, errors = x, []", "h, g, errors = x, x, []"),
    ("h @ W.T - y_twin", "g @ W.T - y_twin"),
    ("        h = y_twin.tanh()", "        h, g = y_twin.tanh(), (g @ W.T).tanh()"),
)
SOLVED = "(h @ W.T - y_twin).norm() / y_twin.norm()"
NORMS = "np.linalg.norm(a - b) / np.linalg.norm(b)"
ALONE = [
    alone("each model on its own stream", *OWN_STREAM),
    alone(
        "each model on its own stream",
        ("h, out = x.numpy().astype(np.float64), []", "h, out = x.numpy().astype(np.float64), []\n    g = h"),
        ("a, b = h.dot(patient", "a, b = g.dot(patient"),
        ("h = np.tanh(b)", "h, g = np.tanh(b), np.tanh(a)"),
        code=ALONE_NUMPY,
    ),
    alone("the patient's stream for both", ("h = y_twin.tanh()", "h = (h @ W.T).tanh()")),
    alone("the patient's stream for both", ("h = np.tanh(b)", "h = np.tanh(a)"), code=ALONE_NUMPY),
    alone("the patient's stream for both", ("for W in twin[:-1]", "for W in patient[:-1]"), code=ALONE_TWO_PASSES),
    alone("the patient's stream for both", ("math.tanh(q) for q in right", "math.tanh(q) for q in ill"), code=ALONE_LOOPS),
    alone("patient and twin exchanged", ("zip(twin, patient, strict=True)", "zip(patient, twin, strict=True)")),
    alone("patient and twin exchanged", ("(x, twin, patient)", "(x, patient, twin)"), code=ALONE_NUMPY),
    alone("x for every layer", ("        h = y_twin.tanh()\n", "")),
    alone("x for every layer", ("        h = np.tanh(b)\n", ""), code=ALONE_NUMPY),
    alone(
        "x for every layer",
        ("inputs[-1], W", "x, W"),
        ("h = torch.stack(inputs)", "h = x.expand(len(twin), *x.shape)"),
        code=ALONE_TWO_PASSES,
    ),
    alone("the tanh left out", ("y_twin.tanh()", "y_twin")),
    alone("the tanh left out", ("np.tanh(b)", "b"), code=ALONE_NUMPY),
    alone("the tanh left out", ("np.tanh(b)", "np.maximum(b, 0)"), code=ALONE_NUMPY),
    alone("compared behind the tanh", (SOLVED, "((h @ W.T).tanh() - y_twin.tanh()).norm() / y_twin.tanh().norm()")),
    alone(
        "compared behind the tanh",
        ("h.dot(twin[l].numpy().T)", "h.dot(twin[l].numpy().T)\n        a, b = np.tanh(a), np.tanh(b)"),
        ("h = np.tanh(b)", "h = b"),
        code=ALONE_NUMPY,
    ),
    alone("a weight transposed", ("h @ W_twin.T", "h @ W_twin"), ("h @ W.T", "h @ W")),
    alone(
        "a weight transposed",
        ("patient[l].numpy().T", "patient[l].numpy()"),
        ("twin[l].numpy().T", "twin[l].numpy()"),
        code=ALONE_NUMPY,
    ),
    alone("divided by the patient's norm", ("/ y_twin.norm()", "/ (h @ W.T).norm()")),
    alone("divided by the patient's norm", ("/ np.linalg.norm(b)", "/ np.linalg.norm(a)"), code=ALONE_NUMPY),
    alone(
        "divided by the patient's norm",
        ("bottom += sum(q ** 2 for q in right)", "bottom += sum(q ** 2 for q in ill)"),
        code=ALONE_LOOPS,
    ),
    alone("not divided", (" / y_twin.norm()", "")),
    alone("not divided", (NORMS, "np.linalg.norm(a - b)"), code=ALONE_NUMPY),
    alone("not divided", (NORMS, "np.mean((a - b) ** 2)"), code=ALONE_NUMPY),
    alone("not divided", (NORMS, "np.abs(a - b).max()"), code=ALONE_NUMPY),
    alone("squares without the root", ("math.sqrt(top / bottom)", "top / bottom"), code=ALONE_LOOPS),
    alone("squares without the root", (SOLVED, "(h @ W.T - y_twin).square().sum() / y_twin.square().sum()")),
    alone(
        "squares without the root",
        (").sqrt() / y_twin", ") / y_twin"),
        ("sum((1, 2)).sqrt()\n", "sum((1, 2))\n"),
        code=ALONE_TWO_PASSES,
    ),
    alone("an average of ratios", (NORMS, "np.mean(np.abs((a - b) / b))"), code=ALONE_NUMPY),
    alone("an average of ratios", (SOLVED, "((h @ W.T - y_twin).abs() / y_twin.abs()).mean()")),
    alone("an average of ratios", (SOLVED, "((h @ W.T - y_twin).norm(dim=1) / y_twin.norm(dim=1)).mean()")),
    alone("another norm", (SOLVED, "(h @ W.T - y_twin).abs().mean() / y_twin.abs().mean()")),
    alone("another norm", (NORMS, "np.linalg.norm(a - b, 2) / np.linalg.norm(b, 2)"), code=ALONE_NUMPY),
    alone(
        "another norm",
        ("(p - q) ** 2", "abs(p - q)"),
        ("bottom += sum(q ** 2", "bottom += sum(abs(q)"),
        ("math.sqrt(top / bottom)", "top / bottom"),
        code=ALONE_LOOPS,
    ),
    alone("the weights compared", (SOLVED, "(W - W_twin).norm() / W_twin.norm()")),
    alone(
        "the weights compared", (NORMS, "np.linalg.norm(patient[l] - twin[l]) / np.linalg.norm(twin[l])"), code=ALONE_NUMPY
    ),
]

# --- 13.2
MOVED_NUMPY = """
def what_moved(codes, zeros, twin_codes, twin_zeros):
    c, z, tc, tz = (np.asarray(t).astype(np.int64) for t in (codes, zeros, twin_codes, twin_zeros))
    step = np.unique(z - tz)
    swapped = tc.copy()
    swapped[:, 0::2], swapped[:, 1::2] = tc[:, 1::2], tc[:, 0::2]
    mine, theirs = np.hstack([c, z]), np.hstack([tc, tz])
    if (c == tc).all() and (z == tz).all():
        return "nothing"
    if (c == tc).all() and step.size == 1 and abs(step[0]) == 1:
        return "zero points"
    if (c == swapped).all() and (z == tz).all():
        return "nibbles"
    if (mine[np.lexsort(mine.T)] == theirs[np.lexsort(theirs.T)]).all():
        return "rows"
    return "another"
"""
MOVED_LISTS = """
def what_moved(codes, zeros, twin_codes, twin_zeros):
    c, z, tc, tz = codes.tolist(), zeros.tolist(), twin_codes.tolist(), twin_zeros.tolist()
    n = len(c)
    differences = set()
    for i in range(n):
        for a, b in zip(z[i], tz[i]):
            differences.add(a - b)
    if c == tc and differences == {0}:
        return "nothing"
    if c == tc and (differences == {1} or differences == {-1}):
        return "zero points"
    pairs = all(c[i][k] == tc[i][k ^ 1] for i in range(n) for k in range(len(c[i])))
    if pairs and z == tz:
        return "nibbles"
    left = [(tuple(tc[i]), tuple(tz[i])) for i in range(n)]
    for i in range(n):
        row = (tuple(c[i]), tuple(z[i]))
        if row not in left:
            return "another"
        left.remove(row)
    return "rows"
"""
BY_RULE = """
def what_moved(codes, zeros, twin_codes, twin_zeros):
    one = torch.equal(zeros, twin_zeros + 1) or torch.equal(zeros + 1, twin_zeros)
    exchanged = twin_codes.reshape(len(codes), -1, 2).flip(-1).reshape(codes.shape)
    mine, theirs = torch.hstack([codes, zeros]), torch.hstack([twin_codes, twin_zeros])
    rules = {
        "nothing": torch.equal(codes, twin_codes) and torch.equal(zeros, twin_zeros),
        "zero points": torch.equal(codes, twin_codes) and one,
        "nibbles": torch.equal(codes, exchanged) and torch.equal(zeros, twin_zeros),
        "rows": sorted(map(tuple, mine.tolist())) == sorted(map(tuple, theirs.tolist())),
    }
    for name, holds in rules.items():
        if holds:
            return name
    return "another"
"""
EQUAL = "    if torch.equal(codes, twin_codes):"
STEP = '"zero points" if (moved == 1).all() or (moved == -1).all() else "another"'
FLIP = "twin_codes.unflatten(1, (-1, 2)).flip(2).flatten(1)"
ROWS = "sorted(torch.cat((codes, zeros), 1).tolist())"
TWIN_ROWS = "sorted(torch.cat((twin_codes, twin_zeros), 1).tolist())"
MOVED = [
    moved(
        "histograms compared",
        (EQUAL, "    if torch.equal(codes.flatten().sort().values, twin_codes.flatten().sort().values):"),
    ),
    moved("histograms compared", (EQUAL, "    if codes.float().mean() == twin_codes.float().mean():")),
    moved(
        "histograms compared",
        (
            '(c == tc).all() and (z == tz).all():\n        return "nothing"',
            'sorted(c.ravel()) == sorted(tc.ravel()) and (z == tz).all():\n        return "nothing"',
        ),
        ("    if (c == tc).all() and step.size", "    if sorted(c.ravel()) == sorted(tc.ravel()) and step.size"),
        code=MOVED_NUMPY,
    ),
    moved(
        "zero points never looked at",
        ('        if (moved == 0).all():\n            return "nothing"\n        return ' + STEP, '        return "nothing"'),
        ("torch.equal(codes, swapped) and (moved == 0).all()", "torch.equal(codes, swapped)"),
        (ROWS, "sorted(codes.tolist())"),
        (TWIN_ROWS, "sorted(twin_codes.tolist())"),
    ),
    moved(
        "zero points never looked at",
        ("if c == tc and differences == {0}", "if c == tc"),
        ("pairs and z == tz", "pairs"),
        code=MOVED_LISTS,
    ),
    moved("every move of a zero point taken for one step", (STEP, '"zero points"')),
    moved(
        "every move of a zero point taken for one step", (" and step.size == 1 and abs(step[0]) == 1", ""), code=MOVED_NUMPY
    ),
    moved(
        "every move of a zero point taken for one step",
        (" and (differences == {1} or differences == {-1})", ""),
        code=MOVED_LISTS,
    ),
    moved("up and down at once", ("(moved == 1).all() or (moved == -1).all()", "(moved.abs() == 1).all()")),
    moved("up and down at once", ("step.size == 1 and abs(step[0]) == 1", "(abs(z - tz) == 1).all()"), code=MOVED_NUMPY),
    moved("up and down at once", ("differences.add(a - b)", "differences.add(abs(a - b))"), code=MOVED_LISTS),
    moved("up and down at once", ("(moved == 1).all() or (moved == -1).all()", "moved.float().mean().abs() == 1")),
    moved("one direction only", ("(moved == 1).all() or (moved == -1).all()", "(moved == 1).all()")),
    moved("one direction only", (" or differences == {-1}", ""), code=MOVED_LISTS),
    moved("one direction only", ("astype(np.int64)", "astype(np.uint8)"), code=MOVED_NUMPY),
    moved(
        "one direction only",
        ("torch.equal(zeros, twin_zeros + 1) or torch.equal(zeros + 1, twin_zeros)", "torch.equal(zeros + 1, twin_zeros)"),
        code=BY_RULE,
    ),
    moved("neighbours along N", (FLIP, "twin_codes[[i ^ 1 if i ^ 1 < len(codes) else i for i in range(len(codes))]]")),
    moved(
        "neighbours along N",
        (
            "swapped[:, 0::2], swapped[:, 1::2] = tc[:, 1::2], tc[:, 0::2]",
            "h = len(tc) // 2 * 2\n    swapped[0:h:2], swapped[1:h:2] = tc[1:h:2], tc[0:h:2]",
        ),
        code=MOVED_NUMPY,
    ),
    moved("another exchange of columns", (FLIP, "twin_codes.flip(1)")),
    moved("another exchange of columns", (FLIP, "twin_codes.unflatten(1, (-1, 8)).flip(2).flatten(1)")),
    moved("another exchange of columns", (FLIP, "twin_codes.roll(1, 1)")),
    moved("another exchange of columns", ("k ^ 1", "k - 1"), code=MOVED_LISTS),
    moved(
        "another exchange of columns",
        ("swapped[:, 0::2], swapped[:, 1::2] = tc[:, 1::2], tc[:, 0::2]", "swapped = np.hstack([tc[:, 1::2], tc[:, 0::2]])"),
        code=MOVED_NUMPY,
    ),
    moved("rows without their zero points", (ROWS, "sorted(codes.tolist())"), (TWIN_ROWS, "sorted(twin_codes.tolist())")),
    moved(
        "rows without their zero points",
        ("row = (tuple(c[i]), tuple(z[i]))", "row = tuple(c[i])"),
        ("left = [(tuple(tc[i]), tuple(tz[i])) for", "left = [tuple(tc[i]) for"),
        code=MOVED_LISTS,
    ),
    moved(
        "rows without their zero points",
        ("mine, theirs = np.hstack([c, z]), np.hstack([tc, tz])", "mine, theirs = c, tc"),
        code=MOVED_NUMPY,
    ),
    moved(
        "how often a row is there",
        (ROWS, "set(map(tuple, torch.cat((codes, zeros), 1).tolist()))"),
        (TWIN_ROWS, "set(map(tuple, torch.cat((twin_codes, twin_zeros), 1).tolist()))"),
    ),
    moved("how often a row is there", ("        left.remove(row)\n", ""), code=MOVED_LISTS),
    moved(
        "how often a row is there",
        (
            "    if (mine[np.lexsort(mine.T)] == theirs[np.lexsort(theirs.T)]).all():",
            "    a, b = np.unique(mine, axis=0), np.unique(theirs, axis=0)\n    if a.shape == b.shape and (a == b).all():",
        ),
        code=MOVED_NUMPY,
    ),
    moved(
        "each column sorted by itself",
        ("mine[np.lexsort(mine.T)] == theirs[np.lexsort(theirs.T)]", "np.sort(mine, axis=0) == np.sort(theirs, axis=0)"),
        code=MOVED_NUMPY,
    ),
    moved(
        "each column sorted by itself",
        (ROWS, "codes.sort(0).values.tolist()"),
        (TWIN_ROWS, "twin_codes.sort(0).values.tolist()"),
    ),
    moved(
        "the questions in another order",
        ("    moved = zeros", f'    if {ROWS} == {TWIN_ROWS}:\n        return "rows"\n    moved = zeros'),
    ),
    moved("the questions in another order", ("rules.items()", "reversed(rules.items())"), code=BY_RULE),
    moved("nearly the same taken for the same", (EQUAL, "    if (codes == twin_codes).float().mean() > 0.9:")),
    moved("nearly the same taken for the same", (EQUAL, "    if (codes == twin_codes).float().mean() > 0.5:")),
    moved("nearly the same taken for the same", (EQUAL, "    if (codes == twin_codes).any():")),
]

# --- 13.3
SWAP_BYTES = """
def swap_nibbles(words):
    data = words.contiguous().view(torch.uint8)
    return (data << 4 | data >> 4).view(torch.int32)
"""
SWAP_NUMPY = """
def swap_nibbles(words):
    w = words.numpy().view(np.uint32)
    out = ((w & np.uint32(0x0F0F0F0F)) << np.uint32(4)) | ((w & np.uint32(0xF0F0F0F0)) >> np.uint32(4))
    return torch.from_numpy(out.view(np.int32).copy())
"""
SWAP_CODES = """
def swap_nibbles(words):
    out = torch.zeros_like(words)
    for i in range(8):
        code = words >> 4 * i & 15
        out |= code << 4 * (i ^ 1)
    return out
"""
SWAP_LOOP = """
def swap_nibbles(words):
    out = []
    for row in words.tolist():
        new = []
        for w in row:
            n = w & 0xFFFFFFFF
            n = (n & 0x0F0F0F0F) << 4 | (n & 0xF0F0F0F0) >> 4
            new.append(n - 2**32 if n >= 2**31 else n)
        out.append(new)
    return torch.tensor(out, dtype=torch.int32)
"""
SWAP_PAIRS = """
def swap_nibbles(words):
    shifts = torch.arange(0, 32, 4)
    codes = (words.long()[..., None] >> shifts) & 0xF
    codes = codes.unflatten(-1, (4, 2)).flip(-1).flatten(-2)
    return (codes << shifts).sum(-1).to(torch.int32)
"""
SOLVED = "low << 4 | high"
SWAP = [
    swap("the sign came along", ("words >> 4 & 0x0F0F0F0F", "(words & ~0x0F0F0F0F) >> 4")),
    swap(
        "the sign came along",
        ("w = words.numpy().view(np.uint32)", "w = words.numpy()"),
        ("w & np.uint32(0x0F0F0F0F)) << np.uint32(4)", "w & np.int32(0x0F0F0F0F)) << np.int32(4)"),
        ("w & np.uint32(0xF0F0F0F0)) >> np.uint32(4)", "w & ~np.int32(0x0F0F0F0F)) >> np.int32(4)"),
        code=SWAP_NUMPY,
    ),
    swap("no mask", (SOLVED, "words << 4 | words >> 4")),
    swap("no mask", ("high = words >> 4 & 0x0F0F0F0F", "high = words >> 4")),
    swap("no mask", ("(w & np.uint32(0x0F0F0F0F))", "w"), ("(w & np.uint32(0xF0F0F0F0))", "w"), code=SWAP_NUMPY),
    swap(
        "no mask",
        ("data = words.contiguous().view(torch.uint8)", "data = words"),
        (".view(torch.int32)", ""),
        code=SWAP_BYTES,
    ),
    swap("no mask", ("low = words & 0x0F0F0F0F", "low = words")),
    swap("only one half moved", (" | high", "")),
    swap("only one half moved", ("low << 4 | ", "")),
    swap("only one half moved", ("data << 4 | data >> 4", "data >> 4"), code=SWAP_BYTES),
    swap("only one half moved", ("(data << 4 | data >> 4)", "(data | data >> 4)"), code=SWAP_BYTES),
    swap("only one half moved", ("(n & 0x0F0F0F0F) << 4 | (n", "(n & 0xF0F0F0F0) | (n"), code=SWAP_LOOP),
    swap("all eight digits turned round", ("4 * (i ^ 1)", "4 * (7 - i)"), code=SWAP_CODES),
    swap(
        "all eight digits turned round",
        ("codes.unflatten(-1, (4, 2)).flip(-1).flatten(-2)", "codes.flip(-1)"),
        code=SWAP_PAIRS,
    ),
    swap(
        "bytes exchanged",
        ("return (data << 4 | data >> 4)", "return data.unflatten(-1, (-1, 4)).flip(-1).flatten(-2)"),
        code=SWAP_BYTES,
    ),
    swap(
        "bytes exchanged",
        ("    return torch.from_numpy(out.view(np.int32).copy())", "    return torch.from_numpy(words.numpy().byteswap())"),
        code=SWAP_NUMPY,
    ),
    swap("bytes exchanged", (SOLVED, "(words & 0x00FF00FF) << 8 | words >> 8 & 0x00FF00FF")),
    swap("bytes exchanged", ("4 * (i ^ 1)", "4 * (i ^ 2)"), code=SWAP_CODES),
    swap("exchanged across bytes", ("4 * (i ^ 1)", "4 * ((i + 1) % 8)"), code=SWAP_CODES),
    swap(
        "exchanged across bytes", ("codes.unflatten(-1, (4, 2)).flip(-1).flatten(-2)", "codes.roll(-1, -1)"), code=SWAP_PAIRS
    ),
    swap("one byte of four", (SOLVED, "(words & 0x0F) << 4 | words >> 4 & 0x0F")),
    swap("one byte of four", (SOLVED, "words & ~0xFF | (words & 0x0F) << 4 | words >> 4 & 0x0F")),
    swap(
        "one byte of four",
        ("(n & 0x0F0F0F0F) << 4 | (n & 0xF0F0F0F0) >> 4", "(n & 0xF) << 4 | (n & 0xF0) >> 4"),
        code=SWAP_LOOP,
    ),
    swap("words exchanged", (SOLVED, "words[:, [k ^ 1 if k ^ 1 < words.shape[1] else k for k in range(words.shape[1])]]")),
    swap("words exchanged", (SOLVED, "words.flip(1)")),
    swap("another dtype, or another shape", (".to(torch.int32)", ""), code=SWAP_PAIRS),
    swap("another dtype, or another shape", (".view(torch.int32)", ""), code=SWAP_BYTES),
    swap(
        "another dtype, or another shape",
        ("n - 2**32 if n >= 2**31 else n", "n"),
        ("torch.int32", "torch.int64"),
        code=SWAP_LOOP,
    ),
    swap("nothing moved", (SOLVED, "words")),
    swap("nothing moved", ("4 * (i ^ 1)", "4 * i"), code=SWAP_CODES),
]

# --- 13.4
GAIN_NUMPY = """
def mend_gain(gain, patient, twin, plain):
    g = gain.float().numpy()
    p, t, b = (loud.numpy().astype(np.float64) for loud in (patient, twin, plain))
    heard = t > 0
    s = np.ones_like(t)
    s[heard] = b[heard] / t[heard]
    ratio = np.log(p[heard] / t[heard])
    distance = [np.linalg.norm(ratio - k * np.log(s[heard])) for k in (-1, 0, 1)]
    k = (-1, 0, 1)[int(np.argmin(distance))]
    return (g / s ** k).astype(np.float32)
"""
GAIN_LOOP = """
def mend_gain(gain, patient, twin, plain):
    same = louder = quieter = 0.0
    s = []
    for p, t, b in zip(patient.tolist(), twin.tolist(), plain.tolist()):
        s.append(b / t if t else 1.0)
        if t:
            same += abs(math.log(p / t))
            louder += abs(math.log(p / b))
            quieter += abs(math.log(p * b / t / t))
    best = min(same, louder, quieter)
    s = torch.tensor(s, dtype=torch.float64)
    g = gain.double()
    if best == louder:
        g = g / s
    elif best == quieter:
        g = g * s
    return g.float()
"""
GAIN_MEAN_REMOVED = """
def mend_gain(gain, patient, twin, plain):
    on = twin > 0
    x = torch.log(plain[on]) - torch.log(twin[on])
    y = torch.log(patient[on]) - torch.log(twin[on])
    power = round(float(torch.corrcoef(torch.stack([x, y]))[0, 1] * y.std() / x.std()))
    s = torch.where(on, plain / twin, torch.ones_like(twin))
    return gain.to(torch.float32) * s ** -power
"""
SLOPE = "(x @ y) / (x @ x)"
LAST = "    return gain.float() * s if slope < -0.5 else gain.float()"
FACTORS = ("        return gain.float() / s", LAST)
GAIN = [
    gain(
        "the wrong way round",
        ("return gain.float() / s", "return gain.float() * s"),
        ("return gain.float() * s if", "return gain.float() / s if"),
    ),
    gain(
        "the wrong way round", ("s = plain / twin\n    x, y = s.log()", "s = twin / plain\n    x, y = (plain / twin).log()")
    ),
    gain("the wrong way round", ("g / s ** k", "g * s ** k"), code=GAIN_NUMPY),
    gain("the wrong way round", ("s ** -power", "s ** power"), code=GAIN_MEAN_REMOVED),
    gain("one accident only", (LAST, "    return gain.float()")),
    gain(
        "one accident only", ("for k in (-1, 0, 1)]", "for k in (0, 1)]"), ("k = (-1, 0, 1)", "k = (0, 1)"), code=GAIN_NUMPY
    ),
    gain("one accident only", ("    if best == louder:\n        g = g / s\n    elif", "    if"), code=GAIN_LOOP),
    gain("both mended alike", ("slope > 0.5", "abs(slope) > 0.5")),
    gain("both mended alike", ("g = g * s", "g = g / s"), code=GAIN_LOOP),
    gain("a healthy norm mended, too", ("slope > 0.5", "slope > 0"), (LAST, "    return gain.float() * s")),
    gain("a healthy norm mended, too", (LAST, "    return gain.float() * s")),
    gain(
        "a healthy norm mended, too",
        (
            "    slope = (x @ y) / (x @ x)\n    if slope > 0.5:\n        return gain.float() / s\n" + LAST,
            "    return gain.float() / s",
        ),
    ),
    gain(
        "no room for noise",
        ("slope > 0.5", "torch.allclose(patient, plain)"),
        ("slope < -0.5", "torch.allclose(patient, twin / s)"),
    ),
    gain("no room for noise", ("    best = min(same, louder, quieter)", "    best = 0.0"), code=GAIN_LOOP),
    gain(
        "no room for noise",
        ("slope > 0.5", "torch.equal(patient, plain)"),
        ("slope < -0.5", "torch.equal(patient * s, twin)"),
    ),
    gain(
        "one loudness for the whole norm",
        (SLOPE, "patient.mean() / twin.mean() - 1"),
        ("slope > 0.5", "slope > 0.05"),
        ("slope < -0.5", "slope < -0.05"),
    ),
    gain(
        "one loudness for the whole norm",
        ("slope > 0.5", "patient.max() > 1.05 * twin.max()"),
        ("slope < -0.5", "patient.max() < 0.95 * twin.max()"),
    ),
    gain(
        "one loudness for the whole norm",
        ("    if slope > 0.5:", "    if patient.mean() > twin.mean():"),
        (LAST, "    return gain.float() * s"),
    ),
    gain(
        "channel by channel",
        (
            "    slope = (x @ y) / (x @ x)\n    if slope > 0.5:\n        return gain.float() / s\n" + LAST,
            "    d = torch.stack([(y - x).abs(), y.abs(), (y + x).abs()]).argmin(0)\n"
            "    return torch.where(d == 0, gain / s, torch.where(d == 2, gain * s, gain.float()))",
        ),
    ),
    gain(
        "channel by channel",
        (
            "    distance = [np.linalg.norm(ratio - k * np.log(s[heard])) for k in (-1, 0, 1)]\n"
            "    k = (-1, 0, 1)[int(np.argmin(distance))]\n",
            "    d = np.abs(np.stack([t / s, t, b]) - p)\n    k = np.array([-1, 0, 1])[d.argmin(0)]\n",
        ),
        code=GAIN_NUMPY,
    ),
    gain(
        "the noise folded in", ("    s = plain / twin\n", "    return gain.float() * twin / patient\n    s = plain / twin\n")
    ),
    gain(
        "the noise folded in",
        ("return gain.float() / s", "return gain.float() * twin / patient"),
        ("return gain.float() * s if", "return gain.float() * twin / patient if"),
    ),
    gain("the noise folded in", ("(g / s ** k)", "(g * np.where(heard, t, 1) / np.where(heard, p, 1))"), code=GAIN_NUMPY),
    gain("another power of s", ("gain.float() * s if", "gain.float() * s * s if")),
    gain(
        "another power of s",
        ("gain.float() / s\n", "gain.float() / s**2\n"),
        ("gain.float() * s if", "gain.float() * s**2 if"),
    ),
    gain("another power of s", ("g = g * s", "g = g * s.sqrt()"), ("g = g / s", "g = g / s.sqrt()"), code=GAIN_LOOP),
    gain(
        "0 / 0 in silent channels",
        ("    patient, twin, plain = (loud.clamp(min=1e-9) for loud in (patient, twin, plain))\n", ""),
    ),
    gain(
        "0 / 0 in silent channels",
        ("torch.where(on, plain / twin, torch.ones_like(twin))", "plain / twin"),
        code=GAIN_MEAN_REMOVED,
    ),
    gain(
        "0 / 0 in silent channels",
        ("    s = np.ones_like(t)\n    s[heard] = b[heard] / t[heard]\n", "    s = b / t\n"),
        code=GAIN_NUMPY,
    ),
    gain(
        "rounded back to bf16",
        ("gain.float() / s", "(gain / s).to(gain.dtype)"),
        ("gain.float() * s if slope < -0.5 else gain.float()", "(gain * s).to(gain.dtype) if slope < -0.5 else gain"),
    ),
    gain("rounded back to bf16", ("return g.float()", "return g.to(gain.dtype)"), code=GAIN_LOOP),
]

# --- 13.5
AUDIT_NUMPY = """
def audit(inputs, targets, bos, read):
    i, t, r = inputs.numpy(), targets.numpy(), read.numpy()
    markers = 0
    while i[0, markers] == bos:
        markers += 1
    right = np.mean(i[:, 1:] == t[:, :-1])
    text = i[:, markers:markers + r.shape[1]]
    hits = [any(np.array_equal(row, other) for other in r) for row in text]
    return markers, right, np.mean(hits)
"""
AUDIT_LISTS = """
def audit(inputs, targets, bos, read):
    rows, asked = inputs.tolist(), targets.tolist()
    known = set(tuple(w) for w in read.tolist())
    T = len(read[0])
    markers = 0
    for word in rows[0]:
        if word != bos:
            break
        markers += 1
    good = total = hits = 0
    for row, want in zip(rows, asked):
        for j in range(len(row) - 1):
            total += 1
            good += want[j] == row[j + 1]
        hits += tuple(row[markers:markers + T]) in known
    return markers, good / total, hits / len(rows)
"""
AUDIT_CUMPROD = """
def audit(inputs, targets, bos, read):
    markers = (inputs == bos).long().cumprod(1).sum(1).min()
    same = torch.eq(targets[:, :-1], inputs[:, 1:])
    text = inputs[:, markers:][:, :read.size(1)]
    seen = (torch.cdist(text.double(), read.double(), p=1) == 0).any(dim=1)
    return markers, same.sum() / same.numel(), seen.sum() / len(text)
"""
MARKERS = "int((inputs[0] != bos).int().argmax())"
NEXT = "(targets[:, :-1] == inputs[:, 1:]).float().mean().item()"
SEEN = "seen = (text[:, None] == read).all(2).any(1)"
TEXT = "inputs[:, markers : markers + read.shape[1]]"
METER = [
    meter("markers counted anywhere", (MARKERS, "int((inputs[0] == bos).sum())")),
    meter("markers counted anywhere", (MARKERS, "int((inputs == bos).sum())")),
    meter(
        "markers counted anywhere",
        (
            "        if word != bos:\n            break\n        markers += 1",
            "        if word == bos:\n            markers += 1",
        ),
        code=AUDIT_LISTS,
    ),
    meter("markers counted anywhere", (".long().cumprod(1)", ""), code=AUDIT_CUMPROD),
    meter("one marker at most", (MARKERS, "int(inputs[0, 0] == bos)")),
    meter("one marker at most", ("    while i[0, markers] == bos:", "    if i[0, markers] == bos:"), code=AUDIT_NUMPY),
    meter("one marker at most", (MARKERS, "1")),
    meter("targets compared in the same column", (NEXT, "(targets == inputs).float().mean().item()")),
    meter("targets compared in the same column", ("row[j + 1]", "row[j]"), code=AUDIT_LISTS),
    meter("targets compared in the same column", ("i[:, 1:] == t[:, :-1]", "i == t"), code=AUDIT_NUMPY),
    meter("shifted the wrong way", (NEXT, "(targets[:, 1:] == inputs[:, :-1]).float().mean().item()")),
    meter("shifted the wrong way", ("want[j] == row[j + 1]", "want[j + 1] == row[j]"), code=AUDIT_LISTS),
    meter("shifted the wrong way", ("i[:, 1:] == t[:, :-1]", "i[:, :-1] == t[:, 1:]"), code=AUDIT_NUMPY),
    meter("the last column counted", (NEXT, "(targets[:, :-1] == inputs[:, 1:]).sum().item() / targets.numel()")),
    meter("the last column counted", (NEXT, "(targets == inputs.roll(-1, 1)).float().mean().item()")),
    meter(
        "the last column counted",
        ("np.mean(i[:, 1:] == t[:, :-1])", "np.mean(i.ravel()[1:] == t.ravel()[:-1])"),
        code=AUDIT_NUMPY,
    ),
    meter(
        "the last column counted",
        ("    return markers, good / total", "    total += len(rows)\n    return markers, good / total"),
        code=AUDIT_LISTS,
    ),
    meter("all or nothing", (NEXT, "float((targets[:, :-1] == inputs[:, 1:]).all())")),
    meter("all or nothing", (NEXT, "(targets[:, :-1] == inputs[:, 1:]).all(1).float().mean().item()")),
    meter("all or nothing", ("np.mean(hits)", "float(any(hits))"), code=AUDIT_NUMPY),
    meter("windows compared by a part of them", (SEEN, "seen = (text[:, None, 0] == read[:, 0]).any(1)")),
    meter("windows compared by a part of them", (SEEN, "seen = torch.isin(text, read)")),
    meter("windows compared by a part of them", (".all(2)", ".any(2)")),
    meter(
        "windows compared by a part of them",
        ("np.array_equal(row, other)", "sorted(row) == sorted(other)"),
        code=AUDIT_NUMPY,
    ),
    meter(
        "windows compared by a part of them",
        ("tuple(w) for w", "tuple(w[:-1]) for w"),
        ("markers:markers + T]", "markers:markers + T - 1]"),
        code=AUDIT_LISTS,
    ),
    meter("the text looked for in another place", (TEXT, "inputs[:, : read.shape[1]]")),
    meter("the text looked for in another place", (TEXT, "inputs[:, 1 : 1 + read.shape[1]]")),
    meter("the text looked for in another place", ("tuple(row[markers:markers + T])", "tuple(want[:T])"), code=AUDIT_LISTS),
    meter("the text looked for in another place", ("i[:, markers:markers + r.shape[1]]", "i"), code=AUDIT_NUMPY),
    meter("of calibration's windows", (".any(1)", ".any(0)")),
    meter("of calibration's windows", ("hits / len(rows)", "hits / len(read)"), code=AUDIT_LISTS),
    meter("of calibration's windows", ("seen.sum() / len(text)", "seen.sum() / len(read)"), code=AUDIT_CUMPROD),
    meter(
        "a window counted twice, or twice as one",
        (
            "    return markers, next_ids, seen.float().mean().item()",
            "    return markers, next_ids, (text[:, None] == read).all(2).sum().item() / len(text)",
        ),
    ),
    meter(
        "a window counted twice, or twice as one",
        ("hits / len(rows)", "len(known & {tuple(row[markers:markers + T]) for row in rows}) / len(rows)"),
        code=AUDIT_LISTS,
    ),
    meter("a window counted twice, or twice as one", ("any(np.array_equal", "sum(np.array_equal"), code=AUDIT_NUMPY),
    meter(
        "numbers or percent instead of shares",
        ("good / total, hits / len(rows)", "100 * good / total, 100 * hits / len(rows)"),
        code=AUDIT_LISTS,
    ),
    meter("numbers or percent instead of shares", ("seen.sum() / len(text)", "seen.sum()"), code=AUDIT_CUMPROD),
    meter("numbers or percent instead of shares", ("good / total, hits / len(rows)", "good, hits"), code=AUDIT_LISTS),
    meter("the complement", ("== inputs[:, 1:]", "!= inputs[:, 1:]")),
    meter("the complement", ("in known\n", "not in known\n"), code=AUDIT_LISTS),
]

# --- 13.6
OWN_TWINS_SCALES = """
from pathlib import Path
from tempfile import TemporaryDirectory
from qcourse.models.loader import load_model
from qcourse.study.clinic import RIGHT, held, patient, spoil

def my_patient():
    p = patient(4763)
    _, twin = held(p.reference_folder)
    change = lambda config, tensors: tensors.update({n: t for n, t in twin.items() if "global" in n})
    with TemporaryDirectory() as out:
        spoil(p.folder, Path(out), change)
        bits = np.float64(RIGHT.read(load_model(Path(out)), p.other_text).bits)
    return np.int64(4763), "global scale inverted", bits
"""
OWN_METER = """
from qcourse.study.clinic import RIGHT, patient

def my_patient():
    p = patient(5)
    return [5, "a double BOS", round(RIGHT.read(p.model, p.other_text).bits, 4)]
"""
OWN_ORDER = """
from qcourse.models.loader import load_model
from qcourse.study.clinic import RIGHT, patient

def my_patient():
    p = patient(14)
    return 14, "act_order ignored", RIGHT.read(p.reference, p.other_text).bits
"""
OWN = [
    own(None, ("return NUMBER,", "return -NUMBER,")),  # no patient's number
    own(None, ('"a double BOS"', '"a double bos"'), code=OWN_METER),
    own("the meter taken for the model", ('"global scale inverted"', '"perplexity without the shift"')),
    own("the meter taken for the model", ('"a double BOS"', '"zeros of another version"'), code=OWN_METER),
    own("a neighbour in the tree", ('"a double BOS"', '"perplexity without the shift"'), code=OWN_METER),
    own("nothing mended", ("1 / tensors[name]", "tensors[name].clone()")),
    own("nothing mended", ("RIGHT.read", "p.meter.read"), code=OWN_METER),
    own("scored on the table's windows", ("p.other_text", "p.text")),
    own("scored on the table's windows", ("p.other_text", "p.text"), code=OWN_METER),
    own("the 16-bit model scored", ("p.reference", "load_model()"), code=OWN_ORDER),
    own("nats for bits", (".bits\n", ".bits * math.log(2)\n")),
    own("nats for bits", (".bits, 4)", ".bits * np.log(2), 4)"), code=OWN_METER),
    own("mended in part", ('in examine(p, "headers").numbers:', 'in list(examine(p, "headers").numbers)[1:]:')),
    own("mended in part", ('if "global" in n', 'if "global" in n and ".2." not in n'), code=OWN_TWINS_SCALES),
]

MUTANTS = [*ALONE, *MOVED, *SWAP, *GAIN, *METER, *OWN]

ALTERNATIVES = [
    Alternative("13.1", "numpy, float64", code=ALONE_NUMPY),
    Alternative("13.1", "first all inputs, then all layers at once", code=ALONE_TWO_PASSES),
    Alternative("13.1", "pure Python", code=ALONE_LOOPS),
    Alternative("13.2", "numpy, rows by lexsort", code=MOVED_NUMPY),
    Alternative("13.2", "pure Python", code=MOVED_LISTS),
    Alternative("13.2", "a table of rules", code=BY_RULE),
    Alternative("13.2", "uint8: torch reads −1 as 255, too", (("zeros.int() - twin_zeros.int()", "zeros - twin_zeros"),)),
    Alternative("13.3", "bytes", code=SWAP_BYTES),
    Alternative("13.3", "numpy, uint32", code=SWAP_NUMPY),
    Alternative("13.3", "code by code", code=SWAP_CODES),
    Alternative("13.3", "pure Python", code=SWAP_LOOP),
    Alternative("13.3", "eight codes, pairs turned", code=SWAP_PAIRS),
    Alternative("13.4", "numpy, the nearest of three", code=GAIN_NUMPY),
    Alternative("13.4", "pure Python, distances of logarithms", code=GAIN_LOOP),
    Alternative("13.4", "a slope by correlation, rounded", code=GAIN_MEAN_REMOVED),
    Alternative("13.5", "numpy", code=AUDIT_NUMPY),
    Alternative("13.5", "pure Python", code=AUDIT_LISTS),
    Alternative("13.5", "cumprod, distances, tensors back", code=AUDIT_CUMPROD),
    Alternative("13.6", "the twin's global scales, NumPy numbers", code=OWN_TWINS_SCALES),
    Alternative("13.6", "a patient whose meter was wrong, four digits, a list", code=OWN_METER),
]
