"""Lab 09: the mistakes students make with a format's tensors, rules and shards, in their own code."""

from tools.mutants import Alternative, mutants_of

slot, bits, prod, rule, merge, shard = (mutants_of(f"09.{i}") for i in range(1, 7))

# --- 09.1
CHECKED = """
def int3_slots(N, K, group_size):
    groups, left = divmod(K, group_size)
    triples, bits = divmod(K, 8)
    if left or bits:
        raise ValueError(f"K={K}: whole groups of {group_size} and multiples of 8 only")
    return dict(qweight=((N, triples * 3), "uint8"), scale=((N, groups), "bfloat16"))
"""
LISTED = """
def int3_slots(N, K, group_size):
    if K % math.lcm(8, group_size) != 0:
        raise ValueError(f"K must be a multiple of {math.lcm(8, group_size)}")
    slots = {}
    slots["scale"] = [[N, K // group_size], "bfloat16"]
    slots["qweight"] = [[N, K * 3 // 8], "uint8"]
    return slots
"""
SHAPED = """
def int3_slots(N, K, group_size):
    if K // group_size * group_size != K:
        raise ValueError("groups")
    size = np.packbits(np.zeros((N, 3 * K), dtype=np.uint8), axis=1).shape
    if size[1] * 8 != 3 * K:
        raise ValueError("bytes")
    scale = torch.empty(N, K, device="meta").unfold(1, group_size, group_size)
    return {"qweight": (size, "uint8"), "scale": (scale.shape[:2], "bfloat16")}
"""
GROUPS_REFUSED = """    if K % group_size:
        raise ValueError(f"group_size={group_size} does not divide K={K}")
"""
BYTES_REFUSED = """    if 3 * K % 8:
        raise ValueError(f"K={K}: {3 * K} bits are not whole bytes; K has to be a multiple of 8")
"""
Q, S = '((N, 3 * K // 8), "uint8")', '((N, K // group_size), "bfloat16")'
SLOTS = [
    slot("four bits a code", ((Q, '((N, K // 2), "uint8")'),)),
    slot("four bits a code", (("triples * 3", "triples * 4"),), CHECKED),
    slot("four bits a code", (('[N, K * 3 // 8], "uint8"', '[N, K * 4 // 32], "int32"'),), LISTED),
    slot("ten codes a word, and two bits wasted", ((Q, '((N, (K + 9) // 10), "int32")'),)),
    slot("ten codes a word, and two bits wasted", ((Q, '((N, -(-K // 10)), "int32")'), (BYTES_REFUSED, ""))),
    slot("words instead of bytes", ((Q, '((N, 3 * K // 32), "int32")'),)),
    slot("words instead of bytes", ((Q, '((N, 3 * K // 32), "int32")'), ("3 * K % 8:", "3 * K % 32:"))),
    slot("a byte a code", ((Q, '((N, K), "int8")'),)),
    slot("a byte a code", ((Q, '((N, K), "uint8")'),)),
    slot("bits counted as bytes", ((Q, '((N, 3 * K), "uint8")'),)),
    slot("bits counted as bytes", (("K * 3 // 8", "K * 3"),), LISTED),
    slot("codes packed along N", ((Q, '((3 * N // 8, K), "uint8")'),)),
    slot(
        "codes packed along N",
        (
            (Q, '((3 * N // 8, K), "uint8")'),
            (S, '((N // group_size, K), "bfloat16")'),
            ("K % group_size:", "N % group_size:"),
            ("3 * K % 8:", "3 * N % 8:"),
        ),
    ),
    slot(
        "transposed, as GPTQ and AWQ have it", ((Q, '((3 * K // 8, N), "uint8")'), (S, '((K // group_size, N), "bfloat16")'))
    ),
    slot("transposed, as GPTQ and AWQ have it", ((S, '((K // group_size, N), "bfloat16")'),)),
    slot("one scale a row", ((S, '((N, 1), "bfloat16")'),)),
    slot("one scale a row", ((S, '((N,), "bfloat16")'),)),
    slot("groups along N", ((S, '((N // group_size, K), "bfloat16")'),)),
    slot("groups along N", ((S, '((N // group_size, K), "bfloat16")'), ("K % group_size:", "N % group_size:"))),
    slot("G scales a row", ((S, '((N, group_size), "bfloat16")'),)),
    slot("G scales a row", (("(N, groups)", "(N, group_size)"),), CHECKED),
    slot("scales of another dtype", (("bfloat16", "float32"),)),
    slot("scales of another dtype", (("bfloat16", "float16"),)),
    slot("a ragged last group accepted", ((GROUPS_REFUSED, ""),)),
    slot("a ragged last group accepted", ((GROUPS_REFUSED, ""), (BYTES_REFUSED, ""))),
    slot("a ragged last group accepted", ((GROUPS_REFUSED, ""), ("K // group_size", "-(-K // group_size)"))),
    slot("bits that fill no byte accepted", ((BYTES_REFUSED, ""),)),
    slot(
        "bits that fill no byte accepted",
        (('    if size[1] * 8 != 3 * K:\n        raise ValueError("bytes")\n', ""),),
        SHAPED,
    ),
    slot("a float for a size", (("3 * K // 8", "3 * K / 8"), ("K // group_size", "K / group_size"))),
    slot("a float for a size", (("K * 3 // 8", "K * 3 / 8"),), LISTED),
    slot(None, (("bfloat16", "bf16"),)),
]

