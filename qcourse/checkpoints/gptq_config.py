"""A scheme → GPTQ's and AWQ's words: the way out, where `gptq` and `awq` are the way in. Sources: AutoGPTQ and GPTQModel 7,
AutoAWQ, and the form that transformers has of them."""

from qcourse.checkpoints.writer import MADE_BY
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.schemes import QuantizationArgs, QuantizationScheme, is_float

GPTQ_BITS = (2, 3, 4, 8)


def integers(scheme: QuantizationScheme, name: str, legal: tuple[int, ...]) -> QuantizationArgs:
    """The weights' args. Raises ValueError unless they are integers of these bits, by row or group, and nothing else."""
    w = scheme.weights
    if scheme.input_activations is not None:
        raise ValueError(f"{name} has no words for quantized activations")
    plain = (
        isinstance(w.grid, IntGrid) and is_float(w.scale) and (w.zero is None or w.zero == w.grid) and w.zero_in == "steps"
    )
    if not plain or w.num_bits not in legal or w.granularity.rows != 1:
        raise ValueError(
            f"{name} holds integers of {', '.join(map(str, legal))} bits by group or row; not {w.grid}, {w.granularity}"
        )
    return w


def exceptions(ignore: tuple[str, ...]) -> dict:
    """GPTQModel's words for layers that stay in 16 bits."""
    names = [n for n in ignore if n != "lm_head"]
    return {"dynamic": {f"-:{n.removeprefix('re:')}": {} for n in names}} if names else {}


def gptq_config(scheme: QuantizationScheme, ignore: tuple[str, ...], name: str) -> dict:
    """AutoGPTQ's words. name: gptq, or gptq_v2."""
    w = integers(scheme, name, GPTQ_BITS)
    found = {"quant_method": "gptq", "bits": w.num_bits, "group_size": w.group_size or -1, "desc_act": False,
             "sym": w.zero is None, "lm_head": False, "checkpoint_format": name, "format": name, "pack_dtype": "int32",
             "meta": {"quantizer": [MADE_BY]}}  # fmt: skip
    return found | exceptions(ignore)


def awq_config(scheme: QuantizationScheme, ignore: tuple[str, ...]) -> dict:
    """AutoAWQ's words, as transformers has them."""
    w = integers(scheme, "awq", (4,))
    left = [n for n in ignore if n != "lm_head"]
    return {"quant_method": "awq", "bits": 4, "group_size": w.group_size or -1, "zero_point": True, "version": "gemm",
            "modules_to_not_convert": left or None}  # fmt: skip
