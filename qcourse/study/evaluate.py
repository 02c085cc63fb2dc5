"""Three meters for each format: speed, memory, quality. Written to JSON after every format, so nothing is lost.

An interrupted run is continued by the same command: formats that OUT already holds, of the same model, text and
settings, are not measured again. A format that does not fit the model is skipped, with its reason in the table.
"""

import math
import os
import platform
import shlex
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from tqdm import tqdm

from qcourse.layers.config import get_quantization_config, regrouped
from qcourse.models.generate import generate
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import SHIPPED, open_checkpoint
from qcourse.numerics.schemes import QuantizationScheme
from qcourse.study.cost import KV_BLOCK, kv_blocks, model_bytes, projected_bytes
from qcourse.study.families import AS_IS, DEFAULT, family, prepare
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
        "kv_blocks": kv_blocks(max(settings["budget_bytes"], size.total), size.total, model.config),
        "prefill_tokens_per_second": asdict(prefill_speed(model)), "decode_tokens_per_second": asdict(decode_speed(model)),
        "sample": tokenizer.decode(i for i in ids if i < tokenizer.vocab_size),
        "nats": score.nats.tolist(), "measured": provenance(settings["device"]),
    }  # fmt: skip
    return result, score


def build(config: LlamaConfig, spec: QuantizationScheme) -> None:
    """Shapes only, in milliseconds: raises ValueError naming a layer that does not fit the format."""
    with torch.device("meta"):
        LlamaForCausalLM(config, get_quantization_config(spec))


def nearest_group(config: LlamaConfig, spec: QuantizationScheme) -> int | None:
    """The group size nearest to 128 that every layer of a model takes (powers of two first), or None."""
    q = config.num_attention_heads * config.head_dim
    common = math.gcd(config.hidden_size, q, config.intermediate_size)
    sizes = [g for g in range(1, common + 1) if common % g == 0]
    for size in sorted(sizes, key=lambda g: (g & (g - 1) != 0 or g < 8, abs(math.log2(g / 128)))):
        try:
            build(config, regrouped(spec, size))
        except (ValueError, TypeError):
            continue
        return size
    return None


def check_before_work(source: Path, formats: list[str], device: str, group_size: int | None = None) -> dict[str, str]:
    """The formats that do not fit a layer of this model, each with the reason and the nearest group size that fits.

    Raises ValueError for no or an unknown format, one for weights that are quantized already, a missing device, and when
    none of the formats fits.
    """
    families = {name: family(name, group_size) for name in formats}
    if not formats:
        raise ValueError(f"no format named: {', '.join(DEFAULT)}, or any scheme of PRESETS, with +smoothquant or +awq")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device here")
    checkpoint, skipped = open_checkpoint(Path(source)), {}
    if (AS_IS in formats) != (checkpoint.quantization is not None) or AS_IS in formats and len(formats) > 1:
        raise ValueError(
            f"{source}: the weights are quantized already: measure them with --formats {AS_IS}, alone"
            if checkpoint.quantization
            else f"{source} holds 16-bit weights: {AS_IS!r} is for sources that are quantized already; use bf16"
        )
    for name, wanted in families.items():
        if wanted.scheme is not None:
            try:
                build(checkpoint.config, replace(wanted.scheme, input_activations=None))
            except ValueError as e:
                size = nearest_group(checkpoint.config, wanted.scheme)
                skipped[name] = f"{e}" if size is None else f"{e}; the nearest that fits every layer is group_size={size}"
    if len(skipped) == len(families):
        raise ValueError("; ".join(f"{name}: {reason}" for name, reason in skipped.items()))
    return skipped


def evaluate(
    folder: Path,
    formats: list[str],
    device: str = "cpu",
    out: Path | None = None,
    n: int = 64,
    seq_len: int = 256,
    budget_bytes: float | None = None,
    progress: bool = True,
    group_size: int | None = None,
) -> dict:
    """Measure every format on every meter, bf16 first (a source that is quantized already: as it is). Raises ValueError for bad input before any work is done.

    `budget_bytes` (weights + KV blocks) defaults to 4 times the model in bf16; weights beyond it leave 0 blocks.
    """
    skipped = check_before_work(folder, formats, device, group_size)
    config = open_checkpoint(Path(folder)).config
    if budget_bytes is not None and not 0 < budget_bytes < math.inf:
        raise ValueError(f"a budget of {budget_bytes} bytes: a number above 0 expected")
    if out is not None:
        try_output(out)
    budget_bytes = budget_bytes or 4 * projected_bytes(config, 16)
    settings = {
        "model": "shipped" if Path(folder) == SHIPPED else str(folder),
        "device": device,
        "n": n,
        "seq_len": seq_len,
        "budget_bytes": budget_bytes,
        "kv_block_tokens": KV_BLOCK,
        "group_size": group_size,
        **identity(folder),
    }
    results = read_previous(out, settings, FIELDS)
    context = min(256, config.max_position_embeddings)
    text, calibration = windows(folder, n, seq_len), windows(folder, CALIBRATION_WINDOWS, context, "calibration")
    formats = [f for f in formats if f not in skipped]
    reference = None
    base = AS_IS if AS_IS in formats else "bf16"
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
