"""Measurements kept from other machines: always shown with their device, date and command, never as the reader's own."""

import json
from pathlib import Path

from qcourse.study.evaluate import markdown

KERNELS_NOT_MEASURED = "GPU kernels: not measured yet. (On a machine with one: `make bench-gpu`, then keep its JSON here.)"
NOT_MEASURED = "GPU: not measured yet. (On a machine with one: `qcourse capture --device cuda`.)"


PROVENANCE = {"device", "date", "versions", "command"}


def load(folder: Path, pattern: str = "eval-*.json", needs: tuple[str, ...] = ("settings", "results")) -> list[dict]:
    """Every capture among the files of a pattern (default: those of `qcourse capture`), oldest first, each with its `path`.

    Raises ValueError naming a file without provenance or without what it `needs`.
    """
    found = [read(path, needs) | {"path": path.name} for path in Path(folder).glob(pattern)]
    return sorted(found, key=lambda c: c["date"])


def read(path: Path, needs: tuple[str, ...] = ("settings", "results")) -> dict:
    """One capture. Raises ValueError naming a file without provenance or without what it `needs`, FileNotFoundError."""
    try:
        capture = json.loads(path.read_text(encoding="utf-8"))
        missing = (PROVENANCE | set(needs)) - capture.keys()
    except FileNotFoundError:
        raise
    except (ValueError, OSError, AttributeError) as e:
        raise ValueError(f"{path} is no capture: not a JSON object ({e})") from e
    if missing:
        raise ValueError(f"{path} is no capture: {', '.join(sorted(missing))} missing")
    return capture


def source(capture: dict, name: str) -> str:
    """Where a capture's numbers come from: file, device, date, versions."""
    versions = ", ".join(f"{k} {v}" for k, v in capture["versions"].items())
    return f"Replayed from {name}: {capture['device']}, {capture['date']}, {versions}"


def replay(folder: Path, device: str = "cuda") -> str:
    """The newest capture of a device as text with its provenance, or a plain statement that there is none."""
    found = [c for c in load(folder) if c["settings"]["device"] == device]
    if not found:
        return NOT_MEASURED
    c = found[-1]
    return f"{source(c, c['path'])}\n$ {c['command']}\n\n{markdown(c)}"


def replay_kernels(folder: Path) -> str:
    """The newest `benchmarks.gemm_gpu` capture (gemm-gpu-*.json): speed-ups over bf16 as a table, or that there is none."""
    found = load(folder, "gemm-gpu-*.json", ("results",))
    if not found:
        return KERNELS_NOT_MEASURED
    c = found[-1]
    lines = [f"Replayed from {c['path']}: {c['device']}, {c['date']}", f"$ {c['command']}", ""]
    kernels = list(dict.fromkeys(r["kernel"] for r in c["results"]))
    lines += [f"| N×K | M | {' | '.join(kernels)} |", "|---" * (len(kernels) + 2) + "|"]
    for key in dict.fromkeys((r["N"], r["K"], r["M"]) for r in c["results"]):
        speed = {r["kernel"]: r["speedup"] for r in c["results"] if (r["N"], r["K"], r["M"]) == key}
        cells = (f"{speed[k]:.2f}" if k in speed else "" for k in kernels)
        lines.append(f"| {key[0]}×{key[1]} | {key[2]} | {' | '.join(cells)} |")
    return "\n".join(lines)
