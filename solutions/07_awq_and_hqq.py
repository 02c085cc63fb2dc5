# %% [markdown]
# # Lab 07 · Which weights matter
#
# **What you build.** Two ways to round better than to the nearest code. AWQ asks the *activations* which columns of W matter, and
# rounds those more finely. HQQ asks nobody: it moves the zero points until most errors are small and a few may be large. At the
# end both run the model that ships with the course, beside plain rounding.
#
# About 60 minutes, after notebook 07 ([yours](../my_notebooks/07_awq_and_hqq.ipynb), [to read](../notebooks/07_awq_and_hqq.ipynb)) and lab 02. Letters: `x (M, K)` an input, `W (N, K)` a weight, `y = x @ W.T`; groups of G weights along K share a scale.

# %%
import math

import numpy as np
import torch

import qcourse
from qcourse import check, hint, solution, when_done
from qcourse.methods.calibration import calibrate
from qcourse.methods.folding import widen
from qcourse.models.loader import SHIPPED
from qcourse.study import plots
from qcourse.study.perplexity import paired_difference, perplexity, windows
from qcourse.study.picture import Table

# %% [markdown]
# `check("07.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("07.1")` nudges, `hint("07.1", 2)` and `hint("07.1", 3)` say more; `solution("07.1")` shows ours, for afterwards.
# Tensors in, tensors out; NumPy arrays are welcome too. Never change an input in place.
#
# **Given.** The quantizer, as you wrote it in labs 01 and 02: B bits, with zero points, groups along K. The range of a group always
# contains 0, so that a weight of zero stays zero:
#
# $$l = \min(0, \min w) \qquad h = \max(0, \max w) \qquad s = \frac{h - l}{2^B - 1} \qquad z = \mathrm{round}(-l / s)$$
# $$q = \mathrm{clamp}(\mathrm{round}(w / s) + z,\; 0,\; 2^B - 1) \qquad \hat w = s\,(q - z)$$


# %%
def fake_quantize(W, group_size, num_bits):
    """W (N, K) → Ŵ (N, K): what is left of W after codes of num_bits, asymmetric, groups of group_size along K."""
    groups = W.reshape(len(W), -1, group_size)  # (N, K/G, G)
    low = groups.amin(-1, keepdim=True).clamp(max=0)
    high = groups.amax(-1, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**num_bits - 1)
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.round(-low / scale)
    codes = torch.clamp(torch.round(groups / scale) + zero, 0, 2**num_bits - 1)
    return (scale * (codes - zero)).reshape(W.shape)


# %% [markdown]
# ## 07.1 · Who is loud
#
# An error in the weight $w_{n,k}$ reaches the output as $\text{error} \cdot x_{m,k}$. So a column of W matters as much as its input
# channel is loud, however small its weights are. AWQ's measure is the **mean magnitude** over the tokens,
# $\frac1M \sum_m |x_{m,k}|$.
#
# ```text
#                channel   0     1     2     3     4
#   token 0             [  1    −4     0     2     0 ]
#   token 1             [ −1     5     0     2     0 ]
#   token 2             [  1    −4     9     2     0 ]
#
#   mean |x|               1     4.3   3     2     0        share 0.4 of 5 channels: two of them, 1 and 2
# ```
#
# | | | |
# |---|---|---|
# | in | `x` | float32, `(M, K)`: M tokens of calibration text |
# | | `share` | float, 0 < share ≤ 1: the part of the channels that is wanted |
# | out | channels | int64, `(n,)`: the n channels of largest mean magnitude, **in rising order of k** |
# | n | | $\lfloor \text{share} \cdot K \rfloor$, but at least 1 |


# %%
def salient_channels(x, share):
    """The max(1, ⌊share · K⌋) input channels with the largest mean |x|, in rising order. x (M, K) → (n,) int64."""
    ### BEGIN SOLUTION
    loudness = x.abs().mean(dim=0)
    n = max(1, math.floor(share * len(loudness)))
    return torch.topk(loudness, n).indices.sort().values
    ### END SOLUTION


# %%
check("07.1", salient_channels)

