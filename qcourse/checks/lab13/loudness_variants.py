"""mend_gain with another decision, another s or other factors: what the mistakes of 13.4 are made of."""

import torch

from qcourse.shapes import Tensor


def logs(patient: Tensor, twin: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
    """x = log(plain/twin), y = log(patient/twin), silent channels at 0."""
    patient, twin, plain = (t.double().clamp(min=1e-9) for t in (patient, twin, plain))
    return (plain / twin).log(), (patient / twin).log()


def slope(patient: Tensor, twin: Tensor, plain: Tensor) -> float:
    """Of the line through 0."""
    x, y = logs(patient, twin, plain)
    return float(x @ y / (x @ x))


def thirds(value: float) -> int:
    """1, 0 or −1, whichever is nearest."""
    return 1 if value > 0.5 else -1 if value < -0.5 else 0


def measured(*loud: Tensor) -> int:
    """The right decision."""
    return thirds(slope(*loud))


def factor(patient, twin, plain):
    """s, 1 where a channel is silent."""
    return (plain.clamp(min=1e-9) / twin.clamp(min=1e-9)).double()


def mended(decide=measured, s=factor, up=lambda s: s, down=lambda s: 1 / s, end=lambda t: t.float()):
    """mend_gain with another decision, another s, or other factors for "forgotten" (down) and "twice" (up)."""

    def wrong(gain, patient, twin, plain):
        power, by = decide(patient, twin, plain), s(patient, twin, plain)
        if isinstance(power, Tensor):
            by = torch.where(power > 0, down(by), torch.where(power < 0, up(by), torch.ones_like(by)))
        else:
            by = down(by) if power > 0 else up(by) if power < 0 else torch.ones_like(by)
        return end(gain.double() * by)

    return wrong


def sign(value: float) -> int:
    """1 or −1."""
    return 1 if value > 0 else -1


def nearest(patient, twin, plain):
    """Channel by channel, by the logarithm."""
    x, y = logs(patient, twin, plain)
    apart = torch.stack([(y - k * x).abs() for k in (0, 1, -1)])
    return torch.tensor([0, 1, -1])[apart.argmin(0)]


def nearest_plainly(patient, twin, plain):
    """Channel by channel, by the difference."""
    apart = torch.stack([(patient - t).abs() for t in (twin, plain, twin * twin / plain.clamp(min=1e-9))])
    return torch.tensor([0, 1, -1])[apart.argmin(0)]


def louder(patient, twin, plain):
    """Channel by channel: louder than the twin, or quieter; a channel whose s is 1 can be either."""
    x, y = logs(patient, twin, plain)
    return torch.sign(x * y)


def by_total(of, close=0.05):
    """One loudness for the whole norm: louder than the twin's was forgotten, quieter was applied twice."""

    def decide(patient, twin, plain):
        ratio = float(of(patient) / of(twin))
        return 0 if abs(ratio - 1) <= close else sign(ratio - 1)

    return decide


def totals(of):
    """Mean, or largest: with room for noise, and without."""
    return tuple(mended(by_total(of, close)) for close in (0.05, 0.1, 0.0))


def bare(patient, twin, plain):
    """s as it is, 0/0 in silent channels."""
    return plain.double() / twin.double()


def noisy(gain, patient, twin, plain):
    """The patient's loudness itself as the factor."""
    heard = twin > 0
    return torch.where(heard, gain.double() * twin / torch.where(heard, patient, 1.0), gain.double()).float()


def noisy_s(patient, twin, plain):
    """s from the patient's loudness: of the slope's sign."""
    s = torch.where(twin > 0, patient / torch.where(twin > 0, twin, 1.0), 1.0).double()
    return s if measured(patient, twin, plain) > 0 else 1 / s


def untouched(gain, patient, twin, plain):
    """The gain as it came."""
    return gain.float()
