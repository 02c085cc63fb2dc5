"""`qcourse inspect`: every reference file, an index alone, a foreign architecture; each trap found, and none invented."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse.checkpoints.errors import CheckpointError
from qcourse.models.export_gguf import export_gguf
from qcourse.models.loader import SHIPPED, load_model
from qcourse.study.inspect_command import as_json, head, table
from qcourse.study.inspection import inspect
from qcourse.study.inspection_bits import piece
from qcourse.study.inspection_warnings import warnings
from qcourse.study.inspection_words import explained

FILES = Path(__file__).parents[1] / "checkpoints" / "files"
FOLDERS = sorted(p.parent.name for p in FILES.glob("*/config.json"))
LLAMA70 = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "max_position_embeddings": 8192, "hidden_act": "silu", "tie_word_embeddings": False,
    "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_every_reference_file(name):
    """Bytes are those of the file, bits those of its layers, a piece is decoded as the layer itself decodes it."""
    found = inspect(FILES / name)
    on_disk = sum(t.nbytes for p in (FILES / name).glob("*.safetensors") for t in load_file(p).values())
    assert found.nbytes == on_disk and found.checkpoint is not None and found.layers
    assert all(2 <= layer.bits < 40 for layer in found.layers)
    text = piece(found)
    weights = load_model(FILES / name).linears()[found.layers[0].name].dequantized()[0, :8]
    shown = [float(line.split()[-1]) for line in text.splitlines()[-8:]]
    torch.testing.assert_close(torch.tensor(shown), weights[: len(shown)], atol=1e-6, rtol=0)
    assert json.loads(json.dumps(as_json(found, warnings(found))))["bytes"] == on_disk
    assert len(table(found, True)) == len(found.tensors) and head(found)


def test_bits_are_those_of_the_file():
    """GPTQ's first word holds eight codes of one row, lowest first; TorchAO's byte is its code."""
    for name, leaf, B in (("gptq_v1_asym", "qweight", 4), ("ct_w4a16", "weight_packed", 4), ("ao_int8", "_weight_qdata", 8)):
        lines = piece(inspect(FILES / name)).splitlines()
        data = next(line for line in lines if line.split()[:1] == [leaf]).split()[2:]
        stored = int.from_bytes(bytes(int(b, 16) for b in data[:B]), "little")
        shown = [int(line.split()[1], 2) for line in lines[-8:]]
        assert [stored >> (B * k) & ((1 << B) - 1) for k in range(8)] == shown


def test_every_key_of_a_config_has_a_line():
    for name in FOLDERS:
        config, _ = inspect(FILES / name).config
        lines = "\n".join(explained(config))
        assert all(f"{key} =" in lines or f"{key}:" in lines for key in config)


def test_a_gguf_file_and_the_shipped_model(tmp_path, shipped):
    export_gguf(shipped, SHIPPED, tmp_path / "x.gguf", "Q4_0")
    found = inspect(tmp_path / "x.gguf")
    assert found.kind == "gguf" and {layer.bits for layer in found.layers} == {4.5} and "blocks" in piece(found)
    assert not [w for w in warnings(found) if "token" in w and "embd" not in w]
    plain = inspect(SHIPPED)
    assert not plain.layers and warnings(plain) == []
    with pytest.raises(ValueError, match="no quantized layer to look into"):
        piece(plain)


def test_an_index_alone_is_enough(tmp_path):
    names = ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    names += [f"model.layers.79.mlp.down_proj.{leaf}" for leaf in ("qweight", "qzeros", "scales", "g_idx")]
    (tmp_path / "config.json").write_text(json.dumps(LLAMA70 | {"quantization_config": gptq}))
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00009.safetensors")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = inspect(tmp_path)
    sizes = {t.name: t.shape for t in found.tensors}
    assert found.predicted and sizes["model.layers.79.mlp.down_proj.qweight"] == (28672 // 8, 8192)
    assert sizes["model.embed_tokens.weight"] == (128256, 8192) and "only the index" in "\n".join(head(found))
    assert warnings(found) == []


def test_an_architecture_that_is_not_loaded_is_listed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    save_file({"a.weight": torch.zeros(4, 4)}, tmp_path / "model.safetensors")
    found = inspect(tmp_path)
    assert found.tensors[0].shape == (4, 4) and "mamba" in found.why and "not loaded here" in "\n".join(head(found))
    assert inspect(tmp_path / "model.safetensors").kind == "safetensors"
    with pytest.raises(CheckpointError, match="a folder, a .safetensors or a .gguf file expected"):
        inspect(tmp_path / "nothing")


def copied(name: str, folder: Path, change) -> Path:
    """A reference folder with some tensors changed."""
    for path in (FILES / name).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def inverted(tensors: dict) -> None:
    for name in tensors:
        if name.endswith("weight_global_scale"):
            tensors[name] = 1 / tensors[name]


def test_traps_are_found(tmp_path):
    lying = warnings(inspect(FILES / "gptq_lying_v2"))
    assert [w for w in lying if "zero points of version 2, the config says 1" in w]
    right = warnings(inspect(FILES / "ct_nvfp4a16"))
    wrong = warnings(inspect(copied("ct_nvfp4a16", tmp_path, inverted)))
    assert [w for w in wrong if "probably its reciprocal" in w] and not [w for w in right if "reciprocal" in w]
    assert [w for w in right if "takes 36% of the bytes (the head is the same matrix)" in w]
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert [w for w in warnings(inspect(tmp_path)) if "is a pickle" in w]


def test_the_command(tmp_path):
    run = lambda *a: subprocess.run([sys.executable, "-m", "qcourse.cli", "inspect", *a], capture_output=True, text=True)  # noqa: E731
    out = run(str(FILES / "ct_w4a16"), "--hex")
    assert out.returncode == 0 and "weight_packed" in out.stdout and "bits a code" in out.stdout and not out.stderr
    assert json.loads(run(str(FILES / "ct_w4a16"), "--json").stdout)["layers"]
    bad = run(str(tmp_path / "none"))
    assert bad.returncode == 2 and len(bad.stderr.splitlines()) == 1 and "Traceback" not in bad.stderr