# %% [markdown]
# ## 07.2 · AWQ's factors
#
# Keeping 1 % of the columns in 16 bits would help, but no kernel likes two formats in one row. AWQ's idea: multiply a salient
# column by $s_k > 1$ *before* it is rounded, and divide its input by the same $s_k$. The product is unchanged, and the rounding
# error of that column, seen from the output, is $s_k$ times smaller. How much larger? A power of the loudness, with α to be found:
#
# $$m_k = \frac1M \sum_m |x_{m,k}| \qquad t_k = \max\big(m_k^{\,\alpha},\; 10^{-4}\big) \qquad s_k = \frac{t_k}{\sqrt{\max_j t_j \cdot \min_j t_j}}$$
#
# The division centres the factors: the largest and the smallest are reciprocals of each other, so that W as a whole neither grows
# nor shrinks much. The $10^{-4}$ is for a dead channel, whose $m_k$ is 0: a factor of 0 would be divided by.
#
# ```text
#   m            [ 16     1     4     1 ]
#   α = 0.5   t  [  4     1     2     1 ]     √(4 · 1) = 2       s  [ 2    0.5   1    0.5 ]
#   α = 0     t  [  1     1     1     1 ]                        s  [ 1    1     1    1   ]    nothing is moved
# ```
#
# | | | |
# |---|---|---|
# | in | `x` | float32, `(M, K)`; a channel may be 0 for all tokens, but not all channels are |
# | | `alpha` | float, 0 … 1 |
# | out | `s` | float, `(K,)`, positive and finite |


# %%
def awq_scales(x, alpha):
    """s (K): mean |x| to the power alpha, at least 1e-4, divided by √(max · min)."""
    ### BEGIN SOLUTION
    t = x.abs().mean(dim=0).pow(alpha).clamp(min=1e-4)
    return t / (t.max() * t.min()).sqrt()
    ### END SOLUTION


# %%
check("07.2", awq_scales)

# %% [markdown]
# ## 07.3 · What a factor is worth
#
# Scaling costs something, too: a column that grows may stretch the range of its whole group, and then the neighbours get
# coarser steps. So the factors are judged where it counts, at the output of the layer:
#
# $$E(s) = \sum_{m,n} \big(\hat y_{m,n} - y_{m,n}\big)^2 \qquad \hat y = (x / s)\; Q(W \cdot s)^\top \qquad y = x\,W^\top$$
#
# Q is the given `fake_quantize`; $s_k$ meets channel k of x and column k of W.
#
# ```text
#     x (M, K)         W (N, K)
#      │   ╲            │    ╲
#      │    ÷ s         │     · s ── Q                 without Q the two ways would be equal, for every s:
#      │      ╲         │            │                 what is left between them is what rounding does
#      │       ╰────────┼──── × ─────╯
#      ╰─────── × ──────╯     │
#               │             │
#               y      −      ŷ      squared, summed: one number
# ```
#
# | | | |
# |---|---|---|
# | in | `x`, `W`, `s` | float32, `(M, K)`, `(N, K)`, `(K,)`; every $s_k > 0$ |
# | | `group_size`, `num_bits` | for `fake_quantize` |
# | out | E | one number: the **sum** of the squared output errors |


# %%
def scaled_error(x, W, s, group_size, num_bits):
    """Σ (ŷ − y)², when W · s is rounded and x / s is multiplied by it. One number."""
    ### BEGIN SOLUTION
    y = x @ W.T
    y_hat = (x / s) @ fake_quantize(W * s, group_size, num_bits).T
    return (y_hat - y).square().sum().item()
    ### END SOLUTION


# %%
check("07.3", scaled_error)

# %% [markdown]
# ## 07.4 · The search
#
# α = 0 protects nobody, α = 1 protects the loudest at the price of all others. E jumps when a code jumps, so there is no slope to
# follow: AWQ tries twenty values, and so do you. Use your functions of 07.2 and 07.3.
#
# $$\alpha^* = \arg\min_{\alpha} E\big(s(\alpha)\big) \qquad \alpha \in \{0,\ 0.05,\ 0.1,\ \ldots,\ 0.95\}$$
#
# ```text
#   E │ ▪                                ▪
#     │   ▪ ▪   ▪                    ▪ ▪
#     │       ▪   ▪ ▪   ▪      ▪ ▪ ▪
#     │               ▪   ▪ ▪                 the least is not where E rises for the first time
#     └─────────────────────────────────────
#       0             α*               0.95
# ```
#
# | | | |
# |---|---|---|
# | in | `x`, `W`, `group_size`, `num_bits` | as in 07.3 |
# | out | `alpha` | float: the best of i / 20 for i = 0 … 19; of equal errors, the **smallest** α |
# | | `error` | float: E of that α |


