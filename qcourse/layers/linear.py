"""The only linear layer of the course. It does not know its format, and that is the point (invariant 5)."""

import torch
from torch import nn

from qcourse.layers.memory import Memory
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.unquantized import UnquantizedLinearMethod


class Linear(nn.Module):
    """y = x @ W.T (+ bias) with W (N, K) = (output_size, input_size) stored however `quant_config` says."""

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        bias: bool = False,
        quant_config: QuantizationConfig | None = None,
        prefix: str = "",
        dtype: torch.dtype = torch.bfloat16,
    ):
        super().__init__()
        self.input_size, self.output_size, self.prefix = input_size, output_size, prefix
        self.quant_method = quant_config.get_quant_method(self, prefix) if quant_config else UnquantizedLinearMethod()
        self.quant_method.create_weights(self, input_size, [output_size], input_size, output_size, dtype)
        self.bias = nn.Parameter(torch.zeros(output_size, dtype=dtype)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., K) → (..., N); the whole of invariant 5 is in this line."""
        return self.quant_method.apply(self, x, None if self.bias is None else self.bias.to(x.dtype))

    def dequantized(self) -> torch.Tensor:
        """Ŵ (N, K) in fp32: what this layer multiplies by."""
        return self.quant_method.dequantized(self)

    def extra_repr(self) -> str:
        """Shown by `print(model)`: shape and the method's name."""
        return f"K={self.input_size}, N={self.output_size}, {type(self.quant_method).__name__}"


def quantize_layers(model: nn.Module, quant_config: QuantizationConfig, again: bool = False) -> nn.Module:
    """Hand a new method to every Linear of a model that still has its weights, in place, and let it process them.

    For models whose weights were transformed in memory (SmoothQuant, AWQ); `load_model` does the same from a file.
    again: layers that are quantized are dequantized first, one by one, so that never more than one is held in 16 bits.
    Raises ValueError, before anything is changed, for a layer that is already quantized or does not fit the format.
    """
    methods, memory = refuse_misfits(model, quant_config, again), Memory()
    for name, layer in model.linears().items():
        dequantize_layers(model, only=layer)
        install(layer, methods[name])
        memory.done_with(4 * layer.input_size * layer.output_size)
    return model


def refuse_misfits(model: nn.Module, quant_config: QuantizationConfig, again: bool = False) -> dict:
    """Each layer's method. Raises ValueError for a layer that is quantized already, one that does not fit its format, and a
    rule that matches none; nothing is changed."""
    layers = model.linears()
    done = [name for name, m in layers.items() if not isinstance(m.quant_method, UnquantizedLinearMethod)]
    if done and not again:
        raise ValueError(f"{done[0]} is already quantized; load the model again without quantization")
    methods = {name: quant_config.get_quant_method(m, name) for name, m in layers.items()}
    quant_config.refuse_unmatched(list(layers))
    with torch.device("meta"):  # a rehearsal without memory: whoever does not fit says so now
        for name, layer in layers.items():
            probe = nn.Module()
            probe.prefix = name
            create(methods[name], probe, layer, torch.bfloat16)
    return methods


def install(layer: Linear, method) -> None:
    """Hand a new method to a layer that still has its weight, and let it process that."""
    weight = layer.weight.data
    create(method, layer, layer, weight.dtype)
    layer.weight.data = weight
    layer.weight.requires_grad_(False)
    layer.quant_method = method
    del weight
    method.process_weights_after_loading(layer)


def dequantize_layers(model: nn.Module, dtype: torch.dtype = torch.bfloat16, only: Linear | None = None) -> nn.Module:
    """Every quantized Linear (or the `only` one) as the `dtype` weight that its codes stand for, in place: what another
    format starts from."""
    for layer in model.linears().values() if only is None else [only]:
        if isinstance(layer.quant_method, UnquantizedLinearMethod):
            continue
        weight = layer.dequantized().to(dtype)
        held = [*layer.named_buffers(recurse=False), *layer.named_parameters(recurse=False)]
        for name in [name for name, _ in held if name != "bias"]:
            delattr(layer, name)
        layer.__dict__.pop("product", None)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.quant_method = UnquantizedLinearMethod()
    return model


def create(method, target: nn.Module, layer: Linear, dtype: torch.dtype) -> None:
    """`method.create_weights` on `target`, for the sizes of `layer`."""
    method.create_weights(target, layer.input_size, [layer.output_size], layer.input_size, layer.output_size, dtype)
