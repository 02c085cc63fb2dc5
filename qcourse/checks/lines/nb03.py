"""Notebook 03's lines: which axis, and what is multiplied back."""

from qcourse.checks.line import Line

LINES = {
    "03.a": Line("peaks", "x.abs().amax(0)", {
        "x.abs().amax(1)": "that is the loudest value of each *token*; over all tokens, one value a channel",
        "x.abs().amax(0, keepdim=True)": "right numbers, but shape (1, K); (K,) is asked for",
        "x.amax(0)": "a channel may be loud on the negative side",
        "x.abs().mean(0)": "the mean hides what happens once; the scale has to hold the loudest value",
        "x.abs().max()": "the loudest of all; one value a channel is asked for",
    }),
    "03.b": Line("s_tensor", "x.abs().max() / 127", {
        "x.abs().amax(0) / 127": "a scale a *channel*: it depends on k and cannot leave the sum over k",
        "x.abs().amax(1, keepdim=True) / 127": "that is a scale a token; here one for everything",
        "x.abs().max() / 255": "127 steps lie on each side of zero",
        "x.abs().max() / 128": "the outermost code is 127",
        "x.abs().max() / 127.5": "that is the full range −128 … 127; this grid ends at ±127",
    }),
    "03.c": Line("s_token", "x.abs().amax(1, keepdim=True) / 127", {
        "x.abs().amax(0, keepdim=True) / 127": "a scale a *channel*: it depends on k and cannot leave the sum over k",
        "x.abs().amax(0) / 127": "that is a scale for each *channel*: it depends on k and cannot leave the sum over k",
        "x.abs().max() / 127": "that is one for everything; each row of x is a token",
        "x.abs().amax(1) / 127": "right numbers, but shape (T): to divide x (T, K) row by row it has to be (T, 1)",
    }),
    "03.d": Line("fixed", "first.absmax.max().item() / 127.5", {
        "first.absmax.median().item() / 127.5": "everything louder than the median channel would be clipped",
        "first.absmax.max().item()": "the loudest value has to land on the last step: divide by 127.5",
        "first.absmax / 127.5": "a scale for each channel; one for all of them is fixed",
        "first.absmax.max().item() / 127": "that is the restricted range −127 … 127; the full one has half a step more",
        "first.absmax.mean().item() / 127.5": "everything louder than the mean of the channels' peaks would be clipped",
    }),
    "03.e": Line("s", "first.absmax**alpha / w_peaks ** (1 - alpha)", {
        "w_peaks ** (1 - alpha) / first.absmax**alpha": "upside down: the louder the channel of x, the "
        "*larger* `s`, since "
        "x is divided by it",
        "first.absmax**alpha": "that is right only for weights that are all equally large",
        "first.absmax**alpha * w_peaks ** (1 - alpha)": "a column of W that is large already should be made "
        "larger *less*: "
        "divide by it",
        "first.absmax ** (1 - alpha) / w_peaks ** alpha": "the exponents are swapped: α says how much of the "
        "*activations'* loudness moves",
        "first.absmax / w_peaks": "that moves everything; the exponents share it out",
    }),
    "03.f": Line("moved_W", "W * s", {
        "W / s": "both would be divided; what x loses has to be given to W",
        "W": "the matching columns of W have to grow: otherwise it is another function",
    }),
    "03.g": Line("folded", "gain / s", {
        "gain * s": "that makes x louder still: the norm should write x / s",
        "gain": "then nothing was divided: x stays as it was, and W was multiplied",
        "1 / s": "the gain itself is still needed: divide *it*",
        "s / gain": "upside down: the gain is divided by `s`",
    }),
    "03.h": Line("s_zero", "1 / W.abs().amax(0)", {
        "torch.ones_like(first.absmax)": "α = 0 is not *no* smoothing: max|x|⁰ is 1, and the weights are still evened out",
        "first.absmax": "that is α = 1",
        "1 / W.abs().amax(1)": "one value a *row* of W; a channel of x meets a column",
        "W.abs().amax(0)": "upside down: a column that is large already gets a small factor",
    }),
    "03.i": Line("absorbed", "k * s_plain", {
        "s_plain": "the trick made x louder by k and W smaller by k; `s` sees both",
        "k**0.5 * s_plain": "√k from max|x|^α and √k from max|w|^(1−α): together k",
        "s_plain / k": "the other way round: x became louder",
    }),
    "03.j": Line("kept", "costs[at_alpha[0.8]] / costs['W8A8_STATIC']", {
        "1 - costs[at_alpha[0.8]] / costs['W8A8_STATIC']": "that is what was won back; what is left of the damage",
        "costs['W8A8_STATIC'] / costs[at_alpha[0.8]]": "the other way round",
        "costs[at_alpha[0.8]]": "that is in bits a byte; as a share of W8A8_STATIC's",
        "costs['W8A8'] / costs['W8A8_STATIC']": "that is a scale a token, not SmoothQuant",
    }),
    "03.k": Line("w_peaks", "W.abs().amax(0)", {
        "W.abs().amax(1)": "that is one value for each *output* channel; a channel of x meets a column of W",
        "W.amax(0)": "the loudest weight of a column may be negative",
        "W.abs().max()": "the loudest of all; one value for each column",
        "W.abs().mean(0)": "the mean; the loudest weight sets the scale that W will need",
    }),
}  # fmt: skip
