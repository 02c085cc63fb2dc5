"""The known mistakes of 09.1: slots of another format."""

from qcourse.checks.task import Mistake, Refuse


def fits(N: int, K: int, G: int) -> bool:
    """Whole groups and whole bytes."""
    return K % G == 0 and 3 * K % 8 == 0


def dense(N: int, K: int, G: int) -> tuple:
    """Three bytes for eight codes."""
    return (N, 3 * K // 8), "uint8"


def grouped(N: int, K: int, G: int) -> tuple:
    """A scale for G weights along K."""
    return (N, K // G), "bfloat16"


def over(N: int, K: int, G: int) -> tuple:
    """Likewise, one more for a group that is too short."""
    return (N, -(-K // G)), "bfloat16"


def laid(qweight=dense, scale=grouped, legal=fits):
    """int3_slots with other codes, other scales, or another idea of what fits."""

    def wrong(N, K, group_size):
        if not legal(N, K, group_size):
            raise Refuse("it does not fit")
        return {"qweight": qweight(N, K, group_size), "scale": scale(N, K, group_size)}

    return wrong


def along_n(N: int, K: int, G: int) -> bool:
    """What fits, if groups and bytes ran along N."""
    return N % G == 0 and 3 * N % 8 == 0


def whole_groups(N: int, K: int, G: int) -> bool:
    """The groups alone."""
    return K % G == 0


def whole_bytes(N: int, K: int, G: int) -> bool:
    """The bytes alone."""
    return 3 * K % 8 == 0


def row(size, dtype="int32", legal=fits):
    """A row of `size(K)` words, or of another dtype."""
    return laid(lambda N, K, G: ((N, size(K)), dtype), legal=legal)


def scale_in(dtype: str):
    """Scales of another dtype."""
    return laid(scale=lambda N, K, G: ((N, K // G), dtype))


MISTAKES = (
    Mistake(
        "four bits a code",
        row(lambda K: K // 2, "uint8"),
        "Your row has room for four bits a code: a nibble each, as for int4, and one bit of each is never used. Who pays "
        "for 3 bits wants to read 3. How many bits have eight of these codes, and how many bytes is that?",
        "Invariant 1: what is stored is what is read. Dense: 8 codes of 3 bits are 3 bytes.",
        also=(
            row(lambda K: K // 2, "uint8", legal=whole_groups),
            row(lambda K: K // 8),
        ),
    ),
    Mistake(
        "ten codes a word, and two bits wasted",
        row(lambda K: -(-K // 10)),
        "Ten codes of 3 bits fill 30 of the 32 bits of a word. No code straddles two words then, and some formats do so "
        "(HQQ's 3 bits, for one); it costs 3.2 bits a weight. This vendor packs densely: where do eight codes end?",
        "Layout is a contract: uint8, dense, 3 bits a code.",
        also=(
            row(lambda K: -(-K // 10), legal=whole_groups),
            row(lambda K: K // 10),
            row(lambda K: 4 * -(-K // 10), "uint8"),
        ),
    ),
    Mistake(
        "words instead of bytes",
        row(lambda K: 3 * K // 32),
        "You counted the right bits and put them into int32, as GPTQ does. The file of this vendor holds bytes, and a "
        "loader compares dtype and shape before it copies. Which dtype does the table name?",
        "Layout is a contract: a slot's dtype is the file's.",
        also=(
            row(lambda K: -(-3 * K // 32)),
            row(lambda K: 3 * K // 32, legal=lambda N, K, G: K % G == 0 and 3 * K % 32 == 0),
            row(lambda K: 3 * K // 8),
        ),
    ),
    Mistake(
        "a byte a code",
        row(lambda K: K, "int8"),
        "That is room for K codes of 8 bits: what a layer may hold *after* `process_weights_after_loading`, not what lies "
        "in the file. `create_weights` registers what the file holds.",
        "create_weights: the file's tensors, as they are stored.",
        also=(row(lambda K: K, "uint8"), row(lambda K: K, "int8", legal=whole_groups)),
    ),
    Mistake(
        "bits counted as bytes",
        row(lambda K: 3 * K, "uint8"),
        "3 · K is the number of *bits* in a row. A uint8 holds how many of them?",
        "Units: 8 bits are one byte.",
        also=(row(lambda K: 3 * K, "uint8", legal=whole_groups),),
    ),
    Mistake(
        "codes packed along N",
        laid(lambda N, K, G: ((3 * N // 8, K), "uint8")),
        "Your rows have been packed, eight outputs into three bytes. A kernel walks along K, the axis of the sum, and wants "
        "the codes of one output behind each other. Which axis shrinks?",
        "Layout is a contract: packed along K, (N, 3K/8).",
        also=(laid(lambda N, K, G: ((3 * N // 8, K), "uint8"), lambda N, K, G: ((N // G, K), "bfloat16"), along_n),),
    ),
    Mistake(
        "transposed, as GPTQ and AWQ have it",
        laid(lambda N, K, G: ((3 * K // 8, N), "uint8"), lambda N, K, G: ((K // G, N), "bfloat16")),
        "Your tensors begin with K. Some formats do store W transposed (GPTQ's int4 qweight has K/8 rows), which is why "
        "vLLM lets each parameter say its own `input_dim` and `output_dim`. Here N comes first, in both.",
        "Layout is a contract: output_dim 0, input_dim 1.",
        also=(
            laid(lambda N, K, G: ((3 * K // 8, N), "uint8")),
            laid(scale=lambda N, K, G: ((K // G, N), "bfloat16")),
            laid(lambda N, K, G: ((K, 3 * N // 8), "uint8"), lambda N, K, G: ((K, N // G), "bfloat16"), along_n),
        ),
    ),
    Mistake(
        "one scale a row",
        laid(scale=lambda N, K, G: ((N, 1), "bfloat16")),
        "A row has one scale here, whatever group_size is. Then what would the group size be for, and why would it have to "
        "divide K?",
        "Granularity: K/G scales a row.",
        also=(laid(scale=lambda N, K, G: ((N,), "bfloat16")),),
    ),
    Mistake(
        "groups along N",
        laid(scale=lambda N, K, G: ((N // G, K), "bfloat16")),
        "Your scales belong to G outputs of one column. A group lies along K, the axis of the sum: a kernel multiplies once "
        "for G terms of it. Which axis of W does the scale keep whole?",
        "Granularity: a group is G weights along K of one row; the scale is (N, K/G).",
        also=(laid(scale=lambda N, K, G: ((N, N // G), "bfloat16")),),
    ),
    Mistake(
        "G scales a row",
        laid(scale=lambda N, K, G: ((N, G), "bfloat16")),
        "G is how many weights *share* a scale. How many such groups lie in a row of K?",
        "Granularity: K/G scales a row.",
        also=(laid(scale=lambda N, K, G: ((N, K), "bfloat16")),),
    ),
    Mistake(
        "scales of another dtype",
        scale_in("float32"),
        "The vendor writes its scales in bf16, 16 bits for each group: 3.25 bits a weight at G = 64. fp32 would make it "
        "3.5, and fp16 has the same size but other bits: a loader that copied them would read other numbers.",
        "Layout is a contract: a slot's dtype is the file's.",
        also=(scale_in("float16"), scale_in("float64")),
    ),
    Mistake(
        "a ragged last group accepted",
        laid(legal=whole_bytes),
        "When G does not divide K, the last group is shorter than the others, and your answer does not mention it: it has "
        "no scale, or one that nobody expects. Nothing has been read yet: now is the time to speak.",
        "create_weights refuses what does not fit, by name, before a byte is read.",
        also=(laid(scale=over, legal=whole_bytes),),
    ),
    Mistake(
        "bits that fill no byte accepted",
        laid(legal=whole_groups),
        "With K = 12 a row has 36 bits, four bytes and a half. Rounded down, the last code is lost; rounded up, the row "
        "ends in half a byte, and a rank that gets half of the columns cannot cut it. Which K leave nothing over?",
        "8 codes are 3 bytes: 3 · K has to be a multiple of 8.",
        also=(laid(lambda N, K, G: ((N, -(-3 * K // 8)), "uint8"), legal=whole_groups),),
    ),
    Mistake(
        "a float for a size",
        laid(lambda N, K, G: ((N, 3 * K / 8), "uint8"), lambda N, K, G: ((N, K / G), "bfloat16")),
        "`/` gives 24.0 where you want 24, and `torch.empty` takes no floats. Once you have made sure that nothing is left "
        "over, which of Python's two divisions keeps whole numbers whole?",
        "A shape consists of ints.",
        also=(
            row(lambda K: 3 * K / 8, "uint8"),
            row(lambda K: 3 / 8 * K, "uint8"),
            laid(scale=lambda N, K, G: ((N, K / G), "bfloat16")),
        ),
    ),
)
