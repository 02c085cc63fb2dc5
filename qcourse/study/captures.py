"""Measurements kept from other machines: always shown with their device, date and command, never as the reader's own."""

import json
from pathlib import Path

from qcourse.study.evaluate import markdown

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
