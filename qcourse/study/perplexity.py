"""How much a format hurts, with the protocol stated, because perplexity without one cannot be reproduced.

Protocol: the held-out files are tokenized and joined, `<|endoftext|>` before each; `n` windows of `seq_len` tokens start at
evenly spaced places, each gets one `<|endoftext|>` in front and is scored on all its tokens, nothing else in context (a
window that would begin with a file's own marker begins after it). `seq_len` positions are read: the last token is only
a target. Bits per byte divides by the bytes those tokens stand for, so it compares across tokenizers; perplexity is
per token.
Two models are compared on the *same* windows: the spread between windows cancels, and the paired standard error is
many times smaller than either model's own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F

from qcourse.models import corpus
from qcourse.models.loader import load_tokenizer, open_checkpoint
from qcourse.models.subjects import source_of
from qcourse.shapes import Float, Integer, Tensor
from qcourse.study.kv import through_cache


@dataclass(frozen=True)
class Windows:
    """The text of a measurement: ids (n, seq_len + 1) with `<|endoftext|>` first, and the bytes of each window's text."""

    ids: Integer[Tensor, "n T"]
    num_bytes: Integer[Tensor, "n"]


@dataclass(frozen=True)
class Score:
    """Negative log-likelihood of each window, in nats, with what is needed to normalise it; top1: the likeliest ids."""

    nats: Float[Tensor, "n"]
    windows: Windows
    top1: Integer[Tensor, "n T"] | None = None

    @property
    def bits_per_byte(self) -> float:
        """Total bits over total bytes (never a mean of per-window means)."""
        return (self.nats.sum() / math.log(2) / self.windows.num_bytes.sum()).item()

    @property
    def perplexity(self) -> float:
        """exp(nats per token)."""
        return math.exp(self.nats.sum().item() / (self.windows.ids.numel() - len(self.windows.ids)))

    @property
    def stderr(self) -> float:
        """Standard error of bits_per_byte over windows (ratio estimator)."""
        ratio = self.nats.sum() / self.windows.num_bytes.sum()
        return spread(self.nats - ratio * self.windows.num_bytes, self.windows)


@dataclass(frozen=True)
class Difference:
    """b - a in bits per byte on the same windows, with its paired standard error. `z` = mean / stderr."""

    mean: float
    stderr: float

    @property
    def z(self) -> float:
        """How many standard errors away from no difference."""
        return self.mean / self.stderr if self.stderr else math.inf if self.mean else 0.0

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ± {self.stderr:.4f} bits/byte"


def spread(per_window: Tensor, windows: Windows) -> float:
    """Standard error, in bits per byte, of a sum of per-window nats."""
    n = len(per_window)
    return (per_window.std() * math.sqrt(n) / math.log(2) / windows.num_bytes.sum()).item()


@lru_cache(maxsize=4)
def encoded(folder: Path, split: str, stamp: tuple) -> tuple:
    """`token_stream`, remembered for one state (`stamp`) of the folder's files."""
    tokenizer, stream = load_tokenizer(folder), []
    for text in corpus.read(split):
        ids = tokenizer.encode(text)
        got, want = b"".join(tokenizer.token_bytes[i] for i in ids), text.encode()
        if got.removeprefix(b" ") != want and got != want:  # SentencePiece puts one space before a text
            at = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), min(len(got), len(want)))
            raise ValueError(
                f"{folder}: this tokenizer changes text ({want[at : at + 20]!r} is kept as {got[at : at + 20]!r}), so bits "
                "per byte would be wrong"
            )
        stream += [tokenizer.bos_id, *ids]
    return tokenizer, torch.tensor(stream)