# %%
def search_alpha(x, W, group_size, num_bits):
    """(α, E): the best of 0, 0.05 … 0.95, and the error that it leaves."""
    ### BEGIN SOLUTION
    best, least = 0.0, math.inf
    for i in range(20):
        error = scaled_error(x, W, awq_scales(x, i / 20), group_size, num_bits)
        if error < least:
            best, least = i / 20, error
    return best, least
    ### END SOLUTION


# %%
check("07.4", search_alpha)

# %% [markdown]
# ## 07.5 · Most errors small, a few large
#
# HQQ has no activations. It says: a group's few outliers will be badly rounded anyway, so do not let them decide for the others. In
# formulas: do not minimize squares $|e|^2$, which fear one large error above all, but $|e|^p$ with p < 1, which forgives it. That is
# not convex; so each error is given a helper that may take over what is *large* in it. The best helper is a **shrinkage**:
#
# $$\mathrm{shrink}(e) = \mathrm{sign}(e) \cdot \max\Big(0,\; |e| - \frac{|e|^{\,p-1}}{\beta}\Big)$$
#
# ```text
#   shrink(e)                 ╱        small errors: 0, they stay and count
#       │                   ╱ .        large errors: taken over almost whole, since |e|^(p−1) falls
#       │                 ╱ .
#       │                │.            between them a threshold, where |e| = |e|^(p−1) / β
#     0 ┼────────────────┴──── e       p = 1 takes the same 1/β from every large error
# ```
#
# | | | |
# |---|---|---|
# | in | `e` | float32, any shape |
# | | `beta`, `p` | floats, β > 0, 0 < p ≤ 1 |
# | out | | float, the shape of e; **exactly 0 where e is 0** (and $0^{p-1}$ is infinite) |


# %%
def shrink(e, beta, p):
    """sign(e) · max(0, |e| − |e|^(p−1) / β): HQQ's generalised soft threshold."""
    ### BEGIN SOLUTION
    size = e.abs()
    smaller = torch.relu(size - size.pow(p - 1) / beta)
    return torch.sign(e) * smaller
    ### END SOLUTION


# %%
check("07.5", shrink)

# %% [markdown]
# ## 07.6 · One step of HQQ
#
# The scales stay; the zero points move, and may be any real number. One iteration, for every group by itself:
#
# $$q = \mathrm{clamp}\big(\mathrm{round}(w / s + z),\; 0,\; 2^B - 1\big) \qquad \hat w = s\,(q - z) \qquad e = \mathrm{shrink}(w - \hat w)$$
# $$z' = \operatorname*{mean}_{\text{group}}\ \Big(q - \frac{w - e}{s}\Big)$$
#
# If e were 0, the codes q would want $w = s\,(q - z)$, hence $z = q - w/s$, and the mean over the group is the least squares answer.
# e takes the outliers out of that mean.
#
# ```text
#   W      [ G weights │ G weights │ … ]      (N, K/G, G)        as groups already
#               │            │
#   scale       s            s                (N, K/G)           stays
#   zero        z            z                (N, K/G)           → z', in steps, not rounded
# ```
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K/G, G)` |
# | | `scale`, `zero` | float32, `(N, K/G)`, every scale > 0 |
# | | `beta`, `p` | for `shrink` |
# | | `num_bits` | B |
# | out | `zero'` | float, `(N, K/G)` |


# %%
def hqq_zero(W, scale, zero, beta, p, num_bits):
    """The zero points (N, K/G) after one half-quadratic step. W (N, K/G, G), scale and zero (N, K/G)."""
    ### BEGIN SOLUTION
    s, z = scale.unsqueeze(-1), zero.unsqueeze(-1)
    q = torch.clamp(torch.round(W / s + z), 0, 2**num_bits - 1)
    e = shrink(W - s * (q - z), beta, p)
    return (q - (W - e) / s).mean(dim=-1)
    ### END SOLUTION


# %%
check("07.6", hqq_zero)

# %% [markdown]
# ## Which weights matter, on a trained model
#
# First the observation that AWQ began with. Round a layer to 3 bits, but keep 1 % of its columns in 16: those of *your* salient
# channels, or as many at random (20 draws). The channels are chosen on one half of the sample, the error is measured on the
# other. Guess before you run it: how much of the error goes with 1 % of the columns?

# %%
G = 64
model = qcourse.load_model()
calibration = windows(SHIPPED, n=16, seq_len=256, split="calibration")
seen, other = {}, {}
for name, stats in calibrate(model, calibration.ids).items():
    seen[name], other[name] = stats.sample[:512], stats.sample[512:1024]
