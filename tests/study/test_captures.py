import json

import pytest

from qcourse.study.captures import KERNELS_NOT_MEASURED, NOT_MEASURED, load, replay, replay_kernels

SPEED = {"median": 100.0, "low": 90.0, "high": 110.0}
RESULT = {
    "bits_per_byte": 1.3,
    "added_bits_per_byte": 0.0,
    "added_stderr": 0.0,
    "top1_agreement": 1.0,
    "bits_per_weight": 16.0,
    "total_bytes": 7e6,
    "kv_blocks": 9,
    "prefill_tokens_per_second": SPEED,
    "decode_tokens_per_second": SPEED,
}


def capture(date, device="cuda"):
    return {"device": "TEST GPU", "date": date, "versions": {"torch": "2"}, "command": "qcourse capture",
            "settings": {"device": device}, "results": {"bf16": RESULT}}  # fmt: skip


def test_nothing_measured_is_said_plainly(tmp_path):
    assert replay(tmp_path) == NOT_MEASURED
    (tmp_path / "eval-cpu.json").write_text(json.dumps(capture("2026-01-01", "cpu")))
    assert replay(tmp_path) == NOT_MEASURED


def test_the_newest_is_replayed_with_its_provenance(tmp_path):
    for date in ("2026-01-02", "2026-03-01", "2025-12-31"):
        (tmp_path / f"eval-{date}.json").write_text(json.dumps(capture(date)))
    text = replay(tmp_path)
    assert "TEST GPU, 2026-03-01, torch 2" in text and "$ qcourse capture" in text and "| bf16 | 1.300 |" in text


def test_a_number_without_provenance_is_refused(tmp_path):
    (tmp_path / "eval-x.json").write_text(json.dumps({"results": {}}))
    with pytest.raises(ValueError, match="eval-x.json is no capture: command, date"):
        load(tmp_path)


def kernels(date, speedup):
    rows = [{"N": 8192, "K": 8192, "M": M, "kernel": "W4A16 ours", "speedup": speedup} for M in (1, 16)]
    return {"device": "TEST GPU", "date": date, "versions": {}, "command": "python -m benchmarks.gemm_gpu", "results": rows}


def test_the_newest_kernel_capture_is_replayed_with_its_provenance(tmp_path):
    assert replay_kernels(tmp_path) == KERNELS_NOT_MEASURED
    for date, speedup in (("2026-02-01", 3.5), ("2026-01-01", 1.5)):
        (tmp_path / f"gemm-gpu-{date}.json").write_text(json.dumps(kernels(date, speedup)))
    text = replay_kernels(tmp_path)
    assert "TEST GPU, 2026-02-01" in text and "| 8192×8192 | 16 | 3.50 |" in text and "1.50" not in text
    (tmp_path / "gemm-gpu-x.json").write_text("{}")
    with pytest.raises(ValueError, match="gemm-gpu-x.json is no capture: command"):
        replay_kernels(tmp_path)
