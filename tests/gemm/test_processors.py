"""The loops on other processors than this one: the same law, whatever instructions there are.

The compiler is told to make code for another processor (numba's own setting), in a process and with a cache of its own.
AVX2 here, because most laptops have it and no more; the others, a minute, with `make interop`.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

SCRIPT = """
import torch
from bounds import near
from qcourse.gemm import cpu
from qcourse.gemm.vectors import HAS, LANES, VNNI
from qcourse.numerics.granularity import per_group
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import INT8_BLOCKS, PRESETS, int_weight
from qcourse.packing.packed import pack

torch.manual_seed(0)
for args in (PRESETS["W4A16_ASYM"].weights, int_weight(8, per_group(32))):
    q, x = quantize(torch.randn(9, 384), args), torch.randn(3, 384)
    assert near(cpu.int_dot(x, pack(q)), x, q) and near(cpu.blocked(x, pack(q)), x, q)
    x_hat = quantize(x, INT8_BLOCKS[32])
    rounded = (x_hat.codes.unflatten(-1, (-1, 32)) * x_hat.scale.unsqueeze(-1)).flatten(1)
    assert near(cpu.int_dot(x, pack(q), block=32), rounded, q)
x, w = (torch.randint(-128, 128, (r, 300), dtype=torch.int8) for r in (3, 9))
assert torch.equal(cpu.int8_dots(x, w).long(), x.long() @ w.long().T)
print(LANES, VNNI, "avx2" in HAS)
"""
FEATURES = {
    "x86-64": "",
    "haswell": "+avx,+avx2,+fma,+bmi,+bmi2,+f16c",
    "cascadelake": "+avx,+avx2,+fma,+f16c,+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512cd,+avx512vnni",
    "alderlake": "+avx,+avx2,+fma,+f16c,+avxvnni",
}
PROCESSORS = {
    "x86-64": "8 False False",
    "haswell": "8 False True",
    "cascadelake": "16 True True",
    "alderlake": "8 True True",
}


def here(processor: str) -> bool:
    """Whether this processor can run what is made for that one."""
    from qcourse.gemm.vectors import HAS

    wanted = {"x86-64": set(), "haswell": {"avx2"}, "cascadelake": {"avx512vnni"}, "alderlake": {"avxvnni"}}
    return platform.machine() == "x86_64" and wanted[processor] <= HAS


def obeys_the_law(processor, cache):
    """SCRIPT, in code for this processor. Skips where the machine cannot run it."""
    if not here(processor):
        pytest.skip(f"this machine cannot run code for {processor}")
    env = os.environ | {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": FEATURES[processor],
        "NUMBA_CACHE_DIR": str(cache),
    }
    env["PYTHONPATH"] = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == PROCESSORS[processor].split()


def test_avx2_obeys_the_law(tmp_path):
    obeys_the_law("haswell", tmp_path)
