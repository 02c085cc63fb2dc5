"""Honest bytes: measured from storage and files, never from a formula alone. The baseline is bf16."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from qcourse.layers.linear import Linear


@dataclass(frozen=True)
class ModelBytes:
    """Bytes of the decoder's Linear layers (`linear`) and of embeddings, norms, head (`other`); `weights`: N·K summed."""

    linear: int
    other: int
    weights: int

    @property
    def total(self) -> int:
        """Bytes resident for the whole model."""
        return self.linear + self.other

    @property
    def bits_per_weight(self) -> float:
        """Bits each weight of a Linear takes, scales and zero points included."""
        return 8 * self.linear / self.weights


def storage_bytes(*modules: nn.Module) -> int:
    """Bytes of the distinct storages behind modules' parameters and buffers: what they occupy, not what they say."""
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def model_bytes(model: nn.Module) -> ModelBytes:
    """Measure a loaded model, quantized or not."""
    layers = [m for m in model.model.modules() if isinstance(m, Linear)]  # lm_head, like the embedding, is `other`
    linear = storage_bytes(*layers)
    weights = sum(layer.input_size * layer.output_size for layer in layers)
    return ModelBytes(linear, storage_bytes(model) - linear, weights)


def ends_bytes(model: nn.Module) -> tuple[int, int]:
    """Bytes of the embedding and of the head, as they are stored. A tied head is the embedding, and has none of its own."""
    embedding = storage_bytes(model.model.embed_tokens)
    return embedding, storage_bytes(model.model.embed_tokens, *filter(None, [model.lm_head])) - embedding


def file_bytes(folder: Path) -> int:
    """Bytes of a .gguf file, or of a model folder's safetensors files. Raises FileNotFoundError when there are none."""
    files = [Path(folder)] if Path(folder).is_file() else list(Path(folder).glob("model*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder}: no model*.safetensors file to count the bytes of")
    return sum(f.stat().st_size for f in files)


def decode_seconds(weight_bytes: float, bytes_per_second: float) -> float:
    """The floor of one decode step: every weight byte is read once. Latency hides; bandwidth does not.

    >>> decode_seconds(14e9, 3.35e12) * 1000  # a 7B model in bf16 on an H100: ms a token
    4.17910447761194
    """
    return weight_bytes / bytes_per_second


KV_BLOCK = 16  # tokens a block, as in vLLM


def kv_block_bytes(config, bits: float = 16) -> float:
    """Bytes of one block of 16 tokens: 2 (K and V) · layers · kv_heads · head_dim · bits/8 · 16."""
    return KV_BLOCK * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * bits / 8


def kv_blocks(budget: float, weight_bytes: float, config, bits: float = 16) -> int:
    """How many KV blocks fit a memory budget beside the weights. Raises ValueError when the weights alone do not."""
    if weight_bytes > budget:
        raise ValueError(f"weights of {weight_bytes:.4g} bytes do not fit a budget of {budget:.4g} bytes")
    return int((budget - weight_bytes) // kv_block_bytes(config, bits))


def linear_weights(config) -> int:
    """Weights in the Linear layers of a Llama: what quantization shrinks."""
    h, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
    q = config.num_attention_heads * config.head_dim
    return config.num_hidden_layers * (2 * h * q + 2 * h * kv + 3 * h * config.intermediate_size)


def projected_bytes(config, bits: float) -> float:
    """Weight bytes of a model nobody loads here: linear layers at `bits`, embeddings in 16. Computed, not measured."""
    heads = 1 if config.tie_word_embeddings else 2
    return linear_weights(config) * bits / 8 + 2 * heads * config.vocab_size * config.hidden_size
