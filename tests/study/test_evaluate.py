import json
from pathlib import Path

import pytest
import torch

from qcourse.cli import main
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import SHIPPED, save_model
from qcourse.study import evaluate as module
from qcourse.study.cost import kv_block_bytes, kv_blocks, model_bytes
from qcourse.study.evaluate import check_before_work, evaluate, markdown
from qcourse.study.families import DEFAULT, prepare
from qcourse.study.perplexity import windows

SMALL = {"n": 6, "seq_len": 128, "progress": False}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    from qcourse.study.speed import decode_speed, prefill_speed

    monkeypatch.setattr(module, "prefill_speed", lambda m: prefill_speed(m, 16, 2))
    monkeypatch.setattr(module, "decode_speed", lambda m: decode_speed(m, 4, 2, 2))


@pytest.mark.parametrize("name", [*DEFAULT, "W8A8", "W8A8_STATIC", "FP8", "W8A16"])
def test_every_family_makes_a_working_model(name):
    calibration = windows(SHIPPED, 6, 128, "calibration").ids
    logits = prepare(SHIPPED, name, calibration)(calibration[:1, :8])
    assert torch.isfinite(logits).all()


def test_an_interrupted_run_keeps_what_it_had_measured(tmp_path, monkeypatch):
    out = tmp_path / "runs" / "eval.json"
    real, seen = module.prepare, []

    def dies_at_the_last(folder, name, *args):
        seen.append(name)
        if name == "W4A16_ASYM" and seen.count("W4A16_ASYM") == 1:
            raise KeyboardInterrupt
        return real(folder, name, *args)

    monkeypatch.setattr(module, "prepare", dies_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        evaluate(SHIPPED, ["bf16", "W8A16", "W4A16_ASYM"], out=out, **SMALL)
    kept = json.loads(out.read_text())
    assert list(kept["results"]) == ["bf16", "W8A16"] and {"device", "date", "versions", "command"} <= kept.keys()
    report = evaluate(SHIPPED, ["bf16", "W8A16", "W4A16_ASYM"], out=out, **SMALL)
    assert seen == [
        "bf16",
        "W8A16",
        "W4A16_ASYM",
        "bf16",
        "W4A16_ASYM",
    ]  # bf16 again, as the reference of the missing format
    assert list(report["results"]) == ["bf16", "W8A16", "W4A16_ASYM"]
    assert report["results"]["W8A16"] == kept["results"]["W8A16"]
    table = markdown(report)
    assert table.count("\n") == 4 and "| W4A16_ASYM |" in table
    evaluate(SHIPPED, ["W8A16"], out=out, **SMALL)
    assert len(seen) == 5  # nothing left to do, nothing done


def test_the_numbers_are_those_of_the_parts(tmp_path):
    r = evaluate(SHIPPED, ["W8A16"], **SMALL)["results"]
    assert r["bf16"]["added_bits_per_byte"] == 0 and r["bf16"]["top1_agreement"] == 1
    assert r["W8A16"]["top1_agreement"] > 0.95 and r["W8A16"]["linear_bytes"] < 0.51 * r["bf16"]["linear_bytes"]
    assert r["W8A16"]["kv_blocks"] > r["bf16"]["kv_blocks"] and r["bf16"]["sample"].startswith("def read_config")


def test_a_transformed_model_is_no_larger_than_a_rounded_one():
    """AWQ widens what it folds; what stays in 16 bits must be in 16 bits again (norm gains excepted)."""
    calibration = windows(SHIPPED, 6, 128, "calibration").ids
    size = {
        name: model_bytes(prepare(SHIPPED, name, calibration)).total
        for name in ("W4A16_ASYM+awq", "W4A16_ASYM", "W8A8+smoothquant", "W8A8")
    }
    assert size["W4A16_ASYM+awq"] == pytest.approx(size["W4A16_ASYM"], rel=0.01) and size[
        "W8A8+smoothquant"
    ] == pytest.approx(size["W8A8"], rel=0.01)


def test_kv_blocks(shipped):
    c = shipped.config
    assert kv_block_bytes(c) == 16 * 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * 2
    assert kv_blocks(1e7, 2e6, c) == 8e6 // kv_block_bytes(c) and kv_blocks(1e7, 2e6, c, bits=8) >= 2 * kv_blocks(
        1e7, 2e6, c
    )
    with pytest.raises(ValueError, match="do not fit a budget"):
        kv_blocks(1e6, 2e6, c)


