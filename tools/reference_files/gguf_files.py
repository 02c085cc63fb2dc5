"""GGUF files written by gguf-py: Llamas of mixed types with a tokenizer, one of K-quants, bare tensors of every type."""

import json
from importlib.metadata import version

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tools.reference_files.tiny import FILES, expect, fresh, linears, llama, provenance, write_expected

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
TEXTS = [
    "def f(x):\n    return x[1:] + 1000",
    "naïve — 12345 tests",
    "the theory of the thing",
    "  \t\n\n x",
    "<|im_start|>user",
]
KQUANTS = (Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K)
LEGACY = (Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.IQ4_NL)
MIXED = (
    {"q": Q.Q4_0, "k": Q.Q4_1, "v": Q.Q5_0, "o": Q.Q5_1, "gate": Q.Q8_0, "up": Q.IQ4_NL, "down": Q.F16},
    {"q": Q.BF16, "k": Q.Q8_0, "v": Q.F32, "o": Q.Q4_0, "gate": Q.Q4_1, "up": Q.BF16, "down": Q.Q5_0},
)
SUPER = ({"q": Q.Q4_K, "k": Q.Q2_K, "v": Q.Q6_K, "o": Q.Q4_0, "gate": Q.Q3_K, "up": Q.Q5_K, "down": Q.Q8_0},)
FORMATS = {  # folder: (types a layer, embedding's type, pre-tokenizer or None, changes of the tiny model)
    "gguf_mixed": (MIXED, Q.Q8_0, "smollm", {"num_hidden_layers": 2}),
    "gguf_gpt2": (MIXED[:1], Q.Q5_0, "gpt-2", {"tie_word_embeddings": False}),
    "gguf_kquants": (SUPER, Q.Q6_K, None, {"hidden_size": 256}),
    "gguf_bare": None,
}
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}  # fmt: skip


def encode(W: np.ndarray, kind: Q) -> np.ndarray:
    """Bytes (or floats) of W in type `kind`: gguf-py where it can quantize, else libgguf."""
    if kind in (Q.F32, Q.F16):
        return W.astype(np.float32 if kind == Q.F32 else np.float16)
    if kind in KQUANTS or kind == Q.IQ4_NL:
        import libgguf  # only here: what reads these files in tests/interop has no need of it

        return libgguf.quantize_rows(W, int(kind)).view(np.uint8)
    return gguf.quants.quantize(W, kind)


def add(writer: gguf.GGUFWriter, name: str, W: torch.Tensor, kind: Q) -> torch.Tensor:
    """Add W in type `kind`; returns what gguf-py reads back, fp32."""
    data = encode(W.float().numpy(), kind)
    writer.add_tensor(name, data, raw_dtype=kind)
    return torch.from_numpy(np.array(gguf.quants.dequantize(data, kind), np.float32)).view(W.shape)


def permute(W: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows from transformers' order (two halves of a head) to llama.cpp's (pairs side by side)."""
    return W.view(heads, 2, -1, W.shape[1]).transpose(1, 2).reshape(W.shape)


def unpermute(W: torch.Tensor, heads: int) -> torch.Tensor:
    """The way back."""
    return W.view(heads, -1, 2, W.shape[1]).transpose(1, 2).reshape(W.shape)


def tokenizer(pre: str) -> Tokenizer:
    """A byte-level BPE of 256 bytes, 40 merges and SPECIAL, with the pre-tokenizer that llama.cpp calls `pre`."""
    t = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Digits(individual_digits=True)] if pre == "smollm" else []
    t.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=299, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False)
    t.train_from_iterator(["the thing in that theory returns 10 in the test def f return"] * 4, trainer)
    return t


def add_tokenizer(writer: gguf.GGUFWriter, pre: str | None, size: int, folder) -> None:
    """The vocabulary: the trained one with ids of TEXTS in tokens.json, or `size` letters where no text is read."""
    writer.add_tokenizer_model("gpt2")
    if pre is None:
        writer.add_token_list([chr(ord("A") + i) for i in range(size)])
        writer.add_token_merges(["A B"])
        writer.add_eos_token_id(0)
        return
    t = tokenizer(pre)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([t.id_to_token(i) for i in range(t.get_vocab_size())])
    writer.add_token_merges([" ".join(m) for m in json.loads(t.to_str())["model"]["merges"]])
    writer.add_token_types(
        [gguf.TokenType.CONTROL if i < len(SPECIAL) else gguf.TokenType.NORMAL for i in range(t.get_vocab_size())]
    )
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    ids = {text: t.encode(text, add_special_tokens=False).ids for text in TEXTS}
    (folder / "tokens.json").write_text(json.dumps({"pre": pre, "ids": ids}, indent=1) + "\n")


def add_config(writer: gguf.GGUFWriter, c) -> None:
    """The keys that llama.cpp's converter writes for a Llama."""
    writer.add_name("tiny")
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_vocab_size(c.vocab_size)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q4_0))
    writer.add_quantization_version(2)


