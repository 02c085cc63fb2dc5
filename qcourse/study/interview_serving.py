"""The interview's questions about kernels, engines, files, caches and decisions: rows as those of interview_weights."""

SERVING = (
    ("Why must the format match the kernel?",
     "The codes of one 4-bit weight can lie in many orders: along the rows, interleaved, in tiles for tensor cores. "
     "Shapes and dtypes can be the same, so a **kernel** that expects another **layout** computes garbage without an "
     "error, and an engine without a kernel for it has to dequantize the whole weight for each call. That is slower than "
     "no quantization: on the capture's CPU, one token, bf16 takes {ms_bf16} ms, a fused int4 kernel {ms_int4} ms, "
     "dequantizing first {ms_dequantize} ms. So the layout belongs to the format, is repacked once at loading, and what "
     "nobody can multiply is refused by name.",
     "otherwise it does not work",
     "another layout is wrong or slow, and repacking happens at load",
     "says why shape and dtype need not give the error away, and quotes the three times: 16 bits, fused, dequantized first",
     ("02 §4", "08 §3", "11 §2", "lab 08.1", "lab 08.3"), (4,)),
    ("How does an engine serve a dozen formats without a line in the model code?",
     "The model builds Linear layers and calls them, and no line of it names a format; each layer holds a method that it "
     "was given. A QuantizationConfig is parsed from the file, and its get_quant_method answers for a layer's name with a "
     "LinearMethod. That one has create_weights for the tensors that the file will fill, process_weights_after_loading to "
     "repack them and choose the **kernel**, and apply for every token. The **dispatch** is decided once, at load: in "
     "this course's package {schemes} schemes, {layouts} layouts and {kernels} kernels are rows of three tables. A new "
     "format is a class and a line of registration. Fused layers and the head are where it gets subtle: q, k and v are "
     "one matrix to the engine and three in the file.",
     "there is an if for every format",
     "names the config, the method, create_weights and apply",
     "adds what happens after loading, how rules pick a method by name, and the fused layers",
     ("09 §1", "09 §3", "09 §5", "09 §7", "lab 09.1", "lab 09.4"), (5, 4)),
    ("What can go wrong when a quantized layer is split over GPUs?",
     "A **shard** has to cut codes, **scale**s and **zero point**s at the same weights. Cut by output rows everything is "
     "simple. Cut along the inputs, a boundary may tear a **group** of {group}, or a word that packs several codes: then "
     "a scale belongs to two devices. A scale a row is needed by every device whole, and with act_order any device may "
     "need any group. An input that is rounded with one scale a token gets a scale in each device's part: close to the "
     "numbers of one device, not the same. An engine checks divisibility at load and refuses, instead of rounding again.",
     "each GPU takes a part of the weights",
     "groups must not be torn; scales are cut with the codes",
     "separates both directions of the cut, packed words, act_order, and scales of activations",
     ("09 §6", "06 §6", "lab 09.6"), (5, 2)),
    ("What does an FP8 KV cache buy, and what does it cost?",
     "A token of a model of 8B leaves {kv_8b} kB in the **KV cache**, with FP8 {kv_8b_fp8} kB, independent of how the "
     "weights are stored. With W4A16 weights on one 80 GB GPU, {usable} % of it in use, {users_8b} users of {context} "
     "tokens become {users_8b_fp8}. Steps with long contexts read fewer bytes as well, if the **kernel** reads codes: "
     "dequantizing the cache first is at least {kv_naive} times slower than that on the capture's CPU. Over SmolLM2's "
     "whole context it adds {kv_fp8} **bits/byte**, int8 with a **scale** a token and head {kv_int8}. Static int8 scales "
     "need **calibration**: left at one they cost {kv_scale_one}. Users do not double where the cache stores scales "
     "beside its codes or keeps the newest tokens in 16 bits, nor where arithmetic, not memory, limits the batch.",
     "it makes inference faster",
     "half the bytes, about twice the users; a separate axis from the weights",
     "computes bytes a token and users, says when they do not double, and what a scale of one does",
     ("10 §1", "10 §5", "10 §7", "10 §8", "lab 10.4", "lab 10.6"), (6,)),
    ("Why are keys quantized by channel and values by token?",
     "Keys have **outlier** channels that are loud in every token: in a typical layer of SmolLM2 the loudest is {loud_k} "
     "times the median one, of the values' channels {loud_v} times. A **scale** that is shared along a channel keeps the "
     "loud ones to themselves. For values a scale a token is known at once, and a token's error is weighed by the "
     "attention that it gets. The price: a **group** of keys has to be complete, so the newest tokens wait in 16 bits. "
     "int4 with a scale a token adds {kv_int4} **bits/byte** over the whole context, keys by channel {kv_kivi}, with "
     "{kv_kivi_bits} bits a number: less than FP8's {kv_fp8}.",
     "because the paper says so",
     "keys have loud channels, values do not",
     "adds the window that follows from it, and that the axis counted for more than the bits",
     ("10 §2", "10 §3", "10 §9", "lab 10.1", "lab 10.2", "lab 10.3"), (6, 2)),
    ("Which layers would you not quantize to four bits?",
     "I would measure it: one layer, or one kind of layer, at a time, **paired** against 16 bits. On SmolLM2 every layer "
     "in four bits adds {rules_all4} **bits/byte**; v and k in eight bring it to {rules_vk8} at {rules_bits} bits a "
     "weight, since they are small. Beside four-bit layers the embedding in eight leaves the loss at {rules_emb8}, in "
     "four raises it to {rules_emb4}; it is tied, so that is the head too. And a single weight can matter: one of them "
     "set to zero adds {super}. By habit head, norms and routers stay in 16 bits; rules by name, the first match wins, "
     "say all that to the engine.",
     "the first and the last layer",
     "embedding, head, and what a sensitivity test shows",
     "buys quality by added bits, with figures, and knows of single weights",
     ("09 §4", "07 §8", "09 §8", "lab 09.4"), (2, 5)),
    ("How do you know that a quantized model is good enough?",
     "First **bits/byte** on unseen text, **paired**: the same windows for both models, and the standard error of the "
     "difference. For W4A16 on SmolLM2 that is {noise_w4}, where the number by itself is uncertain by {noise_plain}. Then "
     "KL and other first choices ({flips_w4} % of tokens there), since perplexity averages a lot away; then the tasks "
     "that matter. The protocol has to be the same: halving the window moves the number by {half_window}, a second BOS by "
     "{two_bos}, int8 weights by {int8_protocol}. And the text of the test was never used for **calibration**.",
     "perplexity is about the same",
     "compares on the same text with a task or two",
     "paired errors, KL, a protocol held fixed with the size of its effects, and no leak of the text",
     ("04 §1", "04 §3", "13 §7", "13 §8", "lab 04.3", "lab 04.4", "lab 13.5"), (2,)),
    ("The same file is fine in one engine and babbles in another. What do you suspect?",
     "The file is read by another convention. GPTQ's first version stores **zero point**s less one; the second does not. "
     "Taken for each other, they add {v2_as_v1} **bits/byte** on SmolLM2. GGUF keeps rows of q and k of a Llama file "
     "(Qwen's rows stay) in another order for its rotary embedding; not put back, they add {qk_rows}. Then: order of "
     "nibbles, groups along the wrong axis, a global **scale** that divides here and multiplies there, a config key that "
     "was dropped. I would unpack one layer with both readers, compare it with the 16-bit weights, and look at the error "
     "by layer and by column: the pattern names the bug.",
     "the file is corrupt",
     "zero points, packing order, permuted rows",
     "says which symptom belongs to which cause, and isolates one layer against a reference",
     ("11 §4", "11 §5", "13 §2", "13 §3", "13 §6", "lab 11.2", "lab 13.1", "lab 13.2", "lab 13.6"), (4, 5)),
    ("What can you do below four bits?",
     "Rounding alone ends there: on SmolLM2 three bits in groups of {g64} add {rtn3} **bits/byte**, two bits {rtn2}. With "
     "the **Hessian** two bits come to {gptq2}, with learned rounding to {learned2}, still no good model. Training "
     "through the rounding (**QAT**, gradients pass it straight) wins most of it back: on the shipped model two bits go "
     "from {two_bits} to {two_bits_qat}, ternary weights from {ternary} to {ternary_qat}, while GPTQ's {ternary_gptq} is "
     "worse than rounding alone there. Ternary takes {bits_ternary} bits with its **scale**s. Codebooks of vectors are "
     "the other way. And a smaller model in four bits is the rival to beat.",
     "use two bits with GPTQ",
     "training through the rounding, or vector codebooks",
     "quotes what each wins, counts the scales, and asks whether a smaller model in four bits is better",
     ("07 §7", "12 §5", "12 §6", "12 §7", "lab 12.5", "lab 12.6"), (2, 1)),
    ("Is quantization without a gain in speed ever worth it?",
     "Yes, for memory. In 16 bits a model of 70B has {gb_70b} GB and needs several GPUs with 80 GB; with W4A16 it has "
     "{gb_70b_w4} GB and fits one, whatever the speed. Each byte saved is room for the **KV cache**, so for users: "
     "{room_70b} tokens there, with {usable} % in use. And the weights that a step reads are read once for all who share "
     "it, so more users cost little time. Conversely a format that is faster only in the **kernel**'s own benchmark may "
     "not be felt: on the capture's CPU int4 takes {ms_int4} ms instead of {ms_bf16} ms for one token, and at {many} "
     "tokens {ms_int4_64} ms instead of {ms_bf16_64} ms. So first ask what binds: memory, bytes a second, or arithmetic.",
     "no, then it is useless",
     "yes: a larger model fits, or more users do",
     "separates capacity, bandwidth and arithmetic, with a figure for each",
     ("04 §4", "04 §6", "08 §2", "lab 04.2"), (1, 3)),
    ("Serve a 70B model on one 80 GB GPU. What do you do?",
     "Count first. Weights: {gb_70b} GB in bf16, {gb_70b_w8} GB at eight bits, {gb_70b_w4} GB with W4A16, so only about "
     "four bits leave room for users. A token leaves {kv_70b} kB in the **KV cache**, a user with {context} tokens "
     "{kv_70b_user} GB: with {usable} % of the memory for both, {users_70b} users fit beside the weights, with an FP8 "
     "cache {users_70b_fp8}. Method: AWQ or GPTQ with **calibration** on text like the users', on a **layout** that the "
     "GPU's **kernel** reads. Then measure **paired** quality, and **decode** at the batch that really occurs. If long "
     "prompts dominate, weight-only gains nothing there, and two GPUs with FP8 may be cheaper a token.",
     "quantize it to four bits",
     "bytes of weights and cache, an established 4-bit method, an FP8 cache",
     "computes users, checks the kernel, plans the measurement, and names the workload for which this is the wrong choice",
     ("04 §6", "04 §7", "10 §7", "lab 04.2", "lab 04.6"), (1, 6, 3)),
    ("Your 4-bit model is slower than bf16: how do you find out why?",
     "First the workload: **decode** of few users, or **prefill** and large batches? Beyond the **crossover** it is no "
     "bug: on the capture's CPU one product takes {ms_int4} ms with int4 and {ms_bf16} ms with bf16 at one token, "
     "{ms_int4_64} ms and {ms_bf16_64} ms at {many}. Second, which **kernel** ran: the **dispatch** says so, and a "
     "fallback that dequantizes first ({ms_dequantize} ms) is the usual culprit. Third, the **roofline** of one layer "
     "alone: bytes over bandwidth, and how far the measured time is above it. Fourth, the rest of the step: small "
     "matrices, launches, Python, an embedding in 16 bits, the **KV cache**; none of them knows the format. Each answer "
     "comes from taking turns on a quiet machine, never from two runs on two days.",
     "tries another library",
     "checks batch size and whether a fused kernel is used",
     "goes from workload to dispatch to roofline to the rest of the step, with a measurement that decides each",
     ("08 §2", "08 §3", "08 §6", "08 §7", "lab 08.5", "lab 08.6"), (4, 1, 3)),
)  # fmt: skip
