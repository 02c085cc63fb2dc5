"""One upper scale for matrices that an engine multiplies as one: NVFP4's q, k, v and gate, up.

vLLM lays them behind each other and has one `weight_global_scale` for the whole; where a file brings several, it takes the
largest and the others lose some of E4M3's range. So whoever quantizes for an engine shares the number from the start.
"""

from collections.abc import Iterable

from qcourse.layers.linear import Linear
from qcourse.layers.quantized import Quantizer
from qcourse.numerics.quantize import TWO_LEVEL, quantize


def peaks_of(groups: Iterable[tuple[Linear, ...]]) -> dict[str, float]:
    """Layer → max|w| over its group, for groups of several."""
    found = {}
    for group in (g for g in groups if len(g) > 1):
        found |= dict.fromkeys([m.prefix for m in group], max(m.weight.detach().abs().max().item() for m in group))
    return found


def shared_peaks(groups: Iterable[tuple[Linear, ...]]) -> Quantizer:
    """A quantizer (W, args, name) → QTensor that gives the layers of a group (`model.fused()`) the peak of all of them.

        config = replace(get_quantization_config("NVFP4A16"), quantizer=shared_peaks(model.fused()))
        quantize_layers(model, config)

    The peaks are those of the weights now: make it after any transform. Formats without such a scale are left as they are.
    """
    peaks = {f"{layer}.weight": peak for layer, peak in peaks_of(groups).items()}

    def quantizer(W, args, name="W"):
        return quantize(W, args, name, peak=peaks.get(name) if args.scaling in TWO_LEVEL else None)

    return quantizer