weights = {name: m.weight.data.float() for name, m in model.linears().items()}


def kept(name, channels):
    """Relative error of a layer's output at 3 bits, with these columns kept in 16."""
    x, W = other[name], weights[name]
    W_hat = fake_quantize(W, G, 3)
    W_hat[:, channels] = W[:, channels]
    return (((W_hat - W) @ x.T).norm() / (W @ x.T).norm()).item()


# %%
def salient():
    draw, labels, errors, said = torch.Generator().manual_seed(0), [], [], []
    for layer in ("mlp.down_proj", "self_attn.q_proj"):
        name = f"model.layers.0.{layer}"
        loud = torch.as_tensor(salient_channels(seen[name], 0.01)).long()
        K, n = weights[name].shape[1], len(loud)
        drawn = [kept(name, torch.randperm(K, generator=draw)[:n]) for _ in range(20)]
        none, random, best = kept(name, []), sum(drawn) / 20, kept(name, loud)
        labels += [f"{layer}, {what}" for what in ("none kept", f"{n} at random", f"{n} salient")]
        errors += [none, random, best]
        said.append(f"{1 - best / none:.0%} in {layer} (at random {1 - random / none:.1%})")
    title = f"In 16 bits, the salient 1 % of the columns take away, of the error,\n{said[0]} and {said[1]}"
    return plots.bars(labels, errors, title, "relative error of the layer's output, 3 bits")


when_done(salient)

# %% [markdown]
# `q_proj` reads a norm some of whose channels were trained to be loud; the inputs of `down_proj` are more even.
#
# Now the whole model. AWQ's factor can be folded away at no cost (lab 03); to measure it, it is enough to give the layer
# $\hat W = Q(W \cdot s) / s$, which is the same function. HQQ starts from the scales and zero points of the given quantizer and
# takes 20 of *your* steps, β growing by 1 % each; with its authors' β = 10, and p = 0.7.


# %%
def awq(name, num_bits):
    """Ŵ of a layer, after your search on its sample."""
    x, W = seen[name], weights[name]
    alpha, _ = search_alpha(x, W, G, num_bits)
    s = torch.as_tensor(awq_scales(x, float(alpha))).float()
    return fake_quantize(W * s, G, num_bits) / s


def start(W, num_bits):
    """Groups (N, K/G, G), with the scales and zero points (N, K/G) of the given quantizer."""
    groups = W.reshape(len(W), -1, G)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale = (high - low) / (2**num_bits - 1)
    return groups, scale, torch.round(-low / scale)


def hqq(name, num_bits, beta=10.0, p=0.7):
    """Ŵ of a layer after 20 of your steps."""
    groups, scale, zero = start(weights[name], num_bits)
    for step in range(20):
        zero = torch.as_tensor(hqq_zero(groups, scale, zero, beta * 1.01**step, p, num_bits)).float()
    s, z = scale.unsqueeze(-1), zero.unsqueeze(-1)
    return (s * (torch.clamp(torch.round(groups / s + z), 0, 2**num_bits - 1) - z)).flatten(1)


# %% [markdown]
# One look before the measurement: of which errors does your `shrink` take anything, at β = 10? Its threshold $\beta^{-1/(2-p)}$ is a
# number in the units of the *weights*, and these weights are small.


# %%
def quarter_step(name, num_bits, p=0.7):
    """The β whose threshold is a quarter of the layer's mean scale."""
    return (start(weights[name], num_bits)[1].mean().item() / 4) ** (p - 2)


def thresholds():
    name = "model.layers.0.mlp.down_proj"
    errors, step = weights[name] - fake_quantize(weights[name], G, 4), start(weights[name], 4)[1].mean()
    print(f"down_proj at 4 bits: a step is {step:.4f} on average, the largest error {errors.abs().max():.4f}")
    for beta in (10.0, quarter_step(name, 4)):
        above = (torch.as_tensor(shrink(errors, beta, 0.7)) != 0).float().mean()
        print(f"β = {beta:.0f}: threshold {beta ** (-1 / 1.3):.4f}, {above:.0%} of the errors lie above it")


when_done(thresholds)

# %% [markdown]
# At β = 10 nothing is taken over, and HQQ becomes least squares for the zero points: its β has a unit. So the measurement shows HQQ
# twice, the second time with the threshold at a quarter of each layer's step.

