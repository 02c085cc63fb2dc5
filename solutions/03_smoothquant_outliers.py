# %% [markdown]
# # Lab 03 · Outliers and SmoothQuant
#
# **What you build.** Six small functions that together are SmoothQuant, the method that let large models run their matmuls
# in int8: look at the activations, quantize them as well as one can, move their loudness into the weights, hide the
# move inside a norm, and multiply in integers. At the end they run on the model that ships with the course.
#
# About 45 minutes, after notebook 03 ([yours](../my_notebooks/03_smoothquant_outliers.ipynb), [to read](../notebooks/03_smoothquant_outliers.ipynb)). Letters: `x (M, K)` an activation, `W (N, K)` a weight, `y = x @ W.T`.

# %%
import torch

from qcourse import check, hint, solution, when_done

# %% [markdown]
# **How a lab works.** Replace `raise NotImplementedError(...)` in a task by your code, run the cell, then run the one line
# below it. `check("03.1", your_function)` tries it on fresh random inputs and answers *not attempted*, *raised*, *wrong*
# (with the first place that differs, and the misconception if it knows yours) or *right*. Stuck? `hint("03.1")` gives a
# nudge, `hint("03.1", 2)` the idea, `hint("03.1", 3)` the first line.
# `solution("03.1")` shows ours, for afterwards: yours may look different and be just as right.
#
# Tensors in, tensors out; NumPy arrays are welcome too. Never change an input in place: someone else still needs it.

# %% [markdown]
# ## 03.1 · Look before you quantize
#
# Calibration text streams through the model in batches. For each channel (a *column* of x) remember the largest
# magnitude that ever came by:
#
# $$a_k = \max_{\text{all batches}}\ \max_m\ |x_{m,k}|$$
#
# ```text
#            channel 0    1    2    3
# batch 1      [  1      -9    0    2 ]
#              [ -2       8    0    1 ]
# batch 2      [  0.5    10    0   -3 ]
#                 ↓       ↓    ↓    ↓
# absmax       [  2      10    0    3 ]     one number a channel, over every token
# ```
#
# | | |
# |---|---|
# | `batches` | list of float tensors `(M_i, K)`; the lengths `M_i` differ, the dtype may be bf16 |
# | returns | `(K,)` float |


# %%
def channel_absmax(batches):
    """The largest |x| of each channel over all batches. batches: list of (M_i, K) → (K,)."""
    ### BEGIN SOLUTION
    absmax = torch.zeros(batches[0].shape[1])
    for x in batches:
        absmax = torch.maximum(absmax, x.float().abs().amax(0))
    return absmax
    ### END SOLUTION


# %%
check("03.1", channel_absmax)

# %% [markdown]
# ## 03.2 · One scale a token
#
# An activation arrives at run time, so its scale must be cheap: one pass over a row, no search. And it may differ from row
# to row, because a factor that depends on m alone can be taken out of the sum `Σ_k x[m,k] w[n,k]`. Symmetric int8, 127
# steps on each side:
#
# $$s_m = \frac{\max_k |x_{m,k}|}{127}\qquad \hat x_{m,k} = s_m \cdot \mathrm{round}(x_{m,k} / s_m)$$
#
# ```text
#                                        s
# token 0   [ 0.07  -0.2   25.4   0.34 ]   0.2      →   [ 0.0    -0.2     25.4    0.4    ]
# token 1   [ 0.07  -0.2    0.38  0.34 ]   0.00299  →   [ 0.0688 -0.2005   0.38   0.3411 ]
# token 2   [ 0      0      0     0    ]   ?        →   [ 0       0        0      0      ]
# ```
#
# Look at token 0: one loud channel takes the levels of its whole row. And mind token 2, padding: it must stay zero.
#
# | | |
# |---|---|
# | `x` | float tensor `(..., K)`: a token is a row, however many axes stand before it; fp32 or bf16 |
# | returns | `x̂`, the same shape: *values*, not codes. Compute in fp32; return fp32 or x's dtype |


# %%
def fake_quant_per_token(x):
    """int8 and back, one symmetric scale a row. x (..., K) → x̂ (..., K)."""
    ### BEGIN SOLUTION
    absmax = x.float().abs().amax(-1, keepdim=True)
    scale = torch.where(absmax == 0, 1.0, absmax / 127)
    codes = torch.clamp(torch.round(x.float() / scale), -127, 127)
    return codes * scale
    ### END SOLUTION


# %%
check("03.2", fake_quant_per_token)

