# %% [markdown]
# # Lab 01 · A scale, and everything it decides
#
# **What you build.** Six functions, most of them two or three lines: the int8 quantizer that inference engines run on
# weights, the layer that computes with its codes, the bill in bytes, the zero point, and the search for a better range.
# At the end they quantize the model that ships with the course, and it has to go on writing Python.
#
# About 45 minutes, after notebook 01 ([yours](../my_notebooks/01_fake_quant.ipynb), [to read](../notebooks/01_fake_quant.ipynb)). Letters: `W (N, K)` a weight, `x (M, K)` an activation, `y = x @ W.T`.

# %%
import numpy as np
import torch

import qcourse
from qcourse.study import plots
from qcourse import check, hint, solution, when_done

# %% [markdown]
# **How a lab works.** In each task, replace `raise NotImplementedError(...)` by your own lines, run the cell, then run the
# one line below it. `check` tries your function on fresh random inputs and answers in one of four ways:
#
# | answer | what it means |
# |---|---|
# | *not attempted* | nothing is written yet |
# | *raised* | your function stopped with an error; you see your own lines, not ours |
# | *wrong* | the first number that differs, the input that shows it, and the misconception, if it is one we know |
# | *right* | every property held; another way of writing it is just as right as ours |
#
# Stuck? `hint("01.1")` nudges, `hint("01.1", 2)` gives the idea, `hint("01.1", 3)` the first line. `solution("01.1")`
# shows ours; it teaches most *after* yours works. PyTorch or NumPy, loops or
# none: as you like. Inputs arrive as tensors (NumPy knows no bfloat16: `W.float().numpy()`); return what the table of the
# task says, and never change an input in place.

# %%
hint("01.1")

# %% [markdown]
# ## 01.1 · A scale for each row
#
# Every row of $W$ gets one scale $s_n$: the size of one code step, in weight units. The weight farthest from zero lands on
# $\pm127$, and every other weight on the nearest whole number of steps:
#
# $$s_n = \text{clip}\cdot\frac{\max_k |W_{nk}|}{127}\qquad q_{nk} = \mathrm{clamp}\big(\mathrm{round}(W_{nk}/s_n),\,-127,\,127\big)$$
#
# ```text
#   row       [ -2.54    0.5     1.0  ]        absmax 2.54,  s = 0.02
#
#   code       -127 ···· -2  -1   0   1   2 ·· 25 ·· 50 ···· 127
#   weight    -2.54    -.04 -.02  0  .02 .04  0.5   1.0     2.54
# ```
#
# `clip` is 1 as a rule. With `clip = 0.5` the range ends at half of absmax, and whatever lies beyond **saturates** at ±127.
#
# | | | |
# |---|---|---|
# | in | `W` | float32, float16 or bfloat16, `(N, K)`; compute in float32 |
# | | `clip` | a number, 0 < clip ≤ 1 |
# | out | `codes` | int8, `(N, K)`, −127 … 127; an exact tie may go either way |
# | | `scale` | float32, `(N, 1)`, greater than 0; a row of zeros has codes 0 and any positive scale, 1 for example |


# %%
def quantize_per_channel(W, clip=1.0):
    """int8 codes (N, K) and scale (N, 1) of W (N, K): q = clamp(round(W / s), -127, 127)."""
    ### BEGIN SOLUTION
    W = W.float()
    scale = clip * W.abs().amax(dim=1, keepdim=True) / 127
    scale = torch.where(scale == 0, 1.0, scale)
    codes = torch.round(W / scale).clamp(-127, 127).to(torch.int8)
    return codes, scale
    ### END SOLUTION


# %%
check("01.1", quantize_per_channel)

# %% [markdown]
# ## 01.2 · Back to weights
#
# A code counts steps; a scale says how long a step is.
#
# $$\hat W_{nk} = s_n\, q_{nk}$$
#
# ```text
#     codes (N, K)      scale (N, 1)          Ŵ (N, K)
#   [ -127  25  50 ]      [ 0.02 ]      [ -2.54  0.50  1.00 ]
#   [   10   0 -20 ]      [ 0.10 ]      [  1.00  0.00 -2.00 ]     each row its own
# ```
#
# | | | |
# |---|---|---|
# | in | `codes` | int8, `(N, K)` |
# | | `scale` | float32, float16 or bfloat16, `(N, 1)`, or `(1, 1)` for one scale a tensor |
# | out | `W_hat` | float32, `(N, K)`, computed in float32 |


# %%
def dequantize(codes, scale):
    """The weights (N, K), in float32, that the codes (N, K) stand for."""
    ### BEGIN SOLUTION
    return codes.float() * scale.float()
    ### END SOLUTION


# %%
check("01.2", dequantize)

