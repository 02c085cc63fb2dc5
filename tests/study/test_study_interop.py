"""Who loads what, from the capture of make interop."""

import json

import pytest

from qcourse.checkpoints.errors import CheckpointError
from qcourse.study.interop import pairs, sentences, tally

ROW = {
    "subject": "shipped",
    "written_as": "AWQ W4A16",
    "loaded_by": "vLLM",
    "version": "0.32",
    "verdict": "ids",
    "ok": True,
}


def test_rows_of_one_subject_are_counted_and_said(tmp_path):
    rows = [ROW, ROW | {"written_as": "AWQ W4A16_ASYM"}, ROW | {"written_as": "AWQ W3A16", "ok": False, "verdict": "none"},
            ROW | {"subject": "smollm2"}, ROW | {"written_as": "GGUF F16", "loaded_by": "llama.cpp"}]  # fmt: skip
    (tmp_path / "interop.json").write_text(json.dumps({"rows": [r | {"figures": {}} for r in rows]}))
    found = pairs(tmp_path / "interop.json")
    assert tally(found).rows == [["AWQ", "vLLM", "2", "1"], ["GGUF", "llama.cpp", "1", "0"]]
    assert sentences(found, "W3A16", "GGUF") == ["AWQ W3A16 → vLLM, cannot: none", "GGUF F16 → llama.cpp: ids"]


@pytest.mark.parametrize("text", ["{", '{"rows": [1]}', '{"rows": [{"subject": "shipped"}]}', "[]"])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "interop.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"interop.json: no table"):
        pairs(tmp_path / "interop.json")
    with pytest.raises(OSError):
        pairs(tmp_path / "none.json")
