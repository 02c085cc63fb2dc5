"""`python -m benchmarks.streaming kills`: quantize, convert and export, killed (SIGKILL) at random moments and given again.

A run is a fork of this process, which has imported everything: so the moments fall into the work. Whatever the moment, OUT
is not there or complete; after the same command once more its bytes are the undisturbed run's, and the source's are what
they were. (The report's seconds are left out of the comparison.)
"""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import torch

from qcourse import cli
from qcourse.models.llama import LlamaConfig

SMALL = LlamaConfig(vocab_size=2048, hidden_size=512, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=8,
                    num_key_value_heads=4, head_dim=64)  # fmt: skip
TEXT = ["--windows", "4", "--seq-len", "128"]
COMMANDS = {  # name → (source, options)
    "quantize": ("large", ["quantize", "--scheme", "W4A16", "--method", "gptq", *TEXT]),
    "convert": ("quantize", ["convert", "--to", "gptq"]),
    "export": ("large", ["export", "--type", "Q4_K"]),
}


def kills(work: Path, moments: int) -> list[dict]:
    """Every command, killed so often; what was counted. Raises AssertionError for other bytes."""
    torch.set_num_threads(1)  # a fork has no other threads
    import qcourse.models.convert_folder
    import qcourse.models.export_gguf
    import qcourse.models.stream  # noqa: F401

    places, found, draw = {"large": work / "large"}, [], random.Random(18)
    for name, (source, options) in COMMANDS.items():
        places[name] = work / f"{name}{'.gguf' if name == 'export' else ''}"
        command = [options[0], str(places[source]), *options[1:], "--quiet", "--out"]
        begin = time.perf_counter()
        assert ended(started([*command, str(places[name])])) == 0, f"{name} does not run"
        found.append(kill_one(command, places[source], places[name], moments, time.perf_counter() - begin, draw))
        print(f"| {name} | {moments} | {found[-1]['killed']} | {found[-1]['with_work_kept']} | the same bytes |", flush=True)
    return found


def kill_one(command: list[str], source: Path, whole: Path, moments: int, seconds: float, draw: random.Random) -> dict:
    """One command; seconds: an undisturbed run's."""
    wanted, before, killed, kept = contents(whole), contents(source), 0, 0
    for _ in range(moments):
        out = whole.parent / "again" / whole.name  # its name stands in a .gguf file
        out.parent.mkdir(exist_ok=True)
        part = out.with_name(out.name + ".part")
        child = started([*command, str(out)])
        time.sleep(draw.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        code = ended(child)
        assert code in (0, -signal.SIGKILL), f"the run itself failed: {code}"
        if code:
            killed += 1
            assert not out.exists() or contents(out) == wanted, "an OUT that is not complete"
            kept += part.is_dir() and len(list(part.glob("model-*.safetensors"))) > 1
        if not out.exists():
            assert ended(started([*command, str(out)])) == 0, "the same command does not go on"
        assert contents(out) == wanted, "other bytes than those of the undisturbed run"
        assert contents(source) == before, "the source has changed"
        assert not part.exists()
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    return {"command": " ".join(["qcourse", command[0], *command[2:-1]]), "moments": moments, "killed": killed,
            "with_work_kept": kept}  # fmt: skip


def started(command: list[str]) -> int:
    """A fork that runs a command of `qcourse`, silently; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        cli.main(command)
        code = 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    except BaseException:
        code = 1
    os._exit(code or 0)


def ended(child: int) -> int:
    """Its exit code; negative: the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(path: Path) -> dict[str, str]:
    """sha256 of a file, or of every file of a folder."""
    found = {p.name: p.read_bytes() for p in ([path] if path.is_file() else path.iterdir())}
    if path.is_file():
        found = {"": found[path.name]}
    if (report := found.get("quantization_report.json")) is not None:
        data = json.loads(report)
        for part in (data["totals"], *data["layers"]):
            part.pop("seconds", None)
        found["quantization_report.json"] = json.dumps(data).encode()
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
