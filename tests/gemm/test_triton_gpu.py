"""The Triton kernels on a CUDA device: the interpreter's cases and bounds, and the same doors at sizes of real layers."""

import pytest
import torch

from qcourse.gemm.mismatch import KernelMismatch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(scope="module")
def cases():
    """triton_cases, imported only where there is a device: it imports triton."""
    import triton_cases

    assert not triton_cases.triton_weight_only.triton_launch.INTERPRETED, "TRITON_INTERPRET is set: these tests want the GPU"
    return triton_cases


def beyond_bound(cases, wanted):
    """{name: ratio} of the cases that miss their bound; FP8 must be refused where there is no instruction for it."""
    has_fp8, wrong = torch.cuda.get_device_capability() >= (8, 9), {}
    for name, case in wanted.items():
        torch.manual_seed(0)
        if getattr(case, "kind", None) == "fp8" and not has_fp8:
            with pytest.raises(KernelMismatch, match=r"begin at 8\.9"):
                case.ratio("cuda")
        elif not (ratio := case.ratio("cuda")) <= 1:
            wrong[name] = ratio
    return wrong


def test_the_cases_of_the_interpreter(cases):
    assert beyond_bound(cases, cases.CASES) == {}


def test_layers_of_real_size(cases):
    W, C = cases.Weights, cases.Codes
    sizes = ((4096, 4096), (11008, 4096), (4099, 1024))
    wanted = {}
    for N, K in sizes:
        for M in (1, 16, 17, 64, 65, 257):
            wanted |= {
                f"w4 {M}×{N}×{K}": W(4, M, N, K, 128, bias=True),
                f"w4 zero points {M}×{N}×{K}": W(4, M, N, K, 32, symmetric=False, dtype=cases.FP16),
                f"w8 {M}×{N}×{K}": W(8, M, N, K),
                f"nvfp4 {M}×{N}×{K}": cases.FP4(M=M, N=N, K=K, bias=True),
                f"mxfp4 {M}×{N}×{K}": cases.FP4(M=M, N=N, K=K, stored=cases.MXFP4_ARGS, dtype=cases.FP16),
                f"int8 {M}×{N}×{K}": C("int8", M, N, K),
                f"fp8 token {M}×{N}×{K}": C("fp8", M, N, K),
                f"fp8 tensor {M}×{N}×{K}": C("fp8", M, N, K, per_tensor=True, bias=True),
            }
    assert beyond_bound(cases, wanted) == {}


def test_facts_and_refusals(cases):
    assert {name: ratio for name, fact in cases.FACTS.items() if (ratio := fact("cuda")) > 0.1} == {}
    for words, call in cases.refusals("cuda").items():
        assert cases.refused(call).startswith((words, "TypeCheckError"))  # the tests' shape checker may get there first


def test_the_products_can_be_captured_in_a_graph(cases):
    """No synchronisation, no dependence on values: what an engine's CUDA graphs need."""
    x, p, _ = cases.Weights(4, 4, 512, 1024, 128).operands("cuda")
    expected, graph = cases.w4a16_matmul(x, p), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = cases.w4a16_matmul(x, p)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(y, expected)
