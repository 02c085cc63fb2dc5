# %% [markdown]
# # Lab 06 · GPTQ: how to round with hindsight
#
# **What you build.** Rounding to nearest treats every weight as if it were alone. GPTQ rounds one column after the other, and lets
# the columns that are not rounded yet make up for the error, as far as the inputs of the layer allow. Six functions: what the
# inputs say, what rounding costs, one step, the factor that makes it cheap, all columns, and the same in blocks. At the end your
# own GPTQ rounds the model that ships with the course, beside round-to-nearest on the same scales.
#
# About 60 minutes, after notebook 06 ([yours](../my_notebooks/06_gptq.ipynb), [to read](../notebooks/06_gptq.ipynb)). Letters: `x (M, K)` the inputs of a layer, one token a row; `W (N, K)` its weights;
# groups of G columns share a scale. GPTQ: Frantar et al. 2022. Its step is that of Optimal Brain Surgeon (Hassibi and Stork 1993).

# %%
import numpy as np
import torch

import qcourse
from qcourse.methods.calibration import calibrate
from qcourse.models.loader import SHIPPED
from qcourse.study import plots
from qcourse import check, hint, solution, when_done
from qcourse.study.perplexity import paired_difference, perplexity, windows

# %% [markdown]
# `check("06.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("06.1")` nudges, `hint("06.1", 2)` and `hint("06.1", 3)` say more;
# `solution("06.1")` shows ours, for afterwards.
#
# **What you need from torch or NumPy.** `torch.linalg.cholesky(A)` gives the lower triangular L with $L L^\top = A$.
# `torch.outer(a, b)` is $a_i b_j$. `A.flip(0, 1)` reads rows and columns from the last to the first. `A.diagonal()` is a view,
# `torch.diag(v)` makes a matrix of a vector. `float32` is good enough everywhere; `float64` is welcome. No function may change
# what it was given: `clone` first.

# %% [markdown]
# ## 06.1 · What the inputs have in common
#
# All that GPTQ wants to know of the text is one matrix, the mean of $x_j x_k$ over the tokens. (It is called a Hessian, because
# the second derivative of the output error is twice that.)
#
# $$H = \frac{x^\top x}{M} \;+\; \text{damp} \cdot m \cdot I \qquad\qquad m = \text{the mean of the diagonal of } \frac{x^\top x}{M}$$
#
# Damping makes H invertible when two channels always agree, or when there are fewer tokens than channels. A channel that is 0 in
# every token is **dead**: its row, its column and its diagonal are 0. It is left out of the mean, and its diagonal gets $m$, then
# damping like the others.
#
# ```text
#     x (3 tokens, 4 channels)             xᵀx / 3                           H, damp = 0.01     m = 1.382
#
#      1.0   0.9   0.0   0            2.000  2.067  0.067  0            2.014  2.067  0.067  0
#      2.0   2.1   0.1   0     →      2.067  2.143  0.070  0     →      2.067  2.157  0.070  0
#     −1.0  −1.1   0.0   0            0.067  0.070  0.003  0            0.067  0.070  0.017  0
#                                     0      0      0      0            0      0      0      1.396
#     channels 0 and 1 say the same, 2 is nearly silent, 3 is dead
# ```
#
# | | | |
# |---|---|---|
# | in | `x` | float32, `(M, K)`, M tokens; at least one channel is alive |
# | | `damp` | a share, 0 or more |
# | out | `H` | float32 (or 64), `(K, K)`, a mean over tokens: the same text twice gives the same H |
# | a dead channel | | its diagonal may be **any positive number**: nobody repairs for it, and it repairs for nobody |


# %%
def hessian(x, damp=0.01):
    """H (K, K): xᵀx / M, plus damp times the mean diagonal of the living channels; dead ones get that mean, too."""
    ### BEGIN SOLUTION
    H = x.T @ x / len(x)
    dead = H.diagonal() == 0
    mean = H.diagonal()[~dead].mean()
    return H + torch.diag(mean * (damp + dead.to(H.dtype)))
    ### END SOLUTION


