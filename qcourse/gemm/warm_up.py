"""Compile the CPU kernels before the first lesson, so that no cell of a notebook has to wait for a compiler."""

import torch

from qcourse.gemm.choose import choose, home
from qcourse.gemm.convert import compiled
from qcourse.gemm.convert_quantize import quantize_packed
from qcourse.gemm.cpu import blocked, int_dot
from qcourse.gemm.half import half_matmul
from qcourse.gemm.jit import loop
from qcourse.gemm.operand import Operand, takes, takes_blocks
from qcourse.gemm.step import attend, norm, swiglu
from qcourse.numerics.granularity import per_channel, per_group, per_tensor
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, QuantizationScheme, int_weight
from qcourse.packing.packed import holders, pack

Q8_0 = int_weight(8, per_group(32)).with_(scale=torch.float16)  # GGUF's, in which embeddings lie
Q4_1 = QuantizationArgs(IntGrid(4, signed=False), per_group(32), "minmax", torch.float16, torch.float16, "weights")
MORE = [int_weight(4, per_channel, False), int_weight(8, per_channel, False), int_weight(4, per_tensor), Q8_0, Q4_1]
MORE += [int_weight(4, per_group(G), sym) for G in (16, 32, 64, 128) for sym in (True, False)]


def warm_up() -> None:
    """Compile (or load from the cache) every loop for the formats and dtypes of the course: seconds, once a machine."""
    schemes = [*PRESETS.values(), *(QuantizationScheme(args) for args in MORE)]
    for scheme in (s for s in schemes if takes(s.weights)):
        o, a = Operand.of(pack(quantize(torch.zeros(2, 256), scheme.weights))), scheme.input_activations
        for dtype in (torch.float32, torch.bfloat16):
            for M in (1, 2, 5):
                int_dot(torch.zeros(M, 256, dtype=dtype), o, block=a.group_size if takes_blocks(a) else None)
            blocked(torch.zeros(1, 256, dtype=dtype), o)
    W = torch.linspace(-1, 1, 32 * 256).view(32, 256)
    for args, activations in ((s.weights, s.input_activations) for s in PRESETS.values()):
        p = quantize_packed(W, args, home(args, activations, W.shape, "cpu", holders(args, *W.shape)[0]))
        if (found := compiled(p)) is not None:
            found.loop.ready()
    for name in ("W8A8", "FP8_DYNAMIC"):
        p = pack(quantize(torch.zeros(2, 256), PRESETS[name].weights), "plain")
        for dtype in (torch.float32, torch.bfloat16):
            for M in (1, 99):
                choose(p, PRESETS[name].input_activations)(torch.zeros(M, 256, dtype=dtype))
    loop("kv_loops", "attend").ready()
    for dtype in (torch.float32, torch.bfloat16):  # of x; weights of a 16-bit model, and norms that were widened
        x, one, room = (torch.zeros(shape, dtype=dtype) for shape in ((1, 8), (1, 1, 1, 8), (1, 1, 2, 8)))
        half_matmul(x, torch.zeros(2, 8, dtype=torch.bfloat16))
        for weight in (torch.float32, torch.bfloat16):
            norm(x, torch.ones(8, dtype=weight), 1e-5)
        swiglu(x, x)
        attend(one, one, one, x, x, room, room.clone(), 0)
