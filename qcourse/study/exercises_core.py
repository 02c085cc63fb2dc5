"""Exercises A1.9 to A1.17: explain, and trace the code."""

import torch

from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.methods.smoothquant import smooth_scales
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import fake_quantize, quantize
from qcourse.numerics.schemes import INT8_TOKEN, PRESETS
from qcourse.study import cost
from qcourse.study.cheatsheet_formulas import BANDWIDTH, FLOPS, LLAMA_8B, crossing
from qcourse.study.exercise import Choice, Exercise, Number, results
from qcourse.study.exercises_warm_up import bits

LOUD, COLUMN, ALPHA = 36.0, 0.25, 0.75
ADDED, LENGTH = 0.05, 4  # bits a byte, bytes a token


def names(captures) -> dict:
    """The two that a format has to write, and who hands them out, as the package's contracts spell them."""
    create, apply = sorted(LinearMethodBase.__abstractmethods__ & {"create_weights", "apply"}, reverse=True)
    return {"base": LinearMethodBase.__name__, "create": create, "apply": apply, "config": QuantizationConfig.__name__,
            "get": QuantizationConfig.get_quant_method.__name__,
            "after": LinearMethodBase.process_weights_after_loading.__name__}  # fmt: skip


def rescaled(captures) -> dict:
    """How far whole-number products, scaled afterwards, are from the product of the dequantized sides."""
    g, args = torch.Generator().manual_seed(0), PRESETS["W8A8"].weights
    x, W = torch.randn(8, 256, generator=g), load_model().model.layers[0].self_attn.q_proj.weight.float()
    qx, qw = quantize(x, INT8_TOKEN), quantize(W, args)
    y = (qx.codes.double() @ qw.codes.double().T) * qx.scale.double() * qw.scale.double().T
    law = fake_quantize(x, INT8_TOKEN).double() @ fake_quantize(W, args).double().T
    most = (qx.codes.int().abs() @ qw.codes.int().abs().T).max().item()
    return {"apart": ((y - law).norm() / law.norm()).item(), "most": most, "int16": torch.iinfo(torch.int16).max}


def smoothed(alpha: float) -> float:
    """SmoothQuant's factor of one channel."""
    return smooth_scales(torch.tensor([LOUD]), [torch.tensor([[COLUMN]])], alpha).item()


def sizes(ends: int = 2) -> float:
    """How many times smaller Llama 3 8B is in W4A16, with so many of embedding and head counted."""
    end = 2 * LLAMA_8B.vocab_size * LLAMA_8B.hidden_size
    whole = (cost.projected_bytes(LLAMA_8B, b) for b in (16, bits("W4A16")))
    full, small = (x - (2 - ends) * end for x in whole)
    return full / small


def hindsight(captures) -> dict:
    """What each way of rounding to the same 4 bits costs SmolLM2."""
    r = results(captures, "smollm2-methods")
    found = {
        n: r[f"W4A16_ASYM_G64{way}"]["added_bits_per_byte"] for n, way in (("rtn", ""), ("gptq", "+gptq"), ("awq", "+awq"))
    }
    return found | {"bits": r["W4A16_ASYM_G64"]["bits_per_weight"]}


def paired(captures) -> dict:
    """One format's score, and its difference from bf16."""
    r = results(captures, "smollm2-weights")
    q = r["W8A16"]
    return {
        "base": r["bf16"]["bits_per_byte"],
        "own": q["bits_per_byte"],
        "stderr": q["stderr"],
        "added": q["added_bits_per_byte"],
        "paired": q["added_stderr"],
        "times": q["stderr"] / q["added_stderr"],
        "sigmas": q["added_bits_per_byte"] / q["added_stderr"],
    }


