"""16-bit weights, few tokens: the loop against exact arithmetic, and where torch takes over."""

import pytest
import torch

from qcourse.gemm import operand
from qcourse.gemm.half import half_matmul
from qcourse.gemm.operand import FEW


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("M", "N", "K"), [(1, 7, 3), (1, 1024, 1100), (FEW, 33, 64), (FEW + 1, 33, 64), (0, 5, 8), (1, 5, 1)]
)
def test_within_the_law_of_fp32_sums(M, N, K, dtype):
    x, w = torch.randn(M, K).to(dtype), torch.randn(N, K).bfloat16()
    y = half_matmul(x, w)
    exact, size = x.double() @ w.double().T, x.double().abs() @ w.double().abs().T
    bound = K * 2**-24 * size + (2**-8 * (exact.abs() + 1e-6) if dtype == torch.bfloat16 else 2**-24 * exact.abs())
    if dtype == torch.bfloat16 and M > FEW:
        bound = bound + 2**-8 * size  # torch's own kernel may keep parts of the sum in bf16
    assert y.dtype == dtype and y.shape == (M, N) and ((y.double() - exact).abs() <= bound + 1e-30).all()


def test_leading_axes_views_and_a_bias():
    x, w, bias = torch.randn(2, 1, 64), torch.randn(9, 128).bfloat16()[:, ::2], torch.randn(9)
    torch.testing.assert_close(half_matmul(x, w, bias), x @ w.float().T + bias)
    assert half_matmul(x.transpose(0, 1)[:, :1], w).shape == (1, 1, 9)
    strided = torch.randn(2, 128)[:, ::2]
    torch.testing.assert_close(half_matmul(strided, w), strided @ w.float().T)


def test_a_gradient_goes_through_torch():
    x, w = torch.randn(1, 8, requires_grad=True), torch.randn(4, 8).bfloat16()
    half_matmul(x, w).sum().backward()
    torch.testing.assert_close(x.grad[0], w.float().sum(0))
    with torch.no_grad():  # none wanted here, though x has one elsewhere
        torch.testing.assert_close(half_matmul(x, w), x @ w.float().T)


def test_nan_and_inf_are_kept():
    x, w = torch.tensor([[1.0, float("inf"), float("nan")]]), torch.eye(3).bfloat16()
    assert half_matmul(x[:, :2], w[:2, :2])[0, 1] == float("inf") and half_matmul(x, w).isnan().any()


def test_without_numba_torch_multiplies(monkeypatch):
    monkeypatch.setattr(operand, "has_jit", lambda: False)
    x, w = torch.randn(1, 8), torch.randn(4, 8).bfloat16()
    torch.testing.assert_close(half_matmul(x, w), x @ w.float().T)
