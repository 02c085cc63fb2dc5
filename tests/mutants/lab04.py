"""Lab 04: the mistakes students make when they measure, in their own code; and other right answers."""

from tools.mutants import Alternative, Mutant

MUTANTS = [
    Mutant("04.1", "compared with fp32 instead of bf16", edits=(("bf16 += 2 * N * K", "bf16 += 4 * N * K"),)),
    Mutant("04.1", "the scales forgotten", edits=((" + 2 * scales", ""),)),
    Mutant("04.1", "the kept matrices quantized too", edits=(("num_bits == 16 or name in keep", "num_bits == 16"),)),
    Mutant("04.1", "the kept matrices not counted", code="""
def weight_bytes(shapes, num_bits, group_size, keep):
    weights = sum(N * K for name, (N, K) in shapes.items() if name not in keep)
    if num_bits == 16:
        return 2 * weights, 1.0
    rows = sum(N for name, (N, K) in shapes.items() if name not in keep)
    scales = weights // group_size if group_size else rows
    size = weights * num_bits // 8 + 2 * scales
    return size, 2 * weights / size
"""),
    Mutant("04.1", "the kept matrices not counted",
            edits=(("bf16 += 2 * N * K\n", "bf16 += 2 * N * K\n        if name in keep: continue\n"),)),
    Mutant("04.1", "bits taken for bytes", edits=((" * num_bits // 8", " * num_bits"),)),
    Mutant("04.1", "one scale a row, whatever the group", edits=(("N * K // group_size if group_size else N", "N"),)),
    Mutant("04.1", "scales of four bytes", edits=(("+ 2 * scales", "+ 4 * scales"),)),
    Mutant("04.1", "scales for weights that are not quantized", edits=(("num_bits == 16 or name in keep", "name in keep"),)),
    Mutant("04.2", "only K or only V", edits=(("numbers = 2 * config", "numbers = config"),)),
    Mutant("04.2", "query heads instead of key/value heads", edits=(("num_key_value_heads", "num_attention_heads"),)),
    Mutant("04.2", "bits taken for bytes", edits=((" // 8", ""),)),
    Mutant("04.2", "tokens instead of blocks", edits=(("16 * numbers", "numbers"),)),
    Mutant("04.2", "the weights not subtracted", edits=(("(budget - weights)", "budget"),)),
    Mutant("04.2", "a part of a block counted", edits=(("(budget - weights) // block", "(budget - weights) / block"),)),
    Mutant("04.2", "a part of a block counted", edits=(("(budget - weights) // block", "-((weights - budget) // block)"),)),
    Mutant("04.2", "a part of a block counted",
            edits=(("(budget - weights) // block", "round((budget - weights) / block)"),)),
    Mutant("04.2", "less than nothing", code="""
def kv_blocks(budget, weights, config, kv_bits):
    token = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"] * kv_bits / 8
    return math.floor((budget - weights) / (16 * token))
"""),
    Mutant("04.3", "the labels not shifted", edits=(("text[1:, None]", "text[:-1, None]"),)),
    Mutant("04.3", "a mean of the chunks' means", code="""
def perplexity(logits, ids, num_bytes):
    losses, bits = [], []
    for x, i, b in zip(logits, ids, num_bytes):
        loss = torch.nn.functional.cross_entropy(x.float(), i[1:]).item()
        losses.append(loss)
        bits.append(loss * len(x) / math.log(2) / b)
    return math.exp(np.mean(losses)), float(np.mean(bits))
"""),
    Mutant("04.3", "a mean of the chunks' means", code="""
def perplexity(logits, ids, num_bytes):
    losses = [torch.nn.functional.cross_entropy(x.float(), i[1:]) for x, i in zip(logits, ids)]
    total = sum(loss.item() * len(x) for loss, x in zip(losses, logits))
    return torch.stack(losses).exp().mean().item(), total / math.log(2) / sum(num_bytes)
"""),
    Mutant("04.3", "nats called bits", edits=(("nats / math.log(2) / sum", "nats / sum"),)),
    Mutant("04.3", "2 to the power of nats", edits=(("math.exp(nats / tokens)", "2 ** (nats / tokens)"),)),
    Mutant("04.3", "bits a token called bits a byte", edits=(("sum(num_bytes)", "tokens"),)),
    Mutant("04.3", "exp of a large logit overflows", code="""
def perplexity(logits, ids, num_bytes):
    nats, tokens = 0.0, 0
    for x, i in zip(logits, ids):
        e = torch.exp(x.float())
        p = e / e.sum(dim=1, keepdim=True)
        nats += -torch.log(p[torch.arange(len(p)), i[1:]]).sum()
        tokens += len(p)
    return torch.exp(nats / tokens).item(), (nats / math.log(2) / sum(num_bytes)).item()
"""),
    Mutant("04.3", "exp of a large logit overflows", edits=(
        ("torch.log_softmax(chunk.float(), -1)", "chunk.float() - chunk.float().exp().sum(-1, keepdim=True).log()"),)),
    Mutant("04.3", "logits taken for log-probabilities", edits=(("torch.log_softmax(chunk.float(), -1)", "chunk.float()"),)),
    Mutant("04.3", "computed in bf16", edits=(("chunk.float()", "chunk"), (".sum().item()", ".double().sum().item()"))),
    Mutant("04.4", "unpaired error bars", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    bits = math.log(2) * num_bytes.sum().item()
    n = len(nats_a)
    own = [math.sqrt(n) * x.std().item() / bits for x in (nats_a, nats_b)]
    return (nats_b.sum() - nats_a.sum()).item() / bits, math.sqrt(own[0] ** 2 + own[1] ** 2)
"""),
    Mutant("04.4", "the sign turned round",
            edits=(("nats_b.double() - nats_a.double()", "nats_a.double() - nats_b.double()"),)),
    Mutant("04.4", "nats called bits", edits=(("math.log(2) * ", ""),)),
    Mutant("04.4", "the spread of the windows instead of the error of their sum", edits=(("math.sqrt(len(d)) * ", ""),)),
    Mutant("04.4", "the spread of the windows instead of the error of their sum", edits=(("math.sqrt(len(d))", "len(d)"),)),
    Mutant("04.4", "a mean of the windows' ratios", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    per_window = (nats_b - nats_a) / math.log(2) / num_bytes
    return per_window.mean().item(), (per_window.std() / len(per_window) ** 0.5).item()
"""),
    Mutant("04.4", "n instead of n − 1", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    d = (nats_b - nats_a).numpy()
    bits = np.log(2) * num_bytes.numpy().sum()
    return d.sum() / bits, np.sqrt(d.size) * np.std(d) / bits
"""),
    Mutant("04.5", "no warm-up", edits=(("step_seconds[warmup:]", "step_seconds"),)),
    Mutant("04.5", "the mean instead of the median", edits=(("statistics.median", "statistics.mean"),)),
    Mutant("04.5", "the mean instead of the median", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    counted = step_seconds[warmup:]
    return users * len(counted) / sum(counted)
"""),
    Mutant("04.5", "the last steps dropped instead of the first", edits=(("[warmup:]", "[:len(step_seconds) - warmup]"),)),
    Mutant("04.5", "only one user counted", edits=(("users / ", "1 / "),)),
    Mutant("04.5", "seconds a token instead of tokens a second", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    return float(np.median(step_seconds[warmup:])) / users
"""),
    Mutant("04.5", "the fastest step", edits=(("statistics.median", "min"),)),
    Mutant("04.6", "the smallest instead of the fastest",
            edits=(('(-row["tokens_per_second"], row["bytes"])', 'row["bytes"]'),)),
    Mutant("04.6", "the best quality instead of the fastest",
            edits=(('(-row["tokens_per_second"], row["bytes"])', 'row["added"]'),)),
    Mutant("04.6", "the quality ignored",
            edits=(('good = [row for row in fits if row["added"] + 2 * row["stderr"] <= max_added]', "good = fits"),)),
    Mutant("04.6", "the budget ignored", edits=((' if row["bytes"] + kv_bytes <= budget', ""),)),
    Mutant("04.6", "no room left for the KV cache", edits=((' + kv_bytes', ""),)),
    Mutant("04.6", "the error bar ignored", edits=((' + 2 * row["stderr"]', ""),)),
    Mutant("04.6", "one standard error instead of two", edits=((' + 2 * row["stderr"]', ' + row["stderr"]'),)),
    Mutant("04.6", "exactly full counted as too much", edits=(("kv_bytes <= budget", "kv_bytes < budget"),)),
    Mutant("04.6", "equally fast, and the larger one taken", code="""
def choose_format(table, budget, kv_bytes, max_added):
    best, speed = None, -1
    for row in table:
        ok = row["bytes"] <= budget - kv_bytes and row["added"] <= max_added - 2 * row["stderr"]
        if ok and row["tokens_per_second"] > speed:
            best, speed = row["name"], row["tokens_per_second"]
    return best
"""),
    Mutant("04.6", "something instead of nothing", edits=(("        return None", "        good = table[:1]"),)),
    Mutant("04.6", None, outcome="raised",
            edits=(("    if not good:\n        return None\n", ""),)),
    Mutant("04.6", "something instead of nothing", edits=(("        return None", '        return ""'),)),
]  # fmt: skip

ALTERNATIVES = [
    Alternative("04.1", "bits first, bytes at the end", code="""
def weight_bytes(shapes, num_bits, group_size, keep):
    bits = 0
    for name, (N, K) in shapes.items():
        quantized = name not in keep and num_bits < 16
        bits += N * K * (num_bits if quantized else 16) + 16 * N * (K / (group_size or K)) * quantized
    return bits / 8, 16 * sum(N * K for N, K in shapes.values()) / bits
"""),
    Alternative("04.2", "counting down", code="""
def kv_blocks(budget, weights, config, kv_bits):
    left, blocks = budget - weights, 0
    size = 16 * 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"] * kv_bits / 8
    while left >= size:
        left -= size
        blocks += 1
    return blocks
"""),
    Alternative("04.3", "torch's cross entropy", code="""
def perplexity(logits, ids, num_bytes):
    x, labels = torch.cat(logits).float(), torch.cat([i[1:] for i in ids])
    nats = torch.nn.functional.cross_entropy(x, labels, reduction="none").sum()
    return torch.exp(nats / len(labels)), nats / math.log(2) / sum(num_bytes)
"""),
    Alternative("04.3", "numpy, the maximum taken away first", code="""
def perplexity(logits, ids, num_bytes):
    nats, tokens = 0.0, 0
    for x, i in zip(logits, ids):
        x = x.double().numpy()
        x = x - x.max(axis=1, keepdims=True)
        log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
        nats -= log_p[np.arange(len(x)), i.numpy()[1:]].sum()
        tokens += len(x)
    return np.exp(nats / tokens), nats / np.log(2) / np.sum(num_bytes)
"""),
    Alternative("04.4", "numpy with ddof=1, by the mean", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    d = (nats_b - nats_a).numpy() / np.log(2) / num_bytes.numpy().mean()
    return d.mean(), d.std(ddof=1) / np.sqrt(len(d))
"""),
    Alternative("04.4", "by hand", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    d = [b - a for a, b in zip(nats_a.tolist(), nats_b.tolist())]
    mean = sum(d) / len(d)
    variance = sum((x - mean) ** 2 for x in d) / (len(d) - 1)
    bits = math.log(2) * sum(num_bytes.tolist())
    return sum(d) / bits, math.sqrt(len(d) * variance) / bits
"""),
    Alternative("04.5", "numpy", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    return users / np.median(np.array(step_seconds)[warmup:])
"""),
    Alternative("04.5", "the median of the rates", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    return torch.median(users / torch.tensor(step_seconds[warmup:], dtype=torch.float64))
"""),
    Alternative("04.6", "a loop", code="""
def choose_format(table, budget, kv_bytes, max_added):
    best = None
    for row in table:
        if row["bytes"] > budget - kv_bytes or row["added"] > max_added - 2 * row["stderr"]:
            continue
        if best is None or (row["tokens_per_second"], -row["bytes"]) > (best["tokens_per_second"], -best["bytes"]):
            best = row
    return best["name"] if best else None
"""),
]  # fmt: skip
