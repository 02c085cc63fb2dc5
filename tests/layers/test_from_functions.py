"""A format out of plain functions, as in lab 09: the engine loads it, alone and on ranks, and says what it refuses."""

import numpy as np
import pytest
import torch
from torch import nn

import qcourse
from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.writer import write_json, write_tensors
from qcourse.layers.config import scheme_of
from qcourse.layers.from_functions import Functions, config_class
from qcourse.layers.registry import QUANTIZATION_CONFIGS, register_quantization_config
from qcourse.models.parallel import tensor_parallel
from qcourse.models.save import config_of, tensors_of
from qcourse.packing.bits import unpack_bytes

ARGS = scheme_of("W3A16_G64").weights


def slots(N, K, G):
    if K % G:
        raise ValueError(f"group_size={G} does not divide K={K}")
    return {"qweight": ((N, 3 * K // 8), "uint8"), "scale": [[N, K // G], "bfloat16"]}


def product(x, codes, scale, bias):
    y = x @ (codes.float() * scale.float().repeat_interleave(codes.shape[1] // scale.shape[1], 1)).T
    return (y if bias is None else y + bias).numpy()


def scheme(prefix, rules, packed):
    assert "qkv_proj" in packed and rules == [("re:.*", "INT3")]
    return None if prefix.endswith("o_proj") else rules[0][1]


FUNCTIONS = Functions(
    slots, lambda q: np.asarray(unpack_bytes(q, 3, q.shape[1] * 8 // 3)).astype(np.int8) - 4, product, scheme
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped model as such a file; o_proj in 16 bits. The name is registered while these tests run."""
    path, model = tmp_path_factory.mktemp("functions"), qcourse.load_model()
    tensors = tensors_of(model)
    for name in (n for n in model.linears() if not n.endswith("o_proj")):
        packed = qcourse.pack(qcourse.quantize(tensors.pop(f"{name}.weight"), ARGS, name), "row")
        tensors |= {f"{name}.{leaf}": t for leaf, t in packed.tensors.items()}
    said = {"quant_method": "functions", "group_size": 64, "rules": [["re:.*", "INT3"]]}
    write_json(path / "config.json", config_of(model) | {"quantization_config": said})
    write_tensors(path / "model.safetensors", tensors)
    register_quantization_config("functions")(config_class(FUNCTIONS))
    yield path
    del QUANTIZATION_CONFIGS["functions"]


def test_the_engine_loads_it_and_multiplies_by_the_files_codes(folder):
    model, ours = qcourse.load_model(folder), qcourse.load_model(quantization="W3A16_G64").linears()
    for name, layer in model.linears().items():
        kept = name.endswith("o_proj")
        assert hasattr(layer, "weight") == kept and hasattr(layer, "codes") != kept
        assert kept or torch.equal(layer.dequantized(), ours[name].dequantized())
    ids = torch.arange(12).view(1, -1)
    with torch.inference_mode():
        torch.testing.assert_close(tensor_parallel(folder, 2)(ids), model(ids), rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused_with_the_layers_name():
    config = config_class(FUNCTIONS)(48, [("re:.*", "INT3")])
    layer = nn.Module()
    layer.prefix = "model.layers.0.mlp.down_proj"
    method = config.get_quant_method(layer, layer.prefix)
    with pytest.raises(ValueError, match=r"layers\.0\.mlp\.down_proj: group_size=48"):
        method.create_weights(layer, 64, [8], 64, 8, torch.bfloat16)
    other = config_class(Functions(slots, None, None, lambda *_: "W8A8"))(64, [])
    with pytest.raises(ValueError, match="'W8A8': 'INT3' or None expected"):
        other.get_quant_method(layer, layer.prefix)


@pytest.mark.parametrize("change", [{"group_size": "64"}, {"rules": None}, {"bits": 3}])
def test_its_config_is_read_key_by_key(change):
    said = {"quant_method": "functions", "group_size": 64, "rules": [["re:.*", "INT3"]]} | change
    with pytest.raises(CheckpointError, match=next(iter(change))):
        config_class(FUNCTIONS).from_config(said)
