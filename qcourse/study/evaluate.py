"""Three meters for each format: speed, memory, quality. Written to JSON after every format, so nothing is lost.

An interrupted run is continued by the same command: formats that OUT already holds, of the same model, text and
settings, are not measured again. A format that does not fit the model is skipped, with its reason in the table.
"""

import math
import os
import platform
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from tqdm import tqdm

from qcourse.models.generate import generate
from qcourse.models.loader import open_checkpoint
from qcourse.models.subjects import SUBJECTS, name_of, source_of
from qcourse.numerics.kv import kv_args
from qcourse.numerics.kv import name_of as name_of_cache
from qcourse.study.cost import KV_BLOCK, kv_blocks, model_bytes, projected_bytes
from qcourse.study.families import AS_IS, prepare
from qcourse.study.fit import check_before_work
from qcourse.study.kv import give_cache
from qcourse.study.perplexity import Score, Windows, agreement, paired_difference, perplexity, token_stream, windows
from qcourse.study.results import identity, read_previous, try_output, write
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
    model = prepare(folder, name, calibration.ids, settings["device"], dtype, settings["group_size"])
    if "kv_cache" in settings:
        give_cache(model, settings["kv_cache"], calibration.ids[:, :-1])
    try:
        score = perplexity(model, text)
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
    reference = reference or score
    size, added = model_bytes(model), paired_difference(reference, score)
    tokenizer, _ = token_stream(folder, "held_out")
    ids = generate(model, tokenizer.encode(PROMPT, bos=True), 48)
    result = {
        "bits_per_byte": score.bits_per_byte, "stderr": score.stderr, "perplexity": score.perplexity,
        "added_bits_per_byte": added.mean, "added_stderr": added.stderr, "top1_agreement": agreement(reference, score),
        "linear_bytes": size.linear, "total_bytes": size.total, "bits_per_weight": size.bits_per_weight,
        "kv_blocks": kv_blocks(max(settings["budget_bytes"], size.total), size.total, model.config, cache_bits(model)),
        "prefill_tokens_per_second": asdict(prefill_speed(model)), "decode_tokens_per_second": asdict(decode_speed(model)),
        "sample": tokenizer.decode(i for i in ids if i < tokenizer.vocab_size),
        "nats": score.nats.tolist(), "measured": provenance(settings["device"]),
    }  # fmt: skip
    return result, score


def cache_bits(model) -> float:
    """Bits of a number in the model's KV cache, scales counted."""
    return 16 if model.kv_cache is None else model.kv_cache.token_bits(model.config.head_dim) / (2 * model.config.head_dim)


def settings_of(folder: Path, device: str, n: int, seq_len: int, budget: float, group_size, base: str, kv_cache) -> dict:
    """What a result depends on. Raises ValueError for an unknown `kv_cache`."""
    settings = {
        "model": name_of(folder), "device": device, "n": n, "seq_len": seq_len, "budget_bytes": budget,
        "kv_block_tokens": KV_BLOCK, "group_size": group_size, "base": base, **identity(folder),
    }  # fmt: skip
    return settings if kv_cache is None else settings | {"kv_cache": name_of_cache(kv_args(kv_cache))}


def check_outputs(out: Path | None, budget_bytes: float | None) -> None:
    """Raise ValueError for a budget that is none, and for results that could not be written."""
    if budget_bytes is not None and not 0 < budget_bytes < math.inf:
        raise ValueError(f"a budget of {budget_bytes} bytes: a number above 0 expected")
    if out is not None:
        try_output(out)


def evaluate(
    folder: Path | str,
    formats: list[str],
    device: str = "cpu",
    out: Path | None = None,
    n: int = 64,
    seq_len: int = 256,
    budget_bytes: float | None = None,
    progress: bool = True,
    group_size: int | None = None,
    dequantize: bool = False,
    kv_cache: str | None = None,
) -> dict:
    """Measure every format on every meter, bf16 first: of a source that is quantized already, what its codes stand for, if
    `dequantize` (a subject: always); else the source as it is.

    kv_cache: how every format keeps its context (a name of KV_PRESETS), bf16 too; None: in 16 bits, or as the file says.
    `budget_bytes` (weights + KV blocks) defaults to 4 × the model in bf16. Raises ValueError for bad input before any work.
    """
    folder, dequantize = source_of(folder), dequantize or name_of(folder) in SUBJECTS
    skipped = check_before_work(folder, formats, device, group_size, dequantize)
    config, base = open_checkpoint(folder).config, AS_IS if AS_IS in formats and not dequantize else "bf16"
    check_outputs(out, budget_bytes)
    settings = settings_of(
        folder, device, n, seq_len, budget_bytes or 4 * projected_bytes(config, 16), group_size, base, kv_cache
    )
    results = read_previous(out, settings, FIELDS)
    context = min(256, config.max_position_embeddings)
    text, calibration = windows(folder, n, seq_len), windows(folder, CALIBRATION_WINDOWS, context, "calibration")
    formats, reference = [f for f in formats if f not in skipped], None
    for name in tqdm(dict.fromkeys([base, *formats]), disable=not progress, unit="format"):
        if name in results and (name != base or set(formats) <= set(results)):
            continue
        measured, score = measure_format(folder, name, text, calibration, reference, settings)
        results.setdefault(name, measured)
        reference = reference or score
        if out is not None:
            write(out, {**provenance(device), "settings": settings, "results": results})
    return {**provenance(device), "settings": settings, "results": results, "skipped": skipped}


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


FIELDS = {"bits_per_byte", "added_bits_per_byte", "added_stderr", "top1_agreement", "bits_per_weight", "total_bytes",
          "kv_blocks", "prefill_tokens_per_second", "decode_tokens_per_second", "nats"}  # fmt: skip


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
    """The report as a table; speeds are medians with quartiles, and what was skipped has its reason for a row."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(row(name, r) for name, r in report["results"].items())]
    rows += [(name, f"skipped: {why}", *[""] * (len(COLUMNS) - 2)) for name, why in report.get("skipped", {}).items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
