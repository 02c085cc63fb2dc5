"""The interview's questions about weights, activations and methods.

A row: (asked, answer, weak, good, excellent, places, invariants). Numbers stand in braces and are rows of interview_numbers;
words in ** ** are interview.TERMS.
"""

WEIGHTS = (
    ("Why does weight quantization speed up decode?",
     "In **decode** every weight is read from memory once a step and used for one multiply and one add a user. An H100 "
     "does {tflops} TFLOP/s and reads {bandwidth} TB/s, so with one user and two bytes a weight the reading takes {idle} "
     "times as long as the arithmetic. A step is therefore as long as its bytes: a model of 8B in bf16 takes {ms_8b} ms "
     "at least, {tps_8b} tokens a second, and with W4A16 {ms_8b_w4} ms, {tps_8b_w4} tokens a second. That is a floor, the "
     "slope of the **roofline**; a **kernel** has to take the offer, by unpacking in registers. The multiplications stay "
     "in 16 bits: nothing is won there.",
     "four bits are cheaper to compute with",
     "decode is bound by memory: fewer bytes a step",
     "gives the ratio of arithmetic to bandwidth, the floor in milliseconds, and what stays in 16 bits",
     ("00 §1", "08 §1", "lab 08.5"), (1, 4)),
    ("When does weight-only quantization stop helping speed?",
     "When a step is no longer bound by the weights' bytes. Reading a weight and multiplying M tokens by it take equally "
     "long at the **crossover**: {cross_bf16} tokens in bf16 on an H100, but {cross_w4} with W4A16, because the bytes "
     "became fewer and the operations did not. From {cross_w4} on the gain shrinks, at {cross_bf16} it is gone; beyond "
     "that, in **prefill** or with many users, only a format that narrows both sides (FP8, int8 W8A8) makes the product "
     "faster. Real kernels cross earlier, since unpacking is work too: on the CPU of the capture int4 stops winning "
     "between {wins} and {loses} tokens. SmolLM2 decodes there at {decode_w4} tokens a second instead of {decode_bf16}, "
     "and its prefill falls from {prefill_bf16} to {prefill_w4}.",
     "it always helps",
     "not with large batches or long prompts: there arithmetic binds",
     "computes both points from the machine's two rates: where the gain begins to shrink, and where it is gone",
     ("08 §1", "08 §7", "04 §7", "lab 08.6"), (3, 1)),
    ("What is a scale, and who should share one?",
     "Quantization stores codes, round(W / s), and the **scale** s; s times the code is the weight again. Whoever shares "
     "a scale pays for the loudest of them, so **granularity** decides the error: tensor, channel, **group**. On SmolLM2 "
     "four bits with one scale a channel add {lost_channel} **bits/byte**, in groups of {g64} {lost_g64}, in groups of "
     "{g32} {lost_g32}. Each scale costs bits: {bits_w4_channel} a weight by channel, {bits_w4_g32} in groups of {g32}. "
     "So one stops where the next scale costs more than it brings.",
     "a scale maps floats to integers",
     "names the granularities and that finer ones are more accurate",
     "gives error and bits for each granularity, and the price of the finest",
     ("01 §1", "01 §2", "02 §2", "lab 02.1"), (2,)),
    ("How many bits does a 4-bit weight take, and why is the file not four times smaller?",
     "A **group** of {group} weights brings along a **scale** of 16 bits: {bits_w4} bits a weight, with a **zero point** "
     "{bits_w4_asym}. The linear layers shrink by {fewer_linear}. Embedding and head usually stay in 16 bits, and in a "
     "model of 8B they count: {gb_8b} GB become {gb_8b_w4} GB, {fewer_8b} times fewer. The smaller the model and the "
     "larger its vocabulary, the worse that ratio. So one counts the bytes of the file by part instead of dividing by "
     "four.",
     "four bits are a quarter of sixteen",
     "counts scales and zero points",
     "counts embedding and head too, and computes the ratio of a whole model",
     ("01 §6", "02 §2", "11 §8", "lab 02.2", "lab 04.1"), (1, 2)),
    ("Symmetric or asymmetric: when is a zero point worth it?",
     "Symmetric codes have zero in the middle and need a **scale** only; asymmetric ones add a **zero point**, so that "
     "the {levels_int4} codes of int4 reach exactly from the smallest weight to the largest. That pays where the data "
     "sits on one side, as activations after a nonlinearity do, or small **group**s by chance. On SmolLM2 in groups of "
     "{g64} zero points take the loss from {lost_g64} to {lost_asym} **bits/byte**. They cost little storage, "
     "{bits_w4_asym} instead of {bits_w4} bits in groups of {group}, but the **kernel** has to subtract them, and files "
     "disagree about how they are stored.",
     "asymmetric is more accurate",
     "says for which data, and what it stores in addition",
     "gives gain and price, and knows that zero points are where readers of files go wrong",
     ("01 §4", "02 §5", "11 §4", "lab 01.5"), (2, 4)),
    ("Why are activations harder to quantize than weights?",
     "They have **outlier** channels: a few that are loud in every token. In front of SmolLM2's attention the loudest is "
     "up to {loud_x} times the median one, and single values in front of a down projection {loud_down} times. A **scale** "
     "is shared along a row of the input, and the loud channel takes the levels of all others; a scale for each input "
     "channel cannot be factored out of an integer product. Also, activations are not there beforehand, so scales are "
     "either computed for each token or taken from **calibration**. int8 with a scale a token adds {lost_w8a8} "
     "**bits/byte**, with one static scale a tensor {lost_static}; int8 weights alone {lost_w8}.",
     "activations change with every input",
     "names outlier channels and what they do to a shared scale",
     "says why a scale for each input channel is not possible in the product, with figures for static and dynamic",
     ("03 §1", "03 §2", "03 §3", "lab 03.1", "lab 03.2"), (2, 3)),
    ("What does SmoothQuant do, and what does it cost at run time?",
     "It divides each input channel by a factor and multiplies the weights' column by the same factor: the product is the "
     "same, the **outlier** has moved from the activations into the weights. The factor balances both sides with an "
     "exponent α. Dividing is a **fold** into the norm in front, so it costs nothing at run time. On SmolLM2 static int8 "
     "loses {lost_static} **bits/byte** before and {lost_smooth} after, at a well chosen α; with all of the difficulty "
     "moved (α at its end) {lost_smooth_all}. It needs **calibration** for the loudness, and α has to be tried. Where "
     "neither a norm nor a linear layer writes the input, after a nonlinearity for instance, no fold is possible, and the "
     "division has to run.",
     "it smooths the activations",
     "the identity with the factor, and that it folds into the norm",
     "explains α as a balance with both ends being bad, and where no fold is possible",
     ("03 §4", "03 §5", "03 §6", "lab 03.4", "lab 03.5"), (3, 2)),
    ("Explain GPTQ in two minutes.",
     "Rounding to nearest minimizes the error of each weight; what counts is the error of the layer's output. With the "
     "**Hessian** of the layer's inputs that error is a quadratic form, so a rounding error in one column can be repaired "
     "by the columns that are not rounded yet. GPTQ goes column by column: round, then spread the error over the rest as "
     "the inverse Hessian says; one Cholesky factor of the inverse suffices, since its rows are, up to a factor, those "
     "that all the smaller inverses would give. Damping, a little added to the diagonal, keeps that inverse stable; "
     "act_order takes the loudest columns first, while many are left to repair them. On SmolLM2 at four bits it takes the "
     "loss from {rtn4} to {gptq4} **bits/byte**, at two bits from {rtn2} to {gptq2}. It needs **calibration**, changes "
     "codes and the scales of groups, not the format.",
     "a method that makes 4-bit models with calibration data",
     "column by column, with compensation by second-order information",
     "writes the objective, why the Cholesky factor suffices, and what damping and act_order are for",
     ("06 §2", "06 §3", "06 §4", "lab 06.3", "lab 06.5"), (2,)),
    ("How does AWQ differ from GPTQ, and can you have both?",
     "AWQ looks at how loud each input channel is, not at how channels go together. It scales up the columns that meet "
     "loud inputs before rounding, so that their steps become finer, and the factors **fold** into the layer in front; "
     "the exponent is searched in {awq_trials} trials on the layer's output error, then ranges are clipped. GPTQ chooses "
     "codes; AWQ changes what is rounded. So they combine. With little text, or text unlike the users', AWQ is the safer "
     "choice: loudness changes less from text to text than the whole Hessian to which GPTQ fits its codes. On SmolLM2 at "
     "four bits rounding alone adds {rtn4} **bits/byte**, AWQ {awq4}, GPTQ {gptq4}, both {both4}.",
     "AWQ is faster than GPTQ",
     "AWQ scales salient channels, GPTQ compensates errors",
     "names the statistic each needs (magnitudes against the Hessian), that both combine, and when AWQ is the safer "
     "choice",
     ("07 §1", "07 §2", "07 §3", "07 §6", "lab 07.4"), (2,)),
    ("You have no calibration text. What is left?",
     "Bits and **granularity**: eight bits by channel add {lost_w8} **bits/byte** on SmolLM2 and need no data. At four "
     "bits, small **group**s with **zero point**s: {lost_asym} in groups of {g64}. HQQ fits zero points that may have "
     "fractions by an error that forgives few large ones: {fzero4} becomes {hqq4}. A random rotation needs no text "
     "either. What is out of reach without **calibration** is everything that looks at inputs: GPTQ has {gptq4} there. "
     "Text generated by the model itself is a way out, but then test it on real text.",
     "use any method with random data",
     "RTN with small groups, or HQQ",
     "orders the options by measured loss and says what the missing data would have bought",
     ("07 §5", "07 §6", "01 §7", "lab 07.6"), (2,)),
    ("E4M3, E5M2 or int8: which would you take for what?",
     "A float of eight bits has its steps in proportion to the value. E4M3 reaches {limit_e4m3} with an error of at most "
     "{coarse_e4m3} % of a normal number, E5M2 reaches {limit_e5m2} with {coarse_e5m2} %. int8 has equal steps, so it is "
     "the finer one where values fill the range evenly, and the worse one under **outlier**s. As weights, int8 by channel "
     "adds {int8_zoo} **bits/byte** on SmolLM2; E5M2 adds {e5m2}, its mantissa is too short. On both sides, with a "
     "**scale** a token, E4M3 adds {lost_fp8} and int8 {lost_w8a8}. E5M2's reach is for gradients; inference takes E4M3.",
     "FP8 is better because it is a float",
     "range against precision; E4M3 for inference",
     "compares error laws, says when equal steps win, and cites losses for weights and for activations",
     ("05 §1", "05 §2", "05 §3", "lab 05.1"), (2, 3)),
    ("MXFP4 or NVFP4: what is the difference, and which loses less?",
     "Both store E2M1: {values_e2m1} values up to {limit_e2m1}. MXFP4 has blocks of {mx_group} with a **scale** that is a "
     "power of two, {bits_mxfp4} bits a weight. NVFP4 has blocks of {nv_group} with an E4M3 scale under one number for "
     "the tensor, {bits_nvfp4} bits. A power of two can be wrong by nearly a factor of two: the loudest weight is then "
     "clipped, or part of the range stays empty. On SmolLM2 MXFP4 weights add {mxfp4} **bits/byte**, NVFP4 {nvfp4}; int4 "
     "in groups of {g32}, of the same bits as NVFP4, {g32_zoo}. Beware of the number above: one file divides by it, "
     "another multiplies.",
     "they are two vendors' 4-bit floats",
     "block size and kind of scale",
     "says what the power of two costs and why, with bits and losses, and the direction of the global scale",
     ("05 §4", "05 §5", "11 §3", "lab 05.4", "lab 05.5"), (2, 4)),
    ("How would you get activations to four bits?",
     "Not by rounding them as they are: W4A4 adds {w4a4} **bits/byte** on SmolLM2, which is no model any more. A Hadamard "
     "rotation of the residual stream spreads each **outlier** over all channels; being orthogonal, it can **fold** into "
     "the weights on both sides. What sits behind a nonlinearity has to be turned online, by a fast transform. That "
     "leaves {w4a4_turned}, and GPTQ for the weights on top {w4a4_gptq}. It is still much, so block floats, mixed "
     "precision or training follow.",
     "use smaller groups",
     "rotations spread outliers, and fold into the weights",
     "separates what folds from what runs online, and admits with figures what is left",
     ("12 §1", "12 §2", "12 §3", "12 §4", "lab 12.1", "lab 12.4"), (2, 3)),
)  # fmt: skip
