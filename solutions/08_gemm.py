# %% [markdown]
# # Lab 08 · A kernel for 4-bit weights
#
# **What you build.** The inner loop of every 4-bit language model: one token times a weight that is stored in words of eight
# codes each. First so slowly that nobody can doubt it, then fast, then cut in pieces for many cores; and at the end the
# arithmetic that tells when *not* to use it.
#
# About 60 minutes, after notebook 08 ([yours](../my_notebooks/08_gemm.ipynb), [to read](../notebooks/08_gemm.ipynb)). Letters: `x (K,)` one token, a weight of N rows and K columns, `y (N,)`, G weights
# share a scale.

# %%
import math

import numpy as np
import torch

from qcourse import check, hint, solution, when_done

# %% [markdown]
# `check("08.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("08.1")` nudges, `hint("08.1", 2)` and `hint("08.1", 3)` say more;
# `solution("08.1")` shows ours, for afterwards.
#
# **The format**, used in every task of this lab. A weight is a 4-bit code q and a scale s:
#
# $$\hat w_{n,k} = s_{n,\lfloor k/G \rfloor} \cdot (q_{n,k} - 8) \qquad q \in 0 \ldots 15$$
#
# ```text
#   words (N, K/8) int32        row n:  │ word 0          │ word 1          │ …
#                                         k = 0 … 7         k = 8 … 15
#
#   one word        bits  31…28  27…24  23…20  19…16  15…12  11…8   7…4    3…0
#                   code    7      6      5      4      3      2     1      0     the first lowest
#
#   scale (N, K/G) fp32         row n:  │ weights 0 … G−1 │ weights G … 2G−1 │ …   8 divides G
# ```

# %% [markdown]
# ## 08.1 · Eight codes in a word
#
# Shift, then mask. `0x76543210` holds the codes 0, 1, 2 … 7. And the top bit of a word may be set: int32 then calls the
# number negative, and a shift to the right fills up with ones. The bits that you want are still there.
#
# ```text
#   word          1001 0110 … 0010 0001
#   code 0                         ^^^^    no shift, lowest four bits
#   code 1                    ^^^^         shifted down by 4, lowest four bits
#   code 7        ^^^^                     shifted down by 28, lowest four bits  (never −7)
# ```
#
# | | |
# |---|---|
# | `words` | int32, any shape `(...)` |
# | returns | int32 `(..., 8)`, codes 0 … 15, the lowest first |


# %%
def unpack_words(words):
    """The eight 4-bit codes of each word, lowest bits first. int32 (...) → int32 (..., 8)."""
    ### BEGIN SOLUTION
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    return (words.unsqueeze(-1) >> shifts) & 15
    ### END SOLUTION


# %%
check("08.1", unpack_words)

# %% [markdown]
# ## 08.2 · So slowly that nobody can doubt it
#
# Three loops: rows, words, the codes of a word. Everything that can go wrong in a fast kernel goes wrong here already: the
# order of the codes, the 8, and *which scale belongs to weight k*.
#
# ```text
#   for each row n
#       for each word of the row
#           for each of its 8 codes:   which k is it?  which group is k in?   y[n] += ŵ · x[k]
# ```
#
# | | |
# |---|---|
# | `x` | `(K,)` fp32 or bf16 |
# | `words`, `scale` | `(N, K/8)` int32, `(N, K/G)` fp32 |
# | `group_size` | G, a multiple of 8 |
# | returns | `y (N,)`, summed and returned in fp32. Take all the time you want |