# --- 09.2
BITS = """
def unpack_int3(qweight):
    b = np.unpackbits(np.asarray(qweight), axis=1, bitorder="little")
    b = b.reshape(len(b), -1, 3).astype(np.int8)
    return b[:, :, 0] + 2 * b[:, :, 1] + 4 * b[:, :, 2] - np.int8(4)
"""
PYTHON = """
def unpack_int3(qweight):
    out = []
    for row in qweight.tolist():
        number = int.from_bytes(bytes(row), "little")
        codes = []
        for _ in range(len(row) * 8 // 3):
            codes.append(number % 8 - 4)
            number //= 8
        out.append(codes)
    return torch.tensor(out, dtype=torch.int8)
"""
SLICED = """
def unpack_int3(qweight):
    a, b, c = (qweight[:, i::3].to(torch.int16) for i in range(3))
    parts = [a & 7, a >> 3 & 7, a >> 6 | (b & 1) << 2, b >> 1 & 7,
             b >> 4 & 7, b >> 7 | (c & 3) << 1, c >> 2 & 7, c >> 5]
    codes = torch.stack(parts, dim=2).reshape(len(qweight), -1)
    return (codes - 4).to(torch.int8)
"""
BYTEWISE = """
def unpack_int3(qweight):
    N, B = qweight.shape
    K = B * 8 // 3
    out = torch.zeros(N, K, dtype=torch.int8)
    for k in range(K):
        byte, bit = divmod(3 * k, 8)
        value = qweight[:, byte].int() >> bit
        if bit > 5:
            value |= qweight[:, byte + 1].int() << (8 - bit)
        out[:, k] = (value & 7) - 4
    return out
"""
UNPACKED = [
    bits(
        "the first code in the highest bits",
        (
            ('bitorder="little"', 'bitorder="big"'),
            ("b[:, :, 0] + 2 * b[:, :, 1] + 4 * b[:, :, 2]", "4 * b[:, :, 0] + 2 * b[:, :, 1] + b[:, :, 2]"),
        ),
        BITS,
    ),
    bits(
        "the first code in the highest bits",
        (
            ("b[..., 0] | b[..., 1] << 8 | b[..., 2] << 16", "b[..., 0] << 16 | b[..., 1] << 8 | b[..., 2]"),
            ("3 * torch.arange(8)", "torch.arange(21, -1, -3)"),
        ),
    ),
    bits(
        "the bytes from the top",
        (("b[..., 0] | b[..., 1] << 8 | b[..., 2] << 16", "b[..., 0] << 16 | b[..., 1] << 8 | b[..., 2]"),),
    ),
    bits("the codes from the top", (("3 * torch.arange(8)", "(21 - 3 * torch.arange(8))"),)),
    bits("the offset not taken off", (("(stored - 4)", "stored"),)),
    bits("the offset not taken off", (("number % 8 - 4", "number % 8"), ("torch.int8", "torch.uint8")), PYTHON),
    bits("read as two's complement", (("(stored - 4)", "torch.where(stored > 3, stored - 8, stored)"),)),
    bits("read as two's complement", ((" + 4 * b[:, :, 2] - np.int8(4)", " - 4 * b[:, :, 2]"),), BITS),
    bits("another offset", (("stored - 4", "stored - 3"),)),
    bits("another offset", (("(value & 7) - 4", "4 - (value & 7)"),), BYTEWISE),
    bits(
        "two codes a byte",
        code="""
def unpack_int3(qweight):
    low, high = qweight & 7, qweight >> 3 & 7
    return torch.stack((low, high), -1).flatten(1).to(torch.int8) - 4
""",
    ),
    bits(
        "two codes a byte",
        code="""
def unpack_int3(qweight):
    q = np.asarray(qweight)
    out = np.empty((q.shape[0], 2 * q.shape[1]), dtype=np.int8)
    out[:, 0::2] = (q & 15).astype(np.int8) - 8
    out[:, 1::2] = (q >> 4).astype(np.int8) - 8
    return out
""",
    ),
    bits(
        "codes cut off at the end of a byte",
        (("        if bit > 5:\n            value |= qweight[:, byte + 1].int() << (8 - bit)\n", ""),),
        BYTEWISE,
    ),
    bits(
        "codes cut off at the end of a byte",
        (("a >> 6 | (b & 1) << 2", "a >> 6"), ("b >> 7 | (c & 3) << 1", "b >> 7")),
        SLICED,
    ),
    bits("shifted out of a byte", ((".int()", ""),)),
    bits("the mask forgotten", ((" & 7", ""),)),
    bits("all first codes, then all second codes", (("dim=2", "dim=1"),), SLICED),
    bits(
        "all first codes, then all second codes",
        (("number.unsqueeze(-1) >> 3 * torch.arange(8)", "number.unsqueeze(1) >> 3 * torch.arange(8).unsqueeze(-1)"),),
    ),
    bits("subtracted in uint8", (("(stored - 4).flatten(1).to(torch.int8)", "stored.to(torch.uint8).flatten(1) - 4"),)),
    bits(
        "packed along N",
        code="""
def unpack_int3(qweight):
    b = np.unpackbits(qweight.numpy(), axis=0, bitorder="little")
    b = b.reshape(-1, 3, b.shape[1]).astype(np.int8)
    return b[:, 0] + 2 * b[:, 1] + 4 * b[:, 2] - np.int8(4)
""",
    ),
    bits(None, (("torch.int8", "torch.int32"),)),
]

