"""Notebook 07's lines: who is heard, what is divided again, and where a zero point comes from."""

from qcourse.checks.line import Line

LINES = {
    "07.a": Line("loud", "seen.mean_abs.topk(3).indices", {
        "W.norm(dim=0).topk(3).indices": "those are the columns with the largest *weights*; ask the input which are heard",
        "(-seen.mean_abs).topk(3).indices": "those are the quietest",
        "W.norm(dim=1).topk(3).indices": "those are *rows* of W; the input meets columns",
        "seen.mean_abs.topk(3).values": "how loud they are; which ones they are is asked for",
    }),
    "07.b": Line("s", "t / (t.max() * t.min()).sqrt()", {
        "t": "then the largest and the smallest are not reciprocal, and W as a whole grows",
        "t / t.max()": "then no factor is above 1, and the loudest column stays as it was",
        "t / (t.max() * t.min())": "the root is missing",
        "t / t.mean()": "that centres the mean; the largest should be 1 over the smallest",
    }),
    "07.c": Line("W_hat", "fake_quantize(W * s, asym(3)) / s", {
        "fake_quantize(W * s, asym(3))": "that meets x / s; to meet x it has to be divided by s again",
        "fake_quantize(W / s, asym(3)) * s": "upside down: loud columns have to *grow* before they are rounded",
        "fake_quantize(W, asym(3))": "that is plain rounding",
        "W * s / s": "nothing is rounded",
    }),
    "07.d": Line("caused", "(W_hat - W).square().sum(0) * other[name].mean_square", {
        "(W_hat - W).square().sum(1) * other[name].mean_square": "that sums each *row*; an input channel meets a column",
        "(W_hat - W).square().sum(0)": "that is the weights' error; what of it is heard depends on x",
        "(W_hat - W).square().sum(0) * other[name].mean_abs": "the error is squared, so x has to be, too: mean x²",
        "(W_hat - W).sum(0).square() * other[name].mean_square": "every output has an error of its own: square, then sum",
    }),
    "07.e": Line("candidate", "((seen.sample / s) @ fake_quantize(W * s, asym(3)).T - y).square().sum()", {
        "(seen.sample @ fake_quantize(W * s, asym(3)).T - y).square().sum()": "x is not divided: all is s times too loud",
        "((seen.sample / s) @ (W * s).T - y).square().sum()": "nothing is rounded: this is 0 but for fp32",
        "(fake_quantize(W * s, asym(3)) / s - W).square().sum()": "that is the weights' error; ask the output",
        "((seen.sample / s) @ fake_quantize(W * s, asym(3)).T - y).square().mean()": "the *sum* of the squares is asked for",
    }),
    "07.f": Line("wide", "s_v.view(2, 64).repeat_interleave(2, 0).flatten()", {
        "s_v.repeat(2)": "that gives head 0, 1, 0, 1; query heads that share a value head are neighbours",
        "s_v.repeat_interleave(2)": "that repeats each *channel*; whole heads of 64 are repeated",
        "s_v": "o_proj reads 256 channels: each value head twice",
    }),
    "07.g": Line("share", "blocks(clipped_to).abs().amax(-1) / blocks(V).abs().amax(-1)", {
        "blocks(V).abs().amax(-1) / blocks(clipped_to).abs().amax(-1)": "upside down: how much is *kept*",
        "1 - blocks(clipped_to).abs().amax(-1) / blocks(V).abs().amax(-1)": "that is what is given up",
        "clipped_to.abs().amax(-1) / V.abs().amax(-1)": "one share a *row*; each group of 64 has its own",
        "blocks(clipped_to).abs().mean(-1) / blocks(V).abs().mean(-1)": "the mean hardly changes; the *largest* is cut",
    }),
    "07.h": Line("taken", "d.sign() * (d.abs() - d.abs() ** (p - 1) / beta).clamp(min=0)", {
        "(d.abs() - d.abs() ** (p - 1) / beta).clamp(min=0)": "the sign is lost: half of the errors are negative",
        "d.sign() * (d.abs() - 1 / beta).clamp(min=0)": "that is p = 1: the same for every error",
        "d.sign() * (d.abs() - d.abs() ** p / beta).clamp(min=0)": "the exponent is p − 1: the slope of |d|^p",
        "d.sign() * (d.abs() - beta * d.abs() ** (p - 1)).clamp(min=0)": "divided by β: a large one lets e take more",
    }),
    "07.i": Line("moved", "(q - (w - e) / s).mean(-1, keepdim=True)", {
        "(q - (w - e)).mean(-1, keepdim=True)": "q counts steps and w does not: divide by s",
        "((w - e) / s - q).mean(-1, keepdim=True)": "the sign: w = s·(q − z), so z = q − w/s",
        "(q - (w - e) / s).mean(-1)": "right numbers, but one axis is missing: keepdim",
        "(q - (w - e) / s).mean().expand_as(z)": "each group has a zero point of its own",
        "(q - (w - e) / s).mean(-1, keepdim=True).round()": "rounded, it does not move: fractions are the point",
    }),
    "07.j": Line("float_bits", "3 + 16 / 64 + 16 / 64", {
        "3 + 16 / 64 + 3 / 64": "that is the whole zero point: a code of 3 bits",
        "3 + 16 / 64": "without zero points",
        "3 + 16 / 64 + 32 / 64": "that would be fp32",
    }),
    "07.k": Line("by_hessian", "(((W_hat - V) @ H) * (W_hat - V)).sum()", {
        "((W_hat - V).square() @ H.diagonal()).sum()": "that is the importance matrix's measure: the diagonal alone",
        "((W_hat @ H) * W_hat).sum()": "that is the size of the output itself; the error is Ŵ − V",
        "((W_hat - V) @ H).square().sum()": "H has x twice already; squared, it would be there four times",
        "(W_hat - V).square().sum()": "that is the weights' error",
    }, rtol=1e-3),
    "07.l": Line("z", "(a[0] - b[0]) / (a[1] ** 2 + b[1] ** 2) ** 0.5", {
        "(a[0] - b[0]) / (a[1] + b[1])": "errors that are independent add as squares",
        "(a[0] - b[0]) / a[1]": "both means have an error",
        "(b[0] - a[0]) / (a[1] ** 2 + b[1] ** 2) ** 0.5": "the other sign: how far is the first above the second?",
        "a[0] - b[0]": "that is the difference; in standard errors",
    }),
    "07.m": Line("carried", 'found["input"] * found["weight"]', {
        'found["weight"]': "times what it meets: the input of its column",
        'found["mean_abs"] * found["weight"]': "that is the average token; the first one is hundreds of times louder",
        'found["output"]': "that is the whole sum over k of that output; this weight is most of it, not all",
    }),
    "07.n": Line("kept_of_it", '{name: r["value"] / found["weight"] for name, r in ways.items()}', {
        '{name: r["value"] for name, r in ways.items()}': "that is what it became; as a share of what it was",
        '{name: 1 - r["value"] / found["weight"] for name, r in ways.items()}': "that is what was lost of it",
        '{name: r["neighbours"] for name, r in ways.items()}': "that is the error of the other 63 weights of its group",
    }),
    "07.o": Line("least", "{b: min(there, key=lambda m: there[m][b][0]) for b in (4, 3, 2)}", {
        "{b: max(there, key=lambda m: there[m][b][0]) for b in (4, 3, 2)}": "those add most",
        "{b: min(there, key=lambda m: there[m][b][1]) for b in (4, 3, 2)}": "[1] is the error: those are known most exactly",
        "min(there, key=lambda m: there[m][4][0])": "one name for all; the best at 4 bits need not be the best at 2",
    }),
}  # fmt: skip
