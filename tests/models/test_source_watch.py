"""A source that changes under a run, or between a killed run and the next, is refused by the name of the tensor."""

import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.folder import weight_files
from qcourse.models.checkpoint import open_checkpoint
from qcourse.models.convert_folder import convert
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import save_model
from qcourse.models.source_watch import follow
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.numerics.schemes import PRESETS
from tests.writes import Killed, at_write, full

SIZES = {"vocab_size": 61, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
UP = "model.layers.0.mlp.up_proj.weight"


def quantized(source, out):
    return quantize_to_folder(source, out, PRESETS["W8A16"], Method(), progress=False)


def converted(source, out):
    return convert(source, out, "gptq", lossy=True, progress=False)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What each command reads."""
    root = tmp_path_factory.mktemp("watched")
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    for p in model.parameters():
        p.data.normal_(std=0.2)
    save_model(model, root / "plain")
    quantized(root / "plain", root / "quantized")
    return {quantized: root / "plain", converted: root / "quantized"}


@pytest.fixture(params=[quantized, converted], ids=lambda f: f.__name__)
def run(request):
    return request.param


@pytest.fixture(scope="module")
def whole(sources, tmp_path_factory):
    """The files of undisturbed runs."""
    root = tmp_path_factory.mktemp("whole")
    return {run: (run(source, root / run.__name__), files(root / run.__name__))[1] for run, source in sources.items()}


@pytest.fixture
def source(run, sources, tmp_path):
    """A copy of its own to spoil."""
    return shutil.copytree(sources[run], tmp_path / "source")


def files(folder):
    found = {p.name: p.read_bytes() for p in folder.glob("*")}
    report = json.loads(found.pop("quantization_report.json"))
    return {n: hashlib.sha256(d).hexdigest() for n, d in found.items()} | {"source": report["source"], "s": report["shards"]}


def interrupted(run, source, out, monkeypatch, n=17, error=None):
    """A run whose n-th write is its last: two shards are whole."""
    with monkeypatch.context() as m, pytest.raises(Killed if error is None else OSError) as said:
        at_write(m, n, error or Killed())
        run(source, out)
    return str(said.value)


def spoil(source, name, date=True):
    """One bit of a tensor turned in its file; the length stays, and the date where `date`."""
    place = weight_files(source).place(name)
    stat = place.disk.path.stat()
    with open(place.disk.path, "r+b") as file:
        file.seek(place.begin)
        byte = file.read(1)
        file.seek(place.begin)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(place.disk.path, ns=(stat.st_atime_ns, stat.st_mtime_ns + (not date) * 10**9))


def name_in(source, end):
    return next(n for n in weight_files(source) if n.startswith(end))


def test_the_report_has_every_tensors_sha256(run, source, tmp_path):
    report, wanted = run(source, tmp_path / "out"), {}
    for path in source.glob("*.safetensors"):
        wanted |= {n: hashlib.sha256(t.view(torch.uint8).numpy().tobytes()).hexdigest() for n, t in load_file(path).items()}
    assert report["source"] == wanted and list(wanted) and "files" not in report


@pytest.mark.parametrize("n", [17, 33])
def test_killed_in_the_middle_of_a_file_and_given_again(run, source, whole, tmp_path, monkeypatch, n):
    before = {p: p.read_bytes() for p in source.iterdir()}
    interrupted(run, source, tmp_path / "out", monkeypatch, n)
    assert not (tmp_path / "out").exists() and list((tmp_path / "out.part").glob("*.part"))
    run(source, tmp_path / "out")
    assert files(tmp_path / "out") == whole[run] and not (tmp_path / "out.part").exists()
    assert before == {p: p.read_bytes() for p in source.iterdir()}


def test_a_full_disk_is_one_line_and_the_run_goes_on(run, source, whole, tmp_path, monkeypatch):
    said = interrupted(run, source, tmp_path / "out", monkeypatch, 33, full())
    assert "No space left" in said and "what is done stays in" in said and "out.part: the same command goes on" in said
    assert not (tmp_path / "out").exists() and not list((tmp_path / "out.part").glob("*.part"))
    run(source, tmp_path / "out")
    assert files(tmp_path / "out") == whole[run]


def test_changed_between_two_runs(run, source, whole, tmp_path, monkeypatch):
    """Of the same length and date; and brought back."""
    interrupted(run, source, tmp_path / "out", monkeypatch, 40)
    name = name_in(source, "model.layers.0.mlp.up_proj.weight")
    spoil(source, name)
    with pytest.raises(CheckpointError, match=f"tensor {name!r} is not what was read before .*: the source has changed"):
        run(source, tmp_path / "out")
    spoil(source, name)
    run(source, tmp_path / "out")
    assert files(tmp_path / "out") == whole[run]


def test_what_was_not_read_yet_is_known_by_its_date(run, source, tmp_path, monkeypatch):
    interrupted(run, source, tmp_path / "out", monkeypatch, 40)
    spoil(source, name_in(source, "model.layers.2.mlp.up_proj.weight"), date=False)
    with pytest.raises(CheckpointError, match="safetensors: its length or date is another than when this was begun"):
        run(source, tmp_path / "out")


def test_a_copy_of_the_source_that_was_read_is_as_good(tmp_path):
    """Another date and place, the same bytes, all of them known."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_file({"w": torch.arange(6.0)}, tmp_path / folder / "model.safetensors")
    os.utime(tmp_path / "b" / "model.safetensors", (1, 1))
    known, stamps = {}, {}
    first = weight_files(tmp_path / "a")
    follow(first, known, stamps)
    first.read("w")
    follow(weight_files(tmp_path / "b"), known, stamps)
    with pytest.raises(CheckpointError, match="its length or date"):
        follow(weight_files(tmp_path / "b"), {}, stamps)


def test_read_twice_and_changed_in_between(tmp_path):
    save_file({"w": torch.arange(6.0)}, tmp_path / "model.safetensors")
    weights = weight_files(tmp_path)
    follow(weights, {}, {})
    weights.read("w")
    spoil(tmp_path, "w")
    with pytest.raises(CheckpointError, match="tensor 'w' is not what was read before"):
        weights.read("w")
    spoil(tmp_path, "w", date=False)
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        weights.read("w")


def test_tensors_of_a_gguf_file_go_by_their_names_there():
    from tests.models.test_stream import GGUF

    weights, known = open_checkpoint(GGUF).weights, {}
    follow(weights, known, {})
    for name in weights:
        weights.read(name)
    assert known.keys() == set(weights.file.tensors) and "blk.0.attn_q.weight" in known
    place = weights.place("model.layers.0.self_attn.q_proj.blocks")
    data = GGUF.read_bytes()[place.begin : place.begin + place.nbytes]
    assert known["blk.0.attn_q.weight"] == hashlib.sha256(data).hexdigest()
