# %% [markdown]
# # Lab 02 · int4: groups, and where the bits lie
#
# **What you build.** First the group quantizer that makes four bits bearable, and its bill. Then the files: two codes in a byte,
# eight in a word, in GPTQ's order and in AWQ's. At the end your own packed bytes run the model that ships with the course.
#
# About 60 minutes, after notebook 02 ([yours](../my_notebooks/02_int4_groups_and_packing.ipynb), [to read](../notebooks/02_int4_groups_and_packing.ipynb)). Letters: `W (N, K)` a weight, `G` the weights that share a scale, along K.

# %%
import numpy as np
import torch

import qcourse
from qcourse.models.loader import SHIPPED
from qcourse.study import plots
from qcourse import check, hint, solution, when_done
from qcourse.study.perplexity import paired_difference, perplexity, windows

# %% [markdown]
# **How a lab works.** Replace `raise NotImplementedError(...)` by your own lines, run the cell, then the one line below it.
# `check` answers *not attempted*, *raised*, *wrong* (the first number that differs, with its bits where bits matter, and the
# misconception if it is one we know) or *right*. `hint("02.1")` nudges, `hint("02.1", 2)` and `hint("02.1", 3)` say more;
# `solution("02.1")` shows ours, best read after yours works.
#
# Nothing in this lab raises an error when it is wrong. Swapped nibbles have the right shape and the right dtype, and the model
# that reads them talks nonsense. That is why a packer is tested, and why yours must say no to what it cannot pack.

# %% [markdown]
# ## 02.1 · Neighbours share a scale
#
# One loud weight spoils the steps of everybody who shares its scale. So let only $G$ neighbours along K share one, and use all 16
# codes of int4, −8 … 7 (the full range, as in compressed-tensors):
#
# $$s_{n,j} = \frac{\max_{k \in \text{group } j} |W_{nk}|}{7.5}\qquad q = \mathrm{clamp}\big(\mathrm{round}(W/s),\,-8,\,7\big)$$
#
# Why 7.5? The 16 codes span 15 steps, so half of them lie on each side; the loudest weight lands on ±7.5, half a step from the
# last code on either side, and no weight is ever farther from its code than that.
#
# ```text
#             K = 12, G = 4
#   row 0   [ w w w w │ w w w w │ w w w w ]      [ s s s ]
#   row 1   [ w w w w │ w w w w │ w w w w ]      [ s s s ]
#                     W (N, K)                  scale (N, K/G)
# ```
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)` |
# | | `group_size` | G; if it does not divide K, raise `ValueError` and name both |
# | out | `codes` | int8, `(N, K)`, −8 … 7; an exact tie may go either way |
# | | `scale` | float32, `(N, K/G)`, greater than 0; a group of zeros has codes 0 and any positive scale |


# %%
def quantize_groups(W, group_size):
    """int8 codes (N, K) in -8 … 7 and scale (N, K/G) of W (N, K)."""
    ### BEGIN SOLUTION
    N, K = W.shape
    if K % group_size:
        raise ValueError(f"group_size={group_size} does not divide K={K}")
    groups = W.reshape(N, K // group_size, group_size)
    scale = groups.abs().amax(dim=-1, keepdim=True) / 7.5
    scale = torch.where(scale == 0, 1.0, scale)
    codes = torch.round(groups / scale).clamp(-8, 7).to(torch.int8)
    return codes.reshape(N, K), scale.squeeze(-1)
    ### END SOLUTION


# %%
check("02.1", quantize_groups)

# %% [markdown]
# ## 02.2 · The bill, in bits
#
# "4-bit" is the size of a code. What a weight takes is its code and its share of everything its group stores besides:
#
# ```text
#   one group:   [ B B B B ··· B ]  +  scale  +  (zero point)
#                  G codes             16 bits     B bits, if there is one
# ```
#
# | | | |
# |---|---|---|
# | in | `K`, `num_bits` | weights in a row, bits of a code |
# | | `group_size` | G (divides K); `None`: one scale a row |
# | | `scale_bits`, `zero_bits` | bits of one scale and of one zero point (0: there is none) |
# | out | bits | bits a weight, a number like 4.125 |


# %%
def bits_per_weight(K, num_bits, group_size=None, scale_bits=16, zero_bits=0):
    """Bits that a weight takes, scales and zero points counted."""
    ### BEGIN SOLUTION
    shared_by = K if group_size is None else group_size
    return num_bits + (scale_bits + zero_bits) / shared_by
    ### END SOLUTION


# %%
check("02.2", bits_per_weight)