# --- 09.3
EINSUM = """
def apply_int3(x, codes, scale, bias):
    N, groups = scale.shape
    xs = x.double().reshape(len(x), groups, -1)
    qs = codes.double().reshape(N, groups, -1)
    y = torch.einsum("mgk,ngk,ng->mn", xs, qs, scale.double())
    y = y if bias is None else y + bias
    return y.to(x.dtype)
"""
NUMPY = """
def apply_int3(x, codes, scale, bias):
    s, q = scale.float().numpy(), codes.numpy().astype(np.float32)
    w = q * np.repeat(s, q.shape[1] // s.shape[1], axis=1)
    y = torch.from_numpy(x.float().numpy() @ w.T)
    if bias is not None:
        y += bias.float()
    return y.to(x.dtype)
"""
LOOP = """
def apply_int3(x, codes, scale, bias):
    G = codes.shape[1] // scale.shape[1]
    y = torch.zeros(len(x), len(codes))
    for g in range(scale.shape[1]):
        part = x[:, g * G : (g + 1) * G].float() @ codes[:, g * G : (g + 1) * G].float().T
        y += part * scale[:, g].float()
    if bias is not None:
        y += bias
    return y.type_as(x)
"""
LINEAR = """
def apply_int3(x, codes, scale, bias):
    W = codes.to(x.dtype).view(*scale.shape, -1) * scale.to(x.dtype).unsqueeze(-1)
    return torch.nn.functional.linear(x, W.view(codes.shape), bias)
"""
SPREAD = "scale.float().repeat_interleave(G, dim=1)"
BIAS = "    if bias is not None:\n        y = y + bias.float()\n"
PRODUCTS = [
    prod("the scale forgotten", ((f" * {SPREAD}", ""),)),
    prod("the scale forgotten", ((" * scale[:, g].float()", ""),), LOOP),
    prod("divided by the scale", ((f"* {SPREAD}", f"/ {SPREAD}"),)),
    prod("divided by the scale", (("q * np.repeat", "q / np.repeat"),), NUMPY),
    prod(
        "one scale for the whole row", ((f" * {SPREAD}", ""), ("x.float() @ W.T", "x.float() @ W.T * scale[:, 0].float()"))
    ),
    prod("one scale for the whole row", (("scale[:, g]", "scale[:, 0]"),), LOOP),
    prod(
        "one scale for the whole row",
        (('"mgk,ngk,ng->mn", xs, qs, scale.double()', '"mgk,ngk,n->mn", xs, qs, scale.double().mean(1)'),),
        EINSUM,
    ),
    prod("the scales dealt out like cards", ((SPREAD, "scale.float().repeat(1, G)"),)),
    prod(
        "the scales dealt out like cards",
        (("np.repeat(s, q.shape[1] // s.shape[1], axis=1)", "np.tile(s, (1, q.shape[1] // s.shape[1]))"),),
        NUMPY,
    ),
    prod("the scale of another output", ((SPREAD, "scale.T.float().repeat_interleave(G, dim=1)"),)),
    prod("W not transposed", (("W.T", "W"),), outcome="raised"),
    prod("the 4 taken off twice", (("codes.float()", "(codes.float() - 4)"),)),
    prod("the 4 taken off twice", (("codes.double()", "(codes.double() - 4)"),), EINSUM),
    prod("the bias forgotten", ((BIAS, ""),)),
    prod("the bias forgotten", ((", bias)\n", ")\n"),), LINEAR),
    prod("the bias added more than once", (("y + bias.float()", "y + bias.float() + bias.float()"),)),
    prod(
        "the bias added more than once",
        (
            (
                "        y += part * scale[:, g].float()\n    if bias is not None:\n        y += bias\n",
                "        y += part * scale[:, g].float()\n        if bias is not None:\n            y += bias\n",
            ),
        ),
        LOOP,
    ),
    prod("the bias subtracted", (("y + bias", "y - bias"),)),
    prod("float32 for x in bf16", ((".to(x.dtype)", ""),)),
    prod("float32 for x in bf16", ((".type_as(x)", ""),), LOOP),
    prod("float32 for x in bf16", (("y.to(x.dtype)", "y.numpy()"),), NUMPY),
    prod(
        "Ŵ or x rounded to bf16",
        (("W = codes.float() * scale.float()", "W = codes.to(scale.dtype) * scale"), ("@ W.T", "@ W.float().T")),
    ),
    prod("Ŵ or x rounded to bf16", (("x.float() @", "x.bfloat16().float() @"),)),
    prod("Ŵ or x rounded to bf16", (("y.to(x.dtype)", "y.bfloat16()"),), EINSUM),
]

