"""Results on disk: whose they are, whether they can be written, and nothing in them that is not JSON.

A number is reused only if it was measured on the same model, text and protocol: the settings carry their sha256.
"""

import hashlib
import json
from pathlib import Path

from qcourse.models import corpus

PROTOCOL = 2  # of study.perplexity and study.evaluate; 1 scored a second `<|endoftext|>` in the first window
MODEL_FILES = ("*config.json", "tokenizer.json", "*.safetensors", "*.safetensors.index.json")


def sha256(*paths: Path) -> str:
    """Hex digest of files' names and contents, in the order given. Raises OSError naming one that cannot be read."""
    h = hashlib.sha256()
    for path in paths:
        with path.open("rb") as f:
            h.update(f"{path.name}\0{hashlib.file_digest(f, 'sha256').hexdigest()}\n".encode())
    return h.hexdigest()


def identity(folder: Path) -> dict:
    """What a result depends on beside its options: the model's files, this Python's text, the protocol's version."""
    folder = Path(folder)
    files = [folder] if folder.is_file() else sorted({p for pattern in MODEL_FILES for p in folder.glob(pattern)})
    text = {split: corpus.digest(corpus.read(split)) for split in ("held_out", "calibration")}
    return {"model_sha256": sha256(*files), "text": text, "protocol": PROTOCOL}


def try_output(out: Path) -> None:
    """Make the folder of `out` and write beside it, before any work. Raises ValueError saying why it cannot be."""
    try:
        if out.exists() and not out.is_file():
            raise ValueError(f"{out} is {'a folder' if out.is_dir() else 'no ordinary file'}: name a file for the results")
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.exists():
            out.open("a").close()
        part = out.with_name(out.name + ".part")
        part.write_text("{}\n")
        part.unlink()
    except OSError as e:
        raise ValueError(f"{out} cannot be written ({e.strerror or e})") from e


def write(out: Path, report: dict) -> None:
    """Replace `out` in one move. Raises ValueError for NaN or inf, which are no JSON, and OSError for a full disk."""
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(report, indent=1, allow_nan=False))
    part.replace(out)


def read_previous(out: Path | None, settings: dict, fields: set[str]) -> dict:
    """What OUT holds, if it was measured on the same model, text and settings. Raises ValueError if it is another thing."""
    if out is None or not out.exists():
        return {}
    try:
        previous = json.loads(out.read_text(encoding="utf-8"))
        theirs, results = previous["settings"], previous["results"]
        whole = isinstance(theirs, dict) and all(fields <= r.keys() for r in results.values())
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{out} exists and is not a result of `qcourse eval`: choose another --out") from e
    if not whole:
        raise ValueError(f"{out} exists and is not a whole result of `qcourse eval`: choose another --out")
    differ = [k for k in {**settings, **theirs} if settings.get(k) != theirs.get(k)]
    if differ:
        said = "; ".join(f"{k} was {theirs.get(k)!r}, is {settings.get(k)!r}" for k in differ)
        raise ValueError(f"{out} holds a run with other settings ({said}): choose another --out, or remove this one")
    return results
