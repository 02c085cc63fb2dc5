"""ModelOpt's dialect, in both of its forms. The folders are made here, by hand, from the documented tensors of ModelOpt 0.47
(names, shapes, dtypes, who multiplies): no file of the library itself is among them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse.checkpoints import modelopt
from qcourse.checkpoints.errors import CheckpointError
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_model, save_model
from qcourse.models.quantize_job import Method
from qcourse.models.stream import quantize_to_folder
from qcourse.numerics.kv import KV_PRESETS
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import layout_of

SIZES = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64}  # fmt: skip
IDS = torch.arange(24)[None]
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
SKIPPED = "model.layers.1.mlp"  # in 16 bits, by a pattern with a wildcard
SIDES = {  # of config_groups
    "FP8": ({"num_bits": 8, "type": "float", "dynamic": False},) * 2,
    "FP8_PER_CHANNEL_PER_TOKEN": ({"num_bits": 8, "type": "float", "dynamic": False},) * 2,
    "W4A16_NVFP4": ({"num_bits": 4, "type": "float", "dynamic": False, "group_size": 16}, None),
    "NVFP4": ({"num_bits": 4, "type": "float", "dynamic": False, "group_size": 16},) * 2,
    "MXFP8": ({"num_bits": 8, "type": "float", "dynamic": False, "group_size": 32},) * 2,
}


def by_hand(t: dict) -> torch.Tensor:
    """What a layer's tensors stand for, as the format's description says it; second implementation."""
    weight, scale = t["weight"], t["weight_scale"]
    if "weight_scale_2" in t:  # two codes a byte, the even column in the low nibble
        codes = torch.stack([weight & 15, weight >> 4], -1).flatten(1)
        s = scale.float() * t["weight_scale_2"]
        return E2M1[codes.long()] * s.repeat_interleave(16, 1)
    if scale.dtype == torch.uint8:
        return weight.float() * torch.exp2(scale.float() - 127).repeat_interleave(32, 1)
    return weight.float() * (scale if scale.dim() == 0 else scale[:, None])


def tensors_of(algorithm: str, W: torch.Tensor) -> dict:
    """The tensors of a matrix, in the shapes that ModelOpt gives them."""
    scheme, layout = modelopt.ALGORITHMS[algorithm]
    t = layout_of(layout).pack(quantize(W, scheme.weights))
    if algorithm.startswith("FP8"):
        t["weight_scale"] = t["weight_scale"].reshape(() if algorithm == "FP8" else -1)
    return t | ({"input_scale": torch.tensor(0.02)} if algorithm in ("FP8", "NVFP4") else {})


def random_model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).requires_grad_(False).eval()
    for p in model.parameters():
        p.data.normal_(std=0.1)
    return model


def folder_of(root, algorithm: str, old: bool, kv: str | None = None):
    """(folder, what each quantized layer stands for, by hand)."""
    model = random_model()
    save_model(model, root)
    tensors, wanted = load_file(root / "model.safetensors"), {}
    for name in model.linears():
        if name != "lm_head" and not name.startswith(SKIPPED):
            mine = tensors_of(algorithm, tensors.pop(f"{name}.weight"))
            tensors |= {f"{name}.{leaf}": t for leaf, t in mine.items()}
            wanted[name] = by_hand(mine)
    if kv is not None:
        for i in range(SIZES["num_hidden_layers"]):
            for letter in "kv":
                name = f"model.layers.{i}.self_attn.{letter}_proj.{letter}_scale"
                tensors[name] = torch.tensor(0.01 + i + (letter == "v") / 2)
    save_file(tensors, root / "model.safetensors")
    say(root, algorithm, old, kv)
    return root, wanted


def say(root, algorithm: str | None, old: bool, kv: str | None) -> None:
    """Write the settings, in one of the two forms."""
    excluded, producer = ["lm_head", "model.embed_tokens", f"{SKIPPED}*"], {"name": "modelopt", "version": "0.47.0"}
    if old:
        inner = {"quant_algo": algorithm, "kv_cache_quant_algo": kv, "exclude_modules": excluded}
        if algorithm in SIDES:
            inner["group_size"] = SIDES[algorithm][0].get("group_size", 0)
        (root / "hf_quant_config.json").write_text(json.dumps({"producer": producer, "quantization": inner}))
        return
    quantization = {"quant_method": "modelopt", "quant_algo": algorithm, "ignore": excluded, "producer": producer}
    if algorithm in SIDES:
        weights, activations = SIDES[algorithm]
        group = {"weights": weights, "targets": ["Linear"]} | ({"input_activations": activations} if activations else {})
        quantization["config_groups"] = {"group_0": group}
    if kv is not None:
        quantization["kv_cache_scheme"] = {"dynamic": False, "num_bits": 8, "type": "float"}
    config = json.loads((root / "config.json").read_text())
    (root / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))


def test_every_algorithm_has_a_row_here():
    assert SIDES.keys() == modelopt.ALGORITHMS.keys()


@pytest.mark.parametrize("old", [False, True], ids=["config.json", "hf_quant_config.json"])
@pytest.mark.parametrize("algorithm", modelopt.ALGORITHMS)
def test_every_weight_is_what_its_tensors_stand_for(tmp_path, algorithm, old):
    folder, wanted = folder_of(tmp_path, algorithm, old, "FP8")
    model = load_model(folder)
    for name, W in wanted.items():
        assert torch.equal(model.linears()[name].dequantized(), W), name
    plain = load_file(folder / "model.safetensors")
    for name, layer in model.linears().items():
        if name not in wanted:
            assert torch.equal(layer.weight, plain[f"{name}.weight"]) and name.startswith(SKIPPED)
    assert torch.isfinite(model(IDS)).all()


@pytest.mark.parametrize("old", [False, True])
def test_scales_of_the_cache_are_put_on_attention(tmp_path, old):
    model = load_model(folder_of(tmp_path, "FP8", old, "FP8")[0])
    assert model.kv_cache == KV_PRESETS["fp8_e4m3"]
    for i, layer in enumerate(model.attentions().values()):
        assert layer.k_scale.tolist() == [pytest.approx(0.01 + i)] and layer.v_scale.tolist() == [pytest.approx(0.51 + i)]
        assert layer.k_scale.dtype == torch.float32 and not {"k_scale", "v_scale"} & dict(layer.named_parameters()).keys()


@pytest.mark.parametrize("old", [False, True])
def test_scales_that_nobody_speaks_of_are_refused(tmp_path, old):
    folder, _ = folder_of(tmp_path, "FP8", old, "FP8")
    say(folder, "FP8", old, None)
    with pytest.raises(CheckpointError, match="self_attn.._scale' has no place .*no kv_cache_scheme"):
        load_model(folder)


@pytest.mark.parametrize("old", [False, True])
def test_only_the_cache(tmp_path, old):
    folder, _ = folder_of(tmp_path / "a", "FP8", old, "FP8")
    plain = random_model()
    save_model(plain, tmp_path / "b")
    scales = {n: t for n, t in load_file(folder / "model.safetensors").items() if n.endswith(("k_scale", "v_scale"))}
    save_file(load_file(tmp_path / "b" / "model.safetensors") | scales, tmp_path / "b" / "model.safetensors")
    say(tmp_path / "b", None, old, "FP8")
    model = load_model(tmp_path / "b")
    assert model.kv_cache == KV_PRESETS["fp8_e4m3"] and model.attentions()["model.layers.1.self_attn"].k_scale is not None
    assert torch.equal(model(IDS), plain(IDS))


def test_fixed_scales_of_the_input_are_used(tmp_path):
    folder, _ = folder_of(tmp_path, "FP8", False)
    model = load_model(folder)
    assert {m.product.input_scale.item() for n, m in model.linears().items() if not n.startswith(SKIPPED)} == {
        torch.tensor(0.02).item()
    }


def test_config_json_comes_first(tmp_path):
    folder, wanted = folder_of(tmp_path, "FP8", False)
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}')
    assert torch.equal(load_model(folder).linears()["model.layers.0.mlp.up_proj"].dequantized(),
                       wanted["model.layers.0.mlp.up_proj"])  # fmt: skip


@pytest.mark.parametrize(("pattern", "means", "spares"), [
    ("model.layers.1*", "model.layers.1.mlp.up_proj", "model.layers.0.mlp.up_proj"),
    ("model.layers.1*", "model.layers.10.mlp.up_proj", "model.layers.2.mlp.up_proj"),
    ("model.layers.1.*", "model.layers.1.mlp.up_proj", "model.layers.10.mlp.up_proj"),
    ("*self_attn*", "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"),
    ("lm_head", "lm_head", "model.layers.0.mlp.up_proj"),
    ("model.layers.0.mlp", "model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj"),
])  # fmt: skip
def test_excluded_modules(pattern, means, spares):
    rule = modelopt.rules({"quant_algo": "FP8", "ignore": [pattern]}, "here")[0]
    assert rule.scheme is None and rule.matches(means) and not rule.matches(spares)


def test_what_is_excluded_and_quantized_all_the_same_is_an_error(tmp_path):
    folder, _ = folder_of(tmp_path, "FP8", False)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["ignore"] = ["model.layers.0*"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="model.layers.0.* is torch.float8_e4m3fn|has no place"):
        load_model(folder)


def test_another_format_starts_from_it(tmp_path):
    """Streamed and in memory: what the codes stand for, in bf16, and the cache's scales do not get in the way."""
    folder, wanted = folder_of(tmp_path / "in", "W4A16_NVFP4", False, "FP8")
    name = "model.layers.0.mlp.up_proj"
    model = load_model(folder, "W8A16", dequantize=True)
    again = quantize(wanted[name].bfloat16(), PRESETS["W8A16"].weights)
    assert torch.equal(model.linears()[name].product.p.tensors["scale"], again.scale)
    assert model.kv_cache == KV_PRESETS["fp8_e4m3"] and model.attentions()["model.layers.0.self_attn"].k_scale is not None
    with pytest.raises(ValueError, match="its KV cache has scales of its own"):
        quantize_to_folder(folder, tmp_path / "out", PRESETS["W8A16"], Method(), dequantize=True, progress=False)
