"""The same bits as libraries that are not ours (light ones; `make interop` runs the heavy ones)."""

import ml_dtypes
import numpy as np
import pytest
import torch

from qcourse.numerics.grids import E2M1, E4M3, E5M2

GRIDS = [(E4M3, ml_dtypes.float8_e4m3fn), (E5M2, ml_dtypes.float8_e5m2), (E2M1, ml_dtypes.float4_e2m1fn)]


@pytest.mark.parametrize(("grid", "dtype"), GRIDS, ids=lambda g: getattr(g, "name", ""))
def test_a_million_floats_encode_as_ml_dtypes_does(grid, dtype):
    x = (torch.randn(1000, 1000) * torch.logspace(-6, 4, 1000).unsqueeze(1)).clamp(-grid.max, grid.max)
    theirs = x.numpy().astype(dtype).view(np.uint8)
    assert np.array_equal(grid.encode(x.clone()).numpy().astype(np.uint8), theirs)


@pytest.mark.parametrize(("grid", "dtype"), GRIDS, ids=lambda g: getattr(g, "name", ""))
def test_every_code_decodes_as_ml_dtypes_does(grid, dtype):
    codes = np.arange(1 << grid.num_bits, dtype=np.uint8)
    theirs = codes.view(dtype).astype(np.float32)
    assert np.array_equal(grid.decode(torch.from_numpy(codes)).numpy(), theirs, equal_nan=True)