def close(writer: gguf.GGUFWriter) -> None:
    """Write header, metadata and tensors."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_llama(name: str) -> None:
    """A whole model: types from FORMATS, Q and K rows permuted, norms F32."""
    types, embedding, pre, changes = FORMATS[name]
    folder = fresh(name)
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    model = llama(
        torch.float32, seed=len(name), **changes, **({"vocab_size": tokenizer(pre).get_vocab_size()} if pre else {})
    )
    c, W = model.config, {}
    add_config(writer, c)
    add_tokenizer(writer, pre, c.vocab_size, folder)
    model.model.embed_tokens.weight.data = add(
        writer, "token_embd.weight", model.model.embed_tokens.weight.detach(), embedding
    )
    add(writer, "output_norm.weight", model.model.norm.weight.detach(), Q.F32)
    if not c.tie_word_embeddings:
        model.lm_head.weight.data = add(writer, "output.weight", model.lm_head.weight.detach(), Q.Q4_0)
    for i, kinds in enumerate(types):
        norms = model.model.layers[i]
        add(writer, f"blk.{i}.attn_norm.weight", norms.input_layernorm.weight.detach(), Q.F32)
        add(writer, f"blk.{i}.ffn_norm.weight", norms.post_attention_layernorm.weight.detach(), Q.F32)
        for layer, theirs in NAMES.items():
            own, part = f"model.layers.{i}.{layer}", layer.split(".")[1].split("_")[0]
            heads = {"q": c.num_attention_heads, "k": c.num_key_value_heads}.get(part)
            M = linears(model)[own].weight.detach()
            read = add(writer, f"blk.{i}.{theirs}.weight", permute(M, heads) if heads else M, kinds[part])
            W[own] = unpermute(read, heads) if heads else read
    close(writer)
    expect(folder, model, W)


def write_bare() -> None:
    """Two rows of every type, 512 long (64 where blocks are short), and what gguf-py reads in them."""
    folder, read = fresh("gguf_bare"), {}
    writer = gguf.GGUFWriter(folder / "tensors.gguf", "llama")
    torch.manual_seed(0)
    for kind in (Q.F32, Q.F16, Q.BF16, *LEGACY, *KQUANTS):
        K = 512 if kind in KQUANTS else 64
        name = f"{kind.name.lower()}.weight"
        read[f"dequantized/{name}"] = add(writer, name, torch.randn(2, K) * 0.1, kind).numpy()
    close(writer)
    write_expected(folder, **read)


def write(name: str) -> None:
    """Write the folder `name` of FORMATS."""
    write_bare() if name == "gguf_bare" else write_llama(name)
    provenance(FILES / name, "gguf-py GGUFWriter; K-quants and IQ4_NL quantized by libgguf; read by gguf-py",
               {p: version(p) for p in ("gguf", "libgguf", "tokenizers", "transformers")},
               "bare tensors" if name == "gguf_bare" else "Llama, Q and K rows permuted")  # fmt: skip
