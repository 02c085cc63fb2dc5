"""A model → one GGUF file that llama.cpp runs: names, metadata, tokenizer, and every matrix in a block type.

    linear layers      in `kind` (Q8_0, Q4_0, Q4_K, F16 …); codes that have that type already are copied, bit by bit
    embedding, head    in `ends`: Q8_0 where `kind` is a block type, else `kind`; a tied head is not written twice
    norms, biases      F32, which llama.cpp asks for

Rows of Q and K are put into llama.cpp's order (pairs side by side), whatever the type: blocks lie along K and travel with
their rows. The end-of-text id is always written, because llama.cpp assumes 11 where it is missing.
Source: llama.cpp's `convert_hf_to_gguf.py` and `llama-model.cpp`; facts tried with its forks (tests/interop).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qcourse.checkpoints.gguf import FLOATS, IN_BLOCK, KEYS, TOP
from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.checkpoints.gguf_writer import Written, write_gguf
from qcourse.models.gguf_vocabulary import vocabulary
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.tokenizer_files import load_tokenizer
from qcourse.numerics.formats import GGUF_ARGS
from qcourse.numerics.quantize import quantize
from qcourse.packing.packed import pack, unpack
from qcourse.shapes import Tensor

FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 12, "Q4_K": 15,
              "Q5_K": 17, "Q6_K": 18, "IQ4_NL": 25, "BF16": 32, "TQ2_0": 37}  # fmt: skip
NAMES = {theirs: ours for ours, theirs in (*TOP.items(), *IN_BLOCK.items())}


def export_gguf(model: LlamaForCausalLM, source: Path | str, out: Path, kind: str = "Q8_0", ends: str | None = None) -> int:
    """Write the model, with the tokenizer of `source`, as OUT.gguf; the number of its bytes.

    Raises ValueError for an unknown type, one whose blocks do not divide a layer's K, a model that llama.cpp has no words
    for, and an OUT that exists; whatever is refused is refused before a byte is written.
    """
    ends = ends or ("Q8_0" if kind in GGUF_ARGS else kind)
    for name in (kind, ends):
        if name not in GGML_TYPES:
            raise ValueError(f"GGUF type {name!r}: one of {', '.join(GGML_TYPES)} expected")
    if out.exists():
        raise ValueError(f"{out} exists: choose another name, or remove it")
    metadata = general(model.config, out.stem, kind) | vocabulary(load_tokenizer(source), model.config.vocab_size)
    return write_gguf(out, metadata, tensors(model, kind, ends))


def general(config: LlamaConfig, name: str, kind: str) -> dict[str, object]:
    """The metadata of the model itself. Raises ValueError for scaled rotary positions, which are not written here."""
    if config.rope_scaling is not None:
        raise ValueError(f"rope_scaling {config.rope_scaling}: scaled rotary positions are not written to GGUF")
    if config.output_bias or config.mlp_bias:
        raise ValueError("biases of o, gate, up, down: llama.cpp's 'llama' has no place for them")
    found = {"general.architecture": "llama", "general.name": name, "general.file_type": FILE_TYPES[kind],
             "general.quantization_version": 2, "general.alignment": 32}  # fmt: skip
    found |= {f"llama.{theirs}": getattr(config, ours) for theirs, ours in KEYS.items()}
    sizes = ("rope.dimension_count", "attention.key_length", "attention.value_length")
    return found | {f"llama.{key}": config.head_dim for key in sizes}


def tensors(model: LlamaForCausalLM, kind: str, ends: str) -> dict[str, Written]:
    """Every tensor under llama.cpp's name, made when it is written."""
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    embedding, norm, head = model.ends()
    found = {"token_embd.weight": matrix(embedding, ends)}
    for i, block in enumerate(model.model.layers):
        for path, module in block.named_modules():
            if path not in NAMES:
                continue
            name, turn = f"blk.{i}.{NAMES[path]}", partial(permuted, heads=heads.get(path.split(".")[-1], 0))
            if path.endswith("layernorm"):
                found[f"{name}.weight"] = plain(module.weight)
                continue
            found[f"{name}.weight"] = matrix(module, kind, turn)
            if module.bias is not None:
                found[f"{name}.bias"] = plain(module.bias, turn)
    found["output_norm.weight"] = plain(norm.weight)
    return found if head is None else found | {"output.weight": matrix(head, ends)}


def plain(t: Tensor, turn: Callable = lambda t: t) -> Written:
    """A norm or a bias in F32."""
    return Written("F32", tuple(t.shape), lambda: turn(t.detach().float()))


def matrix(layer, kind: str, turn: Callable = lambda t: t) -> Written:
    """A Linear or an Embedding in `kind`, its rows in llama.cpp's order."""

    def make() -> Tensor:
        if kind in FLOATS:
            return turn(layer.dequantized()).to(FLOATS[kind])
        product = layer.__dict__.get("product")
        if product is not None and product.p.args.same_storage(GGUF_ARGS[kind]):
            return turn(pack(unpack(product.p), "gguf").tensors["blocks"])
        return turn(pack(quantize(layer.dequantized(), GGUF_ARGS[kind]), "gguf").tensors["blocks"])

    return Written(kind, (layer.output_size, layer.input_size), make)


def permuted(t: Tensor, heads: int) -> Tensor:
    """Rows of Q or K (N, …) from Hugging Face's order (halves of a head) to llama.cpp's (pairs side by side); heads 0: as
    they are. The inverse of `checkpoints.gguf.unpermuted`."""
    return t if not heads else t.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
