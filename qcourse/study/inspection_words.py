"""What the names in a quantized file mean: its tensors, the keys of its config, metadata of GGUF. In a line each."""

LEAVES = {  # the last part of a tensor's name → what it is
    "qweight": "codes, packed into int32 words (GPTQ along K, AWQ along N)",
    "qzeros": "zero points, packed along N (GPTQ v1 stores z - 1)",
    "scales": "scales s (K/G, N): w = s · (q - z)",
    "g_idx": "the group of each input channel (act_order: in any order)",
    "weight_packed": "codes, packed along K (words of 2-8 bits, or two FP4 a byte)",
    "weight_scale": "scales s: they multiply on the way back",
    "weight_scale_inv": "scales s: they multiply, in spite of the name",
    "weight_zero_point": "zero points z: w = s · (q - z)",
    "weight_shape": "(N, K) of the weight, which packed words do not say",
    "weight_g_idx": "the group of each input channel (act_order)",
    "weight_global_scale": "NVFP4's number above all scales; it DIVIDES: 448 · 6 / max|w|",
    "weight_scale_2": "NVFP4's number above all scales; it MULTIPLIES: max|w| / (448 · 6)",
    "input_global_scale": "the same of the activations; it divides",
    "input_scale": "the fixed scale of the activations",
    "pre_quant_scale": "a factor a channel of the input (SmoothQuant, AWQ), not folded",
    "k_scale": "the KV cache's scale of keys: stored = key / k_scale",
    "v_scale": "the KV cache's scale of values: stored = value / v_scale",
    "blocks": "rows of blocks, scales inside",
    "_weight_qdata": "codes, one in a byte",
    "_weight_scale": "scales s",
    "_weight_zero_point": "zero points, stored although 0",
    "bias": "added to the product, in 16 or 32 bits",
}
PLAIN = {
    "norm": "a norm's gains", "embed": "the embedding: a row a token", "lm_head": "the head: a row a token",
    "int8": "int8 codes, one in a byte", "uint8": "packed codes, two a byte", "float8_e4m3fn": "E4M3 codes",
    "float8_e5m2": "E5M2 codes",
}  # fmt: skip
KEYS = {  # of quantization_config, whoever wrote it
    "quant_method": "whose words these keys are, and so who reads the file",
    "bits": "bits a code", "w_bit": "bits a code (AutoAWQ's word)", "num_bits": "bits a code",
    "group_size": "weights along K that share a scale; -1: a whole row",
    "q_group_size": "group_size (AutoAWQ's word)",
    "desc_act": "act_order: columns were rounded in order of their importance; the file's g_idx says which",
    "sym": "symmetric: zero points are all 2^(bits-1), and stored all the same",
    "zero_point": "with zero points (asymmetric)",
    "symmetric": "true: no zero points",
    "format": "how codes lie in the tensors", "checkpoint_format": "gptq stores z - 1, gptq_v2 stores z",
    "version": "AWQ: the layout, gemm packs along N, eight columns interleaved; others: of the library",
    "pack_dtype": "the word that codes are packed into",
    "lm_head": "whether the head is quantized, too",
    "ignore": "layers that stay in 16 bits", "modules_to_not_convert": "layers that stay in 16 bits",
    "exclude_modules": "layers that stay in 16 bits",
    "dynamic": "true: scales found at run time; 'local': under a number of the file (activations); rules of layers (GPTQ)",
    "config_groups": "which layers get which scheme", "targets": "the layers that a group means",
    "weights": "how weights are quantized", "input_activations": "how a layer's input is quantized; null: it is not",
    "output_activations": "how its output is; unused in practice",
    "type": "int or float", "strategy": "who shares a scale: tensor, channel, group, block, token, tensor_group",
    "block_structure": "the rectangle that shares a scale", "scale_dtype": "how scales are stored",
    "observer": "how ranges were found; changes nothing in the file",
    "actorder": "how columns were ordered while rounding; \"group\" adds weight_g_idx, others change nothing in the file",
    "kv_cache_scheme": "how the KV cache is stored (k_scale, v_scale); null: in 16 bits",
    "kv_cache_quant_algo": "how the KV cache is stored", "quant_algo": "ModelOpt's name of the scheme",
    "quantization_status": "compressed: codes are what the file holds",
    "global_compression_ratio": "unused", "sparsity_config": "2:4 sparsity; empty: dense",
    "transform_config": "rotations that have to run online", "meta": "how the file was made; changes nothing",
    "damp_percent": "GPTQ's damping; changes nothing in the file", "quant_type": "TorchAO's config class and its fields",
    "weight_block_size": "rows and columns that share a scale", "activation_scheme": "static: the file has input_scale",
    "producer": "who wrote the file",
}  # fmt: skip


def meaning(name: str, dtype: str) -> str:
    """A tensor's meaning in half a line."""
    leaf = name.rpartition(".")[2]
    if leaf in LEAVES:
        return LEAVES[leaf]
    part = name.rpartition(".")[0]
    if "norm" in part:
        return PLAIN["norm"]
    if "embd" in part or "embed" in part:
        return PLAIN["embed"]
    if part in ("lm_head", "output"):
        return PLAIN["lm_head"]
    if dtype in PLAIN:
        return PLAIN[dtype]
    if dtype[:1] in "QIT" and dtype[1:2].isdigit() or dtype.startswith(("IQ", "TQ")):
        return f"{dtype} blocks, scales inside"
    return f"weights in {dtype}"


def explained(config: dict, indent: str = "") -> list[str]:
    """A quantization_config line by line, each key with its meaning."""
    lines = []
    for key, value in config.items():
        why = f"   # {KEYS[key]}" if key in KEYS else ""
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:{why}", *explained(value, indent + "  ")]
        else:
            shown = repr(value)
            lines.append(f"{indent}{key} = {shown if len(shown) < 70 else shown[:66] + ' …'}{why}")
    return lines
