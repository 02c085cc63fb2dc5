"""Who reads what qcourse writes: each proof of tests/interop leaves one row (`record`), after its asserts held.

`python -m tests.interop.table --keep` copies the rows of this machine to captures/interop.json, with device, date, command;
`python -m tests.interop.table` writes docs/interop.md from there. `record` needs only the standard library: other
environments run it, too.
"""

import argparse
import fcntl
import json
import os
import platform
import re
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNS, CAPTURE, DOCS = ROOT / "runs" / "interop.json", ROOT / "captures" / "interop.json", ROOT / "docs" / "interop.md"
COMMAND = "make interop interop-vllm interop-node; python -m tests.interop.table --keep"
SUBJECTS = {"shipped": "The model that ships with the course", "smollm2": "SmolLM2-135M-Instruct"}
HEAD = "| written as | read by | version | what came out |\n|---|---|---|---|"
KEY = ("subject", "written_as", "loaded_by")


def record(
    written_as: str,
    loaded_by: str,
    verdict: str,
    *,
    package: str | None = None,
    version: str | None = None,
    subject: str = "shipped",
    ok: bool = True,
    figures: dict | None = None,
) -> None:
    """Keep one row in runs/interop.json; one of the same subject, writer and reader is replaced.

    package: whose installed version is looked up ("transformers, compressed-tensors"); version: said instead. verdict: one
    short sentence with its figure; ok False: a pair that cannot work, and the verdict says why.
    Raises ValueError for a row that says too little, PackageNotFoundError for a package that is not here.
    """
    if not (package or version):
        raise ValueError(f"{written_as}, {loaded_by}: name a package, or its version")
    if not verdict.strip() or "\n" in verdict or subject not in SUBJECTS:
        raise ValueError(f"{written_as}, {loaded_by}: one line as verdict, one of {', '.join(SUBJECTS)} as subject expected")
    names = [name.strip() for name in (package or "").split(",") if name.strip()]
    said = version or ", ".join(f"{name} {metadata.version(name)}" for name in names)
    row = {"subject": subject, "written_as": written_as, "loaded_by": loaded_by, "version": said, "verdict": short(verdict),
           "ok": ok, "figures": figures or {}}  # fmt: skip
    with locked():
        rows = json.loads(RUNS.read_text(encoding="utf-8"))["rows"] if RUNS.exists() else []
        rows = [r for r in rows if key(r) != key(row)] + [row]
        write(RUNS, json.dumps({"rows": sorted(rows, key=order)}, indent=1, ensure_ascii=False) + "\n")


def short(verdict: str) -> str:
    """Without what says nothing: the tail of transformers' exception for shapes, the sign of a zero.

    >>> short("bits/byte -0.0000 from ours")
    'bits/byte 0.0000 from ours'
    """
    verdict = re.sub(r"(; |: )RuntimeError: You set `ignore_mismatched_sizes` to `False`.*$", "", verdict)
    return re.sub(r"[+-](0\.0+)(?!\d)", r"\1", verdict)


def key(row: dict) -> tuple[str, ...]:
    """What makes a row another one."""
    return tuple(row[k] for k in KEY)


def order(row: dict) -> tuple:
    """Subjects, then ecosystems, then formats, numbers as numbers."""
    words = [[int(t) if t.isdigit() else t.lower() for t in re.split(r"(\d+)", row[k])] for k in KEY[1:]]
    return list(SUBJECTS).index(row["subject"]), *words


@contextmanager
def locked():
    """One writer at a time: two test runs may record side by side."""
    RUNS.parent.mkdir(parents=True, exist_ok=True)
    with open(RUNS.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str) -> None:
    """A file that is whole or as it was."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def keep() -> None:
    """runs/interop.json → captures/interop.json."""
    versions = {"python": platform.python_version()}
    found = {
        "device": f"CPU {platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions | {n: metadata.version(n) for n in ("torch", "numpy", "safetensors")},
        "command": COMMAND,
        "rows": json.loads(RUNS.read_text(encoding="utf-8"))["rows"],
    }
    write(CAPTURE, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def cell(text: str) -> str:
    """Text in a table of Markdown."""
    return text.replace("|", "\\|")


def ecosystem(row: dict) -> str:
    """The first word of how it was written: compressed-tensors, GGUF, GPTQ …"""
    return row["written_as"].split()[0]


def document(capture: dict) -> str:
    """docs/interop.md."""
    rows = sorted(capture["rows"], key=order)
    works = Counter(r["ok"] for r in rows)
    lines = [
        "# Who reads what qcourse writes",
        "",
        f"{len(rows)} pairs of a format that is written here and software that reads it, tried by `make interop`,",
        f"`make interop-vllm` and `make interop-node`: {works[True]} work; {works[False]} do not, and their rows say why.",
        "Each row is written by the test that proves it, after its asserts held; bounds and their reasons stand in",
        "`tests/interop`. Logits are compared with those of our own loading of the same file, greedy ids with those of our",
        "own engine on that file's weights in fp32. *k of 48 greedy ids*: the first k agree; there the other engine chose",
        "an id whose logit in ours is so much below the best; after that the texts differ.",
        "",
        f"Measured on {capture['device']}, {capture['date'][:10]}, with",
        f"`{capture['command']}`.",
        "This page is made from `captures/interop.json` by `python -m tests.interop.table`.",
    ]
    for subject, of_subject in groupby(rows, key=lambda r: r["subject"]):
        lines += ["", f"## {SUBJECTS[subject]}"]
        for name, group in groupby(of_subject, key=ecosystem):
            lines += ["", f"### {name}", "", *HEAD.splitlines()]
            for r in group:
                said = r["verdict"] if r["ok"] else f"**no**: {r['verdict']}"
                lines.append(f"| {' | '.join(map(cell, (r['written_as'], r['loaded_by'], r['version'], said)))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.interop.table", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="copy the rows of this machine to captures/interop.json first")
    if parser.parse_args().keep:
        keep()
    write(DOCS, document(json.loads(CAPTURE.read_text(encoding="utf-8"))))
