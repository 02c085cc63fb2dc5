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


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate each pair (x_i, x_{i+D/2}) of x (B, heads, T, D) by its position's angle."""
    a, b = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-b, a), dim=-1) * sin).to(x.dtype)
