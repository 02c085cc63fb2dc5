import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcourse.models.loader import CheckpointError, load_tokenizer
from qcourse.models.tokenizer import BOS, Tokenizer, train_bpe

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
    assert BOS in (tmp_path / "tokenizer.json").read_text()


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no tokenizer.json"):
        load_tokenizer(tmp_path)