# %% [markdown]
# ## 02.3 · Two codes in a byte
#
# Memory knows no dtype of four bits. Two codes share a byte: the even column in the **low** nibble, the odd one in the high.
# Nibbles are unsigned, so a code is stored with an offset of 8: −8 … 7 becomes 0 … 15.
#
# ```text
#   codes    -3          5                       bit   7 6 5 4 │ 3 2 1 0
#            + 8         + 8                           ────────┼────────
#             5          13                            1 1 0 1 │ 0 1 0 1     = 0xD5
#          even column   odd column                    odd: 13 │ even: 5
# ```
#
# | | | |
# |---|---|---|
# | in | `codes` | int8, `(N, K)`, −8 … 7 |
# | out | `packed` | uint8, `(N, K/2)`: byte i of a row holds columns 2i and 2i + 1 |
# | odd K | | raise `ValueError`: half a byte would be lost or invented |


# %%
def pack_nibbles(codes):
    """uint8 (N, K/2): two codes of -8 … 7 a byte, even column in the low nibble, offset 8."""
    ### BEGIN SOLUTION
    if codes.shape[1] % 2:
        raise ValueError(f"K={codes.shape[1]} is odd: two codes share a byte")
    u = (codes + 8).to(torch.uint8)
    return u[:, 0::2] | (u[:, 1::2] << 4)
    ### END SOLUTION


# %%
check("02.3", pack_nibbles)

# %% [markdown]
# ## 02.4 · And out again
#
# The road back. Every code must come out as it went in; packing rounds nothing.
#
# ```text
#   0xD5   →   low 5, high 13   →   -3, 5   →   columns 2i, 2i + 1
#
#   bytes  [ b0  b1 ]   →   codes  [ b0.low  b0.high │ b1.low  b1.high ]
# ```
#
# | | | |
# |---|---|---|
# | in | `packed` | uint8, `(N, K/2)` |
# | out | `codes` | int8, `(N, K)`, −8 … 7 |


# %%
def unpack_nibbles(packed):
    """int8 codes (N, K) of the bytes (N, K/2) that pack_nibbles made."""
    ### BEGIN SOLUTION
    low, high = packed & 0xF, packed >> 4
    u = torch.stack((low, high), dim=-1).flatten(-2)
    return u.to(torch.int8) - 8
    ### END SOLUTION


# %%
check("02.4", unpack_nibbles)

# %% [markdown]
# ## 02.5 · A GPTQ file
#
# Eight codes fill an int32. GPTQ stores $W^\top$ and packs along K, the first code lowest. Its zero points lie beside it, packed
# along **N**, and its first version stores every zero point **minus one**.
#
# $$\text{qweight}[r, n] = \sum_{j=0}^{7} q_{n,\,8r+j}\cdot 16^{\,j}\qquad \text{qzeros}[g, c] = \sum_{j=0}^{7} (z_{8c+j,\,g} - 1)\cdot 16^{\,j}$$
#
# ```text
#   qweight (K/8, N)     n →                   one word, as hex digits
#              ┌──────┬──────┬──────┐
#   k = 0…7    │ word │ word │ word │          0x 7 6 5 4 3 2 1 0
#   k = 8…15   │ word │ word │ word │             │             └ k = 0
#              └──────┴──────┴──────┘             └ k = 7
# ```
#
# | | | |
# |---|---|---|
# | in | `codes` | uint8, `(N, K)`, 0 … 15 (already unsigned); N and K are multiples of 8 |
# | | `zeros` | uint8, `(N, groups)`, 1 … 15; a zero point of 0 cannot be stored: raise `ValueError` |
# | out | `qweight` | int32, `(K/8, N)` |
# | | `qzeros` | int32, `(groups, N/8)` |
#
# A word whose highest code is 8 or more is a negative int32. That is no error: the bits are what counts.


