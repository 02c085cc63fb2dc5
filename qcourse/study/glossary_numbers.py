"""The glossary's words about numbers: codes and scales, who shares them, dtypes, float formats, codebooks.

A row: (name, what it says, where it is met, other names, other forms), as `glossary.Term` explains them.
"""

NUMBERS = (
    ("quantization", "storing a number as a code of few bits and a scale that turns the code back: round(w/s) and s.",
     "01 §1", "", "quantize; requantize; quantizer"),
    ("fake quantization", "rounding and at once multiplying back: the error of a format without its savings.", "01",
     "`fake_quantize`", "fake-quantize"),
    ("dequantize", "to turn codes back into numbers, ŵ = s·(q − z), as floats of 16 or 32 bits.", "08", "",
     "dequantization"),
    ("code", "what is stored for a number: a whole number, a float of few bits, or a place in a codebook.", "01 §3", "",
     ""),
    ("grid", "the values that codes can stand for, before the scale.", "01 §1", "", ""),
    ("level", "one value of a grid. int4 has 16 levels, 15 in its restricted range.", "02 §1", "", ""),
    ("step", "the distance of neighbouring levels, in weight units: s on an integer grid. A float's step grows with its "
     "value. (In decoding a step is one pass through the model: see decode.)", "01 §1", "", ""),
    ("scale", "the factor between codes and weights, w ≈ s·q, in weight units a step; one for each tensor, channel, "
     "group, block or token. It multiplies when codes are dequantized.", "01 §1",
     "`weight_scale` (compressed-tensors); `scales` (GPTQ, AWQ); `d` (GGUF); `weight_scale_inv` (DeepSeek; it multiplies)",
     ""),
    ("zero point", "the code that stands for the real number 0: q = round(w/s) + z, ŵ = s·(q − z). It shifts a grid to "
     "where the data lies.", "01 §4", "`zero_point` (compressed-tensors); `qzeros` (GPTQ, AWQ)", ""),
    ("float zero point", "a shift stored as a float in weight units, ŵ = s·q − c: fractions of a step survive, and the "
     "level at exactly 0 is lost.", "07 §5", "", "FZERO"),
    ("minimum", "the smallest value of a block or group, stored beside its scale instead of a zero point: ŵ = s·q + m. "
     "K-quants store −m.", "02 §7", "`m` (GGUF)", "minima"),
    ("symmetric", "with codes around zero and a scale only; asymmetric: with a zero point or a minimum as well.", "01 §1",
     "", "sym; asym; asymmetric; ASYM"),
    ("restricted range", "the symmetric part of a grid, ±7 in int4, ±127 in int8: s = absmax/7 or absmax/127.", "01 §4", "",
     "restricted"),
    ("full range", "all codes of a signed grid, −8 … 7 in int4, with s = absmax/7.5; the largest positive weight is off "
     "by half a step.", "01 §4", "", ""),
    ("absmax", "the largest absolute value among those that share a scale. A scale of absmax over the outermost code "
     "clips nothing.", "01 §4", "amax; `max|w|`", "peak"),
    ("min/max", "a scale from the smallest and the largest value, s = (max − min) / (number of codes − 1); used with zero "
     "points.", "07 §5", "minmax", "max − min"),
    ("clamp", "to set a code that lies outside the grid to the nearest end of it; without it the code wraps around to the "
     "other end.", "01 §3", "", "wrap around; wrapped around"),
    ("saturate", "what a value beyond the grid does when it is clamped: it becomes the outermost one.", "01 §3", "",
     "saturation"),
    ("clipping", "choosing a range smaller than absmax: the outermost weights lose, all others get a finer step.", "01 §5",
     "", "clip; clipped; unclipped"),
    ("rounding to nearest", "the plain way to choose codes: each weight takes its nearest one, as if it were alone. No "
     "data.", "06 §5", "RTN; plain rounding", "round-to-nearest; round to nearest; nearest"),
    ("granularity", "who shares a scale: a tensor, a channel, a group, a block, a token.", "01 §2",
     "`strategy` (compressed-tensors)", ""),
    ("per tensor", "with one scale for the whole matrix; the coarsest granularity.", "03 §2", "",
     "scale a tensor; per-tensor; TENSOR"),
    ("channel", "an output channel is a row of W, an input channel a column of W and a feature of x. Per channel: one "
     "scale for each row of W.", "01 §2", "", "CHANNEL; per channel; per-channel"),
    ("group", "G weights, neighbours along K in one row, that share one scale. G is the group size, usually 128.", "01 §2",
     "group size; `group_size`; `block_size` (TorchAO)", "G; G~"),
    ("block", "weights that share one scale and are stored as a unit: 32 in MX and Q4_0, 16 in NVFP4, 256 in K-quants, "
     "128 × 128 in FP8_BLOCK. (Also: some tokens of a KV cache, some columns of GPTQ, one decoder layer.)", "05 §3", "",
     "BLOCK"),
    ("per token", "with one scale for each row of x, found while the model runs. It leaves the sum over K.", "03 §2", "",
     "scale a token; per-token"),
    ("static", "of a scale of activations or of a KV cache: fixed beforehand on calibration text, and stored.", "03 §3", "",
     "STATIC"),
    ("dynamic", "of a scale of activations: found while the model runs, from the numbers that are there.", "05 §9", "",
     "DYNAMIC"),
    ("outlier", "a channel, or a single value, far larger than the rest.", "03", "", ""),
    ("loud", "large in absolute value, beside others of its kind; quiet is the opposite.", "03 §1", "",
     "louder; loudest; loudness; quiet; quieter"),
    ("rms", "root mean square of some numbers, √(mean x²); the peak over the rms says how uneven they are.", "05 §4", "",
     ""),
    ("relative error", "the length of an error over that of what was rounded, ‖ŵ − w‖ / ‖w‖; 0.1 is 10 %.", "04 §1",
     "weight error", ""),
    ("bits a weight", "all stored bits of a matrix, scales and zero points counted, over its number of weights; int4 with "
     "G = 128 and 16-bit scales takes 4.125.", "02 §2", "bits per weight; bpw", ""),
    ("bf16", "a float of 16 bits: sign, 8 bits of exponent, 7 of mantissa. The range of fp32, two to three digits; what "
     "is served unquantized.", "00 §3", "bfloat16", "BF16"),
    ("fp16", "a float of 16 bits: sign, 5 bits of exponent, 10 of mantissa; finer than bf16, and ends at 65504.", "02 §4",
     "half", "F16"),
    ("fp32", "a float of 32 bits: sign, 8 bits of exponent, 23 of mantissa.", "01 §6", "float32", "F32"),
    ("int8", "a whole number in 8 bits, −128 … 127, or uint8 from 0 to 255. int32 is the same in 32 bits: sums, and words "
     "that hold packed codes.", "01 §1", "", "Int8; INT8; uint8; int16; int32; INT~; int~; I32; U8"),
    ("int4", "a whole number in 4 bits, −8 … 7, or 0 … 15 unsigned. No dtype of memory: two share a byte.", "02", "",
     "Int4; INT4"),
    ("exponent", "the bits of a float that say where a number lies: between which two powers of two.", "05 §1", "", ""),
    ("mantissa", "the bits of a float that say how finely a number is placed between two powers of two.", "05 §1", "", ""),
    ("subnormal", "a float below the least power of two of its format, evenly spaced down to zero.", "05 §1", "", ""),
    ("binade", "the floats between two neighbouring powers of two; inside it the step is the same.", "05 §2", "", ""),
    ("NaN", "not a number: what 0/0 gives. One of them spreads through a product to a whole token.", "01 §3", "", ""),
    ("round to even", "of two values that are equally near, the one whose last bit is 0; what IEEE floats and torch do.",
     "05 §2", "ties to even", ""),
    ("FP8", "a float of 8 bits, E4M3 or E5M2; also the schemes that use it, with FP8 for weights and activations.", "00 §7",
     "", "fp8; W~AFP8; F8"),
    ("E4M3", "FP8 with 4 bits of exponent and 3 of mantissa: largest 448, normal from 2⁻⁶, off by at most 1/16 of itself. "
     "No infinity.", "04 §1", "", "e4m3"),
    ("E5M2", "FP8 with 5 bits of exponent and 2 of mantissa: largest 57344, twice as coarse as E4M3. For gradients.",
     "05 §1", "", "e5m2"),
    ("E2M1", "a float of 4 bits: 0, ½, 1, 1½, 2, 3, 4, 6, and a sign. The element of MXFP4 and NVFP4.", "05 §4", "FP4", ""),
    ("E8M0", "a power of two in 8 bits, nothing but an exponent: the scale of the MX formats.", "05 §4", "", ""),
    ("MX", "OCP's microscaling formats: blocks of 32 with an E8M0 scale.", "05", "", "OCP"),
    ("MXFP4", "E2M1 in blocks of 32 with a scale that is a power of two: 4.25 bits a weight.", "05 §4", "", ""),
    ("NVFP4", "E2M1 in blocks of 16 with an E4M3 scale, under one fp32 number for the tensor: 4.5 bits a weight.", "05 §4",
     "", ""),
    ("global scale", "NVFP4's number above the scales of blocks. compressed-tensors stores one that divides, ModelOpt one "
     "that multiplies.", "05", "`weight_global_scale` (compressed-tensors); `weight_scale_2` (ModelOpt)", ""),
    ("round-up", "a rule for E8M0 exponents: the least scale under which nothing saturates. floor lets the loudest "
     "saturate, even rounds the mantissa first, ceil goes up always.", "05 §5", "", "ceil"),
    ("four over six", "letting an NVFP4 block scale its loudest weight to 4 instead of 6, where that loses less.", "05 §5",
     "", ""),
    ("codebook", "a list of values; the code is the place in the list. A product needs a lookup for each weight.", "05 §6",
     "", "lookup; book"),
    ("NF4", "QLoRA's codebook of 16 quantiles of a normal distribution, with an exact zero, in blocks of 64.", "05 §6", "",
     "QLoRA"),
    ("quantile", "the value below which a given share of a distribution lies.", "05 §6", "", ""),
    ("vector codebook", "a codebook whose entries are several weights at once, so that one code stands for all of them.",
     "12 §7", "", "2-bit vector codebook"),
    ("ternary", "with the values −s, 0 and s: 1.58 bits at best, 1.7 to 2.25 in files.", "12 §6", "", "BitNet; b1.58"),
)  # fmt: skip
