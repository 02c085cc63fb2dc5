# %% [markdown]
# # Lab 05 · Floats of 8 and 4 bits
#
# **What you build.** FP8 from its bits, both ways. Then the three 4-bit formats that are not integers: MXFP4, whose scales are
# powers of two, NVFP4, whose scales are FP8 numbers, and NF4, which is a list of 16 values. At the end your own codes run the
# model that ships with the course, beside int4 of as many bits.
#
# About 60 minutes, after notebook 05 ([yours](../my_notebooks/05_float_formats.ipynb), [to read](../notebooks/05_float_formats.ipynb)). Letters: `W (N, K)` a weight, blocks along K share a scale.

# %%
import math

import numpy as np
import torch

import qcourse
from qcourse.models.loader import SHIPPED
from qcourse.numerics import codebooks
from qcourse.study import plots
from qcourse import check, hint, solution, when_done
from qcourse.study.perplexity import paired_difference, perplexity, windows

# %% [markdown]
# `check("05.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("05.1")` nudges, `hint("05.1", 2)` and `hint("05.1", 3)` say more;
# `solution("05.1")` shows ours, for afterwards.
#
# **What you need from torch or NumPy.** `frexp` takes a number apart, exactly: $x = m \cdot 2^{e}$ with $\tfrac12 \le |m| < 1$
# (so $e$ is one more than the exponent of $1.\ldots$). `ldexp(x, n)` is $x \cdot 2^n$, exactly. `round` sends a tie to the even
# neighbour. `signbit` sees the sign of −0. Whoever likes bits better finds the same inside
# `x.view(torch.int32)`: 1 bit of sign, 8 of exponent (bias 127), 23 of mantissa.

# %% [markdown]
# ## 05.1 · FP8, written
#
# E4M3 has 4 bits of exponent E (bias 7) and 3 of mantissa M. It spends no codes on infinity: its top exponent holds numbers, up
# to 448, and only the last code is NaN. What is too large **saturates**.
#
# $$x = (-1)^S \cdot \begin{cases} 2^{E-7} \cdot (1 + M/8) & E > 0 \\ 2^{-6} \cdot M/8 & E = 0 \quad\text{(subnormal)} \end{cases}$$
#
# ```text
#   bit    7 │ 6 5 4 3 │ 2 1 0
#          S │    E    │   M           1.0 = 0 0111 000 = 0x38      0x7E = 448      0x7F = NaN
#
#   2⁻⁶ = E 1, M 0              one step of M         the codes of all positive numbers, in order, are
#   0 ├┴┴┴┴┴┴┴┼┴┴┴┴┴┴┴┼─┴─┴─┴─┴─┴─┴─┴─┼───┴──         0, 1, 2 … 126: a carry out of M belongs into E
#     subnormal  E = 1       E = 2
#     step 2⁻⁹   2⁻⁹         2⁻⁸
# ```
#
# | | | |
# |---|---|---|
# | in | `x` | float32, any shape |
# | out | codes | uint8, the shape of `x`: the bits of the **nearest** number; an exact tie goes to the **even** code |
# | beyond 448 | | also ±inf: ±448, codes `0x7E` and `0xFE` |
# | −0, and what rounds to it | | keeps its sign: `0x80` |
# | NaN | | `0x7F` (or `0xFF`) |


# %%
def encode_e4m3(x):
    """uint8 bit patterns of the E4M3 numbers nearest to float32 x; ties to even, saturating at ±448."""
    ### BEGIN SOLUTION
    magnitude = x.abs().clamp(max=448)
    exponent = torch.frexp(magnitude.clamp(min=2**-6)).exponent - 1  # below 2^-6 the steps stay those of 2^-6
    steps = torch.ldexp(magnitude, 3 - exponent).round()  # 8 … 16 of them; 16 carries into the next exponent
    codes = 8 * (exponent + 6) + steps
    codes = torch.where(x.isnan(), 0x7F, codes) + 0x80 * x.signbit()
    return codes.to(torch.uint8)
    ### END SOLUTION


# %%
check("05.1", encode_e4m3)

# %% [markdown]
# ## 05.2 · And read
#
# The way back needs no rounding, only the three fields, and care with a byte: it has no negative numbers.
#
# ```text
#   0x38   0 0111 000   E = 7    2^(7−7)  · (1 + 0/8)  =  1
#   0xC5   1 1000 101   E = 8   −2^(8−7)  · (1 + 5/8)  = −3.25
#   0x05   0 0000 101   E = 0    2^−6     ·      5/8   =  0.009765625
#   0x7E   0 1111 110   E = 15   2^(15−7) · (1 + 6/8)  =  448
#   0x7F   0 1111 111                                     NaN
# ```
#
# | | | |
# |---|---|---|
# | in | `codes` | uint8, any shape |
# | out | values | float32, the same shape; NaN for `0x7F` and `0xFF` |


