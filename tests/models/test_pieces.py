"""Our reading of the rules that engines know by name, for Python's `re`, against the `tokenizers` library's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from qcourse.models.pieces import GPT2, PRE, for_re

SINGLE = {name: patterns[0] for name, patterns in PRE.items() if len(patterns) == 1}
ASSIGNED = st.characters(exclude_categories=("Cs", "Cn"))  # a newer Unicode than this Python's knows more letters
MIXED = st.text(ASSIGNED) | st.text(st.sampled_from("aZé中9٣ \t\n\r\x1c\x85\u3000'.,sm\u0301"), max_size=30)


@pytest.mark.parametrize("name", sorted(SINGLE))
@settings(max_examples=150)
@given(text=MIXED)
def test_the_library_cuts_where_we_cut(name, text):
    split = pre_tokenizers.Split(Regex(SINGLE[name]), "isolated")
    assert for_re(SINGLE[name]).findall(text) == [piece for piece, _ in split.pre_tokenize_str(text)]


def test_gpt2_by_hand():
    assert for_re(GPT2).findall("  if x's12  ") == [" ", " if", " x", "'s", "12", "  "]