# %%
def pack_int32_gptq(codes, zeros):
    """GPTQ v1: int32 qweight (K/8, N), packed along K; int32 qzeros (groups, N/8), along N, z - 1."""
    ### BEGIN SOLUTION
    if (zeros == 0).any():
        raise ValueError("GPTQ v1 stores z - 1: a zero point of 0 cannot be stored")
    q, z = codes.T.to(torch.int32), zeros.T.to(torch.int32) - 1
    qweight = torch.zeros(q.shape[0] // 8, q.shape[1], dtype=torch.int32)
    qzeros = torch.zeros(z.shape[0], z.shape[1] // 8, dtype=torch.int32)
    for j in range(8):
        qweight |= q[j::8] << (4 * j)
        qzeros |= z[:, j::8] << (4 * j)
    return qweight, qzeros
    ### END SOLUTION


# %%
check("02.5", pack_int32_gptq)

# %% [markdown]
# ## 02.6 · An AWQ file
#
# The same codes for another kernel. AWQ packs eight **outputs** of one input, and not in their natural order. Its kernel masks a
# word with `0x000F000F` and shifts it by 4, so each step yields two *neighbouring* columns in the two halves of a register:
#
# ```text
#   nibble of the word    7   6   5   4 │ 3   2   1   0
#   holds column 8w +     7   5   3   1 │ 6   4   2   0       lowest first: 0 2 4 6 1 3 5 7
#                                     ▲               ▲
#                                     └─ 0x000F000F ──┘       columns 1 and 0, a pair
# ```
#
# | | | |
# |---|---|---|
# | in | `codes` | uint8, `(N, K)`, 0 … 15; N is a multiple of 8 |
# | out | `qweight` | int32, `(K, N/8)`: nibble i of word `[k, w]` holds `codes[8w + order[i], k]` |


# %%
def pack_awq(codes):
    """AWQ (GEMM): int32 qweight (K, N/8), packed along N, nibbles in the order 0 2 4 6 1 3 5 7."""
    ### BEGIN SOLUTION
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    q = codes.T.to(torch.int32)
    qweight = torch.zeros(q.shape[0], q.shape[1] // 8, dtype=torch.int32)
    for i, column in enumerate(order):
        qweight |= q[:, column::8] << (4 * i)
    return qweight
    ### END SOLUTION


# %%
check("02.6", pack_awq)

# %% [markdown]
# ## Your own files
#
# What do your two packers put into which nibble? Give eight codes the names 0 … 7, pack them, and read one word digit by digit.


# %%
def nibbles(word):
    return [(int(word) >> (4 * i)) & 0xF for i in range(8)]


def layouts():
    names = torch.arange(8, dtype=torch.uint8)
    qweight, _ = pack_int32_gptq(names.repeat(8, 1), torch.full((8, 1), 8, dtype=torch.uint8))
    rows = {"your GPTQ: k": nibbles(qweight[0, 0]), "your AWQ: n": nibbles(pack_awq(names.view(8, 1))[0, 0])}
    return plots.words(rows, "The same eight codes, in the order of two kernels")


when_done(layouts)

# %% [markdown]
# Smaller groups buy accuracy with bits. How good is the bargain, on a matrix that was trained?

# %%
model = qcourse.load_model()
W = model.model.layers[1].mlp.down_proj.weight.float()


def stored(W, group_size):
    codes, scale = map(torch.as_tensor, quantize_groups(W, group_size))
    packed, scale = torch.as_tensor(pack_nibbles(codes)), scale.half().float()  # into the file: 4 bits, and 16 for a scale
    return torch.as_tensor(unpack_nibbles(packed)).float() * scale.repeat_interleave(group_size, dim=1)


def bargain():
    sizes = [256, 128, 64, 32, 16]
    cost = [bits_per_weight(W.shape[1], 4, G) for G in sizes]
    errors = [((stored(W, G) - W).norm() / W.norm()).item() for G in sizes]
    title = (
        f"From G = 256 to 16: {cost[-1] - cost[0]:.2f} bits more, and the error falls by {1 - errors[-1] / errors[0]:.0%}"
    )
    return plots.lines(cost, {"int4, G = 256 … 16": errors}, title, "bits a weight, scales included", "relative error of W")


when_done(bargain)

# %% [markdown]
# And the whole model through your bytes: every linear layer quantized in groups of 32, packed, unpacked, and asked to predict
# Python that it has never seen, beside the original in bf16 on the same windows.


# %%
def proof():
    mine, text = qcourse.load_model(), windows(SHIPPED, n=16, seq_len=256)
    for m in mine.linears().values():
        m.weight.data.copy_(stored(m.weight.data.float(), 32))
    before, after = perplexity(model, text), perplexity(mine, text)
    print(f"bf16: {before.bits_per_byte:.3f} bits/byte; your int4 adds {paired_difference(before, after)}")


when_done(proof)

# %% [markdown]
# Less than a hundredth of a bit a byte, for 4.5 bits a weight instead of 16. Your packers lost nothing on the way: what is left
# is rounding, each weight on its own. (GPTQ rounds with hindsight: each weight makes up for the errors of those before it.)
#
# Next: notebook 03, in your edition ([my_notebooks](../my_notebooks/03_smoothquant_outliers.ipynb)) or to read ([notebooks](../notebooks/03_smoothquant_outliers.ipynb)).
