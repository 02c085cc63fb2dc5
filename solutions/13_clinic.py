# %% [markdown]
# # Lab 13 · The clinic
#
# **What you build.** Instruments and mends for models that load, run and are wrong: which layer is ill, what became of its codes,
# words put right again, a norm put right again, and an audit of whoever measured. Then you get a patient of your own. At the end
# your functions go on a ward round: they find and mend real folders.
#
# About 60 minutes, after notebook 13 ([yours](../my_notebooks/13_clinic.ipynb), [to read](../notebooks/13_clinic.ipynb)). Letters: `W (N, K)` is a weight, `y = x @ W.T`; G weights along K share a scale and a zero point.
#
# The *twin* is the same model in the same format, made right. Where no twin is at hand, the model in 16 bits takes its place in
# 13.1, and a folder that you write yourself in 13.2.

# %%
import logging
import math
import tempfile
from pathlib import Path

import numpy as np
import torch

from qcourse import check, hint, solution, when_done
from qcourse.models.loader import load_model
from qcourse.study import plots
from qcourse.study.clinic import CASES, RIGHT, diagnose, examine, for_student, held, patient, spoil, tree_figure
from qcourse.study.clinic.codes import held_by

logging.getLogger("qcourse").setLevel(logging.ERROR)  # it would name formats without a fast kernel

# %% [markdown]
# `check("13.1", your_function)` tries your function on fresh random inputs and, if it is wrong, names the misconception.
# `hint("13.1")` nudges, `hint("13.1", 2)` and `hint("13.1", 3)` say more; `solution("13.1")` shows ours, for afterwards. Tensors
# in, tensors out; NumPy arrays are welcome too. Never change an input in place.

# %% [markdown]
# ## 13.1 · Which layer is ill?
#
# An error runs downhill: behind an ill layer, everything that the model computes is wrong. To find the ill layer itself, each layer
# is asked alone, on the input that a healthy model would have given it:
#
# $$e_l = \frac{\lVert y_l - y_l^\text{twin} \rVert}{\lVert y_l^\text{twin} \rVert} \qquad y_l = h_l\,W_l^\top \quad y_l^\text{twin} = h_l\,(W_l^\text{twin})^\top \qquad h_{l+1} = \tanh(y_l^\text{twin}), \; h_0 = x$$
#
# ```text
#   twin       x ──→ W₀ ── y₀ ── tanh ──→ W₁ ── y₁ ── tanh ──→ W₂ ── y₂
#              │                  │                    │
#              └──→ W₀'           └──→ W₁'             └──→ W₂'        the patient's layers, fed by the twin
#
#   running    e₀ 0.0             e₁ 0.5               e₂ 0.3          the patient as it runs: which one is it?
#   alone      e₀ 0.0             e₁ 0.5               e₂ 0.0          layer 1, and no other
# ```
#
# ‖·‖ is the root of the sum of squares over all tokens and outputs of the layer. It is taken of the linear output, in front of the
# tanh.
#
# | | | |
# |---|---|---|
# | in | `x` | float32, `(M, K)`: M tokens |
# | | `twin`, `patient` | float32, `(L, K, K)`: L square weights each, in the order in which they run |
# | out | `errors` | float, `(L,)`: 0 where the patient's layer is the twin's |


# %%
def errors_alone(x, twin, patient):
    """‖y − y_twin‖ / ‖y_twin‖ of each layer, on the twin's input of that layer. (M, K), (L, K, K) twice → (L,)."""
    ### BEGIN SOLUTION
    h, errors = x, []
    for W_twin, W in zip(twin, patient, strict=True):
        y_twin = h @ W_twin.T
        errors.append((h @ W.T - y_twin).norm() / y_twin.norm())
        h = y_twin.tanh()
    return torch.stack(errors)
    ### END SOLUTION


# %%
check("13.1", errors_alone)

