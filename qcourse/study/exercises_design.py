"""Exercises A1.24 to A1.30: decisions. A number or a choice is checked; the reasons are the answer."""

from qcourse.study import cost
from qcourse.study import exercises_design_numbers as numbers
from qcourse.study.cheatsheet_formulas import LLAMA_70B
from qcourse.study.exercise import Choice, Exercise, Lines, Number
from qcourse.study.exercises_design_numbers import gpus, pace, room
from qcourse.study.exercises_warm_up import bits

DESIGN = (
    Exercise("A1.24", "design", "70B on one GPU", "Llama 3 70B on one GPU of 80 GB, of which 90 % may be used. You "
        "choose W4A16 (4.125 bits; embedding and head in 16) and an FP8 cache. How many tokens of context fit, in blocks "
        "of 16? Then write down what you would validate first.",
        ("04 §6", "10 §7"), 1,
        Number("tokens", room, (
            (lambda: room(kv=16), "that is with a bf16 cache; FP8 takes half"),
            (lambda: room(80e9), "that is all of the memory; a tenth of it belongs to activations and the rest"),
            (lambda: room(weights=cost.projected_bytes(LLAMA_70B, 4)), "the scales have to fit, too: 4.125 bits a weight"),
            (lambda: room(weights=cost.linear_weights(LLAMA_70B) * bits("W4A16") / 8), "embedding and head are missing"),
            (lambda: room(kv=4), "that would be four bits a number; FP8 has eight")), 0.004),
        "bf16 needs {full:.0f} GB, FP8 {eight:.0f} GB: with {gpu:.0f} GB usable neither fits. W4A16 takes {four:.1f} GB "
        "and leaves {tokens:,} tokens with an FP8 cache, {half:,} with a bf16 one; that is {users} users of {context:,}. "
        "Weight-only, since memory is the bound and such a batch is small; GPTQ or AWQ, since they add no bytes: on "
        "SmolLM2 AWQ takes {rtn:+.4f} bits/byte to {awq:+.4f} (smollm2-weights.json). Validate first the paired "
        "difference to bf16 on your own text, in bits per byte, with KL and changed first choices; then the task that the "
        "customer pays for, at the context lengths that they use, with the FP8 cache on and off.",
        numbers.one_gpu, ("smollm2-weights",), "a 70B model on one 80 GB GPU"),
    Exercise("A1.25", "design", "Two points down", "FP8 raised throughput; an evaluation fell by two points. What do you "
        "do first?", ("04 §3", "09 §4"), 2,
        Choice("separate the causes: a paired run with each part back in 16 bits", {
            "go back to bf16 for all layers, and give the throughput up again": "then nothing is learnt; most layers are "
                "likely to be innocent",
            "calibrate once more, with the evaluation's own text in the mix": "the number would rise, and mean nothing: it "
                "is a test that was read before",
            "train the model through the rounding, until the points are back": "the dearest remedy, before anybody knows "
                "what is ill",
            "choose int4 in small groups instead, for weights and activations": "fewer levels in the same places; the "
                "cause would stay"}),
        "First ask whether the fall is real: the same items, paired, with an error bar. Then put one thing back at a "
        "time: the cache (FP8 costs SmolLM2 {kv:+.4f} bits/byte, smollm2-kv-long.json), the activations' scales, head and "
        "embedding, then kinds of layers. Layers are not alike: in 4 bits {first} alone costs {worst:+.4f}, {last} "
        "{least:+.4f} (smollm2-sensitivity.json). Remedies in order of price: scales by token and channel instead of "
        "static ones by tensor ({static:+.4f} → {dynamic:+.4f}, smollm2-both.json), scales by block, the loudest layers "
        "in 16 bits, SmoothQuant. Keeping few matrices wide is cheap: v_proj in 8 bits takes a 4-bit model from "
        "{all:+.4f} to {v:+.4f} at {vbits:.2f} bits a weight, down_proj to {down:+.4f} but at {downbits:.2f} bits "
        "(smollm2-rules.json).",
        numbers.sensitive, ("smollm2-kv-long", "smollm2-sensitivity", "smollm2-both", "smollm2-rules"),
        "FP8 throughput up, an evaluation down two points"),
    Exercise("A1.26", "design", "A vendor's INT3", "A vendor brings checkpoints in an INT3 of its own: groups of 128, "
        "codes in an order of its own. In a few lines: what do you write in the engine, and which kernel work does it "
        "mean?", ("09 §5", "09 §7", "08 §4"), 5,
        Lines(("the config: read from the checkpoint, one rule a layer, get_quant_method", "the method: create_weights "
            "with shapes for each shard, apply",
            "process_weights_after_loading: the vendor's order → the kernel's, once", "the kernel: codes that straddle "
                "bytes, one scale a group, few and many tokens",
                   "a reference that dequantizes, and a test against it",
               "a shard boundary may not cut a group")),
        "A {config} that reads the vendor's keys and whose {get} gives a method to each Linear, or none where the file "
        "leaves a layer wide. A {base}: create_weights registers codes and scales with their shapes for a shard (a cut "
        "along K may not split a group), {after} moves the vendor's order into the kernel's once, apply multiplies. The "
        "model is not touched. It takes {bits:g} bits a weight; codes of 3 bits straddle bytes, so a kernel has to join "
        "two reads or keep planes of 2 and 1 bits, and it needs a way for few tokens and one for many. Begin with a slow "
        "apply that dequantizes: it is the law that the fast one is tested against. The course did this with vLLM: "
        "{equal} of {of} greedy tokens equal, {apart:+.5f} ± {stderr:.5f} bits/byte apart (vllm-int3-2026-11-30.json).",
        numbers.vendor, ("vllm-int3-2026-11-30",), "a new format, a vendor's INT3"),
    Exercise("A1.27", "design", "A phone", "A phone gives 8 GB to a model and reads 60 GB/s. Llama 3 8B in W4A16 (4.125 "
        "bits, embedding and head in 16; of the embedding a step reads one row): how many tokens a second at best?",
        ("00 §1", "04 §6"), 1,
        Number("tokens/s", pace, (
            (lambda: pace(embedding=True), "a step reads one row of the embedding, not the table"),
            (lambda: pace(16), "that is bf16, which does not fit either"),
            (lambda: pace(4), "the scales are read, too: 4.125 bits"),
            (lambda: pace(8), "that is with 8 bits a weight")), 0.01),
        "bf16 has {full:.1f} GB and does not fit; W4A16 has {four:.2f} GB, and {context:,} tokens of FP8 cache {kv:.2f} "
        "GB more. All bytes but the embedding at 60 GB/s: at most {pace:.1f} tokens a second, for one user, so nothing "
        "but bytes counts. Embedding and head are {ends:.0%} of the file. The next to go to 8 bits is the embedding for "
        "room, the head for speed; SmolLM2, whose one table is both, pays {eight:+.4f} bits/byte for that "
        "(smollm2-rules.json). The format must be one that the phone's kernel multiplies: a GGUF type or the vendor's "
        "own, or all is dequantized at each step. Prefill is bound by arithmetic there, so a long prompt waits.",
        numbers.phone, ("smollm2-rules",)),
    Exercise("A1.28", "design", "A class of 300", "300 users at once, each with 32,768 tokens, on Llama 3.1 8B in W4A16 "
        "with an FP8 cache. GPUs of 80 GB, 90 % usable, one copy of the model on each. How many GPUs?", ("10 §7",), 6,
        Number("GPUs", gpus, (
            (lambda: gpus(kv=None), "that is with a bf16 cache"),
            (lambda: gpus(16), "that is with weights in bf16"),
            (lambda: gpus(16, None), "that is with nothing rounded"),
            (lambda: 1, "the weights fit one GPU; 300 contexts do not")), 0.001),
        "A user's cache has {one:.2f} GB in FP8, 300 of them {all:.0f} GB: the weights are a detail here. Beside them "
        "{each} users fit a GPU, so {gpus} GPUs. With bf16 weights it is {cache}, with a bf16 cache {weights}, with "
        "neither rounded {none}: long contexts are bought with the cache. int4 by channel (int4_kivi) needs {int4}, and "
        "costs SmolLM2 {kivi:+.4f} bits/byte at {upto:,} tokens (smollm2-kv-long.json). Before buying, ask how many of "
        "the 300 type at the same time, and how much of their prompt is the same: shared prefixes are stored once.",
        numbers.lesson, ("smollm2-kv-long",)),
    Exercise("A1.29", "design", "4 bits, and slower", "Long prompts, short replies: the 4-bit model serves fewer "
        "requests a second than bf16. What is the likeliest cause?", ("08 §2", "08 §3"), 3,
        Choice("prefill is bound by arithmetic, and widening the codes is extra work", {
            "4-bit codes take longer to read, since two of them share a byte": "they are fewer bytes, whichever way they "
                "lie",
            "the scales of the groups double the bytes that a step has to read": "with groups of 128 they add an eighth of "
                "a bit",
            "the cache is still in 16 bits, and long prompts fill it": "so it is in the other model; that explains no "
                "loss"}),
        "A prompt of many tokens uses each weight for all of them: beyond about {M:.0f} tokens on a large GPU arithmetic "
        "binds, and W4A16 multiplies in 16 bits like bf16, after widening. Measured on a CPU with SmolLM2, W4A16 decodes "
        "{decode:.2f} times as fast as bf16 and prefills {prefill:.2f} times as fast (smollm2-speed.json). To find out: "
        "time prefill and decode apart, then ask which kernel ran; a layer that fell back to dequantizing is slow in "
        "both. For such a load choose FP8 or W8A8, whose product is narrow on both sides.",
        numbers.slower, ("smollm2-speed",)),
    Exercise("A1.30", "design", "W8A8, ruined", "A colleague quantizes a model to W8A8 with one static scale a layer for "
        "activations, and it is ruined. The engine's int8 kernel has to stay in use. What is the first thing to change?",
        ("03 §3", "03 §6", "03 §9"), 3,
        Choice("one dynamic scale for each token", {
            "smaller groups of weights": "the weights are not what suffers: W8A16 hardly costs anything",
            "GPTQ on the weights": "it repairs the rounding of weights; here it is the activations'",
            "more calibration text": "a static scale then grows with the loudest token, and all others get fewer levels"}),
        "With {grid} bits and a scale a tensor SmolLM2 pays {static:+.4f} bits/byte: a few loud tokens and channels take "
        "everybody's levels. A scale a token, found while running, leaves {token:+.4f}; the kernel stays, since such a "
        "scale leaves the sum. SmoothQuant moves loud channels into the weights: {smooth:+.4f} with static scales (α = "
        "{alpha:g}), {both:+.4f} with both (all from smollm2-both.json). If only a few layers are at fault, leave those "
        "in 16 bits.",
        numbers.ruined, ("smollm2-both",)),
)  # fmt: skip
