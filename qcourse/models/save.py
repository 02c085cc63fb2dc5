"""A model → a folder that others read."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from qcourse.checkpoints.compressed_tensors_config import cache_config
from qcourse.layers.kv_method import SCALES, as_stored
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.models.llama import LlamaForCausalLM
from qcourse.numerics.kv import name_of


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config.json and model.safetensors (bf16), readable by `LlamaForCausalLM` of transformers, with the static scales
    of its KV cache as compressed-tensors has them. Raises ValueError for a model with quantized layers, one that is rotated
    online, and a cache that a file has no words for."""
    tensors, quantization = tensors_of(model) | scales_of(model), {}
    if model.kv_cache is not None:
        quantization = {"quantization_config": cache_config(model.kv_cache)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_of(model) | quantization, indent=2) + "\n")
    save_file(tensors, folder / "model.safetensors.part", metadata={"format": "pt"})
    (folder / "model.safetensors.part").replace(folder / "model.safetensors")


def config_of(model: LlamaForCausalLM) -> dict:
    """The config.json of a model that lives in memory."""
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
    end = model.config.vocab_size - 1  # `<|endoftext|>` ends a text and begins the next
    config |= {"hidden_act": "silu", "bos_token_id": end, "eos_token_id": end}
    return config | {k: v for k, v in asdict(model.config).items() if k != "output_bias"}  # attention_bias means both there


def scales_of(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    """k_scale and v_scale of every attention layer, as `layers.kv_method` reads them. Raises ValueError where they are
    missing, and for a cache that finds its scales as it goes: that is said when it is used, not in a file."""
    if model.kv_cache is None:
        return {}
    if not model.kv_cache.static:
        raise ValueError(
            f"model.kv_cache is {name_of(model.kv_cache)}, which a folder cannot say (there is nothing to store): "
            "model.kv_cache = None, then save, and name it again where it is used"
        )
    found = {}
    for prefix, layer in model.attentions().items():
        for name in SCALES:
            scale = getattr(layer, name)
            if scale is None:
                raise ValueError(
                    f"{prefix}.{name} is missing: calibrate first (methods.kv_scales), or model.kv_cache = None"
                )
            found[f"{prefix}.{name}"] = as_stored(scale, model.kv_cache)
    return found


def tensors_of(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    """Its tensors in bf16, by name. Raises what `save_model` raises."""
    if any(getattr(m, "online", None) is not None for m in model.modules()):
        raise ValueError("this model is rotated online (R3, R4), which a folder cannot say: save it before `rotate_online`")
    quantized = [n for n, m in model.linears().items() if not isinstance(m.quant_method, UnquantizedLinearMethod)]
    if quantized:
        raise ValueError(f"{quantized[0]} is quantized, and this writes bf16: load the model with dequantize=True")
    embedding = model.model.embed_tokens
    if getattr(embedding.quant_method, "quantizer", None) is not None:
        raise ValueError("the embedding was quantized here, and this writes bf16: load the model without {'embedding': …}")
    tensors = dict(model.named_parameters()) | {"model.embed_tokens.weight": embedding.dequantized()}
    return {n: t.detach().to("cpu", torch.bfloat16).contiguous() for n, t in tensors.items()}
