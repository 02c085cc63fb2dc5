import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcourse.models.loader import SHIPPED, CheckpointError, load_tokenizer, read_config
from qcourse.models.tokenizer import EOT, Tokenizer, read_json, train_bpe

KNOWN = st.text(st.characters(exclude_categories=("Cs", "Cn")))  # what this Python's Unicode has assigned
SMALL = train_bpe(["def f(x):\n    return x\n" * 20, "class A:\n    def f(self):\n        return 1\n" * 20], 300)


@given(st.text())
def test_any_text_survives(text):
    assert SMALL.decode(SMALL.encode(text)) == text


def test_python_survives_in_fewer_tokens(tokenizer):
    text = "class Shelf(dict):\n    def __getitem__(self, key):\n        return self._items[key]\n"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and len(ids) < len(text) / 2


def test_bos_stands_for_no_bytes(tokenizer):
    assert tokenizer.encode("", bos=True) == [tokenizer.bos_id] and tokenizer.token_bytes[tokenizer.bos_id] == b""


def test_merges_are_the_most_frequent_pairs():
    assert train_bpe(["ababab cdcd"], 258).merges == [(ord("a"), ord("b"))]


def test_save_and_load_give_the_same_tokenizer(tmp_path):
    SMALL.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path)
    assert again.merges == SMALL.merges and again.vocab_size == SMALL.vocab_size
    assert EOT in (tmp_path / "tokenizer.json").read_text()


@given(KNOWN | st.from_regex(r"[a-zA-Z0-9 \n\t'.(]{0,40}", fullmatch=True))
def test_the_library_reads_our_file_and_gives_our_ids(library, text):
    assert library.encode(text, add_special_tokens=False).ids == SMALL.encode(text)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    from tokenizers import Tokenizer as Library

    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    SMALL.save(path)
    found = Library.from_file(str(path))
    found.encode_special_tokens = True  # `<|endoftext|>` written in a text is text
    return found


def test_end_of_text_ends_a_text_and_begins_the_next(tokenizer):
    config = read_config(SHIPPED)
    assert tokenizer.eos_id == tokenizer.bos_id == tokenizer.vocab_size - 1 == config.vocab_size - 1
    raw = read_json(SHIPPED / "config.json")
    assert raw["bos_token_id"] == raw["eos_token_id"] == tokenizer.eos_id


def test_a_tokenizer_with_another_rule_is_not_taken_for_ours(tmp_path):
    SMALL.save(tmp_path / "tokenizer.json")
    assert Tokenizer.is_ours(tmp_path / "tokenizer.json")
    for change in (
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"added_tokens": []},
        {"added_tokens": [{"id": 3, "content": EOT}]},
        {"model": {"vocab": {"a": 0}, "merges": []}},
    ):
        (tmp_path / "other.json").write_text(json.dumps(read_json(tmp_path / "tokenizer.json") | change))
        assert not Tokenizer.is_ours(tmp_path / "other.json"), change


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no tokenizer.json"):
        load_tokenizer(tmp_path)
