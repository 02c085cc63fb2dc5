"""SmoothQuant: move the loudness of activation channels into the weights, where it does no harm.

    s_j = max|x_j|^α / max|W_:,j|^(1-α)        x' = x / s,  W' = W · s,   x' @ W'.T = x @ W.T

α = 0 equalises the weights, α = 1 the activations; in between the difficulty is shared.
Source: Xiao et al. 2023 (arXiv:2211.10438), eq. 4; α 0.5 for OPT, 0.8–0.9 for Llama there. Notebook 03.
"""

import torch

from qcourse.methods.calibration import InputStats
from qcourse.methods.folding import apply_fold, widen
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.shapes import Float, Tensor

ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))


def check_alpha(alpha: float) -> None:
    """Raise ValueError unless 0 <= α <= 1."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha}: between 0 (equal weights) and 1 (equal activations)")


def smooth_scales(act_absmax: Float[Tensor, "K"], weights: list[Tensor], alpha: float) -> Float[Tensor, "K"]:
    """s (K), from the activations' absmax and the largest weight of each *input* column over all readers, (N_i, K) each.

    A channel that is all zero (in x or in W) gets s = 1: nothing can be gained there.
    Raises ValueError for α outside [0, 1].
    """
    check_alpha(alpha)
    columns = torch.stack([w.float().abs().amax(0) for w in weights]).amax(0)
    act_absmax = act_absmax.to(columns.device)
    dead = (act_absmax == 0) | (columns == 0)
    s = act_absmax.float().pow(alpha) / columns.pow(1 - alpha)
    return torch.where(dead, torch.ones_like(s), s.clamp(min=1e-5))


def search_alpha(stats: InputStats, weights: list[Tensor], scheme: QuantizationScheme, alphas=ALPHAS) -> float:
    """The α with the least squared error of this layer's outputs on the calibration sample, both sides quantized."""
    x = stats.sample.to(weights[0].device)
    exact = [x @ w.float().T for w in weights]
    errors = {}
    for alpha in alphas:
        s = smooth_scales(stats.absmax, weights, alpha)
        x_hat = fake_quantize(x / s, scheme.input_activations)
        pairs = zip(weights, exact, strict=True)
        errors[alpha] = sum(
            (x_hat @ fake_quantize(w.float() * s, scheme.weights).T - y).square().sum().item() for w, y in pairs
        )
    return min(errors, key=errors.get)


def smooth(
    model,
    stats: dict[str, InputStats],
    alpha: float | dict[str, float] = 0.5,
    down: bool = True,
) -> dict[str, Float[Tensor, "K"]]:
    """Fold SmoothQuant's factors into the model, in place (fp32), and return them by the reader's prefix.

    `alpha` is one number or a number a fold. `down=False` leaves `down_proj` out, as the paper does; its factor is
    folded into `up_proj`. The function computed stays the same to fp32 rounding.
    """
    for a in alpha.values() if isinstance(alpha, dict) else [alpha]:
        check_alpha(a)
    widen(model)
    factors = {}
    for fold in model.folds():
        if fold.name.endswith("down_proj") and not down:
            continue
        a = alpha[fold.name] if isinstance(alpha, dict) else alpha
        s = smooth_scales(stats[fold.name].absmax, [r.weight.data for r in fold.readers], a)
        apply_fold(fold, s)
        factors[fold.name] = s
    return factors
