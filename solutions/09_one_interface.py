# %% [markdown]
# # Lab 09 · One interface
#
# **What you build.** A vendor's format, INT3, for an engine that has never heard of it. The engine knows one promise,
# `y = quant_method.apply(layer, x, bias)`, and asks a format a few questions on the way there. Each is one of your functions, and at
# the end the engine loads a folder in this format through them: alone, on two ranks, and mixed with 16 bits.
#
# About 60 minutes, after notebook 09 ([yours](../my_notebooks/09_one_interface.ipynb), [to read](../notebooks/09_one_interface.ipynb)). Letters: `x (M, K)` activations, `W (N, K)` a weight, G weights along K share a scale, `y = x @ W.T`.
#
# ```text
#   config.json ──────── get_quant_method ─────────────── which layers are mine?                 09.4, 09.5
#                        create_weights ───────────────── which tensors, how large?              09.1
#   model.safetensors ── weight_loader ────────────────── which part of the file is this rank's? 09.6
#                        process_weights_after_loading ── once: ready for the kernel             09.2
#   x ────────────────── apply ────────────────────────── for every token                        09.3  ──→ y
# ```
#
# The words in the middle are vLLM's.

# %%
import logging
import re
import tempfile
from pathlib import Path

import numpy as np
import torch

import qcourse
from qcourse import check, hint, solution, when_done
from qcourse.checkpoints.writer import write_json, write_tensors
from qcourse.layers.config import scheme_of
from qcourse.layers.from_functions import Functions, config_class
from qcourse.layers.registry import register_quantization_config
from qcourse.models.loader import SHIPPED
from qcourse.models.parallel import tensor_parallel
from qcourse.models.save import config_of, tensors_of
from qcourse.study import plots
from qcourse.study.cost import model_bytes
from qcourse.study.perplexity import paired_difference, perplexity, windows

# %% [markdown]
# `check("09.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("09.1")` nudges, `hint("09.1", 2)` and `hint("09.1", 3)` say more;
# `solution("09.1")` shows ours, for afterwards. Tensors in, tensors out; NumPy arrays are welcome too (NumPy has no bf16: take
# `.float()` first). Never change an input in place: someone else still needs it.

# %% [markdown]
# ## 09.1 · What a layer waits for
#
# An engine builds the whole model before it reads a byte. Each layer is asked, in `create_weights`, which tensors it will find in
# the file; the loader then checks every tensor against that promise. This vendor stores codes of 3 bits, densely, and a bf16 scale
# for each group of G:
#
# $$8 \text{ codes} \cdot 3 \text{ bits} = 3 \text{ bytes} \qquad\quad 3 + \frac{16}{G} \text{ bits a weight}$$
#
# ```text
#   W (N, K)                      qweight (N, ?)  uint8             scale (N, ?)  bf16
#   ┌─ 8 ──┬─ 8 ──┬─ 8 ──┬ … ┐    ┌─ 3 ─┬─ 3 ─┬─ 3 ─┬ … ┐           ┌───┬───┬ … ┐
#   │ a row of K codes       │ →  │ a row of bytes      │     and   │ s │ s │   │  one for G codes
#   └──────┴──────┴──────┴ … ┘    └─────┴─────┴─────┴ … ┘           └───┴───┴ … ┘
# ```
#
# What does not fit is refused now, not after 40 GB have been read.
#
# | | | |
# |---|---|---|
# | in | `N`, `K`, `group_size` | ints, at least 1 |
# | out | | a dict: `"qweight"` and `"scale"`, each → the pair (shape, a tuple of ints; dtype, as text: `"uint8"`, `"bfloat16"`) |
# | refused | | `ValueError` if group_size does not divide K; and if a row's bits do not fill whole bytes |


