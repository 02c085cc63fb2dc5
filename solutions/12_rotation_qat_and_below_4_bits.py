# %% [markdown]
# # Lab 12 · Rotation, training through rounding, and below 4 bits
#
# **What you build.** First QuaRot: a matrix of signs that spreads a loud channel over all others, fast, and folded into the weights so
# that it costs nothing. Then quantization-aware training: a gradient for a function that has none, and the step that uses it. At
# the end your functions turn every weight of the model that ships with the course, and train its ternary layers.
#
# About 60 minutes, after notebook 12 ([yours](../my_notebooks/12_rotation_qat_and_below_4_bits.ipynb), [to read](../notebooks/12_rotation_qat_and_below_4_bits.ipynb)). Letters: `x (M, K)` an activation, `W (N, K)` a weight, `y = x @ W.T`.

# %%
import math

import numpy as np
import torch

import qcourse
from qcourse import check, hint, solution, when_done
from qcourse.layers.linear import Linear
from qcourse.methods.calibration import calibrate
from qcourse.models.loader import SHIPPED
from qcourse.study import plots
from qcourse.study.perplexity import paired_difference, perplexity, windows

# %% [markdown]
# `check("12.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("12.1")` nudges, `hint("12.1", 2)` and `hint("12.1", 3)` say more;
# `solution("12.1")` shows ours, for afterwards. Tensors in, tensors out; NumPy arrays are welcome too. Never change an input in
# place: someone else still needs it.

# %% [markdown]
# ## 12.1 · A rotation made of signs
#
# A rotation keeps lengths and angles: $H H^\top = 1$. Sylvester found one that consists of ±1 alone, up to one factor, by doubling:
#
# $$S_1 = (1) \qquad S_{2n} = \begin{pmatrix} S_n & S_n \\ S_n & -S_n \end{pmatrix} \qquad H = S_n / \sqrt n$$
#
# ```text
#   S₁        S₂              S₄                      one loud channel      → every channel a little
#                         +  +  +  +
#   +        +  +         +  −  +  −                  (0  0  8  0) H        =  (4  4 −4 −4)
#            +  −         +  +  −  −                  length 8                 length 8
#                         +  −  −  +                  peak / rms = 2           peak / rms = 1
# ```
#
# Other orders of the rows, and other places of the minus, are rotations too. This one is the usual, so that two programs mean the
# same by `H`: it equals its own transpose, and so its own inverse.
#
# | | | |
# |---|---|---|
# | in | `n` | int, at least 1 |
# | out | `H` | float32, `(n, n)`, every entry $\pm 1/\sqrt n$ |
# | refused | | if `n` is no power of two: `ValueError`, naming `n` and the powers of two beside it |


# %%
def hadamard(n):
    """Sylvester's (n, n) matrix of signs, scaled to a rotation."""
    ### BEGIN SOLUTION
    if n & (n - 1):
        low = 1 << (n.bit_length() - 1)
        raise ValueError(f"n={n} is no power of two; the nearest are {low} and {2 * low}")
    H = torch.ones(1, 1)
    while len(H) < n:
        H = torch.cat((torch.cat((H, H), 1), torch.cat((H, -H), 1)))
    return H / math.sqrt(n)
    ### END SOLUTION


# %%
check("12.1", hadamard)

# %% [markdown]
# ## 12.2 · The same in K log K
#
# Where no weight can do the turning in advance, it is done while the model runs, for every token. A product with H would cost
# K² multiplications. But the doubling can be undone: K/2 sums and K/2 differences turn one problem of size K into two of half the
# size, so $\log_2 K$ rounds are enough, each of K additions.
#
# $$(a, b) \;\to\; (a + b,\; a - b)$$
#
# ```text
#   x      a b c d e f g h
#          └─┘ └─┘ └─┘ └─┘       stride 1      a+b  a−b  c+d  c−d  e+f  e−f  g+h  g−h
#          └───┘   └───┘         stride 2      the 1st with the 3rd, the 2nd with the 4th …
#            └───┘   └───┘
#          └───────┘  …          stride 4      the 1st with the 5th, the 2nd with the 6th …
#
#   K = 768 (three times 256): dense 196,608 multiplications a token in blocks of 256; this way 6,144 additions
# ```
#
# The check sees the result only: `x @ hadamard(K)` would pass it. Build no K × K matrix; that is the exercise.
#
# | | | |
# |---|---|---|
# | in | `x` | float32, `(M, K)`, K a power of two |
# | out | `y` | float, `(M, K)`: `x @ hadamard(K)`. Each row keeps its length |