# %% [markdown]
# ## 13.2 · Whose codes are these?
#
# The layer is found. What does it hold? An accident in a packer or a reader loses no code: each is there, in a wrong place, or
# beside a wrong zero point. So look for the twin's codes in the patient's:
#
# ```text
#   twin          codes  3 9 1 12     zeros 7      the answer          how the patient looks
#                        0 5 8 2      zeros 6
#                                                  "nothing"           all codes and zero points are the twin's
#   patient       codes  9 3 12 1           7      "zero points"       the codes are; all zero points are one higher,
#                        5 0 2 8            6                          or all are one lower
#                        └┴─ neighbours            "nibbles"           columns 0 and 1, 2 and 3 … are exchanged,
#                            along K                                   the zero points are the twin's
#                                                  "rows"              the same rows in another order, each with its
#                 here: "nibbles"                                      own zero points, each as often as in the twin
#                                                  "another"           none of these
# ```
#
# The answers are asked in this order: the first that fits is given. A code that is off by one, a zero point that moved by two, or
# rows that left their zero points behind are "another": a mend has to lead back to every number.
#
# | | | |
# |---|---|---|
# | in | `codes`, `twin_codes` | uint8, `(N, K)`: 0 … 15, K even; no two rows of the twin's are alike |
# | | `zeros`, `twin_zeros` | uint8, `(N, K/G)` |
# | out | | one of `"nothing"`, `"zero points"`, `"nibbles"`, `"rows"`, `"another"` |


# %%
def what_moved(codes, zeros, twin_codes, twin_zeros):
    """What became of the twin's codes: "nothing", "zero points", "nibbles", "rows" or "another"."""
    ### BEGIN SOLUTION
    moved = zeros.int() - twin_zeros.int()
    if torch.equal(codes, twin_codes):
        if (moved == 0).all():
            return "nothing"
        return "zero points" if (moved == 1).all() or (moved == -1).all() else "another"
    swapped = twin_codes.unflatten(1, (-1, 2)).flip(2).flatten(1)
    if torch.equal(codes, swapped) and (moved == 0).all():
        return "nibbles"
    rows = sorted(torch.cat((codes, zeros), 1).tolist())
    return "rows" if rows == sorted(torch.cat((twin_codes, twin_zeros), 1).tolist()) else "another"
    ### END SOLUTION


# %%
check("13.2", what_moved)

# %% [markdown]
# ## 13.3 · Mend them
#
# Two codes of 4 bits share a byte, and which of them lies in the lower half is a convention. Who packs by one and reads by the
# other exchanges neighbours along K, in every byte of every word. The mend is the same exchange once more.
#
# ```text
#   a word (int32), in hexadecimal     0x 7 6 | 5 4 | 3 2 | 1 0       code 0 in the lowest four bits
#                                         ╳     ╳     ╳     ╳
#   the two halves of each byte        0x 6 7 | 4 5 | 2 3 | 0 1
# ```
#
# int32 has a sign: the highest bit of code 7 is the sign of the whole word, and `>>` brings copies of it in from the left.
#
# | | | |
# |---|---|---|
# | in | `words` | int32, `(N, K/8)`: eight codes of 4 bits a word, the first lowest |
# | out | `words` | int32, `(N, K/8)`: the two codes of each byte exchanged |


# %%
def swap_nibbles(words):
    """The two 4-bit halves of each byte in each other's place. int32 (N, K/8) → int32 (N, K/8)."""
    ### BEGIN SOLUTION
    low = words & 0x0F0F0F0F
    high = words >> 4 & 0x0F0F0F0F
    return low << 4 | high
    ### END SOLUTION


# %%
check("13.3", swap_nibbles)

# %% [markdown]
# ## 13.4 · A fold too few, or one too many
#
# SmoothQuant divides a norm's gain by s, channel by channel, and multiplies the columns of the matrices behind it by s. If the
# first half is forgotten, the input of those matrices is too loud by s (where s < 1, too quiet); if it is done twice, the other way round. In the file nothing looks
# strange. What one can hear is the loudness of each channel (its largest |x| on some text), in three models:
#
# $$s = \frac{\text{plain}}{\text{twin}} \qquad\quad \frac{\text{patient}}{\text{twin}} \approx \begin{cases} 1 & \text{healthy} \\ s & \text{forgotten} \\ 1/s & \text{twice} \end{cases}$$
#
# ```text
#   log patient/twin                                     plain: the model in bf16, nothing was folded
#        │        ╱ forgotten: slope +1                  twin: the gain was divided by s, once
#        │      ╱
#        │    ╱
#   ─────┼──╳──────────── healthy: slope 0
#        │    ╲
#        │      ╲
#        │        ╲ twice: slope −1                      along the axis: log plain/twin = log s, a point a channel
# ```
#
# `twin` and `plain` are exact here; the patient was heard through its own quantization and is off by up to a few in a hundred,
# channel by channel. In some channels s is 1 or hardly more, in others above or below. One decision is made for the norm; then its
# gain is mended by the exact s. A channel that is silent (0 in all three) keeps its gain: its s is 1.
#
# | | | |
# |---|---|---|
# | in | `gain` | float32 or bf16, `(K,)`: of the patient's norm |
# | | `patient`, `twin`, `plain` | float32, `(K,)`, ≥ 0: the loudness of each channel behind the norm |
# | out | `gain` | float32, `(K,)`: the twin's gain |


