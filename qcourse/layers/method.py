"""What a quantization format promises the model: vLLM's contract, in vLLM's words.

The model owns a `Linear` and calls `quant_method.apply(layer, x)`. Everything else (which tensors exist,
how they are packed, which kernel runs) is the method's business, so a new format never touches the model.
Modelled on `QuantizeMethodBase` / `LinearMethodBase` / `QuantizationConfig` of vLLM 0.32
(`model_executor/layers/quantization/base_config.py`, `layers/linear.py`); sharding arguments are left out.
"""

from abc import ABC, abstractmethod

import torch
from torch import nn


class LinearMethodBase(ABC):
    """How one format stores a weight and multiplies by it. Life of a layer: create → load → process → apply."""

    @abstractmethod
    def create_weights(self, layer: nn.Module, output_size: int, input_size: int, dtype: torch.dtype) -> None:
        """Register on `layer` the tensors that the checkpoint will fill: W (N, K) = (output_size, input_size)."""

    def process_weights_after_loading(self, layer: nn.Module) -> None:  # noqa: B027
        """Once, after loading: quantize or repack into what the kernel reads. The kernel is chosen here."""

    @abstractmethod
    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ W.T + bias, for x (..., K) → y (..., N) in x's dtype."""


class QuantizationConfig(ABC):
    """A format's settings, parsed from a checkpoint's `quantization_config`; hands each layer its method."""

    name: str
    ignore: tuple[str, ...] = ("lm_head",)

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict) -> "QuantizationConfig":
        """Parse the JSON dict. Raises ValueError naming the key and what is legal."""

    @abstractmethod
    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """The method for the layer called `prefix` (e.g. "model.layers.0.mlp.down_proj")."""

    def is_ignored(self, prefix: str) -> bool:
        """True for layers that stay in 16 bits: the last component or the whole prefix is in `ignore`."""
        return prefix in self.ignore or prefix.rsplit(".", 1)[-1] in self.ignore
