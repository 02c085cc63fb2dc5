import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qcourse.numerics.grids import E2M1, E4M3, E5M2, IntGrid

FLOATS = [pytest.param(E4M3, torch.float8_e4m3fn, id="e4m3"), pytest.param(E5M2, torch.float8_e5m2, id="e5m2")]


def bits(x):
    """Compare NaN with NaN and -0 with -0: by the 32 bits (any NaN is one NaN)."""
    return torch.where(x.isnan(), torch.full_like(x, torch.nan), x).view(torch.int32)


@pytest.mark.parametrize(("grid", "dtype"), FLOATS)
def test_all_256_codes_decode_as_torch_does(grid, dtype):
    codes = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(bits(grid.decode(codes)), bits(codes.view(dtype).float()))


def adversarial(grid):
    """Every finite value, every midpoint of neighbours and its two float neighbours, and the special ones."""
    values = grid.table()[grid.table().isfinite()].unique()
    ties = (values[1:] + values[:-1]) / 2
    around = [torch.nextafter(ties, torch.full_like(ties, d)) for d in (torch.inf, -torch.inf)]
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, -torch.nan, 1e-45, -1e-45, 3.4e38, grid.max * 1.07])
    return torch.cat([values, -values, ties, -ties, *around, special])


@pytest.mark.parametrize(("grid", "dtype"), FLOATS)
def test_encode_is_torchs_cast_of_the_clamped_value(grid, dtype):
    scales = torch.logspace(-8, 5, 40).unsqueeze(1)
    x = torch.cat([adversarial(grid), (torch.randn(40, 5000) * scales).flatten()])
    theirs = x.clamp(-grid.max, grid.max).to(dtype).view(torch.uint8)
    assert torch.equal(grid.encode(x.clone()).to(torch.uint8), theirs)


@pytest.mark.parametrize(("grid", "dtype"), FLOATS)
@given(pattern=st.integers(0, 2**32 - 1))
def test_encode_any_float32(grid, dtype, pattern):
    x = torch.tensor([pattern], dtype=torch.int64).to(torch.int32).view(torch.float32)
    theirs = x.clamp(-grid.max, grid.max).to(dtype).view(torch.uint8)
    assert torch.equal(grid.encode(x.clone()).to(torch.uint8), theirs)


def test_e2m1_has_the_eight_magnitudes_of_the_ocp_spec():
    assert E2M1.table()[:8].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    ties = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 100.0])
    assert E2M1.decode(E2M1.encode(ties)).tolist() == [0, 1, 1, 2, 2, 4, 4, 6]  # ties to even, saturating


@pytest.mark.parametrize(
    ("grid", "qmin", "qmax", "limit"),
    [
        (IntGrid(8), -128, 127, 127.5),
        (IntGrid(8, restricted=True), -127, 127, 127.0),
        (IntGrid(4), -8, 7, 7.5),
        (IntGrid(4, restricted=True), -7, 7, 7.0),
        (IntGrid(3), -4, 3, 3.5),
        (IntGrid(2, restricted=True), -1, 1, 1.0),
        (IntGrid(4, signed=False), 0, 15, 7.5),
    ],
)
def test_integer_ranges(grid, qmin, qmax, limit):
    assert (grid.qmin, grid.qmax, grid.limit) == (qmin, qmax, limit)
    assert grid.encode(torch.tensor([-1e9, 1e9])).tolist() == [qmin, qmax]


def test_ties_go_to_even():
    assert IntGrid(8).encode(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("num_bits", [1, 9, 0, -4])
def test_bits_outside_2_to_8_are_refused(num_bits):
    with pytest.raises(ValueError, match="2 to 8 bits"):
        IntGrid(num_bits)


def test_unsigned_restricted_is_refused():
    with pytest.raises(ValueError, match="signed=True"):
        IntGrid(4, signed=False, restricted=True)
