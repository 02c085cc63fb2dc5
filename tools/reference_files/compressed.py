"""Folders written by compressed-tensors (ModelCompressor on a transformers Llama)."""

from importlib.metadata import version

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.compressors.base import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, apply_quantization_config
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.quant_scheme import preset_name_to_scheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

from tools.reference_files.tiny import IDS, expect, fresh, linears, llama, provenance, tidy


def scheme(preset: str, targets=("Linear",), **weights):
    """A preset of the library with some of its weight arguments changed, as a dict."""
    raw = preset_name_to_scheme(preset, list(targets)).model_dump(exclude_none=True)
    raw["weights"] |= weights
    return raw


W2 = {
    "targets": ["Linear"],
    "weights": {"num_bits": 2, "type": "int", "symmetric": True, "strategy": "group", "group_size": 16},
}
FORMATS = {
    # folder: (config groups, ignored, changes of the tiny model)
    "ct_w4a16": ({"group_0": scheme("W4A16", group_size=32)}, ["lm_head"], {"intermediate_size": 64}),
    "ct_w4a16_asym": ({"group_0": scheme("W4A16_ASYM", group_size=32)}, ["lm_head"],
                      {"tie_word_embeddings": False, "intermediate_size": 64}),
    "ct_w4a16_actorder": ({"group_0": scheme("W4A16", group_size=16, actorder="static")}, ["lm_head"], {}),
    "ct_w8a16_channel": ({"group_0": scheme("W8A16", group_size=None, strategy="channel")}, ["lm_head"], {}),
    "ct_w3a16": ({"group_0": scheme("W4A16", num_bits=3, group_size=16)}, ["lm_head"], {}),
    "ct_w3a16_asym": ({"group_0": scheme("W4A16_ASYM", num_bits=3, group_size=8)}, ["lm_head"], {"intermediate_size": 40}),
    "ct_w5a16": ({"group_0": scheme("W4A16", num_bits=5, group_size=16)}, ["lm_head"], {}),
    "ct_w7a16_asym": ({"group_0": scheme("W4A16_ASYM", num_bits=7, group_size=16)}, ["lm_head"], {}),
    "ct_w2a16": ({"group_0": W2}, ["lm_head"], {}),
    "ct_w8a8": ({"group_0": scheme("W8A8")}, ["lm_head"], {}),
    "ct_fp8": ({"group_0": scheme("FP8")}, ["lm_head"], {}),
    "ct_fp8_dynamic": ({"group_0": scheme("FP8_DYNAMIC")}, ["lm_head"], {}),
    "ct_fp8_block": ({"group_0": scheme("FP8_BLOCK") | {"input_activations": None}}, ["lm_head"],
                     {"intermediate_size": 136}),
    "ct_fp8_block_dynamic": ({"group_0": scheme("FP8_BLOCK")}, ["lm_head", "re:.*(o|down)_proj"],
                             {"hidden_size": 128, "intermediate_size": 8, "head_dim": 8}),
    "ct_nvfp4a16": ({"group_0": scheme("NVFP4A16")}, ["lm_head"], {}),
    "ct_mxfp4a16": ({"group_0": scheme("MXFP4A16")}, ["lm_head"], {}),
    "ct_mxfp8": ({"group_0": scheme("MXFP8")}, ["lm_head"], {}),
    "ct_mxfp6a16": ({"group_0": scheme("MXFP6A16")}, ["lm_head"], {}),
    "ct_mixed": (
        {
            "group_0": scheme("W4A16", ["re:.*self_attn\\.[qk]_proj$"], group_size=16),
            "group_1": scheme("W8A8", ["model.layers.0.mlp.down_proj", "model.layers.0.mlp.up_proj"]),
            "group_2": scheme("FP8_DYNAMIC", ["re:.*o_proj"]),
        },
        ["lm_head", "re:.*v_proj$"],
        {"tie_word_embeddings": False},
    ),
}  # fmt: skip
SHARDED = "ct_w8a8"


