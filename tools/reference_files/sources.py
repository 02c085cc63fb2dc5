"""The packers of GPTQModel and AutoAWQ, imported from their source archives without the rest of the packages."""

import importlib
import re
import sys
import types
from pathlib import Path

SOURCES = Path("sources")


def bare(name: str, folder: Path):
    """A package whose __init__ is not run: its modules import each other, and nothing else is asked for."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return package


def gptqmodel():
    """(TorchLinear, QuantizeConfig, convert_gptq_v2_to_v1_format_module, version) of GPTQModel."""
    (root,) = SOURCES.glob("gptqmodel-*/gptqmodel")
    for name in ("", ".nn_modules", ".models"):
        bare("gptqmodel" + name, root / name.strip(".")).DEBUG_ON = False
    linear = importlib.import_module("gptqmodel.nn_modules.qlinear.torch").TorchLinear
    config = importlib.import_module("gptqmodel.quantization").QuantizeConfig
    convert = importlib.import_module("gptqmodel.utils.model").convert_gptq_v2_to_v1_format_module
    return linear, config, convert, re.search(r'"(.+)"', (root / "version.py").read_text())[1]


def autoawq():
    """(WQLinear_GEMM, dequantize_gemm, AwqConfig, version) of AutoAWQ."""
    (root,) = SOURCES.glob("autoawq-*/awq")
    for name in ("", ".modules", ".modules.linear", ".utils", ".models"):
        bare("awq" + name, root / name.strip(".").replace(".", "/"))
    linear = importlib.import_module("awq.modules.linear.gemm").WQLinear_GEMM
    unpack = importlib.import_module("awq.utils.packing_utils").dequantize_gemm
    config = importlib.import_module("awq.models._config").AwqConfig
    return linear, unpack, config, root.parent.name.split("-")[1]
