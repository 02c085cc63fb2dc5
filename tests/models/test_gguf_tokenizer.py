"""The tokenizer of a GGUF file: pieces by the name of the rule, ids by the merges, and nothing assumed."""

import numpy as np
import pytest

from qcourse.checkpoints.errors import CheckpointError
from qcourse.models.gguf_tokenizer import PRE, GGUFTokenizer
from qcourse.models.tokenizer import byte_alphabet

BYTES = byte_alphabet()
WORDS = ["he", "ll", "hell", "hello", "Ġ", "Ġhe", "12", "123"]
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ he", "1 2", "12 3"]
SPECIAL = ["<|end|>", "<tool>", "[PAD]"]
TOKENS = [*BYTES, *[w for w in WORDS if w not in BYTES], *SPECIAL]
TYPES = np.array([1] * (len(TOKENS) - 3) + [3, 4, 5], dtype=np.int32)
END, TOOL, PAD = range(len(TOKENS) - 3, len(TOKENS))


def metadata(**more):
    found = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": TOKENS,
        "merges": MERGES,
        "token_type": TYPES,
        "eos_token_id": END,
    } | more
    return {f"tokenizer.ggml.{k}": v for k, v in found.items() if v is not None}


def tokenizer(**more):
    return GGUFTokenizer(metadata(**more), "x.gguf")


def pieces(name, text):
    """The text cut by a rule, without its byte-level alphabet: spaces are Ġ, newlines Ċ, returns č."""
    return [
        piece.replace("Ġ", " ").replace("Ċ", "\n").replace("č", "\r")
        for piece, _ in tokenizer(pre=name).inner.pre_tokenizer.pre_tokenize_str(text)
    ]


TEXT = "I'LL don't x=1234;\n\n  a  \r\n!"
PIECES = {  # by hand, from the rules
    "gpt-2": ["I", "'", "LL", " don", "'t", " x", "=", "1234", ";", "\n\n ", " a", "  \r", "\n", "!"],
    "smollm": ["I", "'", "LL", " don", "'t", " x", "=", "1", "2", "3", "4", ";", "\n\n ", " a", "  \r", "\n", "!"],
    "llama-bpe": ["I", "'LL", " don", "'t", " x", "=", "123", "4", ";\n\n", " ", " a", "  \r\n", "!"],
    "qwen2": ["I", "'LL", " don", "'t", " x", "=", "1", "2", "3", "4", ";\n\n", " ", " a", "  \r\n", "!"],
    "default": ["I", "'", "LL", " don", "'", "t", " x", "=", "123", "4", ";", "\n\n ", " a", "  \r\n", "!"],
}


@pytest.mark.parametrize("name", PRE)
def test_pieces(name):
    assert pieces(name, TEXT) == PIECES[{"llama3": "llama-bpe", "llama-v3": "llama-bpe"}.get(name, name)]
    assert tokenizer(pre=name).add_bos == name.startswith("llama")


def test_ids_and_bytes():
    t = tokenizer()
    assert [TOKENS[i] for i in t.encode("hello hello1234")] == ["hello", "Ġ", "hello", "123", "4"]
    assert t.encode("he", bos=True) == [END, TOKENS.index("he")] and t.bos_id == t.eos_id == END
    for text in ("naïve “quotes”\t\n\n é = 3.14 🙂\x00", "", "\r\n \n", "".join(map(chr, range(0x300)))):
        ids = t.encode(text)
        assert t.decode(ids) == text and b"".join(t.token_bytes[i] for i in ids) == text.encode()
    assert t.vocab_size == len(t.token_bytes) == len(TOKENS) and t.decode([END, 10**9, -1, PAD]) == ""
    assert tokenizer(bos_token_id=3).bos_id == 3 and tokenizer(add_bos_token=True).add_bos
    assert tokenizer(pre=None).pre == "default" and tokenizer(token_type=None).token_bytes[END] == b"<|end|>"