# %%
def fast_hadamard(x):
    """x @ hadamard(K) by sums and differences. x (M, K) → (M, K)."""
    ### BEGIN SOLUTION
    M, K = x.shape
    y, stride = x, 1
    while stride < K:
        a, b = y.reshape(M, -1, 2, stride).unbind(2)
        y = torch.stack((a + b, a - b), 2).reshape(M, K)
        stride *= 2
    return y / math.sqrt(K)
    ### END SOLUTION


# %%
check("12.2", fast_hadamard)

# %% [markdown]
# ## 12.3 · A norm that lets a rotation through
#
# If the whole residual stream is turned, $h \to hR$, every RMSNorm has to let it pass. Its division does: turning does not change
# the length of h. Its gain does not: $(hR) \odot g$ is not $(h \odot g)R$. So the gain has to leave first, into the weight behind it:
#
# $$\Big(\frac{h}{\mathrm{rms}(h)} \odot g\Big) W^\top = \frac{h}{\mathrm{rms}(h)}\, W'^\top$$
#
# ```text
#  before:   h ── / rms ── · g ──┬── q_proj (W₁) ──         after:   h ── / rms ── · 1 ──┬── q_proj (W₁') ──
#                                ├── k_proj (W₂) ──                                      ├── k_proj (W₂') ──
#                                └── v_proj (W₃) ──                                      └── v_proj (W₃') ──
# ```
#
# Your function treats one reader; it will be called for each. The weights arrive in bf16; return float32, which holds the product
# of two bf16 numbers exactly.
#
# | | | |
# |---|---|---|
# | in | `gain` | `(K,)`, float32 or bf16; it may hold zeros and negative numbers |
# | | `W` | `(N, K)`, float32 or bf16 |
# | out | | the pair (new gain `(K,)`, `W'` `(N, K)`), float32 |


# %%
def fold_gain(gain, W):
    """Move a norm's gain into its reader. (K,), (N, K) → (a gain that does nothing, W')."""
    ### BEGIN SOLUTION
    return torch.ones(len(gain)), W.float() * gain.float()
    ### END SOLUTION


# %%
check("12.3", fold_gain)

# %% [markdown]
# ## 12.4 · Turn the stream between two layers
#
# One layer writes a stream, another reads it. Turn what flows between them, and change the weights so that nobody notices:
#
# $$h = x\,W_w^\top \;\to\; hR \qquad\qquad y = h\,W_r^\top \;\text{ stays}$$
#
# ```text
#            W_w (D, K)            W_r (N, D)
#    x ─────── rows write ── h ── columns read ─────── y
#
#            W_w' = ?              W_r' = ?
#    x ──────────────────── h R ────────────────────── y          R (D, D), R Rᵀ = 1
# ```
#
# A slip is hard to see with Sylvester's H: it equals its transpose. Here R is any rotation, and it does not.
#
# | | | |
# |---|---|---|
# | in | `W_writer` | float32, `(D, K)` |
# | | `W_reader` | float32, `(N, D)` |
# | | `R` | float32, `(D, D)`, a rotation |
# | out | | the pair (`W_writer'`, `W_reader'`), each in its own shape; the stream becomes $hR$, y stays |


# %%
def rotate(W_writer, W_reader, R):
    """Turn the stream between writer and reader by R: h → h R, y as before. → (W_writer', W_reader')."""
    ### BEGIN SOLUTION
    return R.T @ W_writer, W_reader @ R
    ### END SOLUTION


