"""What a case is, and a patient: two folders, of which one is healthy, and the meter that somebody has read.

A patient is drawn by its seed alone: the same seed plants the same bug in the same places everywhere, and the same bytes
where torch rounds alike and Python is the same, whose own files are the texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import torch

from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer
from qcourse.shapes import Tensor
from qcourse.study.clinic.meter import RIGHT, Meter, Reading, texts
from qcourse.study.kv import through_cache
from qcourse.study.numbered import number
from qcourse.study.perplexity import Windows
from qcourse.study.picture import Table

Option = TypeVar("Option")
PROMPT = "def read(self, "


@dataclass(frozen=True)
class Draw:
    """A seed's choices, each by its own name: one more question does not move the answers to the others."""

    seed: int | str

    def of(self, what: str, options: Sequence[Option]) -> Option:
        """One of the options."""
        return options[number(f"{self.seed} {what}") % len(options)]


@dataclass(frozen=True)
class Planted:
    """What a plant leaves behind. scheme: what both folders say they are · calibration: the ids that its numbers
    were calibrated on, None where no text was looked at · meter: who read the patient."""

    scheme: str
    calibration: Tensor | None = None
    meter: Meter = RIGHT


@dataclass(frozen=True)
class Case:
    """One bug. name, cause, mend: as they are said · kind: "file", "model" or "meter" · instrument: a name of INSTRUMENTS
    that shows it · looks: what is seen there · plant(draw, healthy, ill): fills both folders."""

    name: str
    cause: str
    kind: str
    instrument: str
    looks: str
    mend: str
    plant: Callable[[Draw, Path, Path], Planted] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Patient:
    """A model that loads, runs and is wrong, and its healthy twin. `model` and `reference` are loaded when they are asked
    for; `folder` and `reference_folder` are theirs. `meter`: how the number in the table was read."""

    seed: int | str
    folder: Path
    reference_folder: Path
    planted: Planted = field(repr=False)
    case: Case = field(repr=False)
    found: dict = field(default_factory=dict, repr=False)  # what instruments have shown already

    @property
    def scheme(self) -> str:
        """How it was made, or should have been."""
        return self.planted.scheme

    @property
    def meter(self) -> Meter:
        """How its number was read."""
        return self.planted.meter

    @cached_property
    def model(self) -> LlamaForCausalLM:
        """The patient."""
        return load_model(self.folder)

    @cached_property
    def reference(self) -> LlamaForCausalLM:
        """Its healthy twin: the same scheme, made right."""
        return load_model(self.reference_folder)

    @property
    def text(self) -> Windows:
        """The windows of the table."""
        return texts()[0]

    @property
    def other_text(self) -> Windows:
        """Windows that nobody has looked at: those of the check."""
        return texts()[1]

    @cached_property
    def reading(self) -> Reading:
        """The patient, by the meter that it came with."""
        return self.meter.read(self.model, self.text)

    @cached_property
    def healthy(self) -> Reading:
        """The twin, by the right meter."""
        return RIGHT.read(self.reference, self.text)

    @cached_property
    def elsewhere(self) -> tuple[float, float]:
        """Bits a byte of patient and twin on the other windows, by the right meter."""
        return tuple(RIGHT.read(model, self.other_text).bits for model in (self.model, self.reference))

    @cached_property
    def damaged(self) -> float:
        """The patient's there, by the meter that it came with."""
        return self.elsewhere[0] if self.meter == RIGHT else self.meter.read(self.model, self.other_text).bits

    def symptoms(self) -> Table:
        """Bits a byte, what both write, and the sizes of their files. No cause is named."""
        tell = lambda model: repr(continued(model))[1:-1]  # noqa: E731
        size = lambda folder: f"{(folder / 'model.safetensors').stat().st_size:,}"  # noqa: E731
        rows = [
            ("bits/byte, as reported", f"{self.reading.bits:.4f}", f"{self.healthy.bits:.4f}", f"{plain_bits():.4f}"),
            ("bytes of the file", size(self.folder), size(self.reference_folder), size(SHIPPED)),
            (f"goes on from {PROMPT!r}", tell(self.model), tell(self.reference), tell(plain())),
        ]
        return Table((self.scheme, "patient", "healthy twin", "bf16"), rows)


@lru_cache(maxsize=1)
def plain() -> LlamaForCausalLM:
    """The shipped model in 16 bits, loaded once."""
    return load_model(SHIPPED)


@lru_cache(maxsize=1)
def plain_bits() -> float:
    """Its bits a byte on the table's windows."""
    return RIGHT.read(plain(), texts()[0]).bits


@torch.inference_mode()
def continued(model: LlamaForCausalLM, length: int = 8) -> str:
    """What a model writes behind PROMPT, greedy, the whole text read anew for each token."""
    tokenizer = load_tokenizer(SHIPPED)
    ids, run = tokenizer.encode(PROMPT, bos=True), model if model.kv_cache is None else through_cache(model)
    for _ in range(length):
        ids.append(int(run(torch.tensor([ids]))[0, -1].argmax()))
    return tokenizer.decode(ids[-length:])
