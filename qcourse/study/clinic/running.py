"""Instruments that run the model: errors by layer, positions, loudness.

Each is a frozen record of what was seen, with `.table()` and `.figure()`; its title says what it shows.
"""

from dataclasses import dataclass

from qcourse.shapes import Tensor
from qcourse.study.clinic.case import Patient, plain
from qcourse.study.clinic.meter import RIGHT
from qcourse.study.clinic.seen import alone, apart, traffic
from qcourse.study.picture import Picture, Table
from qcourse.study.plots import BLUE, ORANGE, described, figure, lines

STRAIGHT = 0.4  # of what lies along the line: more beside it, and channels follow none; codes of 2 bits come to 0.5
SAME = 1e-4  # relative: below it two layers do the same, in fp32 summed in another order


@dataclass(frozen=True)
class Errors:
    """alone, running: ‖y − y_twin‖ / ‖y_twin‖ by place: on the twin's own input, and in the model as it runs."""

    alone: dict[str, float]
    running: dict[str, float]

    @property
    def struck(self) -> list[str]:
        """The places that do something else than the twin's, on the same input."""
        return [name for name, e in self.alone.items() if e > SAME]

    @property
    def worst(self) -> str:
        """The linear layer that is furthest from the twin's."""
        return max((n for n in self.alone if n.endswith("_proj") or n == "logits"), key=self.alone.__getitem__)

    def table(self) -> Table:
        """Every place, in order of execution."""
        rows = [(n, f"{e:.2g}", f"{self.running[n]:.2g}") for n, e in self.alone.items()]
        return Table(("against the twin, no KV cache", "alone, on the twin's input", "in the running model"), rows)

    def figure(self) -> Picture:
        """A bar for each place, and a point for the running model."""
        title = f"{len(self.struck)} of {len(self.alone)} places differ from the twin's on the same input (no KV cache)"
        fig, ax = figure(1, title, width=9, height=3.8)
        low = 1e-7
        at, short = range(len(self.alone)), [n.removeprefix("model.layers.") for n in self.alone]
        ax.bar(at, [max(e, low) for e in self.alone.values()], color=BLUE, label="alone, on the twin's input")
        ax.plot(at, [max(e, low) for e in self.running.values()], "s", ms=3, color=ORANGE, label="in the running model")
        ax.set_xticks(at, short, rotation=90, size=7)
        ax.set(yscale="log", ylim=(low / 2, None), ylabel="relative error")
        ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        worst = f"The worst linear layer is {self.worst}, {self.alone[self.worst]:.2g}" if self.struck else "None is wrong"
        return described(fig, f"A bar for each place, its relative error on the twin's input. {worst}.")


def errors(patient: Patient, layer: str | None = None) -> Errors:
    """Both models over two windows. They run without a KV cache, whatever they say of one."""
    ids = patient.text.ids[:2, :-1]
    twin, own = traffic(patient.reference, ids), traffic(patient.model, ids)
    found = alone(patient.model, twin)
    return Errors(found, {n: apart(own[n][1], twin[n][1]) for n in found})


@dataclass(frozen=True)
class Positions:
    """starts: the first position of each bin · targets: in it, of all windows · nats: the patient's less the twin's, a token
    · agree: share of positions with the same likeliest id."""

    starts: tuple[int, ...]
    targets: tuple[int, ...]
    nats: tuple[float, ...]
    agree: tuple[float, ...]

    def table(self) -> Table:
        """A row for each bin."""
        rows = zip(self.starts, self.targets, self.nats, self.agree, strict=True)
        head = ("from position", "targets", "added nats/token", "same likeliest id")
        return Table(head, [(s, n, f"{x:+.3f}", f"{a:.1%}") for s, n, x, a in rows])

    def figure(self) -> Picture:
        """Agreement over the position."""
        title = f"The twin's likeliest id at {self.agree[0]:.0%} of first positions, at {self.agree[-1]:.0%} of the last"
        series = {"share of positions with the same likeliest id": list(self.agree)}
        return lines([s + 1 for s in self.starts], series, title, "position + 1", "agreement", logx=True)


def positions(patient: Patient, layer: str | None = None) -> Positions:
    """Both by the right meter on the table's windows, in bins that double."""
    own = patient.reading if patient.meter == RIGHT else RIGHT.read(patient.model, patient.text)
    twin = patient.healthy
    edges = [0, *(1 << i for i in range(own.nats.shape[1].bit_length()))]
    edges = [e for e in edges if e < own.nats.shape[1]] + [own.nats.shape[1]]
    cut = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    nats = tuple((own.nats - twin.nats)[:, s].mean().item() for s in cut)
    agree = tuple((own.top1 == twin.top1)[:, s].float().mean().item() for s in cut)
    targets = tuple(own.nats[:, s].numel() for s in cut)
    return Positions(tuple(edges[:-1]), targets, nats, agree)


@dataclass(frozen=True)
class Loudness:
    """absmax of each fold's input by channel, K of them: patient's, twin's, and of the model in bf16."""

    patient: dict[str, Tensor]
    twin: dict[str, Tensor]
    plain: dict[str, Tensor]

    def slope(self, name: str) -> float | None:
        """log(patient/twin) over log(bf16/twin), by channel: 0, as loud as the twin; 1, as loud as bf16, nothing was
        divided; −1, divided twice. None where the twin is as loud as bf16, or channels do not follow one line."""
        x, y = ((t[name].clamp(min=1e-9) / self.twin[name].clamp(min=1e-9)).log() for t in (self.plain, self.patient))
        if x.std() < 0.1:
            return None
        x, y = x - x.mean(), y - y.mean()
        slope = (x @ y / (x @ x)).item()
        straight = (y - slope * x).norm() < STRAIGHT * x.norm()
        return slope if straight else None

    def slopes(self) -> dict[str, float | None]:
        """Of every fold."""
        return {name: self.slope(name) for name in self.patient}

    def table(self) -> Table:
        """A row for each input that several layers read."""
        word = lambda s: "" if s is None else f"{s:+.2f}"  # noqa: E731
        rows = [
            (n, *(f"{t[n].max():.3g}" for t in (self.patient, self.twin, self.plain)), word(s))
            for n, s in self.slopes().items()
        ]
        return Table(("input of", "patient", "twin", "bf16", "slope by channel"), rows)

    def figure(self) -> Picture:
        """The loudest channel of each input."""
        told = {n: s for n, s in self.slopes().items() if s is not None and abs(s) > 0.5}
        one = "".join(f"; {n.removeprefix('model.layers.')}, by channel: slope {s:+.1f}" for n, s in list(told.items())[:1])
        title = "Every input is as loud as in bf16" if self.as_plain() else f"The loudest channel of each input{one}"
        series = {"patient": self.patient, "healthy twin": self.twin, "bf16": self.plain}
        series = {name: [t[n].max().item() for n in t] for name, t in series.items()}
        return lines(range(len(self.patient)), series, title, "inputs, in order of execution", "max |x|", logy=True)

    def as_plain(self) -> bool:
        """Whether the patient is as loud as bf16 at every input where the twin is not."""
        found = [s for s in self.slopes().values() if s is not None]
        return len(found) > 2 and min(found) > 0.5


def loudness(patient: Patient, layer: str | None = None) -> Loudness:
    """Inputs over two windows."""
    ids, found = patient.text.ids[:2, :-1], []
    for model in (patient.model, patient.reference, plain()):
        seen = traffic(model, ids)
        found.append({f.name: seen[f.name][0].abs().flatten(0, -2).amax(0).float() for f in model.folds()})
    return Loudness(*found)
