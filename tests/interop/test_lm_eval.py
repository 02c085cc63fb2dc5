"""EleutherAI's harness finds our bits per byte under our protocol, offline: `make interop-harness`."""

import pytest

pytest.importorskip("lm_eval")

from qcourse.models.loader import SHIPPED, load_model
from qcourse.study.harness import run_harness
from qcourse.study.perplexity import windows


@pytest.mark.parametrize("quantization", [None, "W4A16"])
def test_the_harness_agrees(quantization, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    result = run_harness(load_model(quantization=quantization), SHIPPED, windows(SHIPPED, 12, 200))
    assert result["documents"] >= 10
    assert result["bits_per_byte"] == pytest.approx(result["ours"], rel=1e-6)
