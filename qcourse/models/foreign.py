"""Tokenizers of other people's model folders, through the `tokenizers` library, behind our three names.

`qcourse eval --model FOLDER` needs three things of a tokenizer: `encode`, `decode`, and the bytes each id stands for.
Does not handle: tokenizers that normalise text (the bytes would not add up; refused by a round-trip check).
"""

from pathlib import Path

from qcourse.models.tokenizer import byte_alphabet

CHECK = "def f(x):\n    return x[1:] + 1000  # naïve\n"


class ForeignTokenizer:
    """A `tokenizer.json` that is not ours. `bos_id` is the id that starts a sequence (or the end-of-text id)."""

    def __init__(self, path: Path, bos_id: int):
        try:
            from tokenizers import Tokenizer
        except ImportError as e:
            raise ImportError(f"{path} needs the `tokenizers` library: pip install 'qcourse[hub]'") from e
        self.inner, self.bos_id = Tokenizer.from_file(str(path)), bos_id
        self.vocab_size = self.inner.get_vocab_size()
        special = {added.content for added in self.inner.get_added_tokens_decoder().values()}
        names = [self.inner.id_to_token(i) for i in range(self.vocab_size)]
        byte_level = all(c in BYTE_OF for n in names if n is not None and n not in special for c in n)
        self.token_bytes = [b"" if n is None or n in special else bytes_of(n, byte_level) for n in names]
        if b"".join(self.token_bytes[i] for i in self.encode(CHECK)).strip() != CHECK.strip().encode():
            raise ValueError(f"{path}: this tokenizer changes text, so bits per byte would be wrong")

    def encode(self, text: str, bos: bool = False) -> list[int]:
        """Ids of `text`, without the library's own special tokens; `bos=True` puts `bos_id` in front."""
        return ([self.bos_id] if bos else []) + self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids) -> str:
        """Text of ids; ids beyond the vocabulary (models pad their embedding) stand for nothing."""
        known = (int(i) for i in ids if int(i) < self.vocab_size)
        return b"".join(self.token_bytes[i] for i in known).decode("utf-8", errors="replace")


BYTE_OF = {c: b for b, c in enumerate(byte_alphabet())}


def bytes_of(name: str, byte_level: bool) -> bytes:
    """Bytes of a vocabulary entry: byte-level alphabet (GPT-2, Qwen, Llama 3) or else SentencePiece (▁, <0x0A>)."""
    if byte_level:
        return bytes(BYTE_OF[c] for c in name)
    if name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:-1], 16)])
    return name.replace("▁", " ").encode()
