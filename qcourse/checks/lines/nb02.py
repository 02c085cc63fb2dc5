"""Notebook 02's lines: groups, nibbles, words."""

from qcourse.checks.line import Line

LINES = {
    "02.a": Line("relative", "(stored - normal).norm() / normal.norm()", {
        "(stored - normal).norm()": "that grows with the weights; a *relative* error is divided by their norm",
        "((stored - normal) / normal).abs().mean()": "weight by weight: those near zero have errors of 100 % and more "
        "and decide "
        "everything; divide norm by norm",
        "(stored - normal).norm() / stored.norm()": "relative to what is true, not to what was stored",
    }),
    "02.b": Line("groups", "W.view(256, 768 // G, G)", {
        "W.view(256, G, 768 // G)": "these groups have 768 / G members; G *weights* share a scale, so G is the last axis",
        "W.reshape(-1, G)": "the right groups, but N is lost: (N, K/G, G) is asked for",
        "W.view(256 // G, G, 768)": "groups of G *rows*; a group lies along K, inside one row",
    }),
    "02.c": Line("s", "groups.abs().amax(-1, keepdim=True) / 7.5", {
        "groups.abs().amax(-1, keepdim=True) / 7": "that is the restricted range −7 … 7; here −8 … 7, half of 15 "
        "steps on each side",
        "groups.abs().amax(-1, keepdim=True) / 8": "−8 exists but +8 does not; the range of 15 steps has 7.5 on each side",
        "groups.abs().amax(-1, keepdim=True) / 15": "15 steps span both sides of zero",
        "groups.abs().amax(1, keepdim=True) / 7.5": "that is the loudest of each *position* over the groups; reduce "
        "inside a group",
        "groups.abs().amax(-1) / 7.5": "right numbers, but shape (N, K/G): to divide the groups it has to be (N, K/G, 1)",
        "(groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)) / 15": "that is the scale of a grid with a zero "
        "point; this one is symmetric",
        "groups.abs().max() / 7.5": "one scale for all; each group has its own",
    }),
    "02.d": Line("bits_32", "4 + 16 / 32", {
        "4": "the codes alone; a scale of 16 bits is shared by 32 weights",
        "16 / 32": "the scale's share alone; each code has 4 bits",
        "4 + 16": "a scale of its own for every weight; 32 share one",
        "4 + 1 / 32": "one *bit* for each group; the scale has 16",
        "4 + 2 / 32": "two bytes are 16 bits",
    }),
    "02.e": Line("packed", "u[:, 0::2] | (u[:, 1::2] << 4)", {
        "(u[:, 0::2] << 4) | u[:, 1::2]": "swapped: the even column belongs into the *low* nibble. Nothing raises, "
        "and every "
        "weight is its neighbour's",
        "u[:, :384] | (u[:, 384:] << 4)": "the two halves of a row share a byte; neighbours should (columns 2i and 2i + 1)",
        "u[:, 0::2] | u[:, 1::2]": "without the shift both codes lie in the same four bits",
    }),
    "02.f": Line("high", "packed >> 4", {
        "packed & 0xF0": "the high nibble is still up there, 16 times too large: shift it down",
        "packed & 0xF": "that is the low one",
    }),
    "02.g": Line("word", "sum(tiny[0, j].int() << (4 * j) for j in range(8))", {
        "sum(tiny[0, j].int() << (4 * (7 - j)) for j in range(8))": "the first code is the highest there; it belongs "
        "into the "
        "lowest four bits",
        "sum(tiny[0, j] << (4 * j) for j in range(8))": "a uint8 has 8 bits: what is shifted beyond them is gone. Widen "
        "it first",
        "sum(tiny[1, j].int() << (4 * j) for j in range(8))": "that is row 1",
        "sum(tiny[0, j].int() << j for j in range(8))": "a code has 4 bits: the next one begins 4 further up",
    }),
    "02.h": Line("bits_a_weight", "8 * total / (N * K)", {
        "8 * total / N": "that is bits a *row*",
        "total / (N * K)": "that is bytes a weight",
        "8 * awq['qweight'].nbytes / (N * K)": "the codes alone; scales and zero points are in the file too",
        "8 * (awq['qweight'].nbytes + awq['scales'].nbytes) / (N * K)": "the zero points are in the file too",
    }),
    "02.i": Line("in_the_file", "eights - 1", {
        "eights": "version 1 of GPTQ's format stores the zero point minus one",
        "eights - 8": "that would be a signed zero; the file has unsigned codes, and one less",
        "eights + 1": "minus one in the file; plus one when it is read",
    }),
    "02.j": Line("z_3", "damage['W3A16'].mean / damage['W3A16'].stderr", {
        "damage['W3A16'].mean": "that is how large the difference is; z says how many of its standard errors that is",
        "damage['W3A16'].mean / baseline.stderr": "that is the spread between windows, which both models share; the paired "
        "difference has a far smaller standard error",
        "damage['W3A16'].mean / scores['W3A16'].stderr": "that is the spread between windows of one model; the paired "
        "difference has a far smaller standard error",
        "damage['W3A16'].stderr / damage['W3A16'].mean": "the other way round",
    }),
    "02.k": Line("fits", "[G for G in (128, 64, 32) if 576 % G == 0 and 1536 % G == 0]", {
        "[G for G in (128, 64, 32) if 1536 % G == 0]": "128 divides 1536 but not 576: one layer is enough to refuse it",
        "[G for G in (32, 64, 128) if 576 % G == 0 and 1536 % G == 0]": "right, but the largest first, please",
        "[64]": "32 divides both, too",
    }),
}  # fmt: skip
