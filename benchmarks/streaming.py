"""Checkpoints that are larger than the memory they are given: quantize, convert and export of a synthetic Llama of 3 GB.

    python -m benchmarks.streaming memory [--out captures] [--work FOLDER]    peaks and speed: captures/streaming-DATE.json
    python -m benchmarks.streaming kills [--moments 20]                       kill -9 at random moments, and the same again

memory: each command is a process of its own; its peak is the kernel's own mark of what was resident (VmHWM), and what of it
was the process's own memory and what mapped files, libraries mostly, is sampled. The weights are random, in bf16, in shards
of 300 MB with an index; the folder takes three times that on the disk.
kills: on a model of 38 MB (`benchmarks.kills`).
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import torch

from benchmarks.kills import SMALL, kills
from qcourse.checkpoints.folder import INDEX
from qcourse.checkpoints.writer import write_json, write_tensors
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.subjects import SHIPPED

SHARD, LIMIT = 300_000_000, 700_000_000
LARGE = LlamaConfig(vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=32, num_attention_heads=32,
                    num_key_value_heads=8, head_dim=64, tie_word_embeddings=False)  # fmt: skip
RUNS = {  # name → (source, options)
    "quantize W4A16, rtn": ("large", ["quantize", "--scheme", "W4A16", "--method", "rtn"]),
    "convert to gptq": ("quantize", ["convert", "--to", "gptq"]),
    "export Q4_0": ("large", ["export", "--type", "Q4_0"]),
    "export Q8_0 of W4A16": ("quantize", ["export", "--type", "Q8_0"]),
}


def synthetic(folder: Path, config: LlamaConfig, shard: int = SHARD) -> int:
    """A sharded checkpoint of random bf16 weights, with the shipped tokenizer; its bytes."""
    folder.mkdir(parents=True)
    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in LlamaForCausalLM(config).named_parameters()}
    shards, size = [[]], 0
    for name, shape in shapes.items():
        nbytes = 2 * torch.Size(shape).numel()
        if size and size + nbytes > shard:
            shards, size = [*shards, []], 0
        shards[-1].append(name)
        size += nbytes
    where, generator = {}, torch.Generator().manual_seed(1)
    for k, names in enumerate(shards):
        file = f"model-{k + 1:05d}-of-{len(shards):05d}.safetensors"
        write_tensors(folder / file, {n: random(shapes[n], generator) for n in names})
        where |= dict.fromkeys(names, file)
    total = sum(2 * torch.Size(s).numel() for s in shapes.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": where})
    made = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu"}
    sizes = {k: v for k, v in asdict(config).items() if k != "output_bias"}
    write_json(folder / "config.json", made | sizes)
    shutil.copy(SHIPPED / "tokenizer.json", folder / "tokenizer.json")
    return total


def random(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Gains of one, and weights of a trained layer's size."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(std=0.02, generator=generator)


def measured(command: list[str]) -> dict:
    """Run a command; seconds, and the peaks of its memory in bytes: resident (the kernel's own mark), and of what is sampled
    the part that is its own (anonymous) and the part that is mapped files (libraries, mostly)."""
    begin, peaks = time.perf_counter(), {"VmHWM": 0, "RssAnon": 0, "RssFile": 0}
    env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", "qcourse.cli", *command], env=env, stderr=said, stdout=said)
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            for key in peaks:
                if f"{key}:" in status:
                    peaks[key] = max(peaks[key], 1024 * int(status.split(f"{key}:")[1].split()[0]))
            time.sleep(0.01)
        seconds = time.perf_counter() - begin
        if process.wait():
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{said.read().decode()}")
    return {"seconds": round(seconds, 1), "peak_resident": peaks["VmHWM"], "peak_anonymous": peaks["RssAnon"],
            "peak_mapped": peaks["RssFile"]}  # fmt: skip


def size_of(path: Path) -> int:
    """Bytes of a file, or of the weights of a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.glob("*.safetensors"))


def memory(work: Path, out: Path, config: LlamaConfig) -> None:
    """Every run, once; the table on stdout, the JSON in `out`. Raises AssertionError for one that takes more than LIMIT."""
    places, runs = {"large": work / "large"}, []
    print("| | read [MB] | written [MB] | peak resident [MB] | of it anonymous [MB] | s | MB/s |\n" + "|---" * 7 + "|")
    total = synthetic(places["large"], config)
    for name, (source, options) in RUNS.items():
        target = work / (name.replace(",", "").replace(" ", "-") + (".gguf" if options[0] == "export" else ""))
        places.setdefault(options[0], target)
        command = [options[0], str(places[source]), *options[1:], "--out", str(target), "--quiet"]
        read, made = size_of(places[source]), measured(command)
        shown = " ".join(["qcourse", *command]).replace(f"{work}/", "")
        found = {"run": name, "command": shown, "bytes_read": read, "bytes_written": size_of(target)} | made
        runs.append(found | {"MB_per_second": round(read / 1e6 / made["seconds"], 1)})
        megabytes = [round(found[key] / 1e6) for key in ("bytes_read", "bytes_written", "peak_resident", "peak_anonymous")]
        print("|", " | ".join(map(str, (name, *megabytes, made["seconds"], runs[-1]["MB_per_second"]))), "|", flush=True)
        assert made["peak_resident"] <= LIMIT, f"{name}: more than {LIMIT / 1e6:.0f} MB were resident"
    block = sum(p.numel() * 2 for p in LlamaForCausalLM(config).to("meta").model.layers[0].parameters())
    about = {"device": device(), "date": f"{datetime.now():%Y-%m-%d}", "command": "python -m benchmarks.streaming memory",
             "torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads(),
             "config": asdict(config), "source_bytes": total, "block_bytes": block, "limit": LIMIT}  # fmt: skip
    write_json(out / f"streaming-{about['date']}.json", about | {"runs": runs})


def device() -> str:
    """What it ran on."""
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    """Both of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("memory", "kills"))
    parser.add_argument("--work", type=Path, help="where it is done (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=Path("captures"), help="folder of the JSON (default captures)")
    parser.add_argument("--moments", type=int, default=20, help="how often each command is killed (default 20)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        work = Path(folder)
        if args.what == "memory":
            return memory(work, args.out, LARGE)
        synthetic(work / "large", SMALL, 12_000_000)
        kills(work, args.moments)


if __name__ == "__main__":
    main()
