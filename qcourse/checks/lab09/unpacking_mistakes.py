"""The known mistakes of 09.2: the same bits, read otherwise."""

import torch

from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor

LOW_FIRST, HIGH_FIRST = tuple(range(0, 24, 3)), tuple(range(21, -1, -3))


def number(qweight: Tensor, order=(0, 1, 2)) -> Tensor:
    """Each three bytes as one number (N, threes); order: which of them counts ones, which 256s, which 65,536s."""
    b = qweight.long().reshape(len(qweight), -1, 3)
    return sum(b[..., byte] << 8 * place for place, byte in enumerate(order))


def minus_4(stored: Tensor) -> Tensor:
    """What was added is taken off."""
    return stored - 4


def read(order=(0, 1, 2), shifts=LOW_FIRST, mask=7, signed=minus_4, dtype=torch.int8, across=False):
    """unpack_int3 with one thing changed; across: all codes 0 first, then all codes 1 …"""

    def wrong(qweight):
        parts = [number(qweight, order) >> shift & mask for shift in shifts]
        stored = torch.stack(parts, 1 if across else -1).flatten(1)
        return signed(stored).to(dtype)

    return wrong


def by_bytes(*shifts: int, mask: int = 7, offset: int = 4):
    """As many codes out of each byte as there are shifts."""

    def wrong(qweight):
        codes = torch.stack([(qweight.long() >> shift & mask) - offset for shift in shifts], -1)
        return codes.flatten(1).to(torch.int8)

    return wrong


def cut_at_bytes(qweight):
    """Code j out of the byte in which it begins, and nothing of the next."""
    b = qweight.long().reshape(len(qweight), -1, 3)
    codes = [(b[..., 3 * j // 8] >> 3 * j % 8 & 7) - 4 for j in range(8)]
    return torch.stack(codes, -1).flatten(1).to(torch.int8)


def first_byte_only(qweight):
    """b << 8 in uint8 is 0: the second and the third byte are lost."""
    return read()(qweight * torch.tensor([1, 0, 0], dtype=torch.uint8).repeat(qweight.shape[1] // 3))


MISTAKES = (
    Mistake(
        "the first code in the highest bits",
        read((2, 1, 0), HIGH_FIRST),
        "You read the bits as one writes them, the highest first: byte 0 on the left, code 0 at its left end. This format "
        "is little endian: code 0 lies in the *lowest* three bits of byte 0. Which shift brings it down?",
        "Invariant 4: layout is a contract. Lowest bits first.",
    ),
    Mistake(
        "the bytes from the top",
        read((2, 1, 0)),
        "Within your number the codes come lowest first, as they should, but the number itself was put together with byte 0 "
        "at the top. Which of three bytes counts ones?",
        "Invariant 4: layout is a contract. Little endian: byte 0 counts ones.",
    ),
    Mistake(
        "the codes from the top",
        read(shifts=HIGH_FIRST),
        "Your number of 24 bits is right, and you took its codes from the top: code 7 stands where code 0 should. How far "
        "must the number be shifted for code 0?",
        "Invariant 4: layout is a contract. Code j lies at bits 3j … 3j+2.",
    ),
    Mistake(
        "the offset not taken off",
        read(signed=lambda stored: stored),
        "Your codes run from 0 to 7, and every weight of this layer becomes positive or 0. Which stored number means a "
        "weight of 0?",
        "A code q is stored as q + 4.",
        also=(read(signed=lambda stored: stored, dtype=torch.uint8),),
    ),
    Mistake(
        "read as two's complement",
        read(signed=lambda stored: torch.where(stored > 3, stored - 8, stored)),
        "You took the highest of the three bits for a sign. That is how a processor keeps signed numbers, but these were "
        "made unsigned by an offset: what is stored for the code 0, and what is stored for −1?",
        "Offset binary, q + 4, is not two's complement.",
        also=(read(signed=lambda stored: (stored ^ 4) - 8),),
    ),
    Mistake(
        "another offset",
        read(signed=lambda stored: stored - 3),
        "Eight codes around zero cannot be symmetric: these are −4 … 3. Yours begin somewhere else. Which number lifts the "
        "smallest to 0?",
        "A code q is stored as q + 4.",
        also=(read(signed=lambda stored: stored - 8), read(signed=lambda stored: 4 - stored)),
    ),
    Mistake(
        "two codes a byte",
        by_bytes(0, 3),
        "You take two codes from each byte, so three bytes give you six, and eight were stored. A byte has two bits left "
        "over after two codes (or you read nibbles, as for int4): whose are they?",
        "Dense: 8 codes are 3 bytes, and a code may straddle two of them.",
        also=(
            by_bytes(0, 4),
            by_bytes(0, 4, mask=15),
            by_bytes(0, 4, mask=15, offset=8),
            by_bytes(0, 3, 6),
            by_bytes(4, 0),
            by_bytes(3, 0),
        ),
    ),
    Mistake(
        "codes cut off at the end of a byte",
        cut_at_bytes,
        "Six of your eight codes are right. The third and the sixth begin in one byte and end in the next, and you read "
        "only the byte in which they begin. What if the three bytes were one number before you shift?",
        "Dense: codes 2 and 5 straddle two bytes.",
    ),
    Mistake(
        "shifted out of a byte",
        first_byte_only,
        "Whatever lies beyond the first byte is gone. `<< 8` in uint8 gives 0: the result keeps the dtype, and there is no "
        "room above bit 7. What must the bytes become before they are shifted up?",
        "Widen before you shift: 24 bits need an int32.",
    ),
    Mistake(
        "the mask forgotten",
        read(mask=-1),
        "After the shift, your code is lowest, but everything above it is still there. Which operation keeps three bits "
        "of a number?",
        "A code is three bits: 0 … 7 before the offset.",
        also=(read(mask=15), read(mask=3)),
    ),
    Mistake(
        "all first codes, then all second codes",
        read(across=True),
        "The codes are right and stand in the wrong places: the first of all triples come first, then the second of all. "
        "The codes of one triple are neighbours along K. Into which new axis do they belong before it is flattened?",
        "Round trip: three bytes are eight *neighbouring* columns.",
    ),
    Mistake(
        "subtracted in uint8",
        read(dtype=torch.uint8),
        "An unsigned byte has no −4: 0 − 4 is 252 there. Which dtype holds −4 … 3, and when must the number get it?",
        "Codes are signed again: int8, −4 … 3.",
    ),
    Mistake(
        "packed along N",
        lambda qweight: read()(qweight.T.contiguous()).T.contiguous(),
        "You took three *rows* for eight codes. The bytes of one output lie behind each other in its own row. Which axis "
        "is to grow from 3K/8 to K?",
        "Layout is a contract: packed along K.",
    ),
)