# %%
check("06.1", hessian)

# %% [markdown]
# ## 06.2 · What rounding costs
#
# Nobody looks at weights. The layer's output is $y_n = x \cdot w_n$, so what the rounding of a row costs is the mean of
# $(x \cdot (w - \hat w))^2$ over the tokens. H is all it takes:
#
# $$\text{error}_n = (w_n - \hat w_n)\, H\, (w_n - \hat w_n)^\top = \sum_j \sum_k e_j\, H_{jk}\, e_k \qquad e = w_n - \hat w_n$$
#
# ```text
#     two channels that say nearly the same        H =  1.0  0.9
#                                                       0.9  1.0
#     e = (0.1,  0.1)    0.01 + 0.01 + 2 · 0.009  =  0.038
#     e = (0.1, −0.1)    0.01 + 0.01 − 2 · 0.009  =  0.002      the same error of the weights, a nineteenth at the output
# ```
#
# | | | |
# |---|---|---|
# | in | `W`, `W_hat` | float32, `(N, K)`: the weights, and what their codes stand for |
# | | `H` | float32, `(K, K)`, as of 06.1: symmetric |
# | out | `error` | float32 (or 64), `(N,)`, one number a row: no row's output knows of another |


# %%
def output_error(W, W_hat, H):
    """(N,): (w - ŵ) H (w - ŵ)ᵀ of each row."""
    ### BEGIN SOLUTION
    e = W - W_hat
    return (e @ H * e).sum(dim=1)
    ### END SOLUTION


# %%
check("06.2", output_error)

# %% [markdown]
# ## 06.3 · One column, and its repair
#
# Columns 0 … j − 1 are rounded. Now comes column j, in every row at once. Its error is made, and the columns behind it move so
# that the output error becomes as small as it can. The answer has a closed form:
#
# $$q = \mathrm{clamp}\big(\mathrm{round}(w_j / s),\, -\text{limit},\, \text{limit}\big) \qquad \hat w_j = q\,s \qquad
# w_k \leftarrow w_k - \frac{w_j - \hat w_j}{[H^{-1}]_{jj}}\,[H^{-1}]_{jk} \quad (k > j)$$
#
# $H^{-1}$ is the inverse over the columns that are left, j … K − 1.
#
# ```text
#     H =  1.0  0.9      H⁻¹ =   5.26  −4.74        w = (0.34, 0.20), s = 0.1, j = 0
#          0.9  1.0             −4.74   5.26
#                                                   q = 3, ŵ₀ = 0.30, w₀ − ŵ₀ = 0.04
#     w₁ = 0.20 − 0.04 / 5.26 · (−4.74) = 0.236     it takes over nine tenths of what was lost
#
#     output error:  0.04² · 1 = 0.0016  without the repair, and 0.0003 with it
# ```
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)`; columns left of j hold their ŵ already |
# | | `H_inv` | float32, `(K, K)`, symmetric; what stands in it left of j or above j means nothing |
# | | `j`, `limit` | the column; codes are −limit … limit: 7 for 4 bits, 3 for 3 bits |
# | | `scale` | float32, `(N,)`: each row's scale for column j, greater than 0 |
# | out | `codes` | int8, `(N,)`: of column j, the nearest |
# | | `W` | float32 (or 64), `(N, K)`: column j is now $\hat w_j$, those behind it are repaired, those before it as they were |


# %%
def round_and_repair(W, H_inv, j, scale, limit=7):
    """(int8 codes (N,) of column j, W (N, K) after its rounding and its repair)."""
    ### BEGIN SOLUTION
    W = W.clone()
    codes = torch.round(W[:, j] / scale).clamp(-limit, limit)
    e = (W[:, j] - codes * scale) / H_inv[j, j]
    W[:, j + 1 :] -= torch.outer(e, H_inv[j, j + 1 :])
    W[:, j] = codes * scale
    return codes.to(torch.int8), W
    ### END SOLUTION


# %%
check("06.3", round_and_repair)

# %% [markdown]
# ## 06.4 · All the inverses at once
#
# After each column H loses a row and a column, and its inverse is another one: K inverses of up to K × K numbers. But the step
# reads only *one row* of each. GPTQ's find is that all these rows stand in one matrix, a Cholesky factor of the first inverse:
#
# $$U^\top U = H^{-1}, \quad U \text{ upper triangular} \qquad\qquad U_{jk} = \frac{[H_{(j)}^{-1}]_{jk}}{\sqrt{[H_{(j)}^{-1}]_{jj}}}
# \qquad H_{(j)} = H \text{ from } j \text{ on}$$
#
# ```text
#     H₍₀₎⁻¹            H₍₁₎⁻¹           H₍₂₎⁻¹                  U
#     ■ ■ ■ ■                                                    ■ ■ ■ ■     row 0 of the first,  over its root
#     · · · ·           ■ ■ ■                                      ■ ■ ■     row 0 of the second, over its root
#     · · · ·           · · ·            ■ ■                         ■ ■     …
#     · · · ·           · · ·            · ·       …                   ■
# ```
#
# | | | |
# |---|---|---|
# | in | `H` | float32, `(K, K)`, symmetric, positive definite (damped already) |
# | out | `U` | float32 (or 64), `(K, K)`, zeros below the diagonal, $U^\top U = H^{-1}$; a row may have either sign |


