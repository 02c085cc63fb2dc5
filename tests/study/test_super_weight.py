"""What becomes of the one weight: on the shipped model, whose loudest stands in for it."""

import math

import pytest
import torch

from qcourse.methods.calibration import InputStats
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import fake_quantize
from qcourse.study.super_weight import ASYM, TIMES, WAYS, fate, fates, heard, instead, output_error

CHEAP = ["W4A16_ASYM_G64", "W4A16_ASYM_G64+awq", "W4A16_ASYM_G64, clipped without first tokens", "times 1", "times 0"]


@pytest.fixture(scope="module")
def results():
    TIMES["times 1"] = 1.0
    try:
        return dict(fates("shipped", {}, 4, 64, CHEAP))
    finally:
        del TIMES["times 1"]


def test_each_way_is_measured_and_what_is_done_is_not_measured_again(results):
    assert list(results) == ["found", "bf16", *CHEAP]
    assert list(fates("shipped", results, 4, 64, CHEAP)) == []
    again = dict(fates("shipped", {k: results[k] for k in ("found", "bf16")}, 4, 64, ["times 0"]))
    assert list(again) == ["times 0"] and again["times 0"]["value"] == 0
    assert again["times 0"]["added_bits_per_byte"] == pytest.approx(results["times 0"]["added_bits_per_byte"], abs=1e-6)


def test_numbers_are_what_they_say(results):
    w, kept = results["found"]["weight"], results["times 1"]
    assert kept["value"] == w and kept["weights"] == kept["output"] == kept["added_bits_per_byte"] == 0
    assert results["times 0"]["neighbours"] == 0 < results["times 0"]["weights"]
    rounded = results["W4A16_ASYM_G64"]
    assert 0.05 < rounded["weights"] < 0.2 and 0.01 < rounded["output"] < 0.3 and rounded["neighbours"] > 0
    assert all(math.isfinite(v) for name in CHEAP for v in results[name].values())
    assert results["found"]["mean_abs"] > results["found"]["median_mean_abs"]


def test_the_output_error_is_that_of_the_tokens():
    x, W = torch.randn(300, 128), torch.randn(16, 128)
    stats = InputStats(128, with_hessian=True)
    stats.update(x)
    W_hat = fake_quantize(W, ASYM)
    assert output_error(W, W_hat, stats) == pytest.approx(((x @ (W_hat - W).T).norm() / (x @ W.T).norm()).item(), rel=1e-3)
    found = fate(W, W_hat, 3, 70, (stats, stats))
    others = [k for k in range(64, 128) if k != 70]
    lost = (W_hat - W)[3, others].norm() / W[3, others].norm()
    assert found["value"] == W_hat[3, 70] and found["neighbours"] == pytest.approx(lost.item(), rel=1e-5)


def test_the_weight_comes_back_and_first_tokens_are_left_out():
    model = load_model()
    layer = model.model.layers[1].mlp.down_proj
    before, ids = layer.weight.data.clone(), torch.randint(0, 2048, (3, 10))
    with pytest.raises(RuntimeError), instead(layer, torch.zeros_like(before)):
        assert not layer.weight.any()
        raise RuntimeError
    assert torch.equal(layer.weight, before)
    with heard(layer) as (seen, later):
        model(ids)
    assert (seen.tokens, later.tokens) == (30, 27) and len(layer._forward_hooks) == 0


def test_every_way_gives_a_matrix_of_the_same_shape():
    W, x = torch.randn(16, 128), torch.randn(400, 128)
    stats = InputStats(128, with_hessian=True)
    stats.update(x)
    for name, way in WAYS.items():
        W_hat = way(W, stats, stats)
        error = ((W_hat - W).norm() / W.norm()).item()
        assert W_hat.shape == W.shape and 0.02 < error < 0.3, name
