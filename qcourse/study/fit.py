"""What does not fit a model is said before any work: an unknown format, a group size that does not divide a layer's K."""

import math
from dataclasses import replace
from pathlib import Path

import torch

from qcourse.layers.config import get_quantization_config, regrouped
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import open_checkpoint
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.study.families import AS_IS, DEFAULT, family


def build(config: LlamaConfig, spec: QuantizationScheme) -> None:
    """Shapes only, in milliseconds: raises ValueError naming a layer that does not fit the format."""
    with torch.device("meta"):
        LlamaForCausalLM(config, get_quantization_config(spec))


def nearest_group(config: LlamaConfig, spec: QuantizationScheme) -> int | None:
    """The group size nearest to 128 that every layer of a model takes (powers of two first), or None."""
    q = config.num_attention_heads * config.head_dim
    common = math.gcd(config.hidden_size, q, config.intermediate_size)
    sizes = [g for g in range(1, common + 1) if common % g == 0]
    for size in sorted(sizes, key=lambda g: (g & (g - 1) != 0 or g < 8, abs(math.log2(g / 128)))):
        try:
            build(config, regrouped(spec, size))
        except (ValueError, TypeError):
            continue
        return size
    return None


def legal_group(source: Path) -> int | None:
    """None where groups of 128, the default formats', fit a model; else the group size nearest to it that does."""
    config, scheme = open_checkpoint(source).config, family(DEFAULT[-1]).scheme
    try:
        return build(config, scheme)
    except ValueError:
        return nearest_group(config, scheme)


def check_before_work(
    source: Path, formats: list[str], device: str, group_size: int | None = None, dequantize: bool = False
) -> dict[str, str]:
    """The formats that do not fit a layer of this model, each with the reason and the nearest group size that fits.

    Raises ValueError for no or an unknown format, one for weights that are quantized already, a missing device, and when
    none of the formats fits.
    """
    families = {name: family(name, group_size) for name in formats}
    if not formats:
        raise ValueError(f"no format named: {', '.join(DEFAULT)}, or any scheme of PRESETS, with +smoothquant or +awq")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device here")
    checkpoint, skipped = open_checkpoint(source), {}
    quantized = checkpoint.quantization is not None
    mixed = not dequantize and ((AS_IS in formats) != quantized or AS_IS in formats and len(formats) > 1)
    if mixed or AS_IS in formats and not quantized:
        raise ValueError(
            f"{source}: the weights are quantized already: measure them with --formats {AS_IS}, alone, or with --dequantize"
            if quantized
            else f"{source} holds 16-bit weights: {AS_IS!r} is for sources that are quantized already; use bf16"
        )
    for name, wanted in families.items():
        if wanted.scheme is not None:
            try:
                build(checkpoint.config, replace(wanted.scheme, input_activations=None))
            except ValueError as e:
                size = nearest_group(checkpoint.config, wanted.scheme)
                skipped[name] = f"{e}" if size is None else f"{e}; the nearest that fits every layer is group_size={size}"
    if len(skipped) == len(families):
        raise ValueError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    return skipped
