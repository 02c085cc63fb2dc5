"""What is taken from a source that is quantized block by block: its tensors, config.json, tokenizer, identity."""

import copy
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from qcourse.checkpoints.folder import inside, weight_files
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.renamed import Renamed
from qcourse.layers.linear import dequantize_layers
from qcourse.layers.memory import Memory
from qcourse.models.config import read_json
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import fill, places_of, refuse_missing, refuse_unknown

COPIED = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
ENDS = "embedding, head"
READ = (".json", ".jinja", ".model", ".txt")  # beside the weights: what the result can depend on


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


def part_bytes(weights: Mapping, blocks: int) -> dict[str, int]:
    """The bytes of every part of a source, as its files hold them: of the ENDS, then of each block, by its name."""
    parts = {ENDS: None} | {f"model.layers.{i}": i for i in range(blocks)}
    return {name: sum(weights.place(n).nbytes for n in names_of(weights, i, blocks)) for name, i in parts.items()}


def read_part(model: LlamaForCausalLM, i: int | None, weights: Mapping, where: Path, device: str) -> nn.Module:
    """`part_of`, filled and ready to run. Raises CheckpointError for tensors that do not fit, ValueError for NaN and inf,
    naming the tensor."""
    return filled(part_of(model, i), names_of(weights, i, model.config.num_hidden_layers), weights, where, device)


def filled(part: nn.Module, names: list[str], weights: Mapping, where: Path, device: str) -> nn.Module:
    """A part of a model with these tensors in it, ready to run."""
    fill(part, Renamed(weights, {name: name for name in names}), where, device, lambda module: None)
    for name, p in part.named_parameters():
        if p.is_floating_point() and p.element_size() > 1 and p.numel() and not all(map(torch.isfinite, p.aminmax())):
            raise ValueError(f"{where}: {name} holds NaN or inf")
    for module in part.modules():
        if hasattr(module, "quant_method"):
            module.quant_method.process_weights_after_loading(module)
        if hasattr(module, "kv_method"):
            module.kv_method.process_weights_after_loading(module)
    return part.requires_grad_(False).eval()


def layer_reader(
    model: LlamaForCausalLM, weights: Mapping, where: Path, layers: list[str]
) -> tuple[dict[str, int], Callable[[str], nn.Module]]:
    """(bytes of each layer's tensors, what reads a layer by its name), one in memory at a time. Raises CheckpointError for a
    tensor without a place in the model, and a place without a tensor, before anything is read."""
    places, mine = places_of(model), {name: [] for name in layers}
    for name in weights:
        if name not in places:
            refuse_unknown(name, weights, model, where)
        mine.setdefault(name.rpartition(".")[0], []).append(name)
    refuse_missing({name: place for name, place in places.items() if name not in weights}, where)
    held, memory = {}, Memory()

    def read(name: str) -> nn.Module:
        if name not in held:
            held.clear()
            memory.done_with(1 << 23)
            root = inner = nn.Module()
            *path, leaf = name.split(".")
            for step in path:
                inner.add_module(step, nn.Module())
                inner = inner.get_submodule(step)
            inner.add_module(leaf, copy.deepcopy(model.get_submodule(name)))
            held[name] = filled(root, mine[name], weights, where, "cpu").get_submodule(name)
        return held[name]

    return {name: sum(weights.place(n).nbytes for n in mine[name]) for name in layers}, read


def dequantize_part(part: nn.Module) -> nn.Module:
    """Codes → the bf16 weights that they stand for; a part in 16 bits is left alone."""
    for module in part.modules():
        if hasattr(module, "quant_method"):
            dequantize_layers(None, only=module)
    return part


def digest(source: Path) -> str:
    """sha256 over the files of a source that are read: names, and contents, of those that hold the weights only the header
    (names, shapes, places: the tensors themselves are hashed as they are read, `source_watch`). No path is part of it."""
    heads, h = headers(source), hashlib.sha256()
    beside = [] if source.is_file() else [p for p in source.iterdir() if p.suffix in READ and p.is_file()]
    for path in sorted({*heads, *beside}):
        with path.open("rb") as file:
            data = file.read(heads[path]) if path in heads else file.read()
        h.update(f"{path.name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return h.hexdigest()


def headers(source: Path) -> dict[Path, int]:
    """Each file that holds weights, and how many bytes lie in front of its first tensor."""
    if source.is_file():
        file = GGUFFile(source)
        return {source: min((t.begin for t in file.tensors.values()), default=file.disk.size)}
    found = {}
    for file, entry in weight_files(source).values():
        found[file.path] = min(found.get(file.path, entry.begin), entry.begin)
    return found


def weight_bytes(source: Path) -> int:
    """The length of the files that hold the weights."""
    return sum(path.stat().st_size for path in headers(source))


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
