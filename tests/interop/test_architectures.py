"""The verdicts of tests/models/configs.json, judged by transformers: is this config's function the plain Llama function?

A tiny random model of the config and a `LlamaForCausalLM` of the same sizes get the same weights; the verdict is about
their logits on 48 ids (longer than the windows and the context of the configs, so that what changes late is seen).
A class that transformers lacks (remote code) cannot be judged; it must be refused.
"""

import json
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")
CASES = json.loads((Path(__file__).parent.parent / "models" / "configs.json").read_text())
IDS = torch.arange(48).mul(7).remainder(61).add(3)[None]
SHARED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
          "num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings", "max_position_embeddings")  # fmt: skip


def model_of(raw: dict):
    """A random model of a config in fp32, or None where transformers has no such class or refuses the config."""
    raw = {"model_type": "llama"} | raw
    name = raw["architectures"][0]
    if not hasattr(transformers, name) or raw["model_type"] not in transformers.CONFIG_MAPPING:
        return None
    kept = {k: v for k, v in raw.items() if k != "model_type"}
    config = transformers.CONFIG_MAPPING[raw["model_type"]](**kept, attn_implementation="eager")
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).float().eval()
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.uniform_(0.5, 1.5) if parameter.ndim == 1 else parameter.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
    return model


def plain_llama(raw: dict, state: dict):
    """LlamaForCausalLM with the sizes of `raw`; its rotation is the default or llama3's; biases as in `state`."""
    defaults = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False, "num_key_value_heads": raw["num_attention_heads"],
                "head_dim": raw["hidden_size"] // raw["num_attention_heads"]}  # fmt: skip
    sizes = {k: raw.get(k, defaults.get(k)) for k in SHARED}
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    rope = {"rope_theta": raw.get("rope_theta", 10000.0)} | rope
    if rope.get("rope_type") == "llama3":
        rope = {"original_max_position_embeddings": raw["max_position_embeddings"]} | rope
    elif rope.get("rope_type", rope.get("type")) != "linear":  # which is honoured, too
        rope = {"rope_type": "default", "rope_theta": rope["rope_theta"]}
    biased = any(n.endswith("q_proj.bias") for n in state)
    config = transformers.LlamaConfig(**sizes, rope_parameters=rope, attention_bias=biased, attn_implementation="eager",
                                      mlp_bias=any(n.endswith("up_proj.bias") for n in state))  # fmt: skip
    model = transformers.LlamaForCausalLM(config).float().eval()
    if biased:
        for layer in model.model.layers:  # Qwen2's output projection has no bias
            torch.nn.init.zeros_(layer.self_attn.o_proj.bias)
    return model


def computes_llama(raw: dict) -> bool:
    """True where both models have the same tensors and the same logits (to 1e-4 of the largest)."""
    try:
        model = model_of(raw)
    except (KeyError, ValueError, TypeError, AttributeError):
        return False  # transformers refuses the config itself
    if model is None or not hasattr(model, "lm_head"):
        return False
    state = model.state_dict()
    plain = plain_llama(raw, state)
    if {n: t.shape for n, t in state.items()}.keys() - plain.state_dict().keys():
        return False
    try:
        missing = plain.load_state_dict(state, strict=False).missing_keys
    except RuntimeError:
        return False  # other shapes
    if [n for n in missing if not n.endswith("o_proj.bias")]:
        return False
    with torch.no_grad():
        theirs, ours = model(IDS).logits, plain(IDS).logits
    return torch.allclose(theirs, ours, rtol=0, atol=1e-4 * float(ours.abs().max()))


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_verdict(case):
    is_llama = computes_llama(case["config"])
    assert is_llama == (case["verdict"] != "refuse"), "transformers computes " + (
        "Llama's function" if is_llama else "another"
    )


@pytest.mark.parametrize("case", [c for c in CASES if c["verdict"] != "refuse"], ids=lambda c: c["name"])
def test_honoured_configs_have_transformers_logits(case, tmp_path):
    """A folder saved with such a config loads with transformers' logits (32 ids: its context), or is refused by the key."""
    from qcourse import load_model

    model = model_of(case["config"])
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(case["config"]))
    try:
        ours = load_model(tmp_path, compute_dtype=torch.float32)
    except ValueError as refusal:
        assert case["verdict"] == "either" and case["key"] in str(refusal).replace(str(tmp_path), "")
        return
    with torch.no_grad():
        got, want = ours(IDS[:, :32]), model(IDS[:, :32]).logits
    assert torch.allclose(got, want, rtol=0, atol=1e-4 * float(want.abs().max()))
