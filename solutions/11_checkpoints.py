# %% [markdown]
# # Lab 11 · Checkpoints
#
# **What you build.** The readers for files that other people wrote: a GPTQ tensor with channels in any order, its zero points from
# one version to the other, a block of GGUF, the rows of Q and K between two orders, the config that makes an engine load what you
# made, and the container that all of it lies in. At the end the model that ships with the course loads under your config, and is read
# from two foreign files, by you.
#
# About 60 minutes, after notebook 11 ([yours](../my_notebooks/11_checkpoints.ipynb), [to read](../notebooks/11_checkpoints.ipynb)). Letters: `W (N, K)` is a weight, G weights along K share a scale.
#
# Nothing in here raises an error when it is read wrongly. Every pattern of bits is a number, the shapes fit, and a model talks
# nonsense. So read slowly, and refuse what cannot be meant.

# %%
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import qcourse
from qcourse import check, hint, solution, when_done
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.writer import write_json, write_tensors
from qcourse.models.export_gguf import export_gguf
from qcourse.models.loader import SHIPPED
from qcourse.models.save import config_of, tensors_of
from qcourse.numerics.granularity import per_group
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import pack
from qcourse.study import plots
from qcourse.study.perplexity import perplexity, windows

# %% [markdown]
# `check("11.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("11.1")` nudges, `hint("11.1", 2)` and `hint("11.1", 3)` say more; `solution("11.1")` shows ours, for afterwards.
# Tensors in, tensors out; NumPy arrays are welcome too. Never change an input in place.

# %% [markdown]
# ## 11.1 · A GPTQ tensor that somebody else wrote
#
# Four tensors are one weight. Everything is transposed: the words run along K. With B bits a word holds 32/B codes, the first in the
# lowest bits. Version 1 stores every zero point **minus one**, and `g_idx` says which group an input channel belongs to: a
# file that was made in the order of the activations (`desc_act`) has its groups scattered.
#
# $$w_{nk} = s_{g,n}\,\big(q_{kn} - z_{g,n}\big) \qquad g = \text{g\_idx}[k] \qquad z = \text{stored} + 1$$
#
# ```text
#   qweight (K·B/32, N)       a word, B = 4, as hex digits            g_idx (K)
#            n →              0x 7 6 5 4 3 2 1 0                      1 0 0 2 1 …
#   k 0…7   [ word word … ]      │             └ k = 0                │ └ k = 1: row 0 of scales
#   k 8…15  [ word word … ]      └ k = 7, and the word's sign         └ k = 0: row 1 of scales
#
#   qzeros (K/G, N·B/32)      words along N: n 0…7, n 8…15, …         scales (K/G, N)
# ```
#
# | | | |
# |---|---|---|
# | in | `qweight` | int32, `(K·B/32, N)` |
# | | `qzeros` | int32, `(K/G, N·B/32)`: z − 1, from 0 to $2^B - 2$, packed along N in the same way |
# | | `scales` | float16, `(K/G, N)` |
# | | `g_idx` | int32, `(K,)`: a group for each input channel, in any order |
# | | `bits` | B: 4 or 8 |
# | out | `W` | float32, `(N, K)`, its columns in the order of the input channels; computed in float32 or wider: then it is exact |


