"""05.2 decode_e4m3(codes) → float32: the value of each bit pattern."""

import torch

from qcourse.checks.draw import codes as drawn
from qcourse.checks.lab05 import floats
from qcourse.checks.lab05.decoding_mistakes import MISTAKES
from qcourse.checks.task import Property, Task


def expected(codes):
    """By the table of all numbers."""
    values = torch.cat((floats.E4M3, torch.tensor([torch.nan]).double()))
    return torch.cat((values, -values))[codes.long()].float()


def bytes_of(g, *groups):
    """Codes drawn from ranges (low, high), n each, in any order."""
    found = torch.cat([drawn(g, low, high, n, dtype=torch.uint8) for low, high, n in groups])
    return [(found[torch.randperm(len(found), generator=g)],)]


def every(g):
    """All 256."""
    return [(torch.randperm(256, generator=g).to(torch.uint8).view(16, 16),)]


DECODE_E4M3 = Task(
    id="05.2",
    function="decode_e4m3",
    title="And read",
    points=3,
    expected=expected,
    properties=(
        Property("positive numbers from 2⁻⁶ to 240", lambda g: bytes_of(g, (8, 0x37, 5), (0x38, 0x77, 5)), 2),
        Property("negative numbers", lambda g: bytes_of(g, (0x88, 0xB7, 5), (0xB8, 0xF7, 5))),
        Property("E = 0: subnormal", lambda g: bytes_of(g, (0, 0, 1), (1, 7, 5), (0x81, 0x87, 4))),
        Property("E = 15: 256 … 448, and NaN", lambda g: bytes_of(g, (0x78, 0x7E, 4), (0x7F, 0x7F, 1), (0xF8, 0xFF, 4))),
        Property("every byte there is", every),
    ),
    mistakes=MISTAKES,
    hint="Cut the byte first: one bit, four, three, with shifts and masks, as integers that may become negative. Then "
    "two cases: E = 0, and all others; and the one code that is not a number.",
    returns=("values",),
    words=("codes",),
)