# %% [markdown]
# ## 03.3 · How much to move
#
# Activations are hard to quantize, weights are easy. SmoothQuant gives each channel one factor that says how much of its
# loudness moves from x to W. With α between 0 and 1:
#
# $$s_k = \frac{(\max|x_k|)^{\alpha}}{(\max_n |w_{n,k}|)^{1-\alpha}}$$
#
# ```text
#           x (M, K)                  q_proj (N₁, K)     k_proj (N₂, K)     v_proj (N₃, K)
#        . . █ . . . .                . . | . . . .      . . | . . . .      . . | . . . .
#        . . █ . . . .                . . | . . . .      . . | . . . .      . . | . . . .
#            ↑ max|x_k|                   ↑______ max|w| over this column of ALL readers ____↑
# ```
#
# All layers that read the same x must share one s, since there is only one x to divide. A channel that is silent
# (max|x| = 0) or that nobody reads (max|w| = 0) has nothing to move: **its factor is 1**.
#
# | | |
# |---|---|
# | `act_absmax` | `(K,)` from task 03.1 |
# | `weights` | list of `(N_i, K)`, all readers of this x |
# | `alpha` | float, 0 … 1 |
# | returns | `s (K,)`, positive and finite |


# %%
def smooth_scales(act_absmax, weights, alpha):
    """SmoothQuant's factor of each channel, shared by all readers. (K,), [(N_i, K)], α → (K,)."""
    ### BEGIN SOLUTION
    w_absmax = torch.cat(weights).float().abs().amax(0)
    s = act_absmax.float() ** alpha / w_absmax ** (1 - alpha)
    silent = (act_absmax == 0) | (w_absmax == 0)
    return torch.where(silent, 1.0, s)
    ### END SOLUTION


# %%
check("03.3", smooth_scales)

# %% [markdown]
# ## 03.4 · Move it
#
# For *any* positive s the layer computes the same:
#
# $$x\,W^\top = x'\,W'^\top \qquad\text{with } x' = x / s$$
#
# What must W' be? Write one term of the sum, `x[m,k] · w[n,k]`, and ask where the factor went.
#
# ```text
#      x            W                       x'           W'
#   . . █ .      . . ▪ .                 . . ▪ .      . . ▪ .
#   . . █ .      . . ▪ .        →        . . ▪ .      . . ▪ .       the same product,
#   . . █ .      . . ▪ .                 . . ▪ .      . . ▪ .       nothing loud any more
# ```
#
# | | |
# |---|---|
# | `x`, `W`, `s` | `(M, K)`, `(N, K)`, `(K,)`, fp32 |
# | returns | the pair `(x', W')`, fp32 |


# %%
def migrate(x, W, s):
    """Divide the channels of x by s, and change W so that x' @ W'.T = x @ W.T. Returns (x', W')."""
    ### BEGIN SOLUTION
    return x / s, W * s
    ### END SOLUTION


# %%
check("03.4", migrate)

# %% [markdown]
# ## 03.5 · Hide it in the norm
#
# Dividing x at run time would cost a pass over x for every token. But look at who *wrote* x: an RMSNorm, and the last thing
# it does is multiply by its gain.
#
# ```text
#  before:   h ── RMSNorm ── · gain ──── x ────┬── q_proj (W₁) ──
#                                              ├── k_proj (W₂) ──
#                                              └── v_proj (W₃) ──
#
#  after:    h ── RMSNorm ── · gain' ── x' ────┬── q_proj (W₁') ──   nothing is added,
#                                              ├── k_proj (W₂') ──   nothing is paid,
#                                              └── v_proj (W₃') ──   nothing has changed
# ```
#
# Find `gain'` and the `W'`, so that every reader's output stays what it was. The weights arrive in bf16; return fp32,
# because rounding the moved weights to bf16 again would add an error of its own before quantization has even begun.
#
# | | |
# |---|---|
# | `gain` | `(K,)`, fp32 or bf16 |
# | `weights` | list of `(N_i, K)`, fp32 or bf16 |
# | `s` | `(K,)` fp32 |
# | returns | the pair `(gain', [W₁', W₂', …])`, in fp32 |


# %%
def fold_into_rmsnorm(gain, weights, s):
    """Fold 1/s into the norm's gain and s into all its readers. → (gain', [W₁', W₂', …]), fp32."""
    ### BEGIN SOLUTION
    return gain.float() / s, [W.float() * s for W in weights]
    ### END SOLUTION


# %%
check("03.5", fold_into_rmsnorm)

# %% [markdown]
# ## 03.6 · Multiply in integers
#
# What all this was for. The codes are int8, their products are summed in **int32**, and the scales come in once, after the
# sum:
#
# $$y_{m,n} = s^x_m\; s^w_n \sum_k q^x_{m,k}\; q^w_{n,k}$$
#
# ```text
#  x codes (M, K) int8 ──┐
#                        ├── Σ over k, in int32 (M, N) ── · s_x ── · s_w ── y (M, N) fp32
#  w codes (N, K) int8 ──┘
#
#  127 · 127 = 16 129: one product no longer fits int8, and three no longer fit int16 (32 767)
# ```
#
# | | |
# |---|---|
# | `x_codes`, `w_codes` | `(M, K)` and `(N, K)`, int8 |
# | `x_scale`, `w_scale` | `(M, 1)` and `(N, 1)`, fp32 |
# | returns | `y (M, N)` fp32, with an exact sum: any arithmetic that holds it exactly will do |


