"""Tokenizers of other people's model folders, through the `tokenizers` library, behind our three names.

`qcourse eval --model FOLDER` needs three things of a tokenizer: `encode`, `decode`, and the bytes each id stands for.
Does not handle: tokenizers that change text (the bytes would not add up): `study.perplexity` compares the bytes of the
ids with the bytes of the text, on all of it, and refuses.
"""

import json
import re
from pathlib import Path

from qcourse.models.tokenizer import byte_alphabet


class ForeignTokenizer:
    """A `tokenizer.json` that is not ours. `bos_id` is the id that starts a sequence (or the end-of-text id)."""

    add_bos = True

    def __init__(self, path: Path, bos_id: int, eos_id: int | None = None):
        try:
            from tokenizers import Tokenizer
        except ImportError as e:
            raise ImportError(f"{path} needs the `tokenizers` library: pip install 'qcourse[hub]'") from e
        try:
            self.inner, self.bos_id, self.eos_id = Tokenizer.from_file(str(path)), bos_id, eos_id
        except Exception as e:  # the library raises nothing more special
            raise ValueError(f"{path}: not a tokenizer that the `tokenizers` library reads ({e})") from e
        vocab = self.inner.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocab.values(), default=-1) + 1  # ids may have gaps
        if not 0 <= bos_id < self.vocab_size:
            raise ValueError(f"{path}: a text begins with id {bos_id}, the vocabulary has {self.vocab_size}")
        added = {a.content: a.special for a in self.inner.get_added_tokens_decoder().values()}
        byte_level = all(c in BYTE_OF for n in vocab if n not in added for c in n)
        self.specials = {text: i for text, i in vocab.items() if added.get(text)}
        self.chat_template = template_of(path.parent)
        self.token_bytes = [b""] * self.vocab_size
        for name, i in vocab.items():
            plain = name.encode() if name in added else bytes_of(name, byte_level)
            self.token_bytes[i] = b"" if added.get(name) else plain

    def encode(self, text: str, bos: bool = False, special: bool = False) -> list[int]:
        """Ids of `text`, without the library's own special tokens; `bos=True` puts `bos_id` in front, `special=True` reads
        special tokens written in the text ("<s>" is text otherwise)."""
        self.inner.encode_special_tokens = not special
        return ([self.bos_id] if bos else []) + self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids) -> str:
        """Text of ids; ids beyond the vocabulary (models pad their embedding) stand for nothing.

        Raises ValueError for a negative id.
        """
        if any(int(i) < 0 for i in ids):
            raise ValueError("a negative id stands for no token")
        known = (int(i) for i in ids if int(i) < self.vocab_size)
        return b"".join(self.token_bytes[i] for i in known).decode("utf-8", errors="replace")


def template_of(folder: Path) -> str | None:
    """The chat template of a model folder, as text; None where there is none."""
    beside, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    try:
        if beside.is_file():
            return beside.read_text(encoding="utf-8")
        found = json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.is_file() else None
    except (OSError, ValueError, AttributeError) as e:
        raise ValueError(f"{folder}: its chat template cannot be read ({e})") from e
    return found if isinstance(found, str) else None


BYTE_OF = {c: b for b, c in enumerate(byte_alphabet())}


def bytes_of(name: str, byte_level: bool) -> bytes:
    """Bytes of a vocabulary entry: byte-level alphabet (GPT-2, Qwen, Llama 3) or else SentencePiece (▁, <0x0A>)."""
    if byte_level:
        return bytes(BYTE_OF[c] for c in name)
    if re.fullmatch("<0x[0-9A-Fa-f]{2}>", name):
        return bytes([int(name[3:-1], 16)])
    return name.replace("▁", " ").encode()