# %%
def inverse_factor(H):
    """U (K, K), upper triangular, with Uᵀ U = H⁻¹."""
    ### BEGIN SOLUTION
    V = torch.linalg.cholesky(H.flip(0, 1)).flip(0, 1)  # upper triangular, V Vᵀ = H
    return torch.linalg.solve_triangular(V, torch.eye(len(H), dtype=H.dtype), upper=True)  # U = V⁻¹
    ### END SOLUTION


# %%
check("06.4", inverse_factor)

# %% [markdown]
# ## 06.5 · Column by column
#
# Put the two together. With row j of U in place of that of the inverse, the root cancels, and the step becomes
#
# $$e = \frac{w_j - \hat w_j}{U_{jj}} \qquad\qquad w_k \leftarrow w_k - e\, U_{jk} \quad (k > j)$$
#
# ```text
#     W     j = 0   ▣ → → → → → → →        ▣ is rounded, → is repaired
#           j = 1   █ ▣ → → → → → →        █ has its code: nothing touches it again
#           j = 2   █ █ ▣ → → → → →
#                   └───────┘└──────┘
#                   scale 0    scale 1      here G = 4
# ```
#
# The scales are given, and stay: a repair may push a weight beyond the end of its grid. Then it is clipped, and the error is large.
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)` |
# | | `H` | float32, `(K, K)`, as of 06.1, damped already |
# | | `scale` | float32, `(N, K/G)`, greater than 0: column j has the scale of group ⌊j/G⌋; G = K divided by its columns |
# | | `limit` | codes are −limit … limit |
# | out | `codes` | int8, `(N, K)` |


# %%
def gptq(W, H, scale, limit=7):
    """int8 codes (N, K): every column rounded after the repairs of all columns before it."""
    ### BEGIN SOLUTION
    W, U = W.clone(), inverse_factor(H)
    G = W.shape[1] // scale.shape[1]
    codes = torch.zeros(W.shape, dtype=torch.int8)
    for j in range(W.shape[1]):
        s = scale[:, j // G]
        codes[:, j] = torch.round(W[:, j] / s).clamp(-limit, limit)
        e = (W[:, j] - codes[:, j] * s) / U[j, j]
        W[:, j + 1 :] -= torch.outer(e, U[j, j + 1 :])
    return codes
    ### END SOLUTION


# %%
check("06.5", gptq)

# %% [markdown]
# ## 06.6 · Lazily, in blocks
#
# 06.5 reads and writes all of W for every column, to do next to nothing with it. But column j needs the repairs of those before it
# only when its turn comes. So inside a block of columns the block alone is repaired at once; the errors are kept, and what lies
# beyond the block is repaired by *one* matrix product when the block is done:
#
# $$W_{:,\,\text{end}:} \leftarrow W_{:,\,\text{end}:} - E \; U_{\text{start}:\text{end},\;\text{end}:} \qquad\qquad
# E = \text{the block's errors } e, \; (N, \text{end} - \text{start})$$
#
# ```text
#     block 0   ▣ → → │ · · · │ · ·         · waits
#               █ ▣ → │ · · · │ · ·
#               █ █ ▣ │ · · · │ · ·
#               █ █ █ │ ← E · U[0:3, 3:]    one product
#     block 1   █ █ █ │ ▣ → → │ · ·         the last block is as long as what is left
# ```
#
# | | | |
# |---|---|---|
# | in | `W`, `H`, `scale`, `limit` | as in 06.5 |
# | | `block` | columns a block, at least 1; it need not divide K, and may be larger; it has nothing to do with G |
# | out | `codes` | int8, `(N, K)`: those of 06.5 |
#
# An honest word: the codes are the same whether the work is put off or not, and codes are all that the check sees. Whether you are
# lazy, only you know.


