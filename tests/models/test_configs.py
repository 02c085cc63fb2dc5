"""What a config.json says about the function is honoured or refused by the name of the key, before any weight is read.

configs.json holds one config an architecture and key; `verdict` was found with transformers (tests/interop/
test_architectures.py): "honour" — the plain Llama function; "refuse" — another one; "either" — Llama's function with
parameters that a small reader may lack: read right or refused by name.
"""

import json
from pathlib import Path

import pytest

CASES = json.loads((Path(__file__).parent / "configs.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_honoured_or_refused_by_name(case, tmp_path):
    from qcourse import load_model

    (tmp_path / "config.json").write_text(json.dumps(case["config"]))
    with pytest.raises(ValueError) as refusal:  # CheckpointError is one; a folder without weights never loads
        load_model(tmp_path)
    text = str(refusal.value).replace(str(tmp_path), "")
    reached_the_weights = "safetensors" in text
    if case["verdict"] == "honour":
        assert reached_the_weights, refusal.value
    if case["verdict"] == "refuse" or (case["verdict"] == "either" and not reached_the_weights):
        assert not reached_the_weights and case["key"] in text, refusal.value
