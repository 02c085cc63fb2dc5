"""A Llama-style decoder: RMSNorm, grouped-query attention, SwiGLU, KV cache; RoPE is in `rope`.

Tensor names and arithmetic follow Hugging Face's `LlamaForCausalLM`, so a folder written by either is read by
the other (logits agree to 1e-4 in fp32: tests/interop). The model never asks which format a weight has: every
matrix is a `layers.Linear`, and a `Linear` only calls its `quant_method`.
Does not handle: attention masks for padded batches, sliding windows, YaRN, q/k norms, mixture of experts.
Source: Touvron et al. 2023 (arXiv:2302.13971); GQA: Ainslie et al. 2023 (arXiv:2305.13245).
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from qcourse.gemm.step import norm, swiglu
from qcourse.layers.embedding import Embedding
from qcourse.layers.kv_method import create_scales
from qcourse.layers.linear import Linear, dequantize_layers
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.together import Together
from qcourse.methods.folding import Fold
from qcourse.models.attention import Attention
from qcourse.models.kv_cache import KVCache
from qcourse.models.rope import RopeTables


@dataclass(frozen=True)
class LlamaConfig:
    """The fields of a Hugging Face `config.json` that this model understands."""

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    max_position_embeddings: int = 1024
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True
    attention_bias: bool = False  # of q, k, v
    output_bias: bool = False  # of o
    mlp_bias: bool = False
    rope_scaling: dict | None = None  # linear: factor; Llama 3.1's also low_freq_factor, high_freq_factor, original_max_…


class RMSNorm(nn.Module):
    """x · weight / rms(x), computed in fp32. `weight` is the gain that SmoothQuant folds its scales into."""

    def __init__(self, size: int, eps: float, dtype: torch.dtype):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size, dtype=dtype)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden) → (..., hidden) in x's dtype."""
        y = norm(x, self.weight, self.eps)
        if y is not None:
            return y
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight.to(x.dtype) * h.to(x.dtype)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) · up(x)). The product makes `down_proj`'s input naturally heavy-tailed."""

    def __init__(self, config: LlamaConfig, linear, prefix: str):
        super().__init__()
        h, i, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = linear(h, i, bias=bias, prefix=f"{prefix}.gate_proj")
        self.up_proj = linear(h, i, bias=bias, prefix=f"{prefix}.up_proj")
        self.gate_up = Together(self.gate_proj, self.up_proj)
        self.down_proj = linear(i, h, bias=bias, prefix=f"{prefix}.down_proj")
        self.online = None  # a rotation of down_proj's input (methods.rotation: R4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden) → (..., hidden)."""
        gate, up = self.gate_up(x)
        y = swiglu(gate, up)
        y = F.silu(gate) * up if y is None else y
        return self.down_proj(y if self.online is None else self.online(y))


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: LlamaConfig, linear, index: int, dtype: torch.dtype):
        super().__init__()
        prefix = f"model.layers.{index}"
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)
        self.self_attn = Attention(config, linear, f"{prefix}.self_attn")
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)
        self.mlp = MLP(config, linear, f"{prefix}.mlp")

    def forward(self, x, rope, layer: int, cache: KVCache | None) -> torch.Tensor:
        """One block on x (B, T, hidden)."""
        x = x + self.self_attn(self.input_layernorm(x), rope, layer, cache)
        return x + self.mlp(self.post_attention_layernorm(x))

    def stages(self) -> list[tuple[Linear, ...]]:
        """Its linear layers in order of execution; those of one stage read the same x."""
        a, m = self.self_attn, self.mlp
        return [(a.q_proj, a.k_proj, a.v_proj), (a.o_proj,), (m.gate_proj, m.up_proj), (m.down_proj,)]


