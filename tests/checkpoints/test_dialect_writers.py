"""Every preset in every ecosystem that has words for it: read again with the same values, or refused saying why."""

from dataclasses import replace

import pytest
import torch

from qcourse.checkpoints.dialect_writers import WRITERS, writer_of
from qcourse.checkpoints.dialects import DIALECTS
from qcourse.numerics.granularity import per_group
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.kv import KV_PRESETS
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs
from qcourse.packing.lossless import (
    dividing,
    half_scales,
    multiplying,
    multiplying_scheme,
    signed_where_needed,
    unsigned_where_needed,
    with_zero_points,
)
from qcourse.packing.packed import LAYOUTS

N, K = 32, 256


def says(writer: str, preset: str) -> bool:
    try:
        return bool(WRITERS[writer].written(PRESETS[preset]))
    except ValueError:
        return False


PAIRS = [(writer, preset) for writer in WRITERS for preset in PRESETS if says(writer, preset)]


def test_the_rows_that_are_promised():
    found = {writer: {p for w, p in PAIRS if w == writer} for writer in WRITERS}
    assert found["gptq"] == found["gptq_v2"] >= {"W4A16", "W4A16_ASYM", "W8A16", "W3A16", "W2A16", "W4A16_CHANNEL"}
    assert found["awq"] >= {"W4A16", "W4A16_ASYM", "W4A16_G32"} and not found["awq"] & {"W8A16", "W3A16", "W4A8"}
    assert found["modelopt"] == {"FP8", "FP8_DYNAMIC", "NVFP4", "NVFP4A16", "NVFP4A16_46"}
    assert found["torchao"] >= {"W8A16", "W8A8", "W4A16", "W4A16_CHANNEL", "W3A16", "FP8_DYNAMIC"}
    assert len(found["compressed-tensors"]) >= 20


@pytest.mark.parametrize(("writer", "preset"), PAIRS)
def test_what_is_written_is_read_with_the_same_values(writer, preset):
    w, scheme = WRITERS[writer], PRESETS[preset]
    config = w.written(scheme)
    q = quantize(torch.randn(N, K), scheme.weights)
    if writer == "gptq" and q.zero_point is not None:
        q.zero_point.clamp_(min=1)  # version 1 stores z - 1
    layout = LAYOUTS[w.layout(scheme)]
    tensors = {n: t for n, t in layout.pack(w.ready(q)).items() if n not in w.dropped}

    class Weights(dict):
        read = dict.__getitem__

    held = Weights({f"model.layers.0.mlp.up_proj.{n}": t for n, t in tensors.items()})
    rule = DIALECTS[config["quant_method"]](config, "config.json", held)[-1]
    again = LAYOUTS[rule.layout].unpack(tensors, rule.scheme.weights, N, K)
    near = 2**-22 if q.args.same_storage(PRESETS["NVFP4A16"].weights) else 0  # the reciprocal of one number
    torch.testing.assert_close(dequantize(again), dequantize(q), rtol=near, atol=0)
    assert rule.scheme.input_activations == w.says(scheme).input_activations


@pytest.mark.parametrize("writer", WRITERS)
def test_layers_that_stay_in_16_bits_are_read_so(writer):
    preset = next(p for w, p in PAIRS if w == writer)
    config = WRITERS[writer].written(PRESETS[preset], ("lm_head", "model.layers.0.mlp.down_proj"))
    rules = DIALECTS[config["quant_method"]](config, "config.json", {})
    first = next(r for r in rules if r.matches("model.layers.0.mlp.down_proj"))
    assert first.scheme is None and next(r for r in rules if r.matches("model.layers.0.mlp.up_proj")).scheme is not None