# %%
def int3_slots(N, K, group_size):
    """The tensors of an INT3 layer in the file: {name: (shape, dtype)}."""
    ### BEGIN SOLUTION
    if K % group_size:
        raise ValueError(f"group_size={group_size} does not divide K={K}")
    if 3 * K % 8:
        raise ValueError(f"K={K}: {3 * K} bits are not whole bytes; K has to be a multiple of 8")
    return {"qweight": ((N, 3 * K // 8), "uint8"), "scale": ((N, K // group_size), "bfloat16")}
    ### END SOLUTION


# %%
check("09.1", int3_slots)

# %% [markdown]
# ## 09.2 · Eight codes in three bytes
#
# `process_weights_after_loading` is called once, when a layer's tensors are there. Whatever need not be done for every token is
# done here. Yours unpacks: codes −4 … 3 were stored as q + 4, little endian along K, the first code in the lowest bits.
#
# ```text
#               byte 2            byte 1            byte 0
#    bit 23                                                  bit 0
#           7 7 7 6 6 6 5 5   5 4 4 4 3 3 3 2   2 2 1 1 1 0 0 0        whose bit: code 0 … 7
#                       └─────┘             └─────┘
#                       code 5              code 2   straddle two bytes
#
#    bytes  0xB1 0x05 0x6C  →  0x6C05B1  →  stored 1 6 6 2 0 0 3 3  →  codes −3 2 2 −2 −4 −4 −1 −1
# ```
#
# | | | |
# |---|---|---|
# | in | `qweight` | uint8, `(N, 3K/8)`; K is a multiple of 8 |
# | out | `codes` | int8, `(N, K)`, −4 … 3 |


# %%
def unpack_int3(qweight):
    """Dense 3-bit codes, stored + 4. uint8 (N, 3K/8) → int8 (N, K)."""
    ### BEGIN SOLUTION
    b = qweight.reshape(len(qweight), -1, 3).int()
    number = b[..., 0] | b[..., 1] << 8 | b[..., 2] << 16
    stored = number.unsqueeze(-1) >> 3 * torch.arange(8) & 7
    return (stored - 4).flatten(1).to(torch.int8)
    ### END SOLUTION


# %%
check("09.2", unpack_int3)

# %% [markdown]
# ## 09.3 · y = x Ŵᵀ, and nothing else
#
# From now on only `apply` is called, once a layer and step. What it must not do: read the config, choose a kernel, unpack what is
# unpacked. What it must: add the bias if there is one (nobody else will), and answer in x's dtype.
#
# $$\hat w_{nk} = s_{n,\lfloor k/G \rfloor} \cdot q_{nk} \qquad\quad y = x\,\hat W^\top + b$$
#
# ```text
#   codes    q q q q   q q q q   q q q q         a row of K = 12, G = 4
#   scale       s₀        s₁        s₂           K/G of them: G is not given, the shapes tell it
# ```
#
# This is a *reference*: it writes all of Ŵ. A kernel gives the same numbers without (lab 08).
#
# | | | |
# |---|---|---|
# | in | `x` | `(M, K)`, float32 or bf16 |
# | | `codes` | int8, `(N, K)` |
# | | `scale` | bf16, `(N, K/G)` |
# | | `bias` | `(N,)` in x's dtype, or `None` |
# | out | `y` | `(M, N)`, in x's dtype; computed in float32 or wider, also for bf16 |


# %%
def apply_int3(x, codes, scale, bias):
    """y = x Ŵᵀ + bias. (M, K), (N, K), (N, K/G), (N,) or None → (M, N) in x's dtype."""
    ### BEGIN SOLUTION
    G = codes.shape[1] // scale.shape[1]
    W = codes.float() * scale.float().repeat_interleave(G, dim=1)
    y = x.float() @ W.T
    if bias is not None:
        y = y + bias.float()
    return y.to(x.dtype)
    ### END SOLUTION


# %%
check("09.3", apply_int3)

# %% [markdown]
# ## 09.4 · The first rule that matches
#
# `get_quant_method(layer, prefix)` is asked once for every layer, and all it has is a name. The config holds rules, read from the
# top: the first that matches decides. None is a decision, too: this layer stays in 16 bits. (So an ignore list is rules without
# a scheme.) A pattern is one of three things:
#
# ```text
#   "model.layers.0.mlp.down_proj"     the whole name
#   "down_proj"                        its last part: what stands behind the last dot
#   "re:.*layers\.[0-3]\."             re: and a regular expression, as re.match takes it: from the start of
#                                      the name, not necessarily to its end
#
#   model.layers.0.mlp.down_proj       [("lm_head", None), ("re:model\.layers\.0\.", "W8A16"), ("down_proj", "INT3")]
#                                          no                  yes: W8A16                        never asked
# ```
#
# | | | |
# |---|---|---|
# | in | `prefix` | str, a layer's name |
# | | `rules` | a list of pairs (pattern, scheme): str, and str or None |
# | out | `scheme` | the scheme of the first rule that matches; `None` if it says so, or if none matches |


# %%
def choose_scheme(prefix, rules):
    """What the first matching rule says about the layer called `prefix`: a scheme, or None for 16 bits."""
    ### BEGIN SOLUTION
    for pattern, scheme in rules:
        if pattern.startswith("re:"):
            matches = re.match(pattern[3:], prefix)
        else:
            matches = pattern in (prefix, prefix.rsplit(".", 1)[-1])
        if matches:
            return scheme
    return None
    ### END SOLUTION


# %%
check("09.4", choose_scheme)

# %% [markdown]
# ## 09.5 · One matrix, one format
#
# q, k and v read the same x, so engines lay them behind each other and multiply once. Then `get_quant_method` is asked for
# `qkv_proj`, a name that no file and no rule has ever heard of. What it stands for is said by the model, in
# `packed_modules_mapping`:
#
# ```text
#   {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
#
#                                         ┌ model.layers.3.self_attn.q_proj  →  "INT3"  ┐
#   model.layers.3.self_attn.qkv_proj ──→ ├ model.layers.3.self_attn.k_proj  →  "INT3"  ├ →  "INT3"
#                                         └ model.layers.3.self_attn.v_proj  →  None    ┘ →  refused
# ```
#
# One matrix has one format. Where the parts differ, this engine cannot serve this file, and the only honest answer says so.
#
# | | | |
# |---|---|---|
# | in | `prefix` | str, a layer's name in the engine; it need not be a merged one |
# | | `rules` | as in 09.4; they speak the file's names |
# | | `packed` | a dict: the last part of a merged layer's name → the last parts of what it is made of |
# | out | `scheme` | what all parts get: a scheme, or None |
# | refused | | `ValueError` if they do not all get the same |
#
# Call your `choose_scheme`.


# %%
def scheme_of_merged(prefix, rules, packed):
    """The one scheme of a layer that may be several of the file's."""
    ### BEGIN SOLUTION
    above, dot, last = prefix.rpartition(".")
    found = {above + dot + part: choose_scheme(above + dot + part, rules) for part in packed.get(last, [last])}
    schemes = set(found.values())
    if len(schemes) > 1:
        raise ValueError(f"{prefix} is one matrix, and its parts differ: {found}")
    return schemes.pop()
    ### END SOLUTION


# %%
check("09.5", scheme_of_merged)

# %% [markdown]
# ## 09.6 · My columns of the file
#
# A model on several ranks. A *row-parallel* layer (o_proj, down_proj) gives every rank some columns of W and the x that belongs
# to them; each makes all N outputs, and these are added. So the loader cuts the file's tensors along K, packed as they are:
#
# $$y = \sum_r x_r\,\hat W_r^\top$$
#
# ```text
#   columns of W     0 ........ 8 ........ 16 ....... 24 ....... 32          K = 32, two ranks
#   bytes            0          3          6          9          12          8 columns are 3 bytes
#   scales, G = 16   0                     1                     2           a scale for G columns
#                    └───── rank 0 ───────┘└────── rank 1 ──────┘
# ```
#
# vLLM's loaders do this for every format alike: each parameter says with `input_dim` which of its axes is K, and
# `create_weights`, which was told `input_size_per_partition`, how much of it a rank has. But not every cut is possible: a
# group has one scale, and a byte belongs to one rank.
#
# | | | |
# |---|---|---|
# | in | `qweight` | uint8, `(N, 3K/8)`: the whole file's |
# | | `scale` | bf16, `(N, K/G)`: likewise |
# | | `rank`, `world`, `group_size` | ints: rank 0 … world − 1; G |
# | out | | the pair (this rank's `qweight`, its `scale`): columns rank · K/world up to (rank + 1) · K/world |
# | refused | | `ValueError` if the cut would go through a group, or through a byte |


# %%
def row_parallel_shard(qweight, scale, rank, world, group_size):
    """One rank's columns of W, as the file has them: their bytes, and their scales."""
    ### BEGIN SOLUTION
    K = qweight.shape[1] * 8 // 3
    n = K // world
    if K % world or n % group_size or 3 * n % 8:
        raise ValueError(f"K={K} on {world} ranks: {K / world:g} columns each, no whole groups of {group_size} and bytes")
    a, b = rank * n, (rank + 1) * n
    return qweight[:, 3 * a // 8 : 3 * b // 8], scale[:, a // group_size : b // group_size]
    ### END SOLUTION


# %%
check("09.6", row_parallel_shard)

# %% [markdown]
# ## Your format in the engine
#
# First the vendor's side: a folder, with codes where *your* rules say so and 16 bits elsewhere. Rounding to the nearest code is
# the package's; what is written is what you have been reading.

# %%
G, EVERYWHERE = 64, [("re:.*", "INT3")]
W3, here = scheme_of("W3A16_G64").weights, tempfile.TemporaryDirectory()


def vendor(name, rules):
    """The shipped model as the vendor would hand it out. → its folder"""
    model, folder = qcourse.load_model(), Path(here.name) / name
    tensors = tensors_of(model)
    for layer in model.linears():
        if choose_scheme(layer, rules) == "INT3":
            q = qcourse.quantize(tensors.pop(f"{layer}.weight"), W3, layer)
            tensors |= {f"{layer}.{leaf}": t for leaf, t in qcourse.pack(q, "row").tensors.items()}
    folder.mkdir(exist_ok=True)
    said = {"quant_method": "lab09-int3", "group_size": G, "rules": rules}
    write_json(folder / "config.json", config_of(model) | {"quantization_config": said})
    write_tensors(folder / "model.safetensors", tensors)
    return folder


# %% [markdown]
# Now the engine's side, in one line. The classes that vLLM's contract asks for stand in `qcourse/layers/from_functions.py`; they
# contain no format: `create_weights` calls your 09.1, `process_weights_after_loading` your 09.2, `apply` your 09.3, `get_quant_method`
# your 09.5.

# %%
yours = Functions(int3_slots, unpack_int3, apply_int3, scheme_of_merged)
_ = register_quantization_config("lab09-int3")(config_class(yours))

# %%
text = windows(SHIPPED, n=16, seq_len=256)
logging.getLogger("qcourse").setLevel(logging.ERROR)  # it would warn: no fast kernel for 3 bits


def in_the_engine():
    folder = vendor("everywhere", EVERYWHERE)
    mine, ours = qcourse.load_model(folder), qcourse.load_model(quantization="W3A16_G64")
    for name, layer in mine.linears().items():
        assert torch.allclose(layer.dequantized(), ours.linears()[name].dequantized(), rtol=1e-6, atol=0)
    scores = {"yours": perplexity(mine, text), "ours": perplexity(ours, text)}
    apart = paired_difference(scores["ours"], scores["yours"])
    ids = text.ids[:1, :64]
    with torch.inference_mode():
        logits, others = mine(ids), ours(ids)
    for who, model in (("yours", mine), ("ours", ours)):
        held = model_bytes(model).bits_per_weight
        print(f"{who:5s} {scores[who].bits_per_byte:.4f} bits/byte, {held:.2f} bits a weight in memory")
    print(f"the same weights; logits of size {others.abs().max():.0f} differ by at most {(logits - others).abs().max():.0e}")
    assert abs(apart.mean) < 1e-3
    tokenizer = qcourse.load_tokenizer()
    print(tokenizer.decode(qcourse.generate(mine, tokenizer.encode("def main(", bos=True), 24)))


when_done(in_the_engine)

# %% [markdown]
# The loader, the meters and `generate` have not changed, and they do not know that anything has. The file holds 3.25 bits a weight;
# memory holds what your 09.2 made of it, a byte a code. That is the format's own choice: notebook 09's vendor repacks the
# same codes to int4 there, and finds a kernel.
#
# Two ranks. Here `get_quant_method` is asked for `qkv_proj`, and the loader cuts.


# %%
def on_two_ranks():
    folder = vendor("everywhere", EVERYWHERE)
    whole, ranks = qcourse.load_model(folder), tensor_parallel(folder, 2)
    with torch.inference_mode():
        difference = (ranks(text.ids[:1, :64]) - whole(text.ids[:1, :64])).abs().max()
    print(f"two ranks: logits differ by at most {difference:.0e}")
    W = qcourse.load_model().linears()["model.layers.0.mlp.down_proj"].weight.data
    file = qcourse.pack(qcourse.quantize(W, W3), "row").tensors
    for rank, held in enumerate(ranks.model.model.layers[0].mlp.ranks):
        qweight, scale = map(torch.as_tensor, row_parallel_shard(file["qweight"], file["scale"], rank, 2, G))
        assert torch.equal(torch.as_tensor(unpack_int3(qweight)), held.down_proj.codes)
        print(f"rank {rank}: your shard of down_proj, {tuple(qweight.shape)} and {tuple(scale.shape)}, is the loader's")
    for K in (256, 768, 4096, 11008):
        legal = (f"G = {g}: {' '.join(map(str, worlds(K, g)))}" for g in (32, 64, 128))
        print(f"K = {K:5d} over as many ranks:   " + "   ".join(legal))


def worlds(K, G):
    """The numbers of ranks, up to 16, over which your function agrees to cut."""
    slots, found = int3_slots(1, K, G), []
    qweight, scale = (torch.zeros(slots[n][0], dtype=getattr(torch, slots[n][1])) for n in ("qweight", "scale"))
    for world in range(1, 17):
        try:
            row_parallel_shard(qweight, scale, 0, world, G)
            found.append(world)
        except ValueError:
            pass
    return found


when_done(on_two_ranks)

# %% [markdown]
# K = 11008 is the width of Llama 2's MLP, 86 · 128: in groups of 128 it can be spread over two devices (or 43). A group size is
# also a statement about how many devices a model may run on; in vLLM, whoever asks for more meets a “too large tensor parallel size”.
#
# Last, your rules. Each of three lists below keeps a quarter of the weights in 16 bits, so they cost the same bytes. Which buys most?
# And what will the last bar be: the same two rules as in the second, in the other order?

# %%
LISTS = {
    "INT3 everywhere": EVERYWHERE,
    "down_proj in 16 bits": [("down_proj", None), *EVERYWHERE],
    "v_proj in 16 bits": [("v_proj", None), *EVERYWHERE],
    "attention in 16 bits": [("re:.*self_attn", None), *EVERYWHERE],
    "block 0 in 16 bits": [(r"re:model\.layers\.0\.", None), *EVERYWHERE],
    "everywhere, then down_proj": [*EVERYWHERE, ("down_proj", None)],
}


def served(name):
    """Whether an engine that merges layers takes this folder."""
    try:
        tensor_parallel(Path(here.name) / name, 1)
    except ValueError:
        return "refused"
    return "served"


def rule_lists():
    start, lost, bits = perplexity(qcourse.load_model(), text), {}, {}
    for name, rules in LISTS.items():
        model = qcourse.load_model(vendor(name, rules))
        lost[name] = paired_difference(start, perplexity(model, text))
        plain = sum(m.weight.numel() for m in model.linears().values() if hasattr(m, "weight"))
        share = plain / model_bytes(model).weights
        bits[name] = 16 * share + (3 + 16 / G) * (1 - share)
        print(f"{name:27s} {bits[name]:5.2f} bits a weight   {lost[name]}   q, k, v merged: {served(name)}")
    mean = {name: d.mean for name, d in lost.items()}
    all_over = mean["INT3 everywhere"]
    down, attention, block = (1 - mean[f"{what} in 16 bits"] / all_over for what in ("down_proj", "attention", "block 0"))
    title = f"16 bits for a quarter: attention repairs {attention:.0%}, block 0 {block:.0%}, down_proj {down:.0%}"
    labels, spread = [f"{name}  ({bits[name]:.2f} bits)" for name in lost], [d.stderr for d in lost.values()]
    colors = [plots.BLUE if bits[name] == bits["block 0 in 16 bits"] else plots.GREY for name in lost]
    return plots.bars(labels, list(mean.values()), title, "added bits/byte (± paired standard error)", spread, colors)


when_done(rule_lists)

# %% [markdown]
# The same bytes, and not the same repair: where 16 bits pay has to be measured, and a rule list is how the answer is written down.
# v_proj alone is one weight in 24 and looks like a bargain, but an engine with one matrix for q, k and v cannot serve it: so says
# your 09.5. And the last list keeps nothing in 16 bits: the rule for everything stood on top, and first match wins.
#
# **Think about it.** The vendor wants zero points, too. Which of your six functions change, which stay, and which line of the model?
#
# Next: [lab 10](10_kv_cache.ipynb), the KV cache. The map is in [notebook 00](../notebooks/00_dont_panic.ipynb), section 7.
