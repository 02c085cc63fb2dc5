"""Exercises A1.1 to A1.8: by hand. Each takes a pencil and two minutes."""

import torch

from qcourse.models.loader import load_model
from qcourse.numerics.grids import E4M3, E5M2, IntGrid
from qcourse.numerics.kv import KV_PRESETS
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.bits import pack_nibbles
from qcourse.study import cost
from qcourse.study.cheatsheet_formulas import BANDWIDTH, CONTEXT, LLAMA_8B, SHAPE, crossing
from qcourse.study.exercise import Choice, Exercise, Number
from qcourse.study.kv import token_bytes

W, TOP = 0.0151, 0.508  # one weight, and the largest of its row
LOW, HIGH, X = -0.05, 0.10, 0.032  # a range that is not around zero, and a weight in it
BYTE, FIRST, SECOND = 0x45, 5, 11


def bits(name: str) -> float:
    """True bits a weight of a scheme, on a matrix of 4096 × 4096."""
    return PRESETS[name].weights.bits_per_weight(*SHAPE)


def int8(w: float, limit: float = IntGrid(8, restricted=True).limit) -> tuple[float, float]:
    """(step, code) of a weight beside TOP."""
    grid, s = IntGrid(8, restricted=True), TOP / limit
    return s, grid.encode(torch.tensor(w / s)).item()


def decode(captures) -> dict:
    """What a step reads, and how long."""
    table = 2 * LLAMA_8B.vocab_size * LLAMA_8B.hidden_size  # of the embedding one row is read
    full, small = (cost.projected_bytes(LLAMA_8B, b) - table for b in (16, bits("W4A16")))
    slow, fast = (1e3 * cost.decode_seconds(x, BANDWIDTH) for x in (full, small))
    return {
        "full": full / 1e9,
        "small": small / 1e9,
        "slow": slow,
        "fast": fast,
        "M": crossing(16),
        "gain": slow / fast,
        "rate": BANDWIDTH / 1e12,
    }


def errors(captures) -> dict:
    """Relative error of one matrix of the shipped model under int4, by who shares a scale, and the bits."""
    weight = load_model().model.layers[0].mlp.down_proj.weight.float()
    found = {"bits": bits("W4A16"), "wide": bits("W4A16_CHANNEL"), "narrow": bits("W4A16_G32")}
    for name, scheme in {"channel": "W4A16_CHANNEL", "group": "W4A16", "small": "W4A16_G32"}.items():
        found[name] = ((fake_quantize(weight, PRESETS[scheme].weights) - weight).norm() / weight.norm()).item()
    return found


def value(byte: int, grid=E4M3) -> float:
    """The number that a byte holds."""
    return grid.decode(torch.tensor([byte], dtype=torch.uint8)).item()


def packed(first: int, second: int) -> int:
    """The byte of two codes."""
    return pack_nibbles(torch.tensor([first, second])).item()


def shifted(x: float) -> tuple[float, int, int]:
    """(step, zero point, code) of a weight in LOW … HIGH, with codes 0 … 15."""
    top = IntGrid(4, signed=False).qmax
    s = (HIGH - LOW) / top
    z = round(-LOW / s)
    return s, z, round(x / s) + z


def nvfp4(scale: float = 8, per: int = 16) -> float:
    """Bits of a 4-bit float whose block of `per` shares a scale of so many bits."""
    return 4 + scale / per


