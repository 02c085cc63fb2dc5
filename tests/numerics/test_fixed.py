"""Scales that stand already give the codes and the values that `quantize` and `dequantize` give."""

import pytest
import torch

from qcourse.numerics.fixed import steps_of
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_same_codes_and_values(name):
    W = torch.randn(64, 512)
    W[0], W[1, :32], W[2, 32:64] = 0, 0, -0.5
    q = quantize(W, PRESETS[name].weights)
    steps = steps_of(q)
    torch.testing.assert_close(steps.decode(q.codes), dequantize(q), rtol=1e-6, atol=1e-6)
    again, rows = steps.encode(W), slice(3, None)  # of a scale of 0 any code will do
    searched = q.args.scaling in ("ggml", "nf4")  # these find codes before their scales are stored
    assert (again[rows] != q.codes[rows]).float().mean() <= (0.02 if searched else 0)
    assert ((steps.decode(again) - W).square().sum() <= (dequantize(q) - W).square().sum() * (1 + 1e-5)).all()
