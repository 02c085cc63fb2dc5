"""qcourse: LLM quantization, small enough to read to the end.

The names a student types first. They are loaded on first use: `import qcourse` itself imports nothing heavy.
"""

from importlib import import_module

NAMES = {
    "quantize": "qcourse.numerics.quantize",
    "dequantize": "qcourse.numerics.quantize",
    "fake_quantize": "qcourse.numerics.quantize",
    "PRESETS": "qcourse.numerics.schemes",
    "QTensor": "qcourse.numerics.qtensor",
    "pack": "qcourse.packing.packed",
    "unpack": "qcourse.packing.packed",
    "reference": "qcourse.gemm.reference",
    "LAYOUTS": "qcourse.packing.packed",
    "load_model": "qcourse.models.loader",
    "load_tokenizer": "qcourse.models.loader",
    "generate": "qcourse.models.generate",
    "perplexity": "qcourse.study.perplexity",
    "check": "qcourse.checks",
    "hint": "qcourse.checks",
    "solution": "qcourse.checks",
    "when_done": "qcourse.checks",
}
__all__ = list(NAMES)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in NAMES:
        raise AttributeError(f"qcourse has no {name!r}; it has {', '.join(NAMES)}")
    return getattr(import_module(NAMES[name]), name)


def __dir__():
    return sorted([*NAMES, "__version__"])
