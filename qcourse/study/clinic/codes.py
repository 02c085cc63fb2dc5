"""The instrument for what a layer holds: its codes, zero points and scales, and whose they are."""

from collections import Counter
from dataclasses import dataclass

import torch

from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import values_of
from qcourse.packing.order import unsorted_codes
from qcourse.packing.packed import unpack
from qcourse.shapes import Tensor
from qcourse.study.clinic.case import Patient
from qcourse.study.picture import Picture, Table
from qcourse.study.plots import BLUE, ORANGE, described, figure

TINY = torch.finfo(torch.float16).tiny  # below it fp16 has fewer than 11 bits
WAYS = ("as they are", "neighbours along K swapped", "rows in another order")


@dataclass(frozen=True)
class Held:
    """What one layer holds: codes (N, K) by input channel · zero, scale (N, K/G) · G · bits of a code · signed, or not ·
    integers: whether they are steps of a scale."""

    codes: Tensor
    zero: Tensor | None
    scale: Tensor
    G: int
    num_bits: int
    signed: bool
    integers: bool

    def reach(self, axis: int) -> float | None:
        """The share of groups of G along an axis (1: K, 0: N) in which a code stands at the end of the grid: 1 along the
        axis whose groups made the scales. None where G does not divide it, and for floats."""
        if self.codes.shape[axis] % self.G or not self.integers:
            return None
        x = self.codes.int() if axis else self.codes.int().T
        ends = (x.abs() if self.signed else x).reshape(-1, self.G).amax(1)
        return (ends >= (1 << self.num_bits - self.signed) - 1).float().mean().item()


def held_by(layer) -> Held | None:
    """None where a layer holds floats."""
    product = getattr(layer, "product", None)
    if product is None:
        return None
    q = unpack(product.p)
    grid, scale = q.args.grid, values_of(q.scale, q.args.scale).float()
    signed = bool(getattr(grid, "signed", False))
    G = q.args.group_size or q.codes.shape[1]
    return Held(unsorted_codes(q.codes, q.order), q.zero_point, scale, G, q.args.num_bits, signed, isinstance(grid, IntGrid))


def agreement(a: Tensor, b: Tensor) -> dict[str, float]:
    """The share of codes, or of rows, that a has in common with b, read in three ways."""
    if a.shape != b.shape:
        return dict.fromkeys(WAYS, 0.0)
    swapped = b.reshape(len(b), -1, 2).flip(2).reshape(b.shape)
    rows = Counter(bytes(row.numpy().tobytes()) for row in b.contiguous())
    common = Counter(bytes(row.numpy().tobytes()) for row in a.contiguous()) & rows
    return dict(zip(WAYS, ((a == b).float().mean().item(), (a == swapped).float().mean().item(),
                           sum(common.values()) / len(a)), strict=True))  # fmt: skip


