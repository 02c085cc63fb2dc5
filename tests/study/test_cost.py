import pytest
import torch

from qcourse.models.loader import SHIPPED, load_model
from qcourse.study import roofline
from qcourse.study.cost import decode_seconds, file_bytes, model_bytes, projected_bytes


def test_measured_bytes_equal_the_formula(shipped):
    c = shipped.config
    kv = c.num_key_value_heads * c.head_dim
    per_layer = c.hidden_size * (2 * c.hidden_size + 2 * kv + 3 * c.intermediate_size)
    b = model_bytes(shipped)
    assert b.weights == per_layer * c.num_hidden_layers and b.linear == 2 * b.weights and b.bits_per_weight == 16
    assert b.other == 2 * (c.vocab_size * c.hidden_size + (2 * c.num_hidden_layers + 1) * c.hidden_size)


@pytest.mark.parametrize(("spec", "bits"), [("w4a16", 4.125), ({"quant_method": "w4a16", "group_size": 32, "bits": 3}, 3.5)])
def test_quantized_bytes_count_the_scales(spec, bits):
    assert model_bytes(load_model(quantization=spec)).bits_per_weight == pytest.approx(bits)


def test_the_file_holds_what_memory_holds(shipped):
    assert 0 < file_bytes(SHIPPED) - model_bytes(shipped).total < 10_000  # the header


def test_the_projection_agrees_with_a_measured_model(shipped):
    four = load_model(quantization="w4a16")
    norms = 2 * (2 * shipped.config.num_hidden_layers + 1) * shipped.config.hidden_size
    assert projected_bytes(shipped.config, 16) + norms == model_bytes(shipped).total
    assert projected_bytes(shipped.config, 4.125) + norms == model_bytes(four).total


def test_decode_floor():
    assert decode_seconds(14e9, 3.35e12) == pytest.approx(4.18e-3, rel=1e-3)


def test_measure_reports_median_and_quartiles():
    t = roofline.measure(lambda i: sum(range(2000)), repeats=9)
    assert 0 < t.low <= t.median <= t.high and "ms" in str(t)


def test_bandwidth_is_a_plausible_number():
    assert 5e8 < roofline.read_bandwidth(16) < 1e13


def test_gemm_cases_compute_on_weights_of_the_stated_size():
    cases = roofline.gemm_cases(N=64, K=256)
    assert cases["bf16"][0] == 2 * 64 * 256
    for name, (size, call) in cases.items():
        assert call(1).shape == (1, 64), name
        assert size < 3 * 64 * 256
    assert torch.isfinite(cases["bf16"][1](0)).all()
