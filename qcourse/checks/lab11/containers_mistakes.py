"""The known mistakes of 11.6: the container read with one thing changed."""

import torch

from qcourse.checks.lab11.containers_variants import by_columns, from_zero, in_turn, last, plain, read, turned
from qcourse.checks.task import Mistake

MISTAKES = (
    Mistake(
        "offsets counted from the beginning of the file",
        read(start=lambda n: 0),
        "You cut the file itself at the offsets. They do not know how long the header is (it is written after they are "
        "known), so they count from where it ends.",
        "data_offsets count from the end of the header.",
        also=(read(start=lambda n: 8),),
    ),
    Mistake(
        "the eight bytes of the length forgotten",
        read(start=lambda n: n),
        "You count from byte n. The header is n bytes long, and something stands before it.",
        "The data begin at byte 8 + n.",
        also=(read(start=lambda n: 16 + n), read(start=lambda n: 9 + n)),
    ),
    Mistake(
        "another tensor's place",
        read(place=from_zero),
        "You read a tensor of the right size, from the place of another one: where the data begin, or where it would lie "
        "if the header listed them in the order of the data. The header says where: what is data_offsets[0]?",
        "A tensor lies where its own offsets say.",
        also=(read(place=in_turn),),
    ),
    Mistake(
        "F16 and BF16 confused",
        read(dtypes=(("BF16", torch.float16),)),
        "Both have 16 bits, and any 16 bits are a number in both. F16 is float16, with 5 bits of exponent; BF16 the upper "
        "half of a float32.",
        "A dtype's name says what the bits mean.",
        also=(
            read(dtypes=(("F16", torch.bfloat16),)),
            read(dtypes=(("F16", torch.bfloat16), ("BF16", torch.float16))),
            read(dtypes=(("BF16", torch.int16),)),
            read(dtypes=(("BF16", torch.int16),), end=lambda t: t.float() if t.dtype == torch.int16 else t),
        ),
    ),
    Mistake(
        "signs lost or invented",
        read(dtypes=(("U8", torch.int8),)),
        "U8 goes from 0 to 255, I8 from −128 to 127, and both are a byte. Scales of MXFP4 and codes of int8 look alike but "
        "for this letter.",
        "A dtype's name says what the bits mean.",
        also=(read(dtypes=(("I8", torch.uint8),)), read(dtypes=(("U8", torch.int8), ("I8", torch.uint8)))),
    ),
    Mistake(
        "another dtype came back",
        read(end=lambda t: t.float()),
        "Codes are integers, packed words above all: as floats they lose their bits beyond the 24th, and shifting is over. "
        "(bf16 may become float32: nothing is lost by it.)",
        "The tensor has the dtype that the header names.",
        also=(
            read(dtypes=(("I32", torch.float32),)),
            read(end=lambda t: t if t.is_floating_point() else t.long()),
            read(end=lambda t: t if t.is_floating_point() else t.int()),
        ),
    ),
    Mistake(
        "the bytes of a number from behind",
        read(cut=turned),
        "You read big endian. The lowest byte of a number comes first, in the length as in the tensors.",
        "safetensors is little endian.",
    ),
    Mistake(
        "the shape left out",
        read(shaped=lambda t, shape: t),
        "The numbers are right, all in one row. What has the header to say about axes?",
        "The tensor has the shape that the header names.",
        also=(read(shaped=lambda t, shape: t if len(shape) == 0 else t.reshape(-1)), read(shaped=lambda t, shape: t[None])),
    ),
    Mistake(
        "read column by column",
        read(shaped=by_columns),
        "You filled the first axis first, as Fortran does (and as GGUF writes down its shapes). Here the last axis is the "
        "fastest: a row of W lies in one piece.",
        "Row by row: the last axis is the fastest.",
        also=(read(shaped=lambda t, shape: t.reshape(shape[::-1])), read(shaped=lambda t, shape: t.reshape(shape).T)),
    ),
    Mistake(
        "bytes instead of a tensor",
        read(cut=lambda raw, dtype: raw, shaped=lambda raw, shape: raw),
        "The right bytes came back, as bytes. Which torch or NumPy function looks at them as numbers?",
        "The result is a tensor.",
        also=(read(cut=lambda raw, dtype: plain(raw, torch.uint8), shaped=lambda t, shape: t),),
    ),
    Mistake(
        "a missing name passed over",
        read(missing=False),
        "For a name that is not in the header something came back. A layer without its weights computes, too; the one who "
        "asked has to learn it here.",
        "What is not there is refused, by name.",
        also=(read(missing=False, absent=lambda entries, body: torch.zeros(0)), read(missing=False, absent=last)),
    ),
    Mistake(
        "offsets that leave the data",
        read(legal=lambda begin, end, size, room: end <= room and end - begin == size),
        "The offsets lie outside of the tensors, and you read there: below 0 that is the header itself, as numbers. In C it "
        "would be somebody else's memory, which is how files attack programs.",
        "0 ≤ begin, and end ≤ the number of bytes behind the header.",
        also=(read(legal=lambda begin, end, size, room: end - begin == size),),
    ),
    Mistake(
        "the number of bytes not compared",
        read(legal=lambda begin, end, size, room: begin >= 0 and end <= room),
        "The offsets hold more bytes than the tensor has, or fewer, and you read what the shape says: into the next tensor, "
        "or not all. One of the two is a lie, and nobody knows which.",
        "end − begin = shape × bytes of the dtype.",
        also=(
            read(legal=lambda begin, end, size, room: True),
            read(legal=lambda begin, end, size, room: begin >= 0 and end <= room and end - begin >= size),
            read(legal=lambda begin, end, size, room: begin >= 0 and end <= room and end - begin <= size),
        ),
    ),
)
