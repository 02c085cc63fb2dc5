"""The instrument for whoever measured: what was put into the model, what was asked of it, and on which text."""

from dataclasses import dataclass

import torch

from qcourse.models.loader import SHIPPED, load_tokenizer
from qcourse.models.tokenizer import EOT
from qcourse.study.clinic.case import Patient
from qcourse.study.clinic.meter import RIGHT, Reading
from qcourse.study.picture import Picture, Table
from qcourse.study.plots import lines


@dataclass(frozen=True)
class Protocol:
    """The meter that the patient came with, and the right one on the same model. seen: the share of scored windows that
    calibration had read, None where nothing was calibrated · twin: its bits a byte, right meter · other: both on windows
    that nobody looked at, right meter."""

    own: Reading
    right: Reading
    markers: int
    next_id: float
    seen: float | None
    twin: float
    other: tuple[float, float]

    def table(self) -> Table:
        """Facts of the protocol."""
        tokenizer = load_tokenizer(SHIPPED)
        word = lambda i: EOT if i == tokenizer.bos_id else repr(tokenizer.decode([i]))  # noqa: E731
        first = lambda t: " ".join(map(word, t[0, :5].tolist()))  # noqa: E731
        rows = [("first inputs", first(self.own.inputs), first(self.right.inputs)),
                ("first targets", first(self.own.targets), first(self.right.targets)),
                ("markers in front", self.markers, 1),
                ("targets that are the next id of the text", f"{self.next_id:.1%}", "100.0%"),
                ("targets", self.own.targets.numel(), self.right.targets.numel()),
                ("bytes", self.own.num_bytes, self.right.num_bytes),
                ("bits/byte of the patient", f"{self.own.bits:.4f}", f"{self.right.bits:.4f}"),
                ("bits/byte of the twin", "", f"{self.twin:.4f}"),
                ("scored windows that calibration read", "no calibration" if self.seen is None else f"{self.seen:.0%}", ""),
                ("bits/byte of the patient on other windows", "", f"{self.other[0]:.4f}"),
                ("bits/byte of the twin on other windows", "", f"{self.other[1]:.4f}")]  # fmt: skip
        return Table(("", "the patient's meter", "the right meter"), rows)

    def figure(self) -> Picture:
        """Nats of the first targets."""
        m = min(24, self.own.nats.shape[1], self.right.nats.shape[1])
        title = "The two meters agree, target by target"
        if not torch.equal(self.own.targets, self.right.targets):
            title = f"Markers in front: {self.markers}; targets that are the next id: {self.next_id:.0%}"
        elif self.seen:
            title = f"Calibration has read {self.seen:.0%} of the windows that are scored"
        series = {
            "the patient's meter": self.own.nats[:, :m].mean(0).tolist(),
            "the right meter": self.right.nats[:, :m].mean(0).tolist(),
        }
        return lines(range(m), series, title, "target", "nats, mean over the windows")


def protocol(patient: Patient, layer: str | None = None) -> Protocol:
    """The facts of one reading beside the right one."""
    own = patient.reading
    right = own if patient.meter == RIGHT else RIGHT.read(patient.model, patient.text)
    bos = int(patient.text.ids[0, 0])
    markers = int((own.inputs[0] == bos).long().cumprod(0).sum())
    body = patient.text.ids[:, 1:]
    next_id = (own.targets[:, :-1] == own.inputs[:, 1:]).float().mean().item()
    ids, seen = patient.planted.calibration, None
    if ids is not None:
        known = {bytes(row[1:33].numpy().tobytes()) for row in ids.contiguous()}
        seen = sum(bytes(row[:32].contiguous().numpy().tobytes()) in known for row in body) / len(body)
    return Protocol(own, right, markers, next_id, seen, patient.healthy.bits, patient.elsewhere)
