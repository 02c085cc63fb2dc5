"""Formats that bring their own class: `quant_method` of a file → the QuantizationConfig that reads it.

A vendor's format is a class in a file of its own and one line here, or a decorator wherever the class stands (a notebook):

    @register_quantization_config("my-format")
    class MyConfig(QuantizationConfig): ...

    load_model("FOLDER")    # its config.json says {"quantization_config": {"quant_method": "my-format", …}}

The decorator has vLLM's name and, as there, the last one wins: a cell can be run again, and a built-in dialect replaced.
"""

from collections.abc import Callable, Mapping

from torch import nn

from qcourse.checkpoints import dialects
from qcourse.checkpoints.errors import CheckpointError
from qcourse.layers.config import RulesConfig
from qcourse.layers.int3 import Int3Config
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.packing.layout import Slot

QUANTIZATION_CONFIGS: dict[str, type[QuantizationConfig]] = {Int3Config.name: Int3Config}


def register_quantization_config(quantization: str) -> Callable[[type], type]:
    """A decorator that makes a class the reader of files whose `quant_method` is `quantization`.

    Raises TypeError unless the class is a QuantizationConfig, ValueError for a name that is no text.
    """
    if not isinstance(quantization, str) or not quantization:
        raise ValueError(
            f"register_quantization_config({quantization!r}): the quant_method of a config.json expected, as text"
        )

    def register(config_class: type) -> type:
        if not (isinstance(config_class, type) and issubclass(config_class, QuantizationConfig)):
            raise TypeError(f"{config_class!r} is not a subclass of qcourse.layers.method.QuantizationConfig")
        QUANTIZATION_CONFIGS[quantization] = config_class
        return config_class

    return register


def quantization_of(found: tuple[dict, str], weights: Mapping) -> QuantizationConfig:
    """What `dialects.find` found, as the class that is registered for it reads it, else as a dialect's rules.

    Raises CheckpointError for a method that neither knows, and for what the class refuses or misses.
    """
    config, where = found
    method = config.get("quant_method") if isinstance(config, dict) else None
    if not isinstance(method, str) or method not in QUANTIZATION_CONFIGS:
        rules = dialects.rules(found, weights)
        return RulesConfig(rules, quantizer=None, kv_cache=dialects.kv_cache(found), kv_scales=True)
    try:
        return QUANTIZATION_CONFIGS[method].from_config(config)
    except KeyError as e:
        raise CheckpointError(f"{where}: {e} is missing") from e
    except ValueError as e:
        raise CheckpointError(f"{where}: {e}") from e


def declared(module: nn.Module, leaf: str) -> Slot | None:
    """What a file's tensor has to be: its slot in the layout; of a registered class, exactly what `create_weights` declared.
    None: any 16- or 32-bit float of the parameter's shape."""
    method, param = getattr(module, "quant_method", None), module._parameters[leaf]
    if leaf == "bias" or method is None or isinstance(method, (UnquantizedLinearMethod, QuantizedLinearMethod)):
        return getattr(module, "slots", {}).get(leaf)
    return Slot(tuple(param.shape), (param.dtype,))
