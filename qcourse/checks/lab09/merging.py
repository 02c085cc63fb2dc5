"""09.5 scheme_of_merged(prefix, rules, packed) → the one scheme of a layer that is several of the file's."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab09 import rules as rule
from qcourse.checks.lab09.merging_mistakes import MISTAKES, USUAL
from qcourse.checks.task import Property, Refuse, Task

OTHERS = (
    {"query_key_value": ["query", "key", "value"], "gate_up_proj": ["gate_proj", "up_proj"]},
    {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "w13": ["w1", "w3"]},
    {"in_proj": ["in_proj_z", "in_proj_x"], "gate_up_proj": ["gate_proj", "up_proj"]},
)


def expected(prefix: str, rules: list, packed: dict) -> str | None:
    """Every part is asked for by its own whole name."""
    *above, last = prefix.split(".")
    names = [".".join([*above, part]) for part in packed.get(last, [last])]
    found = [rule.expected(name, rules) for name in names]
    if any(scheme != found[0] for scheme in found):
        raise Refuse(f"{prefix}: one matrix cannot have {', '.join(map(str, found))}")
    return found[0]


def merged(g, packed: dict) -> list[tuple[str, str, list[str]]]:
    """(prefix, what stands above its last part, the names of its parts) of every layer that this model merges."""
    above = f"model.layers.{draw.integer(g, 0, 30)}.block"
    return [(f"{above}.{last}", above, parts) for last, parts in packed.items()]


def shuffled(g, items: list) -> list:
    """In another order: the file's rules come in none."""
    return [items[i] for i in torch.randperm(len(items), generator=g).tolist()]


def agreeing(g, packed: dict) -> list[tuple]:
    """All parts alike: by whole names, last parts, or an expression. The merged name has other rules, or none."""
    A, B, C = rule.schemes(g, 3)
    found = []
    for prefix, above, parts in merged(g, packed):
        whole = shuffled(g, [(f"{above}.{part}", A) for part in parts])
        some = shuffled(g, [(part, B) for part in parts])
        every = f"re:.*\\.({'|'.join(parts)})$"
        found += [
            (prefix, [*whole, (prefix, C), ("re:.*", B)], packed),
            (prefix, [("lm_head", C), *some, ("re:.*", A)], packed),
            (prefix, [(prefix.rsplit(".", 1)[-1], A), (every, C), ("lm_head", B)], packed),
        ]
    return found


def differing(g) -> list[tuple]:
    """Two schemes: one part differs, each time another."""
    A, B, C = rule.schemes(g, 3)
    found = []
    for prefix, above, parts in merged(g, USUAL):
        found += [
            (prefix, [("lm_head", C), (parts[-1], A), ("re:.*", B)], USUAL),
            (prefix, [(f"{above}.{parts[0]}", A), ("re:.*", B)], USUAL),
            (prefix, [("lm_head", None), (parts[1], C), (prefix, B), ("re:.*", A)], USUAL),
        ]
    return found


def half_ignored(g) -> list[tuple]:
    """A scheme beside 16 bits: ignored by name, or named by no rule."""
    A, B = rule.schemes(g, 2)
    found = []
    for prefix, above, parts in merged(g, USUAL):
        found += [
            (prefix, [("lm_head", B), (parts[0], None), ("re:.*", A)], USUAL),
            (prefix, [(f"{above}.{parts[-1]}", None), ("re:.*", B)], USUAL),
            (prefix, [("lm_head", B), (f"{above}.{parts[0]}", A)], USUAL),
        ]
    return found


def ignored(g) -> list[tuple]:
    """All parts in 16 bits, the merged name with a scheme."""
    A, B = rule.schemes(g, 2)
    return [
        (prefix, [*((part, None) for part in parts), (prefix, B), ("re:.*", A)], USUAL)
        for prefix, _, parts in merged(g, USUAL)
    ]


def single(g) -> list[tuple]:
    """Layers that are one of the file's."""
    A, B, C = rule.schemes(g, 3)
    name = f"model.layers.{draw.integer(g, 0, 30)}.mlp.down_proj"
    return [
        (name, [("lm_head", A), ("down_proj", B), ("re:.*", C)], USUAL),
        (name, [("up_proj", A), (name, C), ("re:.*", B)], USUAL),
        ("lm_head", [("down_proj", None), ("lm_head", B), ("re:.*", A)], USUAL),
    ]


SCHEME_OF_MERGED = Task(
    id="09.5",
    function="scheme_of_merged",
    title="One matrix, one format",
    points=4,
    expected=expected,
    properties=(
        Property("parts that agree", lambda g: agreeing(g, USUAL), 2),
        Property("other models, other names", lambda g: [case for p in OTHERS for case in agreeing(g, p)]),
        Property("two schemes are refused", differing),
        Property("a scheme beside 16 bits is refused", half_ignored),
        Property("a layer that is not merged", single),
        Property("all parts in 16 bits", ignored, edge=True),
    ),
    mistakes=MISTAKES,
    hint="The rules were written for the file, and the file has never heard of `qkv_proj`. vLLM's models say in "
    "`packed_modules_mapping` what it stands for. Ask 09.4 for every part by its own name; how many different answers may "
    "come?",
    returns=("scheme",),
)
