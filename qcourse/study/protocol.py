"""The protocol of a perplexity as an experiment: what each choice moves, beside what int8 moves.

    the text      n windows of T tokens, evenly spaced in the held-out files; T is even and divisible by 4
    base          one marker in front of each, every token scored, total bits over total bytes (study.perplexity)
    a change      the same text read otherwise, or the number taken otherwise; where the text must be another, it says so

Every row is bits a byte as it would be reported, and the same nats as perplexity by token and by word: three numbers that
cannot be compared with each other, nor across tokenizers the first of the two. `W8A16` is the model with int8 weights
under the base protocol: a choice that moves the number by more hides it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from qcourse.models.loader import load_model, load_tokenizer
from qcourse.numerics.schemes import PRESETS
from qcourse.shapes import Tensor
from qcourse.study.insides import rounded
from qcourse.study.perplexity import token_stream
from qcourse.study.picture import Picture, Table
from qcourse.study.plots import BLUE, GREY, bars

BASE, INT8 = "base", "W8A16"


@dataclass(frozen=True)
class Text:
    """The held-out stream and where n windows of T tokens begin in it; bos: the marker's id."""

    stream: Tensor
    starts: Tensor
    T: int
    bos: int

    def cut(self, starts: Tensor, before: int, length: int) -> Tensor:
        """(n, before + length): windows from these places on, with the tokens before them."""
        return torch.stack([self.stream[s - before : s + length] for s in starts.tolist()])


