"""Three meters for each format: speed, memory, quality. Written to JSON after every format, so nothing is lost.

An interrupted run is continued by the same command: formats that OUT already holds, under the same settings, are
not measured again.
"""

import json
import os
import platform
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from tqdm import tqdm

from qcourse.layers.registry import get_quantization_config
from qcourse.models.generate import generate
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import SHIPPED, read_config
from qcourse.study.cost import KV_BLOCK, kv_blocks, model_bytes, projected_bytes
from qcourse.study.families import FAMILIES, check_families, prepare
from qcourse.study.perplexity import Score, Windows, agreement, paired_difference, perplexity, token_stream, windows
from qcourse.study.speed import decode_speed, prefill_speed

CALIBRATION_WINDOWS = 32
PROMPT = 'def read_config(path):\n    """Read'


def provenance(device: str) -> dict:
    """Where and when: device, date, versions, command. What every capture must carry."""
    cpu = f"CPU {platform.machine()}, {os.cpu_count()} cores"
    device = torch.cuda.get_device_name() if device == "cuda" else cpu
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    command = shlex.join(["qcourse", *sys.argv[1:]])
    return {"device": device, "date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions,
            "command": command}  # fmt: skip


def measure_format(
    folder: Path, name: str, text: Windows, calibration: Windows, reference: Score | None, settings: dict
) -> tuple:
    """(result dict, Score) of one format; `reference` is bf16's score, or None for bf16 itself."""
    dtype = torch.bfloat16 if settings["device"] == "cuda" else torch.float32
    model = prepare(folder, name, calibration.ids, settings["device"], dtype)
    score = perplexity(model, text)
    reference = reference or score
    size, added = model_bytes(model), paired_difference(reference, score)
    tokenizer, _ = token_stream(folder, "held_out")
    ids = generate(model, tokenizer.encode(PROMPT, bos=True), 48)
    result = {
        "bits_per_byte": score.bits_per_byte, "stderr": score.stderr, "perplexity": score.perplexity,
        "added_bits_per_byte": added.mean, "added_stderr": added.stderr, "top1_agreement": agreement(reference, score),
        "linear_bytes": size.linear, "total_bytes": size.total, "bits_per_weight": size.bits_per_weight,
        "kv_blocks": kv_blocks(max(settings["budget_bytes"], size.total), size.total, model.config),
        "prefill_tokens_per_second": asdict(prefill_speed(model)), "decode_tokens_per_second": asdict(decode_speed(model)),
        "sample": tokenizer.decode(ids), "nats": score.nats.tolist(), "measured": provenance(settings["device"]),
    }  # fmt: skip
    return result, score


def read_previous(out: Path | None, settings: dict) -> dict:
    """What OUT holds, if it was measured under the same settings. Raises ValueError if OUT is something else."""
    if out is None or not out.exists():
        return {}
    try:
        previous = json.loads(out.read_text())
        if previous["settings"] != settings:
            raise ValueError(f"{out} holds a run with other settings {previous['settings']}: choose another --json file")
        return previous["results"]
    except (json.JSONDecodeError, KeyError, TypeError) as e:
        raise ValueError(f"{out} exists and is not a result of `qcourse eval`: choose another --json file") from e


def check_before_work(folder: Path, formats: list[str], device: str) -> None:
    """Raise ValueError for an unknown format, one whose group size does not fit a layer, or a missing device."""
    check_families(formats)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device here")
    config = read_config(folder)
    for name in formats:
        spec = FAMILIES[name].config
        if spec is not None and not FAMILIES[name].static:
            with torch.device("meta"):  # shapes only: a layer that does not fit is named in milliseconds
                LlamaForCausalLM(config, get_quantization_config(spec))


def evaluate(
    folder: Path,
    formats: list[str],
    device: str = "cpu",
    out: Path | None = None,
    n: int = 64,
    seq_len: int = 256,
    budget_bytes: float | None = None,
    progress: bool = True,
) -> dict:
    """Measure every format on every meter, bf16 first. Raises ValueError for bad input before any work is done.

    `budget_bytes` (weights + KV blocks) defaults to 4 times the model in bf16; weights beyond it leave 0 blocks.
    """
    check_before_work(folder, formats, device)
    budget_bytes = budget_bytes or 4 * projected_bytes(read_config(folder), 16)
    settings = {
        "model": "shipped" if Path(folder) == SHIPPED else str(folder),
        "device": device,
        "n": n,
        "seq_len": seq_len,
        "budget_bytes": budget_bytes,
        "kv_block_tokens": KV_BLOCK,
    }
    results = read_previous(out, settings)
    text, calibration = windows(folder, n, seq_len), windows(folder, CALIBRATION_WINDOWS, 256, "calibration")
    reference = None
    for name in tqdm(dict.fromkeys(["bf16", *formats]), disable=not progress, unit="format"):
        if name in results and (name != "bf16" or set(formats) <= set(results)):
            continue
        measured, score = measure_format(folder, name, text, calibration, reference, settings)
        results.setdefault(name, measured)
        reference = reference or score
        report = {**provenance(device), "settings": settings, "results": results}
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            part = out.with_suffix(".part")
            part.write_text(json.dumps(report, indent=1))
            part.replace(out)
    return {**provenance(device), "settings": settings, "results": results}


COLUMNS = (
    "format",
    "bits/byte",
    "added ± paired s.e.",
    "top-1",
    "bits/weight",
    "MB",
    "KV blocks",
    "prefill tok/s",
    "decode tok/s",
)


def row(name: str, r: dict) -> tuple[str, ...]:
    """One format's result as table cells."""
    prefill, decode = (
        f"{s['median']:.0f} ({s['low']:.0f}–{s['high']:.0f})"
        for s in (r["prefill_tokens_per_second"], r["decode_tokens_per_second"])
    )
    added = f"{r['added_bits_per_byte']:+.4f} ± {r['added_stderr']:.4f}"
    quality = (f"{r['bits_per_byte']:.3f}", added, f"{r['top1_agreement']:.1%}")
    memory = (f"{r['bits_per_weight']:.3f}", f"{r['total_bytes'] / 1e6:.2f}", str(r["kv_blocks"]))
    return (name, *quality, *memory, prefill, decode)


def markdown(report: dict) -> str:
    """The report as a table; speeds are medians with quartiles."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(row(name, r) for name, r in report["results"].items())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