@dataclass(frozen=True)
class Codes:
    """Of one layer: what both hold · agree: in which reading the patient's codes are the twin's · elsewhere: another layer
    of the twin with the same codes, or None · why: this layer was looked at."""

    layer: str
    patient: Held | None
    twin: Held | None
    agree: dict[str, float]
    elsewhere: str | None
    why: str = "asked for"

    @property
    def moved(self) -> float:
        """By how much zero points were moved, the mean; 0 where there are none."""
        pair = [h and h.zero for h in (self.patient, self.twin)]
        if any(z is None or z.shape != pair[0].shape for z in pair):
            return 0.0
        return (pair[0].float() - pair[1].float()).mean().item()

    def lost(self, who: Held | None) -> float:
        """The share of scales that fp16 would hold coarsely, or as 0."""
        return 0.0 if who is None else (who.scale < TINY).float().mean().item()

    def table(self) -> Table:
        """Numbers of both."""
        both = (self.patient, self.twin)
        per = lambda make: tuple("" if h is None else make(h) for h in both)  # noqa: E731
        share = lambda x: "" if x is None else f"{x:.1%}"  # noqa: E731
        rows = [("why this layer", self.why, ""), ("bits of a code", *per(lambda h: h.num_bits)),
                ("columns that share a scale", *per(lambda h: h.G)),
                ("mean zero point, as it is read", *per(lambda h: "" if h.zero is None else f"{h.zero.float().mean():.3f}")),
                ("median scale", *per(lambda h: f"{h.scale.median():.3g}")),
                ("smallest scale", *per(lambda h: f"{h.scale.min():.3g}")),
                ("scales below fp16's normal numbers", *per(lambda h: share(self.lost(h)))),
                ("scales that are 0", *per(lambda h: share((h.scale == 0).float().mean().item()))),
                ("groups along K with a code at the end", *per(lambda h: share(h.reach(1)))),
                ("groups along N with a code at the end", *per(lambda h: share(h.reach(0))))]  # fmt: skip
        rows += [(f"share of codes that are the twin's, {way}", share(x), "") for way, x in self.told().items()]
        rows += [("by chance", share(self.chance), "")] * bool(self.told())
        rows.append(("another layer of the twin with these codes", self.elsewhere or "none", ""))
        return Table((self.layer, "patient", "twin"), rows)

    @property
    def chance(self) -> float:
        """The share of equal codes that two such histograms have in common by chance."""
        pair = [h.codes.int().flatten() for h in (self.patient, self.twin)]
        low = min(x.min() for x in pair)
        shares = [(x - low).bincount(minlength=256) / len(x) for x in pair]
        return (shares[0] @ shares[1]).item()

    def told(self) -> dict[str, float]:
        """`agree`, as far as it says something: where codes are the twin's as they are, no other reading is asked for."""
        asis = self.agree[WAYS[0]]
        if self.patient is None or self.twin is None:
            return {}
        return {WAYS[0]: asis} if asis == 1 else self.agree

    def said(self) -> str:
        """What is seen, in a line."""
        if not self.told():
            return "no codes here, or none in the twin"
        way = max(self.agree, key=self.agree.get)  # the first of equals: as they are
        moved = f",\nzero points moved by {self.moved:+.2f}" if self.moved else ""
        return f"{self.agree[way]:.0%} of the codes are the twin's, {way}{moved}"

    def figure(self) -> Picture:
        """Histograms of the codes, and of the zero points where there are any."""
        short = self.layer.removeprefix("model.layers.")
        fig, axes = figure(2, f"{short}: {self.said()}")
        for ax, what, of in zip(axes, ("codes", "zero points"), (lambda h: h.codes, lambda h: h.zero), strict=True):
            for k, (name, h, color) in enumerate((("patient", self.patient, BLUE), ("healthy twin", self.twin, ORANGE))):
                if h is not None and of(h) is not None:
                    values, counts = of(h).int().unique(return_counts=True)
                    at, share = (values + 0.4 * k - 0.2).tolist(), (counts / counts.sum()).tolist()
                    ax.bar(at, share, width=0.4, color=color, label=name, hatch="" if k else "//")
            ax.set(xlabel=what, ylabel="share")
        if axes[0].patches:  # none where both hold floats
            axes[0].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        return described(fig, "Histograms of codes and zero points of the patient and its twin.")


def codes(patient: Patient, layer: str | None = None) -> Codes:
    """Of a layer; None: the one whose output is furthest from the twin's. Raises KeyError for one that is not there."""
    from qcourse.study.clinic.instruments import examine

    why = "asked for"
    if layer is None:
        errors = examine(patient, "errors by layer")
        layer, ill = errors.worst, errors.worst in errors.struck
        why = "furthest from the twin's" if ill else "no linear layer errs alone: the first one"
    layer = "lm_head" if layer == "logits" else layer
    mine, twin = patient.model.linears(), patient.reference.linears()
    if layer not in mine or layer not in twin:
        raise KeyError(f"{layer!r} is no linear layer of both models: {', '.join(list(twin)[:7])} …")
    a, b = held_by(mine[layer]), held_by(twin[layer])
    if a is None or b is None:
        return Codes(layer, a, b, dict.fromkeys(WAYS, 0.0), None, why)
    same = (n for n, m in twin.items() if n != layer and (h := held_by(m)) is not None and torch.equal(h.codes, a.codes))
    return Codes(layer, a, b, agreement(a.codes, b.codes), next(same, None), why)