def test_whole_pieces_need_no_merges_in_llama_3():
    cut = {"merges": MERGES[:3]}
    assert [TOKENS[i] for i in tokenizer(**cut).encode("hello")] == ["hell", "o"]
    assert [TOKENS[i] for i in tokenizer(pre="llama-bpe", **cut).encode("hello")] == ["hello"]


def test_control_tokens_are_read_only_when_asked():
    t = tokenizer()
    for _ in range(2):  # the question leaves nothing behind
        assert END not in t.encode("a<|end|>b") and t.decode(t.encode("a<|end|>b")) == "a<|end|>b"
        assert t.encode("a<|end|>b", special=True) == [TOKENS.index("a"), END, TOKENS.index("b")]
    assert t.encode("<tool>") == t.encode("<tool>", special=True) == [TOOL] and t.decode([TOOL]) == "<tool>"
    assert PAD not in t.encode("[PAD]", special=True)


def test_the_chat_template_is_text():
    assert tokenizer().chat_template is None
    assert GGUFTokenizer(metadata() | {"tokenizer.chat_template": "{{ 1/0 }}"}, "x").chat_template == "{{ 1/0 }}"


def test_a_byte_without_a_token_is_an_error_not_a_hole():
    t = tokenizer(tokens=["<none>" if x == BYTES[7] else x for x in TOKENS])
    assert t.decode(t.encode("hello")) == "hello"
    with pytest.raises(ValueError, match="byte 0x07"):
        t.encode("a\x07")


BAD = {
    "SentencePiece": ({"model": "llama"}, r"'llama' \(SentencePiece\)"),
    "WordPiece": ({"model": "bert"}, "WordPiece"),
    "no model": ({"model": None}, "missing"),
    "a model of numbers": ({"model": 3}, "only 'gpt2'"),
    "unknown rule": ({"pre": "tekken"}, "'tekken': known pre-tokenizers are default, gpt-2, smollm, llama-bpe, qwen2"),
    "a rule of numbers": ({"pre": 3}, "known pre-tokenizers"),
    "no tokens": ({"tokens": None}, "tokens: an array of strings"),
    "no token": ({"tokens": []}, "tokens: an array of strings"),
    "tokens of numbers": ({"tokens": np.arange(9)}, "tokens: an array of strings"),
    "no merges": ({"merges": None}, "merges: an array of strings"),
    "a token twice": ({"tokens": [*TOKENS[:-1], "he"]}, "ids .* are both 'he'"),
    "merge of one": ({"merges": ["he"]}, "merge 0 is 'he'"),
    "merge with nothing": ({"merges": ["h e", "h "]}, "merge 1 is 'h '"),
    "merge of an unknown": ({"merges": ["h zz"]}, "names 'zz', which is not among the tokens"),
    "merge to an unknown": ({"merges": ["h o"]}, "names 'ho'"),
    "merge of three": ({"merges": ["h e l"]}, "names 'e l'"),
    "bos beyond": ({"bos_token_id": len(TOKENS)}, "bos_token_id: .* an id of the"),
    "eos negative": ({"eos_token_id": -1}, "eos_token_id: -1"),
    "eos a bool": ({"eos_token_id": True}, "eos_token_id: True"),
    "eos a text": ({"eos_token_id": "</s>"}, "eos_token_id"),
    "no bos, no eos": ({"eos_token_id": None}, "how a text begins"),
    "few types": ({"token_type": TYPES[:5]}, "one for each token"),
    "types of floats": ({"token_type": TYPES.astype(np.float32)}, "integers expected"),
    "type 9": ({"token_type": np.where(np.arange(len(TYPES)) == 5, 9, TYPES)}, "token_type: 9"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(name):
    fields, message = BAD[name]
    with pytest.raises(CheckpointError, match=message) as e:
        tokenizer(**fields)
    assert "x.gguf" in str(e.value)
