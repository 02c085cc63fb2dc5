"""Notebook 08's lines: two ceilings, and a kernel's parts."""

from qcourse.checks.line import Line

LINES = {
    "08.a": Line("meet_int4", "size['int4'] / bandwidth * flops / (2 * N * K)", {
        "size['int4'] / bandwidth * flops / (N * K)": "a multiply-add is two operations",
        "size['bf16'] / bandwidth * flops / (2 * N * K)": "these are bf16's bytes",
        "size['int4'] / bandwidth / flops * (2 * N * K)": "time to read, over time for *one* token's arithmetic: "
        "divide by the "
        "latter, 2·N·K / flops",
    }, measured=True),
    "08.b": Line("floor", "max(size['int4'] / bandwidth, 2 * 64 * N * K / flops)", {
        "size['int4'] / bandwidth + 2 * 64 * N * K / flops": "a good kernel reads and computes at the same time: the "
        "slower of the "
        "two decides, not the sum",
        "min(size['int4'] / bandwidth, 2 * 64 * N * K / flops)": "it cannot be faster than *either*: the larger of "
        "the two times",
    }, measured=True),
    "08.c": Line("x_scale", "x.abs().amax(-1, keepdim=True) / 32767", {
        "x.abs().amax(-1, keepdim=True) / 65535": "the 65,536 codes lie on both sides of zero",
        "x.abs().max() / 32767": "one scale for all tokens; each token has its own",
        "x.abs().amax(-1, keepdim=True) / 127": "that is int8; 16 bits reach to 32767",
    }),
    "08.d": Line("low", "(packed & 15).float() - 8", {
        "(packed & 15).float()": "the codes are stored as q + 8: take the 8 off again",
        "(packed >> 4).float() - 8": "that is the high nibble, the odd columns",
    }),
    "08.e": Line("y", "(per_byte * (low * x[0::2] + high * x[1::2])).sum(1)", {
        "(per_byte * (low * x[1::2] + high * x[0::2])).sum(1)": "swapped: the low nibbles are the *even* columns",
        "(per_byte * (low * x[: K // 2] + high * x[K // 2 :])).sum(1)": "the low nibbles are every second column, not "
        "the first half",
        "(low * x[0::2] + high * x[1::2]).sum(1)": "the scales are missing",
        "(per_byte * (low * x[0::2] + high * x[1::2])).sum(0)": "that sums over the rows; y has one value a row",
    }),
    "08.f": Line("working", "100 * (4096 / 64) / 132", {
        "100 * 64 / 4096": "that is one program's share of the rows",
        "100 * 132 / (4096 / 64)": "the other way round",
        "100 * 64 / 132 / 64": "each program takes 64 rows: 4096 / 64 programs",
    }),
    "08.g": Line("gain", "decode['W4A16_G64, bf16 x'] / decode['bf16, bf16 x']", {
        "decode['bf16, bf16 x'] / decode['W4A16_G64, bf16 x']": "these are tokens a second: more is faster",
        "16 / 4.25": "that is what the bytes promise; what was measured is asked for",
    }),
    "08.h": Line("explained", "b.floor / b.step", {
        "b.step / b.floor": "the other way round: how many times longer the step takes",
        "b.floor": "these are seconds; a share of the step is asked for",
        "sum(b.kernels.values()) / b.step": "that is the kernels' share; they take longer than their bytes",
        "a.floor / a.step": "that is bf16's step",
    }, measured=True),
}  # fmt: skip
