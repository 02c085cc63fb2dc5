"""A tokenizer as GGUF's metadata: tokens, their types, merges, and the *name* of the rule that cuts text into pieces.

llama.cpp keeps those rules in its own source and finds them by name (`pieces.PRE`), so a tokenizer whose rule has no name
cannot be written: other text would be cut elsewhere, and the model would read other ids.
Source: gguf-py's `vocab.py`; llama.cpp's `llama-vocab.cpp`.
"""

import json

import numpy as np

from qcourse.checkpoints.gguf_values import Strings
from qcourse.models.foreign import ForeignTokenizer
from qcourse.models.gguf_tokenizer import CONTROL, KEY, UNUSED, USER, GGUFTokenizer
from qcourse.models.pieces import PRE
from qcourse.models.tokenizer import EOT, Tokenizer, byte_alphabet

NORMAL = 1


def vocabulary(tokenizer, vocab_size: int) -> dict[str, object]:
    """tokenizer.ggml.*, filled up to the model's `vocab_size` with unused tokens.

    Raises ValueError for a tokenizer that is no byte-level BPE, or whose rule has no name in llama.cpp, and for one with
    more tokens than the model has rows.
    """
    if isinstance(tokenizer, GGUFTokenizer):
        found = {
            k: list(v) if isinstance(v, Strings) else v for k, v in tokenizer.metadata.items() if k.startswith("tokenizer.")
        }
        return found | ({} if tokenizer.eos_id is None else {KEY + "eos_token_id": tokenizer.eos_id})
    tokens, types, merges, pre = ours(tokenizer) if isinstance(tokenizer, Tokenizer) else theirs(tokenizer)
    if len(tokens) > vocab_size:
        raise ValueError(f"the tokenizer has {len(tokens)} tokens, the model's embedding {vocab_size} rows")
    unused = [f"[PAD{i}]" for i in range(len(tokens), vocab_size)]
    tokens, types = [*tokens, *unused], [*types, *[UNUSED] * len(unused)]
    end = tokenizer.bos_id if tokenizer.eos_id is None else tokenizer.eos_id
    found = {
        KEY + "model": "gpt2", KEY + "pre": pre, KEY + "tokens": tokens, KEY + "token_type": np.array(types, np.int32),
        KEY + "merges": merges, KEY + "bos_token_id": tokenizer.bos_id, KEY + "eos_token_id": end,
        KEY + "add_bos_token": bool(tokenizer.add_bos),
    }  # fmt: skip
    template = tokenizer.chat_template
    return found | ({"tokenizer.chat_template": template} if template else {})


def ours(tokenizer: Tokenizer) -> tuple[list[str], list[int], list[str], str]:
    """(tokens, types, merges, rule) of the course's own tokenizer."""
    alphabet = byte_alphabet()
    tokens = ["".join(alphabet[b] for b in token) for token in tokenizer.token_bytes[:-1]] + [EOT]
    merges = [f"{tokens[a]} {tokens[b]}" for a, b in tokenizer.merges]
    return tokens, [NORMAL] * (len(tokens) - 1) + [CONTROL], merges, "gpt-2"


def theirs(tokenizer: ForeignTokenizer) -> tuple[list[str], list[int], list[str], str]:
    """The same of a `tokenizer.json`. Ids that it leaves out become unused tokens."""
    data = json.loads(tokenizer.inner.to_str())
    model = data["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise ValueError(f"a {model.get('type')} tokenizer: only byte-level BPE is written to GGUF")
    tokens, types = [f"[PAD{i}]" for i in range(tokenizer.vocab_size)], [UNUSED] * tokenizer.vocab_size
    for token, i in model["vocab"].items():
        tokens[i], types[i] = token, NORMAL
    for added in data["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], CONTROL if added["special"] else USER
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return tokens, types, merges, rule_of(data.get("pre_tokenizer"))


def rule_of(pre_tokenizer: dict | None) -> str:
    """llama.cpp's name of the rule. Raises ValueError when it has none, listing those that are known."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    patterns, gpt2 = [], False
    for step in steps:
        kind = (step or {}).get("type")
        if kind == "Digits" and step.get("individual_digits"):
            patterns.append(PRE["smollm"][0])
        elif (
            kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert") and "Regex" in step["pattern"]
        ):
            patterns.append(step["pattern"]["Regex"])
        elif kind == "ByteLevel" and not step.get("add_prefix_space"):
            gpt2 = gpt2 or step.get("use_regex", True)
        else:
            raise ValueError(f"a pre-tokenizer of kind {kind!r} has no name in GGUF: {', '.join(PRE)} are known")
    patterns += list(PRE["gpt-2"]) if gpt2 else []
    name = next((name for name, known in PRE.items() if known == tuple(patterns)), None)
    if name is None:
        raise ValueError(f"this tokenizer's rule {patterns} has no name in GGUF that is known here: {', '.join(PRE)} are")
    return name
