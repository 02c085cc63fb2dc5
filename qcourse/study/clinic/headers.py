"""The instrument for two folders side by side: keys of their configs, names, dtypes, shapes and bytes of their tensors."""

from dataclasses import dataclass

import torch

from qcourse.study.clinic.case import Patient
from qcourse.study.clinic.folder import held
from qcourse.study.picture import Picture, Table
from qcourse.study.plots import bars


@dataclass(frozen=True)
class Headers:
    """The folders' difference. config: key → (patient, twin) · missing, surplus: names of tensors · retyped: name →
    (patient, twin), dtype and shape · changed: leaf → (tensors whose bytes differ, all of them) · numbers: single numbers
    that differ."""

    config: dict[str, tuple[str, str]]
    missing: list[str]
    surplus: list[str]
    retyped: dict[str, tuple[str, str]]
    changed: dict[str, tuple[int, int]]
    numbers: dict[str, tuple[float, float]]

    def table(self) -> Table:
        """Only what differs."""
        rows = [(f"config: {k}", *v) for k, v in self.config.items()]
        rows += [(n, "missing", "there") for n in self.missing] + [(n, "there", "missing") for n in self.surplus]
        rows += [(n, *v) for n, v in self.retyped.items()]
        rows += [(f"bytes of {leaf}", f"differ in {k} of {n}", "") for leaf, (k, n) in self.changed.items() if k]
        rows += [(n, *(f"{x:.7g}" for x in v)) for n, v in self.numbers.items()]
        return Table(("", "patient", "twin"), rows or [("nothing differs", "", "")])

    def figure(self) -> Picture:
        """How many tensors of each kind differ."""
        count = {leaf: k for leaf, (k, n) in self.changed.items()} | {
            "missing": len(self.missing),
            "surplus": len(self.surplus),
        }
        count |= {"other dtype or shape": len(self.retyped), "keys of the config": len(self.config)}
        tensors = sum(k for k, _ in self.changed.values()) + len(self.missing) + len(self.surplus)
        title = f"Tensors that differ, are missing or too many: {tensors}; keys of the config: {len(self.config)}"
        return bars(list(count), list(count.values()), title, "number")


def headers(patient: Patient, layer: str | None = None) -> Headers:
    """Of both folders, layer by layer the same names expected."""
    (config, mine), (twin_config, twin) = held(patient.folder), held(patient.reference_folder)
    a, b = flat(config), flat(twin_config)
    keys = {
        k: (str(a.get(k, "missing")), str(b.get(k, "missing"))) for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)
    }
    both, changed = sorted(mine.keys() & twin.keys()), {}
    say = lambda t: f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}"  # noqa: E731
    retyped = {n: (say(mine[n]), say(twin[n])) for n in both if say(mine[n]) != say(twin[n])}
    for name in both:
        leaf = name.rpartition(".")[2] if "norm" not in name else "norm.weight"
        k, n = changed.get(leaf, (0, 0))
        changed[leaf] = (
            k + (name in retyped or not torch.equal(mine[name].view(torch.uint8), twin[name].view(torch.uint8))),
            n + 1,
        )
    numbers = {
        n: (mine[n].item(), twin[n].item()) for n in both if mine[n].numel() == twin[n].numel() == 1 and mine[n] != twin[n]
    }
    return Headers(keys, sorted(twin.keys() - mine.keys()), sorted(mine.keys() - twin.keys()), retyped, changed, numbers)


def flat(config: dict, at: str = "") -> dict[str, object]:
    """Nested keys as one: a.b.c."""
    found = {}
    for key, value in config.items():
        found |= flat(value, f"{at}{key}.") if isinstance(value, dict) else {f"{at}{key}": value}
    return found
