"""Which files of a folder are the weights: said by the folder, never guessed."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.folder import INDEX, inside, weight_files

A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def shards(folder, weight_map=None, **more):
    save_file({"a": torch.ones(2), "b": torch.zeros(3)}, folder / A)
    save_file({"c": torch.full((2, 2), 3.0)}, folder / B)
    write_index(folder, {"a": A, "b": A, "c": B} if weight_map is None else weight_map, **more)
    return folder


def write_index(folder, weight_map, **more):
    (folder / INDEX).write_text(
        json.dumps({"metadata": {"total_size": 36, "x": [None, {"y": 1.5}]}, "weight_map": weight_map} | more)
    )


def test_one_file(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    save_file({"old": torch.ones(2)}, tmp_path / "model_old.safetensors")
    save_file({"lora": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    weights = weight_files(tmp_path)
    assert (
        list(weights) == ["w"]
        and weights.read("w").tolist() == [1, 1]
        and weights["w"][1].shape == (2,)
        and len(weights) == 1
    )
    with pytest.raises(CheckpointError, match="'lora' is missing"):
        weights.read("lora")


def test_shards_by_their_index(tmp_path):
    weights = weight_files(shards(tmp_path))
    assert list(weights) == ["a", "b", "c"] and weights.read("c").tolist() == [[3, 3], [3, 3]]
    assert weights["a"][0] is weights["b"][0] and weights["c"][0].path.name == B


BAD_MAPS = {
    "../": ({"a": "../x.safetensors"}, "not the name of a file"),
    "absolute": ({"a": "/etc/x.safetensors"}, "not the name of a file"),
    "in a folder": ({"a": "sub/x.safetensors"}, "not the name of a file"),
    "backslash": ({"a": "..\\x.safetensors"}, "not the name of a file"),
    "drive": ({"a": "C:x.safetensors"}, "not the name of a file"),
    "NUL": ({"a": "x\0.safetensors"}, "not the name of a file|cannot be opened"),
    "empty": ({"a": ""}, "not a .safetensors file"),
    "pickle": ({"a": "pytorch_model.bin"}, "not a .safetensors file"),
    "a number": ({"a": 3}, "the shard of 'a'"),
    "null": ({"a": None}, "the shard of 'a'"),
    "a list": ({"a": [A]}, "the shard of 'a'"),
    "no entries": ({}, "missing or empty"),
    "a list of names": (["a"], "weight_map"),
    "a missing shard": ({"a": A, "b": A, "c": "model-9.safetensors"}, "shard 'model-9.safetensors' is missing"),
    "a tensor that is not there": ({"a": A, "b": A, "c": B, "d": B}, "'d' is missing"),
    "a tensor in the other shard": ({"a": A, "b": B, "c": B}, "'b' is in this shard, but .* places it in"),
    "a tensor that is not named": ({"a": A, "c": B}, "'b' is in this shard, but .* does not name it"),
}


@pytest.mark.parametrize("name", BAD_MAPS)
def test_a_bad_index(name, tmp_path):
    weight_map, message = BAD_MAPS[name]
    with pytest.raises(CheckpointError, match=message):
        weight_files(shards(tmp_path, weight_map))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty file"), (b"{}", "missing"), (b"[]", "an object"),
        (b'{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}', "'a' is given twice"),
        (b'{"metadata":' + b"[" * 10**5, "levels of nesting"), (b'{"metadata":{"a":1,"a":2}}', "twice"),
        (b'{"weight_map":{}}x', "nothing after"),
        (b'{"metadata": nul, "weight_map":{}}', "a JSON value"),
    ],
)  # fmt: skip
def test_an_index_that_is_no_index(body, message, tmp_path):
    shards(tmp_path)
    (tmp_path / INDEX).write_bytes(body)
    with pytest.raises(CheckpointError, match=message):
        weight_files(tmp_path)


def test_one_candidate_only(tmp_path):
    with pytest.raises(CheckpointError, match="found neither"):
        weight_files(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="found pytorch_model.bin; pickled weights are never loaded"):
        weight_files(tmp_path)
    save_file({"w": torch.ones(2)}, tmp_path / "foo.safetensors")
    with pytest.raises(CheckpointError, match="found foo.safetensors, pytorch_model.bin"):
        weight_files(tmp_path)
    save_file({"w": torch.ones(2)}, tmp_path / A)
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"found foo.safetensors, {A}, model.safetensors"):
        weight_files(tmp_path)
    shards(tmp_path)
    with pytest.raises(CheckpointError, match="which of them is the model"):
        weight_files(tmp_path)
    with pytest.raises(CheckpointError, match="not a folder"):
        weight_files(tmp_path / "none")


def test_links_lead_nowhere_else(tmp_path):
    (tmp_path / "in").mkdir()
    save_file({"w": torch.ones(2)}, tmp_path / "secret.safetensors")
    (tmp_path / "in" / "model.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(CheckpointError, match="a link out of the folder"):
        weight_files(tmp_path / "in")
    os.remove(tmp_path / "in" / "model.safetensors")
    save_file({"w": torch.ones(2)}, tmp_path / "in" / "x.safetensors")
    (tmp_path / "in" / "model.safetensors").symlink_to("x.safetensors")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "in")
    assert list(weight_files(tmp_path / "elsewhere")) == ["w"]  # a link to a folder was the reader's own choice
    os.remove(tmp_path / "in" / "model.safetensors")
    for kind in ("loop", "fifo", "folder", "nothing"):
        path = tmp_path / "in" / "model.safetensors"
        {"loop": lambda p: p.symlink_to(p), "fifo": os.mkfifo, "folder": os.mkdir, "nothing": lambda p: p.symlink_to("y")}[
            kind
        ](path)
        with pytest.raises(CheckpointError, match="regular file|cannot be opened|no such file"):
            weight_files(tmp_path / "in")
        os.rmdir(path) if kind == "folder" else os.remove(path)


def test_hugging_faces_cache(tmp_path):
    repo = tmp_path / "models--x--y"
    for name in ("blobs", "snapshots/abc", "refs"):
        (repo / name).mkdir(parents=True)
    save_file({"w": torch.ones(2)}, repo / "blobs" / "0123")
    link = repo / "snapshots" / "abc" / "model.safetensors"
    link.symlink_to("../../blobs/0123")
    assert list(weight_files(link.parent)) == ["w"]
    for target in ("../../refs/0123", "../../../other", "../../../models--o/blobs/0123"):
        path = link.parent / target
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"w": torch.ones(2)}, path.resolve())
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(CheckpointError, match="out of the folder"):
            weight_files(link.parent)
    with pytest.raises(CheckpointError, match="not the name of a file"):
        inside(link.parent, "..")