# %% [markdown]
# ## 01.3 · A layer that keeps its weights in int8
#
# $$y_{mn} = \sum_k x_{mk}\,\hat W_{nk} + b_n$$
#
# Two roads lead to $y$. One dequantizes $W$ first: N·K multiplications, and a float copy of the whole matrix. The other
# notices that $s_n$ does not depend on $k$:
#
# ```text
#    Σₖ x[m,k] · (s[n] · q[n,k])   =   s[n] · Σₖ x[m,k] · q[n,k]
#
#    scale W, then multiply             multiply, then scale y        (both are right)
# ```
#
# | | | |
# |---|---|---|
# | in | `x` | float32 or bfloat16, `(M, K)` |
# | | `codes`, `scale` | int8 `(N, K)`, float32 `(N, 1)` |
# | | `bias` | float32 `(N,)`, or `None` |
# | out | `y` | float32, `(M, N)`, computed in float32 |


# %%
def quant_linear(x, codes, scale, bias=None):
    """y = x @ W_hat.T + bias, float32 (M, N); codes (N, K) and scale (N, 1) stand for W_hat."""
    ### BEGIN SOLUTION
    y = (x.float() @ codes.float().T) * scale.T
    return y if bias is None else y + bias
    ### END SOLUTION


# %%
check("01.3", quant_linear)

# %% [markdown]
# ## 01.4 · What it weighs
#
# Decoding is as fast as the weights can be read, so count every byte that is stored. The scales are stored.
#
# ```text
#                 K = 4096 codes of 4 bits                        32 scales of 16 bits
#   row 0   [ G = 128 │ G = 128 │ G = 128 │ ··· │ G = 128 ]     [ s s s ··· s ]
#   row 1   [ G = 128 │ G = 128 │ G = 128 │ ··· │ G = 128 ]     [ s s s ··· s ]
#    ···                                                              N rows
# ```
#
# | | | |
# |---|---|---|
# | in | `N`, `K` | the shape of the weight |
# | | `num_bits` | bits of a code; codes are packed densely, the last byte may be half empty |
# | | `group_size` | `G`, weights along K that share a scale (G divides K); `None`: one scale a row |
# | | `scale_bits` | bits of a scale: 16 or 32 |
# | out | bytes | a whole number: codes plus scales |


# %%
def memory_bytes(N, K, num_bits=8, group_size=None, scale_bits=16):
    """Bytes of a quantized weight (N, K): its packed codes and its scales."""
    ### BEGIN SOLUTION
    codes = (N * K * num_bits + 7) // 8
    scales = N if group_size is None else N * K // group_size
    return codes + scales * scale_bits // 8
    ### END SOLUTION


# %%
check("01.4", memory_bytes)

# %% [markdown]
# ## 01.5 · A zero point
#
# Some data sits on one side of zero: what SiLU lets through begins at −0.28 and ends wherever it likes. A symmetric grid would
# keep half its codes for numbers that never come. So shift it, by a whole number of steps $z$:
#
# $$s = \frac{\max - \min}{2^B-1}\qquad z = \mathrm{round}\!\left(\frac{-\min}{s}\right)\qquad q = \mathrm{clamp}\big(\mathrm{round}(x/s) + z,\ 0,\ 2^B-1\big)$$
#
# where $\min$ and $\max$ are taken over the row **and 0**, so that real zero always has a code of its own: $z$.
#
# ```text
#   B = 4         code   0     1     2     3     4   ···                15
#                        ├─────┼─────┼─────┼─────┼── ··· ───────────────┤
#   x             min = -0.3         z = 1 is exactly 0.0           max = 4.2     s = 0.3
# ```
#
# | | | |
# |---|---|---|
# | in | `x` | float32, `(M, K)` |
# | | `num_bits` | B, 2 to 8 |
# | out | `codes` | uint8, `(M, K)`, 0 … 2^B − 1 |
# | | `scale` | float32, `(M, 1)`, greater than 0; for a row of zeros any positive scale, and z = 0 |
# | | `zero_point` | uint8, `(M, 1)`: a code like any other; an exact tie, here or in the codes, may go either way |


# %%
def quantize_asymmetric(x, num_bits=8):
    """uint8 codes (M, K), scale (M, 1) and zero point (M, 1) of x (M, K), row by row."""
    ### BEGIN SOLUTION
    top = 2**num_bits - 1
    low = x.amin(dim=1, keepdim=True).clamp(max=0)
    high = x.amax(dim=1, keepdim=True).clamp(min=0)
    scale = (high - low) / top
    scale = torch.where(scale == 0, 1.0, scale)
    zero_point = torch.round(-low / scale)
    codes = (torch.round(x / scale) + zero_point).clamp(0, top)
    return codes.to(torch.uint8), scale, zero_point.to(torch.uint8)
    ### END SOLUTION


# %%
check("01.5", quantize_asymmetric)

