import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse.models.loader import SHIPPED, CheckpointError, load_model, save_model
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS


@pytest.fixture
def folder(tmp_path):
    for f in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(SHIPPED / f, tmp_path)
    return tmp_path


def test_the_shipped_model_is_small_and_bf16():
    model = load_model()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert (SHIPPED / "model.safetensors").stat().st_size < 25e6
    assert not any(p.requires_grad for p in model.parameters()) and not model.training


def test_every_k_is_a_multiple_of_128(shipped):
    assert shipped.config.hidden_size % 128 == shipped.config.intermediate_size % 128 == 0


def test_save_and_load_give_the_same_weights(shipped, tmp_path):
    save_model(shipped, tmp_path)
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(shipped.parameters(), again.parameters(), strict=True))


def test_a_sharded_checkpoint(folder):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    save_file({n: tensors[n] for n in names[:10]}, folder / "model-00001-of-00002.safetensors")
    save_file({n: tensors[n] for n in names[10:]}, folder / "model-00002-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model.safetensors.index.json with its shards"):
        load_model(folder)
    where = {n: f"model-0000{1 + (n not in names[:10])}-of-00002.safetensors" for n in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    again = load_model(folder)
    assert all(torch.equal(t, tensors[n]) for n, t in again.named_parameters())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002.safetensors"):
        load_model(folder)


def test_a_file_beside_the_weights_is_not_read(folder, shipped):
    save_file({"model.norm.weight": torch.zeros(256)}, folder / "model_old.safetensors")
    save_file({"x": torch.zeros(1)}, folder / "adapter_model.safetensors")
    assert torch.equal(load_model(folder).model.norm.weight, shipped.model.norm.weight)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="expected model.safetensors.*found adapter_model.safetensors"):
        load_model(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_keep_the_dtype_of_the_file(folder, dtype):
    tensors = {n: t.to(dtype) + 1e-5 for n, t in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    model = load_model(folder)
    assert all(torch.equal(p, tensors[n]) and p.dtype == dtype for n, p in model.named_parameters())
    W = tensors["model.layers.0.mlp.up_proj.weight"]  # and it is this weight that is rounded, not a bf16 copy of it
    layer = load_model(folder, "W8A16").linears()["model.layers.0.mlp.up_proj"]
    assert torch.equal(layer.dequantized(), dequantize(quantize(W, PRESETS["W8A16"].weights)))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.uint8, torch.float64, torch.float8_e4m3fn])
@pytest.mark.parametrize("name", ["model.layers.0.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"])
def test_codes_under_a_weights_name_are_no_weights(folder, dtype, name):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {name: tensors[name].to(dtype)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"'{name}' is {dtype} .* in bfloat16, float16 or float32"):
        load_model(folder)


def test_a_tied_head_in_the_file_has_to_be_the_embedding(folder):
    tensors = load_file(folder / "model.safetensors")
    head = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | {"lm_head.weight": head}, folder / "model.safetensors")
    load_model(folder)
    head[0, 0] += 1
    save_file(tensors | {"lm_head.weight": head}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="'lm_head.weight' has no place"):
        load_model(folder)


def test_biases_of_zero_are_dispensable_and_others_are_not(folder):
    tensors, name = load_file(folder / "model.safetensors"), "model.layers.0.mlp.up_proj.bias"
    for value in (0.0, 0.5):
        save_file(tensors | {name: torch.full((768,), value)}, folder / "model.safetensors")
        if value:
            with pytest.raises(CheckpointError, match="up_proj.bias' has no place"):
                load_model(folder)
        else:
            load_model(folder)


class TestBadCheckpoints:
    def test_missing_folder(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"nowhere/config.json: no such file"):
            load_model(tmp_path / "nowhere")

    def test_no_weights_and_no_pickles(self, folder):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="pickled .* never loaded"):
            load_model(folder)

    @pytest.mark.parametrize("keep", [0.5, 0.0001])
    def test_truncated(self, folder, keep):
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(CheckpointError, match=r"model.safetensors: .*cut short"):
            load_model(folder)

    def test_missing_tensor_is_named(self, folder):
        tensors = load_file(folder / "model.safetensors")
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"'model.layers.1.mlp.up_proj.weight' is missing"):
            load_model(folder)

    def test_unknown_tensor_is_named(self, folder):
        tensors = load_file(folder / "model.safetensors") | {"model.extra": torch.zeros(1)}
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"'model.extra' has no place"):
            load_model(folder)

    def test_wrong_shape_is_named(self, folder):
        tensors = load_file(folder / "model.safetensors") | {"model.norm.weight": torch.zeros(3)}
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"'model.norm.weight' is .* \(3,\), the config asks for \(256,\)"):
            load_model(folder)

    def test_broken_json(self, folder):
        (folder / "config.json").write_text("{")
        with pytest.raises(CheckpointError, match="config.json: not valid JSON"):
            load_model(folder)


def test_rope_settings_of_newer_files_are_read_and_unknown_kinds_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config.pop("rope_theta")
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 500.0}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_model(folder).config.rope_theta == 500.0
    config["rope_parameters"]["rope_type"] = "yarn"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="rope_type = 'yarn'"):
        load_model(folder)


def test_a_qwen2_config_gets_its_biases(folder):
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "qwen2"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="_proj.bias' is missing"):
        load_model(folder)
