"""What is taken from a source that is quantized block by block: its tensors, config.json, tokenizer, identity."""

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from qcourse.checkpoints.folder import inside, weight_files
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.renamed import Renamed
from qcourse.layers.linear import dequantize_layers
from qcourse.models.config import read_json
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import fill

COPIED = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
READ = (".safetensors", ".json", ".jinja", ".model", ".txt")  # of a folder: what the result can depend on


def part_of(model: LlamaForCausalLM, i: int | None) -> nn.Module:
    """Block i under its full name, copied from a model without memory; None: the ends of the model itself."""
    part, part.model, part.lm_head = nn.Module(), nn.Module(), None
    if i is not None:
        part.model.layers = nn.ModuleDict({str(i): copy.deepcopy(model.model.layers[i])})
        return part
    part.model.embed_tokens, part.model.norm, head = model.ends()
    if head is not None:
        part.lm_head = head
    return part


def names_of(weights: Mapping, i: int | None, blocks: int) -> list[str]:
    """The names of a block's tensors, or of all that are in no block."""
    if i is not None:
        return [n for n in weights if n.startswith(f"model.layers.{i}.")]
    inner = tuple(f"model.layers.{j}." for j in range(blocks))
    return [n for n in weights if not n.startswith(inner)]


def read_part(model: LlamaForCausalLM, i: int | None, weights: Mapping, where: Path, device: str) -> nn.Module:
    """`part_of`, filled and ready to run. Raises CheckpointError for tensors that do not fit, ValueError for NaN and inf,
    naming the tensor."""
    part = part_of(model, i)
    names = names_of(weights, i, model.config.num_hidden_layers)
    fill(part, Renamed(weights, {name: name for name in names}), where, device, lambda module: None)
    for name, p in part.named_parameters():
        if p.is_floating_point() and p.element_size() > 1 and not torch.isfinite(p).all():
            raise ValueError(f"{where}: {name} holds NaN or inf")
    for module in part.modules():
        if hasattr(module, "quant_method"):
            module.quant_method.process_weights_after_loading(module)
        if hasattr(module, "kv_method"):
            module.kv_method.process_weights_after_loading(module)
    return part.requires_grad_(False).eval()


def dequantize_part(part: nn.Module) -> nn.Module:
    """Codes → the bf16 weights that they stand for; a part in 16 bits is left alone."""
    for module in part.modules():
        if hasattr(module, "quant_method"):
            dequantize_layers(None, only=module)
    return part


def digest(source: Path) -> str:
    """sha256 over the names and contents of all files of a source that are read (every byte of the weights,
    too). No path is part of it."""
    files = [source] if source.is_file() else sorted(p for p in source.iterdir() if p.suffix in READ and p.is_file())
    h = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            h.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return h.hexdigest()


def weight_bytes(source: Path) -> int:
    """The length of the files that hold the weights."""
    if source.is_file():
        return source.stat().st_size
    return sum(path.stat().st_size for path in {file.path for file, _ in weight_files(source).values()})


def config_json(source: Path, config: LlamaConfig, quantization: dict) -> dict:
    """The config.json to write: the source's own; of a GGUF file, what its metadata says. All that is not quantized is bf16,
    and a head that was untied stays so."""
    if source.is_dir():
        raw = read_json(source / "config.json")
        raw |= {key: "bfloat16" for key in ("dtype", "torch_dtype") if key in raw} or {"torch_dtype": "bfloat16"}
        return raw | {"tie_word_embeddings": config.tie_word_embeddings, "quantization_config": quantization}
    from qcourse.models.gguf_tokenizer import GGUFTokenizer

    tokenizer = GGUFTokenizer(GGUFFile(source).metadata, source)
    sizes = {k: v for k, v in asdict(config).items() if k != "output_bias"}
    kind, name = "llama", "LlamaForCausalLM"
    head = {"architectures": [name], "model_type": kind, "torch_dtype": "bfloat16", "hidden_act": "silu"}
    ends = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    return head | ends | sizes | {"quantization_config": quantization}


def files_beside(source: Path) -> dict[str, Path | str]:
    """The files that lie beside the weights, by name: to be copied, or text made of a GGUF file's metadata. Raises
    CheckpointError for a link that leads out of the folder, and for a tokenizer that is not read here."""
    if source.is_dir():
        return {name: inside(source, name) for name in COPIED if os.path.lexists(source / name)}
    from tokenizers import decoders

    from qcourse.models.gguf_tokenizer import GGUFTokenizer

    tokenizer = GGUFTokenizer(GGUFFile(source).metadata, source)
    tokenizer.inner.decoder = decoders.ByteLevel()
    found = {"tokenizer.json": tokenizer.inner.to_str(pretty=True)}
    return found | ({"chat_template.jinja": tokenizer.chat_template} if tokenizer.chat_template else {})


def texts(files: dict[str, dict]) -> dict[str, str]:
    """JSON files as they are written."""
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in files.items()}
