"""The same codes in another ecosystem's layout: every reference file that can go there, killed runs, what would be lost."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qcourse.checkpoints.dialect_writers import WRITERS
from qcourse.models import convert_folder
from qcourse.models.convert_folder import convert
from qcourse.models.loader import load_model

FILES = Path(__file__).parents[1] / "checkpoints" / "files"
ROADS = {  # source → where it can go without loss
    "ct_w4a16": {"gptq", "gptq_v2", "awq", "torchao"}, "ct_w4a16_asym": {"gptq_v2", "awq", "torchao"},
    "gptq_v1_asym": {"gptq_v2", "awq", "torchao"}, "awq_gemm": {"gptq_v2", "torchao"}, "ct_w8a8": {"torchao"},
    "gptq_3bit": {"torchao", "gptq_v2"}, "gptq_act_order": {"gptq_v2"}, "ct_nvfp4a16": {"modelopt"}, "ct_fp8": {"modelopt"},
    "ao_int4_asymmetric": {"awq", "gptq_v2"}, "ao_int8": {"gptq"}, "gptq_lying_v2": {"gptq"},
}  # fmt: skip
PAIRS = [(name, to) for name, there in ROADS.items() for to in sorted(there | {"compressed-tensors"})]


def values(source) -> dict[str, torch.Tensor]:
    return {n: m.dequantized() for n, m in load_model(source).linears().items()}


@pytest.fixture(scope="module")
def known():
    found = {}
    return lambda name: found.setdefault(name, None) or found.update({name: values(FILES / name)}) or found[name]


@pytest.mark.parametrize(("name", "to"), PAIRS)
def test_the_same_values_elsewhere(name, to, tmp_path, known):
    try:
        report = convert(FILES / name, tmp_path / "out", to, progress=False)
    except ValueError as e:  # scales that fp16 cannot hold are the only reason here
        assert "no numbers of fp16" in str(e) or "cannot be stored: clamp z to 1" in str(e)
        return
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
        ("gptq_act_order", "awq", "self_attn.q_proj: the AWQ layout has no act_order"),
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
