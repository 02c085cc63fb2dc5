"""Notebook 11's lines: bytes to numbers, one weight in several files, what a wrong reader makes of them, sizes, pickles."""

from qcourse.checks.line import Line

LINES = {
    "11.a": Line("at", "8 + length + begin + 2 * (n * K + k)", {
        "begin + 2 * (n * K + k)": "offsets count from the end of the header, which takes 8 + length bytes",
        "length + begin + 2 * (n * K + k)": "the length itself takes 8 bytes, too",
        "8 + length + begin + n * K + k": "an element of bf16 has two bytes",
        "8 + length + begin + 2 * (k * N + n)": "rows lie behind each other: n full rows of K, then k more",
    }, rtol=0),
    "11.b": Line("w", "struct.unpack('<f', bytes(2) + two)[0]", {
        "struct.unpack('<f', two + bytes(2))[0]": "little-endian: the first byte is the lowest; bf16 is fp32's *upper* half",
        "struct.unpack('<e', two)[0]": "that reads fp16: 5 bits of exponent; bf16 has 8, like fp32",
        "struct.unpack('>f', two + bytes(2))[0]": "the bytes of a file are little-endian: the highest comes last",
        "int.from_bytes(two, 'little')": "the bits as a whole number; they are sign, exponent, fraction",
    }),
    "11.c": Line("code", "words[k // 8 * N + n] >> 4 * (k % 8) & 15", {
        "words[n * (K // 8) + k // 8] >> 4 * (k % 8) & 15": "so compressed-tensors' words lie; GPTQ's matrix is the "
        "transposed: K/8 rows of N words",
        "words[k // 8 * N + n] >> k % 8 & 15": "a code has four bits: shift by 4 · (k % 8)",
        "words[k // 8 * N + n] >> 4 * (n % 8) & 15": "the eight codes of a word are neighbours along k",
        "words[k // 8 * N + n] & 15": "that is the code of the word's first column",
        "words[k // 8 * N + n] >> 4 * (k % 8)": "what lies above is still there: mask the lowest four bits",
    }),
    "11.d": Line("code", "words[k * (N // 8) + n // 8] >> 4 * (0, 4, 1, 5, 2, 6, 3, 7)[n % 8] & 15", {
        "words[k * (N // 8) + n // 8] >> 4 * (n % 8) & 15": "that is the order without the "
        "interleaving; this weight is of another row",
        "words[k * (N // 8) + n // 8] >> 4 * (0, 2, 4, 6, 1, 3, 5, 7)[n % 8] & 15": "that says whose code nibble i holds; "
        "asked for is the nibble of column n % 8, the inverse",
        "words[k * (N // 8) + n // 8] >> 4 * (0, 4, 1, 5, 2, 6, 3, 7)[k % 8] & 15": "AWQ's words run along n",
    }),
    "11.e": Line("code", "block[2 + k % 16] >> 4 * (k % 32 // 16) & 15", {
        "block[2 + k % 32 // 2] >> 4 * (k % 2) & 15": "neighbours do not share a byte here: weight j and j + 16 do",
        "block[k % 16] >> 4 * (k % 32 // 16) & 15": "the block begins with two bytes of scale",
        "block[2 + k % 16] & 15": "that is weight k % 16; this one is in the second half, so in the high nibble",
    }),
    "11.f": Line("w_nv", "values[code] * block_scale * above", {
        "values[code] * block_scale / above": "ModelOpt's number multiplies; compressed-tensors stores the one that divides",
        "code * block_scale * above": "the code's bits are a float, E2M1; `values` lists what they mean",
        "values[code] * block_scale": "the number above all scales is missing",
    }),
    "11.g": Line("z", "[(word >> 4 * i & 15) + 1 for i in range(8)]", {
        "[word >> 4 * i & 15 for i in range(8)]": "version 1 stores z − 1",
        "[(word >> 4 * i & 15) - 1 for i in range(8)]": "it stores z − 1, so z is one *more*",
        "[(word + 0x11111111 >> 4 * i) & 15 for i in range(8)]": "added to the whole word a 15 becomes 0 and carries into "
        "its neighbour; take the fields apart first",
    }),
    "11.h": Line("theirs", "64 * head + 2 * j + half", {
        "64 * head + 32 * half + j": "that is Hugging Face's order: two halves of a head",
        "64 * head + 2 * j": "channel j of the second half comes right behind that of the first",
        "2 * (64 * head + j) + half": "a head's 64 rows stay together; only the place among them doubles",
    }),
    "11.i": Line("unseen", "s * (q - 8)", {
        "s * (q - z)": "that is the reader who sees the zero points",
        "s * q": "a symmetric reader takes 8 off: codes are stored with 2³ added",
        "s * (q + 8)": "8 was added when it was stored; it comes off again",
    }),
    "11.j": Line("qweight", "packed.T", {
        "packed": "(N, K/8); GPTQ's is (K/8, N)",
        "packed.reshape(packed.T.shape)": "the right shape, and the words in their old order: turned, not renamed",
        "packed.flip(0)": "other rows first, still (N, K/8)",
    }),
    "11.k": Line("size", "weights * (4 + 20 / 128) / 8 + ends", {
        "weights * 4 / 8 + ends": "the codes alone; 128 weights share 16 bits of scale and 4 of zero point",
        "weights * (4 + 20 / 128) + ends": "those are bits",
        "weights * (4 + 20 / 128) / 8": "embedding and norms are in the file, too",
        "weights * (4 + 16 / 128) / 8 + ends": "without the zero points: 4 bits a group",
        "(weights + ends) * (4 + 20 / 128) / 8": "embedding and norms stay in 16 bits",
    }, rtol=0),
    "11.l": Line("imports", "[arg for op, arg, _ in pickletools.genops(data) if op.name == 'GLOBAL']", {
        "[arg for op, arg, _ in pickletools.genops(data) if op.name == 'REDUCE']": "REDUCE is the call; what is called was "
        "named before, by GLOBAL",
        "[arg for op, arg, _ in pickletools.genops(data) if arg]": "every argument: numbers and texts, too",
        "[op.name for op, arg, _ in pickletools.genops(data) if op.name == 'GLOBAL']": "that says how often; `arg` has it",
    }),
    "11.m": Line("share", "awq['embedding'] / sum(awq.values())", {
        "awq['embedding'] / awq['codes, or 16 bits']": "relative to the codes; a share of the whole file is asked for",
        "awq['codes, or 16 bits'] / sum(awq.values())": "that is the codes' share",
        "awq['embedding'] / sum(bf16.values())": "of the 16-bit file; this one is smaller",
    }),
}  # fmt: skip
