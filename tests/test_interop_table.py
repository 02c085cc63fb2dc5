"""docs/interop.md says what captures/interop.json holds, and a row is kept as it was meant."""

import json
import re
from importlib import metadata

import pytest
from interop import table
from interop.table import record

ROW = {"subject", "written_as", "loaded_by", "version", "verdict", "ok", "figures"}


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """Record into a folder of its own; what is there."""
    monkeypatch.setattr(table, "RUNS", tmp_path / "runs" / "interop.json")
    return lambda: json.loads(table.RUNS.read_text())["rows"]


def test_the_page_is_what_the_capture_gives():
    capture = json.loads(table.CAPTURE.read_text(encoding="utf-8"))
    assert table.DOCS.read_text(encoding="utf-8") == table.document(capture)
    assert {"device", "date", "versions", "command", "rows"} == capture.keys() and capture["rows"]
    for row in capture["rows"]:
        assert row.keys() == ROW and all(row[k].strip() for k in ROW - {"ok", "figures"})
    assert len({table.key(r) for r in capture["rows"]}) == len(capture["rows"])


@pytest.mark.parametrize("verdict, kept", [
    ("it packs: MISMATCH; RuntimeError: You set `ignore_mismatched_sizes` to `False`, thus raising an error. Look!",
     "it packs: MISMATCH"),
    ("bits/byte -0.0000 from ours; x", "bits/byte 0.0000 from ours; x"),
    ("bits/byte -0.0001 from ours", "bits/byte -0.0001 from ours"), ("OSError: x", "OSError: x"),
])  # fmt: skip
def test_what_says_nothing_is_not_kept(rows, verdict, kept):
    record("AWQ W4A16", "vLLM", verdict, version="1")
    assert [r["verdict"] for r in rows()] == [kept]


def test_another_run_replaces_its_row_and_no_other(rows):
    record("GGUF Q8_0", "llama.cpp", "12 of 48", version="1", figures={"equal": 12})
    record("GGUF Q8_0", "llama.cpp", "13 of 48", version="1", subject="smollm2")
    record("GGUF Q4_0", "llama.cpp", "1 of 48", version="1")
    record("GGUF Q8_0", "llama.cpp", "48 of 48", version="2")
    found = {(r["subject"], r["written_as"]): r for r in rows()}
    assert len(rows()) == len(found) == 3
    assert found["shipped", "GGUF Q8_0"] == {"subject": "shipped", "written_as": "GGUF Q8_0", "loaded_by": "llama.cpp",
                                             "version": "2", "verdict": "48 of 48", "ok": True, "figures": {}}  # fmt: skip


def test_versions_are_looked_up(rows):
    record("GPTQ 4 bit", "NumPy", "equal", package="numpy, torch")
    assert rows()[0]["version"] == f"numpy {metadata.version('numpy')}, torch {metadata.version('torch')}"
    with pytest.raises(metadata.PackageNotFoundError):
        record("GPTQ 4 bit", "NumPy", "equal", package="numpy, no-such-package-here")


@pytest.mark.parametrize(
    "more",
    [{}, {"version": "1", "verdict": "two\nlines"}, {"version": "1", "verdict": " "}, {"version": "1", "subject": "x"}],
)
def test_a_row_that_says_too_little_is_refused(rows, more):
    with pytest.raises(ValueError, match="GGUF Q8_0, llama.cpp"):
        record("GGUF Q8_0", "llama.cpp", **({"verdict": "equal"} | more))
    assert not table.RUNS.exists()


def test_the_page_is_in_order_and_counts(rows):
    record("W Q10", "x", "a | b", version="1")
    record("W Q9", "x", "never", version="1", ok=False)
    page = table.document({"device": "D", "date": "2026-01-01T00:00", "command": "c", "rows": rows()})
    assert "2 pairs" in page and "1 work; 1 do not" in page and "Measured on D, 2026-01-01" in page
    assert re.findall(r"^\| (W .*?) \|", page, re.M) == ["W Q9", "W Q10"]
    assert "| a \\| b |" in page and "| **no**: never |" in page
