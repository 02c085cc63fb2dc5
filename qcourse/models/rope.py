"""Rotary positions: each pair of a head's channels is turned by an angle that grows with the position.

Source: Su et al. 2021 (arXiv:2104.09864); Llama 3.1's scaling: Meta's reference code, as in transformers.
"""

import torch


def inverse_frequencies(config) -> torch.Tensor:
    """theta^(-2i/D) (D/2,); with Llama 3.1's scaling, slow rotations are slowed by `factor`, fast ones are left alone;
    with linear scaling, all are slowed."""
    inv = config.rope_theta ** (-torch.arange(0, config.head_dim, 2).float() / config.head_dim)
    if config.rope_scaling is None:
        return inv
    r = config.rope_scaling
    if r.get("rope_type") == "linear":
        return inv / r["factor"]
    turns = r["original_max_position_embeddings"] * inv / (2 * torch.pi)  # rotations within the original context
    keep = ((turns - r["low_freq_factor"]) / (r["high_freq_factor"] - r["low_freq_factor"])).clamp(0, 1)
    return inv * (keep + (1 - keep) / r["factor"])


def rope_tables(config, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin (T, head_dim) of the angle position · theta^(-2i/D), each half repeated (HF convention)."""
    angle = torch.outer(positions.float(), inverse_frequencies(config).to(positions.device)).repeat(1, 2)
    return angle.cos(), angle.sin()


class RopeTables:
    """cos and sin of every position, made as they are first needed and kept for each device and dtype."""

    def __init__(self, config):
        self.config, self.kept = config, {}

    def at(self, start: int, end: int, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of positions start … end - 1, (T, head_dim) each."""
        known = self.kept.get((device, dtype))
        if known is None or len(known[0]) < end:
            length = max(256, 2 ** (end - 1).bit_length())
            with torch.inference_mode(False):
                tables = rope_tables(self.config, torch.arange(length, device=device))
                known = self.kept[device, dtype] = tuple(t.to(dtype) for t in tables)
        return known[0][start:end], known[1][start:end]


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate each pair (x_i, x_{i+D/2}) of x (B, heads, T, D) by its position's angle."""
    a, b = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-b, a), dim=-1) * sin).to(x.dtype)
