"""Byte-level BPE in one file: every byte is a token, and the commonest pairs are merged, one after another.

Stored as a Hugging Face `tokenizer.json`, so that transformers and vLLM read the same file (tests/interop).
Text is first cut by GPT-2's rule (`pieces`), a name that every engine knows. The one special token, `<|endoftext|>`, ends
a file and begins the next, so a text starts with it and a model that writes it has finished.
Does not handle: normalisation, other special tokens.
Source: Sennrich et al. 2016 (arXiv:1508.07909); the byte alphabet is GPT-2's.
"""

import json
from collections import Counter, defaultdict
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from qcourse.models.pieces import GPT2, for_re

EOT = "<|endoftext|>"
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}  # the rule "gpt-2"


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes (a JSON file cannot hold raw bytes)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    chars, extra = {}, 0
    for b in range(256):
        chars[b] = chr(b) if b in printable else chr(256 + extra)
        extra += b not in printable
    return [chars[b] for b in range(256)]


class Tokenizer:
    """`encode` text to ids and `decode` ids to text. ids 0…255 are bytes, then one id a merge, then `<|endoftext|>`."""

    chat_template = None  # there is no conversation
    add_bos, specials = True, MappingProxyType({})

    def __init__(self, merges: list[tuple[int, int]]):
        self.merges = merges
        self.ranks = {pair: 256 + i for i, pair in enumerate(merges)}
        self.bos_id = self.eos_id = 256 + len(merges)
        self.vocab_size = self.bos_id + 1
        self.cache: dict[str, list[int]] = {}

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes each id stands for; `<|endoftext|>` stands for none, so bits per *byte* ignores it."""
        table = [bytes([b]) for b in range(256)]
        for a, b in self.merges:
            table.append(table[a] + table[b])
        return [*table, b""]

    def _encode_piece(self, piece: str) -> list[int]:
        ids = list(piece.encode("utf-8"))
        while len(ids) > 1:
            pair = min(zip(ids, ids[1:], strict=False), key=lambda p: self.ranks.get(p, 1 << 30))
            if pair not in self.ranks:
                break
            ids = merge(ids, pair, self.ranks[pair])
        return ids

    def encode(self, text: str, bos: bool = False) -> list[int]:
        """Ids of `text`; `bos=True` puts `<|endoftext|>` in front."""
        ids = [self.bos_id] if bos else []
        for piece in for_re(GPT2).findall(text):
            if piece not in self.cache:
                self.cache[piece] = self._encode_piece(piece)
            ids.extend(self.cache[piece])
        return ids

    def decode(self, ids) -> str:
        """Text of `ids`; bytes that are not valid UTF-8 (a character cut in half) show as U+FFFD.

        Raises ValueError for an id outside the vocabulary.
        """
        ids = [int(i) for i in ids]
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            raise ValueError(f"ids {min(ids)}…{max(ids)}: this vocabulary has {self.vocab_size}")
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", errors="replace")

    def save(self, path: Path) -> None:
        """Write a Hugging Face `tokenizer.json`."""
        chars = byte_alphabet()
        names = ["".join(chars[b] for b in t) for t in self.token_bytes[:-1]]
        special = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        data = {
            "version": "1.0",
            "added_tokens": [{"id": self.bos_id, "content": EOT, "special": True, **special}],
            "pre_tokenizer": BYTE_LEVEL,
            "decoder": BYTE_LEVEL,
            "model": {
                "type": "BPE",
                "vocab": {name: i for i, name in enumerate([*names, EOT])},
                "merges": [[names[a], names[b]] for a, b in self.merges],
            },
        }
        path.write_text(json.dumps(data, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    @staticmethod
    def is_ours(path: Path) -> bool:
        """Whether `save` wrote a tokenizer.json: GPT-2's rule, the bytes first and in order, `<|endoftext|>` last."""
        found = read_json(path)
        model, added = found.get("model"), found.get("added_tokens")
        vocab = model.get("vocab") if isinstance(model, dict) else None
        if not isinstance(vocab, dict) or not isinstance(added, list) or found.get("pre_tokenizer") != BYTE_LEVEL:
            return False
        last = [{"id": a.get("id"), "content": a.get("content")} for a in added if isinstance(a, dict)]
        bytes_first = all(vocab.get(c) == i for i, c in enumerate(byte_alphabet()))
        return bytes_first and last == [{"id": len(vocab) - 1, "content": EOT}]

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read the `tokenizer.json` of a folder or file. Raises FileNotFoundError, or ValueError for another file."""
        path = path / "tokenizer.json" if path.is_dir() else path
        try:
            model = read_json(path)["model"]
            merges = [(model["vocab"][a], model["vocab"][b]) for a, b in model["merges"]]
        except (KeyError, TypeError) as e:
            raise ValueError(f"{path}: not a tokenizer that this course wrote ({e!r} missing)") from e
        for i, pair in enumerate(merges):
            if not all(isinstance(part, int) and 0 <= part < 256 + i for part in pair):
                raise ValueError(f"{path}: merge {i} joins {pair}, which are not known yet at that point")
        return cls(merges)


def read_json(path: Path) -> dict:
    """A JSON object from a file. Raises ValueError naming a file that holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ValueError(f"{path}: not valid JSON in UTF-8 ({e})") from e
    if not isinstance(data, dict):
        raise ValueError(f"{path}: a JSON {type(data).__name__}, an object expected")
    return data


def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """Replace each occurrence of `pair` in `ids`, from the left, by `new_id`.

    >>> merge([1, 2, 3, 1, 2], (1, 2), 9)
    [9, 3, 9]
    """
    out, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def train_bpe(texts: list[str], vocab_size: int) -> Tokenizer:
    """Learn `vocab_size - 257` merges: again and again the most frequent pair (ties: the smallest ids).

    Cost: one pass to count pieces, then only the pieces that contain the merged pair are touched.
    """
    counts = Counter(piece for text in texts for piece in for_re(GPT2).findall(text))
    words = [(list(piece.encode("utf-8")), n) for piece, n in counts.items()]
    pairs, where = Counter(), defaultdict(set)
    for w, (ids, n) in enumerate(words):
        for p in zip(ids, ids[1:], strict=False):
            pairs[p] += n
            where[p].add(w)
    merges = []
    while len(merges) < vocab_size - 257 and pairs:
        best = min(pairs, key=lambda p: (-pairs[p], p))
        new_id = 256 + len(merges)
        merges.append(best)
        for w in where.pop(best):
            ids, n = words[w]
            new = merge(ids, best, new_id)
            for p in zip(ids, ids[1:], strict=False):
                pairs[p] -= n
            for p in zip(new, new[1:], strict=False):
                pairs[p] += n
                where[p].add(w)
            words[w] = (new, n)
        pairs = +pairs  # drop the pairs that no longer occur
    return Tokenizer(merges)