# --- 09.4
ANCHORED = r"""
import re
def choose_scheme(prefix, rules):
    for pattern, scheme in rules:
        expression = pattern[3:] if pattern[:3] == "re:" else rf"(.*\.)?{re.escape(pattern)}\Z"
        if pattern[:3] != "re:" and "." in pattern:
            expression = re.escape(pattern) + r"\Z"
        if re.match(expression, prefix) is not None:
            return scheme
"""
GENERATOR = """
import re
def choose_scheme(prefix, rules):
    def hit(pattern):
        kind, _, rest = pattern.partition(":")
        if kind == "re":
            return re.compile(rest).match(prefix) is not None
        return prefix == pattern or prefix.split(".")[-1] == pattern
    return next((scheme for pattern, scheme in rules if hit(pattern)), None)
"""
FILTERED = """
import re
def choose_scheme(prefix, rules):
    last = prefix[prefix.rfind(".") + 1:]
    found = [s for p, s in rules if (re.match(p[3:], prefix) if p.startswith("re:") else p in {prefix, last})]
    return found[0] if len(found) else None
"""
NAMES = 'pattern in (prefix, prefix.rsplit(".", 1)[-1])'
CHOICES = [
    rule("the last rule that matches", (("in rules:", "in reversed(rules):"),)),
    rule("the last rule that matches", (("found[0]", "found[-1]"),), FILTERED),
    rule(
        "the last rule that matches",
        code="""
import re
def choose_scheme(prefix, rules):
    result = None
    for pattern, scheme in rules:
        if pattern.startswith("re:"):
            if re.match(pattern[3:], prefix):
                result = scheme
        elif pattern == prefix or pattern == prefix.split(".")[-1]:
            result = scheme
    return result
""",
    ),
    rule(
        "the most specific rule",
        code="""
import re
def choose_scheme(prefix, rules):
    for pattern, scheme in rules:
        if pattern == prefix:
            return scheme
    for pattern, scheme in rules:
        if pattern == prefix.rsplit(".", 1)[-1]:
            return scheme
    for pattern, scheme in rules:
        if pattern.startswith("re:") and re.match(pattern[3:], prefix):
            return scheme
""",
    ),
    rule("a piece of the name is enough", ((NAMES, "pattern in prefix"),)),
    rule("a piece of the name is enough", ((NAMES, "pattern in prefix"), ("re.match", "re.search"))),
    rule("the end of the name is enough", ((NAMES, "prefix.endswith(pattern)"),)),
    rule(
        "the end of the name is enough", (('prefix.split(".")[-1] == pattern', 'prefix.endswith("." + pattern)'),), GENERATOR
    ),
    rule("whole names only", ((NAMES, "pattern == prefix"),)),
    rule("whole names only", ((' or prefix.split(".")[-1] == pattern', ""),), GENERATOR),
    rule("last parts only", (("prefix == pattern or ", ""),), GENERATOR),
    rule("last parts only", (("p in {prefix, last}", "p == last"),), FILTERED),
    rule("an expression may match anywhere", (("re.match", "re.search"),)),
    rule("an expression may match anywhere", (("re.match", "re.search"),), FILTERED),
    rule("an expression must match to the end", (("re.match", "re.fullmatch"),)),
    rule("an expression must match to the end", ((".match(prefix)", ".fullmatch(prefix)"),), GENERATOR),
    rule(
        "expressions taken for names",
        (
            (
                '        if pattern.startswith("re:"):\n            matches = re.match(pattern[3:], prefix)\n'
                f"        else:\n            matches = {NAMES}\n",
                f"        matches = {NAMES}\n",
            ),
        ),
    ),
    rule("expressions taken for names", (("pattern[3:]", "pattern"),)),
    rule("None taken for no rule", (("        if matches:", "        if matches and scheme:"),)),
    rule("None taken for no rule", (("if hit(pattern))", "if hit(pattern) and scheme is not None)"),), GENERATOR),
    rule("a scheme where no rule matches", (("    return None", "    return scheme"),)),
    rule("a scheme where no rule matches", (("if len(found) else None", "if found else rules[0][1]"),), FILTERED),
]

