"""The glossary's words about methods: how codes are chosen, what is done to W before, training, and what a scheme is.

A row: (name, what it says, where it is met, other names, other forms), as `glossary.Term` explains them.
"""

METHODS = (
    ("scheme", "what is quantized, in how many bits, and who shares a scale: W4A16, FP8_DYNAMIC. The registry is PRESETS.",
     "00 §5", "preset; recipe", ""),
    ("W4A16", "a scheme: weights in 4 bits, activations in 16. W8A8 has 8 bits on both sides. What follows says more: "
     "`_ASYM` with zero points, `_G64` in groups of 64, `_CHANNEL`, `_TENSOR`, `_STATIC`.", "00 §5", "", "W~A~"),
    ("weight-only", "of a scheme that rounds weights alone: it saves memory and bandwidth, and multiplies in 16 bits.",
     "00 §7", "", ""),
    ("as-is", "SmolLM2 with its own file's codes (Q4_1), kept and not rounded again.", "02 §7", "", ""),
    ("method", "how codes are chosen (GPTQ, HQQ …), or what is done to W before (AWQ, a rotation …); the format stays.",
     "00", "", ""),
    ("calibration", "text that a method or a static scale looks at; never the text on which the model is judged.", "00", "",
     "calibrate; uncalibrated"),
    ("fold", "to multiply a factor into weights beforehand, so that nothing is left to do at run time.", "03 §5", "", ""),
    ("migration", "dividing a loud channel of x by a factor and multiplying the same column of W: the product stays.",
     "03 §4", "", "migrate"),
    ("SmoothQuant", "moves loudness from activations into weights, by a factor for each input channel: s = max|x|^α / "
     "max|w|^(1−α). Xiao et al. 2023.", "03 §4", "", "smoothing; smoothed"),
    ("α", "the exponent that says how much of the difficulty is moved (SmoothQuant), or how finely loud columns are "
     "rounded (AWQ).", "03 §4", "alpha", ""),
    ("AWQ", "activation-aware weight quantization: columns that meet loud inputs are scaled up before rounding, by "
     "mean|x|^α, and 1/s is folded away; then ranges are clipped. Also the layout of its files. Lin et al. 2023.", "04 §1",
     "", "AutoAWQ"),
    ("salience", "how much a weight's error counts: a column is salient if its input is loud.", "07", "", "salient"),
    ("GPTQ", "a method that rounds one column of W after the other and lets the columns behind repair the error, as H⁻¹ "
     "says. Also the layout of its files. Frantar et al. 2022.", "06", "", ""),
    ("Hessian", "H = XᵀX of a layer's inputs x, (K, K): which errors of weights are felt together at the output.", "06 §3",
     "", "H"),
    ("damping", "a hundredth of H's mean diagonal, added to its diagonal, so that there is an inverse.", "06 §3", "",
     "damped"),
    ("Cholesky factor", "the triangular U with UᵀU = H⁻¹: its rows are, up to a factor, what all of GPTQ's steps need.",
     "06 §4", "", "triangular factor"),
    ("lazy blocks", "repairing at once inside 128 columns, and everything behind them with one product for the block.",
     "06 §4", "", ""),
    ("optimal brain surgery", "the closed answer to where the free weights should go when one is fixed. Hassibi & Stork "
     "1993.", "06 §2", "", ""),
    ("act_order", "the order in which GPTQ takes columns, the loudest input first. static: groups stay those of the file; "
     "group: neighbours in the order share a scale (g_idx).", "06 §6",
     "desc_act (GPTQ's files); `actorder` (compressed-tensors)", ""),
    ("g_idx", "a tensor of GPTQ files, (K): the group of each input channel, where groups were formed along the order.",
     "02 §5", "", ""),
    ("GPTAQ", "GPTQ with the 16-bit model's output as its target, so that inherited errors are repaired too. Li et al. "
     "2025.", "06 §7", "", ""),
    ("HQQ", "half-quadratic quantization: moves zero points so that Σ|w − ŵ|^0.7 falls. No data. Badri & Shaji 2023.",
     "07 §5", "", "half-quadratic"),
    ("AutoRound", "learns for each weight whether it is rounded up or down, and each range, by the signs of gradients. "
     "Cheng et al. 2023.", "07 §6", "", ""),
    ("imatrix", "importance matrix: the mean of x² for each column, the diagonal of H up to a factor; a search for scales "
     "weighs errors by it. From llama.cpp.", "07 §6", "", "importance matrix"),
    ("least squares", "the fit with the least sum of squared errors.", "05 §7", "", "squared error"),
    ("super weight", "a single weight that a model cannot lose: it writes the huge value on which attention rests. Yu et "
     "al. 2024.", "03 §9", "", ""),
    ("massive activation", "a single activation at one token, orders of magnitude larger than all others. Sun et al. 2024.",
     "03 §8", "", ""),
    ("mixed precision", "several formats in one model, by rules: 8 bits for the few layers that cost most, say.", "04 §8",
     "", ""),
    ("sensitivity", "what a model loses when one layer, or one kind of matrix, is rounded and all others are not.", "04 §8",
     "", "which layers cannot bear"),
    ("rotation", "multiplying channels by an orthogonal matrix, Q Qᵀ = 1: lengths stay, and a peak is spread over all.",
     "12", "", "rotate; turned; orthogonal; orthonormal"),
    ("Hadamard matrix", "a rotation with entries ±1/√K only, so that no channel stays loud; a fast transform needs K·log₂ "
     "K additions.", "12 §1", "", "Hadamard"),
    ("R1", "QuaRot's and SpinQuant's rotations: R1 of the residual stream and R2 of values fold into weights; R3 of "
     "queries and keys and R4 before down_proj run online.", "12 §2", "", "R~; SpinQuant; QuaRot"),
    ("online", "done while the model runs, for every token, because no weight before it can take it over.", "12 §3", "",
     ""),
    ("QAT", "quantization-aware training: the forward pass uses rounded weights, so that the others make good what each "
     "lost.", "12", "", "quantization-aware training; training through the rounding"),
    ("straight-through", "handing the slope at the rounded weight to the unrounded one, as if round had slope 1.", "12",
     "straight-through estimator; STE", "passes it straight; pass it straight"),
    ("latent weight", "the full-precision weight that training moves, while the model uses its rounded value.", "12 §5", "",
     "latent"),
    ("distillation", "training a student on a teacher's whole distribution, by KL(teacher ‖ student).", "12 §6", "",
     "distil; teacher; student"),
    ("gradient", "the slopes of a loss, one for each weight; training goes against them.", "05 §1", "", ""),
    ("optimizer", "what turns gradients into steps of the weights. Adam keeps two moments for each weight.", "12 §5", "",
     "moments"),
    ("learning rate", "how far a step of training moves weights along the gradient.", "12", "", ""),
    ("QuIP#", "a vector codebook of 8 weights a code, entries of the lattice E8, after a rotation. Tseng et al. 2024.",
     "12 §7", "", "lattice; E8"),
    ("AQLM", "a vector codebook whose entries are sums of entries of several learnt books. Egiazarian et al. 2024.",
     "12 §7", "", ""),
    ("QTIP", "a trellis: a weight's value is computed from a window of bits that overlaps its neighbours'. Tseng et al. "
     "2024.", "12 §7", "", "trellis"),
    ("k-means", "finds a codebook by turns: each point to its nearest entry, each entry to the mean of its points. For "
     "single weights of a Gaussian it finds Lloyd and Max's values.", "12 §7", "", "Lloyd"),
)  # fmt: skip
