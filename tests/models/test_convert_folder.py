"""The same codes in another ecosystem's layout: every reference file that can go there, killed runs, what would be lost."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse.checkpoints.dialect_writers import WRITERS
from qcourse.models import convert_folder
from qcourse.models.convert_folder import convert
from qcourse.models.export_gguf import export
from qcourse.models.loader import load_model
from qcourse.models.quantize_job import Method
from qcourse.models.stream import quantize_to_folder
from qcourse.numerics.schemes import PRESETS

FILES = Path(__file__).parents[1] / "checkpoints" / "files"
ROADS = {  # source → where it can go without loss
    "ct_w4a16": {"gptq", "gptq_v2", "awq", "torchao"}, "ct_w4a16_asym": {"gptq_v2", "awq", "torchao"},
    "gptq_v1_asym": {"gptq_v2", "awq", "torchao"}, "awq_gemm": {"gptq_v2", "torchao"}, "ct_w8a8": {"torchao"},
    "gptq_3bit": {"torchao", "gptq_v2"}, "gptq_act_order": {"gptq_v2"}, "ct_nvfp4a16": {"modelopt"}, "ct_fp8": {"modelopt"},
    "ao_int4_asymmetric": {"awq", "gptq_v2"}, "ao_int8": {"gptq"}, "gptq_lying_v2": {"gptq"},
}  # fmt: skip
PAIRS = [(name, to) for name, there in ROADS.items() for to in sorted(there | {"compressed-tensors"})]
PAIRS = [pair for pair in PAIRS if pair != ("gptq_act_order", "compressed-tensors")]


def values(source) -> dict[str, torch.Tensor]:
    return {n: m.dequantized() for n, m in load_model(source).linears().items()}


@pytest.fixture(scope="module")
def known():
    found = {}
    return lambda name: found.setdefault(name, None) or found.update({name: values(FILES / name)}) or found[name]


@pytest.mark.parametrize(("name", "to"), PAIRS)
def test_the_same_values_elsewhere(name, to, tmp_path, known):
    report = convert(FILES / name, tmp_path / "out", to, progress=False)
    near = 2**-22 if "nvfp4" in name and to == "modelopt" else 0
    for layer, W in values(tmp_path / "out").items():
        torch.testing.assert_close(W, known(name)[layer], rtol=near, atol=0)
    assert report["totals"]["layers"] == 7 and (tmp_path / "out" / "quantization_report.json").is_file()
    names = {n for p in (tmp_path / "out").glob("*.safetensors") for n in load_file(p)}
    assert any(n.endswith("g_idx") for n in names) == (name == "gptq_act_order")
    assert (tmp_path / "out" / "hf_quant_config.json").is_file() == (to == "modelopt")


def test_there_and_back_is_the_file(tmp_path):
    """compressed-tensors → GPTQ v2 → compressed-tensors: every tensor byte for byte, but for the scales' dtype."""
    convert(FILES / "ct_w4a16", tmp_path / "a", "gptq_v2", progress=False)
    convert(tmp_path / "a", tmp_path / "b", "compressed-tensors", progress=False)
    first = load_file(FILES / "ct_w4a16" / "model.safetensors")
    again = {n: t for p in (tmp_path / "b").glob("*.safetensors") for n, t in load_file(p).items()}
    for name, t in first.items():
        assert torch.equal(again[name].to(t.dtype), t), name
        assert again[name].dtype == t.dtype or name.endswith("weight_scale")


def with_cache(name: str, root: Path) -> Path:
    """A copy of a folder, with scales of a KV cache."""
    shutil.copytree(FILES / name, root)
    path, config = sorted(root.glob("*.safetensors"))[0], json.loads((root / "config.json").read_text())
    scales = {f"model.layers.0.self_attn.{x}_scale": torch.tensor([0.25 + (x == "v")]) for x in "kv"}
    save_file(load_file(path) | scales, path)
    if (index := root / "model.safetensors.index.json").exists():
        names = json.loads(index.read_text())
        names["weight_map"] |= dict.fromkeys(scales, path.name)
        index.write_text(json.dumps(names))
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
    config["quantization_config"]["kv_cache_scheme"] = scheme
    (root / "config.json").write_text(json.dumps(config))
    return root


def test_the_scales_of_a_cache_go_along(tmp_path):
    convert(with_cache("ct_fp8", tmp_path / "fp8"), tmp_path / "there", "modelopt", progress=False)
    convert(tmp_path / "there", tmp_path / "back", "compressed-tensors", progress=False)
    theirs = {n: t for p in (tmp_path / "there").glob("*.safetensors") for n, t in load_file(p).items()}
    assert theirs["model.layers.0.self_attn.v_proj.v_scale"].item() == 1.25
    assert not any(n.endswith("self_attn.k_scale") for n in theirs)
    for name in ("fp8", "there", "back"):
        attention = load_model(tmp_path / name).model.layers[0].self_attn
        assert (attention.k_scale.item(), attention.v_scale.item()) == (0.25, 1.25)


def test_where_there_are_no_words_for_a_cache_it_is_left_out_only_if_asked(tmp_path):
    source = with_cache("ct_w8a8", tmp_path / "w8a8")
    with pytest.raises(ValueError, match="torchao has no words for the scales of a KV cache .*--lossy leaves them out"):
        convert(source, tmp_path / "out", "torchao", progress=False)
    convert(source, tmp_path / "out", "torchao", lossy=True, progress=False)
    assert load_model(tmp_path / "out").kv_cache is None