# %%
check("12.4", rotate)

# %% [markdown]
# ## 12.5 · A gradient for a staircase
#
# Below 4 bits it is worth training the weights for their grid. The forward pass uses
#
# $$\hat W = s \cdot \mathrm{clamp}\big(\mathrm{round}(W / s), -L, L\big)$$
#
# and its true gradient is useless: a staircase is flat, and between the steps it jumps. The **straight-through estimator** forgives
# the rounding and nothing else. It passes the gradient on as if `round` were not there; the clamp keeps its own slope, 1 inside
# and 0 outside.
#
# ```text
#    Ŵ/s                                     gradient that passes
#     L ┤            ┌──────────              1 ┤   ┌───────────────┐
#       │         ┌──┘                          │   │               │
#     0 ┤      ┌──┘                           0 ┼───┘               └────  W/s
#       │   ┌──┘                                   −L       0       L
#    −L ┼───┘
#          −L      0      L     W/s            the step that a clamped weight would take is not taken
# ```
#
# | | | |
# |---|---|---|
# | in | `W` | float32, `(N, K)` |
# | | `scale`, `limit` | float32, `(N, 1)`, positive; int: codes are −limit … limit (1: ternary) |
# | | `grad` | float32, `(N, K)`: the gradient of the loss with respect to $\hat W$ |
# | out | `W_hat` | float, `(N, K)`: values, not codes |
# | | `grad_W` | float, `(N, K)`: `grad` where \|W/scale\| ≤ limit, 0 outside. (From limit to limit + ½ conventions differ; nothing is asked there) |


# %%
def straight_through(W, scale, limit, grad):
    """Fake quantization, and the gradient that passes it. → (Ŵ, gradient with respect to W), both (N, K)."""
    ### BEGIN SOLUTION
    x = W / scale
    W_hat = x.round().clamp(-limit, limit) * scale
    return W_hat, torch.where(x.abs() <= limit, grad, 0.0)
    ### END SOLUTION


# %%
check("12.5", straight_through)

# %% [markdown]
# ## 12.6 · One step of training
#
# The weights that are trained are not those that are used. A **latent** W is kept in full precision, where small steps add up; each
# forward pass rounds it anew. The loss of one layer that shall give y for x:
#
# $$\ell = \mathrm{mean}\big((x \hat W^\top - y)^2\big) \qquad \frac{\partial \ell}{\partial \hat W} = \frac{2}{M N}\,(x \hat W^\top - y)^\top x$$
#
# ```text
#     W  latent ────── round, clamp ──────→ Ŵ ──→ x Ŵᵀ ──→ ℓ
#     ↑                                                    │
#     └── − lr · ── straight through (12.5) ←── ∂ℓ/∂Ŵ ←────┘
#
#     code    0      0      0      1          steps of 0.2 · s: the first two change no code, and are not lost
#     W/s    0.0    0.2    0.4    0.6
# ```
#
# Call your `straight_through`, or use autograd if you like.
#
# | | | |
# |---|---|---|
# | in | `x`, `y` | float32, `(M, K)` and `(M, N)` |
# | | `W`, `scale`, `limit` | as in 12.5 |
# | | `lr` | float, the learning rate |
# | out | `W` | float, `(N, K)`: the latent weight after one step |


# %%
def train_step(x, y, W, scale, limit, lr):
    """One step of gradient descent on mean((x Ŵᵀ − y)²). → the new latent W (N, K)."""
    ### BEGIN SOLUTION
    W_hat, _ = straight_through(W, scale, limit, torch.zeros_like(W))
    error = x @ W_hat.T - y
    grad = 2 / error.numel() * error.T @ x
    _, grad = straight_through(W, scale, limit, grad)
    return W - lr * grad
    ### END SOLUTION


# %%
check("12.6", train_step)

# %% [markdown]
# ## Your rotation on a trained model
#
# First the numbers that a Hadamard matrix is for. `down_proj` reads silu(gate) · up: no weight can turn that in advance, so it is
# turned by your `fast_hadamard`. Its 768 channels are no power of two; three blocks of 256 are.

