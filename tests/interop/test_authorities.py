"""The authority table: no unexplained difference, on any tensor (see `authorities`, which also prints it)."""

import warnings

import pytest

for needed in ("compressed_tensors", "gguf", "libgguf", "torchao", "bitsandbytes", "modelopt", "ml_dtypes"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(needed)

from authorities import all_of_them, tensors  # noqa: E402

CASES = tensors()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("authority", all_of_them(), ids=lambda a: f"{a.format}-{a.package}")
def test_no_unexplained_difference(authority):
    for name, W in CASES.items():
        if name not in authority.skip:
            elements, _, unexplained = authority.compare(W)
            assert elements and not unexplained, name


def test_a_difference_would_be_seen():
    """The comparison itself: another rule's codes are counted."""
    floor, even = (next(a for a in all_of_them() if a.format == f"MX E2M1, {rule}") for rule in ("floor", "even"))
    mixed = [(n, ours, theirs, may) for (n, ours, _, may), (_, _, theirs, _) in
             zip(floor.parts(CASES["normal"]), even.parts(CASES["normal"]), strict=True)]  # fmt: skip
    assert sum(int((ours != theirs).sum()) for _, ours, theirs, _ in mixed) > 100
