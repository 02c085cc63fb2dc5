"""The folder of a quantized model while it is made: everything lies in DIR.part, and DIR appears in one rename.

    model-00001-of-0000n.safetensors   embedding, last norm, head; then one shard a block
    quantization_report.json           the command's settings; for every shard that is whole its bytes and its layers; the
                                       sha256 of every tensor that was read
    …                                  config.json, the index and the tokenizer's files come last

A shard counts once the report names it and the file has that length, so a kill at any moment costs one block. The report
also says what the command was asked for and what it read: another command under the same name is refused, and so is a source
that has changed meanwhile (`source_watch`).
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from qcourse.checkpoints.folder import INDEX, Weights
from qcourse.checkpoints.safetensors_file import SafetensorsFile
from qcourse.checkpoints.writer import sync_folder, write_json, write_tensors, write_whole
from qcourse.models.source_watch import follow
from qcourse.shapes import Tensor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

REPORT = "quantization_report.json"


@dataclass(frozen=True)
class Unfinished:
    """out: where it will be · part: where it is · shards: how many there will be · report: what is done so far."""

    out: Path
    part: Path
    shards: int
    report: dict

    @property
    def done(self) -> int:
        """How many shards are whole."""
        return len(self.report["shards"])

    def shard(self, k: int) -> Path:
        """The file of the k-th shard, from 0."""
        return self.part / f"model-{k + 1:05d}-of-{self.shards:05d}.safetensors"

    def weights(self, k: int) -> Weights:
        """The tensors of a shard that is whole."""
        file = SafetensorsFile(self.shard(k))
        return Weights(self.part, {name: (file, entry) for name, entry in file.tensors.items()})

    def keep(self, tensors: dict[str, Tensor], layers: list[dict], metadata: dict[str, str] | None = None) -> None:
        """Write the next shard, then say so in the report. Raises OSError, as for a full disk."""
        path = self.shard(self.done)
        size = write_tensors(path, tensors, metadata)
        self.report["layers"] += [layer | {"shard": path.name} for layer in layers]
        self.report["shards"].append({"file": path.name, "bytes": size})
        write_json(self.part / REPORT, self.report)


@contextmanager
def unfinished(out: Path, settings: dict, shards: int, weights: Mapping) -> Iterator[Unfinished]:
    """DIR.part, new or as a killed run left it, and nobody else in it. Raises ValueError when OUT exists, and for a .part of
    another source, of other settings, or of other weights; OSError says that what is done stays. What is refused before a
    block is finished leaves nothing. weights: the source's, followed from here on."""
    part = out.with_name(out.name + ".part") if out.name else out
    if os.path.lexists(out) or not out.name:
        raise ValueError(f"{out} exists: choose another --out, or remove it")
    part.mkdir(parents=True, exist_ok=True)
    with alone(part):
        folder = Unfinished(out, part, shards, found(part, settings))
        try:
            follow(weights, folder.report["source"], folder.report["files"])
            yield folder
        except OSError as e:
            said = f"{e.strerror or e}; what is done stays in {part}: the same command goes on from there"
            raise OSError(e.errno, said, e.filename or str(out)) from e
        except ValueError:
            if folder.done <= 1:
                clear(part)
            raise


def clear(part: Path) -> None:
    """Remove a folder in which no block was finished: what was refused leaves nothing behind."""
    for path in part.iterdir():
        if path.name.startswith(("model-", REPORT)):
            path.unlink()
    with suppress(OSError):
        part.rmdir()


@contextmanager
def alone(part: Path) -> Iterator[None]:
    """Nobody else writes here meanwhile, where the system has such locks; a killed process holds none. Raises ValueError."""
    fd = os.open(part, os.O_RDONLY) if fcntl is not None else None
    try:
        if fd is not None:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ValueError(f"{part}: another run is writing there") from None
    finally:
        if fd is not None:
            os.close(fd)


