"""Notebook 13's lines: how an instrument points, what mends a code, a fold, a cache and a meter, what a number compares."""

from qcourse.checks.line import Line

LINES = {
    "13.a": Line("even", "tokens * math.log2(V) / num_bytes", {
        "8.0": "that is an even guess among bytes; a model guesses among its V ids, and an id stands for several bytes",
        "math.log2(V)": "bits a token; divide what all tokens take by the bytes that they stand for",
        "tokens * math.log(V) / num_bytes": "those are nats: the natural logarithm; bits want log2",
        "num_bytes * math.log2(V) / tokens": "upside down: bits a byte are fewer than bits a token",
    }),
    "13.b": Line("reach", "(codes.abs().reshape(-1, G).amax(1) >= 7).float().mean()", {
        "(codes.abs().reshape(-1, G).amax(1) == 7).float().mean()": "codes go from −8 to 7, and −8 is an end, too",
        "(codes.abs() >= 7).float().mean()": "that is the share of codes; asked for is the share of groups that have one",
        "(codes.reshape(-1, G).amax(1) >= 7).float().mean()": "half of the loudest weights are negative: take |code|",
        "(codes.T.abs().reshape(-1, G).amax(1) >= 7).float().mean()": "turned, groups are G rows of one column: along N",
    }),
    "13.c": Line("alone", "((layer(x) - y).norm() / y.norm()).item()", {
        "((own[NAME][1] - y).norm() / y.norm()).item()": "that is the running model: its input was spoiled before it came "
        "here; hand the layer the twin's x",
        "(layer(x) - y).norm().item()": "absolute; relative to what should have come out, ‖y‖",
        "((layer(x) - y).norm() / x.norm()).item()": "relative to the *output*, not to the input",
        "((layer(x) - y).norm() / layer(x).norm()).item()": "divide by the twin's output: the patient's may be anything",
        "((layer(x) - y) / y).abs().mean().item()": "element by element a y near 0 decides alone; take norms of the whole",
    }),
    "13.d": Line("right_zero", "zero + 1", {
        "zero - 1": "the instrument says moved by −1: what is stored is too low already",
        "zero": "that is what is stored now",
        "15 - zero": "that turns the grid around; zero points only moved by one",
    }),
    "13.e": Line("swapped", "data << 4 | data >> 4", {
        "data << 4": "that is the low code moved up; the high one has to come down: | with the other half",
        "data >> 4": "that is the high code moved down; the low one has to go up: | with the other half",
        "data.flip(-1)": "that turns the order of the bytes; each byte stays as it is",
        "data >> 4 & 15 | data & 240": "the high code is now there twice, and the low one gone",
    }),
    "13.f": Line("rows_back", "rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)", {
        "rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)": "that is the same step once more, from halves to "
        "pairs; the way back begins with pairs",
        "rows.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)": "each head by itself: that sorts the rows of the whole "
        "matrix",
        "rows.unflatten(0, (heads, -1, 2)).transpose(0, 1).flatten(0, 2)": "that mixes heads; a head's rows stay together",
        "rows": "that is the order of the file",
    }),
    "13.g": Line("v_scale", "v.abs().max() / 127", {
        "127 / v.abs().max()": "a scale is the step, codes = v / scale; that is its reciprocal",
        "v.abs().max() / 255": "there are 127 steps on each side of zero",
        "v.abs().mean() / 127": "then everything louder than the mean would be clamped; the loudest has to fit",
        "v.abs().max()": "that is the loudest value; it gets code 127",
        "v.abs().max() / 128": "the loudest value becomes +128, which int8 does not have: it is clamped to 127",
    }),
    "13.h": Line("slope", "x @ y / (x @ x)", {
        "x @ y": "that grows with the number of channels; divide by what it is for y = x",
        "(y - x).mean()": "that is a distance; asked for is the factor in y ≈ slope · x",
        "x @ y / len(x)": "the mean product; divide by x @ x, which it is for y = x",
    }),
    "13.i": Line("mended_gain", "gain * s", {
        "gain / s": "that mends a fold that was forgotten; here it was done once too often",
        "gain * s * s": "that takes both away; one of them is right",
        "gain": "that is the norm of the file",
        "gain * s.log()": "the slope is of logarithms; the gain itself was divided by s",
    }),
    "13.j": Line("g_idx", "order.argsort() // G", {
        "torch.arange(len(order)) // G": "that is the reader who has no g_idx: neighbours share a scale",
        "order // G": "order[i] is the channel in place i; asked for is the place of each channel, the inverse",
        "order.argsort() % G": "that is the place within the group",
        "order.argsort()": "that is the place; G places share a scale",
    }),
    "13.k": Line("targets", "marked[:, 1:]", {
        "marked[:, :-1]": "then each position is asked for the id that it has just read",
        "marked[:, 2:]": "that is shifted twice: the id after the next, and one too few",
        "marked": "the last id has nothing behind it, and the marker nothing in front",
    }),
    "13.l": Line("bytes_a_token", "math.log2(base['token_ppl']) / base['bits_per_byte']", {
        "math.log(base['token_ppl']) / base['bits_per_byte']": "nats over bits: log2",
        "base['token_ppl'] / base['bits_per_byte']": "a perplexity is 2 to the bits a token; take its logarithm",
        "base['bits_per_byte'] / math.log2(base['token_ppl'])": "that is tokens a byte",
        "math.log2(base['token_ppl'])": "those are bits a token",
    }),
    "13.m": Line("at_least", "math.ceil(math.log2(len(CASES)))", {
        "len(CASES)": "that is one question for each; an answer can leave many at once",
        "len(CASES) - 1": "that asks for one after the other; each answer can halve what is left",
        "math.floor(math.log2(len(CASES)))": "so many answers tell fewer apart than there are: round up",
        "len(CASES) // 2": "halving goes on: the number of halvings is a logarithm",
    }),
}  # fmt: skip
