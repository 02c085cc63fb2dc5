"""What a file holds, from its headers alone: every tensor with shape, dtype and bytes; every layer with its bits a weight.

A folder, one .safetensors file, one .gguf file, or only an index and a config.json (a 70B model whose shards stayed where
they are): then shapes are those that the config asks for, and said to be. What nothing here can load is listed all the same.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from qcourse.checkpoints import dialects
from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.folder import INDEX, PICKLES, read_index, weight_files
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.safetensors_file import SafetensorsFile
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.models.checkpoint import Checkpoint, build, open_checkpoint
from qcourse.models.config import llama_config, read_json
from qcourse.models.subjects import source_of


@dataclass(frozen=True)
class Found:
    """One tensor of a file. shape None: only its name is known."""

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    nbytes: int | None


@dataclass(frozen=True)
class Layer:
    """One quantized matrix: its size, its layout's name, and what its tensors take of the file."""

    name: str
    shape: tuple[int, int]
    layout: str
    nbytes: int

    @property
    def bits(self) -> float:
        """Bits a weight, everything counted."""
        return 8 * self.nbytes / math.prod(self.shape)


@dataclass
class Inspection:
    """kind: "folder", "safetensors", "gguf" or "index" · config: the quantization_config and where it stands, or None ·
    checkpoint: None where nothing here loads it, and `why` says so · predicted: shapes are what the config asks for."""

    source: Path
    kind: str
    tensors: list[Found]
    config: tuple[dict, str] | None = None
    checkpoint: Checkpoint | None = None
    why: str = ""
    layers: list[Layer] = field(default_factory=list)
    predicted: bool = False
    metadata: dict = field(default_factory=dict)
    pickles: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors whose size is known."""
        return sum(t.nbytes or 0 for t in self.tensors)


def inspect(source: Path | str) -> Inspection:
    """Headers and configs only. Raises CheckpointError for what is no model file at all, saying what is expected."""
    path = source_of(source)
    if path.suffix == ".gguf":
        file = GGUFFile(path)
        found = [Found(n, i.shape, i.ggml_type, i.nbytes) for n, i in file.tensors.items()]
        return loaded(Inspection(path, "gguf", found, metadata=file.metadata))
    if path.suffix == ".safetensors":
        file = SafetensorsFile(path)
        return Inspection(path, "safetensors", entries(file), metadata=file.metadata, why="one file without its config.json")
    if not path.is_dir():
        raise CheckpointError(f"{path}: a folder, a .safetensors or a .gguf file expected")
    pickles = sorted(p.name for p in path.iterdir() if p.suffix in PICKLES)
    raw = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    config = dialects.find(path, raw, read_json)
    if config is not None and not isinstance(config[0], dict):
        raise CheckpointError(f"{config[1]} = {config[0]!r}: an object {{…}} expected")
    try:
        weights = weight_files(path)
    except CheckpointError as e:
        if not (path / INDEX).is_file():
            raise
        return index_alone(Inspection(path, "index", [], config, why=str(e), predicted=True, pickles=pickles), raw)
    files = {f.path: f for f, _ in (weights[n] for n in weights)}.values()
    found = Inspection(path, "folder", [t for f in files for t in entries(f)], config, pickles=pickles)
    found.metadata = {k: v for f in files for k, v in f.metadata.items()}
    return loaded(found)


def entries(file: SafetensorsFile) -> list[Found]:
    """The tensors of a safetensors header."""
    return [Found(n, e.shape, str(e.dtype).removeprefix("torch."), e.end - e.begin) for n, e in file.tensors.items()]


def loaded(found: Inspection) -> Inspection:
    """With the layers, where it is a model that is read here."""
    try:
        found.checkpoint = open_checkpoint(found.source)
        found.layers = layers_of(found)
    except (CheckpointError, ValueError) as e:
        found.why = str(e)
    return found


def layers_of(found: Inspection) -> list[Layer]:
    """Every quantized Linear: the bytes of the tensors that lie under its name."""
    checkpoint, under = found.checkpoint, defaultdict(int)
    if found.kind == "gguf":
        sizes = {name: checkpoint.weights[name].nbytes for name in checkpoint.weights}
    else:
        sizes = {t.name: t.nbytes for t in found.tensors}
    for name, nbytes in sizes.items():
        under[name.rpartition(".")[0]] += 0 if name.endswith(".bias") else nbytes
    model = build(checkpoint.config, checkpoint.quantization, found.source)
    quantized = {n: m for n, m in model.linears().items() if isinstance(m.quant_method, QuantizedLinearMethod)}
    return [Layer(n, (m.output_size, m.input_size), m.quant_method.layout.name, under[n]) for n, m in quantized.items()]


def index_alone(found: Inspection, raw: dict) -> Inspection:
    """Names from the index; shapes from the config, where it is one of a model that is read here."""
    names = read_index(found.source)
    out = next((shard for shard in names.values() if Path(shard).name != shard), None)
    if out is not None:
        raise CheckpointError(f"{found.source}: {out!r} is not the name of a file in this folder")
    shapes, config = {}, None
    try:
        config = llama_config(raw, found.source / "config.json")
        quantization = None
        if found.config is not None:
            from qcourse.layers.registry import quantization_of

            quantization = quantization_of(found.config, {})
        model = build(config, quantization, found.source)
        shapes = {n: (tuple(p.shape), str(p.dtype).removeprefix("torch."), p.nbytes) for n, p in model.named_parameters()}
    except (CheckpointError, ValueError) as e:
        found.why = f"{found.why}; {e}"
    for name in names:
        shape, dtype, nbytes = shapes.get(name, (None, "?", None))
        found.tensors.append(Found(name, shape, dtype, nbytes))
    return found
