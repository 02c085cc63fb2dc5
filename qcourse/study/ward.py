"""The ward of notebook 13: the decision tree as far as its cases were met, and which instrument sees which patient.

reports(*patients)      what whoever sent them had measured, and what they write
grown(met)              the questions that lead to the cases met so far, in the tree's order
slopes_figure(points)   log(patient/twin) over log(bf16/twin), by channel
seen_by(p)              {instrument: whether it shows any difference between a patient and its twin}
ward_figure(patients)   the same for many, drawn: what differs, and where the tree finds the cause
"""

from collections.abc import Iterable

import torch

from qcourse.shapes import Tensor
from qcourse.study.clinic import CASES, INSTRUMENTS, Patient, examine
from qcourse.study.clinic.case import PROMPT, continued
from qcourse.study.clinic.codes import Codes
from qcourse.study.clinic.tree import ways
from qcourse.study.picture import Picture, Table
from qcourse.study.plots import BLUE, GREY, KINDS, described, figure

LOUDER = 0.01  # relative: inputs that differ by less are as loud


def reports(*patients: Patient) -> Table:
    """A row for each patient: its number, its scheme, bits a byte as reported and of the twin, and what it writes."""
    rows = []
    for p in patients:
        bits = (f"{reading.bits:.2f}" for reading in (p.reading, p.healthy))
        rows.append((p.seed, p.scheme, *bits, repr(continued(p.model))[1:-1]))
    return Table(("patient", "scheme", "bits/byte", "twin", f"goes on from {PROMPT!r}"), rows)


def grown(met: Iterable[str]) -> Table:
    """A row for each case met: the last question on the way to it, the instrument that is asked, the answer. Raises KeyError
    for a name that is no case."""
    met = set(met)
    for name in met - CASES.keys():
        raise KeyError(f"{name!r} is no name of CASES: {', '.join(CASES)}")
    rows = []
    for name, way in ways():
        if name in met:
            question, answer = way[-1]
            short = question.question.partition(" (")[0].rstrip("?") + "?"  # without its formula
            rows.append((short, question.instrument, "yes" if answer else "no", name))
    return Table(("question", "instrument", "answer", "cause"), rows)


def codes_differ(c: Codes) -> bool:
    """Whether codes, scales or zero points of the layer that was looked at are not the twin's; a layer of floats in both has
    none to differ."""
    if c.patient is None or c.twin is None:
        return (c.patient is None) != (c.twin is None)
    pairs = [(getattr(c.patient, x), getattr(c.twin, x)) for x in ("codes", "scale", "zero")]
    return any(not torch.equal(a, b) for a, b in pairs if a is not None and b is not None)


def seen_by(p: Patient) -> dict[str, bool]:
    """Which instruments show a difference, whatever it means."""
    errors, codes, positions, headers, loudness, meter = (examine(p, name) for name in INSTRUMENTS)
    inputs = ((loudness.patient[n].max() / twin.max()).item() for n, twin in loudness.twin.items())
    return {
        "errors by layer": bool(errors.struck),
        "codes": codes_differ(codes),
        "positions": min(positions.agree) < 1,
        "headers": bool(headers.config or headers.missing or headers.surplus or any(k for k, _ in headers.changed.values())),
        "loudness": any(abs(louder - 1) > LOUDER for louder in inputs),
        "meter": meter.markers != 1 or meter.next_id < 1 or bool(meter.seen),
    }


def slopes_figure(points: dict[str, tuple[Tensor, Tensor]], title: str) -> Picture:
    """Patients' (log(bf16/twin), log(patient/twin)) by channel: a healthy one lies on 0."""
    fig, ax = figure(1, title)
    for (name, (x, y)), (color, marker, _) in zip(points.items(), KINDS, strict=False):
        ax.plot(x.tolist(), y.tolist(), marker, ms=4, color=color, label=name)
    ax.axhline(0, color=GREY, lw=1, ls="--", label="healthy")
    ax.set(xlabel="log(bf16 / twin), by channel", ylabel="log(patient / twin)")
    ax.legend(frameon=False)
    return described(fig, f"A point for each channel of {', '.join(points)}; a healthy one would lie on 0.")


def ward_figure(patients: dict[str, Patient]) -> Picture:
    """Cases down, instruments across. A ring: something differs there. A full dot: there the tree finds the cause."""
    names, across = list(patients), list(INSTRUMENTS)
    sees = {name: seen_by(p) for name, p in patients.items()}
    finds = {name: way[-1][0].instrument for name, way in ways() if name in patients}
    seen = {i: sum(s[i] for s in sees.values()) for i in across}
    most = max(across, key=seen.get)
    title = f"The instrument that sees most, {most}, sees {seen[most]} of {len(names)}; and a ring names no cause"
    fig, ax = figure(1, title, 9, 0.9 + 0.3 * len(names))
    for y, name in enumerate(names):
        for x, instrument in enumerate(across):
            if finds[name] == instrument:
                ax.plot(x, y, "o", ms=10, color=BLUE)
            elif sees[name][instrument]:
                ax.plot(x, y, "o", ms=10, mfc="none", mec=GREY)
    ax.set_xticks(range(len(across)), [f"{i}\n{seen[i]} of {len(names)}" for i in across])
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(names) - 0.5, -0.5))
    said = "; ".join(f"{name}: {', '.join(i for i in across if s[i])}" for name, s in sees.items())
    return described(fig, f"A ring where an instrument shows a difference, a full dot where the cause is found. {said}.")
