"""Measurements kept from other machines: always shown with their device, date and command, never as the reader's own."""

import json
from pathlib import Path

from qcourse.study.evaluate import markdown

KERNELS_NOT_MEASURED = "GPU kernels: not measured yet. (On a machine with one: `make bench-gpu`, then keep its JSON here.)"
NOT_MEASURED = "GPU: not measured yet. (On a machine with one: `qcourse capture --device cuda`.)"


def load(folder: Path) -> list[dict]:
    """Every capture of `qcourse capture` in a folder, oldest first. Raises ValueError naming a file without provenance."""
    captures = []
    for path in sorted(Path(folder).glob("eval-*.json")):
        capture = json.loads(path.read_text())
        missing = {"device", "date", "versions", "command", "settings", "results"} - capture.keys()
        if missing:
            raise ValueError(f"{path} is no capture: {', '.join(sorted(missing))} missing")
        captures.append(capture | {"path": path.name})
    return sorted(captures, key=lambda c: c["date"])


def replay(folder: Path, device: str = "cuda") -> str:
    """The newest capture of a device as text with its provenance, or a plain statement that there is none."""
    found = [c for c in load(folder) if c["settings"]["device"] == device]
    if not found:
        return NOT_MEASURED
    c = found[-1]
    versions = ", ".join(f"{k} {v}" for k, v in c["versions"].items())
    return f"Replayed from {c['path']}: {c['device']}, {c['date']}, {versions}\n$ {c['command']}\n\n{markdown(c)}"


def newest(folder: Path, pattern: str) -> dict | None:
    """The capture with the latest date among the files of a pattern, with its `path`; None when there is none.

    Raises ValueError naming a file without provenance.
    """
    found = []
    for path in Path(folder).glob(pattern):
        capture = json.loads(path.read_text())
        missing = {"device", "date", "versions", "command"} - capture.keys()
        if missing:
            raise ValueError(f"{path} is no capture: {', '.join(sorted(missing))} missing")
        found.append(capture | {"path": path.name})
    return max(found, key=lambda c: c["date"], default=None)


def replay_kernels(folder: Path) -> str:
    """The newest `benchmarks.gemm_gpu` capture (gemm-gpu-*.json): speed-ups over bf16 as a table, or that there is none."""
    c = newest(folder, "gemm-gpu-*.json")
    if c is None:
        return KERNELS_NOT_MEASURED
    lines = [f"Replayed from {c['path']}: {c['device']}, {c['date']}", f"$ {c['command']}", ""]
    kernels = list(dict.fromkeys(r["kernel"] for r in c["results"]))
    lines += [f"| N×K | M | {' | '.join(kernels)} |", "|---" * (len(kernels) + 2) + "|"]
    for key in dict.fromkeys((r["N"], r["K"], r["M"]) for r in c["results"]):
        speed = {r["kernel"]: r["speedup"] for r in c["results"] if (r["N"], r["K"], r["M"]) == key}
        cells = (f"{speed[k]:.2f}" if k in speed else "" for k in kernels)
        lines.append(f"| {key[0]}×{key[1]} | {key[2]} | {' | '.join(cells)} |")
    return "\n".join(lines)
