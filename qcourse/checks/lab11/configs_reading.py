"""What the course's own reader understands of a quantization_config: the meaning is compared, not the words."""

import json
import re
from dataclasses import dataclass

from qcourse.checkpoints import dialects
from qcourse.checkpoints.rules import Rule
from qcourse.numerics.grids import IntGrid

SITES = ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
LAYERS = (*(f"model.layers.{i}.{site}" for i in (0, 1, 7) for site in SITES), "lm_head")


@dataclass(frozen=True)
class Refused:
    """place: the object and the key that the reader stopped at · text: what it said."""

    place: tuple[str, str]
    text: str


def understood(config) -> dict | Refused:
    """For every layer of LAYERS what it gets, None for 16 bits; or what was refused. Groups may have any names."""
    try:
        config = json.loads(json.dumps(config))
    except TypeError as e:
        return Refused(("json", ""), f"json.dumps says: {e}")
    groups = config.get("config_groups") if isinstance(config, dict) else None
    if isinstance(groups, dict):
        config |= {"config_groups": {f"group_{i}": group for i, group in enumerate(groups.values())}}
    try:
        rules = dialects.rules((config, "quantization_config"), {})
    except (ValueError, TypeError, AttributeError) as e:
        return Refused(place(str(e)), str(e))
    return {name: meaning(name, rules) for name in LAYERS}


def place(text: str) -> tuple[str, str]:
    """(object, key) that an error of the reader is about; a value does not matter, nor which unknown key it is. Of a type
    it matters by which format it is refused."""
    found = re.match(r"(.*?)(?:: | = )(?:(\w+) = |(\w+) is missing|(unknown key))?", text)
    if not found:
        return "", text
    key, form = found[2] or found[3] or found[4] or "", re.search(r"\w+-quantized", text)
    return found[1], f"{key} in {form[0]}" if key == "type" and form else key


def meaning(name: str, rules: list[Rule]) -> dict | None:
    """What the first rule that matches gives to a layer."""
    scheme, layout = next(((r.scheme, r.layout) for r in rules if r.matches(name)), (None, None))
    if scheme is None:
        return None
    w = scheme.weights
    return {
        "num_bits": w.num_bits, "type": "int" if isinstance(w.grid, IntGrid) else "float", "symmetric": w.zero is None,
        "scales": str(w.granularity), "format": layout,
        "activations": "as they are" if scheme.input_activations is None else "quantized",
    }  # fmt: skip


def same(args: tuple, got, other) -> str | None:
    """None if two configs mean the same, or are refused at the same place; otherwise the first difference in words."""
    mine, theirs = understood(got), understood(other)
    if isinstance(mine, Refused):
        agree = isinstance(theirs, Refused) and mine.place == theirs.place
        return None if agree else f"the reader refuses it: {mine.text}"
    if isinstance(theirs, Refused):
        return "the reader takes it, and should not"
    for name in LAYERS:
        a, b = mine[name], theirs[name]
        if (a is None) != (b is None):
            return f"{name}: {'stays in 16 bits, and should not' if a is None else 'is quantized, and should not be'}"
        wrong = next((key for key in a or () if a[key] != b[key]), None)
        if wrong:
            return f"the reader understands, for {name}: {wrong} {a[wrong]}, expected {b[wrong]}"
    return None
