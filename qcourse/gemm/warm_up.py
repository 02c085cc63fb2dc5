"""Compile the CPU kernels before the first lesson, so that no cell of a notebook has to wait for a compiler."""

import torch

from qcourse.gemm.cpu import blocked, int8_dots, int_dot
from qcourse.numerics.granularity import per_group
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.packed import pack


def warm_up() -> None:
    """Compile (or load from the cache) every loop for the dtypes that models bring: a few seconds, once a machine."""
    for x in (torch.zeros(1, 256), torch.zeros(4, 256, dtype=torch.bfloat16)):
        for bits, group in ((4, 128), (4, 64), (4, 32), (4, 16), (8, 128)):
            args = QuantizationArgs(IntGrid(bits), per_group(group))
            for scale_dtype in (torch.bfloat16, torch.float32):
                p = pack(quantize(torch.zeros(2, 256), args.with_(scale_dtype=scale_dtype)))
                for tokens in (x, x[:1], x[:1].expand(5, -1)):
                    int_dot(tokens, p)
                    blocked(tokens, p)
    int8_dots(torch.zeros(2, 256, dtype=torch.int8), torch.zeros(2, 256, dtype=torch.int8))
