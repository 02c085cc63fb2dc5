# %% [markdown]
# # Lab 10 · The KV cache
#
# **What you build.** A cache in few bits: keys rounded by channel and values by token, as KIVI does; a window of newest tokens that
# stay as they are; the number of users that fit a budget; the meter that says what attention notices of it all; and FP8 with a
# scale that was fixed before the first token came. At the end the model that ships with the course reads its context from your
# cache.
#
# About 60 minutes, after notebook 10 ([yours](../my_notebooks/10_kv_cache.ipynb), [to read](../notebooks/10_kv_cache.ipynb)). Letters: `K (T, D)` and `V (T, D)` are the keys and values of one head, T tokens of D channels; `q (M, D)` are M queries.

# %%
import math

import numpy as np
import torch

import qcourse
from qcourse import check, hint, solution, when_done
from qcourse.models.kv_cache import KVCache
from qcourse.models.loader import SHIPPED
from qcourse.models.rope import rotate
from qcourse.study import plots
from qcourse.study.perplexity import paired_difference, perplexity, windows

# %% [markdown]
# `check("10.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("10.1")` nudges, `hint("10.1", 2)` and `hint("10.1", 3)` say more; `solution("10.1")` shows ours, for afterwards.
# Tensors in, tensors out; NumPy arrays are welcome too. Never change an input in place.

# %% [markdown]
# ## 10.1 · Keys, channel by channel
#
# Some channels of K are loud in *every* token. In groups that lie in one token, each of them would set the step of its
# neighbours. KIVI (Liu et al. 2024) cuts the other way: G tokens of **one channel** share a scale and a zero, and loud and quiet
# never meet. A channel often lies wholly on one side of 0, so the range need not contain it:
#
# $$z = \min k \qquad s = \frac{\max k - \min k}{2^B - 1} \qquad \text{code} = \mathrm{round}\Big(\frac{k - z}{s}\Big) \qquad \hat k = s \cdot \text{code} + z$$
#
# ```text
#               channel  0     1     2                         scale, zero (T/G, D)
#   token 0           [ 0.1 | 9.0 | −2 ]
#   token 1           [ 0.3 | 9.4 | −3 ]   ── group 0 ──→   one pair for each of the three channels
#   token 2           [ 0.2 | 9.1 |  1 ]
#   token 3           [ 0.4 | 9.5 |  0 ]   ── group 1 ──→   and another one                          G = 2
# ```
#
# | | | |
# |---|---|---|
# | in | `K` | float32, `(T, D)` |
# | | `num_bits`, `group_size` | B from 2 to 8, G tokens |
# | out | `codes` | **uint8**, `(T, D)`: 0 … $2^B - 1$, to the nearest |
# | | `scale`, `zero` | float, `(T/G, D)`. Every scale is positive: where a channel does not move in a group, codes are 0, zero says all, and any such scale will do |
# | refused | | if T is not whole groups: `ValueError`, naming both |


# %%
def quantize_keys(K, num_bits, group_size):
    """Asymmetric codes, G tokens of one channel together. K (T, D) → codes uint8 (T, D), scale and zero (T/G, D)."""
    ### BEGIN SOLUTION
    T, D = K.shape
    if T % group_size:
        raise ValueError(f"{T} tokens are not whole groups of {group_size}")
    groups = K.reshape(-1, group_size, D)  # (T/G, G, D)
    zero, top = groups.amin(1), groups.amax(1)
    scale = (top - zero) / (2**num_bits - 1)
    scale = torch.where(scale == 0, 1.0, scale)
    codes = ((groups - zero[:, None]) / scale[:, None]).round()
    return codes.reshape(T, D).to(torch.uint8), scale, zero
    ### END SOLUTION


# %%
check("10.1", quantize_keys)