def text_of(source: Path | str, n: int, seq_len: int) -> Text:
    """Raises ValueError for windows that do not fit between each other, or that 4 does not divide."""
    tokenizer, stream = token_stream(source, "held_out")
    if seq_len < 8 or seq_len % 4 or n < 4 or (n + 1) * seq_len >= len(stream):
        raise ValueError(
            f"{n} windows of {seq_len} tokens: at least 4 windows, their length a multiple of 4, no overlap within "
            f"{len(stream)} tokens"
        )
    starts = torch.linspace(seq_len, len(stream) - 3 * seq_len // 2, n).long()
    return Text(stream, starts, seq_len, tokenizer.bos_id)


@torch.inference_mode()
def nats(model, ids: Tensor, first: int, batch: int = 4) -> Tensor:
    """−log p of the ids (n, m) from place `first` on, each from all that stands before it: (n, m − first)."""
    found = []
    for part in ids.split(batch):
        logits = model(part[:, :-1])[:, first - 1 :]
        found.append(F.cross_entropy(logits.flatten(0, 1), part[:, first:].flatten(), reduction="none").view(len(part), -1))
    return torch.cat(found).double()


def marked(body: Tensor, bos: int, markers: int = 1) -> Tensor:
    """Markers in front."""
    return F.pad(body, (markers, 0), value=bos)


def halves(parts: int) -> Callable:
    """Each window read as so many, a marker in front of each: the same tokens, less in front of them."""
    return lambda m, t: (
        nats(m, marked(t.cut(t.starts, 0, t.T).reshape(-1, t.T // parts), t.bos), 1),
        t.cut(t.starts, 0, t.T),
    )


def strided(m, t: Text) -> tuple[Tensor, Tensor]:
    """Half a window of text in front of each window, read and not scored: what a stride of half a window gives."""
    ids = marked(t.cut(t.starts, t.T // 2, t.T), t.bos)
    return nats(m, ids, 1 + t.T // 2), ids[:, 1 + t.T // 2 :]


def unmarked(m, t: Text) -> tuple[Tensor, Tensor]:
    """No marker: the first token of a window has nothing before it and is not scored."""
    body = t.cut(t.starts, 0, t.T)
    return nats(m, body, 1), body[:, 1:]


def twice_marked(m, t: Text) -> tuple[Tensor, Tensor]:
    """Two markers, the second of them scored."""
    ids = marked(t.cut(t.starts, 0, t.T), t.bos, 2)
    return nats(m, ids, 1), ids[:, 2:]


def unjoined(m, t: Text) -> tuple[Tensor, Tensor]:
    """Files are not joined: windows begin where a file begins (other text: the heads of files)."""
    heads = (t.stream == t.bos).nonzero().flatten() + 1
    heads = heads[heads + t.T <= len(t.stream)]
    body = t.cut(heads[torch.linspace(0, len(heads) - 1, min(len(t.starts), len(heads))).long()], 0, t.T)
    return nats(m, marked(body, t.bos), 1), body


def elsewhere(m, t: Text) -> tuple[Tensor, Tensor]:
    """As many windows, half a window further on (half of the text is other text)."""
    body = t.cut(t.starts + t.T // 2, 0, t.T)
    return nats(m, marked(body, t.bos), 1), body


CHANGES: dict[str, Callable] = {
    "window: a half": halves(2),
    "window: a quarter": halves(4),
    "stride: half a window in front, not scored": strided,
    "BOS: none": unmarked,
    "BOS: two": twice_marked,
    "joining: windows at the heads of files": unjoined,
    "windows: as many, elsewhere": elsewhere,
}
FEWER = {"windows: half as many": 2, "windows: a quarter as many": 4}
AVERAGE = "average: mean of the windows' own"


def told(tokenizer, found: Tensor, scored: Tensor) -> dict:
    """Bits a byte, and perplexity by token and by word, of nats and the ids that they are spread over."""
    sizes = torch.tensor([len(b) for b in tokenizer.token_bytes])
    total, words = found.sum().item(), sum(len(tokenizer.decode(row).split()) for row in scored.tolist())
    bits = total / math.log(2) / int(sizes[scored].sum())
    return {"bits_per_byte": bits, "token_ppl": math.exp(total / found.numel()), "word_ppl": math.exp(total / words)}


def averaged(tokenizer, found: Tensor, scored: Tensor) -> dict:
    """The mean over windows of each window's own numbers, instead of totals over totals."""
    rows = [told(tokenizer, a[None], b[None]) for a, b in zip(found, scored, strict=True)]
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def protocol(source: Path | str, done: Mapping, n: int, seq_len: int) -> Iterator[tuple[str, dict]]:
    """(change, its numbers); each but the base with `added_bits_per_byte`, which the base's are taken from."""
    tokenizer, t = load_tokenizer(source), text_of(source, n, seq_len)
    model, body = load_model(source, dequantize=True).float(), t.cut(t.starts, 0, t.T)
    base = nats(model, marked(body, t.bos), 1)
    first = told(tokenizer, base, body)
    less = lambda row: row | {"added_bits_per_byte": row["bits_per_byte"] - first["bits_per_byte"]}  # noqa: E731
    if BASE not in done:
        yield BASE, first
    if INT8 not in done:
        with rounded(model.linears().values(), PRESETS[INT8].weights):
            yield INT8, less(told(tokenizer, nats(model, marked(body, t.bos), 1), body))
    for name, change in CHANGES.items():
        if name not in done:
            yield name, less(told(tokenizer, *change(model, t)))
    for name, parts in FEWER.items():
        yield name, less(told(tokenizer, base[::parts], body[::parts]))
    yield AVERAGE, less(averaged(tokenizer, base, body))


def protocol_table(results: Mapping[str, dict]) -> Table:
    """Every choice with what it moves, and how many times what int8 moves."""
    int8, rows = abs(results[INT8]["added_bits_per_byte"]), []
    for name, r in results.items():
        added = r.get("added_bits_per_byte")
        moved = ("", "") if added is None else (f"{added:+.4f}", f"{abs(added) / int8:,.0f}×" if int8 else "")
        rows.append((name, f"{r['bits_per_byte']:.4f}", *moved, f"{r['token_ppl']:.2f}", f"{r['word_ppl']:,.0f}"))
    return Table(("", "bits/byte", "moved", "in int8's", "ppl/token", "ppl/word"), rows)


def protocol_figure(results: Mapping[str, dict], subject: str) -> Picture:
    """What each choice moves the number by, int8 among them."""
    moved = {name: abs(r["added_bits_per_byte"]) for name, r in results.items() if name != BASE}
    more = sum(value > moved[INT8] for name, value in moved.items() if name != INT8)
    title = f"{subject}: {more} of {len(moved) - 1} choices of protocol move the number by more than int8 does"
    order = sorted(moved, key=moved.get, reverse=True)
    colors = [GREY if name == INT8 else BLUE for name in order]
    return bars(order, [max(moved[name], 1e-6) for name in order], title, "|change| in bits/byte", colors=colors, log=True)
