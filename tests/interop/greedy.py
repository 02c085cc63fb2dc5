"""Greedy text of an engine that rounds differently: equal to ours, or as good up to that rounding."""

import torch

from qcourse.models.generate import generate
from qcourse.models.loader import load_model
from qcourse.study.kv import through_cache


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


def parted(exact, rounded, prompt: list[int], theirs: list[int]) -> tuple[dict, torch.Tensor, torch.Tensor]:
    """(figures, log-probabilities of `exact`, of `rounded`), both (new ids, vocabulary), along an engine's greedy text.

    exact: our model · rounded: the same with its activations rounded as that engine rounds them. The figures:
    equal    how many of the first ids are those of `exact`
    gap      how far below the best logit of `exact` the first other id is (0: there is none)
    regret   the largest such distance of the whole text
    moved    rms of what the rounding does to a log-probability: two have moved by √2 of it against each other
    """
    ours = generate(exact, prompt, len(theirs))[len(prompt) :]
    equal = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours))
    ids, chosen = torch.tensor([[*prompt, *theirs]]), torch.tensor(theirs).unsqueeze(-1)
    with torch.inference_mode():
        models = [m if m.kv_cache is None else through_cache(m) for m in (exact, rounded)]
        a, b = (m(ids)[0, len(prompt) - 1 : -1].log_softmax(-1) for m in models)
        below = a.amax(-1) - a.gather(-1, chosen).squeeze(-1)
    gap = float(below[equal]) if equal < len(theirs) else 0.0
    return {"equal": equal, "gap": gap, "regret": float(below.max()), "moved": rms(a - b)}, a, b


def allowed(found: dict) -> bool:
    """Whether the text parts from ours only where two ids are as likely: up to four times what the rounding usually does."""
    return found["regret"] <= 4 * 2**0.5 * found["moved"]


def words(found: dict, fresh: int, why: str) -> str:
    """The figures of `parted` as a piece of a sentence; why: whose rounding it is."""
    if found["equal"] == fresh:
        return f"{fresh} of {fresh} greedy ids"
    return f"{found['equal']} of {fresh} greedy ids, the next {found['gap']:.3f} below our best logit ({why})"


def rms(t: torch.Tensor) -> float:
    return float(t.double().square().mean().sqrt())