# %%
def read_gptq(qweight, qzeros, scales, g_idx, bits=4):
    """The weight that GPTQ's four tensors (version 1) stand for. → W (N, K), float32."""
    ### BEGIN SOLUTION
    shifts, mask = bits * torch.arange(32 // bits), 2**bits - 1
    q = (qweight[:, None, :] >> shifts[:, None] & mask).flatten(0, 1)  # (K, N)
    z = (qzeros[:, :, None] >> shifts & mask).flatten(1) + 1  # (K/G, N)
    return ((q - z[g_idx]) * scales.float()[g_idx]).T
    ### END SOLUTION


# %%
check("11.1", read_gptq)

# %% [markdown]
# ## 11.2 · From version 1 to version 2, without a borrow
#
# Version 2 stores z itself. Eight zero points share a word, so it looks like one addition: `qzeros + 0x11111111`. It is one, as long
# as no sum leaves its four bits. A stored 15 does: version 1 means z = 16 by it, which four bits do not hold, and the 1 is carried
# into the neighbour, a zero point of *another* output. The other way, z = 0 borrows from its neighbour. (Kernels disagree about a 15
# of version 1: some compute with 16, others mask it to 0. A file whose meaning depends on who reads it is not converted.)
#
# ```text
#   version 1     0x 7 7 7 7 7 7 7 7          0x 3 F 2 …                  0x 3 F 2 …
#                    + 1 in each                 │ └ z = 16: refused         + 0x11111111, unasked
#   version 2     0x 8 8 8 8 8 8 8 8                                      0x 5 0 3 …      the neighbour was 3, and became 5
# ```
#
# | | | |
# |---|---|---|
# | in | `qzeros` | int32, `(K/G, N/8)`: eight zero points of 4 bits a word, the first lowest |
# | | `version` | the one that is wanted: 2 (qzeros are of version 1), or 1 (they are of version 2) |
# | out | | int32, `(K/G, N/8)` |
# | refused | | `ValueError` for a zero point that the wanted version has no four bits for: a stored 15 on the way to 2, a stored 0 on the way to 1 |


# %%
def convert_zeros(qzeros, version):
    """qzeros of GPTQ's other version (4 bits) in `version`, 1 (stores z − 1) or 2 (stores z)."""
    ### BEGIN SOLUTION
    nibbles = qzeros[..., None] >> 4 * torch.arange(8) & 0xF
    last, step = (15, 1) if version == 2 else (0, -1)
    if (nibbles == last).any():
        raise ValueError(f"a stored {last} has no place in version {version}: z = {16 if version == 2 else 0}")
    return qzeros + step * 0x11111111  # no nibble leaves its four bits now
    ### END SOLUTION


# %%
check("11.2", convert_zeros)

# %% [markdown]
# ## 11.3 · A block of GGUF
#
# llama.cpp keeps scale and codes together: a matrix is rows of blocks, each of 32 weights and 20 bytes in Q4_1. What kind of block it
# is stands in the file's header; in the block, nothing says where a field ends.
#
# $$w = d \cdot q + m$$
#
# ```text
#   byte   0   1     2   3     4             5                   19
#        ┌───────┬─────────┬─────────────┬─────────────┬ … ┬─────────────┐
#        │ d f16 │  m f16  │ w16  │  w0  │ w17  │  w1  │   │ w31  │ w15  │      high nibble │ low nibble
#        └───────┴─────────┴─────────────┴─────────────┴ … ┴─────────────┘
# ```
#
# The low nibbles are the weights 0 … 15 of the block, the high ones 16 … 31: a vector instruction takes 16 bytes apart by one mask
# and one shift. d and m are float16, little endian, as they lie in this machine's memory.
#
# | | | |
# |---|---|---|
# | in | `blocks` | uint8, `(N, 20·K/32)`: the bytes of K/32 blocks a row |
# | out | `W` | float32, `(N, K)`; computed in float32 or wider |


# %%
def read_q4_1(blocks):
    """Rows of Q4_1 blocks → their weights. uint8 (N, 20·K/32) → W (N, K), float32."""
    ### BEGIN SOLUTION
    b = blocks.reshape(len(blocks), -1, 20)  # (N, K/32, 20)
    d, m = b[..., :4].contiguous().view(torch.float16).float().unbind(-1)
    q = torch.cat((b[..., 4:] & 0xF, b[..., 4:] >> 4), dim=-1)  # (N, K/32, 32)
    return (d[..., None] * q + m[..., None]).flatten(1)
    ### END SOLUTION


# %%
check("11.3", read_q4_1)

# %% [markdown]
# ## 11.4 · The rows of Q and K
#
# RoPE turns pairs of channels. Transformers pairs channel j with the one half a head further; llama.cpp pairs neighbours. The rows
# of `q_proj` and `k_proj` *are* those channels, so a converter moves those of a Llama file, head by head (Qwen2's rows stay); nothing
# else in the model changes. A file whose rows were not moved back loads well, and every token looks at the wrong places.
#
# ```text
#   one head of 6 channels      halves (transformers)     a0 a1 a2 b0 b1 b2      a0 turns with b0, …
#                               pairs  (llama.cpp)        a0 b0 a1 b1 a2 b2
# ```
#
# With grouped queries K has fewer heads than Q, of the same size.
#
# | | | |
# |---|---|---|
# | in | `q`, `k` | tensors whose first axis is the channels: weights `(N, K)`, biases `(N,)`, rows of blocks in uint8, of any dtype |
# | | `heads`, `kv_heads` | how many heads the first axis of q has, and that of k |
# | | `to` | `"pairs"` or `"halves"`: the order that is wanted; what comes in has the other one |
# | out | | the pair (q, k), rows moved, dtypes and shapes as they were |


# %%
def permute_qk(q, k, heads, kv_heads, to):
    """Rows of q and k from transformers' order to llama.cpp's (to = "pairs"), or back ("halves")."""

    ### BEGIN SOLUTION
    def moved(t, heads):
        sizes = (heads, 2, -1) if to == "pairs" else (heads, -1, 2)
        return t.unflatten(0, sizes).transpose(1, 2).flatten(0, 2)

    return moved(q, heads), moved(k, kv_heads)
    ### END SOLUTION


# %%
check("11.4", permute_qk)

# %% [markdown]
# ## 11.5 · A config that loads
#
# Tensors alone say nothing: `weight_packed` could be anything in 32 bits. An engine reads `quantization_config` in config.json first,
# and prepares every layer by it. This is the dialect of compressed-tensors, which vLLM and transformers read. For W8A16 in groups of
# 64, with zero points, everything but the head:
#
# ```text
# {"quant_method": "compressed-tensors",
#  "format": "pack-quantized",                            integers in int32 words, no quantized activations
#  "quantization_status": "compressed",
#  "ignore": ["lm_head"],
#  "config_groups": {"group_0": {
#      "targets": ["Linear"],                              a class, a name, or re:…
#      "weights": {"num_bits": 8, "type": "int", "symmetric": false, "strategy": "group", "group_size": 64},
#      "input_activations": null}}}
# ```
#
# Without groups the strategy is `"channel"`, one scale a row, and there is no group_size (absent, or null). What a reader does not
# know, it has to refuse; the check asks the course's own, and tells what it understood.
#
# | | | |
# |---|---|---|
# | in | `num_bits` | 2 … 8 |
# | | `group_size` | G, or `None`: one scale a row |
# | | `symmetric` | bool: without zero points, or with |
# | | `ignore` | a list of layers (names, or `re:…`) that stay in 16 bits |
# | out | | a dict, as `json.dumps` takes it: weights of that kind in every other linear layer, activations as they are |


# %%
def compressed_tensors_config(num_bits, group_size, symmetric, ignore):
    """The `quantization_config` of weight-only integers in compressed-tensors' words."""
    ### BEGIN SOLUTION
    weights = {"num_bits": num_bits, "type": "int", "symmetric": symmetric, "group_size": group_size}
    weights["strategy"] = "channel" if group_size is None else "group"
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": list(ignore),
    }
    ### END SOLUTION


