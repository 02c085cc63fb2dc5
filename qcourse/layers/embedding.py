"""The rows that ids stand for; where the head is tied, also the matrix behind the logits.

In small models it is the largest tensor of all (SmolLM2: a fifth of the weights), and a tied head reads all of it for every
token: held as the file holds it, a Q8_0 embedding costs a quarter of its fp32 bytes. Same contract as a Linear, with one
method more: `embedding`, as in vLLM's `VocabParallelEmbedding`.
"""

import torch
from torch import nn

from qcourse.layers.linear import Linear
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.unquantized import UnquantizedLinearMethod


class Embedding(nn.Module):
    """E (output_size, input_size) = (vocabulary, hidden), stored however the file holds it."""

    def __init__(
        self, vocab_size: int, hidden_size: int, quant_config: QuantizationConfig | None, prefix: str, dtype: torch.dtype
    ):
        super().__init__()
        self.input_size, self.output_size, self.prefix, self.bias = hidden_size, vocab_size, prefix, None
        method = quant_config.get_embedding_method(prefix) if quant_config is not None else None
        self.quant_method = method or UnquantizedLinearMethod()
        self.quant_method.create_weights(self, hidden_size, [vocab_size], hidden_size, vocab_size, dtype)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids (...) → their rows (..., hidden)."""
        return self.quant_method.embedding(self, ids)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., hidden) @ E.T → (..., vocabulary): the tied head."""
        return self.quant_method.apply(self, x)

    def head(self, dtype: torch.dtype = torch.float32) -> Linear:
        """A copy of E in `dtype` as a layer of its own: what a tied head becomes when it is untied."""
        head = Linear(self.input_size, self.output_size, prefix="lm_head", dtype=dtype)
        head.weight = nn.Parameter(self.dequantized().to(dtype, copy=True), requires_grad=False)
        return head

    def dequantized(self) -> torch.Tensor:
        """E (vocabulary, hidden) in fp32."""
        return self.quant_method.dequantized(self)
