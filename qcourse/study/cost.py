"""Honest bytes: measured from storage and files, never from a formula alone. The baseline is bf16."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from qcourse.layers.linear import Linear


@dataclass(frozen=True)
class ModelBytes:
    """Bytes of the Linear layers (`linear`) and of what stays in 16 bits (`other`); `weights` is N·K summed."""

    linear: int
    other: int
    weights: int

    @property
    def total(self) -> int:
        """Bytes resident for the whole model."""
        return self.linear + self.other

    @property
    def bits_per_weight(self) -> float:
        """Bits each weight of a Linear takes, scales and zero points included."""
        return 8 * self.linear / self.weights


def storage_bytes(module: nn.Module) -> int:
    """Bytes of the distinct storages behind a module's parameters and buffers: what they occupy, not what they say."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def model_bytes(model: nn.Module) -> ModelBytes:
    """Measure a loaded model, quantized or not."""
    layers = [m for m in model.modules() if isinstance(m, Linear)]
    linear = sum(storage_bytes(layer) for layer in layers)
    weights = sum(layer.input_size * layer.output_size for layer in layers)
    return ModelBytes(linear, storage_bytes(model) - linear, weights)


def file_bytes(folder: Path) -> int:
    """Bytes of the safetensors files of a model folder on disk."""
    return sum(f.stat().st_size for f in Path(folder).glob("model*.safetensors"))


def decode_seconds(weight_bytes: float, bytes_per_second: float) -> float:
    """The floor of one decode step: every weight byte is read once. Latency hides; bandwidth does not.

    >>> decode_seconds(14e9, 3.35e12) * 1000  # a 7B model in bf16 on an H100: ms a token
    4.17910447761194
    """
    return weight_bytes / bytes_per_second
