"""Two engines on one file: how far their logits may lie apart, and what each layer multiplied there."""

from contextlib import contextmanager

import torch

# fp32 sums of up to 768 products in another order, through four layers: relative 2^-24 · sqrt(768) a product, 1e-6 of a
# residual of about 60; transformers' and our logits of the 16-bit model itself lie 2e-5 apart (test_transformers).
FP32 = 1e-4


def same_weights(theirs: dict[str, torch.Tensor], ours: dict[str, torch.Tensor], dtype: torch.dtype) -> int:
    """Asserts that every matrix there is ours, bit for bit, once ours is rounded to `dtype`; how many there are."""
    assert theirs.keys() == ours.keys() and theirs
    for name, W in theirs.items():
        assert W.dtype == dtype and torch.equal(W, ours[name].to(dtype)), name
    return len(theirs)


def top1(a: torch.Tensor, b: torch.Tensor) -> float:
    """The share of positions at which both have the same likeliest id."""
    return float((a.argmax(-1) == b.argmax(-1)).float().mean())


def rms(t: torch.Tensor) -> float:
    return float(t.double().square().mean().sqrt())


@contextmanager
def watched(layers: dict[str, torch.nn.Module]):
    """name → (the input of a layer, what it multiplied its weight by), while transformers runs."""
    seen, real, current = {}, torch.nn.functional.linear, []

    def enter(name):
        return lambda module, given: current.append((name, given[0].detach()))

    def linear(x, weight, bias=None):
        if current:
            name, given = current.pop()
            seen[name] = given, x.detach()
        return real(x, weight, bias)

    hooks = [layer.register_forward_pre_hook(enter(name)) for name, layer in layers.items()]
    torch.nn.functional.linear = linear
    try:
        yield seen
    finally:
        torch.nn.functional.linear = real
        for hook in hooks:
            hook.remove()
