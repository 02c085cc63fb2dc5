"""A model → a folder that others read."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.models.llama import LlamaForCausalLM


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config.json and model.safetensors (bf16), readable by `LlamaForCausalLM` of transformers. Raises ValueError for
    a model with quantized layers, or one that is rotated online."""
    if any(getattr(m, "online", None) is not None for m in model.modules()):
        raise ValueError("this model is rotated online (R3, R4), which a folder cannot say: save it before `rotate_online`")
    quantized = [n for n, m in model.linears().items() if not isinstance(m.quant_method, UnquantizedLinearMethod)]
    if quantized:
        raise ValueError(f"{quantized[0]} is quantized, and this writes bf16: load the model with dequantize=True")
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
    end = model.config.vocab_size - 1  # `<|endoftext|>` ends a text and begins the next
    config |= {"hidden_act": "silu", "bos_token_id": end, "eos_token_id": end}
    sizes = {k: v for k, v in asdict(model.config).items() if k != "output_bias"}  # attention_bias means both there
    (folder / "config.json").write_text(json.dumps(config | sizes, indent=2) + "\n")
    tensors = dict(model.named_parameters()) | {"model.embed_tokens.weight": model.model.embed_tokens.dequantized()}
    tensors = {n: t.detach().to("cpu", torch.bfloat16).contiguous() for n, t in tensors.items()}
    save_file(tensors, folder / "model.safetensors.part", metadata={"format": "pt"})
    (folder / "model.safetensors.part").replace(folder / "model.safetensors")