# %% [markdown]
# ## 01.6 · How far should the range reach?
#
# With few bits, absmax is a bad bargain: one loud weight makes every step of its row coarse. Give some of it up. Try each
# fraction of absmax as the end of the range, and keep, **for each row**, the scale with the least squared error:
#
# $$s_n = \arg\min_{s}\ \sum_k \big(W_{nk} - \hat W_{nk}(s)\big)^2 \qquad s \in \Big\{ f\cdot\tfrac{\max_k|W_{nk}|}{2^{B-1}-1} \ :\ f \in \text{fractions}\Big\}$$
#
# ```text
#   error
#     │ \                      /        left: the loud weights are cut off
#     │   \                  /          right: everybody else gets a coarse step
#     │      ·  ·    ·  ·
#     └──────────┴──────────────── f
#     0.4       best         1.0
# ```
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)` |
# | | `num_bits` | B; the grid is restricted: codes −(2^(B−1) − 1) … 2^(B−1) − 1 |
# | | `fractions` | a list of numbers, 1.0 first |
# | out | `scale` | float32, `(N, 1)`, greater than 0 (for a row of zeros any positive scale) |


# %%
def mse_scale(W, num_bits, fractions):
    """For each row of W (N, K) the scale, among fractions of absmax, with the least squared error: (N, 1)."""
    ### BEGIN SOLUTION
    limit = 2 ** (num_bits - 1) - 1
    absmax = W.abs().amax(dim=1, keepdim=True)
    absmax = torch.where(absmax == 0, 1.0, absmax)
    best, least = absmax / limit, torch.full_like(absmax, torch.inf)
    for fraction in fractions:
        scale = fraction * absmax / limit
        stored = scale * torch.round(W / scale).clamp(-limit, limit)
        error = (stored - W).square().sum(dim=1, keepdim=True)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best
    ### END SOLUTION


# %%
check("01.6", mse_scale)

# %% [markdown]
# ## Your functions on a trained model
#
# First the weights: the error of every matrix in the shipped model's second layer, quantized by your own hands.

# %%
model = qcourse.load_model()
layer = {name: m for name, m in model.linears().items() if name.startswith("model.layers.1.")}
matrices = {name.split(".")[-1]: m.weight.float() for name, m in layer.items()}
fractions = [1.0 - 0.025 * i for i in range(25)]


def relative_error(W, codes, scale):
    W_hat = dequantize(torch.as_tensor(codes), torch.as_tensor(scale))
    return ((torch.as_tensor(W_hat) - W).norm() / W.norm()).item()


def int4_error(W, scale):
    scale = torch.as_tensor(scale)
    return relative_error(W, torch.round(W / scale).clamp(-7, 7).to(torch.int8), scale)


# %%
def picture():
    curves = {"int8": [], "int4, absmax": [], "int4, your range": []}
    for W in matrices.values():
        curves["int8"].append(relative_error(W, *quantize_per_channel(W)))
        curves["int4, absmax"].append(int4_error(W, mse_scale(W, 4, [1.0])))
        curves["int4, your range"].append(int4_error(W, mse_scale(W, 4, fractions)))
    total = {name: sum(curve) for name, curve in curves.items()}
    worse, back = total["int4, absmax"] / total["int8"], 1 - total["int4, your range"] / total["int4, absmax"]
    title = f"Four bits less: {worse:.0f} times the error, and your range wins {back:.0%} of it back"
    return plots.lines(list(matrices), curves, title, "matrix of layer 1", "relative error of W", logy=True)


when_done(picture)

# %% [markdown]
# Then the proof. Every linear layer of a fresh copy of the model gets the weights that your int8 codes stand for. It is asked
# to continue a line of Python, greedily, beside the original in bf16; and your `memory_bytes` writes the bill.


# %%
def continue_python(some_model, prompt="import os\n\ndef "):
    tokenizer = qcourse.load_tokenizer()
    ids = qcourse.generate(some_model, tokenizer.encode(prompt, bos=True), max_new_tokens=24)
    return tokenizer.decode(ids)


def proof():
    mine, stored, before = qcourse.load_model(), 0, 0
    for m in mine.linears().values():
        stored, before = stored + memory_bytes(*m.weight.shape), before + m.weight.nbytes
        codes, scale = map(torch.as_tensor, quantize_per_channel(m.weight.data))
        m.weight.data.copy_(torch.as_tensor(dequantize(codes, scale)))
    print(f"{before:,} bytes in bf16, {stored:,} in your int8: {before / stored:.3f} times fewer\n")
    print(f"bf16: {continue_python(model)!r}\nyours: {continue_python(mine)!r}")


when_done(proof)

# %% [markdown]
# The two texts are the same, or part company late: int8 weights are a solved problem, and you have just solved it. Four bits are
# not; look at the figure again, and go on: groups make them usable.
#
# Next: notebook 02, in your edition ([my_notebooks](../my_notebooks/02_int4_groups_and_packing.ipynb)) or to read ([notebooks](../notebooks/02_int4_groups_and_packing.ipynb)).
