"""The experiments that are made on every subject, each a generator of (key, numbers), so that an interrupted run goes on.

Each has the settings of a capture (`full`, up to an hour) and those of a notebook's cell (`live`, a few minutes; without
them it is only replayed). `done` holds the keys that are known already. Every text is of the reader's own standard library
(models.corpus).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qcourse.models.chat import Chat
from qcourse.models.loader import load_model, load_tokenizer
from qcourse.numerics.schemes import PRESETS
from qcourse.study import insides, kv_contexts, kv_inside, misread, mixed, protocol, recovery, super_weight, zoo
from qcourse.study.ladder import ladder
from qcourse.study.perplexity import paired_difference, perplexity, windows

FOUR_BITS = "W4A16_G64"
WEIGHTS = ["W8A16", "W4A16_CHANNEL", "W4A16_G64", "W4A16_G32", "W4A16_ASYM_G64", "W4A16_ASYM_G64+awq", "W3A16_G64",
           "W3A16_G64+awq", "W2A16_G32", "FP8A16_E5M2", "as-is"]  # fmt: skip
BY_METHOD = [f"W{bits}A16_{kind}_G64{method}"
             for kind, method in (("ASYM", ""), ("FZERO", ""), ("FZERO", "+hqq"), ("ASYM", "+imatrix"), ("ASYM", "+gptq"),
                                  ("ASYM", "+awq"), ("ASYM", "+autoround")) for bits in (4, 3, 2)]  # fmt: skip
TOGETHER = ["NVFP4A16", "NVFP4A16+gptq", "W4A16_ASYM_G64+awq+gptq"]
ROTATED = ["W8A8_STATIC", "W8A8_STATIC+rotation", "W8A8_STATIC+rotation+online", "W4A4", "W4A4+rotation",
           "W4A4+rotation+online", "W4A4+rotation+online+gptq", "W4A16_ASYM_G64", "W4A16_ASYM_G64+rotation"]  # fmt: skip
SWEEP = [f"W8A8_STATIC+smoothquant@{a}" for a in (0, 0.25, 0.5, 0.7, 0.8, 0.9, 1)]
BOTH = ["W8A8", "W8A8_STATIC", "FP8_DYNAMIC", "FP8", "W8A8+smoothquant", *SWEEP]
WITHOUT = "bf16 without one weight"
SITES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def wide(source: Path | str):
    """The 16-bit model with its weights widened once, because it is run many times. Exact."""
    return load_model(source, dequantize=True).float()


def outliers(source: Path | str, done: Mapping, n: int, seq_len: int) -> Iterator[tuple[str, dict]]:
    """Each Linear's input: absmax, the median channel's, their ratio."""
    yield from insides.loudness(wide(source), windows(source, n, seq_len, "calibration").ids[:, :-1]).items()


def first_token(source: Path | str, done: Mapping, n: int, seq_len: int) -> Iterator[tuple[str, dict]]:
    """By layer: the residual's absmax at the first positions and later; the share of attention that goes to the first."""
    model, ids = wide(source), windows(source, n, seq_len, "calibration").ids[:, :-1]
    residual, share = insides.residual_absmax(model, ids), insides.attention_to_first(model, ids[:4])
    for i, (row, heads) in enumerate(zip(residual, share, strict=True)):
        yield f"layer {i}", {
            "position 0": row[0].item(), "position 1": row[1].item(), "position 2": row[2].item(),
            "later, median": row[3:].median().item(), "later, max": row[3:].max().item(),
            "attention to position 0": heads.mean().item(), "most of a head": heads.max().item(),
        }  # fmt: skip


def one_super_weight(source: Path | str, done: Mapping, n: int, seq_len: int) -> Iterator[tuple[str, dict]]:
    """The weight that carries most, set to zero; beside it the next one, the model's largest weight elsewhere, and all of
    them in four bits."""
    model, text = wide(source), windows(source, n, seq_len)
    found = done.get("found", {}).get("weights") or insides.super_weights(model, text.ids[:8, :-1])
    if "found" not in done:
        yield "found", {"weights": found}
    layers = model.linears()
    biggest = max((m for n, m in layers.items() if n != found[0]["layer"]), key=lambda m: m.weight.abs().max())
    row, column = divmod(int(biggest.weight.abs().argmax()), biggest.input_size)
    larger = {"layer": biggest.prefix, "row": row, "column": column, "weight": biggest.weight[row, column].item()}
    cases = {"the super weight": found[0], "the next one": found[1], "the largest weight elsewhere": larger}
    reference = perplexity(model, text, batch=4)
    for name, w in cases.items():
        if name not in done:
            with insides.without(layers[w["layer"]], w["row"], w["column"]):
                yield name, w | added(reference, perplexity(model, text, batch=4))
    if FOUR_BITS not in done:
        with insides.rounded(layers.values(), PRESETS[FOUR_BITS].weights):
            yield FOUR_BITS, added(reference, perplexity(model, text, batch=4))


QUESTIONS = ("What is the capital of France?", "Write a haiku about rain.", "Name three primary colours.")
CHATS = ["bf16", "W8A16", FOUR_BITS, "W3A16_G64", "W2A16_G32"]


