"""04.3, perplexity and bits a byte of a text that was read in chunks."""

import math

import torch

from qcourse.checks.lab04.chunks import (
    cross_entropy,
    in_its_own_dtype,
    in_nats,
    means,
    means_times_tokens,
    over_ids,
    per_token,
    power,
    same,
    text,
    to_the_power,
    without_last,
    wrong,
)
from qcourse.checks.task import Mistake, Property, Task

PERPLEXITY = Task(
    id="04.3",
    function="perplexity",
    title="Perplexity",
    points=4,
    expected=cross_entropy,
    properties=(
        Property("one chunk", lambda g: [text(g, [2], 3), text(g, [12])]),
        Property("chunks of different lengths", lambda g: [text(g, [3, 2], 3), text(g, [7, 7, 2])], 2),
        Property("large logits", lambda g: [text(g, [5, 3], 4, 5.0, loud=True)]),
        Property("bf16 logits", lambda g: [text(g, [T, 2], 5, dtype=torch.bfloat16) for T in range(2, 9)]),
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
            to_the_power(lambda nats: power(nats, 2)),
            "Perplexity undoes a logarithm, so it needs the base that the logarithm had. Which base does `log_softmax` use?",
            "perplexity = e^nats = 2^bits. Base and unit go together.",
            also=(to_the_power(lambda nats: power(nats / math.log(2))),),
        ),
        Mistake(
            "divided by T + 1",
            over_ids,
            "A chunk has T + 1 ids, and the first of them was never predicted: there was nothing before it. How many "
            "predictions were judged?",
            "A mean is over what was added up: T tokens a chunk.",
        ),
        Mistake(
            "the last prediction thrown away",
            lambda logits, ids, num_bytes: without_last(logits, ids, num_bytes, True),
            "You cut off the last row of the logits, as one does when logits and ids are equally long. Here there are T "
            "rows and T + 1 ids. Which id judges the last row?",
            "A language model predicts the next token: row t is judged by id t + 1.",
            also=(lambda logits, ids, num_bytes: without_last(logits, ids, num_bytes, False),),
        ),
        Mistake(
            "the softmax over the tokens instead of the vocabulary",
            wrong(log_p=lambda x: torch.log_softmax(x.double(), 0)),
            "Your probabilities add up to 1 down each column, over the positions in the text. At one position, which "
            "alternatives compete with each other? Which axis are they on?",
            "Probabilities of one row, over the vocabulary, sum to 1.",
        ),
        Mistake(
            "the logarithm of a share that is 0 in fp32",
            wrong(log_p=lambda x: torch.log(torch.softmax(x.float(), -1))),
            "A softmax in fp32 may give exactly 0, and its logarithm is −∞, although ln p is only −120. What is ln p before "
            "anyone takes an exp? (Some function gives it at once.)",
            "Log-probabilities are differences of logits: they never need a tiny number.",
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
            also=(in_its_own_dtype,),
        ),
    ),
    hint="Write it for one chunk: log-probabilities of all V tokens (T, V), then for each row the one entry that came true. "
    "`gather` picks one entry a row. Keep sums, not means, until the very end.",
    same=same,
    returns=("perplexity", "bits a byte"),
)
