"""The tokenizer inside a GGUF file: byte-level BPE, its tokens and merges from the metadata, its pre-tokenizer by name.

The file names the rule that cuts text into pieces (`tokenizer.ggml.pre`) and does not hold it: the rules are the table
`pieces.PRE`, and a name that is not in it is refused. The interface is that of `foreign.ForeignTokenizer`.
Does not handle: SentencePiece ("llama"), WordPiece ("bert") and the rest; each is refused by name.
Source: llama.cpp's `llama-vocab.cpp`; the same pieces as the models' own `tokenizer.json`, without their normalizers.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.gguf_values import Strings
from qcourse.models.foreign import BYTE_OF, bytes_of
from qcourse.models.pieces import PRE

WHOLE_PIECES = ("llama-bpe", "llama3", "llama-v3")  # a piece that is a token needs no merges; a text starts with bos
OTHERS = {"llama": "SentencePiece", "bert": "WordPiece", "t5": "Unigram", "rwkv": "RWKV's own", "plamo2": "PLaMo's own"}
UNKNOWN, CONTROL, USER, UNUSED = 2, 3, 4, 5  # tokenizer.ggml.token_type; 1 is normal, 6 a byte
KEY = "tokenizer.ggml."


class GGUFTokenizer:
    """`encode`, `decode`, `token_bytes`, from the metadata of a `GGUFFile`; `source` is the file named in errors.

    bos_id: the id that starts a sequence (or the end-of-text id) · eos_id: int or None · add_bos: whether the file wants
    bos in front of a text · specials: its control tokens, text → id · chat_template: as text (`chat.render` runs it) ·
    pre: the name of the pre-tokenizer. Raises CheckpointError naming the key.
    """

    def __init__(self, metadata: Mapping[str, object], source: Path | str):
        self.metadata, self.source = metadata, source
        self.pre = self._pre()
        tokens = self._strings("tokens")
        self.vocab_size = len(tokens)
        types = self._types()
        vocab = {token: i for i, token in enumerate(tokens)}
        if len(vocab) < len(tokens):
            twice = next(i for i, token in enumerate(tokens) if vocab[token] != i)
            self._fail("tokens", f"ids {twice} and {vocab[tokens[twice]]} are both {tokens[twice]!r}")
        self.inner = self._bpe(vocab, types)
        self.specials = {token: i for token, i in vocab.items() if types[i] == CONTROL and token}
        self.token_bytes = [bytes_of_token(t, kind) for t, kind in zip(tokens, types, strict=True)]
        self.missing = {byte for char, byte in BYTE_OF.items() if char not in vocab}
        self.eos_id = self._id("eos_token_id")
        bos = self._id("bos_token_id")
        self.bos_id = self.eos_id if bos is None else bos
        if self.bos_id is None:
            self._fail("bos_token_id", "missing, and eos_token_id too: nothing says how a text begins")
        self.add_bos = bool(metadata.get(KEY + "add_bos_token", self.pre in WHOLE_PIECES))
        template = metadata.get("tokenizer.chat_template")
        self.chat_template = template if isinstance(template, str) else None

    def encode(self, text: str, bos: bool = False, special: bool = False) -> list[int]:
        """Ids of `text`; `bos=True` puts `bos_id` in front, `special=True` reads control tokens written in the text.

        User-defined tokens are always read, as llama.cpp does. Raises ValueError for a byte that has no token.
        """
        if self.missing and (lost := self.missing & set(text.encode())):
            raise ValueError(f"{self.source}: byte 0x{min(lost):02x} of the text has no token in this vocabulary")
        self.inner.encode_special_tokens = not special
        return ([self.bos_id] if bos else []) + self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids) -> str:
        """Text of ids; control tokens, and ids beyond the vocabulary, stand for nothing."""
        known = (int(i) for i in ids if 0 <= int(i) < self.vocab_size)
        return b"".join(self.token_bytes[i] for i in known).decode("utf-8", errors="replace")

    def _fail(self, key: str, message: str):
        raise CheckpointError(f"{self.source}: {KEY}{key}: {message}")

    def _pre(self) -> str:
        model, pre = self.metadata.get(KEY + "model"), self.metadata.get(KEY + "pre", "default")
        if model != "gpt2":
            kind = OTHERS.get(model, "unknown") if isinstance(model, str) else "missing"
            self._fail("model", f"{model!r} ({kind}): only 'gpt2' (byte-level BPE) is read")
        if not isinstance(pre, str) or pre not in PRE:
            self._fail("pre", f"{pre!r}: known pre-tokenizers are {', '.join(PRE)}")
        return pre

    def _strings(self, key: str) -> list[str]:
        found = self.metadata.get(KEY + key)
        if not isinstance(found, Strings | list) or not len(found) or not all(isinstance(s, str) for s in found):
            self._fail(key, "an array of strings expected")
        return list(found)

    def _types(self) -> list[int]:
        found = self.metadata.get(KEY + "token_type")
        if found is None:
            return [1] * self.vocab_size
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu" or len(found) != self.vocab_size:
            self._fail("token_type", f"an array of {self.vocab_size} integers expected, one for each token")
        if ((found < 1) | (found > 6)).any():
            self._fail("token_type", f"{found[(found < 1) | (found > 6)][0]}: 1 (normal) to 6 (byte) are known")
        return found.tolist()

    def _id(self, key: str) -> int | None:
        found = self.metadata.get(KEY + key)
        if found is not None and (type(found) is not int or not 0 <= found < self.vocab_size):
            self._fail(key, f"{found!r}: an id of the {self.vocab_size} tokens expected")
        return found

    def _merges(self, vocab: dict[str, int]) -> list[tuple[str, str]]:
        pairs: dict[tuple[str, str], None] = {}  # of two equal merges the first counts
        for i, merge in enumerate(self._strings("merges")):
            left, space, right = merge.partition(" ")
            if not (left and space and right):
                self._fail("merges", f"merge {i} is {merge!r}: two tokens with a space between them expected")
            for token in (left, right, left + right):
                if token not in vocab:
                    self._fail("merges", f"merge {i} ({merge!r}) names {token!r}, which is not among the tokens")
            pairs[left, right] = None
        return list(pairs)

    def _bpe(self, vocab: dict[str, int], types: list[int]) -> Tokenizer:
        merges = self._merges(vocab)
        inner = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=self.pre in WHOLE_PIECES))
        cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PRE[self.pre]]
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        control = [
            AddedToken(t, special=True, normalized=False) for t, i in vocab.items() if types[i] in (UNKNOWN, CONTROL) and t
        ]
        user = [AddedToken(t, special=False, normalized=False) for t, i in vocab.items() if types[i] == USER and t]
        inner.add_special_tokens(control)
        inner.add_tokens(user)
        return inner


def bytes_of_token(token: str, kind: int) -> bytes:
    """Bytes of a token: none for control tokens, the text itself for user-defined ones, else the byte-level alphabet."""
    if kind in (UNKNOWN, CONTROL, UNUSED):
        return b""
    if kind == USER or not all(c in BYTE_OF for c in token):
        return token.encode()
    return bytes_of(token, byte_level=True)
