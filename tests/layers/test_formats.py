"""Every scheme keeps vLLM's contract, and the model never knows which one it has."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bounds import near

import qcourse.models.llama
from qcourse.gemm.reference import reference
from qcourse.layers.config import get_quantization_config
from qcourse.layers.fused import shared_peaks
from qcourse.layers.linear import Linear, quantize_layers
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import pack

CONFIGS = [
    "bf16",
    *(name for name, scheme in PRESETS.items() if scheme.input_activations is None),
    {"scheme": "W4A16_ASYM", "group_size": 32},
    {"scheme": "W3A16", "group_size": -1},
    {"scheme": "W4A16_ASYM", "group_size": 64, "layout": "awq"},
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
        assert near(y.flatten(0, 1), x.flatten(0, 1), quantize(W, method.scheme.weights))
        assert torch.equal(layer.dequantized(), dequantize(quantize(W, method.scheme.weights)))


def test_every_dynamic_scheme_serves_the_shipped_model():
    ids = torch.randint(0, 2000, (1, 8))
    for name, scheme in PRESETS.items():
        if scheme.input_activations is None or not scheme.input_activations.calibrated:
            assert torch.isfinite(load_model(quantization=name)(ids)).all(), name


@pytest.mark.parametrize("spec", CONFIGS[1:], ids=str)
def test_the_16_bit_weight_is_gone_after_loading(spec):
    layer = layer_with(spec, torch.randn(64, 256))
    assert not list(layer.parameters()) and layer.product.p.data.dtype not in (torch.bfloat16, torch.float32)
    assert layer.product.p.nbytes < 64 * 256 * 1.2


def test_bias_is_added():
    layer = Linear(128, 8, bias=True, quant_config=get_quantization_config("W8A16"), prefix="q_proj", dtype=torch.float32)
    layer.weight.data.zero_()
    layer.bias.data.fill_(3.0)
    layer.quant_method.process_weights_after_loading(layer)
    assert (layer(torch.randn(2, 128)) == 3).all()


def test_ignored_layers_stay_in_16_bits():
    def plain(ignore):
        layers = load_model(quantization={"scheme": "W4A16", "ignore": ignore}).linears()
        return {name for name, layer in layers.items() if isinstance(layer.quant_method, UnquantizedLinearMethod)}

    down, q = {f"model.layers.{i}.mlp.down_proj" for i in range(4)}, "model.layers.0.self_attn.q_proj"
    assert plain(["down_proj", q]) == plain(["re:.*down_proj", q]) == down | {q}
    assert plain(["model.layers.0"]) == {n for n in load_model().linears() if n.startswith("model.layers.0.")}
    assert plain([]) == plain(["lm_head"]) == set()


@pytest.mark.parametrize(
    "typo", ["downproj", "re:.*down_prj", "model.layers.9", "model.layer.0", "model.layers.0.self_attn.q"]
)
def test_a_rule_that_matches_nothing_is_an_error(typo):
    with pytest.raises(ValueError, match="matches no layer of this model; did you mean"):
        load_model(quantization={"scheme": "W4A16", "ignore": [typo]})


def test_the_first_rule_that_matches_wins():
    rules = [["model.layers.0.mlp", None], ["down_proj", "W8A16"], ["Linear", "W4A16"]]
    layers = load_model(quantization={"rules": rules}).linears()
    bits = {n: getattr(m.quant_method, "scheme", None) for n, m in layers.items()}
    assert bits["model.layers.0.mlp.down_proj"] is None and bits["model.layers.1.mlp.down_proj"].weights.num_bits == 8
    assert bits["model.layers.0.self_attn.q_proj"].weights.num_bits == 4


def test_quantized_models_move_and_still_work():
    model = load_model(quantization="W4A16").to("cpu")
    assert model(torch.zeros(1, 4, dtype=torch.long)).shape == (1, 4, model.config.vocab_size)


def test_the_model_file_names_no_format():
    """Invariant 5 as a test: model code imports the contract and Linear, nothing about any format."""
    tree = ast.parse(Path(qcourse.models.llama.__file__).read_text())
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules <= {
        "dataclasses", "torch", "qcourse.layers.embedding", "qcourse.layers.kv_method", "qcourse.layers.linear",
        "qcourse.layers.method",
        "qcourse.methods.folding", "qcourse.models.kv_cache", "qcourse.models.rope", "qcourse.gemm.step",
            "qcourse.models.attention", "qcourse.layers.together",
    }  # fmt: skip


@pytest.mark.parametrize("layout", ["row", "words", "plain", "pack-quantized", "int-quantized", "gptq", "gptq_v2", "awq"])
def test_reference_takes_every_layout(layout):
    q = quantize(torch.randn(32, 256), PRESETS["W4A16"].weights)
    x = torch.randn(4, 256)
    torch.testing.assert_close(reference(x, pack(q, layout)), x @ dequantize(q).T)


class TestBadInput:
    def test_unknown_scheme_lists_the_known(self):
        with pytest.raises(ValueError, match="unknown quantization scheme 'W4A17': did you mean .*W4A16.*known: W8A16"):
            load_model(quantization="W4A17")
        with pytest.raises(TypeError, match="a preset's name, a dict or a QuantizationScheme"):
            load_model(quantization=4)

    def test_unknown_key(self):
        with pytest.raises(ValueError, match="unknown key 'groupsize'.*group_size"):
            get_quantization_config({"scheme": "W4A16", "groupsize": 64})

    @pytest.mark.parametrize("G", ["128", 0, -2, 12.5, True, [128]])
    def test_group_sizes_that_are_no_group_sizes(self, G):
        with pytest.raises(ValueError, match="group_size=.*a positive integer, or -1"):
            get_quantization_config({"scheme": "W4A16", "group_size": G})

    @pytest.mark.parametrize("ignore", ["lm_head", [3], None, {"lm_head": 1}])
    def test_an_ignore_that_is_no_list_of_names(self, ignore):
        with pytest.raises(ValueError, match="ignore is"):
            get_quantization_config({"scheme": "W4A16", "ignore": ignore})

    def test_names_of_labs_handed_out_before(self):
        for old, new in (("int8", "W8A16"), ("w4a16", "W4A16"), ({"quant_method": "w4a16", "bits": 3}, "W3A16"),
                         ({"quant_method": "w4a16", "group_size": -1}, "W4A16_CHANNEL")):  # fmt: skip
            assert get_quantization_config(old).rules == get_quantization_config(new).rules

    def test_a_group_size_that_does_not_fit_names_the_layer_before_anything_is_loaded(self):
        with pytest.raises(ValueError, match=r"layers.0.self_attn.q_proj: group_size=96 does not divide K=256.*128"):
            load_model(quantization={"scheme": "W4A16", "group_size": 96})

    def test_a_nonfinite_weight_names_the_layer(self):
        W = torch.randn(64, 256)
        W[3, 4] = torch.nan
        with pytest.raises(ValueError, match=r"mlp.up_proj.weight holds nan at index \(3, 4\)"):
            layer_with("W8A16", W)

    def test_reference_names_a_wrong_k_and_dtype(self):
        p = pack(quantize(torch.randn(32, 256), PRESETS["W8A16"].weights))
        with pytest.raises(ValueError, match="x has K=128"):
            reference(torch.randn(4, 128), p)
        with pytest.raises(TypeError):
            reference(torch.zeros(4, 256, dtype=torch.int8), p)


def test_fused_layers_share_nvfp4s_upper_scale():
    model = load_model()
    config = replace(get_quantization_config("NVFP4A16"), quantizer=shared_peaks(model.fused()))
    alone = load_model(quantization="NVFP4A16").linears()
    layers = quantize_layers(model, config).linears()
    for group in model.fused():
        above = {m.weight_global_scale.item() for m in group}
        own = {alone[m.prefix].weight_global_scale.item() for m in group}
        assert above == {min(own)} and len(own) > 1  # it divides: the loudest weight has the smallest
    down = [n for n in layers if n.endswith("down_proj")]
    assert all(torch.equal(layers[n].weight_packed, alone[n].weight_packed) for n in down)