def token_stream(folder: Path | str, split: str) -> tuple:
    """Tokenizer of a model folder and the ids of a split of the reader's standard library, joined.

    Raises ValueError when the bytes of the ids are not the bytes of the text, checked on all of it.
    """
    folder = source_of(folder)
    files = [folder, *(folder / name for name in ("tokenizer.json", "config.json"))]  # a .gguf file is one
    stamp = tuple((f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
    return encoded(folder, split, stamp)


def windows(folder: Path | str, n: int = 64, seq_len: int = 256, split: str = "held_out") -> Windows:
    """`n` evenly spaced windows.

    Raises ValueError when the text is too short for them not to overlap, when the model's context is shorter than
    `seq_len`, and when its vocabulary is smaller than the tokenizer's ids.
    """
    config = open_checkpoint(folder).config
    if seq_len > config.max_position_embeddings:
        raise ValueError(f"windows of {seq_len} tokens: the model has {config.max_position_embeddings} positions")
    tokenizer, stream = token_stream(folder, split)
    if stream.max() >= config.vocab_size:
        raise ValueError(f"{folder}: the tokenizer gives id {stream.max()}, the model's vocabulary has {config.vocab_size}")
    if n < 2 or seq_len < 1 or n * seq_len >= len(stream):
        raise ValueError(
            f"{n} windows of {seq_len} tokens: {split} holds {len(stream)} tokens; at least 2 windows, no overlap"
        )
    starts = torch.linspace(0, len(stream) - seq_len, n).long()
    marker = stream[starts] == tokenizer.bos_id
    starts += torch.where(starts + seq_len < len(stream), 1, -1) * marker  # the window's own marker is enough
    body = torch.stack([stream[s : s + seq_len] for s in starts])
    sizes = torch.tensor([len(b) for b in tokenizer.token_bytes])
    return Windows(F.pad(body, (1, 0), value=tokenizer.bos_id), sizes[body].sum(1))


def check_text(model, w: Windows) -> None:
    """Raise ValueError for windows longer than the model's context, or ids that its embedding does not have."""
    config = getattr(model, "config", None)
    if config is not None and w.ids.shape[1] - 1 > config.max_position_embeddings:
        raise ValueError(f"windows of {w.ids.shape[1] - 1} tokens: the model has {config.max_position_embeddings} positions")
    if config is not None and not 0 <= w.ids.min() <= w.ids.max() < config.vocab_size:
        raise ValueError(f"windows hold ids {w.ids.min()}…{w.ids.max()}: the model's vocabulary has {config.vocab_size}")


@torch.inference_mode()
def perplexity(model, w: Windows, batch: int = 16, look: Callable[[int, Tensor], None] | None = None) -> Score:
    """Score a model (ids (B, T) → logits (B, T, V)) on every window, on the model's own device.

    `look`, if given, is shown each batch: the index of its first window, and its logits.
    A model that says how its KV cache is kept (`model.kv_cache`) is scored through one (`study.kv`).
    Raises ValueError for windows beyond the model's context or vocabulary, and when a score is NaN or inf.
    """
    check_text(model, w)
    device = next(model.parameters()).device
    if getattr(model, "kv_cache", None) is not None:
        model = through_cache(model)
    nats, top1 = [], []
    for ids in w.ids.split(batch):
        ids = ids.to(device)
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        nats.append(loss.view(len(ids), -1).double().sum(1).cpu())
        if look is not None:
            look(sum(map(len, top1)), logits)
        top1.append(logits.argmax(-1).cpu())
    bad = (~torch.isfinite(torch.cat(nats))).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"the model's score is NaN or inf on {len(bad)} of {len(w.ids)} windows, first on window {bad[0]}")
    return Score(torch.cat(nats), w, torch.cat(top1))


def agreement(a: Score, b: Score) -> float:
    """The share of positions at which two models would say the same next token (top-1)."""
    return (a.top1 == b.top1).float().mean().item()


def paired_difference(a: Score, b: Score) -> Difference:
    """How much worse b is than a. Raises ValueError when they were not measured on the same windows."""
    if not torch.equal(a.windows.ids, b.windows.ids):
        raise ValueError("the two scores come from different windows: a paired difference needs the same text")
    d = b.nats - a.nats
    return Difference((d.sum() / math.log(2) / a.windows.num_bytes.sum()).item(), spread(d, a.windows))
