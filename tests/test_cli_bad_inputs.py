"""Every command with input that cannot be: a table of (command line, what its one line says). Files are made once."""

import io
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qcourse.cli import COMMANDS, main
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_tokenizer, save_model

ROOT = Path(__file__).parent.parent
FILES = ROOT / "tests" / "checkpoints" / "files"
INDEX = "model.safetensors.index.json"


def header(content, size=None):
    """A safetensors file that begins with this header."""
    return struct.pack("<Q", len(content) if size is None else size) + content


def spoilt_weights(good):
    """Name → bytes of a model.safetensors that is none."""
    return {
        "empty": b"", "words": b"these are words, and no tensors", "short": good[: len(good) // 2],
        "huge": header(b"{}", 1 << 63), "not-json": header(b'{"a": '), "not-utf8": header(b"\xff\xfe{}"),
        "nested": header(b'{"__metadata__":' + b"[" * 50000), "list": header(b"[1]"), "dtype": header(
            b'{"a":{"dtype":"Q99","shape":[2],"data_offsets":[0,8]}}') + bytes(8), "offsets": header(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,99999]}}'),
    }  # fmt: skip


def spoilt_ggufs(good):
    """Name → bytes of a .gguf file that is none."""
    return {"empty": b"", "words": b"words " * 20, "magic": b"GGML" + good[4:], "short": good[: len(good) // 2],
            "head": good[:20], "v99": b"GGUF" + struct.pack("<I", 99) + good[8:],
            "count": b"GGUF" + struct.pack("<IQQ", 3, 1 << 62, 1 << 62)}  # fmt: skip


def spoilt_configs(good):
    """Name → a config.json that is none, or of no model that is read."""
    changed = {"arch": {"model_type": "bert", "architectures": ["BertModel"]}, "quant": {"quantization_config": [1]},
               "method": {"quantization_config": {"quant_method": "zip"}}, "size": {"hidden_size": -4},
               "mismatch": {"hidden_size": 1 << 20}, "unknown": {"logit_magic": 2}}  # fmt: skip
    found = {name: json.dumps(good | more).encode() for name, more in changed.items()}
    found["missing"] = json.dumps({k: v for k, v in good.items() if k != "hidden_size"}).encode()
    found |= {"list": b"[1, 2]", "noise": bytes(range(256)), "words": b"no json", "empty": b"", "deep": b'{"a":' * 50000}
    return found | {"object": b"{}", "nan": json.dumps(good | {"rms_norm_eps": float("nan")}).encode()}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with one of everything that is not what it should be, beside a model that is good."""
    root = tmp_path_factory.mktemp("inputs")
    model = LlamaForCausalLM(LlamaConfig(hidden_size=128, intermediate_size=128, num_hidden_layers=1))
    for i, p in enumerate(model.parameters()):
        p.data.copy_(torch.linspace(-1, 1, p.numel()).sin().view_as(p) / (i + 20))
    save_model(model, root / "good")
    load_tokenizer().save(root / "good" / "tokenizer.json")
    parts = {p.name: p.read_bytes() for p in (root / "good").iterdir()}

    def folder(name, **changed):
        (root / name).mkdir()
        for file, content in (parts | {k.replace("__", "."): v for k, v in changed.items()}).items():
            if content is not None:
                (root / name / file).write_bytes(content)

    for name, content in spoilt_weights(parts["model.safetensors"]).items():
        (root / f"{name}.safetensors").write_bytes(content)
        folder(f"w-{name}", model__safetensors=content)
    for name, content in spoilt_ggufs(next((FILES / "gguf_bare").glob("*.gguf")).read_bytes()).items():
        (root / f"{name}.gguf").write_bytes(content)
    for name, content in spoilt_configs(json.loads(parts["config.json"])).items():
        folder(f"c-{name}", config__json=content)
    for name, weight_map in {
        "absent": {"a": "m-1.safetensors"},
        "escape": {"a": "../good/model.safetensors"},
        "map": 3,
    }.items():
        folder(f"i-{name}", model__safetensors=None, **{INDEX: json.dumps({"weight_map": weight_map}).encode()})
    folder("pickle", model__safetensors=None, pytorch_model__bin=b"\x80\x04.")
    folder("no-config", config__json=None)
    folder("no-weights", model__safetensors=None)
    folder("no-tokens", tokenizer__json=None)
    folder("t-list", tokenizer__json=b"[]")
    folder("t-noise", tokenizer__json=bytes(range(256)))
    folder("weights-folder", model__safetensors=None)
    (root / "weights-folder" / "model.safetensors").mkdir()
    (root / "folder").mkdir()
    (root / "loop").symlink_to(root / "loop")
    (root / "words.txt").write_text("hello " * 10)
    (root / "latin.txt").write_bytes("é".encode("latin-1") * 5000)
    (root / "torn.zip").write_bytes(b"PK\x03\x04" + b"x" * 200)
    (root / "subs").mkdir()
    (root / "subs" / "ann.ipynb").write_text("not JSON")
    return root


WEIGHTS = {"w-empty": "empty file", "w-words": "not a safetensors file", "w-short": "cut short",
           "w-huge": "922337203685477580",
           "w-not-json": "expected", "w-not-utf8": "expected '{'", "w-nested": "nested", "w-list": "expected '{'",
           "w-dtype": "dtype 'Q99'", "w-offsets": "data_offsets", "weights-folder": "not a regular file",
           "pickle": "pickled weights are never loaded", "no-weights": "found neither", "i-map": "weight_map",
           "i-escape": "not the name of a file in this folder", "empty.gguf": "empty file", "words.gguf": "not a GGUF file",
           "magic.gguf": "not a GGUF file", "short.gguf": "cut short", "head.gguf": "header", "v99.gguf": "version 99",
           "count.gguf": "4611686018427387904 tensors",
           "nowhere": "no such folder or file", "loop": "no such folder or file"}  # fmt: skip
CONFIGS = {"c-list": "holds a list", "c-noise": "not UTF-8", "c-words": "not valid JSON", "c-empty": "not valid JSON",
           "c-deep": "not valid JSON", "c-quant": "an object {…} expected"}  # fmt: skip
MODELS = {"c-arch": "model_type = 'bert'", "c-method": "quant_method = 'zip'", "c-size": "hidden_size = -4",
          "c-mismatch": "the config asks for", "c-unknown": "'logit_magic' | logit_magic", "c-missing": "hidden_size",
          "c-object": "model_type = None", "c-nan": "rms_norm_eps", "no-config": "config.json: no such file",
          "i-absent": "'m-1.safetensors' is missing", "empty.safetensors": "a folder (config.json",
          "words.txt": "a folder (config.json"}  # fmt: skip
TOKENS = {"no-tokens": "no tokenizer.json", "t-list": "an object expected", "t-noise": "not valid JSON in UTF-8"}
FILE = {"empty.safetensors": "empty file", "words.safetensors": "not a safetensors file", "short.safetensors": "cut short",
        "huge.safetensors": "922337203685477580", "not-json.safetensors": "expected", "not-utf8.safetensors": "expected '{'",
        "nested.safetensors": "nested", "words.txt": "a folder, a .safetensors or a .gguf file expected"}  # fmt: skip
QUANTIZE = "quantize {p}/good --scheme W4A16 --group-size 64 --method rtn --out {p}/new"
GPTQ = "quantize {p}/good --scheme W4A16 --group-size 64 --out {p}/new"
CONVERT, EXPORT = "convert {ct} --out {p}/new --to", "export {p}/good --out {p}/new.gguf"
EVAL = "eval --model {p}/good --out {p}/new.json --windows 2 --seq-len 16 --formats bf16"
BENCH, GENERATE, CHAT = "bench --decode --model {p}/good", "generate hello --model {p}/good", "chat --model {p}/good"
GRADE, NUMBER = "grade {p}/subs --out {p}/report", {"0": "above 0", "-3": "above 0", "x": "number", "nan": "number",
                                                    "''": "number", "9" * 5000: "number"}  # fmt: skip
CASES = [
    *[(f"inspect {{p}}/{path}", said) for path, said in (WEIGHTS | CONFIGS | FILE).items()],
    *[(QUANTIZE.replace("good", path, 1), said) for path, said in (WEIGHTS | CONFIGS | MODELS).items()],
    *[(line.replace("good", path, 1), said) for path, said in TOKENS.items() for line in (EXPORT, EVAL, GENERATE, CHAT)],
    *[(line.replace("good", path, 1), (WEIGHTS | MODELS)[path]) for line in (EXPORT, EVAL, GENERATE, CHAT)
      for path in ("w-short", "short.gguf", "c-arch", "i-absent", "nowhere")],
    *[(line.replace("{p}/good", "''"), "'': no such folder or file") for line in (QUANTIZE, EXPORT, EVAL, GENERATE, CHAT)],
    *[(f"convert {{p}}/{path} --to gptq --out {{p}}/new", said) for path, said in {
        "good": "no codes to convert", "w-short": "cut short", "folder": "config.json: no such file"}.items()],
    # where the result should go
    *[(f"{line} --out {out}", said) for out, said in {
        "{p}/good": "exists", "{p}/words.txt": "exists", "{p}/words.txt/below": "words.txt is a file", "/dev/full": "exists",
        "/proc/none/x": "/proc/none", "''": "the name of something to make", ".": "the name of something to make"}.items()
        for line in (QUANTIZE, f"{CONVERT} gptq", EXPORT)],
    (f"{QUANTIZE} --out {{p}}/{'n' * 300}", "choose a shorter name"),
    (f"{EXPORT} --out {{p}}/{'n' * 300}.gguf", "too long"), (f"{EXPORT} --out {{p}}/new.bin", "ends in .gguf expected"),
    *[(f"{line} {{p}}/{'n' * 300}{more}", "choose a shorter name") for line, more in (  # while options are read
        ("quantize {p}/good --scheme W4A16 --out {p}/new --calibration", ""), ("chat --model", ""),
        (f"{EXPORT} --out", "/x.gguf"))],
    *[(f"{EVAL} --out {out}", said) for out, said in {
        "{p}/folder": "is a folder", "{p}/words.txt": "not a result of", "/proc/none/x.json": "cannot be written"}.items()],
    ("train --out {p}/words.txt --steps 1", "choose another name"), ("train --out {p}/good --steps 1", "that is no run"),
    (f"{GRADE} --out {{p}}/subs/report", "lies inside"), (f"{GRADE} --out {{p}}/words.txt/below", "is a file"),
    ("reset 01 --labs {p}/words.txt", "choose another name"), ("zoo --captures {p}/nowhere", "nowhere"),
    # numbers
    *[(f"{GPTQ} --{o} {n}", said) for o in ("windows", "seq-len", "group-size") for n, said in NUMBER.items()],
    *[(f"{line} {n}", said) for n, said in NUMBER.items() for line in (
        f"{EVAL} --windows", f"{EVAL} --budget-mb", f"{BENCH} --context", f"{GENERATE} --max-new-tokens",
        f"{CHAT} --context", f"{GRADE} --cell-seconds", f"{GRADE} --restarts")],
    *[(f"{GENERATE} {option}", said) for option, said in {
        "--temperature nan": "at least 0", "--temperature -1": "at least 0", "--temperature inf": "at least 0",
        "--temperature hot": "'hot'", "--top-p 0": "above 0, at most 1", "--top-p 1.5": "at most 1", "--top-p nan": "most 1",
        "--seed 1e9": "'1e9'", "--seed -1": "at least 0", f"--seed {'9' * 30}": "at most", "--max-new-tokens 5000": "1024",
        }.items()],
    (f"{BENCH} --threads 0", "at least 1"), (f"{BENCH} --threads 1000000", "at most"), (f"{BENCH} --context 999999", "1024"),
    (f"{GRADE} --workers 0", "at least 1"), (f"{GRADE} --seeds 21", "at most 20"), (f"{GRADE} --seed x", "'x'"),
    (f"{GPTQ} --windows 2000000000", "no overlap"), (f"{GPTQ} --seq-len 4096", "1024 positions"),
    (f"{EVAL} --windows 99999999", "no overlap"), (f"{EVAL} --seq-len 5000", "1024"),
    ("lab --port 0", "at least 1, at most 65535"), ("lab --port 99999", "at most 65535"),
    # names, and what does not fit
    *[(f"{line} W4A61", "did you mean W4A16") for line in (f"{QUANTIZE} --scheme", f"{GENERATE} --quantization",
                                                           f"{EVAL} --formats", f"{BENCH} --formats")],
    (f"{QUANTIZE} --scheme w4a16", "did you mean W4A16"), (f"{QUANTIZE} --group-size 100", "--group-size 128"),
    (f"{QUANTIZE} --scheme W8A8", "no groups of weights"), (f"{QUANTIZE} --scheme NF4", "has no format for nf4"),
    (f"{QUANTIZE} --layout gtpq", "did you mean gptq?"), (f"{QUANTIZE} --layout AWQ", "did you mean awq?"),
    (f"{QUANTIZE} --layout modelopt", "ModelOpt has no algorithm"), (f"{QUANTIZE} --method gtpq", "did you mean gptq?"),
    (f"{QUANTIZE} --method smoothquant@7", "between 0 and 1"), (f"{QUANTIZE} --method gptq+awq", "at most one quantizer"),
    (f"{QUANTIZE} --kv-cache fp8_e4m", "did you mean fp8_e4m3"), (f"{QUANTIZE} --kv-cache int4_kivi", "fp8_e4m3_per_head"),
    (f"{QUANTIZE} --device tpu", "invalid choice: 'tpu'"), (f"{CONVERT} awk", "did you mean awq?"),
    (f"{CONVERT} modelopt", "qcourse quantize --dequantize"), (f"{EXPORT} --type q4_0", "did you mean Q4_0?"),
    (f"{EXPORT} --type Q4_K", "blocks of 256"), (f"{EXPORT} --embedding-type Q9", "unknown GGUF type"),
    (f"{EXPORT} --to onnx", "invalid choice: 'onnx'"), ("inspect {ct} --hex no.such.layer", "no quantized layer"),
    (f"{GENERATE} --kv-cache int4_kvi", "did you mean int4_kivi"), (f"{EVAL} --kv-cache int5", "unknown KV cache format"),
    (f"{EVAL} --formats W4A16+gtpq", "did you mean gptq?"), (f"{EVAL} --formats as-is", "use bf16"),
    (f"{EVAL} --formats ,", "no format"), (f"{BENCH} --formats ,", "no format"),
    (f"{EVAL} --group-size 100 --formats W4A16", "128"),
    ("zoo --model shiped", "did you mean shipped?"), ("zoo --model ,", "shipped, smollm2"),
    ("chat --model smolm2", "did you mean smollm2?"), ("fetch smolm2", "did you mean smollm2?"),
    ("fetch --remove", "needs a name"),
    ("lab 99", "no lab or notebook '99'"), ("lab labs/99", "no lab or notebook"), ("reset 99", "no lab '99'"),
    ("reset 99 --guesses", "no notebook '99'"),
    ("completion fsh", "did you mean fish?"), ("completion tcsh", "bash, zsh, fish"), ("completion", "required: SHELL"),
    ("qantize", "did you mean quantize?"), ("Export", "did you mean export?"), ("helo", "there is no command 'helo'"),
    ("''", "there is no command ''"), ("--nonsense", "a command first"),
    (f"{QUANTIZE} --shceme x", "did you mean --scheme?"),
    ("quantize {p}/good --shceme W4A16", "did you mean --scheme?"), ("quantize {p}/good", "required: --scheme, --out"),
    ("inspect {ct} more", "unrecognized arguments: more"), ("bench", "required: --decode"),
    # other files
    *[(f"{GPTQ} --calibration {path}", said) for path, said in {
        "{p}/nowhere": "no such file", "{p}/folder": "a folder, a file is expected", "{p}/latin.txt": "not UTF-8 text",
        "{p}/words.txt": "fewer --windows", "/dev/null": "0 tokens", "''": "no such file"}.items()],
    *[(f"grade {path} --out {{p}}/report", said) for path, said in {
        "{p}/nowhere": "no such folder or zip", "{p}/folder": "holds no notebooks", "{p}/words.txt": "Canvas or Moodle",
        "{p}/torn.zip": "Canvas or Moodle"}.items()],
    ("fetch smollm2 --from {p}/nowhere", "no such file"), ("fetch smollm2 --from {p}/folder", "a file is expected"),
    *[(f"fetch smollm2 --from {{p}}/{path}", "not kept") for path in ("words.txt", "torn.zip", "short.gguf")],
    *[(f"train --out {{p}}/run --steps 1 {more}", said) for more, said in {
        "--data {p}/folder": "no tokenizer.json", "--data {p}/nowhere": "no tokenizer.json",
        "--start-from {p}/c-arch": "bert"}.items()],
    (f"{EVAL} --harness", "lm-eval"), (f"{EVAL} --engine vllm", "make interop-vllm"),
]  # fmt: skip
if not torch.cuda.is_available():
    CASES += [(f"{line} --device cuda", "torch sees no CUDA device") for line in (QUANTIZE, EVAL, "train --out {p}/run")]
INSTALLED = {"lm-eval": "lm_eval", "make interop-vllm": "vllm"}


def words_of(line, places):
    """A row's command line as a list."""
    known = {"{p}": str(places), "{ct}": str(FILES / "ct_w4a16"), "''": ""}
    return [re.sub(r"\{p\}|\{ct\}|''", lambda m: known[m[0]], word) for word in line.split(" ")]


def told(line, places, capsys, stdin=""):
    """The one line of a command that fails, which leaves nothing behind."""
    before = sorted(places.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(words_of(line, places))
    said = [x for x in capsys.readouterr().err.splitlines() if x.startswith("qcourse") or "rror" in x]
    assert stopped.value.code == 2 and len(said) == 1 and said[0].startswith("qcourse"), said
    assert "unexpected" not in said[0] and "Errno" not in said[0], said
    assert sorted(places.rglob("*")) == before, "something was made"
    return said[0]


@pytest.mark.parametrize("line, said", CASES, ids=lambda x: x[:70])
def test_one_line_says_what_is_wrong(line, said, places, capsys, monkeypatch, tmp_path):
    if said in INSTALLED:
        monkeypatch.setitem(sys.modules, INSTALLED[said], None)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path))
    monkeypatch.chdir(places)
    assert any(s in told(line, places, capsys) for s in said.split(" | "))


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_no_command_has(name, places, capsys):
    assert f"qcourse {name}: there is no option --nonsense" in told(f"{name} --nonsense", places, capsys)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written(places, capsys, tmp_path):
    config = places / "good" / "config.json"
    config.chmod(0)
    try:
        assert "config.json: cannot be read" in told(QUANTIZE, places, capsys)
    finally:
        config.chmod(0o644)
    (tmp_path / "shut").mkdir(mode=0o555)
    for line in (QUANTIZE, f"{CONVERT} gptq", EXPORT):
        assert "look at its permissions" in told(f"{line} --out {tmp_path}/shut/new", places, capsys)


PROCESSES = [("generate - --model {p}/good", b"\xff\xfe", "standard input: not UTF-8 text"),
             ("generate - --model {p}/good --max-new-tokens 2", None, "standard input is closed")]  # fmt: skip


@pytest.mark.parametrize("line, stdin, said", PROCESSES)
def test_standard_input_in_a_process_of_its_own(line, stdin, said, places):
    command = [sys.executable, "-m", "qcourse.cli", *words_of(line, places)]
    command = command if stdin is not None else ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    done = subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT)
    err = done.stderr.decode()
    assert done.returncode == 2 and err.count("\n") == 1 and said in err, err


def test_a_chat_whose_input_is_closed_ends(places, capsys, monkeypatch):
    for closed in (None, io.StringIO("")):
        monkeypatch.setattr("sys.stdin", closed)
        main(words_of(f"{CHAT} --quiet", places))
        assert not capsys.readouterr().err


def test_the_debug_option_shows_where(places, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words_of("inspect {p}/empty.gguf --debug", places))
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.startswith("Traceback") and err.splitlines()[-1].startswith("qcourse: ")
