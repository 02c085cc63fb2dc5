"""A meter with its protocol as a value: what is put in front of a window, and which id each position is asked for.

    enter(body (n, T), bos) → (inputs (n, m), targets (n, m))       m positions are read, and each has one target

`RIGHT` is that of `study.perplexity`: one marker in front, every id of the window is a target, each asked of what stands
before it. A meter that enters text otherwise gives a number as well; that it is another number is what the clinic is about.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F

from qcourse.models import corpus
from qcourse.models.loader import SHIPPED, load_tokenizer
from qcourse.shapes import Integer, Tensor
from qcourse.study.kv import through_cache
from qcourse.study.perplexity import Windows

N, T = 12, 96  # windows of held-out text: every other one is the table's, the rest are the check's


@dataclass(frozen=True)
class Reading:
    """bits: bits a byte · nats (n, m): of each target · inputs, targets (n, m) · num_bytes: those that the bits were
    divided by."""

    bits: float
    nats: Tensor = field(repr=False)
    inputs: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    num_bytes: int = 0
    top1: Tensor | None = field(default=None, repr=False)


def one_ahead(body: Integer[Tensor, "n T"], bos: int) -> tuple[Tensor, Tensor]:
    """One marker, and each position asked for the id behind it."""
    ids = F.pad(body, (1, 0), value=bos)
    return ids[:, :-1], ids[:, 1:]


@dataclass(frozen=True)
class Meter:
    """A protocol: `enter`. Frozen, as a protocol should be: another one is another Meter."""

    enter: Callable = field(default=one_ahead, repr=False)

    @torch.inference_mode()
    def read(self, model, w: Windows) -> Reading:
        """The model's bits a byte on windows, entered this way; a model that says how its KV cache is kept is read through
        one. Raises ValueError for a meter whose inputs and targets do not fit, and for a score that is NaN or inf."""
        inputs, targets = self.enter(w.ids[:, 1:], int(w.ids[0, 0]))
        if inputs.shape != targets.shape or inputs.dim() != 2 or not inputs.numel():
            raise ValueError(f"inputs {tuple(inputs.shape)}, targets {tuple(targets.shape)}: one target for each position")
        run = through_cache(model) if getattr(model, "kv_cache", None) is not None else model
        logits = run(inputs)
        nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape).double()
        if not torch.isfinite(nats).all():
            raise ValueError("the model's score is NaN or inf on this text")
        size = int(token_sizes()[targets].sum())
        bits = nats.sum().item() / torch.log(torch.tensor(2.0, dtype=torch.float64)).item() / size
        return Reading(bits, nats, inputs, targets, size, logits.argmax(-1))


RIGHT = Meter()


@lru_cache(maxsize=1)
def token_sizes() -> Tensor:
    """The bytes that each id of the shipped tokenizer stands for."""
    return torch.tensor([len(b) for b in load_tokenizer(SHIPPED).token_bytes])


def cut(split: str, n: int, seq_len: int = T) -> Windows:
    """n windows of a split, each out of the middle of another file: a clinic that encodes little text opens at once.

    Files whose second half is too short are passed over. Raises ValueError for more windows than there are long files.
    """
    tokenizer, rows = load_tokenizer(SHIPPED), []
    for text in corpus.read(split):
        begin = text.find("\n", len(text) // 2) + 1
        ids = tokenizer.encode(text[begin : begin + 32 * seq_len])[:seq_len]
        rows += [ids] * (len(ids) == seq_len)
        if len(rows) == n:
            break
    else:
        raise ValueError(f"{n} windows of {seq_len} tokens: {split} has {len(rows)} files that are long enough")
    body = torch.tensor(rows)
    return Windows(F.pad(body, (1, 0), value=tokenizer.bos_id), token_sizes()[body].sum(1))


@lru_cache(maxsize=1)
def texts() -> tuple[Windows, Windows]:
    """(the table's windows, the check's): of neighbouring files of the held-out text, none shared."""
    w = cut("held_out", N)
    return tuple(Windows(w.ids[i::2], w.num_bytes[i::2]) for i in (0, 1))


@lru_cache(maxsize=2)
def calibration(n: int = 8) -> Integer[Tensor, "n T"]:
    """What methods look at: ids of other files, ready to be read."""
    return cut("calibration", n).ids[:, :-1]
