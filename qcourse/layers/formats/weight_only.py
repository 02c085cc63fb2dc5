"""Weight-only quantization: 16-bit weights come in, packed codes and scales stay. Activations are never touched.

The checkpoint holds bf16; `process_weights_after_loading` quantizes it (round to nearest), drops the original, as vLLM's
online quantization does, and chooses the kernel. Helps memory and decode bandwidth, not the arithmetic (invariant 3).
"""

import torch
from torch import nn

from qcourse.gemm.choose import choose, repack
from qcourse.layers.formats.unquantized import UnquantizedLinearMethod
from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing.layouts import whole_words
from qcourse.packing.packed import PackedWeight, pack


class WeightOnlyLinearMethod(LinearMethodBase):
    """`qweight` (N, ceil(K·B/8)) uint8 rows, `scale` (N or 1, groups), `zero_point` or None.

    `layout` is the file's; every kernel of `gemm.choose` reads rows, so that is what is kept after loading.
    """

    def __init__(self, args: QuantizationArgs, layout: str = "row"):
        self.args, self.layout = args, layout

    def create_weights(self, layer: nn.Module, output_size: int, input_size: int, dtype: torch.dtype) -> None:
        """Register `weight` in 16 bits for loading. Raises ValueError, naming the layer, if G does not divide K."""
        try:
            self.args.granularity.blocks(torch.empty(1, input_size, device="meta"))
            if self.layout == "awq":
                whole_words("N", output_size, self.args.num_bits)
        except ValueError as e:
            raise ValueError(f"{layer.prefix}: {e}") from e
        layer.weight = nn.Parameter(torch.empty(output_size, input_size, dtype=dtype))

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """bf16 weight → buffers `qweight`, `scale`, `zero_point`; the 16-bit weight is gone afterwards.

        A foreign layout is repacked here, once: a permutation of the codes, exact.
        """
        packed = repack(pack(quantize(layer.weight.data, self.args, f"{layer.prefix}.weight"), self.layout), "row")
        del layer.weight
        layer.kernel = choose(packed)
        layer.register_buffer("qweight", packed.data)
        layer.register_buffer("scale", packed.scale)
        layer.register_buffer("zero_point", packed.zero_point)

    def packed(self, layer: nn.Module) -> PackedWeight:
        """The layer's buffers as the record that a kernel takes."""
        shape = (layer.output_size, layer.input_size)
        return PackedWeight(layer.qweight, layer.scale, layer.zero_point, shape, self.args)

    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ dequantize(qweight).T + bias, by the kernel that was chosen at loading."""
        return layer.kernel(x, self.packed(layer), bias)


class WeightOnlyConfig(QuantizationConfig):
    """Base of the weight-only formats: one `QuantizationArgs` for every layer that is not ignored."""

    def __init__(self, args: QuantizationArgs, ignore: tuple[str, ...] = ("lm_head",), layout: str = "row"):
        self.args, self.ignore, self.layout = args, tuple(ignore), layout

    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """Quantized, or unquantized for a layer in `ignore`."""
        return UnquantizedLinearMethod() if self.is_ignored(prefix) else WeightOnlyLinearMethod(self.args, self.layout)


def take(config: dict, **defaults):
    """Read known keys of a `quantization_config` dict, with defaults. Raises ValueError for an unknown key."""
    unknown = sorted(config.keys() - defaults.keys())
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} in quantization_config: one of {', '.join(defaults)}")
    return [config.get(key, default) for key, default in defaults.items()]