def found(part: Path, settings: dict) -> dict:
    """The report of a run that was killed, cut where a shard is not whole; a new one where no block was finished. Raises
    ValueError for anything else that lies there."""
    new, path = {"settings": settings, "shards": [], "layers": [], "source": {}, "files": {}}, part / REPORT
    if not path.exists():
        strangers = [p.name for p in part.iterdir() if not p.name.startswith(("model-", REPORT))]
        if strangers:
            raise ValueError(
                f"{part} holds {strangers[0]!r}, which is not from here: remove {part}, or choose another --out"
            )
        return begun_anew(part, new)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        theirs, shards, layers = report["settings"], report["shards"], report["layers"]
        seen = {"source": {name: str(s) for name, s in report["source"].items()}, "files": dict(report.get("files", {}))}
        whole = [s for s in shards if (part / s["file"]).is_file() and (part / s["file"]).stat().st_size == s["bytes"]]
        differ = [k for k in {**settings, **theirs} if settings.get(k) != theirs.get(k)]
        layers = [layer for layer in layers if layer["shard"] in [s["file"] for s in whole]]
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{path} cannot be read: remove {part}, or choose another --out") from e
    if differ and len(shards) > 1:
        said = "; ".join(f"{k} was {theirs.get(k)!r}, is {settings.get(k)!r}" for k in differ)
        raise ValueError(f"{part} holds a run with other settings ({said}): remove {part}, or choose another --out")
    if len(shards) <= 1:
        return begun_anew(part, new)
    first = next((k for k, s in enumerate(shards) if s not in whole), len(shards))
    names = [s["file"] for s in shards[:first]]
    return new | {"shards": shards[:first], "layers": [x for x in layers if x["shard"] in names]} | seen


def begun_anew(part: Path, new: dict) -> dict:
    """The report of a new run, in a folder without shards."""
    for path in part.glob("model-*"):
        path.unlink()
    return new


def finish(folder: Unfinished, config: dict, files: dict[str, Path | str], totals: dict) -> dict:
    """The index, config.json, the tokenizer's files (name → file to copy, or text), the totals; then the rename. Returns the
    report."""
    where = {name: folder.shard(k).name for k in range(folder.shards) for name in folder.weights(k)}
    sizes = [e.end - e.begin for k in range(folder.shards) for _, e in folder.weights(k).values()]
    write_json(folder.part / INDEX, {"metadata": {"total_size": sum(sizes)}, "weight_map": dict(sorted(where.items()))})
    write_json(folder.part / "config.json", config)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content.read_bytes()
        write_whole(folder.part / name, lambda file, data=data: file.write(data))
    report = {k: v for k, v in folder.report.items() if k != "files"} | {
        "source": dict(sorted(folder.report["source"].items()))
    }
    report |= {"totals": totals | {"bytes_after": sum(s["bytes"] for s in folder.report["shards"])}}
    write_json(folder.part / REPORT, report)
    for leftover in folder.part.glob("*.part"):
        leftover.unlink()
    if os.path.lexists(folder.out):
        raise ValueError(f"{folder.out} has appeared meanwhile: what is done stays in {folder.part}")
    folder.part.rename(folder.out)
    sync_folder(folder.out.resolve().parent)
    return report


def totals(folder: Unfinished, before: int, seconds: float) -> dict:
    """Over all layers: weights, bits a weight in the file, mean error; bytes; seconds of this run."""
    layers = folder.report["layers"]
    sizes = [layer["shape"][0] * layer["shape"][1] for layer in layers]
    errors = [layer["error"] for layer in layers if layer["error"] is not None]
    bits = sum(n * layer["bits_in_file"] for n, layer in zip(sizes, layers, strict=True)) / sum(sizes)
    return {
        "layers": len(layers),
        "weights": sum(sizes),
        "bits_in_file": bits,
        "mean_error": sum(errors) / len(errors) if errors else None,
        "bytes_before": before,
        "seconds": seconds,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