class LlamaModel(nn.Module):
    """Embedding, blocks, final norm: ids (B, T) → hidden states (B, T, hidden)."""

    def __init__(self, config: LlamaConfig, linear, quant_config: QuantizationConfig | None, dtype: torch.dtype):
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, quant_config, "model.embed_tokens", dtype)
        self.layers = nn.ModuleList(DecoderLayer(config, linear, i, dtype) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)
        self.rope = RopeTables(config)

    def forward(self, ids: torch.Tensor, cache: KVCache | None, compute_dtype: torch.dtype) -> torch.Tensor:
        """Run every block; with a cache, ids continue at position `cache.length`."""
        x, rope = self.enter(ids, cache.length if cache is not None else 0, compute_dtype)
        for i, layer in enumerate(self.layers):
            x = layer(x, rope, i, cache)
        if cache is not None:
            cache.length += ids.shape[1]
        return self.norm(x)

    def enter(self, ids: torch.Tensor, start: int, compute_dtype: torch.dtype) -> tuple:
        """(x, rope): what the first block is given for ids (B, T) from position `start` on."""
        rope = self.rope.at(start, start + ids.shape[1], ids.device, compute_dtype)
        return self.embed_tokens(ids).to(compute_dtype), rope


class LlamaForCausalLM(nn.Module):
    """ids (B, T) → logits (B, T, V), in fp32. `compute_dtype` is the activations' dtype, not the weights'."""

    def __init__(
        self,
        config: LlamaConfig,
        quant_config: QuantizationConfig | None = None,
        *,
        dtype: torch.dtype = torch.bfloat16,
        compute_dtype: torch.dtype = torch.float32,
    ):
        super().__init__()

        def linear(input_size: int, output_size: int, *, bias: bool = False, prefix: str) -> Linear:
            return Linear(input_size, output_size, bias=bias, quant_config=quant_config, prefix=prefix, dtype=dtype)

        self.config, self.compute_dtype, tied = config, compute_dtype, config.tie_word_embeddings
        self.model = LlamaModel(config, linear, quant_config, dtype)
        self.lm_head = None if tied else linear(config.hidden_size, config.vocab_size, prefix="lm_head")
        self.kv_cache = create_scales(self.attentions(), quant_config)  # the recipe of its KV cache, None: in 16 bits

    def forward(self, ids: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        """Next-token logits at every position of ids (B, T)."""
        h = self.model(ids, cache, self.compute_dtype)
        if self.lm_head is not None:
            return self.lm_head(h).float()
        return self.model.embed_tokens.logits(h).float()

    def linears(self) -> dict[str, Linear]:
        """Every linear layer by its name in the file, in order of execution."""
        return {m.prefix: m for m in self.modules() if isinstance(m, Linear)}

    def attentions(self) -> dict[str, Attention]:
        """Every attention layer by its name in the file."""
        return {f"model.layers.{i}.self_attn": layer.self_attn for i, layer in enumerate(self.model.layers)}

    def fused(self) -> list[tuple[Linear, ...]]:
        """Layers that read the same x, which engines multiply as one matrix: q k v, and gate up."""
        return [stage for layer in self.model.layers for stage in layer.stages() if len(stage) > 1]

    def folds(self) -> list[Fold]:
        """Where a factor can move into the matrix before: per layer, norm → q k v, norm → gate up, up → down."""
        found = []
        for layer in self.model.layers:
            qkv, _, gate_up, down = layer.stages()
            found += [Fold(layer.input_layernorm, qkv), Fold(layer.post_attention_layernorm, gate_up)]
            found.append(Fold(gate_up[1], down))
        return found

    def value_folds(self) -> list[Fold]:
        """values → o: one factor for each channel of a value head, whatever number of query heads shares it."""
        c, found = self.config, []
        for layer in self.model.layers:
            (_, _, v), o, *_ = layer.stages()
            found.append(Fold(v, o, c.head_dim, c.num_attention_heads // c.num_key_value_heads))
        return found

    def ends(self) -> tuple[Embedding, RMSNorm, Linear | None]:
        """What stands before and behind the blocks: the embedding, the last norm, the head (None where it is tied)."""
        return self.model.embed_tokens, self.model.norm, self.lm_head

    def untie(self) -> None:
        """Give a tied head a matrix of its own, in fp32; an embedding that is held as codes becomes fp32, too."""
        dequantize_layers(self, torch.float32, only=self.model.embed_tokens)
        if self.lm_head is None:
            self.lm_head = self.model.embed_tokens.head()
            self.config = self.model.config = replace(self.config, tie_word_embeddings=False)
