"""quantization_config of dialects that are not read: refused, naming what the file is."""

import json
from pathlib import Path

import pytest

CASES = json.loads((Path(__file__).parent / "refused.json").read_text())
LLAMA = json.loads((Path(__file__).parent / "files" / "awq_native" / "config.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_refused_by_name(case, tmp_path):
    from qcourse import load_model

    if case["quantization_config"] is not None:
        (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"quantization_config": case["quantization_config"]}))
    else:
        (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    for name, content in case.get("files", {}).items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError) as refusal:
        load_model(tmp_path)
    text = str(refusal.value).replace(str(tmp_path), "").lower()  # the folder bears the case's name
    assert case["says"] in text and "no model" not in text, refusal.value
