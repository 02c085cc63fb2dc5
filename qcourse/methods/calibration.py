"""What a layer's input looks like, gathered while calibration text streams through: the raw material of every method.

Exact under batching: absmax, mean |x| and H are sums and maxima, percentiles are read off the kept largest values.
"""

from dataclasses import dataclass, field

import torch

from qcourse.numerics import two_level
from qcourse.numerics.args import QuantizationArgs
from qcourse.shapes import Float, Tensor

STRIP = 512  # rows of the Hessian at once
STRIDE = 4  # neighbouring tokens look alike: a sample of every 4th sees more of the text


@dataclass
class InputStats:
    """Running statistics of one layer's input x (M, K).

    absmax, mean_abs, mean_square (K) · tokens · sample: every 4th row (≤ keep_rows, K) · hessian: XᵀX (K, K) in fp64, if
    asked for: products of a batch in fp32, their sum in fp64, and only the upper triangle is computed.
    """

    K: int
    keep_rows: int = 2048
    keep_largest: int = 0
    with_hessian: bool = False
    tokens: int = 0
    absmax: Tensor = None
    sum_abs: Tensor = None
    sum_square: Tensor = None
    triangle: Tensor | None = None
    largest: Tensor = field(default_factory=lambda: torch.empty(0))
    sample: Tensor = None

    def update(self, x: Float[Tensor, "... K"]) -> None:
        """Add a batch. Raises ValueError for another K or for NaN/inf."""
        x = x.detach().reshape(-1, x.shape[-1]).float().cpu()
        if x.shape[1] != self.K:
            raise ValueError(f"x has K={x.shape[1]}, this layer has K={self.K}")
        magnitude = x.abs()
        top = magnitude.amax(0)
        if not torch.isfinite(top).all():
            raise ValueError(f"calibration input holds NaN or inf in channel {int((~torch.isfinite(top)).nonzero()[0])}")
        self.absmax = top if self.absmax is None else torch.maximum(self.absmax, top)
        self.sum_abs = magnitude.sum(0) if self.sum_abs is None else self.sum_abs + magnitude.sum(0)
        square = x.square().sum(0, dtype=torch.float64)
        self.sum_square = square if self.sum_square is None else self.sum_square + square
        if self.keep_largest:
            both = torch.cat((self.largest, magnitude.flatten()))
            self.largest = both.topk(min(self.keep_largest, both.numel())).values
        if self.with_hessian:
            self.add_products(x)
        rows = x[-self.tokens % STRIDE :: STRIDE].clone()  # counted over all batches, so batching changes nothing
        self.sample = (rows if self.sample is None else torch.cat((self.sample, rows)))[: self.keep_rows]
        self.tokens += len(x)

    def add_products(self, x: Float[Tensor, "M K"]) -> None:
        """Add xᵀx, a strip of rows at a time, from its diagonal on."""
        if self.triangle is None:
            self.triangle = torch.zeros(self.K, self.K, dtype=torch.float64)
        for i in range(0, self.K, STRIP):
            self.triangle[i : i + STRIP, i:] += x[:, i : i + STRIP].T @ x[:, i:]

    @property
    def hessian(self) -> Float[Tensor, "K K"] | None:
        """XᵀX of all tokens, symmetric."""
        return None if self.triangle is None else self.triangle.triu() + self.triangle.triu(1).T

    @property
    def mean_square(self) -> Float[Tensor, "K"]:
        """mean x² of each channel: the diagonal of the Hessian over the tokens, and an importance matrix's weight."""
        return (self.sum_square / self.tokens).float()

    @property
    def mean_abs(self) -> Float[Tensor, "K"]:
        """mean |x| of each channel."""
        return self.sum_abs / self.tokens

    def percentile(self, p: float) -> float:
        """The smallest |x| with at least p of all values at or below it, exactly.

        Raises ValueError when p is so low that the value was not among the `keep_largest` kept.
        """
        above = self.tokens * self.K - -int(-p * self.tokens * self.K // 1)
        if not 0 < p <= 1 or above >= len(self.largest):
            lowest = 1 - max(0, len(self.largest) - 1) / (self.tokens * self.K)
            raise ValueError(f"percentile {p}: between {lowest:.4g} and 1 for {self.tokens} tokens (keep_largest)")
        return self.largest[above].item()


def static_scale(stats: InputStats, args: QuantizationArgs) -> float:
    """The number of a file under which all that was seen fits: absmax over the grid's largest value; for scales of two
    levels the upper one, in the file's direction (NVFP4: 448·6 / absmax divides, its reciprocal multiplies)."""
    peak = max(stats.absmax.max().item(), 1e-12)
    if isinstance(args.scale, QuantizationArgs):
        return two_level.upper(torch.tensor(peak), args.scale.grid.limit, args).item()
    return peak / args.grid.limit


@torch.inference_mode()
def calibrate(
    model, ids, hessian: bool = False, keep_largest: int = 0, batch: int = 8, min_tokens: int = 512
) -> dict[str, InputStats]:
    """Statistics of every Linear's input (by its `prefix`) over ids (n, T), in batches.

    `hessian` also sums XᵀX; `keep_largest` keeps that many largest |x|, for percentiles. Both cost time.
    Raises what `check_ids` raises.
    """
    ids = check_ids(model, ids, min_tokens)
    layers = model.linears()
    stats = {name: InputStats(m.input_size, keep_largest=keep_largest, with_hessian=hessian) for name, m in layers.items()}
    hooks = [m.register_forward_pre_hook(lambda m, args, s=stats[name]: s.update(args[0])) for name, m in layers.items()]
    try:
        for part in ids.split(batch):
            model(part.to(next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return stats


def check_ids(model, ids, min_tokens: int = 512):
    """The ids (n, T) to calibrate on: of windows one id longer than the model's context the last id, which is only a target,
    is left out. Raises ValueError for fewer than `min_tokens` tokens (absmax of too little text clips the next text), for
    windows beyond the context, and for ids outside the vocabulary."""
    limit, vocab = model.config.max_position_embeddings, model.config.vocab_size
    if ids.dim() != 2 or ids.shape[1] > limit + 1:
        raise ValueError(f"calibration ids of shape {tuple(ids.shape)}: (n, T) expected, T at most {limit} positions")
    ids = ids[:, :limit]
    if ids.numel() < min_tokens:
        raise ValueError(f"calibration text of {ids.numel()} tokens: at least {min_tokens} needed")
    if ids.min() < 0 or ids.max() >= vocab:
        raise ValueError(f"calibration ids {int(ids.min())}…{int(ids.max())}: the model's vocabulary has {vocab}")
    return ids
