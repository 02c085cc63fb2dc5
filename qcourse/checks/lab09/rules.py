"""09.4 choose_scheme(prefix, rules) → the scheme of the first rule that matches, or None."""

import torch

from qcourse.checkpoints.rules import Rule
from qcourse.checks import draw
from qcourse.checks.lab09.rules_mistakes import MISTAKES
from qcourse.checks.task import Property, Task

SCHEMES = ("W4A16", "W8A8", "FP8_DYNAMIC", "NVFP4A16", "W8A16", "W4A16_ASYM", "INT3", "MXFP4A16")
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


def expected(prefix: str, rules: list) -> str | None:
    """By the package's own rules, none of whose other patterns ("Linear", a part above) is asked about."""
    for pattern, scheme in rules:
        if Rule(pattern, None).matches(prefix):
            return scheme
    return None


def schemes(g, n: int) -> list[str]:
    """n different ones."""
    return [SCHEMES[i] for i in torch.randperm(len(SCHEMES), generator=g)[:n].tolist()]


def one_of(g, names: tuple):
    """One of them."""
    return names[draw.integer(g, 0, len(names) - 1)]


def place(g) -> tuple[int, str, str]:
    """(i, block, last part) of a layer of a Llama."""
    block, parts = one_of(g, (("self_attn", ATTENTION), ("mlp", MLP)))
    return draw.integer(g, 2, 9), block, one_of(g, parts)


def plain(g) -> list[tuple]:
    """A whole name, a last part; nothing else matches, and nothing looks alike."""
    A, B, C = schemes(g, 3)
    i, block, last = place(g)
    name, other = f"model.layers.{i}.{block}.{last}", f"model.layers.{i + 1}.{block}.{last}"
    return [
        (name, [(other, A), ("lm_head", B), (name, C)]),
        (name, [(other, A), (last, B), ("lm_head", C)]),
        (other, [("lm_head", None), (name, A), (other, B), ("embed_tokens", C)]),
        ("lm_head", [(name, None), ("lm_head", A), (other, B)]),
    ]


def first(g) -> list[tuple]:
    """Several match, the first of them is neither the last nor the most specific."""
    A, B, C, D = schemes(g, 4)
    i, block, last = place(g)
    name = f"model.layers.{i}.{block}.{last}"
    return [
        (name, [("lm_head", A), (last, B), (name, C)]),
        (name, [("lm_head", A), ("re:.*", B), (name, C), (last, D)]),
        (name, [("lm_head", None), (f"re:.*{block}", A), (last, B), ("re:.*", C)]),
    ]


def alike(g) -> list[tuple]:
    """Names that contain a pattern, or end with it: a router beside projections, a draft model beside its model."""
    A, B, C = schemes(g, 3)
    i, _, last = place(g)
    mlp = f"model.layers.{i}.mlp"
    return [
        (f"{mlp}.gate_proj", [("gate", A), ("gate_proj", B), ("re:.*", C)]),
        (f"{mlp}.shared_expert_gate", [("gate", A), ("expert_gate", B), ("re:.*", C)]),
        (f"draft.{mlp}.{last}", [(f"{mlp}.{last}", A), (f"mlp.{last}", B), (last, C)]),
    ]


def regular(g) -> list[tuple]:
    """From the start of the name, not to its end."""
    A, B, C, D = schemes(g, 4)
    i, block, last = place(g)
    name = f"model.layers.{i}.{block}.{last}"
    return [
        (name, [(rf"re:layers\.{i}\.", A), (f"re:{last}", B), (rf"re:.*layers\.{i}\.{block}", C), ("re:.*", D)]),
        (name, [(rf"re:.*\.{i + 1}\.", A), (rf"re:model\.layers\.[{i}-9]\.", B), (f"re:.*{last}$", C)]),
        (name, [(f"re:{block}", A), (f"re:.*{block}$", B), (f"re:.*\\.({last}|lm_head)$", C), ("re:.*", D)]),
    ]


def decided(g) -> list[tuple]:
    """None is what the first matching rule says."""
    A, B = schemes(g, 2)
    i, block, last = place(g)
    name = f"model.layers.{i}.{block}.{last}"
    return [
        ("lm_head", [(name, B), ("lm_head", None), ("re:.*", A)]),
        (name, [(last, None), (name, A), ("re:.*", B)]),
    ]


def unmatched(g) -> list[tuple]:
    """No rule names the layer."""
    A, B, C = schemes(g, 3)
    i, block, last = place(g)
    other = f"model.layers.{i + 1}.{block}.{last}"
    return [(f"model.layers.{i}.{block}.{last}", [("lm_head", A), (other, B), (rf"re:.*\.{i + 1}\.", C)])]


CHOOSE_SCHEME = Task(
    id="09.4",
    function="choose_scheme",
    title="The first rule that matches",
    points=4,
    expected=expected,
    properties=(
        Property("a whole name, or its last part", plain, 2),
        Property("of several, the first", first),
        Property("names that look alike", alike),
        Property("regular expressions", regular),
        Property("None keeps a layer in 16 bits", decided, edge=True),
        Property("no rule: 16 bits", unmatched, edge=True),
    ),
    mistakes=MISTAKES,
    hint="`get_quant_method(layer, prefix)` knows nothing but a name. Go through the rules from the top; the three kinds of "
    "pattern are three questions about that name. The first *yes* ends it, whatever its scheme is.",
    returns=("scheme",),
)