# %%
def gptq_blocks(W, H, scale, block, limit=7):
    """int8 codes (N, K) of gptq; what lies beyond a block is repaired once a block."""
    ### BEGIN SOLUTION
    W, U = W.clone(), inverse_factor(H)
    (N, K), G = W.shape, W.shape[1] // scale.shape[1]
    codes = torch.zeros(N, K, dtype=torch.int8)
    for start in range(0, K, block):
        end = min(start + block, K)
        errors = torch.zeros(N, end - start, dtype=W.dtype)
        for j in range(start, end):
            s = scale[:, j // G]
            codes[:, j] = torch.round(W[:, j] / s).clamp(-limit, limit)
            errors[:, j - start] = e = (W[:, j] - codes[:, j] * s) / U[j, j]
            W[:, j + 1 : end] -= torch.outer(e, U[j, j + 1 : end])
        W[:, end:] -= errors @ U[start:end, end:]
    return codes
    ### END SOLUTION


# %%
check("06.6", gptq_blocks)

# %% [markdown]
# ## Your GPTQ on a trained model
#
# `calibrate` lets text stream through the model and adds up $X^\top X$ of every layer's input, so no token has to be kept. Your
# `hessian` wants tokens. But it sees of them only their $x^\top x / M$, so K made-up tokens that have the same one serve as well as
# all real ones: the rows of a Cholesky factor of $X^\top X$, made larger by $\sqrt{K/M}$.

# %%
model = qcourse.load_model()
calibration = windows(SHIPPED, 16, 256, "calibration").ids
seen = calibrate(model, calibration, hessian=True)


def tokens_like(stats):
    """K made-up tokens (K, K) with the mean xᵀx of all those that `stats` has seen."""
    return torch.linalg.cholesky(stats.hessian.double()).T.mul((stats.K / stats.tokens) ** 0.5).float()


def scales(W, limit, G=64):
    """absmax / limit of each group of G columns: (N, K/G)."""
    absmax = W.view(len(W), -1, G).abs().amax(-1)
    return torch.where(absmax == 0, 1.0, absmax / limit)


def rounded(W, x, limit):
    """Ŵ of round-to-nearest, and Ŵ of your GPTQ for inputs x, on the same scales."""
    scale = scales(W, limit)
    wide = scale.repeat_interleave(W.shape[1] // scale.shape[1], dim=1)
    nearest = torch.round(W / wide).clamp(-limit, limit)
    yours = torch.as_tensor(gptq_blocks(W, torch.as_tensor(hessian(x)).float(), scale, 128, limit))
    return nearest * wide, yours * wide


# %% [markdown]
# First the price that GPTQ looks at, in one layer, 3 bits: the output error of your codes over that of round-to-nearest. Once for
# the layer's own inputs, once for inputs that have nothing in common: as many tokens of noise. And each on the tokens that GPTQ
# has seen, and on others. Which of the four numbers do you expect below 1?

# %%
LAYER = "model.layers.1.mlp.gate_proj"
held_out = calibrate(model, windows(SHIPPED, 16, 256).ids, hessian=True)  # to measure on, nothing else


def shares():
    """Output error of GPTQ over that of round-to-nearest: own inputs and noise, seen and held out."""
    W, tokens = model.linears()[LAYER].weight.data.float(), seen[LAYER].tokens
    noise = torch.randn(2, tokens, W.shape[1], generator=torch.Generator().manual_seed(0))
    own = tokens_like(seen[LAYER]), tokens_like(held_out[LAYER])
    found = []
    for x, other in (own, noise):
        nearest, yours = rounded(W, x, 3)
        for H in (torch.as_tensor(hessian(t, 0.0)).float() for t in (x, other)):
            found.append(float(sum(output_error(W, yours, H)) / sum(output_error(W, nearest, H))))
    return found


def where_it_helps():
    found = shares()
    labels = ["own inputs, seen", "own inputs, held out", "noise, seen", "noise, held out"]
    title = f"Held out, GPTQ leaves {found[1]:.0%} of the error on the layer's own inputs, and {found[3]:.0%} on noise"
    colors = [plots.BLUE, plots.BLUE, plots.ORANGE, plots.ORANGE]
    return plots.bars(labels, found, title, "output error, as a share of round-to-nearest's", colors=colors)


when_done(where_it_helps)

# %% [markdown]
# On noise H is nearly a multiple of I, and no column can stand in for another. What GPTQ still finds there is chance: it gains on the
# tokens it has seen, and loses as much on others. So a comparison counts only on text that was not calibrated on, and a lesson on
# GPTQ with random inputs shows nothing.
#
# Now all layers, and what the model says: held-out Python, beside bf16 on the same windows, at 4 bits and at 3.

# %%
text = windows(SHIPPED, n=16, seq_len=256)
added, apart = {}, {}


def measure(bits):
    """What both ways of rounding add, in bits a byte, with the paired standard error, and how far they are apart."""
    limit, base = 2 ** (bits - 1) - 1, perplexity(model, text)
    models = {"nearest": qcourse.load_model(), "GPTQ": qcourse.load_model()}
    for name, linear in model.linears().items():
        both = rounded(linear.weight.data.float(), tokens_like(seen[name]), limit)
        for m, W_hat in zip(models.values(), both, strict=True):
            m.linears()[name].weight.data.copy_(W_hat)
    scores = {way: perplexity(m, text) for way, m in models.items()}
    added.update({f"{bits} bits, {way}": paired_difference(base, s) for way, s in scores.items()})
    apart[bits] = paired_difference(*scores.values())
    print(f"{bits} bits: GPTQ − nearest = {apart[bits]}")


def proof():
    for bits in (4, 3):
        measure(bits)
    cost = [d.mean for d in added.values()]
    z = {bits: abs(d.z) for bits, d in apart.items()}
    title = f"At 3 bits GPTQ adds {cost[3]:.3f}, not {cost[2]:.3f} bits/byte (z = {z[3]:.1f}); at 4 bits z = {z[4]:.1f}"
    colors = [plots.GREY, plots.BLUE] * 2
    xlabel = "added bits/byte (± paired standard error)"
    return plots.bars(list(added), cost, title, xlabel, [d.stderr for d in added.values()], colors)


when_done(proof)

# %% [markdown]
# The file is as large, the kernel the same, and no label or gradient was needed: only a few thousand tokens of text. The printed
# lines compare the two on the same windows, and z is their difference in standard errors: below 2 it is no gain yet, and 16 windows are few. (Every layer was
# calibrated on the inputs of the 16-bit model. GPTQ's own program takes those that the layers before it leave after rounding.)
#
# **Think about it.** Multiply H by 100: which codes change? And what would `measure(2)` say, where the grid is −1, 0 and 1?
# (Try both.)
#
# Next: notebook 07, in your edition ([my_notebooks](../my_notebooks/07_awq_and_hqq.ipynb)) or to read ([notebooks](../notebooks/07_awq_and_hqq.ipynb)).
