"""On a CUDA device: the same layers, the same results. Marked `gpu`; skipped where there is none."""

import pytest
import torch

from qcourse.gemm.w8a8 import fp8_matmul, torch_int8_matmul
from qcourse.models.loader import SHIPPED, load_model
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import FP8_TOKEN, PRESETS
from qcourse.study.families import DEFAULT, prepare
from qcourse.study.perplexity import windows

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("M", [1, 16, 17, 128])
def test_int8_is_exact(M):
    x, w = (torch.randint(-128, 128, (r, 256), dtype=torch.int8) for r in (M, 64))
    assert torch.equal(torch_int8_matmul(x.cuda(), w.cuda()).cpu(), x.int() @ w.int().T)


@pytest.mark.parametrize("preset", ["FP8", "FP8_DYNAMIC"])
def test_fp8_equals_the_reference_to_bf16_rounding(preset):
    x, w = quantize(torch.randn(48, 256), FP8_TOKEN), quantize(torch.randn(64, 256), PRESETS[preset].weights)
    expected = fp8_matmul(x.codes, w.codes, x.scale, w.scale)
    y = fp8_matmul(x.codes.cuda(), w.codes.cuda(), x.scale.cuda(), w.scale.cuda())
    torch.testing.assert_close(y.float().cpu(), expected, rtol=2**-7, atol=2**-5)


@pytest.mark.parametrize("name", DEFAULT)
def test_every_family_runs_and_agrees_with_the_cpu(name):
    calibration = windows(SHIPPED, 6, 128, "calibration").ids
    ids = calibration[:1, :64]
    here, there = prepare(SHIPPED, name, calibration)(ids), prepare(SHIPPED, name, calibration, "cuda")(ids.cuda()).cpu()
    assert (here - there).abs().mean() < 0.02 * here.abs().mean()
    assert load_model().config.vocab_size == there.shape[-1]
