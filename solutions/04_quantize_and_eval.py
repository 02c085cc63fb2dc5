# %% [markdown]
# # Lab 04 · Quantize and evaluate
#
# **What you build.** The measuring instruments: bytes, room for users, quality with an honest error bar, speed, and at the
# end the decision. Most published comparisons of quantized models are wrong in one of these, not in the quantization. Your
# instruments will judge five formats of the model that ships with the course.
#
# About 45 minutes, after notebook 04 ([yours](../my_notebooks/04_quantize_and_eval.ipynb), [to read](../notebooks/04_quantize_and_eval.ipynb)). No quantizing here: only measuring, which is harder than it looks.

# %%
import math
import statistics

import torch

from qcourse import check, hint, solution, when_done

# %% [markdown]
# `check("04.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("04.1")` nudges, `hint("04.1", 2)` and `hint("04.1", 3)` say more;
# `solution("04.1")` shows ours, for afterwards.

# %% [markdown]
# ## 04.1 · Honest bytes
#
# What does a model occupy, and how many times smaller is that than **bf16**? (bf16 is what would be served otherwise.
# Against fp32 every format looks twice as good as it is.)
#
# ```text
#   q_proj (N, K)   ┌──────── N · K codes, B bits each ────────┐ ┌── scales, 2 bytes each ──┐
#                   └──────────────────────────────────────────┘ └──────────────────────────┘
#                        one scale for every G weights along K:   N · K / G of them
#                        or, with group_size None, one a row:     N of them
#
#   embed (V, H)    stays in bf16: 2 bytes a number, no scales.  Named in `keep`.
# ```
#
# With `num_bits=16` nothing is quantized, so there are no scales either.
#
# | | |
# |---|---|
# | `shapes` | dict: name → `(N, K)`, every matrix of the model |
# | `num_bits` | 16, 8, 4, 3 … ; all sizes come out as whole bytes |
# | `group_size` | G, or `None` for one scale a row |
# | `keep` | list of the names that stay in bf16 |
# | returns | the pair (bytes, times smaller than the same model in bf16) |


# %%
def weight_bytes(shapes, num_bits, group_size, keep):
    """Bytes of a quantized model, scales included, and how many times smaller than bf16 it is."""
    ### BEGIN SOLUTION
    total, bf16 = 0, 0
    for name, (N, K) in shapes.items():
        bf16 += 2 * N * K
        if num_bits == 16 or name in keep:
            total += 2 * N * K
        else:
            scales = N * K // group_size if group_size else N
            total += N * K * num_bits // 8 + 2 * scales
    return total, bf16 / total
    ### END SOLUTION


# %%
check("04.1", weight_bytes)

# %% [markdown]
# ## 04.2 · Room for users
#
# What the weights leave free, the KV cache may use. It is handed out in blocks of 16 tokens, and a block is whole or not
# there.
#
# ```text
#   budget   ├──────── weights ────────┼─ block ─┼─ block ─┼─ block ─┼ ─ too little ─ ┤
#
#   one token keeps, in each layer,  K and V  for each key/value head:  head_dim numbers
#                                    ↑ two            ↑ not query heads: several share one
# ```
#
# | | |
# |---|---|
# | `budget`, `weights` | bytes |
# | `config` | dict: `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`, `head_dim` |
# | `kv_bits` | bits of a number in the cache: 16, 8 or 4 |
# | returns | the number of whole blocks (int); 0 if the weights alone do not fit |


