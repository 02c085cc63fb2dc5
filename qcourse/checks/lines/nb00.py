"""Notebook 00's lines: bytes over bandwidth, and what is counted."""

from qcourse.checks.line import Line

LINES = {
    "00.a": Line("ceiling", "3.35e12 / (7e9 * 2)", {
        "3.35e12 / 7e9": "that is one byte a weight; bf16 has two",
        "7e9 * 2 / 3.35e12": "that is seconds a token; tokens a second is asked for",
        "3.35e12 / (7e9 * 16)": "16 *bits* are 2 bytes, and the bandwidth counts bytes",
    }),
    "00.b": Line("bandwidth", "reading.best", {
        "reading.median": "the median contains what other programs took; they only ever make it slower, so the best "
        "is nearest "
        "to what the memory can do",
        "reading.low": "the lower quartile: what other programs took is in it; the best is nearest to what the memory "
        "can do",
    }, measured=True),
    "00.c": Line("floor", "cases['int4'][0] / bandwidth", {
        "cases['bf16'][0] / bandwidth": "these are bf16's bytes; int4's weight has fewer",
        "bandwidth / cases['int4'][0]": "that is products a second; seconds are asked for",
    }),
    "00.d": Line("bits", "8 * len(packed) / len(source)", {
        "len(packed) / len(source)": "that is bytes a byte: a byte has 8 bits",
        "len(source) / len(packed)": "that is how many times smaller the text became; bits for each byte of it are "
        "asked for",
        "8 * len(source) / len(packed)": "the other way round: bits of what was packed, for each byte of the text",
    }),
    "00.e": Line("ratio", "size.total / small.total", {
        "size.linear / small.linear": "those are the linear layers alone; the embedding keeps its 16 bits and is "
        "counted too",
        "small.total / size.total": "that is what is left of it, not how many times smaller it is",
        "16 / 4": "the scales are stored too, and the embedding keeps its 16 bits",
    }),
    "00.f": Line("times", "cases['the super weight']['added_bits_per_byte'] / cases['W4A16_G64']['added_bits_per_byte']", {
        "cases['W4A16_G64']['added_bits_per_byte'] / cases['the super weight']['added_bits_per_byte']":
        "the other way round: how many times as much as *rounding* does the one weight cost",
    }),
}  # fmt: skip