# %%
model = qcourse.load_model()
name = "model.layers.2.mlp.down_proj"
seen = calibrate(model, windows(SHIPPED, n=32, seq_len=256, split="calibration").ids)


def tensor(yours):
    """What your function returned (tensors, arrays, or several of them) as float32 tensors."""
    return tuple(map(tensor, yours)) if isinstance(yours, tuple | list) else torch.as_tensor(yours).float()


def mix(x):
    """Each 256 channels of x (..., K) through your fast_hadamard."""
    return tensor(fast_hadamard(x.reshape(-1, 256))).reshape(x.shape)


def peaks():
    x = seen[name].sample
    before, after = (t.abs().amax(0) / t.square().mean().sqrt() for t in (x, mix(x)))
    title = f"A Hadamard matrix before down_proj: the loudest channel from {before.max():.0f} to {after.max():.0f} times the rms"
    panels = {"as it is": before, "after your fast_hadamard": after}
    return plots.channels(panels, title, "channel", "max|x| / rms", [float(before.max())] * 2)


when_done(peaks)

# %% [markdown]
# Now the weights. Every gain goes through your `fold_gain`, every weight that touches the residual stream through your `rotate`: R1 in
# SpinQuant's count, H with random signs. The values of each head are turned by H of 64 (R2): heads that share keys and values are
# turned alike, so grouped queries change nothing. `down_proj` gets the one from above, while the model runs (R4).


# %%
def norms(model):
    """(norm, its readers) of every norm of the model, the last one's being the head."""
    found = [(fold.writer, fold.readers) for fold in model.folds() if not fold.name.endswith("down_proj")]
    return [*found, (model.model.norm, (model.lm_head,))]


def folded():
    """The model with every gain in the readers of its norm. Untied first: the last gain belongs to the head alone."""
    model = qcourse.load_model()
    model.lm_head = Linear(256, model.config.vocab_size, prefix="lm_head")
    model.lm_head.weight.data = model.model.embed_tokens.weight.data
    for norm, readers in norms(model):
        for reader in readers:
            gain, reader.weight.data = tensor(fold_gain(norm.weight.data, reader.weight.data))
        norm.weight.data = gain
    return model


# %%
def turn(writers, readers, R):
    """Every writer and every reader of one stream."""
    first, last = writers[0].weight.data.float(), readers[-1].weight.data.float()
    for m in writers:
        m.weight.data, _ = tensor(rotate(m.weight.data.float(), last, R))
    for m in readers:
        _, m.weight.data = tensor(rotate(first, m.weight.data.float(), R))


