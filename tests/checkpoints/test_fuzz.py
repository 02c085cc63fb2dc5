"""A few thousand spoilt files of each kind; `make fuzz` makes 100,000. The seed is fixed: the same files every time."""

import tracemalloc

import pytest

from tools.fuzz import GOOD, fuzz


@pytest.mark.parametrize("kind", GOOD)
def test_a_spoilt_file_is_refused_or_read_whole(kind, tmp_path):
    tally = fuzz(kind, 3000, 11, tmp_path)
    assert tally["refused"] > 1500 and tally["read"] > 50  # both doors are walked through


@pytest.mark.parametrize("kind", GOOD)
def test_it_costs_no_memory(kind, tmp_path):
    tracemalloc.start()
    try:
        assert fuzz(kind, 300, 12, tmp_path, traced=True)["peak"] < 1 << 20
    finally:
        tracemalloc.stop()
