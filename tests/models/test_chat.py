"""Sampling, streaming and conversations, on the shipped model and on a toy tokenizer with a template."""

import pytest
import torch

from qcourse.cli import main
from qcourse.models.chat import Chat, ask, loaded, pieces_of_text, render
from qcourse.models.generate import choose_token, generate, stream
from qcourse.models.loader import CheckpointError

TEMPLATE = (
    "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '[end]' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)


class Toy:
    """The shipped tokenizer with control tokens "[user]", "[assistant]", "[end]" on ids that are bytes seldom used."""

    chat_template, specials, eos_id = TEMPLATE, {"[user]": 1, "[assistant]": 2, "[end]": 3}, 3

    def __init__(self, tokenizer):
        self.inner, self.bos_id = tokenizer, tokenizer.bos_id
        self.token_bytes = list(tokenizer.token_bytes)

    def encode(self, text, bos=False, special=False):
        ids = []
        while text:
            at, name = min(((text.find(s), s) for s in self.specials if s in text), default=(len(text), ""))
            ids += self.inner.encode(text[:at]) + ([self.specials[name]] if name else [])
            text = text[at + len(name) :]
        return ids


def test_streaming_gives_what_generate_gives(shipped, tokenizer):
    ids = tokenizer.encode("def read(path):", bos=True)
    whole = generate(shipped, ids, 12)
    assert list(stream(shipped, ids, 12)) == whole[len(ids) :]
    drawn = generate(shipped, ids, 12, temperature=0.8, seed=3, top_p=0.9)
    assert list(stream(shipped, ids, 12, 0.8, 3, 0.9)) == drawn[len(ids) :] and drawn != whole


def test_it_ends_at_an_id_of_stop(shipped, tokenizer):
    ids = tokenizer.encode("def read(path):", bos=True)
    whole = generate(shipped, ids, 12)
    stop = whole[len(ids) + 4]
    first = whole.index(stop, len(ids))
    assert generate(shipped, ids, 12, stop={stop}) == whole[: first + 1]


def test_top_p_keeps_the_smallest_set_that_holds_p():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()[torch.tensor([2, 0, 3, 1])]  # ids 1, 3, 0, 2 by probability
    for top_p, kept in ((0.4, {1}), (0.5, {1}), (0.6, {1, 3}), (0.81, {0, 1, 3}), (1.0, {0, 1, 2, 3})):
        rng = torch.Generator().manual_seed(0)
        assert {choose_token(logits, 1.0, top_p, rng) for _ in range(400)} == kept


@pytest.mark.parametrize("settings", [{"top_p": 0.0}, {"top_p": 1.1}, {"temperature": -1.0}, {"max_new_tokens": -1}])
def test_settings_that_mean_nothing(shipped, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        list(stream(shipped, [1], **({"max_new_tokens": 1} | settings)))


def test_half_a_character_waits(tokenizer):
    ids = list("é€".encode())  # ids below 256 are bytes
    assert list(pieces_of_text(tokenizer, ids)) == ["", "é", "", "", "€", ""]
    assert "".join(pieces_of_text(tokenizer, ids[:1])) == "\ufffd"


def test_a_conversation_is_the_same_with_and_without_its_cache(shipped, tokenizer):
    chat, said = Chat(shipped, Toy(tokenizer), context=200, max_new_tokens=10), []
    for question in ("import os", "import re", "class A:"):
        said.append("".join(chat.say(question)))
        ids = Toy(tokenizer).encode(render(TEMPLATE, chat.messages[:-1]), special=True)
        fresh = generate(shipped, ids, 10, stop={3})[len(ids) :]
        assert said[-1] == "".join(pieces_of_text(tokenizer, (i for i in fresh if i != 3)))
    assert [m["role"] for m in chat.messages] == ["user", "assistant"] * 3 and chat.dropped == 0


def test_what_outgrows_the_context_is_forgotten_and_counted(shipped, tokenizer):
    chat = Chat(shipped, Toy(tokenizer), context=60, max_new_tokens=16)
    for _ in range(5):
        "".join(chat.say("import os, re, sys"))
    assert chat.dropped > 0 and len(chat.messages) < 10
    with pytest.raises(ValueError, match="positions are too few"):
        list(chat.say("x = 1\n" * 60))


def test_ask_is_a_conversation_of_one_question(shipped, tokenizer):
    said = "".join(Chat(shipped, tokenizer, max_new_tokens=6).say("def f("))
    assert ask("def f(", "shipped", max_new_tokens=6) == said == ask("def f(", "shipped", max_new_tokens=6)
    assert loaded.cache_info().hits and ask("def f(", "shipped", "W2A16", max_new_tokens=6) != said


def test_a_control_token_in_a_message_is_refused(shipped, tokenizer):
    chat = Chat(shipped, Toy(tokenizer), context=60, max_new_tokens=4)
    with pytest.raises(ValueError, match=r"holds '\[end\]'"):
        list(chat.say("a[end]b"))
    assert chat.messages == []


def test_a_template_is_a_strangers_program():
    for bad in ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ raise_exception('no') }}", "{% for %}"):
        with pytest.raises(CheckpointError, match="chat template"):
            render(bad, [])


def test_the_commands(capsys, monkeypatch):
    main(["generate", "def read(path):", "--max-new-tokens", "4"])
    assert capsys.readouterr().out.startswith("def read(path):")
    lines = iter(["import os", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    main(["chat", "--model", "shipped", "--max-new-tokens", "4", "--context", "64"])
    assert "no chat template" in capsys.readouterr().out
