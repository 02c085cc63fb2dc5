"""Notebook 05's lines: a float's parts, its rounding, and the scales of blocks."""

from qcourse.checks.line import Line

LINES = {
    "05.a": Line("normals", "(1 - 2 * sign) * torch.exp2(e - 7.0) * (1 + m / 8)", {
        "(1 - 2 * sign) * torch.exp2(e - 7.0) * (m / 8)": "the 1 before the point is not stored, but it counts",
        "(1 - 2 * sign) * torch.exp2(e - 8.0) * (1 + m / 8)": "the bias of four exponent bits is 7, half of 15",
        "torch.exp2(e - 7.0) * (1 + m / 8)": "the sign bit is missing: 128 codes are negative",
        "(1 - 2 * sign) * torch.exp2(e * 1.0) * (1 + m / 8)": "the exponent is stored with 7 added: take it off again",
    }),
    "05.b": Line("subnormals", "(1 - 2 * sign) * 2.0**-6 * m / 8", {
        "(1 - 2 * sign) * 2.0**-6 * (1 + m / 8)": "subnormals have no 1 before the point: m = 0 is zero",
        "(1 - 2 * sign) * 2.0**-7 * m / 8": "their exponent is that of e = 1, so that the steps go on evenly: 2^-6",
        "2.0**-6 * m / 8": "the sign bit is missing; there is even a -0",
    }),
    "05.c": Line("steps", "torch.round(torch.ldexp(size, 3 - exponent))", {
        "torch.ldexp(size, 3 - exponent)": "that is where it lies; round it to a whole number of steps",
        "torch.round(torch.ldexp(size, 3 + exponent))": "2^(exponent - 3) *divides*: its exponent changes sign",
        "torch.floor(torch.ldexp(size, 3 - exponent))": "cut off, not rounded: the error is up to a whole step",
        "torch.round(torch.ldexp(size, -exponent))": "a binade has 8 steps, three bits of mantissa",
    }),
    "05.d": Line("magnitude", "8 * (exponent + 6) + steps", {
        "8 * (exponent + 7) + steps": "the steps of a normal number begin at 8, the 1 before the point: it adds one to the "
        "exponent by itself",
        "8 * (exponent + 6) + steps - 8": "the 8 of the 1 before the point belongs to the exponent: e = exponent + 7",
        "(exponent + 6) + steps": "the exponent stands three bits further up: 8 times",
    }),
    "05.e": Line("s", "normal.abs().amax(1, keepdim=True) / 448", {
        "normal.abs().amax(1, keepdim=True) / 127": "127 is int8's last code; E4M3's largest number is 448",
        "normal.abs().max() / 448": "one scale for the tensor; each row has its own",
        "normal.amax(1, keepdim=True) / 448": "the loudest may be negative: absmax",
        "448 / normal.abs().amax(1, keepdim=True)": "upside down: `s` multiplies on the way back",
    }),
    "05.f": Line("peak", "real.abs().amax(1) / real.square().mean(1).sqrt()", {
        "real.abs().amax(1) / real.abs().mean(1)": "that is the mean magnitude; the root of the mean *square* is asked for",
        "real.abs().amax(1) / real.norm(dim=1)": "the norm is a root of the *sum*: divide by the number of weights first",
        "real.square().mean(1).sqrt()": "that is the root mean square alone",
        "real.abs().max() / real.square().mean(1).sqrt()": "each block has a loudest weight of its own",
    }),
    "05.g": Line("s", "torch.exp2(torch.floor(torch.log2(absmax)) - 2)", {
        "torch.exp2(torch.round(torch.log2(absmax)) - 2)": "OCP's rule goes down: floor",
        "torch.exp2(torch.ceil(torch.log2(absmax)) - 2)": "up is another rule: nothing saturates, and most is coarser",
        "torch.exp2(torch.floor(torch.log2(absmax)))": "6 is 1.5·2^2: with a scale of 2^(e - 2) the loudest reaches it",
        "torch.exp2(torch.floor(torch.log2(absmax / 6)))": "close, but that is the floor of another number: it never "
        "saturates where OCP does",
    }),
    "05.h": Line("t", "peak / (448 * 6)", {
        "448 * 6 / peak": "that is compressed-tensors' direction, which divides",
        "peak / 448": "a block's own scale takes another 6: the loudest weight lands on E2M1's last number",
        "peak / 6": "then the loudest block's scale would be 1; it should be 448",
    }),
    "05.i": Line("scale_codes", "E4M3.encode(top / (6 * t))", {
        "E4M3.encode(top / t)": "the loudest weight of a block should be 6, not 1",
        "E4M3.encode(top / 6)": "in units of t: without it most of E4M3's range is empty",
        "E4M3.encode(top / (7.5 * t))": "7.5 is int4's; E2M1 ends at 6",
    }),
    "05.j": Line("places", "torch.bucketize(scaled, (book[1:] + book[:-1]) / 2)", {
        "torch.bucketize(scaled, book)": "that counts the values below; the *nearest* changes at the midpoints between two",
        "(scaled.unsqueeze(-1) - book).abs().argmax(-1)": "the farthest",
        "torch.round((scaled + 1) * 7.5).long()": "these values are not evenly spaced: that is an integer grid",
    }, rtol=1e-2),
    "05.k": Line("bits", "4 + 8 / 64 + 32 / (64 * 256)", {
        "4 + 8 / 64": "the fp32 scales of the scales are missing: one for 64·256 weights",
        "4 + 32 / 64": "that is without double quantization",
        "4 + 8 / 64 + 32 / 256": "256 *scales* share an fp32, and each of them is for 64 weights",
    }),
    "05.l": Line("weighted", "(importance * (dequantize(heard) - W).square()).sum()", {
        "(importance * (dequantize(heard) - W)).square().sum()": "then the importance is squared, too",
        "(importance * (dequantize(plain) - W).square()).sum()": "that is the search that was told nothing",
        "(dequantize(heard) - W).square().sum()": "unweighted: every column counts the same",
    }),
    "05.m": Line("measured", "8 * sum(t.nbytes for t in tensors.values()) / (layer.output_size * layer.input_size)", {
        "sum(t.nbytes for t in tensors.values()) / (layer.output_size * layer.input_size)": "bytes; a byte has 8 bits",
        "8 * layer.product.p.data.nbytes / (layer.output_size * layer.input_size)": "the codes alone: scales are bytes, too",
    }),
    "05.n": Line("good", "[a.name for a in zoo if a.bits <= 4.5 and a.added[0] < 0.01]", {
        "[a.name for a in zoo if a.bits <= 4.5]": "all that are small enough; they have to be good enough, too",
        "[a.name for a in zoo if a.added[0] < 0.01]": "all that are good enough, whatever they cost",
        "[a.name for a in zoo if a.bits <= 4.5 and a.added[1] < 0.01]": "added[1] is the standard error",
    }),
    "05.o": Line("best", "min(small, key=lambda a: a.added[0]).name", {
        "min(small, key=lambda a: a.bits).name": "that is the smallest; the one that *loses* least is asked for",
        "max(small, key=lambda a: a.added[0]).name": "that one loses most",
        "min(small, key=lambda a: a.added[1]).name": "added[1] is the standard error: that one is known most exactly",
    }),
}  # fmt: skip