# %%
def gemv_naive(x, words, scale, group_size):
    """y[n] = Σ_k s · (q − 8) · x[k], one code at a time. → (N,) fp32."""
    ### BEGIN SOLUTION
    y = torch.zeros(len(words))
    for n, row in enumerate(words.tolist()):
        for w, word in enumerate(row):
            for j in range(8):
                k = 8 * w + j
                code = (word >> 4 * j) & 15
                y[n] += scale[n, k // group_size] * (code - 8) * x[k].float()
    return y
    ### END SOLUTION


# %%
check("08.2", gemv_naive)

# %% [markdown]
# ## 08.3 · The same, fast
#
# One step of a Python loop takes tens of nanoseconds; a weight may take a fraction of one. So: no Python loop over
# weights. Use torch, NumPy, or Numba (`import numba`; its compiled loops may look just like yours above).
#
# Two thoughts that every real kernel uses, because the scale is the same within a group:
#
# $$y_n = \sum_g s_{n,g} \sum_{k \in g} (q_{n,k} - 8)\, x_k
# \qquad\qquad \sum_{k \in g} (q - 8)\, x = \sum_{k \in g} q\, x \;-\; 8 \sum_{k \in g} x$$
#
# ```text
#   codes (N, K/G, G) · x (K/G, G)  →  a number a group (N, K/G)  →  · scale (N, K/G)  →  Σ  →  y
#                                      minus something that no
#                                      row computes for itself
# ```
#
# Judged in two ways: the answer (as in 08.2, for x in bf16 too), and the time: at most **half** of what a Python loop over
# the weights takes, measured beside it on one core. That is generous on purpose: torch needs about a thirtieth.
#
# | | |
# |---|---|
# | arguments | as in 08.2; N and K in the thousands |
# | returns | `y (N,)`, summed and returned in fp32 |


# %%
def gemv_int4(x, words, scale, group_size):
    """y[n] = Σ_k s · (q − 8) · x[k], without a Python loop over weights. → (N,) fp32."""
    ### BEGIN SOLUTION
    x = x.float().view(-1, group_size)
    codes = unpack_words(words).view(len(words), -1, group_size)
    per_group = torch.einsum("ngk,gk->ng", codes.float(), x) - 8 * x.sum(1)
    return (per_group * scale).sum(1)
    ### END SOLUTION


# %%
check("08.3", gemv_int4)

# %% [markdown]
# ## 08.4 · Split K
#
# With one token there are only N sums to compute, too few to keep a big GPU busy. So K is cut as well: each worker takes a
# slice of *every* row, and what the workers found is added at the end.
#
# ```text
#               K = 4 groups, 2 splits
#            ┌────────┬────────┐
#   row 0    │ slice 0│ slice 1│       partials (splits, N):   slice 0:  ▪ ▪ ▪
#   row 1    │        │        │                                slice 1:  ▪ ▪ ▪
#   row 2    │        │        │                                          ─────
#            └────────┴────────┘       y (N,)                             ▪ ▪ ▪
#             groups    groups
#              0, 1      2, 3          neighbours stay together; no group is cut
# ```
#
# | | |
# |---|---|
# | `splits` | divides the number of groups, K/G |
# | other arguments | as in 08.2 |
# | returns | the pair (`partials (splits, N)`, `y (N,)`), fp32 |


# %%
def split_k(x, words, scale, group_size, splits):
    """Each slice of K on its own, and their sum. → (partials (splits, N), y (N,))."""
    ### BEGIN SOLUTION
    K, groups = len(x) // splits, scale.shape[1] // splits
    partials = torch.zeros(splits, len(words))
    for i in range(splits):
        slice_words = words[:, i * K // 8 : (i + 1) * K // 8]
        slice_scale = scale[:, i * groups : (i + 1) * groups]
        partials[i] = gemv_int4(x[i * K : (i + 1) * K], slice_words, slice_scale, group_size)
    return partials, partials.sum(0)
    ### END SOLUTION


# %%
check("08.4", split_k)

# %% [markdown]
# ## 08.5 · What should it cost?
#
# Now M tokens at once. Two things happen at the same time, and the slower one decides: bytes come in, arithmetic is done.
#
# $$t_{16} = \max\left(\frac{\text{bytes}_{16}}{\text{read}},\ \frac{2MNK}{\text{flops}}\right) \qquad
# t_4 = \max\left(\frac{\text{bytes}_4}{\text{read}},\ \frac{2MNK}{\text{flops}} + \frac{\lceil M / \text{tile} \rceil\,
# NK}{\text{unpack}}\right)$$
#
# ```text
#   bytes      x (M, K) and y (M, N), 2 bytes a number, always
#              weights:   bf16   2 bytes each
#                         int4   half a byte each, and 2 bytes for every scale (N · K/G)
#
#   unpacking  one pass over the weights serves `tile` tokens; for the next tile, another pass
#
#              M = 1 ······ tile          one pass
#              M = tile + 1 ······ 2·tile two passes …
# ```
#
# | | |
# |---|---|
# | `M`, `N`, `K`, `group_size` | int |
# | `machine` | dict: `read` (bytes/s), `flops` (1/s), `unpack` (weights/s), `tile` (tokens) |
# | returns | the pair (seconds in bf16, seconds in int4) |


# %%
def kernel_seconds(M, N, K, group_size, machine):
    """The floor of a bf16 and of an int4 matmul of M tokens, by the law above."""
    ### BEGIN SOLUTION
    arithmetic = 2 * M * N * K / machine["flops"]
    unpacking = math.ceil(M / machine["tile"]) * N * K / machine["unpack"]
    activations = 2 * M * (K + N)
    bf16 = 2 * N * K + activations
    int4 = N * K / 2 + 2 * N * K / group_size + activations
    t16 = max(bf16 / machine["read"], arithmetic)
    t4 = max(int4 / machine["read"], arithmetic + unpacking)
    return t16, t4
    ### END SOLUTION


# %%
check("08.5", kernel_seconds)

# %% [markdown]
# ## 08.6 · Where does 4-bit become slower?
#
# Few tokens: bytes decide, and int4 has fewer. Many tokens: arithmetic decides, and int4 has the unpacking on top. In
# between lies the number that an engine needs to choose its kernel:
#
# ```text
#   seconds │                   int4 ╱  ╱ bf16
#           │                      ╱  ╱
#           │ bf16 ──────────────╳──╱
#           │                  ╱
#           │ int4 ──────────╱
#           └────────────────────↑──────── M
#                                the smallest M at which int4 is no longer faster
# ```
#
# | | |
# |---|---|
# | `N`, `K`, `group_size`, `machine` | as in 08.5 |
# | `most` | the largest M that is looked at |
# | returns | the smallest M in 1 … most with `int4 ≥ bf16`, or `None` if int4 is faster at all of them |


# %%
def cross_over(N, K, group_size, machine, most):
    """The smallest M at which 4-bit weights stop being faster, or None."""
    ### BEGIN SOLUTION
    for M in range(1, most + 1):
        bf16, int4 = kernel_seconds(M, N, K, group_size, machine)
        if int4 >= bf16:
            return M
    return None
    ### END SOLUTION


# %%
check("08.6", cross_over)

# %% [markdown]
# ## Your kernel, real weights, this machine
#
# First the honest question: does it compute what the course's own reference computes, on a layer of the model that ships
# with it?

# %%
import qcourse
from qcourse.numerics.quantize import quantize
from qcourse.packing.packed import pack
from qcourse.study import plots, roofline

W = qcourse.load_model().model.layers[0].mlp.down_proj.weight.float()
packed = pack(quantize(W, qcourse.PRESETS["W4A16"].weights), "pack-quantized")


def on_a_real_layer():
    x = torch.randn(W.shape[1])
    y = torch.as_tensor(gemv_int4(x, packed.data, packed.tensors["weight_scale"].float(), 128))
    right = qcourse.reference(x, packed)
    print(f"y differs from the reference by {(y - right).norm() / right.norm():.0e} of its size")


when_done(on_a_real_layer)

# %% [markdown]
# Then the clock. Beside your kernel stand torch's matmul in bf16, the course's own int4 kernel, and *your loop of 08.2,
# compiled*: Numba turns it into machine code that reads each word once, keeps everything else in registers, and never writes
# W anywhere.

# %%
import numba


@numba.njit(parallel=True, fastmath=True)
def compiled(x, words, scale, group_size):
    """The loops of 08.2, compiled, one core for every few rows; the scale once a group."""
    y = np.zeros(len(words), dtype=np.float32)
    for n in numba.prange(len(words)):
        for g in range(scale.shape[1]):
            part = np.float32(0)
            for w in range(g * group_size // 8, (g + 1) * group_size // 8):
                word = words[n, w]
                for j in range(8):
                    part += np.float32(((word >> 4 * j) & 15) - 8) * x[8 * w + j]
            y[n] += part * scale[n, g]
    return y


# %%
def race(N, K, G=128, copies=4):
    """ms of one token through a weight (N, K). Copies of the weight, so that no cache helps."""
    cases, x, scale = roofline.gemm_cases(N, K), torch.randn(K), torch.rand(N, K // G)
    words = [torch.randint(-(2**31), 2**31, (N, K // 8)).to(torch.int32) for _ in range(copies)]
    xn, sn, wn = x.numpy(), scale.numpy(), [w.numpy() for w in words]
    calls = {
        "int4, yours": lambda i: gemv_int4(x, words[i % copies], scale, G),
        "int4, the loop compiled": lambda i: compiled(xn, wn[i % copies], sn, G),
        "bf16, torch": cases["bf16"][1],
        "int4, the course's kernel": cases["int4"][1],
    }
    return {name: roofline.measure(call, repeats=9).median * 1e3 for name, call in calls.items()}


# %%
read = roofline.read_bandwidth()


def picture():
    shapes = [(1024, 1024), (2048, 2048), (4096, 4096)]
    times = [race(N, K) for N, K in shapes]
    series = {name: [t[name] for t in times] for name in times[0]}
    # the floor: 4-bit codes and fp32 scales, 4.25 bits a weight
    series["bytes ÷ bandwidth"] = [N * K * 4.25 / 8 / read * 1e3 for N, K in shapes]
    yours, loop, bf16, ours = times[-1].values()
    title = f"bf16 = 1: yours {yours / bf16:.2g}, the compiled loop {loop / bf16:.2g}, the course's kernel {ours / bf16:.2g}"
    sizes = [N * K / 2**20 for N, K in shapes]
    figure = plots.lines(sizes, series, title, "weights [2²⁰]", "one token [ms]", True, True)
    figure.axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)  # beside the five lines
    return figure


when_done(picture)

# %% [markdown]
# A vectorised int4 product usually *loses* to bf16 by far: it is right, but it writes every decoded weight into memory and
# reads it again, so the bytes that the format saved are spent several times over. The compiled loop writes nothing, but a
# shift, a mask, a conversion and a product for every weight keep its cores busy long after the bytes have arrived. The
# course's kernel (notebook 08, section 3) multiplies whole blocks in integers. That is **invariant 4** on your own machine:
# the saving is there, and only a kernel made for the format, on this hardware, collects it.
#
# Last, let your law predict where 4 bits stop paying: with this machine's measured numbers, and with a GPU's published ones.

# %%
big, scale = torch.randn(1024, 1024), torch.rand(2048, 16)
words = torch.zeros(2048, 256, dtype=torch.int32)
arrays = big[:2].flatten().numpy(), words.numpy(), scale.numpy(), 128
unpacking = roofline.measure(lambda i: compiled(*arrays), repeats=7)
machine = {
    "read": read,
    "flops": 2 * 1024**3 / roofline.measure(lambda i: big @ big, repeats=7).median,
    "unpack": 2048 * 2048 / unpacking.median,
    "tile": 1,
}
# read and flops as published (dense bf16), unpack and tile assumed
h100 = {"read": 3.35e12, "flops": 990e12, "unpack": 40e12, "tile": 64}


# %%
def predict():
    for name, m in (("this machine, compiled loop", machine), ("an H100", h100)):
        M = cross_over(4096, 4096, 128, m, 4096)
        print(f"{name}: int4 stops being faster at M = {M}" if M else f"{name}: faster up to 4096")


when_done(predict)

# %% [markdown]
# M = 1 means: never faster, not even for one token.
#
# **Think about it.** Serving engines keep 4-bit weights even for long prompts, where M is in the thousands. What do they
# gain, if it is not the time of the matmul? (Lab 04, task 2.)
#
# Back to the map: [notebook 00](../notebooks/00_dont_panic.ipynb), section 7. Notebook 09 goes on ([to read](../notebooks/09_one_interface.ipynb)).
