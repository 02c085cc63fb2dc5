"""Notebook 09's lines: who is asked, which rule wins, how three bits lie in bytes, and where a packed weight is cut."""

from qcourse.checks.line import Line

LINES = {
    "09.a": Line("y", "method.apply(layer, x)", {
        "x @ W.float().T": "that is what the 16-bit weight makes of it, and the layer has only codes now",
        "method.dequantized(layer)": "that is Ŵ (N, K); asked is the answer, x Ŵᵀ",
        "method.apply(layer, x[:1])": "that is the first token alone; x has three",
    }),
    "09.b": Line("shape", "(K, N // 8)", {
        "(N, K // 8)": "so compressed-tensors would: words along K. AWQ's run along N, and K comes first",
        "(K // 8, N)": "that is GPTQ's: everything transposed, words along K",
        "(K, N // 2)": "two codes a *byte*; a word of 32 bits holds eight",
        "(K, N)": "that is one word a code; eight of them share one",
    }),
    "09.c": Line("kinds", "sorted({type(m).__name__ for m in fp8.modules()})", {
        "sorted({type(m.quant_method).__name__ for m in fp8.linears().values()})": "those are the methods, the "
        "format's side; asked are the model's own parts",
        "sorted({type(m).__name__ for m in fp8.children()})": "the outermost parts alone; .modules() goes all the way down",
        "sorted(type(m).__name__ for m in fp8.modules())": "every module, many times each; of each kind one",
    }),
    "09.d": Line("fast", "sum(way['cpu'].fast for way in ways.values())", {
        "sum(way['cuda'].fast for way in ways.values())": "that is on a GPU",
        "len(ways)": "that is how many can be run at all, the reference included",
        "sum(len(way['cpu'].kernels) for way in ways.values())": "that counts kernels; several may serve one scheme",
        "sum(not way['cpu'].fast for way in ways.values())": "those are the ones without",
    }),
    "09.e": Line("codes", "repack(file, 'row').data", {
        "file.data": "those are AWQ's words still",
        "unpack(file).codes": "those are the codes, a byte each; this kernel reads two a byte",
        "repack(file, 'gptq_v2').data": "that is another layout which no kernel here reads; the message names `row`",
    }),
    "09.f": Line("first", "next(i for i, rule in enumerate(listed) if rule.matches(NAME))", {
        "max(i for i, rule in enumerate(listed) if rule.matches(NAME))": "the last one: `Linear`, which matches everything, "
        "would always win",
        "sum(rule.matches(NAME) for rule in listed)": "that is how many rules match",
        "next(i for i, rule in enumerate(listed) if not rule.matches(NAME))": "that is the first which does *not* match",
    }),
    "09.g": Line("size", "vocab * hidden + 2 * vocab", {
        "vocab * hidden": "that is the codes; each of the rows has a scale of two bytes",
        "2 * vocab * hidden": "that is in 16 bits",
        "vocab * hidden + 2 * hidden": "a scale a *row*, and a row is an id: vocab of them",
        "vocab * hidden + vocab": "a bf16 scale has two bytes",
    }),
    "09.h": Line("words", "(eights << 3 * torch.arange(8)).sum(-1)", {
        "(eights << torch.arange(8)).sum(-1)": "shifted by one bit each, codes lie over each other; each needs three",
        "(eights << 4 * torch.arange(8)).sum(-1)": "that leaves a bit between codes: four bits each",
        "(eights.flip(-1) << 3 * torch.arange(8)).sum(-1)": "the first code belongs into the *lowest* bits",
        "eights.sum(-1)": "added without a shift, nobody can tell them apart",
    }),
    "09.i": Line("back", "(words.unsqueeze(-1) >> 3 * torch.arange(8) & 7) - 4", {
        "words.unsqueeze(-1) >> 3 * torch.arange(8) & 7": "those are the stored codes, 0 … 7; they stand for −4 … 3",
        "(words.unsqueeze(-1) >> 3 * torch.arange(8)) - 4": "what lies above is still in it: mask with 7",
        "(words.unsqueeze(-1) >> 3 * torch.arange(8) & 15) - 4": "15 keeps four bits, and one of them is a neighbour's",
        "(words.unsqueeze(-1) >> 3 * torch.arange(8) & 7) - 8": "8 is the offset of four bits; of three it is 4",
    }),
    "09.j": Line("mine", "p.data[:, rank * k // 2 : (rank + 1) * k // 2]", {
        "p.data[:, : k // 2]": "those are rank 0's",
        "p.data[:, rank * k : (rank + 1) * k]": "those are places of columns of W; a byte of qweight holds two of them",
        "p.data[rank * N // 2 : (rank + 1) * N // 2]": "those are rows, W's outputs: the other way to cut",
        "unpack(p).codes[:, rank * k : (rank + 1) * k]": "the right codes, unpacked; a rank gets bytes as they lie",
    }),
    "09.k": Line("whole", "partial[0] + partial[1]", {
        "torch.cat(partial, -1)": "so column-parallel outputs are put together; here each rank has a part of every sum",
        "(partial[0] + partial[1]) / 2": "that is their mean; each summed over other columns, so they add up",
        "partial[0]": "half of the inputs are missing",
    }),
    "09.l": Line("worth", "max(sites, key=lambda s: sites[s]['added_bits_per_byte'] / sites[s]['weights'])", {
        "max(sites, key=lambda s: sites[s]['added_bits_per_byte'])": "that one costs most in all, and is among the largest: "
        "asked is the damage a weight",
        "min(sites, key=lambda s: sites[s]['added_bits_per_byte'] / sites[s]['weights'])": "there eight bits buy least",
    }),
}  # fmt: skip