# --- 09.5: whole functions, with a choose_scheme of their own
OWN = r"""
import re
def choose_scheme(prefix, rules):
    for p, s in rules:
        if re.match(p[3:], prefix) if p.startswith("re:") else p in (prefix, prefix.split(".")[-1]):
            return s
"""
ALL_EQUAL = (
    OWN
    + """
def scheme_of_merged(prefix, rules, packed):
    *above, last = prefix.split(".")
    if last not in packed:
        return choose_scheme(prefix, rules)
    schemes = [choose_scheme(".".join(above + [part]), rules) for part in packed[last]]
    for other in schemes[1:]:
        if other != schemes[0]:
            raise ValueError(f"{prefix}: {schemes}")
    return schemes[0]
"""
)
REPLACED = (
    OWN
    + """
def scheme_of_merged(prefix, rules, packed):
    names = [prefix]
    for merged, parts in packed.items():
        if prefix == merged or prefix.endswith("." + merged):
            names = [prefix.removesuffix(merged) + part for part in parts]
    first, *others = (choose_scheme(name, rules) for name in names)
    if any(o != first for o in others):
        raise ValueError("parts differ")
    return first
"""
)
MERGES = [
    merge("the merged name looked up itself", (("packed.get(last, [last])", "[last]"),)),
    merge(
        "the merged name looked up itself",
        code=OWN
        + """
def scheme_of_merged(prefix, rules, packed):
    return choose_scheme(prefix, rules)
""",
    ),
    merge(
        "one part speaks for all",
        (
            (
                "    for other in schemes[1:]:\n        if other != schemes[0]:\n            raise ValueError("
                'f"{prefix}: {schemes}")\n',
                "",
            ),
        ),
        ALL_EQUAL,
    ),
    merge(
        "one part speaks for all",
        (
            (
                '    if any(o != first for o in others):\n        raise ValueError("parts differ")\n    return first',
                "    return others[-1] if others else first",
            ),
        ),
        REPLACED,
    ),
    merge(
        "16 bits left out of the comparison",
        (("schemes = set(found.values())", "schemes = set(found.values()) - {None} or {None}"),),
    ),
    merge(
        "16 bits left out of the comparison",
        (
            ("if other != schemes[0]:", "if other and schemes[0] and other != schemes[0]:"),
            ("return schemes[0]", "return next((s for s in schemes if s), None)"),
        ),
        ALL_EQUAL,
    ),
    merge(
        "16 bits for all, if for one",
        (("    if len(schemes) > 1:", "    if None in schemes:\n        return None\n    if len(schemes) > 1:"),),
    ),
    merge(
        "16 bits for all, if for one",
        (("    for other in schemes[1:]:", "    if not all(schemes):\n        return None\n    for other in schemes[1:]:"),),
        ALL_EQUAL,
    ),
    merge(
        "a disagreement passed over",
        (('        raise ValueError(f"{prefix} is one matrix, and its parts differ: {found}")', "        return None"),),
    ),
    merge("a disagreement passed over", (('raise ValueError("parts differ")', "return None"),), REPLACED),
    merge(
        "the majority",
        (
            (
                "    for other in schemes[1:]:\n        if other != schemes[0]:\n            raise ValueError("
                'f"{prefix}: {schemes}")\n    return schemes[0]',
                "    return max(schemes, key=schemes.count)",
            ),
        ),
        ALL_EQUAL,
    ),
    merge(
        "the parts asked for by their last name",
        (("choose_scheme(above + dot + part, rules)", "choose_scheme(part, rules)"),),
    ),
    merge("the parts asked for by their last name", (('".".join(above + [part])', "part"),), ALL_EQUAL),
    merge(
        "the usual names instead of `packed`",
        (
            (
                "    above, dot, last",
                '    packed = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}\n'
                "    above, dot, last",
            ),
        ),
    ),
    merge(
        "nothing for a layer that is not merged",
        (("        return choose_scheme(prefix, rules)\n", "        return None\n"),),
        ALL_EQUAL,
    ),
    merge("a list of schemes", (("return schemes[0]", "return schemes"),), ALL_EQUAL),
    merge("a list of schemes", (("return schemes.pop()", "return found"),)),
]