class TestBadInput:
    def test_unknown_format_before_any_work(self, capsys):
        with pytest.raises(SystemExit) as e:
            main(["eval", "--formats", "bf16,int5"])
        assert e.value.code == 2
        assert "unknown quantization scheme 'int5'" in capsys.readouterr().err

    def test_a_group_size_that_does_not_fit_is_named_before_any_work(self, tmp_path):
        save_model(LlamaForCausalLM(LlamaConfig(hidden_size=96, intermediate_size=192, num_hidden_layers=1)), tmp_path)
        with pytest.raises(ValueError, match=r"q_proj: group_size=128 does not divide K=96.*every layer is group_size=32"):
            check_before_work(tmp_path, ["W4A16_ASYM"], "cpu")
        skipped = check_before_work(tmp_path, ["bf16", "W4A16_ASYM+awq", "W8A8"], "cpu")
        assert list(skipped) == ["W4A16_ASYM+awq"] and "group_size=32" in skipped["W4A16_ASYM+awq"]
        assert check_before_work(tmp_path, ["bf16", "W4A16_ASYM+awq", "W8A8"], "cpu", group_size=32) == {}

    def test_quantized_sources_are_measured_as_they_are(self):
        files = Path(__file__).parents[1] / "checkpoints" / "files"
        assert check_before_work(files / "gptq_act_order", ["as-is"], "cpu") == {}
        with pytest.raises(ValueError, match="quantized already: measure them with --formats as-is"):
            check_before_work(files / "ct_w4a16", ["bf16", "W4A16"], "cpu")
        with pytest.raises(ValueError, match="16-bit weights: 'as-is' is for"):
            check_before_work(SHIPPED, ["as-is"], "cpu")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
    def test_a_missing_device_is_said(self):
        with pytest.raises(ValueError, match="no CUDA device"):
            evaluate(SHIPPED, ["bf16"], device="cuda", **SMALL)

    def test_a_foreign_file_is_never_overwritten(self, tmp_path):
        out = tmp_path / "notes.json"
        out.write_text("my notes")
        with pytest.raises(ValueError, match="not a result of"):
            evaluate(SHIPPED, ["bf16"], out=out, **SMALL)
        assert out.read_text() == "my notes"

    def test_other_settings_are_not_mixed(self, tmp_path):
        out = tmp_path / "eval.json"
        evaluate(SHIPPED, ["bf16"], out=out, **SMALL)
        with pytest.raises(ValueError, match="other settings"):
            evaluate(SHIPPED, ["bf16"], out=out, **{**SMALL, "n": 7})

    def test_missing_model(self, capsys, tmp_path):
        with pytest.raises(SystemExit):
            main(["eval", "--model", str(tmp_path)])
        assert "tokenizer.json" in capsys.readouterr().err


def test_results_of_other_settings_go_to_another_file(tmp_path, monkeypatch):
    """README's commands one after the other: none finds the results of another one in its way."""
    from qcourse.cli import parse
    from qcourse.study.eval_command import place

    lines = ["", "--group-size 64", "--kv-cache int4_kivi", "--windows 8", "--seq-len 64", "--budget-mb 20", "--dequantize"]
    args = [parse(["eval", *line.split()]) for line in lines]
    names = [place(a, a.group_size, False).name for a in args] + [place(args[0], None, True).name]
    assert names[0] == "eval-cpu-shipped.json" and len(set(names)) == len(names), names
    assert place(parse(["capture"]), None, False).parent.name == "captures"