# %% [markdown]
# ## 10.2 · Values, token by token
#
# V has no such channels, and it is used in another way: attention takes a weighted mean over its *tokens*. If a token has a scale of its
# own, its rounding errors stay with it, and are weighted as it is. And a token's numbers are all there the moment it is
# written: nobody has to wait for a group. So G **channels** of one token share a scale and a zero.
#
# ```text
#               channel  0     1  |  2     3                    scale, zero (T, D/G)
#   token 0           [ 0.5   −1  |  4     2 ]      ──→      two pairs for token 0            G = 2
#   token 1           [ 3      0  | −1    −2 ]      ──→      two for token 1, final at once
# ```
#
# The formulas are those of 10.1.
#
# | | | |
# |---|---|---|
# | in | `V` | float32, `(T, D)` |
# | | `num_bits`, `group_size` | B from 2 to 8, G channels |
# | out | `codes` | **uint8**, `(T, D)` |
# | | `scale`, `zero` | float, `(T, D/G)`; every scale is positive |
# | refused | | if D is not whole groups: `ValueError`, naming both |


# %%
def quantize_values(V, num_bits, group_size):
    """Asymmetric codes, G channels of one token together. V (T, D) → codes uint8 (T, D), scale and zero (T, D/G)."""
    ### BEGIN SOLUTION
    codes, scale, zero = quantize_keys(V.T, num_bits, group_size)
    return codes.T, scale.T, zero.T
    ### END SOLUTION


# %%
check("10.2", quantize_values)

# %% [markdown]
# ## 10.3 · The window
#
# By channel, a group of keys is quantized when its last token is there. Until then it waits in 16 bits, and that is no loss: the
# newest tokens are among those that attention looks at most. So at least `window` of them are never in codes; behind the window, whole
# groups are. Where the cut lies depends on the number of tokens, and on nothing else.
#
# ```text
#   G = 4, window = 3
#
#   T = 9     o o o o │ n  n n n n          n  waits for its group
#                       ╰─┬──╯              window: the newest three
#   T = 10    o o o o │ n n n  n n n
#   T = 11    o o o o   o o o o │ n n n     its last token has left the window: the group is old
#   T = 5     n n n n n                     one group is full, but reaches into the window
# ```
#
# | | | |
# |---|---|---|
# | in | `K` | `(T, D)`, in the order of time: the newest token is the last row |
# | | `window`, `group_size` | int, 0 or more, and G |
# | out | `old` | `(n, D)`: the oldest tokens, n a multiple of G, as many as lie wholly outside the newest `window` |
# | | `recent` | `(T − n, D)`: all others |


# %%
def split(K, window, group_size):
    """The tokens to be quantized, whole groups outside the window, and all others. K (T, D) → (n, D), (T − n, D)."""
    ### BEGIN SOLUTION
    n = max(0, len(K) - window) // group_size * group_size
    return K[:n], K[n:]
    ### END SOLUTION


# %%
check("10.3", split)

# %% [markdown]
# ## 10.4 · Users in a budget
#
# Why all this: the cache of one user grows with every token, and memory ends. What a number costs in codes of B bits, with a
# scale and a zero of 16 bits each for every G of them:
#
# $$b = B + \frac{16 + 16}{G} \qquad\qquad b = 16 \text{ where nothing is quantized}$$
#
# A token leaves 2 (K and V) · layers · kv heads · head_dim numbers behind. An engine hands out memory in **blocks of 16 tokens**, and a
# sequence owns whole blocks. Beside them it keeps its window, in 16 bits.
#
# ```text
#   one sequence, context 40, window 8:
#
#     ┌─ block ─┐ ┌─ block ─┐ ┌─ block ─┐      ┌ window ┐
#     │16 tokens│ │16 tokens│ │8, 8 free│  +   │8 tokens│       48 tokens of b bits a number, 8 of 16 bits
#     └─────────┘ └─────────┘ └─────────┘      └────────┘
# ```
#
# | | | |
# |---|---|---|
# | in | `budget` | bytes for the cache |
# | | `config` | dict: `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`, `head_dim` |
# | | `context` | tokens of one sequence |
# | | `num_bits`, `group_size` | 16 and `None`: not quantized; else B and G |
# | | `window` | tokens that every sequence keeps in 16 bits, beside its blocks |
# | out | | how many sequences fit (int) |


