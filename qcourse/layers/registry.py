"""Every format that the engine can serve. Adding one is one file in `formats/` and one line here."""

from qcourse.layers.formats.awq import AWQConfig
from qcourse.layers.formats.fp8 import Fp8Config
from qcourse.layers.formats.int8 import Int8Config
from qcourse.layers.formats.unquantized import UnquantizedConfig
from qcourse.layers.formats.w4a16 import W4A16Config
from qcourse.layers.method import QuantizationConfig

FORMATS: dict[str, type[QuantizationConfig]] = {
    "unquantized": UnquantizedConfig,
    "int8": Int8Config,
    "fp8": Fp8Config,
    "w4a16": W4A16Config,
    "awq": AWQConfig,
}


def get_quantization_config(spec: str | dict) -> QuantizationConfig:
    """A name ("int8") or a checkpoint's dict ({"quant_method": "w4a16", "group_size": 64}) → its config.

    Raises ValueError for a name that is not in FORMATS, listing those that are.
    """
    config = {"quant_method": spec} if isinstance(spec, str) else dict(spec)
    name = config.pop("quant_method", None)
    if name not in FORMATS:
        raise ValueError(f"unknown quantization format {name!r}: one of {', '.join(FORMATS)}")
    return FORMATS[name].from_config(config)
