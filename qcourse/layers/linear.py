"""The only linear layer of the course. It does not know its format, and that is the point (invariant 5)."""

import torch
from torch import nn

from qcourse.layers.formats.unquantized import UnquantizedLinearMethod
from qcourse.layers.method import QuantizationConfig


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
        self.quant_method.create_weights(self, output_size, input_size, dtype)
        self.bias = nn.Parameter(torch.zeros(output_size, dtype=dtype)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., K) → (..., N); the whole of invariant 5 is in this line."""
        return self.quant_method.apply(self, x, None if self.bias is None else self.bias.to(x.dtype))

    def extra_repr(self) -> str:
        """Shown by `print(model)`: shape and the method's name."""
        return f"K={self.input_size}, N={self.output_size}, {type(self.quant_method).__name__}"