# %%
def mend_gain(gain, patient, twin, plain):
    """A norm's gain after a fold that was forgotten (÷ s) or applied twice (· s), s = plain/twin; or as it is. (K,) each."""
    ### BEGIN SOLUTION
    patient, twin, plain = (loud.clamp(min=1e-9) for loud in (patient, twin, plain))
    s = plain / twin
    x, y = s.log(), (patient / twin).log()
    slope = (x @ y) / (x @ x)
    if slope > 0.5:
        return gain.float() / s
    return gain.float() * s if slope < -0.5 else gain.float()
    ### END SOLUTION


# %%
check("13.4", mend_gain)

# %% [markdown]
# ## 13.5 · Is the meter right?
#
# A model that is not ill looks ill, or too well, when it is measured wrongly. Perplexity is a protocol, and three facts of it can
# be read off the ids alone, without any model:
#
# ```text
#   a right meter                        two markers                      not shifted
#   inputs    ⏎ the cat sat              ⏎ ⏎ the cat sat                  ⏎ the cat sat
#   targets   the cat sat on             ⏎ the cat sat on                 ⏎ the cat sat
#                                        └ is scored, too                 └ "predicts" what it has just read
# ```
#
# 1. **Markers in front** (⏎, the id `bos`): how many, before the text begins. Every window has the same number. Here the marker
#    also ends a document, so it may stand inside of a text; no text begins with it.
# 2. **Next ids**: the share of targets that are the next input of their window. The last target of a window has no input behind it
#    and is not counted.
# 3. **Windows read**: the share of the n scored windows that calibration has read. `read` holds windows of text, T ids each,
#    without a marker. A scored window counts if its first T ids behind the markers are one of them.
#
# | | | |
# |---|---|---|
# | in | `inputs`, `targets` | int64, `(n, m)`: what was put in, and what each position was asked for |
# | | `bos` | int: the marker's id |
# | | `read` | int64, `(r, T)`: what calibration has read, T ≤ m less the markers |
# | out | | `(markers, next ids, windows read)`: an int and two shares, 0 … 1 |


# %%
def audit(inputs, targets, bos, read):
    """(markers in front, share of targets that are the next input, share of the windows that calibration has read)."""
    ### BEGIN SOLUTION
    markers = int((inputs[0] != bos).int().argmax())
    next_ids = (targets[:, :-1] == inputs[:, 1:]).float().mean().item()
    text = inputs[:, markers : markers + read.shape[1]]
    seen = (text[:, None] == read).all(2).any(1)
    return markers, next_ids, seen.float().mean().item()
    ### END SOLUTION


# %%
check("13.5", audit)

# %% [markdown]
# ## 13.6 · Your own patient
#
# Now one that nobody has shown you. Your number draws it: which bug, where, how strong. Alone, take `for_student("your name", 13)`;
# in a class, the number that your teacher gave you. Write it down here and run the cells. Symptoms first.

# %%
NUMBER = 4763  # yours goes here

# %%
p = patient(NUMBER)
p.symptoms()

# %% [markdown]
# Then the instruments. `examine(p, name)` gives a record with `.table()` and `.figure()`; the names are "meter", "headers", "errors
# by layer", "loudness", "positions" and "codes" (which takes a layer as well: `examine(p, "codes", layer)`). The order of the tree
# is a good one: is the meter right, what do the headers say, which layer is ill alone, and only then its codes or its loudness.
# `tree_figure()` draws it.

# %%
examine(p, "meter").table()

# %%
examine(p, "headers").table()

