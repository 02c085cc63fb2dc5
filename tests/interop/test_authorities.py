"""The authority table: no unexplained difference, on any tensor (see `authorities`, which also prints it)."""

import warnings

import pytest

for needed in ("compressed_tensors", "gguf", "libgguf", "torchao", "bitsandbytes", "modelopt", "ml_dtypes"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(needed)

import gguf  # noqa: E402
import libgguf  # noqa: E402
import torch  # noqa: E402
from authorities import K, all_of_them, tensors, within_fp16  # noqa: E402

from qcourse.numerics.formats import GGUF_ARGS  # noqa: E402
from qcourse.numerics.quantize import dequantize, quantize  # noqa: E402

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


@pytest.mark.parametrize("name", ["normal", "weights", "bf16", "heavy tails", "one sign"])
def test_where_bytes_differ_the_weighted_error_is_at_most_theirs(name):
    """Q2_K with an imatrix: other bytes than libgguf's, and no larger error of what the importance counts."""
    kind = "Q2_K"
    W, heard = within_fp16(CASES[name]), torch.rand(K, generator=torch.Generator().manual_seed(1)) + 0.01
    qtype = gguf.GGMLQuantizationType[kind]
    theirs = gguf.dequantize(libgguf.quantize_rows(W.numpy(), qtype, imatrix=heard.numpy()), qtype)
    lost = [(heard * (hat - W).double().square()).sum() for hat in
            (dequantize(quantize(W, GGUF_ARGS[kind], importance=heard)), torch.from_numpy(theirs))]  # fmt: skip
    assert lost[0] <= lost[1], f"{lost[0] / lost[1]}"
