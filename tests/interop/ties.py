"""Greedy ids of an engine that multiplies 8-bit activations: equal to ours, or another one where two are nearly as good."""

import torch

from qcourse.gemm.activations import fake_quantize_input
from qcourse.models.loader import load_model
from qcourse.numerics.schemes import PRESETS


def same(a: list[int], b: list[int]) -> int:
    """How many ids agree before the first difference."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@torch.inference_mode()
def moved(model, ids: torch.Tensor, at: int) -> float:
    """How far 8-bit activations in blocks of 32 move a logit at position `at`: the largest, over all ids."""
    want, args = model(ids)[0, at], PRESETS["W8A8_G32"].input_activations
    hooks = [layer.register_forward_pre_hook(lambda m, x: (fake_quantize_input(x[0], args, None),))
             for layer in model.linears().values()]  # fmt: skip
    rounded = model(ids)[0, at]
    for hook in hooks:
        hook.remove()
    return float((rounded - want).abs().max())


def first_difference(path, prompt: list[int], said: list[int], ours: list[int]) -> tuple[str, dict]:
    """A sentence and figures; asserts that it is a near tie, which 8-bit activations may decide the other way."""
    agree, of = same(said, ours), len(ours)
    if agree == of:
        return f"{of} of {of} greedy ids", {"equal": of, "of": of}
    model, ids = load_model(path), torch.tensor([[*prompt, *ours[:agree]]])
    with torch.inference_mode():
        logits = model(ids)[0, -1]
    gap, allowed = float(logits[ours[agree]] - logits[said[agree]]), 2 * moved(model, ids, -1)
    assert said[agree] == logits.topk(2).indices[1] and ours[agree] == logits.argmax(), "another id than the runner-up"
    assert 0 <= gap <= allowed, (gap, allowed)
    verdict = f"the first {agree} of {of} greedy ids; there our logits of the two ids differ by {gap:.3f}"
    verdict += f", and 8-bit activations move them by up to {allowed / 2:.3f}"
    return verdict, {"equal": agree, "of": of, "gap": gap, "moved": allowed / 2}
