"""Notebook 01's lines: a scale, codes, and back."""

from qcourse.checks.line import Line

LINES = {
    "01.a": Line("s", "w.abs().max() / 127", {
        "w.max() / 127": "the largest *positive* weight: here a negative one is louder, and would be clipped",
        "2 * w.abs().max() / 255": "that is the full range −128 … 127, 127.5 steps a side; this grid ends at ±127",
        "w.abs().max() / 255": "255 levels lie on both sides of zero; the largest weight is 127 steps away from it",
        "w.abs().max() / 128": "the outermost code of the symmetric grid is 127",
        "(w.max() - w.min()) / 255": "that is the scale of a grid with a zero point (§4); this one is symmetric about zero",
        "127 / w.abs().max()": "that is steps for each weight unit; `s` is weight units a step, and `w / s` is rounded",
        "w.abs().mean() / 127": "the *loudest* weight has to land on 127; with the mean, every louder one is clipped",
    }),
    "01.b": Line("q", "torch.clamp(torch.round(w / s), -127, 127)", {
        "torch.round(w * s)": "multiplying by `s` is the way back; `s` is weight units a step, so divide",
        "torch.trunc(w / s)": "that cuts towards zero: an error of up to a whole step, and always in one direction; round",
        "torch.floor(w / s)": "that rounds down always: a bias of half a step; round to the nearest",
        "w / s": "these are no codes yet: nothing was rounded",
    }),
    "01.c": Line("w_hat", "s * q", {
        "q / s": "codes are steps, and a step is `s` weight units: multiply",
        "q": "these are still codes; how many weight units is one step",
    }),
    "01.d": Line("row_scales", "synthetic.abs().amax(1, keepdim=True) / 127", {
        "synthetic.abs().max() / 127": "that is one scale for all; the small rows then use a tenth of the levels",
        "synthetic.abs().amax(0, keepdim=True) / 127": "that is one scale a *column* (an input channel); a row is "
        "`W[n]`, so K is "
        "reduced",
        "synthetic.abs().amax(1) / 127": "right numbers, but shape (N): to divide `W (N, K)` row by row it has to be "
        "(N, 1), "
        "see `keepdim`",
        "synthetic.amax(1, keepdim=True) / 127": "the loudest weight of a row may be negative",
    }),
    "01.e": Line("codes", "torch.round(rows / torch.where(peak == 0, torch.ones_like(peak), peak / 127))", {
        "torch.round(rows / (peak / 127))": "the row of zeros has a scale of 0, and 0/0 is NaN: give it any other scale",
        "torch.round(rows / (peak / 127 + 1e-2))": "a scale that is changed for *every* row costs the good ones their "
        "levels; "
        "change it only where it is 0",
    }),
    "01.f": Line("stored", "code.clamp(-127, 127).to(torch.int8)", {
        "code.to(torch.int8)": "140 does not fit int8, and wraps around to −116: the loudest positive weight becomes "
        "negative",
        "code.clamp(-127, 127)": "saturated, but still int32: four bytes a code",
        "code.clamp(-128, 127).to(torch.int8)": "−128 fits int8, but this grid is symmetric and ends at −127",
    }, dtype=True),
    "01.g": Line("z", "torch.round(-low / s)", {
        "-low / s": "not rounded: then no code means exactly 0, and padding or a ReLU's zeros would not stay zero",
        "low / s": "the wrong sign, and not rounded: how many whole steps does 0 lie above the lowest value",
        "torch.round(low / s)": "the wrong sign: the lowest value has to land on code 0, so `z` is how many steps 0 "
        "lies above it",
        "torch.round(-low / s) - 8": "that is the zero point of a *signed* grid −8 … 7; the codes here are 0 … 15",
    }),
    "01.h": Line("x_hat", "s * (q - z)", {
        "s * q": "the shift is still in it: code `z` has to come back as 0",
        "s * q + low": "nearly: but `z` was rounded, so that code `z` comes back as exactly 0; this does not",
        "s * q - z": "`z` is in codes, not in units of x: subtract it before multiplying",
        "s * (q + z)": "the codes were shifted up by `z`; shift them down again",
    }),
    "01.i": Line("best_shrink", "shrinks[int4_curve.index(min(int4_curve))]", {
        "min(int4_curve)": "that is the least error; *where* it lies is asked for",
        "shrinks[int4_curve.index(max(int4_curve))]": "that is where the error is largest",
        "int4_curve.index(min(int4_curve))": "that is its place in the list; which fraction stands there",
    }),
    "01.j": Line("bytes_stored", "W.numel() + 2 * W.shape[0]", {
        "W.numel()": "the codes alone; each row has a scale, of two bytes",
        "W.numel() + 2": "one scale for the whole matrix; here each of the N rows has one",
        "W.numel() + 2 * W.shape[1]": "a scale a column; here each of the N rows has one",
        "W.numel() + 4 * W.shape[0]": "those are fp32 scales; bf16 has two bytes",
        "8 * W.numel() + 16 * W.shape[0]": "those are bits; bytes are asked for",
        "W.numel() + W.shape[0]": "a bf16 scale has two bytes",
        "2 * W.numel()": "that is bf16; an int8 code has one byte",
    }, rtol=0),
    "01.k": Line("share", "damage['W8A16'].mean / baseline.bits_per_byte", {
        "damage['W8A16'].mean / damage['W8A16'].stderr": "that is z: whether a difference is there, not how large it is",
        "100 * damage['W8A16'].mean / baseline.bits_per_byte": "that is in per cent; as a share, 1 is everything",
        "damage['W8A16'].mean": "that is in bits a byte; as a share of what bf16 needs",
        "baseline.bits_per_byte / damage['W8A16'].mean": "the other way round",
    }),
    "01.l": Line("saved", "1 - costs['W4A16_G64'] / costs['W4A16_CHANNEL']", {
        "costs['W4A16_G64'] / costs['W4A16_CHANNEL']": "that is what is left of the damage; what was saved is asked for",
        "costs['W4A16_CHANNEL'] / costs['W4A16_G64']": "that is how many times as much one scale a row costs; which "
        "share is saved",
        "costs['W4A16_CHANNEL'] - costs['W4A16_G64']": "that is in bits a byte; as a share of what one scale a row costs",
    }),
}  # fmt: skip