def test_what_would_be_lost_is_said():
    q = quantize(torch.randn(8, 64), PRESETS["W4A16_G32"].weights)
    tiny = quantize(torch.randn(8, 64) * 1e-9, PRESETS["W4A16_G32"].weights)
    assert torch.equal(dequantize(half_scales(q)), dequantize(q))
    with pytest.raises(ValueError, match="16 of 16 scales are no numbers of fp16"):
        half_scales(tiny)
    with pytest.raises(ValueError, match="16 of 16 scales"):  # rounded they would be 0
        half_scales(tiny, rounding=True)
    near = quantize(torch.randn(8, 64), PRESETS["W4A16_G32"].weights.with_(scale=torch.float32))
    torch.testing.assert_close(dequantize(half_scales(near, rounding=True)), dequantize(near), rtol=2**-10, atol=0)
    with pytest.raises(ValueError, match="no numbers of fp16"):
        half_scales(near)
    with pytest.raises(ValueError, match="unknown layout 'x': one of compressed-tensors"):
        writer_of("x")
    refused = {("awq", "W8A16"): "awq holds integers of 4 bits", ("gptq", "W8A8"): "quantized activations",
               ("modelopt", "W4A16"): "ModelOpt has no algorithm", ("torchao", "NF4"): "TorchAO has no"}  # fmt: skip
    for (writer, preset), said in refused.items():
        with pytest.raises(ValueError, match=said):
            WRITERS[writer].written(PRESETS[preset])


def test_lossless_changes_change_no_value():
    signed = QuantizationArgs(IntGrid(4), per_group(32), "minmax", zero=IntGrid(4))
    for args in (signed, PRESETS["W4A16_G32"].weights, PRESETS["W4A16_ASYM"].weights.with_(granularity=per_group(32))):
        q = quantize(torch.randn(8, 64) + 0.3, args)
        for change in (unsigned_where_needed, signed_where_needed, with_zero_points):
            assert torch.equal(dequantize(change(q)), dequantize(q))
        assert with_zero_points(q).zero_point.dtype == torch.uint8
    nv = quantize(torch.randn(8, 64), PRESETS["NVFP4A16"].weights)
    turned = multiplying(nv)
    assert torch.equal(turned.codes, nv.codes) and torch.equal(turned.scale.codes, nv.scale.codes)
    torch.testing.assert_close(dequantize(turned), dequantize(nv), rtol=2**-22, atol=0)
    again = dividing(turned)
    assert again.args == nv.args and torch.equal(again.codes, nv.codes)
    assert (1 / again.scale.scale).float() == (1 / nv.scale.scale).float()  # the number of the file


def test_the_scale_of_nvfp4_inputs_is_turned_with_that_of_the_weights():
    q, scheme = quantize(torch.randn(16, 64), PRESETS["NVFP4"].weights), PRESETS["NVFP4"]
    theirs, ours = (WRITERS[w].tensors(q, scheme, 160.0) for w in ("compressed-tensors", "modelopt"))
    assert theirs["input_global_scale"].tolist() == [160.0] and ours["input_scale"].item() == 1 / torch.tensor(160.0)
    assert ours["input_scale"].shape == ours["weight_scale_2"].shape == ()
    back = WRITERS["compressed-tensors"].tensors(multiplying(q), multiplying_scheme(scheme), ours["input_scale"].item())
    assert back["input_global_scale"].item() == pytest.approx(160.0, rel=2**-23)


@pytest.mark.parametrize(("change", "scheme", "name"), [(dividing, multiplying_scheme, "1/weight_scale_2"),
                                                        (multiplying, lambda s: s, "1/weight_global_scale")])  # fmt: skip
def test_a_number_without_a_reciprocal_is_refused(change, scheme, name):
    q = quantize(torch.randn(4, 64), scheme(PRESETS["NVFP4A16"]).weights)
    for extreme in (1e-39, 3e38 if change is dividing else 1e39):
        bad = replace(q, scale=replace(q.scale, scale=torch.full_like(q.scale.scale, extreme)))
        with pytest.raises(ValueError, match=f"{name} is .* no reciprocal there"):
            change(bad)


def test_a_cache_has_words_in_two_ecosystems():
    for name in ("compressed-tensors", "modelopt"):
        config = WRITERS[name].written(PRESETS["FP8"], kv_cache=KV_PRESETS["fp8_e4m3"])
        assert config["kv_cache_scheme"]["num_bits"] == 8
    scale = {"model.layers.0.self_attn.k_scale": torch.tensor([0.5])}
    assert WRITERS["compressed-tensors"].named(scale) == scale
    assert WRITERS["modelopt"].named(scale)["model.layers.0.self_attn.k_proj.k_scale"].shape == ()
    for name, recipe in (("gptq", "fp8_e4m3"), ("modelopt", "fp8_e4m3_per_head"), ("modelopt", "int8_static")):
        preset = "W4A16" if name == "gptq" else "FP8"
        with pytest.raises(ValueError, match="has no words for .*KV cache"):
            WRITERS[name].written(PRESETS[preset], kv_cache=KV_PRESETS[recipe])
