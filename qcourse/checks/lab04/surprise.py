"""04.3, perplexity and bits a byte of a text that was read in chunks."""

import math

import torch
import torch.nn.functional as F

from qcourse.checks.draw import integer
from qcourse.checks.task import Mistake, Property, Task


def text(g, lengths: list[int], V: int = 7, size: float = 2.0, dtype=torch.float32) -> tuple:
    """(logits, ids, num_bytes) of chunks with these numbers of tokens; the likeliest token comes often."""
    logits, ids, num_bytes = [], [], []
    for T in lengths:
        chunk = (torch.randn(T, V, generator=g) * size).to(dtype)
        lucky = torch.rand(T, generator=g) < 0.6
        body = torch.where(lucky, chunk.float().argmax(-1), torch.randint(V, (T,), generator=g))
        logits.append(chunk)
        ids.append(torch.cat((torch.randint(V, (1,), generator=g), body)))
        num_bytes.append(sum(integer(g, 1, 5) for _ in range(T)))
    return logits, ids, num_bytes


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


def powers_of_two(logits, ids, num_bytes) -> tuple[float, float]:
    """2 to the power of nats."""
    nats = surprise(logits, ids)
    return power(sum(nats) / sum(map(len, logits)), 2), sum(nats) / math.log(2) / sum(num_bytes)


def in_nats(logits, ids, num_bytes) -> tuple[float, float]:
    """Nats called bits."""
    nats = surprise(logits, ids)
    return measures(nats, logits, num_bytes)[0], sum(nats) / sum(num_bytes)


def per_token(logits, ids, num_bytes) -> tuple[float, float]:
    """Bits a token called bits a byte."""
    nats, tokens = surprise(logits, ids), sum(map(len, logits))
    return measures(nats, logits, num_bytes)[0], sum(nats) / math.log(2) / tokens


PERPLEXITY = Task(
    id="04.3",
    function="perplexity",
    title="Perplexity",
    points=4,
    expected=cross_entropy,
    properties=(
        Property("one chunk", lambda g: [text(g, [3], 4), text(g, [12])]),
        Property("chunks of different lengths", lambda g: [text(g, [4, 1], 4), text(g, [7, 7, 2])], 2),
        Property("large logits", lambda g: [text(g, [5, 3], 5, 80.0)]),
        Property("bf16 logits", lambda g: [text(g, [T, 4], 6, dtype=torch.bfloat16) for T in range(7, 14)]),
    ),
    mistakes=(
        Mistake(
            "the labels not shifted",
            wrong(labels=slice(None, -1)),
            "Each row of logits is judged by the token that was just read instead of the one that comes next. A model that "
            "repeated its input would win. Which id was row t computed *before* seeing?",
            "A language model predicts the next token: row t is judged by id t + 1.",
        ),
        Mistake(
            "a mean of the chunks' means",
            lambda logits, ids, num_bytes: means(logits, ids, num_bytes, False, True),
            "Every chunk got one vote, the short last one as much as the long ones. Cut the same text at other places: "
            "does your number stay? What would you have to add up first, so that it does?",
            "Protocol: all tokens count the same. Total nats over total tokens, total bits over total bytes.",
            also=(
                means_times_tokens,
                *(
                    (lambda logits, ids, num_bytes, a=a, b=b: means(logits, ids, num_bytes, a, b))
                    for a, b in ((True, True), (True, False), (False, False))
                ),
            ),
        ),
        Mistake(
            "nats called bits",
            in_nats,
            "Your bits a byte are 31 % too good. `log_softmax` uses the natural logarithm, so what you added up are "
            "nats. How many nats has a bit?",
            "A bit is ln 2 nats.",
        ),
        Mistake(
            "2 to the power of nats",
            powers_of_two,
            "Perplexity undoes a logarithm, so it needs the base that the logarithm had. Which base does `log_softmax` use?",
            "perplexity = e^nats = 2^bits. Base and unit go together.",
        ),
        Mistake(
            "bits a token called bits a byte",
            per_token,
            "You divided by the number of tokens. Another tokenizer would cut the same text into fewer, longer tokens "
            "and look worse at once. What did the text have before anyone cut it?",
            "Bits a *byte* compare across tokenizers; bits a token do not.",
        ),
        Mistake(
            "exp of a large logit overflows",
            wrong(log_p=lambda x: torch.log(torch.exp(x.float()) / torch.exp(x.float()).sum(-1, keepdim=True))),
            "fp32 ends near exp(88), and inf / inf is not a number. The shares of a softmax do not change when the "
            "same constant is taken from all logits of a row. Which constant would make every exp harmless? (Some "
            "function may know.)",
            "Log-probabilities are differences of logits: they never need the exp of a large number.",
            also=(wrong(log_p=lambda x: x.float() - torch.log(torch.exp(x.float()).sum(-1, keepdim=True))),),
        ),
        Mistake(
            "logits taken for log-probabilities",
            wrong(log_p=lambda x: x.double()),
            "A logit is not yet a probability: add 5 to all of a row, and nothing may change, but your answer does. "
            "What makes the probabilities of a row add up to 1?",
            "Probabilities sum to 1 before they are judged.",
        ),
        Mistake(
            "computed in bf16",
            wrong(log_p=lambda x: torch.log_softmax(x, -1)),
            "With logits in bf16 your log-probabilities keep 8 bits as well, and then thousands of them are added up. "
            "The damage of a good format is smaller than that. In which dtype should a measuring instrument compute?",
            "A meter must be finer than what it measures.",
        ),
    ),
    hint="Write it for one chunk: log-probabilities of all V tokens (T, V), then for each row the one entry that came true. "
    "`gather` picks one entry a row. Keep sums, not means, until the very end.",
    rtol=1e-4,
    returns=("perplexity", "bits a byte"),
)