# %%
def decode_e4m3(codes):
    """The float32 values of E4M3 bit patterns."""
    ### BEGIN SOLUTION
    codes = codes.int()
    E, M = codes >> 3 & 15, codes & 7
    values = torch.ldexp((M + 8 * (E > 0)).float(), E.clamp(min=1) - 10)  # 2^(E-7) · M/8
    values = torch.where(codes & 0x7F == 0x7F, torch.nan, values)
    return torch.where(codes >= 0x80, -values, values)
    ### END SOLUTION


# %%
check("05.2", decode_e4m3)

# %% [markdown]
# ## 05.3 · A scale that is an exponent
#
# The MX formats (OCP Microscaling) share one scale among 32 neighbours along K, and that scale is a power of two: 8 bits of
# exponent, no mantissa, no sign: E8M0. Its rule looks at the loudest weight of the block, and at the largest exponent of the
# 4-bit numbers that follow: the top of E2M1 is $6 = 1.5 \cdot 2^{\mathbf 2}$.
#
# $$\text{exponent} = \lfloor \log_2 \max|w| \rfloor - 2 \qquad\qquad \text{code} = \text{exponent} + 127, \text{ within } 0 \ldots 254$$
#
# ```text
#   loudest      ⌊log₂⌋    − 2     scale     loudest / scale: always in [4, 8)
#     0.11         −4       −6     2⁻⁶              7.04         above 6: it will saturate, that is the price
#     0.0625       −4       −6     2⁻⁶              4            exactly a power of two
#     0.06249999   −5       −7     2⁻⁷              7.999999     a hair below it: is your logarithm good enough?
# ```
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)`; if 32 does not divide K, raise `ValueError` and name both |
# | out | codes | uint8, `(N, K/32)`, 0 … 254 (255 would be NaN) |
# | exact | | for every float32 from 2⁻¹²⁶ on, however small: a power of two is one, the float below it is not |
# | a block of zeros | | any code 0 … 254 |


# %%
def e8m0_scale(W):
    """uint8 (N, K/32): the shared exponent of each block of 32 along K, as MXFP4 stores it."""
    ### BEGIN SOLUTION
    N, K = W.shape
    if K % 32:
        raise ValueError(f"K={K} is no multiple of a block of 32")
    absmax = W.abs().reshape(N, K // 32, 32).amax(dim=-1)
    floor_log2 = torch.frexp(absmax).exponent - 1
    return (floor_log2 - 2 + 127).clamp(0, 254).to(torch.uint8)
    ### END SOLUTION


# %%
check("05.3", e8m0_scale)

# %% [markdown]
# ## 05.4 · MXFP4
#
# The numbers themselves have 4 bits, E2M1: one of sign, 2 of exponent (bias 1), one of mantissa. Eight magnitudes:
#
# ```text
#   bits       000   001   010   011   100   101   110   111
#   value       0    0.5    1    1.5    2     3     4     6        the bit above them is the sign: −1.5 = 1011 = 11
#
#   0 ─┬─┬─┬─┬───┬───┬───────┐
#      0.5 1 1.5 2   3   4       6      dense near zero, coarse far out: the steps are 0.5, 1 and 2
# ```
#
# $$q = \text{nearest E2M1 of } \frac{w}{2^{\,\text{code} - 127}} \qquad \text{an exact tie to the even code, beyond 6 it is 6}$$
#
# It is E4M3 with other numbers: your lines of 05.1 will do. Call your `e8m0_scale`, too.
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)`, K a multiple of 32 |
# | out | `codes` | uint8, `(N, K)`, 0 … 15: E2M1's bits, not packed (0 and 8 are both zero: either will do) |
# | | `scale` | uint8, `(N, K/32)`, as in 05.3 |


# %%
def quantize_mxfp4(W):
    """MXFP4: uint8 E2M1 codes (N, K) and uint8 E8M0 scales (N, K/32)."""
    ### BEGIN SOLUTION
    scale = e8m0_scale(W)
    x = torch.ldexp(W, 127 - scale.int().repeat_interleave(32, dim=1))  # W / 2^(code - 127)
    magnitude = x.abs().clamp(max=6)
    exponent = torch.frexp(magnitude.clamp(min=1)).exponent - 1
    codes = 2 * exponent + torch.ldexp(magnitude, 1 - exponent).round() + 8 * x.signbit()
    return codes.to(torch.uint8), scale
    ### END SOLUTION


# %%
check("05.4", quantize_mxfp4)

# %% [markdown]
# ## 05.5 · NVFP4
#
# A power of two may be wrong by almost a factor of two. NVFP4 spends the same 8 bits on an E4M3 number, and only 16 weights
# share it. But E4M3 ends at 448 and is coarse below 2⁻⁶, so one float32 a matrix lifts all its scales into the good range:
#
# $$s_2 = \frac{\max|W|}{6 \cdot 448} \qquad c = \mathrm{E4M3}\Big(\frac{\max_{\text{block}}|w|}{6\,s_2}\Big) \qquad
# q = \mathrm{E2M1}\Big(\frac{w}{\hat c\,s_2}\Big) \qquad \hat w = \hat q \cdot \hat c \cdot s_2$$
#
# with $\hat c$ and $\hat q$ the values that the codes stand for. The loudest block of all gets $\hat c = 448$.
#
# ```text
#   W (N, K)     [ 16 weights │ 16 weights │ … ]        codes (N, K)       E2M1
#                     c             c                   scale (N, K/16)    E4M3, as bits
#                     └────── s₂ ───┘                   global_scale       one float32, it multiplies on the way back
# ```
#
# Two traps. The codes must fit the scale that is *stored*, not the one you wished for. And a block may be so quiet that its
# scale is stored as 0.
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)`, K a multiple of 16; not all zeros |
# | out | `codes` | uint8, `(N, K)`, 0 … 15; all zero (0 or 8) in a block whose scale is stored as 0 |
# | | `scale` | uint8, `(N, K/16)`: E4M3's bits, the nearest; only in a block of zeros, any |
# | | `global_scale` | $s_2$: a number, or a tensor of shape `()`. (ModelOpt stores this one, compressed-tensors its reciprocal) |


# %%
def quantize_nvfp4(W):
    """NVFP4: uint8 E2M1 codes (N, K), uint8 E4M3 scales (N, K/16), one float32 global scale that multiplies."""
    ### BEGIN SOLUTION
    N, K = W.shape
    blocks = W.reshape(N, K // 16, 16)
    absmax = blocks.abs().amax(dim=-1)
    global_scale = absmax.max() / (6 * 448)
    scale = encode_e4m3(absmax / 6 / global_scale)
    step = (decode_e4m3(scale) * global_scale).unsqueeze(-1)
    x = torch.where(step == 0, 0, blocks / step)
    magnitude = x.abs().clamp(max=6)
    exponent = torch.frexp(magnitude.clamp(min=1)).exponent - 1
    codes = 2 * exponent + torch.ldexp(magnitude, 1 - exponent).round() + 8 * x.signbit()
    return codes.to(torch.uint8).reshape(N, K), scale, global_scale
    ### END SOLUTION


# %%
check("05.5", quantize_nvfp4)

# %% [markdown]
# ## 05.6 · NF4: a list
#
# A grid need not follow any rule at all. QLoRA's NF4 is 16 values, quantiles of a normal distribution: weights look normal, so
# each value gets used about equally often. The code is a *place in the list*.
#
# $$s = \max_{\text{block of } 64} |w| \qquad q = \arg\min_i \left| \frac{w}{s} - v_i \right|$$
#
# ```text
#   place     0      1      2  …   7     8  …   14     15
#   value    −1   −0.70  −0.53     0   0.08     0.72    1         the border between two places lies in their middle
#
#   −1 ├────────┼─────┼────┼───┼──┼──┼──┼──┼──┼──┼───┼───┼────┼─────┼────────┤ 1
# ```
#
# The list comes in **any order** (the FP4 table of bitsandbytes is not sorted), contains 0, and its loudest value is ±1.
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)`, K a multiple of 64 |
# | | `codebook` | float32, `(16,)` |
# | out | `codes` | uint8, `(N, K)`: places 0 … 15 |
# | | `scale` | float32, `(N, K/64)`, greater than 0; a block of zeros has any positive scale, and the place of 0 |


# %%
def quantize_nf4(W, codebook):
    """uint8 places (N, K) in a codebook of 16, and the absmax (N, K/64) of each block of 64."""
    ### BEGIN SOLUTION
    N, K = W.shape
    blocks = W.reshape(N, K // 64, 64)
    scale = blocks.abs().amax(dim=-1, keepdim=True)
    scale = torch.where(scale == 0, 1.0, scale)
    distance = ((blocks / scale).unsqueeze(-1) - codebook).abs()  # (N, K/64, 64, 16)
    return distance.argmin(dim=-1).to(torch.uint8).reshape(N, K), scale.squeeze(-1)
    ### END SOLUTION


# %%
check("05.6", quantize_nf4)

# %% [markdown]
# ## Your formats on a trained model
#
# First the way back, which is short: a value, times a scale or two. Beside your formats stands int4 of lab 02 with as many bits
# a weight, scales included: NVFP4 takes 4 + 8/16, NF4 4 + 32/64, int4 in groups of 32 takes 4 + 16/32: 4.5 each. MXFP4 takes
# 4 + 8/32, int4 in groups of 64 takes 4 + 16/64: 4.25 each.

# %%
E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
NF4 = torch.tensor(codebooks.NF4.values)


def spread(scale, W):
    """A scale a block (N, K/G) → one beside every weight (N, K)."""
    return torch.as_tensor(scale).repeat_interleave(W.shape[1] // scale.shape[1], dim=1)


def mxfp4(W):
    codes, scale = quantize_mxfp4(W)
    return torch.cat((E2M1, -E2M1))[torch.as_tensor(codes).int()] * torch.exp2(spread(scale, W).float() - 127)


def nvfp4(W):
    codes, scale, global_scale = quantize_nvfp4(W)
    scale = torch.as_tensor(decode_e4m3(torch.as_tensor(scale)))
    return torch.cat((E2M1, -E2M1))[torch.as_tensor(codes).int()] * spread(scale, W) * float(global_scale)


def nf4(W):
    codes, scale = quantize_nf4(W, NF4)
    return NF4[torch.as_tensor(codes).int()] * spread(scale, W)


def int4(W, group_size):
    scale = W.view(len(W), -1, group_size).abs().amax(-1) / 7.5
    wide = spread(torch.where(scale == 0, 1.0, scale), W)
    return torch.round(W / wide).clamp(-8, 7) * spread(scale.half().float(), W)


formats = {
    "NVFP4, 4.5 bits": nvfp4,
    "NF4, 4.5 bits": nf4,
    "int4 G = 32, 4.5 bits": lambda W: int4(W, 32),
    "MXFP4, 4.25 bits": mxfp4,
    "int4 G = 64, 4.25 bits": lambda W: int4(W, 64),
}

# %% [markdown]
# Which is the best? Take a guess before you run the next cell; it measures the error of the weights, all linear layers together.

# %%
model = qcourse.load_model()
linears = [m.weight.data.float() for m in model.linears().values()]


def weights():
    whole = sum(W.square().sum() for W in linears)
    for name, quantized in formats.items():
        lost = sum((quantized(W) - W).square().sum() for W in linears)
        print(f"{name:24s} relative error {(lost / whole).sqrt():.1%}")


when_done(weights)

# %% [markdown]
# And what the model says to it: every linear layer through your codes, on Python that it has never seen, beside bf16 on the same
# windows.

# %%
text = windows(SHIPPED, n=16, seq_len=256)
added = {}


def measure(name):
    """What a format adds, in bits a byte, with the paired standard error."""
    mine = qcourse.load_model()
    for m in mine.linears().values():
        m.weight.data.copy_(formats[name](m.weight.data.float()))
    added[name] = paired_difference(perplexity(model, text), perplexity(mine, text))
    print(f"{name:24s} adds {added[name]}")


def proof():
    for name in formats:
        measure(name)
    cost = [d.mean for d in added.values()]
    finer, coarser = cost[:3], cost[3:]
    apart = max(max(same) - min(same) for same in (finer, coarser))
    quarter = sum(coarser) / 2 - sum(finer) / 3
    title = f"Formats of equal bits: at most {apart:.4f} bits/byte apart; a quarter of a bit less: {quarter:.4f} more"
    xlabel = "added bits/byte (± paired standard error)"
    return plots.bars(list(added), cost, title, xlabel, [d.stderr for d in added.values()])


when_done(proof)

# %% [markdown]
# Compare the bars with their error bars before you call one of them the winner. At equal bits the 4-bit floats are no miracle: in
# weights alone, a finer group is worth as much as a cleverer grid, and a scale that is only a power of two costs something. What
# E2M1 is built for is hardware: some GPUs multiply it by itself, both sides in 4 bits, and take the scales of both along. A list
# like NF4's has to be looked up first.
#
# **Think about it.** MXFP4's loudest weight may be 7.9 steps and becomes 6. Raise every scale code by one, so that nothing
# saturates any more: does the error of the weights fall or rise? (Change 05.4, run the cells above again, change it back.)
#
# Next: notebook 06, in your edition ([my_notebooks](../my_notebooks/06_gptq.ipynb)) or to read ([notebooks](../notebooks/06_gptq.ipynb)).