def chat(
    source: Path | str, done: Mapping, formats: list[str], questions: list[str] = QUESTIONS, length: int = 48
) -> Iterator[tuple[str, dict]]:
    """The answers of a chat model in each format, each to a fresh conversation, greedy; and of the 16-bit one without its
    super weight."""
    tokenizer = load_tokenizer(source)

    def answers(model) -> dict[str, str]:
        return {q: "".join(Chat(model, tokenizer, 1024, max_new_tokens=length).say(q)) for q in questions}

    for name in (f for f in formats if f not in done):
        yield name, answers(load_model(source, name, dequantize=True))
    if WITHOUT not in done:
        model = load_model(source, dequantize=True)
        found = insides.super_weights(model, windows(source, 4, 64, "calibration").ids[:, :-1], 1)[0]
        with insides.without(model.linears()[found["layer"]], found["row"], found["column"]):
            yield WITHOUT, answers(model)


def added(reference, score) -> dict:
    """A paired difference as JSON."""
    d = paired_difference(reference, score)
    return {"added_bits_per_byte": d.mean, "added_stderr": d.stderr}


def sensitivity(source: Path | str, done: Mapping, n: int, seq_len: int) -> Iterator[tuple[str, dict]]:
    """Each decoder layer alone in four bits, then each kind of matrix alone: which costs most?"""
    model, text = wide(source), windows(source, n, seq_len)
    layers = model.linears()
    parts = {f"layer {i}": [m for n, m in layers.items() if n.startswith(f"model.layers.{i}.")]
             for i in range(model.config.num_hidden_layers)}  # fmt: skip
    parts |= {site: [m for n, m in layers.items() if n.endswith(site)] for site in SITES}
    left = [name for name in parts if name not in done]
    reference = perplexity(model, text, batch=8) if left else None
    for name in left:
        with insides.rounded(parts[name], PRESETS[FOUR_BITS].weights):
            count = sum(m.input_size * m.output_size for m in parts[name])
            yield name, {"weights": count, **added(reference, perplexity(model, text, batch=8))}


@dataclass(frozen=True)
class Experiment:
    """`run(source, done, **settings)` yields (key, numbers) · keys(source): those of a full run, where they may grow."""

    run: Callable
    full: dict
    live: dict = field(default_factory=dict)
    keys: Callable | None = None

    def missing(self, source: Path | str, done: Mapping) -> list[str]:
        """The formats of a full run that are not `done`."""
        wanted = self.keys(source) if self.keys else self.full.get("formats", ())
        return [key for key in wanted if key not in done]


def formats(source: Path | str, done: Mapping, n: int, seq_len: int, formats: list[str]) -> Iterator[tuple[str, dict]]:
    """`ladder`."""
    yield from ladder(source, formats, n, seq_len, done)


ZOO = {"n": 32, "seq_len": 256}
BIG, SMALL = {"n": 64, "seq_len": 512}, {"n": 8, "seq_len": 256}
KV = {"formats": kv_contexts.FORMATS, "chunk": 32}
EXPERIMENTS = {
    "weights": Experiment(formats, BIG | {"formats": WEIGHTS}, SMALL | {"formats": WEIGHTS[:5]}),
    "both": Experiment(formats, BIG | {"formats": BOTH}, SMALL | {"formats": BOTH[:3]}),
    "outliers": Experiment(outliers, {"n": 8, "seq_len": 512}, {"n": 4, "seq_len": 256}),
    "first-token": Experiment(first_token, {"n": 8, "seq_len": 512}, {"n": 4, "seq_len": 256}),
    "super-weight": Experiment(one_super_weight, BIG, SMALL),
    "chat": Experiment(chat, {"formats": CHATS}, {"formats": ["bf16", FOUR_BITS]}),
    "zoo": Experiment(zoo.measure, ZOO, keys=zoo.names),
    "methods": Experiment(formats, ZOO | {"formats": BY_METHOD + TOGETHER}, SMALL | {"formats": BY_METHOD}),
    "one-weight": Experiment(super_weight.fates, {"n": 16, "seq_len": 256}),
    "qat": Experiment(recovery.recovery, recovery.FULL),
    "rotated": Experiment(formats, ZOO | {"formats": ROTATED}, SMALL | {"formats": ROTATED}),
    "sensitivity": Experiment(sensitivity, {"n": 16, "seq_len": 256}),
    "rules": Experiment(mixed.mixed, ZOO | {"formats": [*mixed.RUNS]}),
    "kv": Experiment(kv_contexts.contexts, KV | {"n": 8, "seq_len": 1024}),
    "kv-long": Experiment(kv_contexts.contexts, KV | {"n": 2, "seq_len": 8192, "formats": kv_contexts.LONG}),
    "kv-inside": Experiment(kv_inside.inside, {"n": 8, "seq_len": 512}),
    "files": Experiment(misread.files, {"n": 16, "seq_len": 256, "scheme": "W4A16_ASYM_G64"}),
    "protocol": Experiment(protocol.protocol, {"n": 12, "seq_len": 256}, {"n": 8, "seq_len": 128}),
}  # fmt: skip
