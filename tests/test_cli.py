"""Every command with nonsense: one line on stderr, an exit code that is not 0, and never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qcourse.cli import main
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import SHIPPED, load_tokenizer, save_model

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with one of everything that is not what it should be."""
    root = tmp_path_factory.mktemp("places")
    (root / "folder").mkdir()
    (root / "binary").write_bytes(bytes(range(256)) * 4)
    (root / "words.txt").write_text("not JSON")
    good = root / "good"
    save_model(LlamaForCausalLM(LlamaConfig(hidden_size=128, intermediate_size=128, num_hidden_layers=1)), good)
    load_tokenizer().save(good / "tokenizer.json")
    config = json.loads((good / "config.json").read_text())
    for name, content in {
        "utf16": json.dumps(config).encode("utf-16"),
        "list": b"[1, 2]",
        "noise": bytes(range(256)),
    }.items():
        broken = root / name
        broken.mkdir()
        for part in ("model.safetensors", "tokenizer.json"):
            (broken / part).write_bytes((good / part).read_bytes())
        (broken / "config.json").write_bytes(content)
    weights = root / "weights-are-a-folder"
    (weights / "model.safetensors").mkdir(parents=True)
    for part in ("config.json", "tokenizer.json"):
        (weights / part).write_bytes((good / part).read_bytes())
    small = root / "small-vocabulary"
    save_model(LlamaForCausalLM(LlamaConfig(vocab_size=300, hidden_size=128, num_hidden_layers=1)), small)
    load_tokenizer().save(small / "tokenizer.json")
    for content in ("[]", '{"model": 1}', "\x00", '{"pre_tokenizer": [1]}'):
        tokens = root / f"tokenizer-{len(content)}"
        save_model(LlamaForCausalLM(LlamaConfig(hidden_size=128, num_hidden_layers=1)), tokens)
        (tokens / "tokenizer.json").write_text(content)
    return root


NUMBERS = ("0", "-1", "nan", "1.5.2", "", "inf")
PATHS = ("nowhere", "folder", "binary", "words.txt", "utf16", "list", "noise", "weights-are-a-folder", "small-vocabulary",
         "tokenizer-2", "tokenizer-12", "tokenizer-1", "tokenizer-22")  # fmt: skip
EVAL = "eval --model {p}/good --windows 2 --seq-len 16 --formats bf16 --out {p}/new.json"
TRAIN = ("train --out {p}/run --vocab-size 272 --hidden-size 32 --num-hidden-layers 1 --num-attention-heads 2 "
         "--num-key-value-heads 1 --head-dim 16 --steps 1 --batch 1 --seq-len 8 --data {p}/nowhere")  # fmt: skip
CASES = [
    *[f"{EVAL} --{o} {n}" for o in ("windows", "seq-len", "budget-mb") for n in NUMBERS],
    *[f"{EVAL} --model {{p}}/{path}" for path in PATHS],
    *[f"{EVAL} --out {{p}}/{path}" for path in ("folder", "binary", "words.txt", "words.txt/below.json")],
    *[f"{EVAL} --out {path}" for path in ("/dev/null", "/dev/full", "/proc/no/such.json")],
    f"{EVAL} --seq-len 4096", f"{EVAL} --windows 100000", f"{EVAL} --formats int5", f"{EVAL} --formats ,",
    f"{EVAL} --device tpu", f"{EVAL} --engine llama", f"{EVAL} --model ''", "eval --no-such-option", "nonsense", "",
    *[f"{TRAIN} --{o} {n}" for n in ("-1", "nan", "x", "") for o in (
        "steps", "batch", "seq-len", "lr", "warmup", "decay", "weight-decay", "loud-channels", "loud-gain", "seed",
        "eval-every", "vocab-size", "hidden-size", "intermediate-size", "num-hidden-layers", "num-attention-heads",
        "num-key-value-heads", "head-dim", "max-position-embeddings", "rms-norm-eps", "rope-theta")],
    *[f"{TRAIN} --{o} 0" for o in ("steps", "batch", "seq-len", "lr", "eval-every", "hidden-size", "num-key-value-heads")],
    f"{TRAIN} --seq-len 4096", f"{TRAIN} --decay 2", f"{TRAIN} --num-key-value-heads 3", f"{TRAIN} --vocab-size 99999",
    *[f"{TRAIN} --data {{p}}/{path}" for path in ("nowhere", "folder", "binary", "good")],
    f"{TRAIN} --out {{p}}/binary --data {{p}}/good", "train", "reset 99", "reset ''", "reset 01 --labs {p}/binary",
]  # fmt: skip


@pytest.mark.parametrize("command", CASES)
def test_nonsense_is_said_in_one_line(command, places, capsys, monkeypatch):
    monkeypatch.chdir(places)
    before = sorted(p for p in places.rglob("*"))
    argv = [part.replace("{p}", str(places)) for part in command.replace("''", "\0").split(" ")]
    with pytest.raises(SystemExit) as e:
        main([part.replace("\0", "") for part in argv])
    err = capsys.readouterr().err
    assert e.value.code not in (0, None) and err.startswith("qcourse") and "Traceback" not in err, err
    assert err.count("\n") == 1 and len(err.strip()) > len("qcourse: "), err
    assert sorted(p for p in places.rglob("*")) == before  # nothing was made, and nothing left half done


def test_a_typo_in_data_makes_no_folder(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--out", str(tmp_path / "run"), "--data", str(tmp_path / "tokns")])
    assert "tokns holds no tokenizer.json" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_interrupted_by_ctrl_c(monkeypatch, capsys, tmp_path):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("qcourse.study.evaluate.evaluate", interrupted)
    with pytest.raises(SystemExit) as e:
        main(["eval", "--out", str(tmp_path / "x.json")])
    assert e.value.code == 130 and capsys.readouterr().err == "qcourse: interrupted\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("closed", [True, False])
def test_a_stdout_that_takes_nothing(closed, tmp_path):
    """`| head` is no error, a full disk is one line, in a process of its own: no complaint when the interpreter ends."""
    if closed:
        read, out = os.pipe()
        os.close(read)
    else:
        out = os.open("/dev/full", os.O_WRONLY)
    env = os.environ | {"PYTHONPATH": str(ROOT), "QCOURSE_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "qcourse.cli", "progress"]
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=env)
    os.close(out)
    assert done.returncode == (141 if closed else 2), done.stderr
    assert done.stderr.count("\n") == (not closed) and (closed or done.stderr.startswith("qcourse: ")), done.stderr


def test_a_broken_model_is_named_and_no_json_is_left(tmp_path, capsys):
    model = LlamaForCausalLM(LlamaConfig(hidden_size=128, intermediate_size=128, num_hidden_layers=1))
    model.model.norm.weight.data.fill_(torch.nan)
    save_model(model, tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").write_bytes((SHIPPED / "tokenizer.json").read_bytes())
    with pytest.raises(SystemExit) as e:
        main(f"eval --model {tmp_path}/m --windows 2 --seq-len 16 --formats bf16 --out {tmp_path}/x.json".split())
    assert e.value.code == 2 and "bf16: the model's score is NaN or inf on 2 of 2" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()