# %%
def kv_blocks(budget, weights, config, kv_bits):
    """How many blocks of 16 tokens fit beside the weights."""
    ### BEGIN SOLUTION
    numbers = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    block = 16 * numbers * kv_bits // 8
    return max(0, (budget - weights) // block)
    ### END SOLUTION


# %%
check("04.2", kv_blocks)

# %% [markdown]
# ## 04.3 · Perplexity
#
# The model reads a text in chunks, and you have its logits. How surprised was it by what came next?
#
# $$\text{nats} = \sum_{\text{chunks}} \sum_t -\ln p(\text{id}_{t+1} \mid \text{id}_0 \ldots \text{id}_t)
# \qquad \text{perplexity} = e^{\text{nats} / \text{tokens}}
# \qquad \text{bits/byte} = \frac{\text{nats} / \ln 2}{\text{bytes}}$$
#
# ```text
#   ids        <|endoftext|>   def    read   _config   (     T + 1 of them
#   logits           ↓          ↓       ↓       ↓            T rows: row t comes after reading id t …
#   predicts        def        read  _config    (            … and is judged by the id after it
# ```
#
# The last chunk of a text is usually shorter. So: *add up everything first, divide once.* A mean of the chunks' means
# gives the short chunk as much say as a long one. And the logits may be large: `exp(200)` is infinite in fp32, while its
# share of a softmax is not.
#
# | | |
# |---|---|
# | `logits` | list of `(T_i, V)`, one a chunk, fp32 or bf16 |
# | `ids` | list of `(T_i + 1,)` int64 |
# | `num_bytes` | list of int: the bytes that the T_i scored tokens stand for |
# | returns | the pair (perplexity a token, bits a byte) |


# %%
def perplexity(logits, ids, num_bytes):
    """(perplexity, bits per byte) of a text that was read in chunks."""
    ### BEGIN SOLUTION
    nats, tokens = 0.0, 0
    for chunk, text in zip(logits, ids, strict=True):
        log_p = torch.log_softmax(chunk.float(), -1)
        nats -= log_p.gather(1, text[1:, None]).sum().item()
        tokens += len(chunk)
    return math.exp(nats / tokens), nats / math.log(2) / sum(num_bytes)
    ### END SOLUTION


# %%
check("04.3", perplexity)

# %% [markdown]
# ## 04.4 · Is b really worse than a?
#
# Both models read the *same* n windows. Some windows are hard for both, some easy for both: that spread is large, and it has
# nothing to do with the question. It cancels in the difference, window by window:
#
# ```text
#   nats of window      1      2      3      4      5
#   model a           310    520    180    450    390    spread of a: ± 130
#   model b           312    523    181    453    391    spread of b: ± 130
#   d = b − a           2      3      1      3      1    spread of d: ± 1     ← this matters
# ```
#
# $$\Delta = \frac{\sum_i d_i}{\ln 2 \cdot \text{bytes}} \qquad
# \text{s.e.} = \frac{\sqrt{n}\;\mathrm{std}(d)}{\ln 2 \cdot \text{bytes}} \qquad \text{bytes} = \sum_i \text{bytes}_i$$
#
# std with n − 1 in the denominator. (A sum of n independent differences spreads by √n · std; dividing by the total bytes
# turns it into bits a byte.)
#
# | | |
# |---|---|
# | `nats_a`, `nats_b` | `(n,)`: negative log-likelihood of each window under each model |
# | `num_bytes` | `(n,)` int: bytes of each window |
# | returns | the pair (difference b − a, its standard error), both in bits a byte |


# %%
def paired_difference(nats_a, nats_b, num_bytes):
    """How much worse b is than a on the same windows, in bits a byte, and its standard error."""
    ### BEGIN SOLUTION
    d = nats_b.double() - nats_a.double()
    bits = math.log(2) * num_bytes.sum()
    return (d.sum() / bits).item(), (math.sqrt(len(d)) * d.std() / bits).item()
    ### END SOLUTION


# %%
check("04.4", paired_difference)

# %% [markdown]
# ## 04.5 · Tokens a second
#
# The first steps are slow for reasons that have nothing to do with the format: memory is touched for the first time,
# kernels are chosen. And on any machine, now and then, something else gets a turn.
#
# ```text
#   seconds a step    ▇ ▅ ▂ ▁ ▁ ▁ ▁ ▆ ▁ ▁ ▁
#                     └───┘         └─ the operating system had something to do
#                     warm-up       what would the mean make of it? and the middle one?
# ```
#
# A step produces one token for *each* user in the batch. Throughput counts all of them.
#
# | | |
# |---|---|
# | `step_seconds` | list of float, in the order in which they were measured |
# | `warmup` | how many of the first steps do not count; an odd number of steps is left |
# | `users` | the batch: tokens a step |
# | returns | tokens a second of all users together, from the **median** step |


# %%
def decode_tokens_per_second(step_seconds, warmup, users):
    """Throughput of the median step after the warm-up."""
    ### BEGIN SOLUTION
    return users / statistics.median(step_seconds[warmup:])
    ### END SOLUTION


# %%
check("04.5", decode_tokens_per_second)

# %% [markdown]
# ## 04.6 · Decide
#
# A table of measurements, and a service that has to run. Which format do you put into production?
#
# ```text
#   1  does it fit?            bytes of the weights + bytes of the KV cache  ≤  budget
#   2  is it good enough?      even with bad luck:   added + 2 · stderr  ≤  max_added
#   3  of those: the fastest   most tokens_per_second; equally fast → fewer bytes
#   4  none of them?           None.  An honest "it cannot be done" is an answer
# ```
#
# | | |
# |---|---|
# | `table` | list of dicts: `name`, `bytes`, `added`, `stderr` (bits a byte), `tokens_per_second` |
# | `budget`, `kv_bytes` | bytes |
# | `max_added` | the most bits a byte that may be lost |
# | returns | the name, or `None` |


# %%
def choose_format(table, budget, kv_bytes, max_added):
    """The fastest format that fits and is surely good enough, or None."""
    ### BEGIN SOLUTION
    fits = [row for row in table if row["bytes"] + kv_bytes <= budget]
    good = [row for row in fits if row["added"] + 2 * row["stderr"] <= max_added]
    if not good:
        return None
    return min(good, key=lambda row: (-row["tokens_per_second"], row["bytes"]))["name"]
    ### END SOLUTION


# %%
check("04.6", choose_format)

# %% [markdown]
# ## Your instruments, five formats, one model
#
# Weights only (the activations stay in 16 bits), rounded to nearest, on held-out text that the model has never seen. The
# speed is this machine's own: where the engine has no kernel for a format (3 bits, here), every weight is decoded first,
# and it shows. Nor need 8 and 4 bits be faster than bf16 here: this model lies in the processor's cache, so fewer bytes save
# no time, and unpacking takes some. Notebook 08 times a matrix of a real model's size.

# %%
import logging
import sys
import time

import qcourse
from qcourse.models.kv_cache import KVCache
from qcourse.models.loader import SHIPPED
from qcourse.study import cost, plots
from qcourse.study.perplexity import windows

text = windows(SHIPPED, n=48, seq_len=256)
logging.getLogger("qcourse").addHandler(logging.StreamHandler(sys.stdout))  # what the engine has to say
settings = {  # name: what the engine is told, and (num_bits, group_size) for your weight_bytes
    "bf16": (None, (16, None)),
    "W8A16": ("W8A16", (8, None)),
    "W4A16": ("W4A16", (4, 128)),
    "W4A16_CHANNEL": ("W4A16_CHANNEL", (4, None)),
    "W3A16": ("W3A16", (3, 128)),
}


# %%
@torch.inference_mode()
def nats_of(model):
    """Your perplexity, asked window by window: what a paired difference needs."""
    logits = [row for ids in text.ids.split(16) for row in model(ids[:, :-1])]
    size = text.num_bytes.tolist()
    chunks = zip(logits, text.ids, size, strict=True)
    return torch.tensor([perplexity([x], [i], [b])[1] * b for x, i, b in chunks]) * math.log(2)


@torch.inference_mode()
def step_seconds(model, steps=24, prompt=64):
    """Seconds of each decode step of one user."""
    cache, seconds = KVCache(model.config, 1, prompt + steps), []
    model(text.ids[:1, :prompt], cache)
    for _ in range(steps):
        began = time.perf_counter()
        model(text.ids[:1, :1], cache)
        seconds.append(time.perf_counter() - began)
    return seconds


# %%
bf16 = qcourse.load_model()
shapes = {}
for name, p in bf16.named_parameters():
    shapes[name] = tuple(p.shape) if p.dim() == 2 else (1, len(p))
keep = [name for name in shapes if "norm" in name or "embed" in name]
table, nats = [], {}


def measure(name):
    """One row of the table, read off your instruments."""
    told, (num_bits, group_size) = settings[name]
    model = qcourse.load_model(quantization=told)
    nats[name] = nats_of(model)
    added, stderr = paired_difference(nats["bf16"], nats[name], text.num_bytes)
    speed = decode_tokens_per_second(step_seconds(model), warmup=3, users=1)
    size, times = weight_bytes(shapes, num_bits, group_size, keep)
    assert size == cost.model_bytes(model).total, "your bytes are the bytes in memory"
    blocks = kv_blocks(32_000_000, size, vars(model.config), 16)
    memory = f"{size / 1e6:.2f} MB, {times:.2f} times smaller, {blocks} KV blocks in 32 MB"
    print(f"{name:13s} {memory}, {added:+.4f} ± {stderr:.4f} bits/byte, {speed:.0f} tokens/s")
    row = {"name": name, "bytes": size, "added": added, "stderr": stderr}
    table.append(row | {"tokens_per_second": speed})


# %%
def measure_all():
    table.clear()
    for name in settings:
        measure(name)


when_done(measure_all)


# %%
def damage():
    if not table:
        measure_all()
    rows = table[1:]
    added = [row["added"] for row in rows]
    title = f"3 bits cost {added[-1] / added[1]:.0f} times as much as 4, and 8 bits next to nothing"
    xlabel = "added bits/byte on held-out text (± paired standard error)"
    errors = [row["stderr"] for row in rows]
    return plots.bars([row["name"] for row in rows], added, title, xlabel, errors)


when_done(damage)

# %% [markdown]
# And the decision, for three services that need 8 MB for their users' KV cache. (Speeds differ from machine to machine, so
# the answers may, too.)


# %%
def decide():
    if not table:
        measure_all()
    for budget, limit in ((16_000_000, 0.002), (11_000_000, 0.02), (11_000_000, 0.0)):
        name = choose_format(table, budget, 8_000_000, limit)
        print(f"{budget / 1e6:.0f} MB, at most {limit} bits/byte lost: {name}")


when_done(decide)

# %% [markdown]
# **Think about it.** Compute the *unpaired* error bar of W8A16 on these windows. How many windows would it take until it is
# as short as the paired one? (An error bar shrinks with the square root of the number of windows.)
#
# Next: notebook 05, in your edition ([my_notebooks](../my_notebooks/05_float_formats.ipynb)) or to read ([notebooks](../notebooks/05_float_formats.ipynb)).
