"""The contract out of plain functions: an engine's questions, each handed on to a function. Lab 09 has them written.

    get_quant_method                  scheme(prefix, rules, packed_modules_mapping) → a scheme's name, or None
    create_weights                    slots(N, K, group_size) → {name: (shape, dtype)}
    process_weights_after_loading     unpack(qweight) → codes (N, K), int8
    apply                             apply(x (M, K), codes, scale, bias) → y (M, N)

    register_quantization_config("my-int3")(config_class(Functions(slots, unpack, apply, scheme)))

Simpler than a real format in one thing: the codes stay unpacked, a byte each, so memory holds 8 + 16/G bits a weight
whatever the file holds; `layers.int3` repacks them for a kernel instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from qcourse.checkpoints.keys import Keys
from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.layers.unquantized import UnquantizedLinearMethod

SCHEME = "INT3"


@dataclass(frozen=True)
class Functions:
    """A format's answers, as above: tensors (or NumPy arrays), numbers and text, no layers."""

    slots: Callable
    unpack: Callable
    apply: Callable
    scheme: Callable


class FunctionsLinearMethod(LinearMethodBase):
    """A layer whose tensors are `qweight` and `scale`, looked after by `functions`."""

    def __init__(self, functions: Functions, group_size: int):
        self.functions, self.group_size = functions, group_size

    def create_weights(
        self, layer, input_size_per_partition, output_partition_sizes, input_size, output_size, params_dtype, **extra
    ) -> None:
        """Register what `slots` names; N is axis 0 and K axis 1 of each. Raises ValueError, naming the layer, for what does
        not fit."""
        try:
            slots = self.functions.slots(sum(output_partition_sizes), input_size_per_partition, self.group_size)
        except ValueError as e:
            raise ValueError(f"{layer.prefix}: {e}") from e
        for name, (shape, dtype) in slots.items():
            parameter = nn.Parameter(torch.empty(tuple(shape), dtype=getattr(torch, dtype)), requires_grad=False)
            for key, value in {"output_dim": 0, "input_dim": 1, **extra}.items():
                setattr(parameter, key, value)
            layer.register_parameter(name, parameter)

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """→ buffers `codes` and `scale`; what was loaded is gone."""
        codes, scale = torch.as_tensor(self.functions.unpack(layer.qweight.data)), layer.scale.data
        del layer.qweight, layer.scale
        layer.register_buffer("codes", codes)
        layer.register_buffer("scale", scale)

    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """x (..., K) → y (..., N), as a matrix of tokens."""
        y = torch.as_tensor(self.functions.apply(x.reshape(-1, x.shape[-1]), layer.codes, layer.scale, bias))
        return y.to(x.dtype).reshape(*x.shape[:-1], -1)


class FunctionsConfig(QuantizationConfig):
    """Rules [[pattern, "INT3" or None], …] of a config.json; what they mean is asked of `functions.scheme`."""

    functions: ClassVar[Functions]

    def __init__(self, group_size: int, rules: list[tuple[str, str | None]]):
        self.group_size, self.rules = group_size, rules

    @classmethod
    def from_config(cls, config: dict) -> "FunctionsConfig":
        """Raises CheckpointError for a key that is missing, unknown, or of another type."""
        keys = Keys(config, "quantization_config")
        keys.take("quant_method", kind=str)
        found = cls(keys.take("group_size", kind=int), [tuple(rule) for rule in keys.take("rules", kind=list)])
        keys.done()
        return found

    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """Raises ValueError for a scheme that is not this format's, and what `scheme` raises."""
        scheme = self.functions.scheme(prefix, self.rules, self.packed_modules_mapping)
        if scheme is None:
            return UnquantizedLinearMethod()
        if scheme != SCHEME:
            raise ValueError(f"{prefix}: scheme {scheme!r}: {SCHEME!r} or None expected")
        return FunctionsLinearMethod(self.functions, self.group_size)


def config_class(functions: Functions) -> type[FunctionsConfig]:
    """A config that asks these functions, to be registered under a name."""
    return type("FunctionsConfig", (FunctionsConfig,), {"functions": functions})
