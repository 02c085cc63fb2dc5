"""What each format costs one model: added bits a byte, KL divergence from the 16-bit weights, and how often the likeliest
next token is another one.

KL sees a change in the whole distribution where bits a byte see only the token that came; llama.cpp's `--kl-divergence`
reports the same two (KL and the top-1 that stays). Notebooks 03, 04; captures of SmolLM2.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from qcourse.models.loader import open_checkpoint
from qcourse.shapes import Tensor
from qcourse.study.cost import model_bytes
from qcourse.study.evaluate import CALIBRATION_WINDOWS
from qcourse.study.families import prepare
from qcourse.study.perplexity import Score, agreement, paired_difference, perplexity, windows

KL_WINDOWS = 8  # logits of so many windows are kept: at 49,152 ids and 512 tokens 100 MB each


class Divergence:
    """KL(reference ‖ model) in nats a token, over the first windows of a text: `look` at the reference, then at a model."""

    def __init__(self, num_windows: int = KL_WINDOWS):
        self.num_windows, self.reference, self.nats = num_windows, [], []

    def keep(self, first: int, logits: Tensor) -> None:
        """The reference's distribution, window by window."""
        self.reference += list(torch.log_softmax(logits[: max(0, self.num_windows - first)], -1))

    def look(self, first: int, logits: Tensor) -> None:
        """Compare a model's distribution with the reference's on the same windows."""
        if first == 0:
            self.nats = []
        for log_p, z in zip(self.reference[first : first + len(logits)], logits, strict=False):
            log_q = torch.log_softmax(z, -1)
            self.nats.append((log_p.exp() * (log_p - log_q)).sum(-1).double().mean().item())

    @property
    def mean(self) -> tuple[float, float]:
        """(nats a token, standard error over windows)."""
        per_window = torch.tensor(self.nats, dtype=torch.float64)
        return per_window.mean().item(), (per_window.std() / math.sqrt(len(per_window))).item()


def rung(model, score: Score, reference: Score, kl: tuple[float, float]) -> dict:
    """One format's numbers as JSON: bits a byte, what was added (paired), KL, top-1 flips, bytes."""
    added, size = paired_difference(reference, score), model_bytes(model)
    return {
        "bits_per_byte": score.bits_per_byte, "stderr": score.stderr,
        "added_bits_per_byte": added.mean, "added_stderr": added.stderr,
        "kl_nats": kl[0], "kl_stderr": kl[1], "top1_flips": 1 - agreement(reference, score),
        "bits_per_weight": size.bits_per_weight, "total_bytes": size.total,
    }  # fmt: skip


def ladder(
    source: Path | str, formats: list[str], n: int = 64, seq_len: int = 512, done: Mapping[str, dict] | None = None
) -> Iterator[tuple[str, dict]]:
    """(format, its numbers), "bf16" (a quantized source dequantized) first; what is in `done` is not measured again.

    Formats as in `families.family`. Raises what loading, quantizing and `windows` raise.
    """
    left = [f for f in dict.fromkeys(["bf16", *formats]) if f not in (done or {})]
    if not left:
        return
    context = min(256, open_checkpoint(source).config.max_position_embeddings)
    few = max(4, min(n, CALIBRATION_WINDOWS))  # a quick look calibrates quickly
    text, sample = windows(source, n, seq_len), windows(source, few, context, "calibration").ids
    kl = Divergence(min(n, KL_WINDOWS))
    model = prepare(source, "bf16", sample)
    reference = perplexity(model, text, batch=4, look=kl.keep)
    for name in left:
        if name == "bf16":
            yield name, rung(model, reference, reference, (0.0, 0.0))
            continue
        model = prepare(source, name, sample)
        score = perplexity(model, text, batch=4, look=kl.look)
        yield name, rung(model, score, reference, kl.mean)