# %%
def sequences_that_fit(budget, config, context, num_bits, group_size, window):
    """How many sequences of `context` tokens a cache of `budget` bytes holds."""
    ### BEGIN SOLUTION
    numbers = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    bits = 16 if num_bits == 16 else num_bits + 32 / group_size
    tokens = 16 * math.ceil(context / 16)
    return int(budget // (numbers * (tokens * bits + window * 16) / 8))
    ### END SOLUTION


# %%
check("10.4", sequences_that_fit)

# %% [markdown]
# ## 10.5 · What attention notices
#
# An error in a key and one in a value do not weigh the same. A key's goes through a softmax: it moves attention from one token to
# another. A value's is averaged over many tokens. So both are judged at what attention gathers, one after the other:
#
# $$o(K, V) = \mathrm{softmax}\Big(\frac{q K^\top}{\sqrt D}\Big) V \qquad
# e_K = \frac{\lVert o(\hat K, V) - o(K, V) \rVert}{\lVert o(K, V) \rVert} \qquad
# e_V = \frac{\lVert o(K, \hat V) - o(K, V) \rVert}{\lVert o(K, V) \rVert}$$
#
# ```text
#   q (M, D) ──→ scores (M, T) ──→ shares, each row adds up to 1 ──→ o (M, D)
#                   ↑                                      ↑
#               K or K̂ (T, D)                         V or V̂ (T, D)
# ```
#
# ‖ ‖ is the root of the sum of all squares, all queries together. All T tokens are older than the queries: no mask.
#
# | | | |
# |---|---|---|
# | in | `q`, `K`, `V` | float32, `(M, D)`, `(T, D)`, `(T, D)` |
# | | `K_hat`, `V_hat` | float32, `(T, D)`: what the cache gives back |
# | out | | the pair ($e_K$, $e_V$), two numbers |


# %%
def attention_error(q, K, V, K_hat, V_hat):
    """The relative error of what attention gathers: by the rounding of the keys alone, and of the values alone."""

    ### BEGIN SOLUTION
    def gathered(K, V):
        return torch.softmax(q @ K.T / math.sqrt(K.shape[1]), dim=-1) @ V

    exact = gathered(K, V)
    errors = [(o - exact).norm() / exact.norm() for o in (gathered(K_hat, V), gathered(K, V_hat))]
    return errors[0].item(), errors[1].item()
    ### END SOLUTION


# %%
check("10.5", attention_error)

# %% [markdown]
# ## 10.6 · A scale that was there before
#
# The simplest cache in 8 bits has no scales beside its codes: one number a head is found on calibration text, written into the
# checkpoint, and never changes. The format is E4M3, whose largest number is 448.
#
# $$s_h = \frac{\max |\text{seen}_h|}{448} \qquad \text{stored} = \mathrm{e4m3}\big(\mathrm{clamp}(x / s_h,\; \pm 448)\big) \qquad \hat x = s_h \cdot \text{stored}$$
#
# ```text
#   calibration text:   −9 … 7      →  s = 9 / 448
#   later:               4.5        →  224      →   4.5
#                       −12         →  −597     →  −448, that is −9: louder than anything that was seen
# ```
#
# **Given**: the rounding itself. As many casts do, it has nothing for a number beyond the format.


# %%
def e4m3(x):
    """The nearest number of E4M3, as float32. Beyond 464 there is none: NaN."""
    return torch.where(x.abs() <= 464, x.to(torch.float8_e4m3fn).float(), torch.nan)


# %% [markdown]
# | | | |
# |---|---|---|
# | in | `x` | float32, `(H, T, D)`: the keys (or values) of H heads that are to be stored |
# | | `seen` | float32, `(H, S, D)`: those of the calibration text |
# | out | `scale` | float, `(H,)`: from `seen` alone; **1** for a head in which all that was seen is 0 |
# | | `stored` | float, `(H, T, D)`: the numbers of E4M3 that lie in the cache |


# %%
def store_fp8(x, seen):
    """E4M3 with a static scale a head. x (H, T, D), seen (H, S, D) → scale (H,), stored (H, T, D)."""
    ### BEGIN SOLUTION
    scale = seen.abs().amax(dim=(1, 2)) / 448
    scale = torch.where(scale == 0, 1.0, scale)
    return scale, e4m3((x / scale[:, None, None]).clamp(-448, 448))
    ### END SOLUTION


# %%
check("10.6", store_fp8)

# %% [markdown]
# ## Your cache under a trained model
#
# First its own K and V. The model reads 8 windows of text that it was not trained on, and leaves its keys (after RoPE) and values in a
# plain cache.

# %%
model = qcourse.load_model()
c = model.config
text = windows(SHIPPED, n=32, seq_len=256)


def tensor(yours):
    """What your function returned (tensors, arrays, or several of them) as tensors."""
    return tuple(map(tensor, yours)) if isinstance(yours, tuple | list) else torch.as_tensor(yours)


def listen(ids):
    """(what every layer's attention reads, the keys and the values that it leaves): lists of one a layer."""
    cache, entering = KVCache(c, *ids.shape), []
    hooks = [m.input_layernorm.register_forward_hook(lambda m, args, x: entering.append(x)) for m in model.model.layers]
    with torch.inference_mode():
        model(ids, cache)
    for hook in hooks:
        hook.remove()
    return entering, list(cache.k), list(cache.v)


entering, keys, values = listen(text.ids[:8, :256])


def loud_channels(layer=1):
    k, v = (t[layer].abs().amax((0, 2)).flatten() for t in (keys, values))
    times = [float(t.max() / t.median()) for t in (k, v)]
    title = f"Layer {layer}: keys have a channel {times[0]:.1f} times as loud as the median, values one {times[1]:.1f} times"
    panels = {"keys": k, "values": v}
    return plots.channels(panels, title, "channel (2 heads of 64)", "max |x| over 2,048 tokens", [float(max(k.max(), v.max()))] * 2)


loud_channels()

# %% [markdown]
# What does attention notice, if all that is older than 64 tokens is in 2 bits? Every key and value of 192 tokens through your two
# functions, by channel *and* by token, and your meter on the 64 queries that come after them. Guess: which of the four is worst?


# %%
def read(codes, scale, zero):
    """What a cache gives back: scale · codes + zero, each pair beside the numbers that share it."""
    (T, D), (n, m) = codes.shape, scale.shape
    scale, zero = (t.float().repeat_interleave(T // n, 0).repeat_interleave(D // m, 1) for t in (scale, zero))
    return scale * codes.float() + zero


def queries(layer):
    """(B, kv_heads, 2 · 64, D): the last 64 queries of the two heads that share one of keys."""
    q = model.model.layers[layer].self_attn.q_proj(entering[layer]).view(8, 256, -1, c.head_dim).transpose(1, 2)
    q = rotate(q, *model.model.rope.at(0, 256, q.device, q.dtype))[:, :, 192:]
    return q.reshape(8, c.num_key_value_heads, -1, c.head_dim)


def noticed(layer, num_bits=2):
    """The mean error over 16 heads: (keys by channel, keys by token, values by channel, values by token)."""
    found, heads = [], (t.flatten(0, 1) for t in (queries(layer), keys[layer][:, :, :192], values[layer][:, :, :192]))
    for q, K, V in zip(*heads, strict=True):
        errors = []
        for quantize in (quantize_keys, quantize_values):
            K_hat, V_hat = (read(*tensor(quantize(t, num_bits, 32))) for t in (K, V))
            errors.append(attention_error(q, K, V, K_hat, V_hat))
        found.append([e[0] for e in errors] + [e[1] for e in errors])
    return torch.tensor(found).mean(0)


# %%
def four_ways():
    with torch.inference_mode():
        errors = torch.stack([noticed(layer) for layer in range(c.num_hidden_layers)])
    names = ("keys by channel", "keys by token", "values by channel", "values by token")
    series = {name: errors[:, i].tolist() for i, name in enumerate(names)}
    k, k_token, v_channel, v = errors.mean(0).tolist()
    title = f"2 bits: keys {k:.2f} by channel, {k_token:.2f} by token; values {v_channel:.2f} by channel, {v:.2f} by token"
    return plots.lines([str(i) for i in range(len(errors))], series, title, "layer", "error of attention's output")


when_done(four_ways)

# %% [markdown]
# Keys want to be cut by channel, most of all in the layer with the loud ones. For the values it hardly matters in this model (the
# larger ones of KIVI's paper want theirs by token); but a token is final at once, and that decides.
#
# Now the whole model. It reads 16 tokens at a time; after each chunk, what has left your window goes through your functions and back
# into the cache, and the next chunk reads it as stored.


# %%
def back(x, quantize, num_bits):
    """What the cache gives back of x (B, heads, T, D): as (T, B · heads · D), so that a channel is a column."""
    B, H, T, D = x.shape
    flat = x.permute(2, 0, 1, 3).reshape(T, -1)
    return read(*tensor(quantize(flat, num_bits, 32))).view(T, B, H, D).permute(1, 2, 0, 3)


def through(keep_k, keep_v, window=0, group_size=32):
    """The model with its context in a cache: keep(x, layer) is what is read of x (B, heads, T, D) once it left the window."""
    made = qcourse.load_model()
    plainly = made.forward

    def forward(ids):
        cache, done, logits = KVCache(c, *ids.shape), 0, []
        for chunk in ids.split(16, dim=1):
            logits.append(plainly(chunk, cache))
            n = len(tensor(split(torch.empty(cache.length, 1), window, group_size)[0]))
            for layer in range(c.num_hidden_layers if n > done else 0):
                for t, keep in ((cache.k[layer], keep_k), (cache.v[layer], keep_v)):
                    t[:, :, done:n] = keep(t[:, :, done:n], layer)
            done = n
        return torch.cat(logits, dim=1)

    made.forward = forward
    return made


def kivi(num_bits, window, keys=None):
    """The model with a cache of num_bits: keys by your quantize_keys (or `keys`), values by your quantize_values."""
    ways = [lambda x, layer, way=way: back(x, way, num_bits) for way in (keys or quantize_keys, quantize_values)]
    return through(*ways, window)


def in_16_bits():
    """The same road, and nothing rounded."""
    return through(lambda x, layer: x, lambda x, layer: x)


# %%
def cost():
    kinds = {f"{B} bits, window {W}": kivi(B, W) for B, W in ((4, 32), (2, 128), (2, 32), (2, 0))}
    kinds["2 bits, window 32, keys by token"] = kivi(2, 32, keys=quantize_values)
    start = perplexity(in_16_bits(), text)
    lost = {name: paired_difference(start, perplexity(made, text)) for name, made in kinds.items()}
    for name, d in lost.items():
        print(f"{name:40s} {d}")
    mean = {name: d.mean for name, d in lost.items()}
    at = [mean[name] for name in ("4 bits, window 32", "2 bits, window 32", "2 bits, window 0")]
    title = f"4 bits add {at[0]:.4f} bits/byte; 2 bits {at[1]:.4f}, and {at[2]:.4f} without a window"
    xlabel = "added bits/byte (± paired standard error), contexts of 256 tokens"
    colors = [plots.BLUE, plots.ORANGE, plots.ORANGE, plots.ORANGE, plots.GREY]
    return plots.bars(list(lost), list(mean.values()), title, xlabel, [d.stderr for d in lost.values()], colors)


when_done(cost)

# %% [markdown]
# 4 bits are nearly free, 2 bits are not, and a window of newest tokens buys back a good part of what 2 bits cost; compare the last row
# with the one of the same window. Mind the contexts, though: 256 tokens, of which a window of 128 is half. A long context has more
# old tokens to be wrong about, and more of them to average over; which of the two wins has to be measured.
#
# FP8 with static scales, from 8 windows of calibration text; then with the scale that an engine takes when the checkpoint has none,
# which is 1; and int8 with that scale, beside it.


# %%
def in_heads(x):
    """(B, heads, T, D) → (heads, B · T, D)."""
    return x.transpose(0, 1).flatten(1, 2)


def fixed(seen):
    """keep(x, layer) for `through`: x as E4M3, by scales from `seen`, a list of one a layer."""

    def keep(x, layer):
        scale, stored = tensor(store_fp8(in_heads(x), in_heads(seen[layer])))
        read = scale.float().view(-1, 1, 1) * stored.float()
        return read.view(x.shape[1], len(x), *x.shape[2:]).transpose(0, 1)

    return keep


def int8(x, layer):
    """int8 with the scale 1."""
    return x.round().clamp(-127, 127)


# %%
def fp8():
    _, *seen = listen(windows(SHIPPED, n=8, seq_len=256, split="calibration").ids[:, :256])
    ones = [[torch.full_like(t, 448) for t in side] for side in seen]  # so that the scale is 1
    ways = {"FP8, calibrated": map(fixed, seen), "FP8, scale 1": map(fixed, ones), "int8, scale 1": (int8, int8)}
    start = perplexity(in_16_bits(), text)
    lost = {name: paired_difference(start, perplexity(through(*keep, group_size=16), text)) for name, keep in ways.items()}
    scales = torch.cat([tensor(store_fp8(in_heads(t[:, :, :1]), in_heads(t)))[0].float() for side in seen for t in side])
    print(f"your scales: {scales.min():.3f} to {scales.max():.3f}; 1 is {1 / scales.max():.0f} to {1 / scales.min():.0f} times that")
    mean = {name: d.mean for name, d in lost.items()}
    title = "A scale of 1 adds {1:.4f} bits/byte in FP8 ({0:.4f} calibrated), and {2:.4f} in int8".format(*mean.values())
    xlabel, colors = "added bits/byte (± paired standard error), contexts of 256 tokens", [plots.BLUE, plots.ORANGE, plots.GREY]
    return plots.bars(list(mean), list(mean.values()), title, xlabel, [d.stderr for d in lost.values()], colors)


when_done(fp8)

# %% [markdown]
# A float's step follows the number, so a scale that is far too large costs little, as long as nothing is cut off and not much falls
# below $2^{-6}$, where its steps end. That is why a missing scale goes unnoticed in FP8. The step of int8 is the same everywhere.
#
# And what it is all for. A model of the shape of Llama 3.1 8B (32 layers, 8 key/value heads of 128), with 40 GB left for its cache:

# %%
llama = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}


def users():
    kinds = {"16 bits": (16, None, 0), "4 bits, window 128": (4, 32, 128), "2 bits, window 128": (2, 32, 128)}
    contexts = (1_000, 4_000, 16_000)
    fit = {(n, name): sequences_that_fit(40e9, llama, n, *kind) for n in contexts for name, kind in kinds.items()}
    times = [fit[n, "2 bits, window 128"] / fit[n, "16 bits"] for n in (contexts[0], contexts[-1])]
    title = f"2 bits are 3 with scale and zero: {times[0]:.1f} times the users at 1,000 tokens, {times[1]:.1f} times at 16,000"
    labels = [f"{n:,} tokens: {name}" for n, name in fit]
    colors = [plots.GREY, plots.BLUE, plots.ORANGE] * len(contexts)
    return plots.bars(labels, list(fit.values()), title, "sequences in 40 GB", colors=colors, log=True)


when_done(users)

# %% [markdown]
# At 1,000 tokens the window of 128 is in the way; at 16,000 it is nearly nothing, and the users come near 16/3 times as many, not 8.
#
# **Think about it.** What would G = 128 save, and what would it cost in the figure of the 2-bit caches? Which of your six functions
# would have to change if the first 4 tokens, on which attention leans, were to stay in 16 bits as well?
#
# Back to the map: [notebook 00](../notebooks/00_dont_panic.ipynb), section 7. Notebook 11 goes on ([to read](../notebooks/11_checkpoints.ipynb)).
