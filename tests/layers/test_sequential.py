"""Layer by layer: every layer sees what its quantized predecessors produce, and a report says what was done."""

from functools import partial

import pytest
import torch

from qcourse.layers.config import get_quantization_config
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.layers.sequential import quantize_model
from qcourse.methods.calibration import calibrate
from qcourse.methods.gptq import gptq
from qcourse.methods.quantizers import QUANTIZERS, Quantizer
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.numerics.quantize import dequantize, quantize

SIZES = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
CONFIG = {"scheme": "W4A16_ASYM", "group_size": 16}


def small(tied=True):
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied), dtype=torch.float32)
    for p in model.parameters():
        p.data.normal_(std=0.2)
    return model


def ids(n=6, T=128):
    return torch.randint(0, 97, (n, T), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", list(QUANTIZERS))
def test_every_quantizer_by_its_name(name):
    model = small()
    reports = quantize_model(model, ids(), get_quantization_config(CONFIG), name)
    assert [r.name for r in reports] == list(model.linears())
    for r, layer in zip(reports, model.linears().values(), strict=True):
        assert isinstance(layer.quant_method, QuantizedLinearMethod) and r.shape == (layer.output_size, layer.input_size)
        assert r.bits == 4 + 20 / 16 and (r.error is None) == (not QUANTIZERS[name].data) and r.notes == ()
        assert r.error is None or 0 < r.error < 0.5
    assert torch.isfinite(model(ids())).all()


def watching(seen):
    """RTN that remembers what it was told of its input."""

    def run(W, args, stats, name):
        seen[name.removesuffix(".weight")] = stats
        return quantize(W, args, name)

    return Quantizer(run, data=True, hessian=True)


def test_a_layer_sees_what_its_quantized_predecessors_produce():
    seen, model, plain = {}, small(), small()
    quantize_model(model, ids(), get_quantization_config(CONFIG), watching(seen))
    with torch.inference_mode():
        after, before = calibrate(model, ids()), calibrate(plain, ids())  # `model` is quantized by now, everywhere
    for name, stats in seen.items():
        torch.testing.assert_close(stats.absmax, after[name].absmax, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(seen["model.layers.1.mlp.down_proj"].absmax, before["model.layers.1.mlp.down_proj"].absmax)


def test_or_what_the_16_bit_model_produces():
    seen, plain = {}, small()
    quantize_model(small(), ids(), get_quantization_config(CONFIG), watching(seen), sequential=False)
    with torch.inference_mode():
        before = calibrate(plain, ids(), hessian=True)
    for name, stats in seen.items():
        torch.testing.assert_close(stats.hessian, before[name].hessian, rtol=1e-3, atol=1e-3 * stats.hessian.max())


def test_codes_go_into_the_layer_as_the_quantizer_made_them():
    model, kept = small(), {}
    quantize_model(model, ids(), get_quantization_config(CONFIG), "gptq", look=lambda q, r: kept.update({r.name: q}))
    for name, layer in model.linears().items():
        assert torch.equal(layer.dequantized(), dequantize(kept[name]))


def test_a_head_of_its_own_is_quantized_only_if_the_rules_say_so():
    model = small(tied=False)
    assert len(quantize_model(model, ids(), get_quantization_config(CONFIG), "gptq")) == 14
    model = small(tied=False)
    reports = quantize_model(model, ids(), get_quantization_config(CONFIG | {"ignore": []}), "gptq")
    assert reports[-1].name == "lm_head" and reports[-1].error < 0.5


def test_options_of_a_quantizer():
    run, found = partial(gptq, damp=0.5, act_order="static"), []
    for q in ("gptq", Quantizer(run, data=True, hessian=True)):
        model = small()
        quantize_model(model, ids(), get_quantization_config(CONFIG), q)
        found.append(model.model.layers[0].mlp.down_proj.dequantized())
    assert not torch.equal(*found)


def test_what_was_done_to_a_hessian_is_in_the_report():
    model = small()
    model.model.layers[0].input_layernorm.weight.data[3] = 0
    reports = quantize_model(model, ids(), get_quantization_config(CONFIG), "gptq")
    assert reports[0].notes == ("1 dead channels (first: 3) are rounded to nearest",)


def test_nan_names_the_layer():
    model = small()
    model.model.layers[1].self_attn.v_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"model\.layers\.1\.self_attn\.v_proj\.weight holds nan"):
        quantize_model(model, ids(), get_quantization_config(CONFIG), "gptq")
    model = small()
    model.model.layers[1].post_attention_layernorm.weight.data[7] = torch.nan
    with pytest.raises(ValueError, match=r"1\.mlp\.gate_proj: calibration input holds NaN or inf in channel 7"):
        quantize_model(model, ids(), get_quantization_config(CONFIG), "gptq")


def test_nothing_is_changed_before_all_of_it_fits():
    model = small()
    with pytest.raises(ValueError, match="does not divide K=64"):
        quantize_model(model, ids(), get_quantization_config(CONFIG | {"group_size": 48}), "gptq")
    with pytest.raises(ValueError, match="at least 512 needed"):
        quantize_model(model, ids(1, 20), get_quantization_config(CONFIG), "gptq")
    assert all(m.weight.dtype == torch.float32 for m in model.linears().values())