def test_nvfp4_with_rounded_inputs_goes_both_ways(tmp_path):
    """The number above its inputs' scales is turned with that of the weights; codes and E4M3 scales are copied."""
    torch.manual_seed(0)
    ids = torch.randint(0, 1000, (4, 200))
    quantize_to_folder("shipped", tmp_path / "ct", PRESETS["NVFP4"], Method(), ids, progress=False)
    convert(tmp_path / "ct", tmp_path / "mo", "modelopt", progress=False)
    convert(tmp_path / "mo", tmp_path / "back", "compressed-tensors", progress=False)
    first, there, again = (load_file(tmp_path / n / "model-00002-of-00005.safetensors") for n in ("ct", "mo", "back"))
    up = "model.layers.0.mlp.up_proj"
    assert torch.equal(first[f"{up}.weight_packed"], there[f"{up}.weight"])
    torch.testing.assert_close(there[f"{up}.input_scale"] * first[f"{up}.input_global_scale"], torch.tensor([1.0]))
    assert first.keys() == again.keys()
    for name, t in first.items():
        near = 2**-22 if name.endswith("global_scale") else 0
        torch.testing.assert_close(again[name].float(), t.float(), rtol=near, atol=0, msg=name)
    y, z = (load_model(tmp_path / n)(ids[:1, :40]) for n in ("ct", "mo"))
    assert (y - z).norm() < 1e-4 * y.norm()


def test_mxfp4_goes_into_gguf_and_back(tmp_path):
    """Same codes, same powers of two: only their order within 32 is another."""
    quantize_to_folder("shipped", tmp_path / "mxfp4", PRESETS["MXFP4A16"], Method(), progress=False)
    export(tmp_path / "mxfp4", tmp_path / "model.gguf", "MXFP4", "BF16", progress=False)
    convert(tmp_path / "model.gguf", tmp_path / "back", "compressed-tensors", progress=False)
    first = {n: t for p in (tmp_path / "mxfp4").glob("*.safetensors") for n, t in load_file(p).items()}
    again = {n: t for p in (tmp_path / "back").glob("*.safetensors") for n, t in load_file(p).items()}
    packed = [n for n in first if n.endswith(("weight_packed", "weight_scale"))]
    assert len(packed) == 2 * 28 and all(torch.equal(first[n], again[n]) for n in packed)


def test_act_order_is_said(tmp_path):
    """vLLM drops g_idx in silence, and refuses a folder that says desc_act."""
    convert(FILES / "gptq_act_order", tmp_path / "out", "gptq_v2", progress=False)
    for name, of in (("config.json", lambda c: c["quantization_config"]), ("quantize_config.json", lambda c: c)):
        assert of(json.loads((tmp_path / "out" / name).read_text()))["desc_act"] is True


def test_g_idx_is_written_where_it_is_asked_for(tmp_path):
    convert(FILES / "ct_w4a16", tmp_path / "out", "gptq", g_idx=True, progress=False)
    tensors = {n: t for p in (tmp_path / "out").glob("*.safetensors") for n, t in load_file(p).items()}
    found = [t for n, t in tensors.items() if n.endswith(".g_idx")]
    assert len(found) == 7 and all(torch.equal(t, torch.arange(len(t), dtype=torch.int32) // 32) for t in found)
    with pytest.raises(ValueError, match="awq has no g_idx; gptq, gptq_v2 have"):
        convert(FILES / "ct_w4a16", tmp_path / "other", "awq", g_idx=True, progress=False)


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    convert(FILES / "ct_w4a16", tmp_path / "whole", "awq", progress=False)
    real = convert_folder.step

    def killed(job, folder, i):
        if i == 0:
            raise KeyboardInterrupt
        real(job, folder, i)

    monkeypatch.setattr(convert_folder, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(FILES / "ct_w4a16", tmp_path / "out", "awq", progress=False)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(convert_folder, "step", real)
    convert(FILES / "ct_w4a16", tmp_path / "out", "awq", progress=False)
    for path in (tmp_path / "whole").glob("model-*"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [
        ("ct_w8a8", "gptq", "no words for quantized activations; another scheme of the same weights: qcourse quantize"),
        ("ct_mixed", "compressed-tensors", "have different schemes"),
        ("gptq_act_order", "awq", "act_order: its columns .* awq has no place"),
        ("gptq_act_order", "compressed-tensors", "act_order: its columns .* gptq and gptq_v2 have"),
        ("ct_w4a16", "exl2", "unknown layout 'exl2': one of compressed-tensors, gptq"),
        ("gguf_mixed/model.gguf", "gptq", "have different schemes"),
    ],
)
def test_what_cannot_go_is_said(name, to, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        convert(FILES / name, tmp_path / "out", to, progress=False)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()


def test_floats_have_no_codes(tmp_path):
    from qcourse.models.loader import SHIPPED

    with pytest.raises(ValueError, match="its weights are floats, there are no codes to convert"):
        convert(SHIPPED, tmp_path / "out", "gptq", progress=False)


def test_every_writer_is_on_a_road():
    assert {to for _, to in PAIRS} == set(WRITERS)


def test_the_config_says_so_too(tmp_path):
    convert(FILES / "ct_w4a16", tmp_path / "out", "gptq", progress=False)
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    beside = json.loads((tmp_path / "out" / "quantize_config.json").read_text())
    assert (config["quant_method"], config["bits"], config["group_size"], config["sym"]) == ("gptq", 4, 32, True)
    assert beside["checkpoint_format"] == config["checkpoint_format"] == "gptq"
