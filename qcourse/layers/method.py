"""What a quantization format promises the model: vLLM's contract, in vLLM's words.

The model owns a `Linear` and calls `quant_method.apply(layer, x)`. Everything else (which tensors exist,
how they are packed, which kernel runs) is the method's business, so a new format never touches the model.
Signatures of `QuantizeMethodBase` / `LinearMethodBase` / `QuantizationConfig` of vLLM 0.32
(`model_executor/layers/quantization/base_config.py`, `layers/linear.py`).
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from qcourse.layers.kv_method import KVCacheMethod
from qcourse.numerics.kv import KVCacheArgs


class LinearMethodBase(ABC):
    """How one format stores a weight and multiplies by it. Life of a layer: create → load → process → apply."""

    @abstractmethod
    def create_weights(
        self,
        layer: nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        input_size: int,
        output_size: int,
        params_dtype: torch.dtype,
        **extra_weight_attrs,
    ) -> None:
        """Register on `layer` the tensors that the checkpoint will fill, for this partition of W (output_size, input_size):
        K = input_size_per_partition, N = the sum of output_partition_sizes (several where q, k, v are one layer)."""

    def process_weights_after_loading(self, layer: nn.Module) -> None:  # noqa: B027
        """Once, after loading: quantize or repack into what the kernel reads. The kernel is chosen here."""

    @abstractmethod
    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ W.T + bias, for x (..., K) → y (..., N) in x's dtype."""

    def embedding(self, layer: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """Rows of W for ids (...) → (..., K); a format that has nothing quicker decodes all of W."""
        return F.embedding(ids, self.dequantized(layer))

    def dequantized(self, layer: nn.Module) -> torch.Tensor:
        """Ŵ (N, K) in fp32: what the layer multiplies by; without anything quicker, its answer to each unit vector."""
        bias, K = getattr(layer, "bias", None), getattr(layer, "input_size_per_partition", layer.input_size)
        device = next((t.device for t in (*layer.parameters(), *layer.buffers()) if t is not bias), None)
        return self.apply(layer, torch.eye(K, device=device)).T.contiguous()


class QuantizationConfig(ABC):
    """A format's settings, parsed from a checkpoint's `quantization_config`; hands each layer its method.

    kv_cache: the recipe of the KV cache; None: it is not quantized.
    packed_modules_mapping: layers that an engine makes of several of a file's, in the file's names. (vLLM's models fill it.)
    """

    kv_cache: KVCacheArgs | None = None
    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }

    def get_name(self) -> str:
        """The `quant_method` of its files."""
        return type(self).__name__

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        """The dtypes of x that its methods take."""
        return [torch.bfloat16, torch.float16, torch.float32]

    @classmethod
    def get_min_capability(cls) -> int:
        """The least compute capability of a CUDA device, times ten (80: Ampere); 0: any device."""
        return 0

    @staticmethod
    def get_config_filenames() -> list[str]:
        """Files other than config.json that may hold its settings."""
        return []

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict) -> "QuantizationConfig":
        """Parse the JSON dict. Raises ValueError naming the key and what is legal."""

    @abstractmethod
    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """The method for the layer called `prefix` (e.g. "model.layers.0.mlp.down_proj")."""

    def parts(self, prefix: str) -> list[str]:
        """The file's names of a layer: its own, or those of the layers that it is made of."""
        above, dot, last = prefix.rpartition(".")
        return [f"{above}{dot}{part}" for part in self.packed_modules_mapping.get(last, [last])]

    def refuse_unmatched(self, names: list[str]) -> None:  # noqa: B027
        """Raise ValueError for a setting that none of the model's layers `names` is meant by; nothing to refuse here."""

    def get_embedding_method(self, prefix: str) -> LinearMethodBase | None:
        """The method for an embedding of that name; None: it stays in 16 or 32 bits, as in most formats."""
        return None

    def get_kv_cache_method(self, prefix: str) -> KVCacheMethod | None:
        """The method for the scales of an attention layer of that name; None: a file has none."""
        return None