# %%
check("11.5", compressed_tensors_config)

# %% [markdown]
# ## 11.6 · The container, from its first byte
#
# A safetensors file is a length, a header, and the tensors. That is all, and it is why it can be opened without trust: nothing in it
# is ever executed (a pickle is a program). What is left to do is to believe no number in the header before it was compared.
#
# ```text
#   byte 0      8                                                                     8 + n
#        ┌─────┬──────────────────────────────────────────────────────────────────────┬─────────────┬ …
#        │  n  │ {"w": {"dtype": "F16", "shape": [2, 3], "data_offsets": [4, 16]}, …} │ the tensors │
#        └─────┴──────────────────────────────────────────────────────────────────────┴─────────────┴ …
#          u64, little endian    JSON, UTF-8, n bytes                                 ↑ offsets count from here
# ```
#
# The header's order is not the order of the data, and one of its keys may be `"__metadata__"`, which is no tensor.
#
# | | | |
# |---|---|---|
# | in | `data` | bytes: the whole file |
# | | `name` | the tensor that is wanted |
# | out | | the tensor: shape as in the header (`[]` is a number without axes), dtype F32, F16, BF16, U8, I8 or I32, row by row, little endian |
# | refused | | `ValueError` if there is no such tensor; if its offsets do not lie in the file, between the header's end and the last byte; or if they do not hold exactly shape × dtype |


# %%
# The header's names and torch's.
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "U8": "uint8", "I8": "int8", "I32": "int32"}


