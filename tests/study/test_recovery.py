"""The experiment of training through the rounding: what a run is named, what is measured, and what is not made again."""

import pytest

from qcourse.models.loader import SHIPPED
from qcourse.study import perplexity, recovery
from qcourse.study.recovery import FULL, RUNS, read_run

SMALL = {"n": 2, "seq_len": 64, "batch": 2, "length": 16}


@pytest.fixture
def short_text(monkeypatch):
    """The training split takes long to tokenize: its place is taken by a small one."""

    def windows(source, n, length, split="held_out"):
        return perplexity.windows(source, n, length, "calibration" if split == "train" else split)

    monkeypatch.setattr(recovery, "windows", windows)


def test_a_run_is_read():
    assert read_run("TERNARY+qat@150") == ("TERNARY", True, 150)
    assert read_run("W2A16_G64+qat-text@15") == ("W2A16_G64", False, 15)
    for wrong in ("TERNARY", "TERNARY+qat", "TERNARY+qat@0", "TERNARY+qat@x", "TERNARY+gptq@3"):
        with pytest.raises(ValueError, match="TERNARY\\+qat@150"):
            read_run(wrong)


def test_every_run_can_be_read_and_has_its_untrained_scheme():
    for name in (r for r in RUNS if "+qat" in r):
        scheme, _, _ = read_run(name)
        assert scheme in RUNS or scheme == "W8A16"  # the control
    assert FULL["formats"] is RUNS


def test_training_is_measured_against_the_untrained_model(short_text):
    names = ["TERNARY", "TERNARY+qat@6", "TERNARY+qat-text@1"]
    found = dict(recovery.recovery(SHIPPED, {}, formats=names, **SMALL))
    assert list(found) == names and "losses" not in found["TERNARY"]
    assert len(found["TERNARY+qat@6"]["losses"]) == 6 and len(found["TERNARY+qat-text@1"]["losses"]) == 1
    assert found["TERNARY+qat@6"]["added_bits_per_byte"] < found["TERNARY"]["added_bits_per_byte"]
    assert found["TERNARY+qat@6"]["bits_per_weight"] == found["TERNARY"]["bits_per_weight"] == 2.25


def test_what_is_done_is_not_made_again(short_text, monkeypatch):
    monkeypatch.setattr(recovery, "load_model", lambda *a: pytest.fail("nothing is left to measure"))
    assert list(recovery.recovery(SHIPPED, {"TERNARY": {}}, formats=["TERNARY"], **SMALL)) == []
