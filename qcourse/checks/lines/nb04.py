"""Notebook 04's lines: the meters."""

from qcourse.checks.line import Line

LINES = {
    "04.a": Line("nats", "-log_p.gather(-1, ids[:, 1:, None]).squeeze(-1)", {
        "-log_p.gather(-1, ids[:, :-1, None]).squeeze(-1)": "not shifted: that scores the token the model was just "
        "*given*; what "
        "comes next is asked of it",
        "log_p.gather(-1, ids[:, 1:, None]).squeeze(-1)": "a log-probability is negative; surprise is minus that",
        "-log_p.max(-1).values": "that is how sure the model is of its favourite, whether right or wrong; take the "
        "token that came",
    }),
    "04.b": Line("bits_per_byte", "nats.sum() / math.log(2) / text.num_bytes[:8].sum()", {
        "nats.sum() / text.num_bytes[:8].sum()": "that is in nats: 31 % 'better' for nothing. A bit is ln 2 nats",
        "nats.mean() / math.log(2)": "bits a *token*: another tokenizer would give another number for the same text",
        "nats.sum() * math.log(2) / text.num_bytes[:8].sum()": "a bit is ln 2 = 0.69 nats, so there are *more* bits "
        "than nats: divide",
    }),
    "04.c": Line("value", "2.0 ** (e - 7) * (1 + m / 8)", {
        "2.0**e * (1 + m / 8)": "the exponent is stored with a bias of 7",
        "2.0 ** (e - 7) * m / 8": "the leading 1 is not stored, but it counts",
        "2.0 ** (e - 8) * (1 + m / 8)": "the bias is 7, so that exponents reach from −6 to 8",
        "2.0 ** (e - 7) * (1 + m / 4)": "3 bits of mantissa are eighths",
    }),
    "04.d": Line("expected_bits", "4 + (16 + 4) / 128", {
        "4 + 16 / 128": "that is without the zero points: one of 4 bits for each group",
        "4": "the codes alone; each group of 128 has a scale (16 bits) and a zero point (4 bits)",
        "4 + 4 + 16 / 128": "a zero point for each *group*, not for each weight",
    }),
    "04.e": Line("z", "many.mean / many.stderr", {
        "many.mean": "that is how large the difference is; z says how many standard errors that is",
        "many.mean / awq_score.stderr": "that is the spread between windows, which both models share; the paired one "
        "is far smaller",
        "few.mean / few.stderr": "that is with 64 windows; 256 were asked for",
    }),
    "04.f": Line("blocks", "(settings['budget_bytes'] - sixteen['total_bytes']) // block", {
        "settings['budget_bytes'] // block": "the weights have to be there too, and come first",
        "(settings['budget_bytes'] - sixteen['total_bytes']) / block": "a part of a block is none",
        "(settings['budget_bytes'] - four['total_bytes']) // block": "these are the 4-bit model's bytes; bf16's are "
        "asked for",
    }),
    "04.g": Line("faster", "decode['W4A16_ASYM'].median / decode['bf16'].median", {
        "decode['bf16'].median / decode['W4A16_ASYM'].median": "these are rates, not times: more tokens a second is faster",
        "prefill['W4A16_ASYM'].median / prefill['bf16'].median": "that is prefill: the prompt, all its tokens at once",
    }, measured=True),
    "04.h": Line("ceiling_70b", "2 * 3.35e12 / cost.projected_bytes(llama_70b, 4.125)", {
        "3.35e12 / cost.projected_bytes(llama_70b, 4.125)": "two GPUs read together: each holds half of the weights",
        "2 * 3.35e12 / cost.projected_bytes(llama_70b, 16)": "that is bf16",
        "2 * 3.35e12 / (70e9 * 4.125 / 8)": "near; but the embedding and the head keep their 16 bits, and 70 is rounded",
        "cost.projected_bytes(llama_70b, 4.125) / (2 * 3.35e12)": "that is seconds a token",
    }),
    "04.i": Line("gain", "1 - searched / rounded", {
        "searched / rounded": "that is what is left; how much AWQ takes off is asked for",
        "rounded - searched": "that is in bits a byte; as a share of what rounding costs",
        "1 - rounded / searched": "the other way round",
    }),
}  # fmt: skip
