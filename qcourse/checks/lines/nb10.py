"""Notebook 10's lines: what a token keeps, which numbers share a scale, what waits, and what a step reads."""

from qcourse.checks.line import Line

LINES = {
    "10.a": Line("numbers", "2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim", {
        "2 * c.num_hidden_layers * c.num_attention_heads * c.head_dim": "query heads are not kept: eight of them share the "
        "keys of one key-value head",
        "c.num_hidden_layers * c.num_key_value_heads * c.head_dim": "a key *and* a value are kept",
        "2 * c.num_key_value_heads * c.head_dim": "that is one layer; each of them keeps its own",
        "4 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim": "those are bytes in 16 bits; numbers are asked for",
    }),
    "10.b": Line("s", "K.abs().amax(0) / 7.5", {
        "K.abs().amax(1) / 7.5": "one a token (1024,): the axis that is reduced is the one that shares a scale",
        "K.amax(0) / 7.5": "the largest *positive* key of each channel; a channel may be loud below zero",
        "K.abs().max() / 7.5": "one step for all of K",
        "K.abs().amax(0) / 15": "15 steps lie between the ends; 7.5 on each side of zero",
        "K.abs().amax(0) / 7": "that is the restricted range −7 … 7; here −8 is a code, too",
    }),
    "10.c": Line("before", "rotate(K, cos, -sin)", {
        "rotate(K, cos, sin)": "turned on; back is the opposite angle, and only the sine changes its sign",
        "rotate(K, -cos, sin)": "the cosine of the opposite angle is the same; its sine changes the sign",
        "K": "those are the keys after RoPE, as the cache keeps them",
        "rotate(K, sin, cos)": "sine and cosine have changed places: that is a turn by 90° less the angle",
    }),
    "10.d": Line("s", "(first.amax(0) - first.amin(0)) / 15", {
        "(first.amax(0) - first.amin(0)) / 16": "16 codes have 15 steps between them",
        "(first.amax(1) - first.amin(1)) / 15": "one a token (32,); the 32 tokens of a channel share here",
        "(first.max() - first.min()) / 15": "one step for the whole group; each channel has its own",
        "first.abs().amax(0) / 7.5": "that is symmetric around zero; here codes begin at the channel's least key",
        "first.amax(0) / 15": "from zero up; the range begins at the channel's least key",
    }),
    "10.e": Line("codes", "torch.round((first - first.amin(0)) / s)", {
        "torch.round(first / s)": "codes begin at 0 where the channel's least key is: take that off first",
        "torch.round((first - first.amin()) / s)": "the least key of all; each channel has its own",
        "torch.floor((first - first.amin(0)) / s)": "rounded down: up to a whole step off, instead of half of one",
        "(first - first.amin(0)) / s": "not rounded: codes are whole numbers",
    }),
    "10.f": Line("coded", "(T - window) // G * G", {
        "T // G * G": "whole groups, but the newest `window` tokens stay in 16 bits",
        "T - window": "out of the window, but a group leaves as a whole",
        "(T - window) // G": "that counts groups; tokens are asked for",
        "T // G * G - window // G * G - G": "one group too few: (100 − 32) // 32 = 2 groups are complete",
    }),
    "10.g": Line("y", "gathered @ R.T", {
        "gathered": "it is a sum of turned values, so it is turned itself",
        "gathered @ R": "turned once more; back is the transpose",
        "gathered / R.diagonal()": "a rotation mixes channels: no factor for each undoes that",
    }, rtol=1e-3),
    "10.h": Line("k_scale", "k.abs().amax((1, 2)) / 448", {
        "448 / k.abs().amax((1, 2))": "the reciprocal; stored = value / scale, so that the loudest becomes 448",
        "k.abs().amax() / 448": "one for the layer; here each head has its own, (2,)",
        "k.abs().amax(1) / 448": "one a channel: queries would have to be scaled, too; one a head is asked for",
        "k.abs().amax((1, 2)) / 127": "127 is int8's end; E4M3 reaches 448",
        "k.abs().amax((1, 2))": "then the loudest key is stored as 1, and most of E4M3's range lies idle",
    }),
    "10.i": Line("s", "k.abs().amax(2, keepdim=True) / 127", {
        "k.abs().amax(1, keepdim=True) / 127": "one a channel and head (2, 1, 64); a token's own 64 numbers share here",
        "k.abs().amax((1, 2), keepdim=True) / 127": "that is the static one of each head",
        "k.abs().amax((0, 2), keepdim=True) / 127": "one a token for both heads; each head has its own",
        "k.abs().amax(2, keepdim=True) / 255": "255 codes, but 127 steps on each side of zero",
        "k.abs().amax(2) / 127": "right numbers, (2, 1024): keep the axis, so that the scales stand beside their keys",
    }),
    "10.j": Line("left", "cost['int4_kivi'] / cost['int4_per_token_head']", {
        "1 - cost['int4_kivi'] / cost['int4_per_token_head']": "that is what was saved; what is *left* is asked for",
        "cost['int4_per_token_head'] / cost['int4_kivi']": "the other way round",
        "cost['int4_kivi']": "that is in bits a byte; as a share of what int4_per_token_head costs",
        "cost['int4_kivi'] - cost['int4_per_token_head']": "a difference; a share is asked for",
    }),
    "10.k": Line("fit", "int((budget - weights) // each)", {
        "int(budget // each)": "the weights lie in the same memory",
        "int((budget - weights) / each) + 1": "one too many: the last one does not fit whole",
        "(budget - weights) / each": "a part of a user does not fit: a whole number",
        "int((budget - weights) // each) // 2": "keys and values are both in what a user takes",
    }),
    "10.l": Line("read", "weights + users * context * per_token", {
        "users * (weights + context * per_token)": "the weights are read once a step, for all users together",
        "users * context * per_token": "the weights are read, too",
        "weights + context * per_token": "that is one user's context",
        "weights + users * per_token": "that is one token of each; all of the context is read",
    }),
    "10.m": Line("share", "p[:, 16:, 0].mean(1)", {
        "p[:, 0, 16:].mean(1)": "what the *first* query gives to later tokens: nothing, it cannot see them",
        "p[:, 16:, 0].sum(1)": "summed over 1,008 queries; the mean of their shares",
        "p[:, 16:].amax(-1).mean(1)": "what the most attended token gets, whoever it is",
        "p[:, 16:, 0].mean()": "the mean of all heads; one number a head",
        "p[:, 16:, 1].mean(1)": "that is position 1; the first token is at 0",
    }),
    "10.n": Line("saved", "1 - two['int2_kivi, sink 4'] / two['int2_kivi']", {
        "two['int2_kivi, sink 4'] / two['int2_kivi']": "that is what is left; what was taken away is asked for",
        "two['int2_kivi'] - two['int2_kivi, sink 4']": "in bits a byte; as a share of int2_kivi's damage",
        "1 - two['int2_kivi'] / two['int2_kivi, sink 4']": "relative to what is left: below zero",
    }),
}  # fmt: skip