WARM_UP = (
    Exercise("A1.1", "warm-up", "Why decode", "One user, one GPU. Weights in 4 bits make each decode step faster. What "
        "was the step waiting for?", ("00 §1", "08 §1"), 1,
        Choice("the bytes of the weights, read from memory", {
            "the multiplications": "a step of one token multiplies each weight once, and the processor could do hundreds "
                "of tokens in the time that reading takes",
            "the activations, read from memory": "one token's activations are a vector; the weights are matrices",
            "the softmax over the vocabulary": "it reads one vector of logits; all layers' weights are read before it"}),
        "A decode step makes one token and reads every weight for it: each weight is used for one multiplication and one "
        "addition, then dropped. Llama 3 8B reads {full:.1f} GB in bf16 (all but the embedding's table); a GPU that "
        "reads {rate:.2f} TB/s needs {slow:.2f} ms for them, whatever its arithmetic. W4A16 makes {small:.1f} GB and "
        "{fast:.2f} ms of that: {gain:.1f} times faster at best. Prefill is another matter: it uses each weight for all "
        "tokens of the prompt, and from about {M:.0f} tokens on arithmetic takes longer than reading. So weight-only "
        "quantization speeds up decode, and hardly prefill.",
        decode, guide="why weight quantization speeds up decode"),
    Exercise("A1.2", "warm-up", "One value in int8", f"The largest weight of a row is {TOP}, codes are −127 … 127. What "
        f"does the weight {W} come back as, after quantizing and dequantizing?", ("01 §1",), 2,
        Number("", lambda: int8(W)[0] * int8(W)[1], (
            (lambda: W, "that is the weight itself: it was divided and multiplied, and never rounded"),
            (lambda: int8(W)[0] * int(W / int8(W)[0]), "the code was cut off, not rounded: up to a whole step is lost"),
            (lambda: int8(W)[1], "that is the code; what it stands for is s times as much"),
            (lambda: int8(W)[1] / int8(W)[0], "divided by s on the way back: a scale always multiplies there"),
            (lambda: int8(W)[1] * TOP / 128, "the largest weight belongs on the code 127, so s = max|w| / 127")), 0.001),
        "Three lines: s = max|w| / 127 = {s:.4f}; q = round(w / s) = round({ratio:.3f}) = {q}; ŵ = s · q = {back:.3f}. "
        "The error is {error:.4f}, less than s / 2 = {half:.4f}, as it is for every weight that is not clipped. Stored "
        "are q, in one byte, and s, once for all who share it.",
        lambda captures: {"s": int8(W)[0], "ratio": W / int8(W)[0], "q": int8(W)[1], "half": int8(W)[0] / 2,
                          "back": int8(W)[0] * int8(W)[1], "error": abs(W - int8(W)[0] * int8(W)[1])},
        guide="a value to int8: scale, round, dequantize"),
    Exercise("A1.3", "warm-up", "What a scale costs", "int4, symmetric, K = 4096, one 16-bit scale for each group of "
        "128. How many bits does a weight take?", ("01 §2", "02 §2"), 2,
        Number("bits", lambda: bits("W4A16"), (
            (lambda: 4.0, "the scales are read, too: 16 bits for each 128 weights"),
            (lambda: 4 + 16, "a scale is shared: each weight pays a 128th of it"),
            (lambda: bits("W4A16_CHANNEL"), "that is one scale a row; here each row has 32 of them"),
            (lambda: 4 + 16 / 8 / 128, "codes in bits and scales in bytes: one unit for both")), 0.0005),
        "A group's bill is 128 codes and one scale: {bits:.3f} bits a weight. One scale a row costs next to nothing "
        "({wide:.3f}), groups of 32 cost {narrow:.2f}. What they buy, on a matrix of the shipped model: a relative error "
        "of {channel:.1%} with a scale a row, {group:.1%} with groups of 128, {small:.1%} with groups of 32. Whoever "
        "shares a scale pays for the loudest among them, so a scale for the tensor is the worst and the cheapest.",
        errors, guide="per tensor, channel, group: accuracy against storage"),
    Exercise("A1.4", "warm-up", "A byte of FP8", "Which number does the byte 0x45 hold in E4M3 (bias 7)?", ("05 §1",), 2,
        Number("", lambda: value(BYTE), (
            (lambda: value(BYTE, E5M2), "that is E5M2: five bits of exponent, two of mantissa"),
            (lambda: float(BYTE), "that is the byte as a whole number; its bits are sign, exponent and mantissa"),
            (lambda: value(BYTE) / 2, "an exponent field of 8 less the bias 7 is 1, so there is a factor of 2"),
            (lambda: value(BYTE) - 2, "the leading 1 of a normal number is not stored, and counts")), 0.001),
        "{byte:#04x} is {sign} {field:04b} {mantissa:03b}: positive, exponent field {field}, mantissa {mantissa}. A "
        "normal number is (1 + mantissa / 8) · 2^(field − bias) = {right:g}. The next byte holds {following:g}: between "
        "these two powers of two the step is {step:g}. Read as E5M2 the same byte is {other:g}, without any error "
        "message: the file has to say which it is.",
        lambda captures: {"byte": BYTE, "sign": BYTE >> 7, "field": BYTE >> 3 & 15, "mantissa": BYTE & 7,
                          "right": value(BYTE), "following": value(BYTE + 1), "step": value(BYTE + 1) - value(BYTE),
                          "other": value(BYTE, E5M2)}),
    Exercise("A1.5", "warm-up", "Two codes, one byte", f"The codes {FIRST} and {SECOND} share a byte, the first in the "
        "low nibble. Which number from 0 to 255 is it?", ("02 §3",), 4,
        Number("", lambda: packed(FIRST, SECOND), (
            (lambda: packed(SECOND, FIRST), "the nibbles are swapped: the first code lies in the low four bits"),
            (lambda: FIRST + SECOND, "added without a shift: the second has to move up by four bits first"),
            (lambda: FIRST + SECOND * 8, "moved up by three bits; a code has four")), 0.0005),
        "byte = first | second << 4 = {first} + 16 · {second} = {right}, or {right:#04x}: read from the right, its hex "
        "digits are the codes. Swapped it would be {swapped:#04x}. A reader that swaps them raises no error; it "
        "exchanges neighbouring weights all over the model.",
        lambda captures: {"first": FIRST, "second": SECOND, "right": packed(FIRST, SECOND),
        "swapped": packed(SECOND, FIRST)}),
    Exercise("A1.6", "warm-up", "A zero point", f"Weights of a group reach from {LOW} to {HIGH:.2f}, codes are 0 … 15. "
        f"Which code does the weight {X} get?".replace("-", "−"), ("01 §4",), 2,
        Number("", lambda: shifted(X)[2], (
            (lambda: shifted(X)[2] - shifted(X)[1], "the zero point is missing: real 0 is the code z, not 0"),
            (lambda: shifted(X)[2] - 2 * shifted(X)[1], "the zero point is taken off there; on the way to a code it is "
                "added"),
            (lambda: shifted(X)[2] - 1, "one too few: as if the stored zero point were z − 1, which is GPTQ's version 1"),
            (lambda: shifted(X)[2] + 1, "one too many: 15 steps lie between 16 codes")), 0.0005),
        "s = (max − min) / 15 = {s:.3f}, z = round(−min / s) = {z}. The code is round(w / s) + z = {q}, and comes back "
        "as s · (q − z) = {back:.3f}. The law works for any range that contains zero, and real zero is exact. Symmetric "
        "codes would reach as far down as up, and those below the least weight would lie idle.",
        lambda captures: {"s": shifted(X)[0], "z": shifted(X)[1], "q": shifted(X)[2],
                          "back": shifted(X)[0] * (shifted(X)[2] - shifted(X)[1])}),
    Exercise("A1.7", "warm-up", "What a token leaves", "Llama 3 8B: 32 layers, 32 query heads, 8 key-value heads of 128. "
        "How many bytes does one token leave in a bf16 cache?", ("10 §1",), 6,
        Number("bytes", lambda: token_bytes(LLAMA_8B), (
            (lambda: token_bytes(LLAMA_8B) * 4, "query heads are not kept: four of them share one key-value head"),
            (lambda: token_bytes(LLAMA_8B) / 2, "half: a key *and* a value are kept, in two bytes a number"),
            (lambda: token_bytes(LLAMA_8B) / 32, "that is one layer; each of them keeps its own"),
            (lambda: token_bytes(LLAMA_8B) / 4, "both a factor for K and V and two bytes a number are missing"))),
        "2 (K and V) · 32 layers · 8 heads · 128 channels · 2 bytes = {one:,.0f} bytes. FP8 makes {eighth:,.0f} of it, "
        "int8 with a scale a token and head {int8:,.0f}, since the scales count. At {context:,} tokens a user has "
        "{user:.2f} GB. The weights' format changes nothing in this sum: the cache is an axis of its own.",
        lambda captures: {"one": token_bytes(LLAMA_8B), "eighth": token_bytes(LLAMA_8B, "fp8_e4m3"),
                          "int8": token_bytes(LLAMA_8B, KV_PRESETS["int8_per_token_head"]),
                          "context": CONTEXT, "user": CONTEXT * token_bytes(LLAMA_8B) / 1e9}),
    Exercise("A1.8", "warm-up", "NVFP4, in bits", "NVFP4: E2M1 codes, one E4M3 scale for each 16 of them, one fp32 "
        "number for the whole matrix (4096 × 4096). How many bits does a weight take?", ("05 §5",), 1,
        Number("bits", lambda: bits("NVFP4A16"), (
            (lambda: 4.0, "the scale of each block is read, too"),
            (lambda: nvfp4(16), "E4M3 has 8 bits, not 16: that is what makes blocks of 16 affordable"),
            (lambda: nvfp4(8, 32), "that is MXFP4, whose blocks have 32"),
            (lambda: nvfp4(40), "the fp32 number is there once, not in each block")), 0.0005),
        "4 + 8 / 16 = {block:g} bits, and the number above adds {above:.6f}. MXFP4 has {mx:g}: a power of two for each "
        "32. W4A16 with groups of 128 has {int4:g}. So NVFP4 pays for its small blocks about as much as int4 in groups "
        "of 32 does ({small:g}), and its scales are finer than powers of two.",
        lambda captures: {"block": nvfp4(), "above": bits("NVFP4A16") - nvfp4(), "mx": bits("MXFP4A16"),
                          "int4": bits("W4A16"), "small": bits("W4A16_G32")}),
)  # fmt: skip
