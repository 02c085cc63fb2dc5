"""Which files of a folder hold the weights: the index and its shards, or exactly `model.safetensors`.

Recognised, never assumed: a file beside them (`adapter_model.safetensors`, `model_old.safetensors`) is not read, and
when it is all there is, that is an error. `.bin`, `.pt`, `.pth`, `.pkl` are pickles: never opened.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.json_scan import Scanner
from qcourse.checkpoints.on_disk import Budget, OnDisk, Place
from qcourse.checkpoints.safetensors_file import Entry, SafetensorsFile
from qcourse.shapes import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class Weights(Mapping):
    """`name → (file, entry)` over all shards of a folder; `read(name)` gives the tensor."""

    def __init__(self, folder: Path, found: dict[str, tuple[SafetensorsFile, Entry]]):
        self.folder, self.found = folder, found

    def __getitem__(self, name: str) -> tuple[SafetensorsFile, Entry]:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def read(self, name: str) -> Tensor:
        """The tensor, in memory of its own. Raises CheckpointError when no shard has it."""
        if name not in self.found:
            raise CheckpointError(f"{self.folder}: tensor {name!r} is missing")
        return self.found[name][0].read(name)

    def place(self, name: str) -> Place:
        """Where its bytes lie."""
        file, entry = self.found[name]
        return Place(file.disk, entry.begin, entry.end - entry.begin, name)


def check_name(folder: Path | str, name: str) -> None:
    """Raise CheckpointError unless `name` is a plain file name: no path, no drive, no `..`."""
    if Path(name).name != name or any(c in name for c in "/\\:\0") or name in (".", ".."):
        raise CheckpointError(f"{folder}: {name!r} is not the name of a file in this folder")


def inside(folder: Path | str, name: str) -> Path:
    """The real path of the regular file `name` of `folder`. Raises CheckpointError for a link that leads out.

    Hugging Face's cache is known: snapshots/REVISION/FILE may be a link to ../../blobs/HASH of the same repository.
    """
    root, path = Path(folder).resolve(), Path(folder) / name
    if Path(name).name != name or any(c in name for c in "/\\:\0") or name in (".", ".."):
        raise CheckpointError(f"{folder}: {name!r} is not the name of a file in this folder")
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except FileNotFoundError as e:
        raise CheckpointError(f"{path}: no such file") from e
    except (OSError, RuntimeError) as e:
        raise CheckpointError(f"{path}: cannot be opened ({getattr(e, 'strerror', None) or e})") from e
    blobs = [up.parent / "blobs" for up in root.parents[:2] if up.name == "snapshots"]
    if not real.is_relative_to(root) and real.parent not in blobs:
        raise CheckpointError(f"{path}: a link out of the folder, to {real}")
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path}: not a regular file")
    return real


def weight_files(folder: Path | str) -> Weights:
    """The tensors of a Hugging Face folder. Raises CheckpointError naming file and tensor, or what was found instead."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: not a folder")
    names = sorted(os.listdir(folder))
    weights = [n for n in names if n.endswith(".safetensors")]
    shards = [n for n in weights if n.startswith("model-")]
    if INDEX in names:
        index = read_index(folder)
        if SINGLE in weights and SINGLE not in index.values():
            raise CheckpointError(f"{folder}: {SINGLE} and {INDEX}, which does not name it: which of them is the model?")
        return sharded(folder, index)
    if SINGLE in weights and not shards:
        file = SafetensorsFile(inside(folder, SINGLE))
        return Weights(folder, {name: (file, entry) for name, entry in file.tensors.items()})
    pickles = [n for n in names if n.endswith(PICKLES)]
    found = ", ".join((weights + pickles)[:6]) or "neither"
    never = "; pickled weights are never loaded" if pickles else ""
    raise CheckpointError(f"{folder}: expected {SINGLE}, or {INDEX} with its shards; found {found}{never}")


def read_index(folder: Path) -> dict[str, str]:
    """`weight_map` of the index: tensor name → shard. Raises CheckpointError for anything but names of files beside it."""
    disk = OnDisk(inside(folder, INDEX))
    with disk.map() as data:
        scan = Scanner(data, 0, disk.size, Budget(Path(folder) / INDEX, disk.size))
        index, shards = None, {}
        for key in scan.members("the index"):
            if key != "weight_map":
                scan.skip_value()
                continue
            index, scan.place = {}, key
            for name in scan.members(key):
                shard = scan.string(4096, f"the shard of {name!r}")
                if not shard.endswith(".safetensors"):
                    raise CheckpointError(f"{folder}/{INDEX}: tensor {name!r}: shard {shard!r} is not a .safetensors file")
                index[name] = shards.setdefault(shard, shard)
        scan.space()
        if scan.at != scan.end:
            scan.fail("nothing after the index")
    if not index:
        raise CheckpointError(f"{folder}/{INDEX}: weight_map is missing or empty")
    return index


def sharded(folder: Path, index: dict[str, str]) -> Weights:
    """Every shard opened and compared with the index, both ways."""
    files: dict[str, SafetensorsFile] = {}
    for name, shard in index.items():
        if shard in files:
            continue
        check_name(folder, shard)
        if not os.path.lexists(folder / shard):
            raise CheckpointError(f"{folder}: shard {shard!r} is missing ({INDEX} places tensor {name!r} in it)")
        files[shard] = SafetensorsFile(inside(folder, shard))
    for shard, file in files.items():
        for name in file.tensors:
            if index.get(name) != shard:
                place = f"places it in {index[name]!r}" if name in index else "does not name it"
                raise CheckpointError(f"{folder}/{shard}: tensor {name!r} is in this shard, but {INDEX} {place}")
    for name, shard in index.items():
        if name not in files[shard].tensors:
            raise CheckpointError(f"{folder}/{shard}: tensor {name!r} is missing, though {INDEX} places it here")
    return Weights(folder, {name: (files[shard], files[shard].tensors[name]) for name, shard in index.items()})
