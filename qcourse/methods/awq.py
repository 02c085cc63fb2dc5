"""AWQ: scale up the weight channels that meet large activations before rounding, then search what to clip.

    s = mean|x|^α / sqrt(max · min)        α from a grid of 20, chosen by the output error of the layer
    Q(W · s) · (x / s): a salient column is rounded in finer steps relative to its size

Weight-only: the activations are not quantized, they only say which columns matter. The factor is folded into
whatever wrote x, so nothing is paid at run time; query heads that share a value head share its factors, exactly.
Source: Lin et al. 2023 (arXiv:2306.00978) and mit-han-lab/llm-awq (`auto_scale`, `auto_clip`). Notebooks 04 and 07.
"""

from dataclasses import dataclass

import torch

from qcourse.methods.calibration import InputStats
from qcourse.methods.folding import Fold, apply_fold, widen
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.shapes import Float, Tensor

GRID = 20


@dataclass(frozen=True)
class Search:
    """s: the factors found · alpha: of them · error, plain: squared output error on the sample with s, and without any."""

    s: Float[Tensor, "n"]
    alpha: float
    error: float
    plain: float

    @property
    def reason(self) -> str:
        """Why nothing is scaled, or nothing where something is."""
        if self.alpha > 0:
            return ""
        return (
            f"no α of {', '.join(f'{i / GRID:g}' for i in (1, 2))} … {1 - 1 / GRID:g} has a smaller output error than α = 0"
        )


def awq_scales(mean_abs: Float[Tensor, "K"], alpha: float) -> Float[Tensor, "K"]:
    """s (K) = mean|x|^α, normalised so that its largest and smallest factor are reciprocal. Dead channels count as 1e-4."""
    s = mean_abs.float().pow(alpha).clamp(min=1e-4)
    return s / (s.max() * s.min()).sqrt()


def search_scales(stats: InputStats, weights: list[Tensor], args: QuantizationArgs, fold: Fold | None = None) -> Search:
    """The factors, over 20 values of α in [0, 1), with the least squared output error on the sample. α = 0 is no change.

    fold: whose factors they are, where heads share them: s then has one for each channel of its writer.
    """
    device = weights[0].device
    pooled, repeated = (fold.pooled, fold.repeated) if fold else (lambda t: t, lambda t: t)
    x, mean_abs = stats.sample.to(device), pooled(stats.mean_abs.to(device))
    exact = [x @ w.float().T for w in weights]
    best = plain = None
    for i in range(GRID):
        s = awq_scales(mean_abs, i / GRID)
        wide = repeated(s)
        pairs = zip(weights, exact, strict=True)
        error = sum(((x / wide) @ fake_quantize(w.float() * wide, args).T - y).square().sum().item() for w, y in pairs)
        plain = error if plain is None else plain
        if best is None or error < best.error:
            best = Search(s, i / GRID, error, plain)
    return best


def search_clip(
    W: Float[Tensor, "N K"], x: Float[Tensor, "M K"], args: QuantizationArgs, steps: int = 10, lowest: float = 0.55
) -> Float[Tensor, "N K"]:
    """W with each group clamped to the fraction of its absmax that gives its part of the output the least error.

    Error of a group: Σ over tokens of (x_g · (ŵ_g - w_g))². Raises what `quantize` raises.
    """
    W = W.float()
    groups = args.granularity.blocks(W)  # (N, K/G, G)
    xg = x.float().to(W.device).unflatten(-1, groups.shape[1:])  # (M, K/G, G)
    H = torch.einsum("mgi,mgj->gij", xg, xg)  # each group's own XᵀX
    full = groups.abs().amax(-1, keepdim=True)
    best, least = W.clone(), torch.full_like(full, torch.inf)
    for shrink in torch.linspace(1.0, lowest, steps).tolist():
        clipped = torch.minimum(torch.maximum(groups, -full * shrink), full * shrink).view(W.shape)
        d = args.granularity.blocks(fake_quantize(clipped, args) - W)
        error = torch.einsum("ngi,gij,ngj->ng", d, H, d).unsqueeze(-1)
        better = error < least
        best = torch.where(better, args.granularity.blocks(clipped), args.granularity.blocks(best)).view(W.shape)
        least = torch.where(better, error, least)
    return best


def awq(
    model, stats: dict[str, InputStats], args: QuantizationArgs, clip: bool = True, values: bool = False
) -> dict[str, Search]:
    """Scale every fold and clip every weight, in place (fp32); rounding is left to the format.

    values: scale what values write and o reads, too, head by head (the reference does so only where no heads are shared).
    Returns what was found for each fold, by the name of its first reader; `reason` says why a search returned no change.
    Queries and keys are not clipped, as in the reference (their product makes small errors large).
    """
    widen(model)
    found, factors = {}, {}
    for fold in (*model.folds(), *(model.value_folds() if values else [])):
        search = found[fold.name] = search_scales(stats[fold.name], [r.weight.data for r in fold.readers], args, fold)
        apply_fold(fold, search.s)
        factors |= {id(reader): fold.repeated(search.s) for reader in fold.readers}
    if clip:
        for name, module in model.linears().items():
            if name.endswith(("q_proj", "k_proj", "lm_head")):
                continue
            x = stats[name].sample.to(module.weight.device) / factors.get(id(module), 1.0)
            module.weight.data = search_clip(module.weight.data, x, args)
    return found
