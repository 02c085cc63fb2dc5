"""How codes are chosen once the recipe is fixed: every quantizer by its name, all with one signature.

    quantizer(W (N, K), args, stats, name) → QTensor         stats: what the layer's input looks like, or None

Transforms (smoothquant, awq, rotation) come before: they make W easier to quantize and leave the model's function alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

from qcourse.methods.autoround import autoround
from qcourse.methods.calibration import InputStats
from qcourse.methods.gptq import gptq
from qcourse.methods.hqq import hqq
from qcourse.methods.imatrix import imatrix
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import quantize
from qcourse.shapes import Float, Tensor


@dataclass(frozen=True)
class Quantizer:
    """`run` chooses the codes · data: whether it looks at the layer's input · hessian: at all pairs of its channels, too ·
    shares: whether it takes `peak`, the loudest weight of all layers that share NVFP4's upper scale."""

    run: Callable[..., QTensor]
    data: bool = False
    hessian: bool = False
    shares: bool = False


def rtn(
    W: Float[Tensor, "N K"],
    args: QuantizationArgs,
    stats: InputStats | None = None,
    name: str = "W",
    *,
    peak: float | None = None,
) -> QTensor:
    """Round to nearest: the baseline of all others."""
    return quantize(W, args, name, peak=peak)


QUANTIZERS = {
    "rtn": Quantizer(rtn, shares=True),
    "hqq": Quantizer(hqq),
    "imatrix": Quantizer(imatrix, data=True),
    "autoround": Quantizer(autoround, data=True, hessian=True),
    "gptq": Quantizer(gptq, data=True, hessian=True, shares=True),
}