CORE = (
    Exercise("A1.9", "core", "Two methods", "A new format comes to the engine. Which two methods must its LinearMethod "
        "implement?",
        ("09 §1",), 5,
        Choice("create_weights and apply", {
            "quantize and dequantize": "an engine serves files that are quantized already; nobody has to see Ŵ",
            "pack and unpack": "those belong to a layout; a layer gets its tensors packed and multiplies them as they "
                "are",
            "get_quant_method and apply": "the first of them is the config's: it hands out the method for a layer",
            "process_weights_after_loading and apply": "the first may be left out; without parameters nothing can be "
                "loaded"}),
        "{base}.{create} registers the parameters as the file holds them: codes, scales, zero points, with shapes cut "
        "for this shard. {base}.{apply} multiplies the input by them. {after} lies between, and may do nothing; there a "
        "kernel's own order is made once. The model calls these and no others, so its code names no format.",
        names, guide="which two methods each format implements"),
    Exercise("A1.10", "core", "From the checkpoint to a layer", "When does a Linear learn which format it has?",
        ("09 §1", "09 §4"), 5,
        Choice("when it is built: the config is asked with the layer's name", {
            "when its tensors are loaded: their dtypes and shapes tell": "the parameters must be there before; an int32 "
                "tensor may be GPTQ or AWQ",
            "at the first forward: the dtype of its input decides it": "the input is 16-bit for all formats",
            "when the kernel is chosen: the device has the last word": "a kernel is chosen for what the layer already "
                "holds"}),
        "The checkpoint's config names format and rules; the engine makes one {config} of it. Each Linear, while it is "
        "built, calls {config}.{get}(layer, prefix), and gets a {base}, or the unquantized one where a rule leaves it "
        "out. The layer keeps that as quant_method and calls {create}. So one model may hold several formats, and mixed "
        "precision is a matter of rules: the first that matches a name wins.",
        names, guide="from the checkpoint's format to a method for each layer"),
    Exercise("A1.11", "core", "Where the scales act", "W8A8 (or FP8 × FP8), a scale for each token and one for each "
        "output channel. Where do the scales enter apply()?", ("03 §3", "08 §3"), 3,
        Choice("on the sum, after the product of codes", {
            "on the weights, before the product": "then the product is one of 16-bit numbers, and the fast unit is not "
                "used",
            "on both sides, before the product": "that is the law that a kernel is tested against, not the kernel",
            "nowhere: they are folded into the norm": "SmoothQuant's factors are; these change with each token"}),
        "apply() quantizes the input (one scale a token), calls a product of codes, and multiplies its sum by both "
        "scales: y[m, n] = s_x[m] · s_w[n] · Σ q_x · q_w. Neither scale depends on k, so both come out of the sum; "
        "computed both ways, the results differ by {apart:.0e} relative. In integers the sum needs 32 bits: on a matrix "
        "of the shipped model it may reach {most:,} (all signs alike), and int16 ends at {int16:,}. A scale for a group "
        "along K could not leave the sum as a whole: it has to act once each group.",
        rescaled, guide="where FP8's apply() uses scales and calls the GEMM"),
    Exercise("A1.12", "core", "Where bytes stop binding", "A GPU reads 3.35 TB/s and multiplies 990 TFLOP/s in bf16. "
        "W4A16 with 4.125 bits a weight, a batch of M tokens: from which M on does multiplying take longer than reading?",
        ("08 §1", "00 §1"), 3,
        Number("tokens", lambda: crossing(bits("W4A16")), (
            (lambda: crossing(16), "that is for weights in bf16; of 4-bit weights there is less to read"),
            (lambda: crossing(bits("W4A16")) * 2, "a weight costs two operations a token: a product and a sum"),
            (lambda: crossing(bits("W4A16")) * 8, "bits taken for bytes")), 0.02),
        "Reading a weight takes bits / 8 / {rate:.2f}e12 s, M tokens' work on it 2·M / {flops:.0f}e12 s: they meet at M = "
        "{M:.0f}. Weight-only formats (AWQ, GPTQ) multiply in 16 bits, so they gain most below that. Beyond {M:.0f} the "
        "gain shrinks, and at {full:.0f}, where bf16 meets its own ceiling, it is gone. FP8 × FP8 multiplies in 8 bits, "
        "which a tensor core does at twice the rate, and gains there, too. Its weights have 8 bits, so at one token it is "
        "at best {two:.1f} times faster than bf16, where W4A16 may reach {four:.1f}.",
        lambda captures: {"rate": BANDWIDTH / 1e12, "flops": FLOPS / 1e12, "M": crossing(bits("W4A16")),
        "full": crossing(16),
                          "two": 16 / 8, "four": 16 / bits("W4A16")},
        guide="why FP8 speeds the matmul and AWQ the bandwidth"),
    Exercise("A1.13", "core", "Four times smaller?", "Llama 3 8B in W4A16, G = 128; embedding and head stay in 16 bits "
        "(they are not tied: 128,256 × 4,096 each). By what factor is it smaller than bf16?", ("04 §6", "11 §8"), 1,
        Number("times", sizes, (
            (lambda: 4.0, "neither the scales nor what stays in 16 bits is counted"),
            (lambda: sizes(0), "that is right for the Linear layers alone"),
            (lambda: sizes(1), "embedding *and* head stay: they are not tied here"))),
        "The Linear layers shrink by {linear:.2f}, 16 / {bits:g}. Embedding and head, {ends:.2f} GB, do not. Together "
        "{full:.1f} GB become {small:.2f} GB: {factor:.2f} times smaller. The smaller a model, the larger the share of "
        "its vocabulary, and the less 4 bits buy.",
        lambda captures: {"linear": sizes(0), "bits": bits("W4A16"),
        "ends": 4 * LLAMA_8B.vocab_size * LLAMA_8B.hidden_size / 1e9,
                          "full": cost.projected_bytes(LLAMA_8B, 16) / 1e9, "factor": sizes(),
                          "small": cost.projected_bytes(LLAMA_8B, bits("W4A16")) / 1e9}),
    Exercise("A1.14", "core", "What GPTQ makes small", "GPTQ's codes lie further from the weights than rounded ones. "
        "What did it make smaller?",
        ("06 §1", "06 §5"), 2,
        Choice("the error of the layer's output, on calibration text", {
            "the error of the weights, summed over the whole layer": "rounding to nearest has the least there is",
            "the perplexity of the whole model, on calibration text": "it never runs the model on a loss; layer by layer, "
                "it looks at outputs only",
            "the number of bits a weight takes, scales counted": "codes, groups and scales are as many as before"}),
        "It rounds a column and moves the columns still to come so that the layer's output changes least, weighed by the "
        "inputs of a calibration text. The weights' own error grows. SmolLM2 with {bits:g} bits a weight pays {rtn:+.4f} "
        "bits/byte for rounding to nearest, {gptq:+.4f} with GPTQ, {awq:+.4f} with AWQ (smollm2-methods.json). Same "
        "file, same kernel, same speed: a method decides which codes, not how they are read.",
        hindsight, ("smollm2-methods",)),
    Exercise("A1.15", "core", "How far to migrate", "SmoothQuant, α = 0.75: a channel's input reaches 36, its weights "
        "0.25. By what factor s is the input divided?", ("03 §4", "03 §6"), 3,
        Number("", lambda: smoothed(ALPHA), (
            (lambda: smoothed(1 - ALPHA), "α and 1 − α have changed places: α belongs to the activations"),
            (lambda: 1 / smoothed(ALPHA), "that is what it is multiplied by: x is divided by s, W multiplied"),
            (lambda: LOUD**ALPHA * COLUMN ** (1 - ALPHA), "the weights' power divides: s = X^α / W^(1 − α)"),
            (lambda: LOUD / COLUMN, "without the powers; α shares the difficulty out")), 0.005),
        "s = X^α / W^(1 − α) = {s:.1f}. The input then reaches {x:.2f}, the column of W {w:.2f}. Before, they were "
        "{ratio:.0f} times apart, now {after:.2g} times: at α of one half they would be equal. The product is unchanged "
        "until something is rounded, and 1/s folds into the norm in front, so it costs no time.",
        lambda captures: {"s": smoothed(ALPHA), "x": LOUD / smoothed(ALPHA), "w": COLUMN * smoothed(ALPHA),
        "ratio": LOUD / COLUMN,
                          "after": COLUMN * smoothed(ALPHA) / (LOUD / smoothed(ALPHA))}),
    Exercise("A1.16", "core", "Bits per byte, as perplexity", "A format adds 0.05 bits/byte; a token of this text has 4 "
        "bytes on average. By what factor does the perplexity of a token grow?", ("04 §1",), 2,
        Number("times", lambda: 2 ** (ADDED * LENGTH), (
            (lambda: torch.tensor(ADDED * LENGTH).exp().item(), "bits, not nats: the base is 2"),
            (lambda: 2**ADDED, "that is for one byte; a token has four"),
            (lambda: 1 + ADDED, "bits add, perplexities multiply: take a power of 2"),
            (lambda: 1 + ADDED * LENGTH, "that is the added bits and 1; they are an exponent")), 0.005),
        "A token costs {more:g} bits more, so its perplexity grows by 2^{more:g} = {factor:.3f}. With another tokenizer, "
        "of 3 bytes a token, the same damage would read {other:.3f}: perplexity of a token depends on who cut the text. "
        "Bits per byte do not, which is why this course reports them.",
        lambda captures: {"more": ADDED * LENGTH, "factor": 2 ** (ADDED * LENGTH), "other": 2 ** (3 * ADDED)}),
    Exercise("A1.17", "core", "Within the error bar?", "W8A16 scores a little worse than bf16 on the same windows, by "
        "far less than either score's standard error. Is int8 worse?", ("04 §3",), 2,
        Choice("look at the difference window by window", {
            "no: it lies within the error bar": "the bars say how much windows differ from each other, which both models "
                "share",
            "yes: a larger number is worse": "a difference without its own error says nothing",
            "take twice as many windows": "that narrows both bars by a third or so; pairing narrows them far more"}),
        "On SmolLM2 bf16 scores {base:.4f}, int8 {own:.4f} bits/byte with a standard error of {stderr:.4f} "
        "(smollm2-weights.json): nothing to be seen. But an easy window is easy for both. The difference, taken window "
        "by window, is {added:+.4f} ± {paired:.4f}: {times:.0f} times narrower, and {sigmas:.0f} standard errors from "
        "nothing. Small, and real.",
        paired, ("smollm2-weights",)),
)  # fmt: skip
