"""Every format in the registry keeps vLLM's contract, and the model never knows which one it has."""

import ast
from pathlib import Path

import pytest
import torch
from bounds import near

import qcourse.models.llama
from qcourse.gemm.reference import reference
from qcourse.layers.formats.unquantized import UnquantizedLinearMethod
from qcourse.layers.linear import Linear
from qcourse.layers.registry import FORMATS, get_quantization_config
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import LAYOUTS, pack

WEIGHT_ONLY = ["unquantized", "int8", "w4a16", "awq"]
CONFIGS = [
    *WEIGHT_ONLY,
    {"quant_method": "int8", "granularity": "tensor"},
    {"quant_method": "w4a16", "group_size": -1},
    {"quant_method": "w4a16", "group_size": 32, "sym": False},
    {"quant_method": "w4a16", "bits": 3},
    {"quant_method": "awq", "group_size": 64},
]


def layer_with(spec, W):
    layer = Linear(W.shape[1], W.shape[0], quant_config=get_quantization_config(spec), prefix="model.layers.0.mlp.up_proj")
    layer.weight.data.copy_(W)
    layer.quant_method.process_weights_after_loading(layer)
    return layer


@pytest.mark.parametrize("spec", CONFIGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_apply_is_x_times_the_fake_quantized_weight(spec, dtype):
    W, x = torch.randn(64, 256).bfloat16(), torch.randn(3, 5, 256).to(dtype)
    layer = layer_with(spec, W)
    y = layer(x)
    assert y.shape == (3, 5, 64) and y.dtype == dtype
    method = layer.quant_method
    if isinstance(method, UnquantizedLinearMethod):
        torch.testing.assert_close(y, torch.nn.functional.linear(x, W.to(dtype)))
    else:
        assert near(y.flatten(0, 1), x.flatten(0, 1), quantize(W, method.args))


def test_every_registered_format_serves_the_shipped_model():
    ids = torch.randint(0, 2000, (1, 8))
    for name in FORMATS:
        assert torch.isfinite(load_model(quantization=name)(ids)).all(), name


@pytest.mark.parametrize("spec", [s for s in CONFIGS if s != "unquantized"], ids=str)
def test_the_16_bit_weight_is_gone_after_loading(spec):
    layer = layer_with(spec, torch.randn(64, 256))
    assert not list(layer.parameters()) and layer.qweight.dtype in (torch.uint8, torch.int32)


def test_bias_is_added():
    layer = Linear(128, 8, bias=True, quant_config=get_quantization_config("int8"), prefix="q_proj", dtype=torch.float32)
    layer.weight.data.zero_()
    layer.bias.data.fill_(3.0)
    layer.quant_method.process_weights_after_loading(layer)
    assert (layer(torch.randn(2, 128)) == 3).all()


def test_ignored_layers_stay_in_16_bits():
    config = get_quantization_config({"quant_method": "w4a16", "ignore": ["down_proj", "model.layers.0.self_attn.q_proj"]})
    layers = {m.prefix: m.quant_method for m in load_model(quantization=config).modules() if isinstance(m, Linear)}
    plain = {name for name, m in layers.items() if isinstance(m, UnquantizedLinearMethod)}
    assert plain == {f"model.layers.{i}.mlp.down_proj" for i in range(4)} | {"model.layers.0.self_attn.q_proj"}


def test_quantized_models_move_and_still_work():
    model = load_model(quantization="w4a16").to("cpu")
    assert model(torch.zeros(1, 4, dtype=torch.long)).shape == (1, 4, model.config.vocab_size)


def test_the_model_file_names_no_format():
    """Invariant 5 as a test: model code imports the contract and Linear, nothing about any format."""
    tree = ast.parse(Path(qcourse.models.llama.__file__).read_text())
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules <= {"dataclasses", "torch", "qcourse.layers.linear", "qcourse.layers.method", "qcourse.models.kv_cache"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reference_takes_every_layout(layout):
    q = quantize(torch.randn(32, 256), PRESETS["W4A16"].weights)
    x = torch.randn(4, 256)
    torch.testing.assert_close(reference(x, pack(q, layout)), x @ dequantize(q).T)


class TestBadInput:
    def test_unknown_format_lists_the_known(self):
        with pytest.raises(
            ValueError, match="unknown quantization format 'int5': one of unquantized, int8, fp8, w4a16, awq"
        ):
            load_model(quantization="int5")

    def test_unknown_key(self):
        with pytest.raises(ValueError, match="unknown key 'groupsize'.*group_size"):
            get_quantization_config({"quant_method": "w4a16", "groupsize": 64})

    def test_illegal_values(self):
        with pytest.raises(ValueError, match="bits=5: 2, 3, 4 or 8"):
            get_quantization_config({"quant_method": "w4a16", "bits": 5})
        with pytest.raises(ValueError, match="channel or tensor"):
            get_quantization_config({"quant_method": "int8", "granularity": "group"})

    def test_a_group_size_that_does_not_fit_names_the_layer_before_anything_is_loaded(self):
        with pytest.raises(ValueError, match=r"layers.0.self_attn.q_proj: group_size=96 does not divide K=256.*128"):
            load_model(quantization={"quant_method": "w4a16", "group_size": 96})

    def test_a_nonfinite_weight_names_the_layer(self):
        W = torch.randn(64, 256)
        W[3, 4] = torch.nan
        with pytest.raises(ValueError, match=r"mlp.up_proj.weight holds nan at index \(3, 4\)"):
            layer_with("int8", W)

    def test_reference_names_a_wrong_k_and_dtype(self):
        p = pack(quantize(torch.randn(32, 256), PRESETS["W8A16"].weights))
        with pytest.raises(ValueError, match="x has K=128"):
            reference(torch.randn(4, 128), p)
        with pytest.raises(TypeError):
            reference(torch.zeros(4, 256, dtype=torch.int8), p)
