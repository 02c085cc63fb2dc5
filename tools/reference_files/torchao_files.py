"""Folders written by TorchAO through transformers."""

import tempfile
import warnings
from importlib.metadata import version

import torch
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    MappingType,
)
from torchao.quantization.granularity import PerAxis, PerGroup
from transformers import AutoModelForCausalLM, TorchAoConfig

from tools.reference_files.tiny import IDS, expect, fresh, linears, llama, provenance, tidy

INT4 = {"weight_dtype": torch.int4, "granularity": PerGroup(16)}
FORMATS = {  # folder: (config, changes of the tiny model)
    "ao_int8": (Int8WeightOnlyConfig(), {}),
    "ao_int8_dynamic": (Int8DynamicActivationInt8WeightConfig(), {}),
    "ao_float8": (Float8WeightOnlyConfig(), {"intermediate_size": 48}),
    "ao_int4_group": (IntxWeightOnlyConfig(**INT4), {"tie_word_embeddings": False}),
    "ao_int4_asymmetric": (IntxWeightOnlyConfig(**INT4, mapping_type=MappingType.ASYMMETRIC), {}),
    "ao_int3_channel": (IntxWeightOnlyConfig(weight_dtype=torch.int3, granularity=PerAxis(0)), {}),
}


def exact(w) -> torch.Tensor:
    """What the codes stand for in fp32; the library's own `dequantize` would round to the weight's dtype."""
    scale = w.scale.float().repeat_interleave(w.shape[1] // w.scale.shape[1], 1)
    zero = getattr(w, "zero_point", None)
    zero = 0 if zero is None else zero.float().repeat_interleave(w.shape[1] // zero.shape[1], 1)
    return (w.qdata.float() - zero) * scale


def write(name: str) -> None:
    """Write the folder `name` of FORMATS."""
    warnings.filterwarnings("ignore")
    config, changes = FORMATS[name]
    folder = fresh(name)
    with tempfile.TemporaryDirectory() as plain:
        llama(**changes).save_pretrained(plain)
        model = AutoModelForCausalLM.from_pretrained(
            plain, quantization_config=TorchAoConfig(config), dtype=torch.bfloat16, attn_implementation="eager"
        ).eval()
    model.config.architectures = ["LlamaForCausalLM"]
    model.save_pretrained(folder)
    tidy(folder)
    quantized = {n: m.weight for n, m in linears(model).items() if hasattr(m.weight, "qdata")}
    dense = {n: exact(w) for n, w in quantized.items()}
    assert all((w.dequantize().float() - dense[n]).abs().max() < 0.01 for n, w in quantized.items())
    dense |= {n: m.weight.detach() for n, m in linears(model).items() if n not in dense and n != "lm_head"}
    acts = "dynamic" in name
    with torch.no_grad():
        more = {"logits_activations": model(IDS).logits[0]} if acts else {}
    codes = {n: w.qdata for n, w in quantized.items() if w.qdata.dtype == torch.int8}
    expect(folder, model, dense, codes, **more)
    facts = {"activations": "quantized"} if acts else {}
    versions = {p: version(p) for p in ("torchao", "transformers", "safetensors")}
    provenance(folder, "torchao through transformers LlamaForCausalLM", versions, type(config).__name__, **facts)