def read_safetensors(data, name):
    """The tensor `name` of a safetensors file that is given as bytes."""
    ### BEGIN SOLUTION
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    if name not in header:
        raise ValueError(f"no tensor {name!r}: there is {', '.join(header)}")
    dtype, shape = getattr(torch, DTYPES[header[name]["dtype"]]), header[name]["shape"]
    begin, end = header[name]["data_offsets"]
    if not 0 <= begin <= end <= len(data) - start or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name}: offsets [{begin}, {end}] are not {dtype} {shape} in {len(data) - start} bytes")
    return torch.frombuffer(bytearray(data[start + begin : start + end]), dtype=dtype).reshape(shape)
    ### END SOLUTION


# %%
check("11.6", read_safetensors)

# %% [markdown]
# ## A folder that loads, and two files read by you
#
# First your config. The model that ships with the course is quantized to 4 bits with zero points, in groups of 32, and its tensors are
# written in compressed-tensors' words; what they mean, your function says. Then a loader gets the folder, and after that the same
# tensors under a config with one word changed. What will it do: load something else, or speak up?

# %%
model = qcourse.load_model()
c = model.config
layers = {name: m.weight.float() for name, m in model.linears().items()}
scheme = PRESETS["W4A16_ASYM"].weights.with_(granularity=per_group(32), scale=torch.float16)
kept = tempfile.TemporaryDirectory()  # gone when the kernel is
folder = Path(kept.name)


def write_folder(config):
    """The quantized model as a folder; `config` says what its tensors are."""
    packed = {name: pack(quantize(W, scheme), "pack-quantized").tensors for name, W in layers.items()}
    coded = {f"{name}.{part}": t for name, tensors in packed.items() for part, t in tensors.items()}
    others = {name: t for name, t in tensors_of(model).items() if name.removesuffix(".weight") not in layers}
    folder.joinpath("model").mkdir(exist_ok=True)
    write_tensors(folder / "model" / "model.safetensors", others | coded)
    write_json(folder / "model" / "config.json", config_of(model) | {"quantization_config": config})


def loaded(config):
    """What a loader makes of it: whether every weight is what was quantized, or what the loader says."""
    write_folder(config)
    try:
        made = qcourse.load_model(folder / "model")
    except ValueError as e:
        return str(e).replace(f"{folder}/", "")
    meant = {name: dequantize(quantize(W, scheme)) for name, W in layers.items()}
    same = [torch.equal(m.dequantized(), meant[name]) for name, m in made.linears().items()]
    return f"loads: {sum(same)} of {len(same)} matrices are what was quantized"


def configs():
    asked = (4, 32, False, ["lm_head"])
    tries = {"yours": asked, "another group_size": (4, 64, False, ["lm_head"])}
    tries |= {"symmetric": (4, 32, True, ["lm_head"]), "8 bits": (8, 32, False, ["lm_head"])}
    tries["block 0 ignored"] = (4, 32, False, ["lm_head", "model.layers.0"])
    for name, args in tries.items():
        print(f"{name}:\n    {loaded(compressed_tensors_config(*args))}")


when_done(configs)

# %% [markdown]
# This loader compares every tensor with what the config promises, and finds all of these. One that skips tensors which it does not
# expect would have taken "symmetric": the same words in `weight_packed`, and their zero points left out.
#
# Now the other direction. The model lies in two more files: as GPTQ would store it, version 1, its channels in groups of 32 in a
# random order (as after `desc_act`), in one safetensors file; and as the course's exporter writes a GGUF file in Q4_1, in llama.cpp's
# order of rows. What the course's own loader makes of them is not asked: you read them.

# %%
text = windows(SHIPPED, n=16, seq_len=256)


def scattered(W):
    """W's codes in groups of 32 channels that are not neighbours."""
    order = torch.randperm(W.shape[1], generator=torch.Generator().manual_seed(W.shape[1]))
    return replace(quantize(W[:, order], scheme), order=order)


in_gptq = {f"{name}.{part}": t for name, W in layers.items() for part, t in pack(scattered(W), "gptq").tensors.items()}
write_tensors(folder / "gptq.safetensors", in_gptq)
export_gguf(model, SHIPPED, folder / "q4_1.gguf", "Q4_1")
for path in sorted(folder.glob("*.*")):
    print(f"{path.name}: {path.stat().st_size:,} bytes")

NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
NAMES |= {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}


def from_gptq(change=lambda parts: parts):
    """Every layer of the GPTQ file by your 11.6 and 11.1; `change` gets the four tensors first."""
    data, found = (folder / "gptq.safetensors").read_bytes(), {}
    for name in layers:
        names = ("qweight", "qzeros", "scales", "g_idx")
        parts = {part: torch.as_tensor(read_safetensors(data, f"{name}.{part}")) for part in names}
        found[name] = read_gptq(**change(parts), bits=4)
    return found


def from_gguf(to="halves", kv_heads=None):
    """Every layer of the GGUF file by your 11.3 and 11.4. Its container is opened by the course, which gives raw bytes."""
    file, found = GGUFFile(folder / "q4_1.gguf"), {}
    for name in layers:
        _, _, i, _, site = name.split(".")
        found[name] = torch.as_tensor(read_q4_1(file.rows(f"blk.{i}.{NAMES[site]}.weight")))
    for i in range(c.num_hidden_layers if to else 0):
        q, k = (f"model.layers.{i}.self_attn.{site}" for site in ("q_proj", "k_proj"))
        found[q], found[k] = permute_qk(found[q], found[k], c.num_attention_heads, kv_heads or c.num_key_value_heads, to)
    return found


def bits_per_byte(weights):
    """The model with these matrices in its linear layers, on text that it was not trained on."""
    made = qcourse.load_model()
    for name, m in made.linears().items():
        m.weight.data = torch.as_tensor(weights[name]).float()
    return perplexity(made, text).bits_per_byte


# %% [markdown]
# Read rightly, each file is the model with the rounding of 4 bits, and nothing else. Beside it the same bytes through the same
# functions, with one thing misread. Guess before you look: which of these would a user notice at once?


# %%
def turned(parts):
    """The two nibbles of each byte of qweight exchanged."""
    b = parts["qweight"].contiguous().view(torch.uint8)
    return parts | {"qweight": ((b & 0xF) << 4 | b >> 4).view(torch.int32)}


def misread():
    bits = {
        "16 bits": perplexity(model, text).bits_per_byte,
        "GPTQ, by your functions": bits_per_byte(from_gptq()),
        "… g_idx ignored": bits_per_byte(from_gptq(lambda p: p | {"g_idx": p["g_idx"].sort().values})),
        "… version 2 taken for 1": bits_per_byte(
            from_gptq(lambda p: p | {"qzeros": torch.as_tensor(convert_zeros(p["qzeros"], 2))})
        ),
        "… nibbles exchanged": bits_per_byte(from_gptq(turned)),
        "GGUF, by your functions": bits_per_byte(from_gguf()),
        "… Q and K left in pairs": bits_per_byte(from_gguf(to=None)),
        "… K cut into the heads of Q": bits_per_byte(from_gguf(kv_heads=c.num_attention_heads)),
    }
    right = [bits[name] for name in bits if "your" in name]
    wrong = [bits[name] for name in bits if "…" in name]
    title = f"Read rightly {right[0]:.2f} and {right[1]:.2f} bits/byte; misread {min(wrong):.2f} to {max(wrong):.2f}"
    colors = [plots.GREY if name == "16 bits" else plots.BLUE if "your" in name else plots.ORANGE for name in bits]
    return plots.bars(list(bits), list(bits.values()), title, "bits/byte, held-out Python", colors=colors)


when_done(misread)

# %% [markdown]
# The two rows in blue differ from 16 bits by the rounding, as they should: your readers lost nothing. A zero point that is off by one
# moves every weight by a step in the same direction, so the errors of a row do not average out. Q and K in the wrong order hurt least
# here: attention looks at the wrong tokens, and all else still works. That is what makes it hard to notice: only a number beside the
# right one shows it.
#
# **Think about it.** Of the misreadings, which could a reader have found in the file itself, without any text? (For one of them
# there is a test in `qcourse.packing.gptq.stored_version`; for which zero points does it work?) And which two of your six functions
# would you run on a file from a stranger before all others?
#
# Back to the map: [notebook 00](../notebooks/00_dont_panic.ipynb), section 7. Notebook 12 goes on ([to read](../notebooks/12_rotation_qat_and_below_4_bits.ipynb)).