# --- 09.6
NARROW = """
def row_parallel_shard(qweight, scale, rank, world, group_size):
    size, groups = qweight.shape[1], scale.shape[1]
    if size % world or groups % world:
        raise ValueError(f"{size} bytes and {groups} groups on {world} ranks")
    q = qweight.narrow(1, rank * (size // world), size // world)
    return q, scale.narrow(1, rank * (groups // world), groups // world)
"""
CHUNKS = """
def row_parallel_shard(qweight, scale, rank, world, group_size):
    columns = scale.shape[1] * group_size / world
    if columns % math.lcm(8, group_size) != 0:
        raise ValueError(f"{columns} columns a rank")
    return qweight.chunk(world, dim=1)[rank], scale.chunk(world, dim=1)[rank]
"""
SPLIT = """
def row_parallel_shard(qweight, scale, rank, world, group_size):
    try:
        bytes_ = np.split(np.asarray(qweight), world, axis=1)
        groups = np.split(scale.float().numpy(), world, axis=1)
    except ValueError:
        raise ValueError("cannot be cut there")
    return bytes_[rank], groups[rank]
"""
BQ, BS = "qweight[:, 3 * a // 8 : 3 * b // 8]", "scale[:, a // group_size : b // group_size]"
CHECK = "K % world or n % group_size or 3 * n % 8"
SHARDS = [
    shard(
        "rows cut instead of columns",
        (
            (BQ, "qweight[rank * len(qweight) // world : (rank + 1) * len(qweight) // world]"),
            (BS, "scale[rank * len(scale) // world : (rank + 1) * len(scale) // world]"),
        ),
    ),
    shard("rows cut instead of columns", ((BQ, "qweight.tensor_split(world)[rank]"), (BS, "scale"))),
    shard("all scales to every rank", ((BS, "scale"),)),
    shard("all scales to every rank", ((", scale.chunk(world, dim=1)[rank]", ", scale"),), CHUNKS),
    shard("columns counted as bytes", ((BQ, "qweight[:, a:b]"),)),
    shard("two codes a byte", ((BQ, "qweight[:, a // 2 : b // 2]"),)),
    shard("the first part for every rank", (("a, b = rank * n, (rank + 1) * n", "a, b = 0, n"),)),
    shard("the first part for every rank", ((BS, "scale[:, : n // group_size]"),)),
    shard("dealt out like cards", ((BQ, "qweight[:, rank::world]"), (BS, "scale[:, rank::world]"))),
    shard(
        "dealt out like cards",
        (("scale.narrow(1, rank * (groups // world), groups // world)", "scale[:, rank::world]"),),
        NARROW,
    ),
    shard("ranks counted from one", (("a, b = rank * n, (rank + 1) * n", "a, b = (rank - 1) * n, rank * n"),)),
    shard(
        "from the other end", (("[rank], scale", "[-1 - rank], scale"), ("dim=1)[rank]\n", "dim=1)[-1 - rank]\n")), CHUNKS
    ),
    shard("a group cut in two", ((CHECK, "K % world or 3 * n % 8"),)),
    shard("a group cut in two", ((" or groups % world", ""),), NARROW),
    shard("a group cut in two", ((CHECK, "K % world or 3 * n % 8"), ("b // group_size]", "-(-b // group_size)]"))),
    shard("a group cut in two", ((f"    if {CHECK}:\n", "    if False:\n"),)),
    shard("a byte cut in two", ((" or 3 * n % 8", ""),)),
    shard("a byte cut in two", (("size % world or ", ""),), NARROW),
    shard("codes instead of bytes", ((BQ, "unpack_int3(qweight)[:, a:b]"),)),
]