# %%
methods = {
    "nearest": lambda name, num_bits: fake_quantize(weights[name], G, num_bits),
    "AWQ": awq,
    "HQQ (β = 10)": hqq,
    "HQQ (β in steps)": lambda name, num_bits: hqq(name, num_bits, quarter_step(name, num_bits)),
}
every = [(method, num_bits) for num_bits in (4, 3) for method in methods]
text = windows(SHIPPED, n=64, seq_len=256)
scores, rounded = {}, {}


def measure(method, num_bits):
    """What the model scores with every linear layer rounded by a method."""
    mine = qcourse.load_model()
    widen(mine)
    rounded[method, num_bits] = {name: methods[method](name, num_bits) for name in weights}
    for name, m in mine.linears().items():
        m.weight.data = rounded[method, num_bits][name]
    scores[method, num_bits] = perplexity(mine, text)


def measure_all():
    """Each method once, unless that is done."""
    for key in every:
        if key not in scores:
            measure(*key)


def beside_nearest(method):
    """What a method adds to plain rounding, at 4 and at 3 bits."""
    return [paired_difference(scores["nearest", num_bits], scores[method, num_bits]) for num_bits in (4, 3)]


def verdict(method):
    """In words; better or worse only beyond two paired standard errors."""
    four, three = ("better" if d.z < -2 else "worse" if d.z > 2 else "no different" for d in beside_nearest(method))
    return f"{method} is {four} at 4 " + ("and 3 bits" if four == three else f"bits, {three} at 3")


# %%
def proof():
    measure_all()
    base = perplexity(model, text)
    added = [paired_difference(base, scores[key]) for key in every]
    title = "Beside rounding to nearest, " + ";\n".join(verdict(method) for method in list(methods)[1:])
    labels = [f"{num_bits} bits, {method}" for method, num_bits in every]
    xlabel = "added bits/byte (± paired standard error)"
    return plots.bars(labels, [d.mean for d in added], title, xlabel, [d.stderr for d in added])


when_done(proof)

# %% [markdown]
# "Better" and "worse" stand only where the difference from plain rounding, on the same windows, is more than two paired standard
# errors. These are six differences, and of any twenty one would be that large by chance. Now what did each method do to the layers, at
# 3 bits? The error of the weights, and that of the outputs in two parts: from the 2 % most salient columns (yours of 07.1), and
# from all others.


# %%
def parts(method, num_bits=3):
    """Squared relative errors, the mean over all layers: of the weights; of the outputs, by salient columns and by others."""
    errors = torch.zeros(3)
    for name, W in weights.items():
        x, d = other[name], rounded[method, num_bits][name] - W
        loud = torch.zeros(W.shape[1], dtype=torch.bool)
        loud[torch.as_tensor(salient_channels(seen[name], 0.02)).long()] = True
        y, salient, others = x @ W.T, x[:, loud] @ d[:, loud].T, x[:, ~loud] @ d[:, ~loud].T
        errors += torch.stack([d.norm() / W.norm(), salient.norm() / y.norm(), others.norm() / y.norm()]) ** 2 / len(weights)
    return [f"{e:.4f}" for e in errors]


def who_pays():
    measure_all()
    columns = ["3 bits", "weights", "outputs, salient columns", "outputs, others", "bits/byte beside nearest"]
    loss = {method: beside_nearest(method)[1] for method in methods if method != "nearest"}
    last = {method: f"{d.mean:+.4f} ± {d.stderr:.4f}" for method, d in loss.items()}
    return Table(columns, [(method, *parts(method), last.get(method, "")) for method in methods])


when_done(who_pays)

# %% [markdown]
# HQQ does what it promises: the weights come out closer than with plain rounding. But it never saw x, and in the columns that are
# heard most the error has grown. AWQ does the reverse: its weights are farther off, where it is quiet. **Which weights matter is
# written in the inputs.** HQQ's strength is another one: it needs no calibration text at all.
#
# **Think about it.** The zero point of the given quantizer is a whole number, so a weight of 0 has a code of its own. After HQQ it
# has none. Behind a norm of this model, the loudest channels meet weights that are mostly smaller than a 3-bit step: why does that
# hurt them? (Round `zero` at the end of `hqq`, run the cells from there on again, and look at the table.)
#
# Next: notebook 08, in your edition ([my_notebooks](../my_notebooks/08_gemm.ipynb)) or to read ([notebooks](../notebooks/08_gemm.ipynb)).
