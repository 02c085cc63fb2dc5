"""A GGUF file as a Llama: llama.cpp's names → Hugging Face's, block types → rules, rows of Q and K back in their order.

    token_embd → model.embed_tokens   blk.3.attn_q → model.layers.3.self_attn.q_proj
    output_norm → model.norm          output → lm_head

llama.cpp turns neighbouring pairs of channels (RoPE), Hugging Face pairs that lie half a head apart: the converter permuted
the rows of Q and K, and here they are put back. A row of blocks travels whole, so nothing is decoded for that.
Linear layers keep their blocks, and so does an embedding in Q8_0, by which a kernel can multiply; other embeddings and the
norms are dequantized (fp32, exact).
Source: llama.cpp `convert_hf_to_gguf.py` (LlamaModel.permute), gguf-py `constants.py`.
"""

import re
from collections.abc import Iterator, Mapping

import torch

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.on_disk import Place
from qcourse.checkpoints.rules import Rule
from qcourse.numerics.quantize import dequantize
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.packing.gguf_layout import GGUF_ARGS, Gguf
from qcourse.shapes import Tensor

FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_BLOCK = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
COMPUTED = ("rope_freqs.weight",)  # llama3's frequencies as a tensor: read by `config`
KEYS = {  # of llama.*: config.json's
    "context_length": "max_position_embeddings", "embedding_length": "hidden_size", "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads", "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta", "vocab_size": "vocab_size",
}  # fmt: skip
CHECKED = ("rope.dimension_count", "attention.key_length", "attention.value_length")
HARMLESS = ("attention.causal", "tensor_data_layout", "rope.scaling.type", "rope.scaling.finetuned")


def config(file: GGUFFile) -> dict:
    """The metadata as a config.json of a Llama, for `models.config`. Raises CheckpointError naming the key."""
    meta, where = file.metadata, str(file.path)
    architecture = meta.get("general.architecture")
    if architecture != "llama":
        raise CheckpointError(f"{where}: general.architecture = {architecture!r}: only 'llama' is read here")
    mine = {k.removeprefix("llama."): v for k, v in meta.items() if k.startswith("llama.")}
    unknown = sorted(mine.keys() - KEYS.keys() - set(CHECKED) - set(HARMLESS))
    if unknown:
        raise CheckpointError(f"{where}: llama.{unknown[0]} is not known here; it may change what the model computes")
    if mine.get("rope.scaling.type", "none") != "none" or COMPUTED[0] in file.tensors:
        raise CheckpointError(
            f"{where}: llama.rope.scaling.type or {COMPUTED[0]}: scaled rotary positions are not read from GGUF"
        )
    raw = {"model_type": "llama"} | {KEYS[k]: plain(v) for k, v in mine.items() if k in KEYS}
    raw |= {"rope_theta": raw.get("rope_theta", 10000.0), "tie_word_embeddings": "output.weight" not in file.tensors}
    tokens = meta.get("tokenizer.ggml.tokens")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{where}: tensor 'token_embd.weight' (vocabulary, hidden) is missing")
    raw.setdefault("vocab_size", embedding.shape[0])
    if tokens is not None and len(tokens) > raw["vocab_size"]:
        raise CheckpointError(f"{where}: {len(tokens)} tokens, but the embedding has {raw['vocab_size']} rows")
    raw["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    sizes = {key: plain(mine[key]) for key in CHECKED if key in mine}
    if len(set(sizes.values())) > 1:
        raise CheckpointError(f"{where}: {sizes}: one head size is expected for all of them")
    return raw | ({"head_dim": next(iter(sizes.values()))} if sizes else {})


def plain(value):
    """A metadata value as JSON would have it (fp32 numbers lose their last digits' noise: 1e-05, not 9.99999974e-06)."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


class GGUFWeights(Mapping):
    """Tensors under Hugging Face's names; `read(name)`. Quantized matrices are called `….blocks`: rows of blocks."""

    def __init__(self, file: GGUFFile, heads: int, kv_heads: int):
        self.file, self.heads, self.places = file, {"q_proj": heads, "k_proj": kv_heads}, {}
        for name, info in file.tensors.items():
            prefix, leaf = self.translate(name)
            blocks = leaf == "weight" and info.ggml_type not in FLOATS and not keeps_floats(prefix, info.ggml_type)
            self.places[f"{prefix}.{'blocks' if blocks else leaf}"] = name

    def translate(self, name: str) -> tuple[str, str]:
        """blk.3.attn_q.weight → (model.layers.3.self_attn.q_proj, weight). Raises CheckpointError for an unknown name."""
        found = re.fullmatch(r"blk\.(\d{1,4})\.([a-z_]+)\.(weight|bias)", name)
        if found and found[2] in IN_BLOCK:
            return f"model.layers.{int(found[1])}.{IN_BLOCK[found[2]]}", found[3]
        top = re.fullmatch(r"([a-z_]+)\.(weight)", name)
        if top and top[1] in TOP:
            return TOP[top[1]], "weight"
        raise CheckpointError(f"{self.file.path}: tensor {name!r} has no place in a Llama")

    def __getitem__(self, name: str):
        return self.file.tensors[self.places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, name: str) -> Tensor:
        """The tensor, in memory of its own: floats as they are, blocks as bytes, a quantized embedding decoded to fp32."""
        info, rows = self[name], self.file.rows(self.places[name])
        if info.ggml_type in FLOATS:
            t = rows.view(FLOATS[info.ggml_type]).reshape(info.shape)
        elif name.endswith(".blocks"):
            t = rows
        else:
            t = dequantize(Gguf().unpack({"blocks": rows}, GGUF_ARGS[info.ggml_type], *info.shape))
        part = name.split(".")[-2]
        return unpermuted(t, self.heads[part]) if part in self.heads else t

    def place(self, name: str) -> Place:
        """Where its bytes lie, under the file's own name."""
        return Place(self.file.disk, self[name].begin, self[name].nbytes, self.places[name])


def keeps_floats(prefix: str, ggml_type: str) -> bool:
    """Whether a tensor belongs to a norm, or to an embedding by which nothing can multiply: those hold floats here."""
    return prefix.endswith("norm") or prefix.endswith("embed_tokens") and ggml_type != "Q8_0"


def unpermuted(t: Tensor, heads: int) -> Tensor:
    """Rows of Q or K from llama.cpp's order (pairs side by side) to Hugging Face's (halves of a head)."""
    return t.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def rules(weights: GGUFWeights) -> list[Rule]:
    """One rule a quantized matrix: its block type. Matrices in floats stay as they are."""
    found = []
    for name in weights:
        if name.endswith(".blocks"):
            scheme = QuantizationScheme(GGUF_ARGS[weights[name].ggml_type])
            found.append(Rule(name.removesuffix(".blocks"), scheme, "gguf"))
    return found