# %%
def int8_matmul(x_codes, w_codes, x_scale, w_scale):
    """W8A8: an exact integer sum, then both scales. → (M, N) fp32."""
    ### BEGIN SOLUTION
    total = x_codes.int() @ w_codes.int().T
    return total * x_scale * w_scale.T
    ### END SOLUTION


# %%
check("03.6", int8_matmul)

# %% [markdown]
# ## Your SmoothQuant on a real model
#
# Now all six together. First the whole model: every norm's readers are smoothed by *your* functions, and the logits must
# not notice.

# %%
import qcourse
from qcourse.methods.calibration import calibrate
from qcourse.methods.folding import widen
from qcourse.models.loader import SHIPPED
from qcourse.study import plots
from qcourse.study.perplexity import windows

model = qcourse.load_model()
text = windows(SHIPPED, n=16, seq_len=256, split="calibration")
samples = {name: stats.sample for name, stats in calibrate(model, text.ids).items()}


# %%
def tensor(yours):
    """What your function returned (tensors, arrays, or several of them) as tensors."""
    return tuple(map(tensor, yours)) if isinstance(yours, tuple | list) else torch.as_tensor(yours)


# %%
def smooth_model(model, alpha):
    """Fold your factors into every norm of the model, in place."""
    widen(model)
    for fold in (f for f in model.folds() if not f.name.endswith("down_proj")):
        weights = [reader.weight.data for reader in fold.readers]
        s = tensor(smooth_scales(tensor(channel_absmax(samples[fold.name].split(100))), weights, alpha))
        fold.writer.weight.data, moved = tensor(fold_into_rmsnorm(fold.writer.weight.data, weights, s))
        for reader, W in zip(fold.readers, moved, strict=True):
            reader.weight.data = W
    return model


def no_op():
    before = model(text.ids[:2])
    after = smooth_model(qcourse.load_model(), alpha=0.5)(text.ids[:2])
    moved = (after - before).abs().max()
    print(f"logits of size {before.abs().max():.0f}: moved by at most {moved:.1g}")


when_done(no_op)

# %% [markdown]
# If that number is tiny, nothing was lost by moving. Was anything gained? Take the loudest input of the model, the first
# layer's attention, and quantize both sides to int8. (Your per-*token* function serves for the weights too: a row of W is
# an output channel.)


# %%
name = "model.layers.0.self_attn.q_proj"
x, W = samples[name], model.model.layers[0].self_attn.q_proj.weight.float()


def output_error(alpha):
    """Of the layer's output, both sides in int8, after moving with this α (None: not at all)."""
    s = torch.ones(x.shape[1])
    if alpha is not None:
        s = tensor(smooth_scales(tensor(channel_absmax([x])), [W], alpha))
    small_x, small_W = tensor(migrate(x, W, s))
    y = tensor(fake_quant_per_token(small_x)) @ tensor(fake_quant_per_token(small_W)).T
    return ((y - x @ W.T).norm() / (x @ W.T).norm()).item()


# %%
def sweep():
    alphas = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    curve, unmoved = [output_error(a) for a in alphas], output_error(None)
    series = {"smoothed": curve, "not smoothed": [unmoved] * len(alphas)}
    title = f"Moving the loudness makes int8 {unmoved / min(curve):.1f} times more accurate"
    return plots.lines(alphas, series, title, "α", "relative error of the layer's output")


when_done(sweep)


# %%
def peaks():
    loud = tensor(channel_absmax([x]))
    s = tensor(smooth_scales(loud, [W], 0.5))
    panels = {"max|x|": loud, "max|x| / s": loud / s}
    panels |= {"max|W|": tensor(channel_absmax([W])), "max|W · s|": tensor(channel_absmax([W * s]))}
    return plots.channels(panels, "Where the peaks went (α = 0.5)", "channel", "absmax")


when_done(peaks)

# %% [markdown]
# At α = 0.5 the second and the fourth panel are the same picture: both sides have become equally loud, the geometric mean of
# what they were. That is what the formula was made for.
#
# And the last step, in real integers, must give what the simulation promised:


# %%
def quantized(t):
    """Codes (rows, K) int8 and scale (rows, 1) of a matrix."""
    scale = t.abs().amax(1, keepdim=True) / 127
    return (t / scale).round().to(torch.int8), scale


def in_integers():
    (x_codes, x_scale), (w_codes, w_scale) = quantized(x), quantized(W)
    y = tensor(int8_matmul(x_codes, w_codes, x_scale, w_scale))
    simulated = tensor(fake_quant_per_token(x)) @ tensor(fake_quant_per_token(W)).T
    print(f"integers and simulation agree to {(y - simulated).norm() / simulated.norm():.0e}")


when_done(in_integers)

# %% [markdown]
# **Think about it.** Both curves would look different with *one scale for the whole tensor* instead of one a token. Which
# would move more, and why do the fastest kernels still ask for it? (Notebook 03, sections 3 and 6.)
#
# Next: notebook 04, in your edition ([my_notebooks](../my_notebooks/04_quantize_and_eval.ipynb)) or to read ([notebooks](../notebooks/04_quantize_and_eval.ipynb)).
