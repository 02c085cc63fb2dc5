"""Completion as a shell does it: the function is called with what stands on the line, and its answer is read."""

import shutil
import subprocess

import pytest

from qcourse import completion
from qcourse.cli import COMMANDS, parser_of
from qcourse.completion import script
from qcourse.models.subjects import SUBJECTS
from qcourse.numerics.kv import KV_PRESETS
from qcourse.numerics.schemes import PRESETS


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Each shell's script, as a file."""
    folder, parsers = tmp_path_factory.mktemp("scripts"), {name: parser_of(name) for name in COMMANDS}
    for shell in completion.SHELLS:
        (folder / shell).write_text(script(shell, parsers) + "\n")
    return folder


CASES = [
    (["qcourse", ""], {*COMMANDS, "--help", "--version"}, True),
    (["qcourse", "qu"], {"quantize"}, True),
    (["qcourse", "quantize", "--schem"], {"--scheme"}, True),
    (["qcourse", "quantize", "--scheme", ""], {*PRESETS}, True),
    (["qcourse", "quantize", "--scheme", "W4A16_A"], {"W4A16_ASYM"}, True),
    (["qcourse", "quantize", "--scheme", "=", "W4A16_A"], {"W4A16_ASYM"}, True),
    (["qcourse", "quantize", "--scheme", "="], {*PRESETS}, True),
    (["qcourse", "quantize", "shi"], {"shipped"}, True),
    (["qcourse", "quantize", "fol"], {"folder"}, True),
    (["qcourse", "quantize", ""], {"shipped", *SUBJECTS, "folder", "two words.txt"}, False),
    (["qcourse", "quantize", "x", "--calibration", "two"], {"two words.txt"}, True),
    (["qcourse", "quantize", "--windows", ""], set(), True),
    (["qcourse", "generate", "--kv-cache", ""], {*KV_PRESETS}, True),
    (["qcourse", "convert", "--to", "gp"], {"gptq", "gptq_v2"}, True),
    (["qcourse", "export", "--type", "Q4_"], {"Q4_0", "Q4_1", "Q4_K"}, True),
    (["qcourse", "eval", "--formats", "bf16,W8A8_S"], {"bf16,W8A8_STATIC"}, True),
    (["qcourse", "eval", "--device", ""], {"cpu", "cuda"}, True),
    (["qcourse", "completion", ""], {"bash", "zsh", "fish"}, True),
    (["qcourse", "reset", "0"], {"01", "02"}, False),
    (["qcourse", "nonsense", ""], set(), True),
]


def work_in(tmp_path):
    """A folder with something to offer."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "two words.txt").touch()
    return tmp_path


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize("words, offered, all_of_it", CASES, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bash(words, offered, all_of_it, scripts, tmp_path):
    body = f'. {scripts}/bash\nCOMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n_qcourse\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "--norc", "-c", body, "bash", *words], capture_output=True, text=True, cwd=work_in(tmp_path)
    )
    found = set(done.stdout.splitlines()) - {""}
    assert not done.stderr and (found == offered if all_of_it else found >= offered), done


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
def test_fish(scripts, tmp_path):
    """One process asks for all of them: fish starts slowly."""
    asked = [(words, offered) for words, offered, _ in CASES if "=" not in words]
    lines = [f"source {scripts}/fish"]
    for words, _ in asked:
        lines += ["echo ---", "complete -C '{}'".format(" ".join(w.replace(" ", "\\ ") for w in words))]
    done = subprocess.run(
        ["fish", "--no-config", "-c", "\n".join(lines)], capture_output=True, text=True, cwd=work_in(tmp_path)
    )
    answers = done.stdout.split("---\n")[1:]
    assert not done.stderr and len(answers) == len(asked), done
    for (words, offered), answer in zip(asked, answers, strict=True):
        found = {line.split("\t")[0].rstrip("/").replace("\\ ", " ") for line in answer.splitlines()}
        if "," not in words[-1]:  # fish completes a list's first word only
            assert found >= offered - {"--help", "--version"}, (words, answer)


@pytest.mark.parametrize("shell, flag", [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_a_shell_reads_its_script(shell, flag, scripts):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, flag, str(scripts / shell)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_every_option_of_every_command_is_in_every_script(scripts):
    for shell in completion.SHELLS:
        text = (scripts / shell).read_text()
        for name in COMMANDS:
            assert name in text
            for a in completion.options(parser_of(name)):
                assert a.option_strings[-1].removeprefix("--") in text, (shell, name, a)