# %%
examine(p, "errors by layer").figure()

# %% [markdown]
# More cells are yours. When you know the cause, mend it: `spoil(p.folder, somewhere, change)` writes a copy of the folder on which
# `change(config, tensors)` has worked, in place; it mends as well. Where the meter was wrong, the model needs no mend: the right
# meter's number is asked. `diagnose(p, cause, mended)` tells what it thinks of a cause and a mended folder before you report.
# `CASES[cause].mend` says what to do. Where codes or scales have to be made again and you have no way to make them, put the twin's
# tensors (`held(p.reference_folder)`) in their place.
#
# Let your function mend and score, rather than type the number in: the windows are cut out of the files of the Python that runs it, and
# whoever grades may run another one.
#
# | | | |
# |---|---|---|
# | in | | nothing |
# | out | | the triple `(number, cause, bits)` |
# | | `number` | int: your patient's |
# | | `cause` | str: a name of `CASES` (below) |
# | | `bits` | float: bits/byte of the mended model on `p.other_text` by the right meter: `RIGHT.read(model, p.other_text).bits` |

# %%
print(*CASES, sep="\n")


# %%
def my_patient():
    """Your report: (number, cause, bits/byte of the mended patient on `other_text`)."""
    ### BEGIN SOLUTION
    p = patient(NUMBER)

    def change(config, tensors):
        for name in examine(p, "headers").numbers:  # the global scales that are not the twin's
            tensors[name] = 1 / tensors[name]

    with tempfile.TemporaryDirectory() as folder:
        spoil(p.folder, Path(folder) / "mended", change)
        mended = load_model(Path(folder) / "mended")
    return NUMBER, "global scale inverted", RIGHT.read(mended, p.other_text).bits
    ### END SOLUTION


# %%
check("13.6", my_patient)

# %% [markdown]
# ## The ward round
#
# Your functions on real folders. First your 13.1: the square matrices of a patient (`q_proj` and `o_proj` of each block), taken as
# a chain. A quantized layer is asked for its weight by what it does to the unit vectors. Beside it, the same chain with each model
# on its own stream.


# %%
def floats(yours):
    """What your function returned as a float32 tensor."""
    return torch.as_tensor(yours).float()


def weight(layer):
    """(256, 256): what a layer does to the unit vectors, transposed."""
    with torch.inference_mode():
        return layer(torch.eye(256)).T.float().clone()


first = patient(13)
square = [f"model.layers.{i}.self_attn.{site}" for i in range(4) for site in ("q_proj", "o_proj")]
ill, twin = (torch.stack([weight(m.linears()[n]) for n in square]) for m in (first.model, first.reference))


def running(x, twin, patient):
    """The error of each layer in the running chain."""
    a, b, found = x, x, []
    for W_twin, W in zip(twin, patient, strict=True):
        y, y_twin = a @ W.T, b @ W_twin.T
        found.append(float((y - y_twin).norm() / y_twin.norm()))
        a, b = y.tanh(), y_twin.tanh()
    return found


def which_layers():
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    alone, together = floats(errors_alone(x, twin, ill)).tolist(), running(x, twin, ill)
    short = [n.removeprefix("model.layers.").replace("self_attn.", "") for n in square]
    struck = [n for n, e in zip(short, alone, strict=True) if e > 1e-4]
    title = f"Alone, {len(struck)} of {len(square)} are ill: {', '.join(struck)}; in the running chain {sum(e > 1e-4 for e in together)} are"
    labels = [f"{n}, {how}" for n in short for how in ("alone", "running")]
    values = [e for pair in zip(alone, together, strict=True) for e in pair]
    return plots.bars(labels, values, title, "relative error of the output", colors=[plots.BLUE, plots.GREY] * len(square))


when_done(which_layers)

# %% [markdown]
# Then your 13.2, asked of every layer of that patient: one kind of answer for each layer that is ill, "nothing" for the others.


# %%
def pair_of(p, name):
    """(codes, zeros) of the patient's layer, and the twin's, as 0 … 15; symmetric codes have their zero point at 8."""
    found = []
    for model in (p.model, p.reference):
        h = held_by(model.linears()[name])
        eights = torch.full(h.scale.shape, 8, dtype=torch.uint8)
        found += [(h.codes + 8).byte() if h.signed else h.codes, eights if h.zero is None else h.zero]
    return found