def turn_heads(attention, R):
    """The values of four heads; two of them share one head of v."""
    values, outputs = attention.v_proj.weight.data.float().split(64), attention.o_proj.weight.data.float().split(64, dim=1)
    turned = [tensor(rotate(values[head // 2], part, R)) for head, part in enumerate(outputs)]
    attention.v_proj.weight.data = torch.cat([turned[0][0], turned[2][0]])
    attention.o_proj.weight.data = torch.cat([reader for _, reader in turned], dim=1)


# %%
def rotated(online=False):
    """R1 and R2 folded into the weights; online: R4, too."""
    model = folded()
    layers = model.model.layers
    writers = [m for layer in layers for m in (layer.self_attn.o_proj, layer.mlp.down_proj)]
    readers = [model.model.embed_tokens, *(m for _, those in norms(model) for m in those)]  # the rows of E are stream vectors
    signs = torch.randint(0, 2, (256, 1), generator=torch.Generator().manual_seed(0)) * 2 - 1
    turn(writers, readers, tensor(hadamard(256)) * signs)
    for layer in layers:
        turn_heads(layer.self_attn, tensor(hadamard(64)))
        if online:
            layer.mlp.down_proj.weight.data = mix(layer.mlp.down_proj.weight.data)
            layer.mlp.down_proj.register_forward_pre_hook(lambda m, args: (mix(args[0]),))
    return model


kinds = {"as trained": qcourse.load_model, "folded": folded, "turned": rotated, "turned, R4": lambda: rotated(True)}


def no_op():
    ids = windows(SHIPPED, n=2, seq_len=128).ids
    with torch.inference_mode():
        before = qcourse.load_model()(ids)
        for what, made in kinds.items():
            model = made()
            moved = (model(ids) - before).abs().max()
            columns = model.model.layers[0].self_attn.q_proj.weight.float().norm(dim=0)
            print(f"{what:12s} logits of size {before.abs().max():.0f} moved by at most {moved:.0e}; "
                  f"q_proj's loudest column is {columns.max() / columns.median():.1f} times the median")  # fmt: skip
            assert moved < 1e-3


when_done(no_op)

# %% [markdown]
# Float32 rounding, and nothing else: in 16 bits the four models are one. In 4 bits they are not. Guess before you run the next cell:
# what does turning do for 4-bit activations, and what for 4-bit weights?


# %%
def four_bits(t):
    """int4 and back, a scale a row: a token of x, an output channel of W."""
    scale = t.float().abs().amax(-1, keepdim=True).clamp(min=1e-8) / 7
    return (t / scale).round() * scale


text = windows(SHIPPED, n=16, seq_len=256)
start = perplexity(model, text)


def added(model, weights, activations):
    """What a model loses when its linear layers get 4-bit weights, inputs, or both (the head stays as it is)."""
    for m in (m for prefix, m in model.linears().items() if prefix != "lm_head"):
        if weights:
            m.weight.data = four_bits(m.weight.data)
        if activations:
            m.register_forward_pre_hook(lambda m, args: (four_bits(args[0]),))
    return paired_difference(start, perplexity(model, text))


# %%
places = {"weights": (True, False), "activations": (False, True), "both": (True, True)}


def four_bit_models():
    lost = {f"{place}: {kind}": added(make(), *at) for place, at in places.items() for kind, make in kinds.items()}
    for what, d in lost.items():
        print(f"{what:24s} {d}")
    both, alone = ([lost[f"{place}: {kind}"].mean for kind in kinds] for place in ("both", "weights"))
    title = f"W4A4 adds {both[0]:.2f} bits/byte as trained, {both[3]:.2f} turned; W4 alone {alone[0]:.2f} and {alone[3]:.2f}"
    xlabel = "added bits/byte (± paired standard error)"
    colors = [c for c in (plots.BLUE, plots.ORANGE, plots.GREEN) for _ in kinds]
    return plots.bars(list(lost), [d.mean for d in lost.values()], title, xlabel, [d.stderr for d in lost.values()], colors)


when_done(four_bit_models)

# %% [markdown]
# Read it bar by bar. Where both sides have 4 bits, the turned model loses least, by far. But *folding* alone, a no-op in 16 bits,
# ruins 4-bit weights: this model was trained with gains up to 96, and their loudness did not vanish, it went into columns of W,
# while its rows share a scale. Turning spreads it over the row, and is still worse for weights alone than leaving the gains where
# they were; for activations alone, folding is enough. (A model whose gains are near 1 does not pay that price.) A rotation is
# exact, so trying it costs nothing; what it buys has to be measured.
#
# ## Your training on a ternary layer
#
# A `down_proj` with three values a weight, and a scale a row: 1.5 times the mean of |w|, about the best for a bell curve. Your
# `train_step` fits it to what the layer gave before, on 2,048 tokens of calibration text, 256 of them a step. The rate is a
# tenth of the largest at which descent is stable. Is it better to hold it, or to let it fall to 0? Errors are measured on text
# that was not trained on.

# %%
unseen = calibrate(model, text.ids)


def output_error(x, W, W_hat):
    """‖x (Ŵ − W)ᵀ‖ / ‖x Wᵀ‖."""
    return ((x @ (W_hat - W).T).norm() / (x @ W.T).norm()).item()


def ternary(W, scale):
    return (W / scale).round().clamp(-1, 1) * scale


def trained(prefix, falling=True, steps=200):
    """W, its ternary start, the trained one, and the held-out error on the way."""
    W, x = model.linears()[prefix].weight.data.float(), seen[prefix].sample
    scale, latent, g = 1.5 * W.abs().mean(1, keepdim=True), W, torch.Generator().manual_seed(0)
    stable = len(W) / torch.linalg.eigvalsh(x.T @ x / len(x)).max().item()
    curve = []
    for step in range(steps + 1):
        if step % 20 == 0:
            curve.append(output_error(unseen[prefix].sample, W, ternary(latent, scale)))
        some = x[torch.randint(len(x), (256,), generator=g)]
        lr = 0.1 * stable * ((1 - step / steps) if falling else 1)
        latent = tensor(train_step(some, some @ W.T, latent, scale, 1, lr))
    return W, ternary(W, scale), ternary(latent, scale), curve


# %%
first = "model.layers.0.mlp.down_proj"


def rates():
    falling, held = trained(first)[3], trained(first, falling=False)[3]
    series = {"rate falls to 0": falling, "rate held": held, "rounded to nearest": falling[:1] * len(falling)}
    title = f"Ternary: held-out error {falling[0]:.3f} rounded, {falling[-1]:.3f} trained, {held[-1]:.3f} with the rate held"
    return plots.lines(range(0, 201, 20), series, title, "step", "relative error of the layer's output")


when_done(rates)

# %% [markdown]
# Straight-through has no resting place: a weight near the border between two codes is pushed over it, and back, as long as the step
# is long enough. So the rate has to fall.
#
# Now all four layers, on the text that was trained on and on the other, and then in the model.


# %%
def in_the_model():
    rounded, taught, bars = qcourse.load_model(), qcourse.load_model(), {}
    for i in range(4):
        prefix = f"model.layers.{i}.mlp.down_proj"
        W, at_first, at_last, curve = trained(prefix)
        for made, W_hat in ((rounded, at_first), (taught, at_last)):
            made.linears()[prefix].weight.data = W_hat
        bars |= {f"layer {i}: rounded": curve[0], f"layer {i}: trained": curve[-1]}
        errors = [output_error(seen[prefix].sample, W, t) for t in (at_first, at_last)]
        moved = [((t - W).norm() / W.norm()).item() for t in (at_first, at_last)]
        print(f"layer {i}, rounded and trained: output error where trained {errors[0]:.3f} {errors[1]:.3f}, "
              f"held out {curve[0]:.3f} {curve[-1]:.3f}; error of W itself {moved[0]:.3f} {moved[1]:.3f}")  # fmt: skip
    scores = [perplexity(made, text) for made in (rounded, taught)]
    lost = [paired_difference(start, score) for score in scores]
    print(f"rounded adds {lost[0]}, trained {lost[1]}; their difference {paired_difference(*scores)}")
    pairs = list(bars.values())
    saved = [1 - after / before for before, after in zip(pairs[::2], pairs[1::2], strict=True)]
    title = f"Training takes {min(saved):.0%} to {max(saved):.0%} off a ternary layer's held-out output error"
    xlabel = "held-out relative error of the layer's output"
    return plots.bars(list(bars), pairs, title, xlabel, colors=[plots.GREY, plots.BLUE] * 4)


when_done(in_the_model)

# %% [markdown]
# W itself moved *away* from what it was, and the output came nearer: the layer's inputs are correlated, and errors that cancel in the
# output cost nothing. Compare what was won where it was trained with what is left on other text. The later layers learned part of
# their 2,048 tokens by heart; more text is what QAT lives on, and it usually trains all layers together, with the scales.
#
# **Think about it.** Set 0.1 to 0.001 and to 1 in `trained`. How many codes change in each case, and what does the latent W of a
# clamped weight do?
#
# Next: notebook 13, the clinic ([to read](../notebooks/13_clinic.ipynb)).
