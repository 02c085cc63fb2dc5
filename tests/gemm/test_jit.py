"""Machine code that is kept: found again, replaced when it is broken, and named after the sources it was made from."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

SMALL = """
import torch
from qcourse.gemm import step
from qcourse.gemm.jit import KERNELS, edition
y = step.norm(torch.ones(1, 8), torch.full((8,), 2.0), 0.0)
assert torch.equal(y, torch.full((1, 8), 2.0))
made = [k for k in KERNELS if k.versions]
assert all(k.loop.__qualname__.endswith(edition()) for k in KERNELS)
print([(k.made.cache_hits, k.cached) for k in made])
"""


@pytest.mark.parametrize("state", ["sound", "cut short"])
def test_the_cache_of_machine_code(state, tmp_path):
    """A sound one is used, a broken one replaced."""
    folder = tmp_path / "cache"
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    again = lambda: subprocess.run([sys.executable, "-c", SMALL], env=env, capture_output=True, text=True, timeout=600)  # noqa: E731
    first = again()
    assert first.returncode == 0 and "compiled norm" in first.stderr, first.stderr[-2000:]
    if state == "cut short":
        for kept in folder.rglob("*.nb*"):
            kept.write_bytes(kept.read_bytes()[:40])
    second = again()
    assert second.returncode == 0, second.stderr[-2000:]
    assert ("compiled norm" in second.stderr) == (state == "cut short")
