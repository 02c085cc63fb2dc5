"""Folders packed by GPTQModel's TorchLinear: 2, 3, 4 and 8 bits, act_order, v1 and v2 zeros, dynamic rules."""

import json
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from tools.reference_files.sources import gptqmodel
from tools.reference_files.tiny import expect, fresh, linears, llama, provenance, tidy


@dataclass(frozen=True)
class Case:
    """One folder: its bits and zeros, what its configs say, and where they stand."""

    bits: int = 4
    sym: bool = True
    desc_act: bool = False
    v2: bool = False  # what the file holds
    says: str | None = None  # what the config says where it lies
    dynamic: dict = field(default_factory=dict)
    configs: tuple = ("config.json", "quantize_config.json")
    changes: dict = field(default_factory=dict)
    group_size: int = 16


WIDE = {"head_dim": 32}  # 3 bits: GPTQModel packs zeros of 32 outputs at a time
RULES = {r"-:.*\.o_proj": {}, r"+:.*\.down_proj": {"bits": 8, "group_size": 32}, r".*\.k_proj": {"sym": False}}
FORMATS = {
    "gptq_act_order": Case(desc_act=True, changes={"intermediate_size": 64}),
    "gptq_act_order_asym": Case(desc_act=True, sym=False, changes={"tie_word_embeddings": False}),
    "gptq_v2_asym": Case(sym=False, v2=True, configs=("config.json",)),
    "gptq_v1_asym": Case(sym=False, configs=("quantize_config.json",)),
    "gptq_8bit": Case(bits=8, configs=("config.json",)),
    "gptq_channel": Case(group_size=-1, configs=("config.json",)),
    "gptq_3bit": Case(bits=3, changes=WIDE, configs=("config.json",)),
    "gptq_3bit_asym": Case(bits=3, sym=False, desc_act=True, changes=WIDE, configs=("config.json",)),
    "gptq_2bit": Case(bits=2, configs=("config.json",)),
    "gptq_dynamic": Case(dynamic=RULES),
    "gptq_lying_v2": Case(v2=True, says="gptq", configs=("config.json",)),
}


def grid(W: torch.Tensor, g_idx: torch.Tensor, bits: int, sym: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales (fp16 values) and zeros (N, groups) by GPTQ's rule; asymmetric zeros stay within 1 … 2^bits − 1."""
    groups, top = int(g_idx.max()) + 1, 2**bits - 1
    low = torch.stack([W[:, g_idx == g].amin(1).clamp(max=0) for g in range(groups)], 1)
    high = torch.stack([W[:, g_idx == g].amax(1).clamp(min=0) for g in range(groups)], 1)
    if sym:
        high = torch.maximum(-low, high)
        scale = (2 * high / top).half().float()
        return scale, torch.full_like(scale, (top + 1) / 2)
    scale = ((high - low) / top).half().float()
    return scale, (-low / scale).round().clamp(1, top)


def order(K: int, group_size: int, desc_act: bool) -> torch.Tensor:
    """g_idx (K,): with act_order, channel j is the rank[j]-th by activation and lies in group rank[j] // G."""
    rank = torch.randperm(K) if desc_act else torch.arange(K)
    return (rank // group_size).to(torch.int32)


def packed(case: Case, layer: torch.nn.Linear, name: str, library) -> tuple[dict, torch.Tensor, torch.Tensor] | None:
    """(tensors, W fp32, codes (N, K)) of one layer, or None where a rule leaves it alone."""
    Linear, _, to_v1, _ = library
    bits, G, sym = case.bits, case.group_size, case.sym
    for pattern, overrides in case.dynamic.items():
        if re.match(pattern.removeprefix("-:").removeprefix("+:"), name):
            if pattern.startswith("-:"):
                return None
            bits, G, sym = overrides.get("bits", bits), overrides.get("group_size", G), overrides.get("sym", sym)
            break
    N, K = layer.weight.shape
    G = K if G == -1 else G
    g_idx = order(K, G, case.desc_act)
    scale, zero = grid(layer.weight.detach().float(), g_idx, bits, sym)
    q = Linear(
        bits=bits, group_size=G, sym=sym, desc_act=case.desc_act, in_features=K, out_features=N, bias=layer.bias is not None
    )
    plain = torch.nn.Linear(K, N, bias=layer.bias is not None).requires_grad_(False)
    plain.weight.copy_(layer.weight.float())
    q.pack_original(plain, scale, zero, g_idx)
    tensors = {n: getattr(q, n).clone() for n in ("qweight", "qzeros", "scales", "g_idx")}
    q.scales = q.scales.float()  # their fp16 product would round; on fp32 scales it is exact
    W = q.dequantize_weight().T.contiguous().float()
    codes = (W / scale[:, g_idx.long()] + zero[:, g_idx.long()]).round()
    if not case.v2:
        q.qzeros = tensors["qzeros"].clone()
        to_v1(q, SimpleNamespace(bits=bits, pack_dtype=torch.int32))
        tensors["qzeros"] = q.qzeros
    return tensors, W, codes.to(torch.int16)


def quantize_config(case: Case, library) -> dict:
    """The library's own config as plain JSON; what only says where its temporary files lay is left out."""
    kind = "gptq_v2" if case.v2 else "gptq"
    config = library[1](bits=case.bits, group_size=case.group_size, sym=case.sym, desc_act=case.desc_act, format=kind,
                        dynamic=case.dynamic or None, offload_to_disk=False)  # fmt: skip
    config.meta_set_versionable(key="quantizer", value=[f"gptqmodel:{library[3]}"])
    raw = json.loads(json.dumps(config.to_dict()))
    if case.says:
        raw |= {"format": case.says, "checkpoint_format": case.says}
    return raw


def write(name: str) -> None:
    """Write the folder `name` of FORMATS."""
    case, library = FORMATS[name], gptqmodel()
    model = llama(torch.float16, seed=len(name), **case.changes)
    folder, W, codes = fresh(name), {}, {}
    tensors = {
        n: t for n, t in model.state_dict().items() if not (n == "lm_head.weight" and model.config.tie_word_embeddings)
    }
    for layer, m in linears(model).items():
        result = packed(case, m, layer, library) if layer != "lm_head" else None
        if layer != "lm_head":
            W[layer] = m.weight.detach().float()
        if result:
            del tensors[f"{layer}.weight"]
            tensors |= {f"{layer}.{k}": t.contiguous() for k, t in result[0].items()}
            W[layer], codes[layer] = result[1:]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    raw = quantize_config(case, library)
    if "config.json" in case.configs:
        model.config.quantization_config = raw
    model.config.save_pretrained(folder)
    if "quantize_config.json" in case.configs:
        (folder / "quantize_config.json").write_text(json.dumps(raw, indent=2))
    tidy(folder)
    expect(folder, model, W, codes)
    lies = "; the config says gptq, the zeros are v2's (0x88888888)" if case.says else ""
    provenance(folder, "GPTQModel TorchLinear.pack_original, its QuantizeConfig and its v2 to v1 conversion",
               {"gptqmodel": library[3], "transformers": version("transformers")},
               f"{case.bits} bits, {'symmetric' if case.sym else 'asymmetric'}, zeros {'v2' if case.v2 else 'v1'}"
               f"{', act_order' if case.desc_act else ''}{', dynamic rules' if case.dynamic else ''}{lies}")  # fmt: skip