def answers(p):
    """Layer → what your what_moved says."""
    return {name: what_moved(*pair_of(p, name)) for name in p.model.linears() if name != "lm_head"}


def diagnosis():
    found = answers(first)
    for answer in sorted(set(found.values())):
        names = [n.removeprefix("model.layers.") for n, a in found.items() if a == answer]
        print(f"{answer}: {len(names)} layers: {', '.join(names[:8])}{' …' * (len(names) > 8)}")


when_done(diagnosis)

# %% [markdown]
# And the mends: the words by your 13.3, where your 13.2 said "nibbles"; the norm of a second patient by your 13.4; and a third one
# that your 13.5 finds to be in good health, measured by a wrong meter. Each is judged by the clinic.


# %%
def mended_codes(p, out):
    """The words of every layer that needs it, through your swap_nibbles."""
    struck = [name for name, answer in answers(p).items() if answer == "nibbles"]

    def change(config, tensors):
        for name in struck:
            words = torch.as_tensor(swap_nibbles(tensors[f"{name}.weight_packed"]))
            tensors[f"{name}.weight_packed"] = words

    spoil(p.folder, out, change)
    return out


def mended_norm(p, out):
    """The gain of the norm that differs, through your mend_gain: loudness is heard at the first matrix behind it."""
    heard = examine(p, "loudness")
    (norm,) = examine(p, "errors by layer").struck
    block, which = norm.rsplit(".", 1)
    at = f"{block}.self_attn.q_proj" if which == "input_layernorm" else f"{block}.mlp.gate_proj"

    def change(config, tensors):
        gain = tensors[f"{norm}.weight"]
        mended = floats(mend_gain(gain, heard.patient[at], heard.twin[at], heard.plain[at]))
        tensors[f"{norm}.weight"] = mended.to(gain.dtype)

    spoil(p.folder, out, change)
    return out


def audited(p):
    """The right meter, if your audit finds fault with the patient's; else the patient's own."""
    nothing = torch.full((1, 1), -1)  # calibration has read no text
    read = nothing if p.planted.calibration is None else p.planted.calibration[:, 1:33]
    markers, next_ids, seen = audit(p.reading.inputs, p.reading.targets, int(p.text.ids[0, 0]), read)
    print(f"markers in front: {markers}, next ids: {next_ids:.1%}, windows that calibration has read: {seen:.0%}")
    return RIGHT if (markers, next_ids) != (1, 1.0) else p.meter


# %%
def ward_round():
    second, third = patient(11), patient(5)
    with tempfile.TemporaryDirectory() as folder:
        rounds = {
            "swapped nibbles": (first, mended_codes(first, Path(folder) / "codes")),
            "a fold applied twice": (second, mended_norm(second, Path(folder) / "norm")),
            "a double BOS": (third, audited(third)),
        }
        bits, healed = {}, 0
        for cause, (p, mended) in rounds.items():
            verdict = diagnose(p, cause, mended)
            healed += verdict.right
            print(verdict)
            now = mended.read(p.model, p.other_text) if cause == "a double BOS" else RIGHT.read(load_model(mended), p.other_text)
            bits |= {f"{cause}: as it came": p.damaged, f"{cause}: by you": now.bits, f"{cause}: twin": p.elsewhere[1]}
    title = f"{healed} of {len(rounds)} are mended: their bits/byte are the twin's again"
    colors = [plots.ORANGE, plots.BLUE, plots.GREY] * len(rounds)
    return plots.bars(list(bits), list(bits.values()), title, "bits/byte on text that nobody has looked at", colors=colors)


when_done(ward_round)

# %% [markdown]
# Read the bars in threes. A number alone says that something is wrong, and not what; the mend that fits one cause leaves every
# other as it was. And what your audit found is no illness of the model at all: another reading of the same weights gives the twin's
# number.
#
# **Think about it.** Which of the three would you have found without a twin, from the file alone, or from the 16-bit model? And
# which of the causes in `CASES` would all of your five functions pass as healthy?
#
# Back to [notebook 13](../notebooks/13_clinic.ipynb). Next: [A1 · Exercises](../notebooks/A1_exercises.ipynb).
