"""Which layer gets which scheme: a list of rules, the first that matches wins. Every config becomes one."""

import re
from dataclasses import dataclass

from qcourse.numerics.schemes import QuantizationScheme

EVERY = "Linear"  # the class name: every linear layer


@dataclass(frozen=True)
class Rule:
    """Layers that `pattern` names get `scheme` (None: they stay in 16 bits), in `layout`; None: the first that can hold it.

    pattern   "Linear" (every layer) · "re:…" (a regular expression, from the start of the name) · a whole name, "lm_head"
              or "model.layers.0.mlp.down_proj" · its last part, "down_proj" · a part above it, "model.layers.0"
    required  whether it is an error when the rule matches nothing
    """

    pattern: str
    scheme: QuantizationScheme | None
    layout: str | None = None
    required: bool = True

    def __post_init__(self):
        if not isinstance(self.pattern, str) or not self.pattern:
            raise ValueError(f"a rule's pattern is {self.pattern!r}: a layer's name, 're:…' or 'Linear' expected")
        if self.pattern.startswith("re:"):
            try:
                re.compile(self.pattern[3:])
            except re.error as e:
                raise ValueError(f"pattern {self.pattern!r} is not a regular expression: {e}") from None

    def matches(self, prefix: str) -> bool:
        """Whether the layer called `prefix` is meant."""
        if self.pattern.startswith("re:"):
            return re.match(self.pattern[3:], prefix) is not None
        names = (EVERY, prefix, prefix.rsplit(".", 1)[-1])
        return self.pattern in names or prefix.startswith(f"{self.pattern}.")


def ignore(names: object, in_file: bool = False) -> list[Rule]:
    """Rules that leave layers in 16 bits. "lm_head" may be missing: a tied model has none. In a file a regular expression
    may match nothing too: recipes list what other models have, and the file's tensors decide anyway.

    Raises ValueError unless `names` is a list of strings.
    """
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise ValueError(f"ignore is {names!r}: a list of layer names or 're:…' patterns expected")
    optional = lambda n: n.endswith("lm_head") or in_file and n.startswith("re:")  # noqa: E731
    return [Rule(n, None, required=not optional(n)) for n in names]
