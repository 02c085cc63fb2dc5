"""Greedy text of an engine that rounds differently: equal to ours, or as good up to that rounding."""

import torch

from qcourse.models.generate import generate
from qcourse.models.loader import load_model


@torch.inference_mode()
def compared(source, prompt, theirs):
    """(how many of the first ids are equal, largest regret, bound) of an engine's greedy ids `theirs` after `prompt`.

    regret: by how much our best logit is above that of the id which the engine chose, at each step of its own text. How far
    bf16 activations move a logit is measured on the same text, in our own engine; another engine's bf16 may move it twice as
    far, and two logits are compared: what is allowed is four times that. (Where two ids are as good as each other, who wins
    depends on the processor: a text of its own is no mistake.)
    """
    models = [load_model(source, compute_dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    ids = torch.tensor([[*prompt, *theirs]])
    logits, rounded = (m(ids)[0, len(prompt) - 1 : -1] for m in models)
    chosen = logits.gather(-1, torch.tensor(theirs).unsqueeze(-1)).squeeze(-1)
    ours = generate(models[0], prompt, len(theirs))[len(prompt) :]
    equal = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours))
    return equal, (logits.amax(-1) - chosen).max().item(), 4 * (logits - rounded).abs().max().item()
