"""Every scheme of the registry on one model: true bits a weight against what the model loses, and the bytes of a token.

Nothing here lists a format: the rows are those of PRESETS, the costs are computed from each recipe and the model's shapes,
and the qualities come from the experiment "zoo" (study.experiments) or its capture. A new line in the registry is a point.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from qcourse.layers.config import scheme_of
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import open_checkpoint
from qcourse.numerics.schemes import PRESETS, QuantizationScheme
from qcourse.packing.packed import holders
from qcourse.study.ladder import ladder

MODEL = "model"  # the key of the measured model's shape


@dataclass(frozen=True)
class Animal:
    """A row of the zoo. name: as it fits this model ("W3A16_G64") · preset: the registry's row · activations: quantized too?

    bits: true bits a weight, scales counted · token_bytes: weights read for one token, the head included ·
    added: (bits/byte lost, standard error), None when not measured
    """

    name: str
    preset: str
    activations: bool
    bits: float
    token_bytes: float
    added: tuple[float, float] | None = None


def fitting(config: LlamaConfig) -> tuple[dict[str, str], dict[str, str]]:
    """(preset → its name on this model, preset → why it does not fit). A group size that does not divide the model's K is
    replaced by the power of two nearest to 128 that does, and the name says so."""
    linears, names, refused = set(shapes(config)), {}, {}
    common = math.gcd(*(K for _, K in linears))
    size = min((2**i for i in range(4, 11) if common % 2**i == 0), key=lambda G: abs(math.log2(G / 128)), default=None)
    for preset, scheme in PRESETS.items():
        a, why = scheme.input_activations, misfit(scheme, linears)
        name = f"{preset}_G{size}"
        if not why:
            names[preset] = preset
        elif size is None or not preset.startswith("W") or a is not None and a.group_size is not None:
            refused[preset] = why
        elif name not in PRESETS:
            names[preset] = name
    return names, refused


def misfit(scheme: QuantizationScheme, linears: Iterable[tuple[int, int]]) -> str:
    """Why a scheme does not fit matrices of these shapes, or nothing."""
    try:
        for N, K in linears:
            for args in (scheme.weights, scheme.input_activations):
                if args is not None:
                    args.check(K)
            holders(scheme.weights, N, K)
    except ValueError as e:
        return str(e)
    return ""


def measure(source: Path | str, done: Mapping, n: int, seq_len: int) -> Iterator[tuple[str, dict]]:
    """The experiment: the model's shape, and every scheme that fits it on the ladder."""
    config = open_checkpoint(source).config
    if MODEL not in done:
        yield MODEL, asdict(config)
    yield from ladder(source, names(source), n, seq_len, done)


def names(source: Path | str) -> list[str]:
    """The schemes that fit a model, by their names on it."""
    return list(fitting(open_checkpoint(source).config)[0].values())


def config_of(results: Mapping[str, dict]) -> LlamaConfig:
    """The shape of the model that was measured."""
    return LlamaConfig(**results[MODEL])


def shapes(config: LlamaConfig) -> list[tuple[int, int]]:
    """(N, K) of every Linear of the decoder."""
    with torch.device("meta"):
        layers = LlamaForCausalLM(config).linears()
    return [(m.output_size, m.input_size) for name, m in layers.items() if name != "lm_head"]


def animals(results: Mapping[str, dict]) -> list[Animal]:
    """The zoo on a model, cheapest first, bf16 last; `results` of the experiment: name → a rung of the ladder."""
    config = config_of(results)
    linears = shapes(config)
    weights, head = sum(N * K for N, K in linears), 2 * config.vocab_size * config.hidden_size
    found = [Animal("bf16", "bf16", False, 16.0, 2 * weights + head, (0.0, 0.0))]
    for preset, name in fitting(config)[0].items():
        scheme = scheme_of(name)
        bits = sum(scheme.weights.bits_per_weight(N, K) * N * K for N, K in linears) / weights
        r = results.get(name)
        added = None if r is None else (r["added_bits_per_byte"], r["added_stderr"])
        found.append(Animal(name, preset, scheme.input_activations is not None, bits, bits * weights / 8 + head, added))
    return sorted(found, key=lambda a: a.bits)


def front(zoo: list[Animal]) -> list[Animal]:
    """The Pareto front: nobody with as few bits loses less. Cheapest first."""
    best, found = float("inf"), []
    for a in sorted((a for a in zoo if a.added is not None), key=lambda a: (a.bits, a.added[0])):
        if a.added[0] < best:
            found, best = [*found, a], a.added[0]
    return found
