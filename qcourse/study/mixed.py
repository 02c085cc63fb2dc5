"""Formats mixed by rules, as an experiment (`study.experiments`): what eight bits for some layers buy, and what four take at
the ends. Notebook 09.

A name stands for the dict that `load_model` is given; every run differs from "every layer" in one thing.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from qcourse.models.loader import load_model
from qcourse.study.cost import ends_bytes, model_bytes
from qcourse.study.perplexity import paired_difference, perplexity, windows

FOUR, EIGHT = "W4A16_G64", "W8A16"


def but(*sites: str) -> dict:
    """Four bits, and eight for these kinds of matrices."""
    return {"rules": [*([site, EIGHT] for site in sites), ["Linear", FOUR]]}


RUNS: dict[str, dict] = {
    "every layer in 4 bits": but(),
    "v in 8": but("v_proj"),
    "v and k in 8": but("v_proj", "k_proj"),
    "down in 8": but("down_proj"),
    "gate in 8": but("gate_proj"),
    "embedding in 8": but() | {"embedding": EIGHT},
    "embedding in 4": but() | {"embedding": FOUR},
}


def mixed(source: Path | str, done: Mapping, n: int, seq_len: int, formats: list[str]) -> Iterator[tuple[str, dict]]:
    """(run, what it adds in bits a byte, paired; bits a weight of the linear layers, bytes of embedding and of everything),
    for those of `formats` that are not in `done`. Raises KeyError for a run that is none of RUNS."""
    left = [name for name in formats if name not in done]
    text = windows(source, n, seq_len)
    reference = perplexity(load_model(source, dequantize=True), text, batch=4) if left else None
    for name in left:
        model = load_model(source, RUNS[name], dequantize=True)
        d, size = paired_difference(reference, perplexity(model, text, batch=4)), model_bytes(model)
        yield name, {
            "added_bits_per_byte": d.mean, "added_stderr": d.stderr, "bits_per_weight": size.bits_per_weight,
            "embedding_bytes": ends_bytes(model)[0], "total_bytes": size.total,
        }  # fmt: skip
