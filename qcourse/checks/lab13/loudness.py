"""13.4 mend_gain(gain, patient, twin, plain) → a norm's gain after a fold that was forgotten, or applied twice."""

import torch

from qcourse.checks import draw
from qcourse.checks.lab13.loudness_mistakes import MISTAKES
from qcourse.checks.task import Property, Task
from qcourse.shapes import Tensor

NOISE = 0.04  # log: what a patient's loudness is off by; the factors lie between exp(±0.3) and exp(±1.5)
FORGOTTEN, HEALTHY, TWICE = 1, 0, -1  # log(patient/twin) is this, times log(plain/twin)


def expected(gain: Tensor, patient: Tensor, twin: Tensor, plain: Tensor) -> Tensor:
    """The nearest of the three, by the sum of the distances of the logarithms."""
    heard = [(p, t, b) for p, t, b in zip(patient.tolist(), twin.tolist(), plain.tolist(), strict=True) if t > 0]
    p, t, b = (torch.tensor(column, dtype=torch.float64).log() for column in zip(*heard, strict=True))
    power = min((HEALTHY, FORGOTTEN, TWICE), key=lambda k: float((p - t - k * (b - t)).abs().sum()))
    s = torch.where(twin > 0, plain.double() / twin.double(), 1.0)
    return (gain.double() * s**-power).float()


def factors(g, K: int) -> Tensor:
    """log s of K ≥ 16 channels: some up, some down, the sum 0, so that no mean tells; a quarter is 0 or hardly more."""
    size = 0.5 + 0.5 * torch.rand(K, generator=g, dtype=torch.float64)
    at = torch.arange(K)
    up = (at % 4 == 0) | (at % 16 == 7)
    logs = torch.where(up, size, -size)
    logs[1::4], logs[3::8] = 0.0, 0.02
    down = logs < 0
    logs[down] *= -logs[~down].sum() / logs[down].sum()
    return logs


def noise(g, logs: Tensor, power: int, tilt: float) -> Tensor:
    """Up to NOISE on each channel; where s is nearly 1 it says the opposite; tilt: along log s, on a healthy patient."""
    found = NOISE * (2 * torch.rand(len(logs), generator=g, dtype=torch.float64) - 1)
    found = torch.where(found.abs() < NOISE / 4, NOISE / 2, found)
    if power == HEALTHY:
        found = found / 4 + tilt * logs
    return torch.where(logs == 0.02, -0.04 * power if power else 0.02, found)


def norm(
    g, power: int, K: int = 16, lean: float = 1.0, tilt: float = 0.06, silent: bool = False, dtype=torch.float32
) -> tuple:
    """(gain, patient, twin, plain): the twin's gain times s to `power`; channels of very different loudness.

    lean: the loudest channels are those with s < 1, so that bf16 sounds quieter than the twin; −1: those with s > 1.
    tilt: how far the noise of a healthy one follows log s. silent: two channels are 0.
    """
    logs = factors(g, K)[torch.randperm(K, generator=g)]
    s = logs.exp().float()
    twin = (0.5 + torch.rand(K, generator=g)) * torch.where((logs > 0) == (lean > 0), 0.5, 12.0)
    plain = twin * s
    patient = twin * (power * logs + noise(g, logs, power, tilt)).exp().float()
    gain = (draw.normal(g, K).abs() + 0.3) * torch.where(torch.rand(K, generator=g) < 0.2, -1.0, 1.0)
    gain = (gain * s**power).to(dtype)
    if silent:
        at = torch.randperm(K, generator=g)[:2]
        for loud in (patient, twin, plain):
            loud[at] = 0.0
        gain[at[:1]] = 0.0
    return gain, patient, twin, plain


def both_ways(power: int):
    """bf16 quieter than the twin, and louder; beside a healthy one, which no constant answer passes with."""
    return lambda g: [norm(g, power), norm(g, power, 24, -1.0), norm(g, power, 64), norm(g, HEALTHY)]


def healthy(g) -> list[tuple]:
    """Noise that leans a little either way; and each of the others once."""
    tilts = [norm(g, HEALTHY, 16, lean, tilt) for lean in (1.0, -1.0) for tilt in (0.06, -0.06)]
    return [*tilts, norm(g, FORGOTTEN), norm(g, TWICE)]


def in_bf16(g) -> list[tuple]:
    """The gain as files have it."""
    return [norm(g, power, 16, lean, dtype=torch.bfloat16) for power in (FORGOTTEN, TWICE) for lean in (1.0, -1.0)]


def with_silence(g) -> list[tuple]:
    """Two channels that are 0 in all three."""
    return [norm(g, power, 16, lean, silent=True) for power in (FORGOTTEN, TWICE) for lean in (1.0, -1.0)]


MEND_GAIN = Task(
    id="13.4",
    function="mend_gain",
    title="A fold too few, or one too many",
    points=5,
    expected=expected,
    properties=(
        Property("a fold forgotten", both_ways(FORGOTTEN), 2),
        Property("a fold applied twice", both_ways(TWICE), 2),
        Property("a healthy norm among others", healthy),
        Property("a gain in bf16", in_bf16),
        Property("silent channels", with_silence),
    ),
    mistakes=MISTAKES,
    hint="On paper, without noise: patient/twin is s, 1 or 1/s. What is log(patient/twin) over log(plain/twin) in the three "
    "cases? Draw it as a line through all channels. How steep is it, and where do you decide between two of them?",
    rtol=1e-5,
    atol=1e-9,
    returns=("gain",),
)
