"""Where the kernel for few tokens stops being the faster one, measured on this machine: what `gemm.choose` decides by."""

from collections.abc import Callable

import torch

from qcourse.gemm.cpu import blocked, int8_dots, int_dot
from qcourse.gemm.crossover import CROSSOVER
from qcourse.gemm.operand import Operand
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import pack
from qcourse.study.roofline import interleaved

TOKENS = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def last_win(few: Callable[[int], object], many: Callable[[int], object], repeats: int = 5) -> int:
    """The largest of TOKENS up to which few(M) beats many(M), best of several, timed in turns; 1 if it never does."""
    won = 1
    for M in TOKENS:
        t = interleaved({"few": lambda i, M=M: few(M), "many": lambda i, M=M: many(M)}, repeats, 1)
        if t["few"].best > t["many"].best:
            return won
        won = M
    return won


def measure_crossover(N: int = 4096, K: int = 4096) -> dict[str, int]:
    """name → M for every entry of `gemm.crossover.CROSSOVER`, on a random weight (N, K). Takes some seconds.

    Keep it with `gemm.crossover.set_crossover(measure_crossover())`.
    """
    W, found = torch.randn(N, K), {}
    x = {"fp32": torch.randn(max(TOKENS), K), "16-bit": torch.randn(max(TOKENS), K).bfloat16()}
    for bits, preset in ((4, "W4A16"), (8, "W8A16")):
        p = Operand.of(pack(quantize(W, PRESETS[preset].weights)))
        for dtype in x:
            few, many = (lambda M, call=call, t=x[dtype], p=p: call(t[:M], p) for call in (int_dot, blocked))
            found[f"int{bits} {dtype}"] = last_win(few, many)
            found[f"int{bits} × int8 {dtype}"] = last_win(lambda M, t=x[dtype], p=p: int_dot(t[:M], p, block=128), many)
    codes = torch.randint(-127, 128, (N, K), dtype=torch.int8)
    a = codes[: max(TOKENS)]
    found["w8a8"] = last_win(lambda M: int8_dots(a[:M], codes), lambda M: torch._int_mm(a[:M], codes.T))
    assert found.keys() == CROSSOVER.keys()
    return found