MUTANTS = [*SLOTS, *UNPACKED, *PRODUCTS, *CHOICES, *MERGES, *SHARDS]

ALTERNATIVES = [
    Alternative("09.1", "divmod", code=CHECKED),
    Alternative("09.1", "lists, the least common multiple, the other order", code=LISTED),
    Alternative("09.1", "shapes asked of NumPy and torch", code=SHAPED),
    Alternative("09.2", "numpy, bit by bit", code=BITS),
    Alternative("09.2", "pure Python, a row as one number", code=PYTHON),
    Alternative("09.2", "eight cases, int16", code=SLICED),
    Alternative("09.2", "column by column", code=BYTEWISE),
    Alternative("09.3", "einsum, float64", code=EINSUM),
    Alternative("09.3", "numpy", code=NUMPY),
    Alternative("09.3", "group by group, the scale after each group's sum", code=LOOP),
    Alternative("09.3", "torch's linear, Ŵ in x's dtype", code=LINEAR),
    Alternative("09.4", "everything as an expression", code=ANCHORED),
    Alternative("09.4", "a generator", code=GENERATOR),
    Alternative("09.4", "a list of all that match", code=FILTERED),
    Alternative("09.5", "compared one by one", code=ALL_EQUAL),
    Alternative("09.5", "the mapping searched", code=REPLACED),
    Alternative("09.6", "narrow, counted in bytes and groups", code=NARROW),
    Alternative("09.6", "chunks, the least common multiple", code=CHUNKS),
    Alternative("09.6", "numpy's split, which refuses itself", code=SPLIT),
]
