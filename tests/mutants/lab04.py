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
    Mutant("04.1", "scales for weights that are not quantized",
            edits=(("num_bits == 16 or name in keep", "name in keep"),)),
    Mutant("04.2", "only K or only V", edits=(("numbers = 2 * config", "numbers = config"),)),
    Mutant("04.2", "query heads instead of key/value heads", edits=(("num_key_value_heads", "num_attention_heads"),)),
    Mutant("04.2", "bits taken for bytes", edits=((" // 8", ""),)),
    Mutant("04.2", "tokens instead of blocks", edits=(("16 * numbers", "numbers"),)),
    Mutant("04.2", "the weights not subtracted", edits=(("(budget - weights)", "budget"),)),
    Mutant("04.2", "a part of a block counted",
            edits=(("(budget - weights) // block", "(budget - weights) / block"),)),
    Mutant("04.2", "a part of a block counted",
            edits=(("(budget - weights) // block", "-((weights - budget) // block)"),)),
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
    Mutant("04.3", "logits taken for log-probabilities",
            edits=(("torch.log_softmax(chunk.float(), -1)", "chunk.float()"),)),
    Mutant("04.3", "computed in bf16",
            edits=(("chunk.float()", "chunk"), (".sum().item()", ".double().sum().item()"))),
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
    Mutant("04.4", "the spread of the windows instead of the error of their sum",
            edits=(("math.sqrt(len(d)) * ", ""),)),
    Mutant("04.4", "the spread of the windows instead of the error of their sum",
            edits=(("math.sqrt(len(d))", "len(d)"),)),
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
    Mutant("04.5", "the last steps dropped instead of the first",
            edits=(("[warmup:]", "[:len(step_seconds) - warmup]"),)),
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
    Mutant("04.1", "kept by a part of the name", edits=(('name in keep', 'any(k in name for k in keep)'),)),
    Mutant("04.1", "kept by a part of the name", edits=(('name in keep', 'any(name.startswith(k) for k in keep)'),)),
    Mutant("04.1", "kept by a part of the name", edits=(('name in keep', 'any(name.endswith(k) for k in keep)'),)),
    Mutant("04.1", "kept by a part of the name", edits=(('name in keep', "name in ' '.join(keep)"),)),
    Mutant("04.1", "the embedding kept, whatever the list says", edits=(('name in keep', "'embed' in name"),)),
    Mutant("04.1", "the embedding kept, whatever the list says", edits=(('name in keep', "name == 'embed'"),)),
    Mutant("04.1", "the ratio upside down", edits=(('bf16 / total', 'total / bf16'),)),
    Mutant("04.2", "the layers forgotten", edits=((' * config["num_hidden_layers"]', ''),)),
    Mutant("04.2", "the layers forgotten", code="""
def kv_blocks(budget, weights, config, kv_bits):
    per_token = config['num_key_value_heads'] * config['head_dim'] * (kv_bits / 8) * 2
    free = budget - weights
    return int(free // (per_token * 16)) if free > 0 else 0
"""),
    Mutant("04.2", "the heads forgotten", edits=((' * config["num_key_value_heads"]', ''),)),
    Mutant("04.2", "the width of a number forgotten", edits=((' * kv_bits // 8', ' * 2'),)),
    Mutant("04.2", "the width of a number forgotten", edits=((' * kv_bits // 8', ''),)),
    Mutant("04.2", "the block that fits exactly left out",
            edits=(('(budget - weights) // block', '(budget - weights - 1) // block'),)),
    Mutant("04.2", "the block that fits exactly left out", code="""
def kv_blocks(budget, weights, config, kv_bits):
    size = 4 * config['num_hidden_layers'] * config['num_key_value_heads'] * config['head_dim'] * kv_bits
    left, n = budget - weights, 0
    while left > size:
        left -= size
        n += 1
    return n
"""),
    Mutant("04.2", "less than nothing", code="""
def kv_blocks(budget, weights, config, kv_bits):
    size = 4 * config['num_hidden_layers'] * config['num_key_value_heads'] * config['head_dim'] * kv_bits
    return int((budget - weights) / size)
"""),
    Mutant("04.3", "divided by T + 1", edits=(('tokens += len(chunk)', 'tokens += len(text)'),)),
    Mutant("04.3", "divided by T + 1", code="""
def perplexity(logits, ids, num_bytes):
    nats = sum(torch.nn.functional.cross_entropy(x.double(), i[1:], reduction='sum').item() for x, i in zip(logits, ids))
    return math.exp(nats / torch.cat(ids).numel()), nats / math.log(2) / sum(num_bytes)
"""),
    Mutant("04.3", "the softmax over the tokens instead of the vocabulary",
            edits=(('chunk.float(), -1)', 'chunk.float(), 0)'),)),
    Mutant("04.3", "the logarithm of a share that is 0 in fp32",
            edits=(('torch.log_softmax(chunk.float(), -1)', 'torch.softmax(chunk.float(), -1).log()'),)),
    Mutant("04.3", "the last prediction thrown away", code="""
def perplexity(logits, ids, num_bytes):
    nats, n = 0.0, 0
    for x, i in zip(logits, ids):
        nats += torch.nn.functional.cross_entropy(x[:-1].float(), i[1:-1], reduction='sum').item()
        n += len(x) - 1
    return math.exp(nats / n), nats / math.log(2) / sum(num_bytes)
"""),
    Mutant("04.3", "2 to the power of nats",
            edits=(('math.exp(nats / tokens)', 'math.exp(nats / math.log(2) / tokens)'),)),
    Mutant("04.3", "computed in bf16", code="""
def perplexity(logits, ids, num_bytes):
    nats = sum(torch.nn.functional.cross_entropy(x, i[1:], reduction='sum').item() for x, i in zip(logits, ids))
    return math.exp(nats / sum(len(x) for x in logits)), nats / math.log(2) / sum(num_bytes)
"""),
    Mutant("04.4", "the sign turned round", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    d = (nats_a - nats_b).double().numpy()
    bits = math.log(2) * int(num_bytes.sum())
    return d.sum() / bits, d.std(ddof=1) * len(d) ** 0.5 / bits
"""),
    Mutant("04.4", "the sign of each difference removed",
            edits=(('nats_b.double() - nats_a.double()', '(nats_b.double() - nats_a.double()).abs()'),)),
    Mutant("04.4", "the sign of each difference removed", edits=(('d.sum() / bits', 'abs(d.sum()) / bits'),)),
    Mutant("04.4", "the variance instead of the standard deviation", edits=(('d.std()', 'd.var()'),)),
    Mutant("04.4", "the two results in the other order", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    d = (nats_b - nats_a).double()
    bits = math.log(2) * num_bytes.sum().item()
    return len(d) ** 0.5 * d.std().item() / bits, d.sum().item() / bits
"""),
    Mutant("04.4", "the spread of the windows instead of the error of their sum", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    d = (nats_b - nats_a).double()
    bits = math.log(2) * num_bytes.sum().item()
    return d.sum().item() / bits, d.std().item() / len(d) ** 0.5 / bits
"""),
    Mutant("04.5", "sorted before the warm-up is dropped",
            edits=(('step_seconds[warmup:]', 'sorted(step_seconds)[warmup:]'),)),
    Mutant("04.5", "sorted before the warm-up is dropped",
            edits=(('step_seconds[warmup:]', 'sorted(step_seconds)[:len(step_seconds) - warmup]'),)),
    Mutant("04.5", "the middle of the list, unsorted", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    steps = step_seconds[warmup:]
    return users / steps[len(steps) // 2]
"""),
    Mutant("04.5", "a neighbour of the median", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    steps = sorted(step_seconds[warmup:])
    return users / steps[len(steps) // 2 - 1]
"""),
    Mutant("04.5", "a neighbour of the median", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    steps = np.sort(step_seconds[warmup:])
    return users / steps[(len(steps) + 1) // 2]
"""),
    Mutant("04.6", "a gain taken for a loss", edits=(('row["added"] + 2', 'abs(row["added"]) + 2'),)),
    Mutant("04.6", "exactly good enough counted as too bad", edits=(('<= max_added', '< max_added'),)),
    Mutant("04.6", "the error bar ignored", edits=(('+ 2 * row["stderr"]', '- 2 * row["stderr"]'),)),
    Mutant("04.6", "no room left for the KV cache", code="""
def choose_format(table, budget, kv_bytes, max_added):
    best = None
    for r in table:
        if r['bytes'] > budget or r['added'] + 2 * r['stderr'] > max_added:
            continue
        if best is None or (r['tokens_per_second'], -r['bytes']) > (best['tokens_per_second'], -best['bytes']):
            best = r
    return best and best['name']
"""),
    Mutant("04.6", "equally fast, and the larger one taken", code="""
def choose_format(table, budget, kv_bytes, max_added):
    ok = [r for r in table if r['bytes'] + kv_bytes <= budget and r['added'] + 2 * r['stderr'] <= max_added]
    ok.sort(key=lambda r: (r['tokens_per_second'], r['bytes']), reverse=True)
    return ok[0]['name'] if ok else None
"""),
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
    Alternative("04.1", "numpy arrays of shapes", code="""
def weight_bytes(shapes, num_bits, group_size, keep):
    N, K = np.array(list(shapes.values()), dtype=np.int64).T
    wide = np.array([num_bits == 16 or n in set(keep) for n in shapes])
    narrow = N * K * num_bits // 8 + 2 * (N * K // group_size if group_size else N)
    total = np.where(wide, 2 * N * K, narrow).sum()
    return total, 2 * (N * K).sum() / total
"""),
    Alternative("04.1", "torch", code="""
def weight_bytes(shapes, num_bits, group_size, keep):
    total = torch.tensor(0, dtype=torch.int64)
    numbers = sum(N * K for N, K in shapes.values())
    for name in shapes:
        N, K = shapes[name]
        if name in keep or num_bits >= 16:
            total += 2 * N * K
        else:
            total += N * (K * num_bits // 8 + 2 * (K // (group_size or K)))
    return total, 2 * numbers / total.double()
"""),
    Alternative("04.1", "two sums", code="""
def weight_bytes(shapes, num_bits, group_size, keep):
    if num_bits == 16:
        keep = list(shapes)
    whole = sum(2 * N * K for N, K in shapes.values())
    saved = sum(N * K * (16 - num_bits) / 8 - 2 * N * (K / group_size if group_size is not None else 1)
                for name, (N, K) in shapes.items() if name not in keep)
    return whole - saved, whole / (whole - saved)
"""),
    Alternative("04.2", "bits, divmod", code="""
def kv_blocks(budget, weights, config, kv_bits):
    bits = 32 * config['num_hidden_layers'] * config['num_key_value_heads'] * config['head_dim'] * kv_bits
    return max(divmod(8 * (budget - weights), bits)[0], 0)
"""),
    Alternative("04.2", "floats and floor", code="""
def kv_blocks(budget, weights, config, kv_bits):
    if weights >= budget:
        return 0
    token = config['num_hidden_layers'] * config['num_key_value_heads'] * config['head_dim'] * 2 * kv_bits / 8
    return math.floor((budget - weights) / (16 * token))
"""),
    Alternative("04.2", "numpy", code="""
def kv_blocks(budget, weights, config, kv_bits):
    numbers = np.prod([config[k] for k in ('num_hidden_layers', 'num_key_value_heads', 'head_dim')], dtype=np.int64)
    return np.maximum(0, np.int64(budget - weights) // (4 * numbers * kv_bits))
"""),
    Alternative("04.2", "torch, tokens first", code="""
def kv_blocks(budget, weights, config, kv_bits):
    sizes = [config[k] for k in ('num_hidden_layers', 'num_key_value_heads', 'head_dim')]
    token = torch.tensor([2, kv_bits, *sizes]).prod() // 8
    tokens = torch.div(torch.tensor(budget - weights), token, rounding_mode='floor')
    return int(torch.clamp(torch.div(tokens, 16, rounding_mode='floor'), min=0))
"""),
    Alternative("04.3", "pure Python", code="""
def perplexity(logits, ids, num_bytes):
    nats, tokens = 0.0, 0
    for x, i in zip(logits, ids):
        for row, label in zip(x.tolist(), i.tolist()[1:]):
            top = max(row)
            nats += top + math.log(sum(math.exp(v - top) for v in row)) - row[label]
            tokens += 1
    return math.exp(nats / tokens), nats / math.log(2) / sum(num_bytes)
"""),
    Alternative("04.3", "logsumexp in fp32, base 2", code="""
def perplexity(logits, ids, num_bytes):
    bits = 0.0
    for x, i in zip(logits, ids):
        x = x.float()
        bits += ((x.logsumexp(-1) - x[torch.arange(len(x)), i[1:]]) / math.log(2)).sum().item()
    return 2 ** (bits / sum(len(x) for x in logits)), bits / sum(num_bytes)
"""),
    Alternative("04.4", "torch, the inputs' dtype", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    d = nats_b - nats_a
    return d.sum() / num_bytes.sum() / math.log(2), d.var().mul(len(d)).sqrt() / num_bytes.sum() / math.log(2)
"""),
    Alternative("04.4", "fp32", code="""
def paired_difference(nats_a, nats_b, num_bytes):
    d = (nats_b.float() - nats_a.float()) / math.log(2)
    return d.sum().item() / num_bytes.sum().item(), (d.std() * len(d) ** 0.5).item() / num_bytes.sum().item()
"""),
    Alternative("04.5", "pure Python", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    steps = step_seconds[warmup:]
    steps.sort()
    return users / steps[len(steps) // 2]
"""),
    Alternative("04.5", "by rank, descending", code="""
def decode_tokens_per_second(step_seconds, warmup, users):
    rates = sorted((users / s for s in step_seconds[warmup:]), reverse=True)
    return np.float64(rates[(len(rates) - 1) // 2])
"""),
    Alternative("04.6", "two sorts", code="""
def choose_format(table, budget, kv_bytes, max_added):
    rows = sorted(table, key=lambda r: r['bytes'])
    rows.sort(key=lambda r: r['tokens_per_second'], reverse=True)
    for r in rows:
        if r['bytes'] <= budget - kv_bytes and r['added'] <= max_added - 2 * r['stderr']:
            return r['name']
"""),
    Alternative("04.6", "numpy", code="""
def choose_format(table, budget, kv_bytes, max_added):
    size, added, stderr, speed = (np.array([r[k] for r in table]) for k in ('bytes', 'added', 'stderr', 'tokens_per_second'))
    ok = np.flatnonzero((size + kv_bytes <= budget) & (added + 2 * stderr <= max_added))
    if ok.size == 0:
        return None
    return table[ok[np.lexsort((size[ok], -speed[ok]))[0]]]['name']
"""),
    Alternative("04.6", "torch", code="""
def choose_format(table, budget, kv_bytes, max_added):
    t = torch.tensor([[r['bytes'], r['added'], r['stderr'], r['tokens_per_second']] for r in table], dtype=torch.float64)
    ok = (t[:, 0] + kv_bytes <= budget) & (t[:, 1] + 2 * t[:, 2] <= max_added)
    if not ok.any():
        return None
    best = ok & (t[:, 3] == t[ok, 3].max())
    return table[int(torch.where(best, t[:, 0], torch.inf).argmin())]['name']
"""),
]  # fmt: skip