def extremes(W: torch.Tensor, args) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest weight of each part that shares a scale, shaped as the library stores the scale."""
    N, K = W.shape
    if args.strategy == "tensor":
        return W.min().reshape(1), W.max().reshape(1)
    if args.strategy == "channel":
        return W.amin(1, keepdim=True), W.amax(1, keepdim=True)
    if args.strategy in ("group", "tensor_group"):
        parts = W.view(N, K // args.group_size, args.group_size)
        return parts.amin(-1), parts.amax(-1)
    rows, cols = args.block_structure
    grid = [[W[i : i + rows, j : j + cols] for j in range(0, K, cols)] for i in range(0, N, rows)]
    return tuple(torch.stack([torch.stack([f(b) for b in line]) for line in grid]) for f in (torch.min, torch.max))


def calibrate(model) -> None:
    """Fill every scale, zero point and static input scale from the weights and from one forward pass."""
    inputs = {}
    modules = {n: m for n, m in linears(model).items() if hasattr(m, "quantization_scheme")}
    hooks = [m.register_forward_pre_hook(lambda m, x, n=n: inputs.setdefault(n, x[0].detach())) for n, m in modules.items()]
    for m in modules.values():
        m.quantization_enabled = False
    with torch.no_grad():
        model(IDS)
    for name, m in modules.items():
        args, low_high, extra = m.quantization_scheme.weights, extremes(m.weight.detach(), m.quantization_scheme.weights), {}
        if args.strategy == "tensor_group":
            m.weight_global_scale.data = generate_gparam(m.weight.detach().min(), m.weight.detach().max())
            extra = {"global_scale": m.weight_global_scale.data}
        scale, zero = calculate_qparams(*low_high, args, **extra)
        m.weight_scale.data = scale.to(m.weight_scale.dtype)
        m.weight_zero_point.data = zero.to(m.weight_zero_point.dtype)
        a = m.quantization_scheme.input_activations
        if a is not None and a.dynamic is False:
            x = inputs[name]
            m.input_scale.data = calculate_qparams(x.min().reshape(1), x.max().reshape(1), a)[0].to(m.input_scale.dtype)
        m.quantization_enabled = True
    [h.remove() for h in hooks]


def reading(module) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(W fp32 (N, K), integer codes or None) of a compressed module: the library's own decompression on fp32 scales."""
    s = module.quantization_scheme
    state = {n: t.detach() for n, t in module.state_dict().items()}
    if s.format == "nvfp4-pack-quantized":
        codes = unpack_fp4_from_uint8(state["weight_packed"], module.out_features, module.in_features, dtype=torch.float32)
        scale, g = state["weight_scale"].float(), state["weight_global_scale"]
        return dequantize(codes, scale, args=s.weights, global_scale=g, dtype=torch.float32), None
    wide = {n: t.float() if n == "weight_scale" and t.is_floating_point() else t for n, t in state.items()}
    W = BaseCompressor.get_value_from_registry(s.format.value).decompress(wide, s)["weight"].float()
    if "weight_packed" in state and s.weights.type == "int":
        return W, unpack_from_int32(state["weight_packed"], s.weights.num_bits, torch.Size(state["weight_shape"]))
    return W, state["weight"] if state.get("weight", W).dtype == torch.int8 else None


def activation_logits(model, weights: dict) -> torch.Tensor:
    """Logits in fp32 of the library's own forward: `weights` (on their grid already), activations rounded by the schemes."""
    model = model.float()
    for name, m in linears(model).items():
        m.weight.data = weights.get(name, m.weight.data).float()
    for m in linears(model).values():
        if hasattr(m, "quantization_scheme"):
            m.quantization_status = QuantizationStatus.FROZEN
    with torch.no_grad():
        return model(IDS).logits[0]


def write(name: str) -> None:
    """Write the folder `name` of FORMATS."""
    groups, ignore, changes = FORMATS[name]
    config = QuantizationConfig(config_groups=groups, ignore=ignore)
    model, rounded = llama(**changes), llama(**changes)
    for m in (model, rounded):
        apply_quantization_config(m, config, show_progress=False)
        calibrate(m)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    folder = fresh(name)
    model.save_pretrained(folder, max_shard_size="8KB" if name == SHARDED else "5GB")
    compressor.update_config(folder)
    tidy(folder)
    read = {n: reading(m) for n, m in linears(model).items() if hasattr(m, "quantization_scheme")}
    dense = {n: W for n, (W, _) in read.items()} | {
        n: m.weight.detach() for n, m in linears(model).items() if n not in read and n != "lm_head"}  # fmt: skip
    schemes = [m.quantization_scheme for n, m in linears(model).items() if n in read]
    acts = any(s.input_activations is not None for s in schemes)
    more = {"logits_activations": activation_logits(rounded, dense)} if acts else {}
    expect(folder, model, dense, {n: c for n, (_, c) in read.items() if c is not None}, **more)
    facts = {"activations": "quantized"} if acts else {}
    if name == "ct_nvfp4a16":
        facts["rounding"] = 5 * 2**-24  # theirs rounds s/g and the product; ours may round 1/g, the scale and the product
    provenance(folder, "compressed-tensors ModelCompressor on transformers LlamaForCausalLM",
               {p: version(p) for p in ("compressed-tensors", "transformers", "safetensors")},
               ", ".join(sorted({s.format.value for s in schemes})), **facts)  # fmt: skip
