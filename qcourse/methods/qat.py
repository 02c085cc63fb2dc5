"""Quantization-aware training: let the other weights make good what rounding does to each, by training through the rounding.

    forward    Ŵ = dequantize(quantize(W))      W: latent weights in fp32; scales are found anew in every step
    backward   ∂loss/∂W := ∂loss/∂Ŵ             straight through: round has slope 0 nearly everywhere and would teach nothing
    loss       KL(teacher ‖ student)            against the 16-bit model's probabilities; or cross entropy with the text

Every gradient passes, whatever the grid. Where a scale follows its block's absmax, no weight lies beyond the grid; ternary
scales follow the mean, and stopping the weights beyond was tried and was worse: they are needed when the mean moves.
What is trained are latent weights, what is kept of them is their codes. A step far smaller than a scale still counts: the
latent weight remembers it. Nothing but `quantize` with the same args is needed afterwards.
Does not handle: quantized activations, learnt scales (LSQ, arXiv:1902.08153).
Source: Bengio et al. 2013 (arXiv:1308.3432); Liu et al. 2023, LLM-QAT (arXiv:2305.17888); Ma et al. 2024, BitNet b1.58
(arXiv:2402.17764). Notebook 12.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.shapes import Float, Tensor

WARM_UP = 5  # steps until the learning rate is reached; from there it falls to zero in a line


def straight_through(W: Float[Tensor, "N K"], args: QuantizationArgs, name: str = "W") -> Float[Tensor, "N K"]:
    """Ŵ in fp32, exactly; to the gradient it is W. Any grid. Raises what `quantize` raises."""
    with torch.no_grad():
        fake = dequantize(quantize(W, args, name))
    return fake + (W - W.detach())


def loss_of(logits: Float[Tensor, "B T V"], ids: Tensor, teacher: Callable | None) -> Tensor:
    """Nats a token: KL(teacher ‖ student) of next-token distributions, or cross entropy with the token that comes.

    ids (B, T + 1): the last is only a target.
    """
    if teacher is None:
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    with torch.no_grad():
        target = teacher(ids[:, :-1]).flatten(0, 1).log_softmax(-1)
    return F.kl_div(logits.flatten(0, 1).log_softmax(-1), target, log_target=True, reduction="batchmean")


@torch.inference_mode(False)
@torch.enable_grad()
def train(
    model: nn.Module,
    ids: Tensor,
    args: QuantizationArgs,
    teacher: Callable | None = None,
    *,
    steps: int = 150,
    lr: float = 1e-3,
    batch: int = 4,
    seed: int = 0,
) -> list[float]:
    """Train every Linear but lm_head for `args`, in place, on windows of ids (n, T + 1). Returns each step's loss, in nats.

    teacher: ids (B, T) → logits, usually the same model loaded once more. Norms and embedding stay as they are. The model
    changes only at the end: its Linears then hold the latent weights in fp32, whose Ŵ is what was trained. Until they are
    quantized with `args` it is no good; saved in bf16, weights between two codes may change sides.

    A run is a function of its arguments. Raises ValueError for ids that are no windows of the model's context and
    vocabulary, for a model that is quantized already, and what `quantize` raises. Cost of a step: about three forward
    passes, one of the teacher, and a rounding of all weights.
    """
    check(model, ids, steps, lr, batch)
    layers = {name: m for name, m in model.linears().items() if name != "lm_head"}
    latent = {f"{name}.weight": nn.Parameter(m.weight.detach().float().clone()) for name, m in layers.items()}
    optimizer = torch.optim.Adam(latent.values(), lr=lr, betas=(0.9, 0.99))
    history, device = [], next(iter(latent.values())).device
    for i, x in enumerate(drawn(ids, steps * batch, seed).to(device).split(batch)):
        for group in optimizer.param_groups:
            group["lr"] = lr * min((i + 1) / WARM_UP, (steps - i) / steps)
        fake = {name: straight_through(W, args, name) for name, W in latent.items()}
        loss = loss_of(torch.func.functional_call(model, fake, (x[:, :-1],)), x, teacher)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(latent.values(), 1.0)
        optimizer.step()
        history.append(loss.item())
    for name, m in layers.items():
        m.weight = nn.Parameter(latent[f"{name}.weight"].detach(), requires_grad=False)
    return history


def drawn(ids: Tensor, count: int, seed: int) -> Tensor:
    """`count` of the windows, none a second time before all have had their turn."""
    generator = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(len(ids), generator=generator) for _ in range(-(-count // len(ids)))]
    return ids[torch.cat(rounds)[:count].to(ids.device)]


def check(model: nn.Module, ids: Tensor, steps: int, lr: float, batch: int) -> None:
    """Raise ValueError for what cannot be trained (on), before any work."""
    limit, vocab = model.config.max_position_embeddings, model.config.vocab_size
    if not (steps >= 1 and batch >= 1 and lr > 0):
        raise ValueError(f"{steps=}, {lr=}, {batch=}: at least one step of at least one window, and lr > 0 expected")
    if ids.dim() != 2 or len(ids) == 0 or not 2 <= ids.shape[1] <= limit + 1:
        raise ValueError(f"ids of shape {tuple(ids.shape)}: windows (n, T + 1) expected, T at most {limit} positions")
    if ids.min() < 0 or ids.max() >= vocab:
        raise ValueError(f"ids {int(ids.min())}…{int(ids.max())}: the model's vocabulary has {vocab}")
    for name, m in model.linears().items():
        weight = getattr(m, "weight", None)
        if weight is None or not weight.is_floating_point() or weight.shape != (m.output_size, m.input_size):
            raise ValueError(f"{name} is quantized already; load the model without `quantization` to train it")
