"""One upper scale for matrices that an engine multiplies as one: NVFP4's q, k, v and gate, up.

vLLM lays them behind each other and has one `weight_global_scale` for the whole; where a file brings several, it takes the
largest and the others lose some of E4M3's range. So whoever quantizes for an engine shares the number from the start.
"""

from collections.abc import Iterable

from qcourse.layers.linear import Linear
from qcourse.layers.quantized import Quantizer
from qcourse.numerics.quantize import TWO_LEVEL, quantize


def shared_peaks(groups: Iterable[tuple[Linear, ...]]) -> Quantizer:
    """A quantizer (W, args, name) → QTensor that gives the layers of a group (`model.fused()`) the peak of all of them.

        config = replace(get_quantization_config("NVFP4A16"), quantizer=shared_peaks(model.fused()))
        quantize_layers(model, config)

    The peaks are those of the weights now: make it after any transform. Formats without such a scale are left as they are.
    """
    peaks = {}
    for group in groups:
        peak = max(m.weight.detach().abs().max().item() for m in group)
        peaks |= {f"{m.prefix}.weight": peak for m in group}

    def quantizer(W, args, name="W"):
        return quantize(W, args, name, peak=peaks.get(name) if args.scaling in TWO_LEVEL else None)

    return quantizer
