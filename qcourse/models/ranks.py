"""One rank's part of a block, and the sum over ranks that takes the place of the whole.

qkv_proj → attention over this rank's heads → o_proj      gate_up_proj → silu(gate) · up → down_proj
"""

import torch
import torch.nn.functional as F
from torch import nn

from qcourse.gemm.step import swiglu
from qcourse.layers.parallel import MergedColumnParallelLinear, QKVParallelLinear, RowParallelLinear
from qcourse.models.attention import attend
from qcourse.models.llama import LlamaConfig
from qcourse.models.rope import rotate


class RankAttention(nn.Module):
    """One rank's heads: its q, k, v as one product, its columns of o_proj."""

    def __init__(self, c: LlamaConfig, prefix: str, **options):
        super().__init__()
        self.head_dim, heads = c.head_dim, (c.num_attention_heads, c.num_key_value_heads)
        self.qkv_proj = QKVParallelLinear(
            c.hidden_size, c.head_dim, *heads, bias=c.attention_bias, prefix=f"{prefix}.qkv_proj", **options
        )
        self.o_proj = RowParallelLinear(
            heads[0] * c.head_dim, c.hidden_size, bias=c.output_bias, prefix=f"{prefix}.o_proj", **options
        )

    def forward(self, x: torch.Tensor, rope: tuple, *_) -> torch.Tensor:
        """x (B, T, hidden) → this rank's term of the sum (B, T, hidden)."""
        B, T, _ = x.shape
        parts = self.qkv_proj(x).split(self.qkv_proj.output_partition_sizes, -1)
        q, k, v = (t.reshape(B, T, -1, self.head_dim).transpose(1, 2) for t in parts)
        y = attend(rotate(q, *rope), rotate(k, *rope), v)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))


class RankMLP(nn.Module):
    """One rank's channels between gate, up and down."""

    def __init__(self, c: LlamaConfig, prefix: str, **options):
        super().__init__()
        h, i, options = c.hidden_size, c.intermediate_size, {"bias": c.mlp_bias} | options
        self.gate_up_proj = MergedColumnParallelLinear(h, [i, i], prefix=f"{prefix}.gate_up_proj", **options)
        self.down_proj = RowParallelLinear(i, h, prefix=f"{prefix}.down_proj", **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., hidden) → this rank's term of the sum."""
        gate, up = self.gate_up_proj(x).split(self.gate_up_proj.output_partition_sizes, -1)
        y = swiglu(gate, up)
        return self.down_proj(F.silu(gate) * up if y is None else y)


class Ranks(nn.Module):
    """What takes the place of a block's attention or MLP."""

    def __init__(self, kind: type, config: LlamaConfig, prefix: str, world: int, quantization):
        super().__init__()
        options = {"world": world, "quant_config": quantization}
        self.ranks = nn.ModuleList(kind(config, prefix, rank=r, **options) for r in range(world))

    def forward(self, x: torch.Tensor, *rest) -> torch.Tensor:
        """The all-reduce."""
        return sum(rank(x, *rest) for rank in self.ranks)
