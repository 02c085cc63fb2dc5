"""The texts of 04.3, how exactly their surprise is known, and the ways to get it wrong."""

import math

import torch
import torch.nn.functional as F

from qcourse.checks.compare import difference
from qcourse.checks.draw import integer


def text(g, lengths: list[int], V: int = 7, size: float = 2.0, dtype=torch.float32, loud: bool = False) -> tuple:
    """(logits, ids, num_bytes) of chunks with these numbers of tokens; the likeliest token comes often.

    Every chunk begins with the unlikeliest, so that nats are not small. `loud`: rows lie around +200 and −200 by turns (exp
    of one overflows, of the other is 0), and the first token of the first chunk has a share of e⁻¹²⁰, which is 0 in fp32.
    """
    logits, ids, num_bytes = [], [], []
    for T in lengths:
        chunk = torch.randn(T, V, generator=g) * size
        if loud:
            chunk[0, int(chunk[0].argmin())] = chunk[0].max() - (120.0 if not logits else 20.0)
            chunk += torch.where(torch.arange(T) % 2 == 0, 200.0, -200.0)[:, None]
        chunk = chunk.to(dtype)
        lucky = torch.rand(T, generator=g) < 0.6
        body = torch.where(lucky, chunk.float().argmax(-1), torch.randint(V, (T,), generator=g))
        body[0] = int(chunk[0].argmin())
        logits.append(chunk)
        ids.append(torch.cat((torch.randint(V, (1,), generator=g), body)))
        num_bytes.append(sum(integer(g, 1, 5) for _ in range(T)))
    return logits, ids, num_bytes


def same(args, got, other) -> str | None:
    """Nats a token within 2⁻²⁰ · (1 + max|logit|): sixteen fp32 roundings of a logit.

    ln perplexity is known to that; bits a byte to as much, times tokens, over bytes and ln 2.
    """
    logits, _, num_bytes = args
    room = 2.0**-20 * (1 + max(float(x.float().abs().max()) for x in logits))
    bits = room * sum(map(len, logits)) / math.log(2) / sum(num_bytes)
    values = [(float(g), float(o)) for g, o in zip(got, other, strict=True)]
    for name, (g, o), near in zip(("perplexity", "bits a byte"), values, (room * abs(values[0][1]), bits), strict=True):
        if found := difference(g, o, 2.0**-20, near if near < math.inf else 0.0, where=name):
            return found
    return None


def surprise(logits, ids, *, labels=slice(1, None), log_p=lambda x: torch.log_softmax(x.double(), -1)) -> list[float]:
    """Nats of each chunk; the keywords are what can be got wrong."""
    return [-log_p(x).gather(1, i[labels, None]).double().sum().item() for x, i in zip(logits, ids, strict=True)]


def power(x: float, base: float = math.e) -> float:
    """base**x, infinite rather than an error."""
    return base**x if x == x and x < 700 else x * math.inf


def measures(nats: list[float], logits, num_bytes) -> tuple[float, float]:
    """(perplexity, bits a byte): everything added up, divided once."""
    return power(sum(nats) / sum(map(len, logits))), sum(nats) / math.log(2) / sum(num_bytes)


def cross_entropy(logits, ids, num_bytes) -> tuple[float, float]:
    """By torch's own loss, in fp64."""
    nats = [F.cross_entropy(x.double(), i[1:], reduction="sum").item() for x, i in zip(logits, ids, strict=True)]
    return measures(nats, logits, num_bytes)


def means_times_tokens(logits, ids, num_bytes) -> tuple[float, float]:
    """The mean of the chunks' means as nats a token, in both measures."""
    nats = surprise(logits, ids)
    a_token = sum(n / len(x) for n, x in zip(nats, logits, strict=True)) / len(nats)
    return measures([a_token * sum(map(len, logits))], logits, num_bytes)


def means(logits, ids, num_bytes, of_perplexities: bool, bytes_too: bool) -> tuple[float, float]:
    """Means over chunks instead of over tokens and bytes, in the ways in which that is done."""
    nats = surprise(logits, ids)
    a_token = [n / len(x) for n, x in zip(nats, logits, strict=True)]
    a_byte = [n / math.log(2) / b for n, b in zip(nats, num_bytes, strict=True)]
    mean = sum(map(power, a_token)) / len(nats) if of_perplexities else power(sum(a_token) / len(nats))
    return mean, sum(a_byte) / len(nats) if bytes_too else measures(nats, logits, num_bytes)[1]


def wrong(**how):
    """A mistake in the surprise itself."""
    return lambda logits, ids, num_bytes: measures(surprise(logits, ids, **how), logits, num_bytes)


def to_the_power(of):
    """Another power of the nats a token."""

    def wrong(logits, ids, num_bytes) -> tuple[float, float]:
        nats = surprise(logits, ids)
        return of(sum(nats) / sum(map(len, logits))), sum(nats) / math.log(2) / sum(num_bytes)

    return wrong


def over_ids(logits, ids, num_bytes) -> tuple[float, float]:
    """Divided by T + 1."""
    nats = surprise(logits, ids)
    return power(sum(nats) / sum(map(len, ids))), sum(nats) / math.log(2) / sum(num_bytes)


def without_last(logits, ids, num_bytes, tokens_too: bool) -> tuple[float, float]:
    """The last row of each chunk thrown away, out of the habit of shifting."""
    nats = surprise([x[:-1] for x in logits], [i[:-1] for i in ids])
    tokens = sum(len(x) - tokens_too for x in logits)
    return power(sum(nats) / tokens), sum(nats) / math.log(2) / sum(num_bytes)


def in_its_own_dtype(logits, ids, num_bytes) -> tuple[float, float]:
    """torch's own loss in the dtype of the logits."""
    nats = [F.cross_entropy(x, i[1:], reduction="sum").item() for x, i in zip(logits, ids, strict=True)]
    return measures(nats, logits, num_bytes)


def in_nats(logits, ids, num_bytes) -> tuple[float, float]:
    """Nats called bits."""
    nats = surprise(logits, ids)
    return measures(nats, logits, num_bytes)[0], sum(nats) / sum(num_bytes)


def per_token(logits, ids, num_bytes) -> tuple[float, float]:
    """Bits a token called bits a byte."""
    nats, tokens = surprise(logits, ids), sum(map(len, logits))
    return measures(nats, logits, num_bytes)[0], sum(nats) / math.log(2) / tokens
