"""A conversation: the model's chat template, the KV cache kept from turn to turn, text as it comes.

The template is the file's own (Jinja, as Hugging Face writes it), rendered in a sandbox: it is a stranger's program.
Does not handle: tools, images, system prompts of your own. A model without a template goes on with your text instead.
"""

import codecs
from collections.abc import Iterable, Iterator
from functools import lru_cache

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qcourse.checkpoints.errors import CheckpointError
from qcourse.models.generate import stream
from qcourse.models.kv_cache import new_cache
from qcourse.models.loader import load_model, load_tokenizer

ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "</s>")  # control tokens that end an answer


def render(template: str, messages: list[dict], specials: dict[str, str] | None = None) -> str:
    """The conversation as the model's text, up to where its answer begins. messages: [{"role", "content"}, …].

    Raises CheckpointError for a template that cannot be rendered.
    """

    def refuse(message: str):
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    try:
        return environment.from_string(template).render(messages=messages, add_generation_prompt=True, **specials or {})
    except (TemplateError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise CheckpointError(f"the file's chat template cannot be rendered: {e}") from e


def pieces_of_text(tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """Ids → text as they come; a character that is cut in half waits for its other half."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for i in ids:
        yield decoder.decode(tokenizer.token_bytes[i] if i < len(tokenizer.token_bytes) else b"")
    yield decoder.decode(b"", final=True)


@lru_cache(maxsize=2)
def loaded(source: str, quantization: str | None) -> tuple:
    """(model, tokenizer), kept for the next question."""
    return load_model(source, quantization), load_tokenizer(source)


def ask(question: str, source: str = "smollm2", quantization: str | None = None, **settings) -> str:
    """The answer to one question, in a conversation of its own; `settings` are `Chat`'s. Raises what `load_model` raises."""
    return "".join(Chat(*loaded(source, quantization), **settings).say(question))


class Chat:
    """A model, its tokenizer, and what was said. `say(text)` yields the answer's text, piece by piece.

    context: positions that are allocated; when a conversation no longer fits, its oldest exchange is left out (`dropped`
    counts them), and a single message that does not fit is a ValueError. kv: how keys and values are stored (`new_cache`).
    settings: temperature, top_p, seed of `stream`.
    """

    def __init__(self, model, tokenizer, context: int = 2048, max_new_tokens: int = 256, kv=None, **settings):
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.context = min(context, model.config.max_position_embeddings)
        self.most = min(max_new_tokens, self.context - 1)
        self.template = tokenizer.chat_template
        self.controls = tokenizer.specials
        self.stop = {i for t, i in self.controls.items() if t in ENDS} | {tokenizer.eos_id} - {None}
        self.messages: list[dict] = []
        self.ids: list[int] = []  # what the cache holds
        self.cache = new_cache(model, 1, self.context, kv)
        self.dropped = 0

    def prompt(self) -> list[int]:
        """The ids of everything said so far."""
        if self.template is None:
            return self.tokenizer.encode("".join(m["content"] for m in self.messages), bos=True)
        by_id = {i: t for t, i in self.controls.items()}
        names = {"bos_token": self.tokenizer.bos_id, "eos_token": self.tokenizer.eos_id}
        text = render(self.template, self.messages, {k: by_id.get(i, "") for k, i in names.items()})
        return self.tokenizer.encode(text, special=True)

    def say(self, text: str) -> Iterator[str]:
        """Add a message and yield the answer. Raises ValueError for one that holds a control token or does not fit."""
        found = [t for t in self.controls if t in text]
        if self.template is not None and found:
            raise ValueError(f"your message holds {found[0]!r}, with which this model's turns begin and end: leave it out")
        self.messages.append({"role": "user", "content": text})
        ids = self.prompt()
        while len(ids) + self.most > self.context:
            if len(self.messages) == 1:
                self.messages.pop()
                raise ValueError(f"{len(ids)} tokens: with {self.most} for the answer, {self.context} positions are too few")
            del self.messages[:2]
            self.dropped += 1
            ids = self.prompt()
        same = next((i for i, (a, b) in enumerate(zip(self.ids, ids, strict=False)) if a != b), min(len(self.ids), len(ids)))
        self.cache.length = min(same, len(ids) - 1)  # at least one token has to be read
        answer: list[int] = []
        self.messages.append({"role": "assistant", "content": ""})
        try:
            made = stream(self.model, ids, self.most, stop=self.stop, cache=self.cache, **self.settings)
            for piece in pieces_of_text(self.tokenizer, self.noting(made, answer)):
                self.messages[-1]["content"] += piece
                yield piece
        finally:
            self.ids = (ids + answer)[: self.cache.length]

    def noting(self, made: Iterator[int], answer: list[int]) -> Iterator[int]:
        """The ids of an answer, kept in `answer`; those that end it are not text."""
        for i in made:
            answer.append(i)
            if i not in self.stop:
                yield i
