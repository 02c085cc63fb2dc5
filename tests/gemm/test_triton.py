"""The Triton kernels in Triton's interpreter, on the CPU: the cases, bounds and refusals of triton_cases.py.

One subprocess runs them all (seconds), for the interpreter must be chosen before triton is first imported. The benchmark
that uses the kernels runs dry here, too.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton has wheels for Linux only")


@pytest.fixture(scope="module")
def outcomes():
    """{case: {"ratio"} or {"error"}} of one run in the interpreter."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-W", "error", HERE / "triton_cases.py"]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {line["case"]: line for line in map(json.loads, run.stdout.splitlines())}


def test_every_regime_width_and_dtype_is_among_the_cases(outcomes):
    for words in (
        "w4 decode",
        "w4 batch",
        "w4 prefill",
        "w8 decode",
        "nvfp4 decode",
        "nvfp4 batch",
        "nvfp4 prefill",
        "mxfp4 decode",
        "mxfp4 batch",
        "mxfp4 prefill",
        "int8 decode",
        "int8 prefill",
        "fp8 decode",
        "K split",
    ):
        assert any(words in case for case in outcomes)


def test_products_stay_within_their_bounds(outcomes):
    wrong = {case: o["ratio"] for case, o in outcomes.items() if "ratio" in o and not o["ratio"] <= 1}
    assert not wrong


def test_the_bounds_notice_a_zero_point_off_by_one_and_swapped_groups(outcomes):
    assert outcomes["mistakes are seen"]["ratio"] < 0.1  # at least ten times beyond the bound


def test_the_kernels_also_run_where_the_tests_check_shapes():
    """Their functions are wrapped then, and Triton must still see the ones that are written: so on a GPU."""
    code = """
import runpy
import tests.conftest
runpy.run_path("tests/gemm/triton_cases.py")["CASES"]["w4 decode, K split"].ratio("cpu")
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_new_weight_format_joins_by_its_unpack_step_alone(outcomes):
    assert 0 < outcomes["a new format"]["ratio"] <= 1


def test_fp4_codes_and_scales_are_exact(outcomes):
    """Every nibble, E4M3 and E8M0 byte alone, and all codes under all scales through the product."""
    assert outcomes["fp4 bits"]["ratio"] == outcomes["fp4 is exact"]["ratio"] == 0


def test_what_is_not_understood_is_refused_with_a_reason(outcomes):
    refusals = {words: o["error"] for words, o in outcomes.items() if "error" in o}
    assert len(refusals) >= 20
    for words, error in refusals.items():
        assert error.startswith(words), error


def test_without_cuda_and_interpreter_the_doors_say_what_to_do():
    code = """
import torch
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.triton_w8a8 import fp8_w8a8_matmul, int8_w8a8_matmul
codes, one = torch.zeros(2, 32, dtype=torch.int8), torch.ones(1, 1)
for door, c in ((int8_w8a8_matmul, codes), (fp8_w8a8_matmul, codes.view(torch.uint8))):
    try:
        door(c, c, one, one)
    except KernelMismatch as e:
        print(e)
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout.count("set TRITON_INTERPRET=1") == 2, run.stderr


def benchmark(*arguments, **environment):
    kept = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.gemm_gpu", *arguments]
    return subprocess.run(command, env=kept | environment, cwd=ROOT, capture_output=True, text=True)


def test_the_benchmark_runs_dry_and_leaves_provenance(tmp_path):
    out = tmp_path / "gemm.json"
    run = benchmark("--dry-run", "--json", str(out), TRITON_INTERPRET="1")
    assert run.returncode == 0, run.stderr
    report = json.loads(out.read_text())
    assert {"device", "date", "versions", "command", "bandwidth", "results"} <= report.keys()
    assert out.with_suffix(".png").stat().st_size > 1000
    assert "triton" in report["versions"] and "benchmarks.gemm_gpu --dry-run" in report["command"]
    names = {r["kernel"] for r in report["results"]}
    assert names == {"bf16 cuBLAS", "W4A16 ours", "W8A16 ours", "int8 ours", "fp8 token ours", "fp8 tensor ours"}
    assert all(r["relative_error"] < 0.01 for r in report["results"])
    assert len(run.stdout.splitlines()) == 2 + 2 + len(report["results"])  # heading, blank, table
    assert "exists" in benchmark("--dry-run", "--json", str(out), TRITON_INTERPRET="1").stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_the_benchmark_says_so_in_one_sentence():
    run = benchmark()
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr == "benchmarks.gemm_gpu needs a CUDA device, and torch sees none here: not measured.\n"
