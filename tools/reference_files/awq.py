"""Folders packed by AutoAWQ's WQLinear_GEMM."""

import json
from importlib.metadata import version

import torch
from safetensors.torch import save_file

from tools.reference_files.sources import autoawq
from tools.reference_files.tiny import expect, fresh, linears, llama, provenance, tidy

FORMATS = {
    # folder: (native quant_config.json?, modules_to_not_convert)
    "awq_gemm": (False, None),
    "awq_native": (True, ["o_proj"]),
}
GROUP = 16


def grid(W: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(W on its grid, scales, zeros (N, K/G)) by AutoAWQ's min-max rule; scales are fp16 values, zeros 0 … 15."""
    parts = W.view(W.shape[0], -1, GROUP)
    low, high = parts.amin(-1), parts.amax(-1)
    scale = ((high - low).clamp(min=1e-5) / 15).half().float()
    zero = (-(low / scale).round()).clamp(0, 15)
    q = ((parts / scale[..., None]).round() + zero[..., None]).clamp(0, 15)
    return ((q - zero[..., None]) * scale[..., None]).view_as(W), scale, zero


def write(name: str) -> None:
    """Write the folder `name` of FORMATS."""
    native, kept = FORMATS[name]
    Linear, dequantize, Config, theirs = autoawq()
    model = llama(torch.float16, seed=len(name), head_dim=32)  # its packer loses outputs beyond a multiple of 32
    folder, W, codes = fresh(name), {}, {}
    tensors = {n: t for n, t in model.state_dict().items() if n != "lm_head.weight"}
    for layer, m in linears(model).items():
        if layer == "lm_head":
            continue
        W[layer] = m.weight.detach().float()
        if any(k in layer for k in kept or []):
            continue
        on_grid, scale, zero = grid(W[layer])
        plain = torch.nn.Linear(*reversed(m.weight.shape), bias=False).requires_grad_(False)
        plain.weight.copy_(on_grid)
        q = Linear.from_linear(plain, 4, GROUP, scales=scale.T.contiguous(), zeros=zero.T.contiguous())
        del tensors[f"{layer}.weight"]
        tensors |= {f"{layer}.{n}": getattr(q, n).contiguous() for n in ("qweight", "qzeros", "scales")}
        W[layer] = dequantize(q.qweight, q.qzeros, q.scales.float(), 4, GROUP).T.contiguous()
        codes[layer] = (on_grid / scale.repeat_interleave(GROUP, 1) + zero.repeat_interleave(GROUP, 1)).round()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = Config(q_group_size=GROUP, modules_to_not_convert=kept)
    if native:
        (folder / "quant_config.json").write_text(json.dumps(config.to_dict(), indent=4))
    else:
        model.config.quantization_config = config.to_transformers_dict()
    model.config.save_pretrained(folder)
    tidy(folder)
    expect(folder, model, W, codes)
    provenance(folder, "AutoAWQ WQLinear_GEMM.from_linear and AwqConfig",
               {"autoawq": theirs, "transformers": version("transformers")},
               "gemm, 4 bits, asymmetric, " + ("quant_config.json" if native else "config.json"))  # fmt: skip
