"""Every folder that is written here is opened by safetensors itself, and holds what its index says and no pickle.

NF4 of bitsandbytes is read here, and its codes are made (test_authorities); a folder of it is not written.
"""

import json

import pytest
import torch
from safetensors import safe_open
from table import record

from qcourse.models.convert_folder import convert

FOLDERS = {"compressed-tensors": "W4A16_ASYM", "gptq": "W4A16", "gptq_v2": "W4A16", "awq": "W4A16", "modelopt": "FP8",
           "torchao": "W8A16"}  # fmt: skip
NAMES = {"gptq": "GPTQ", "gptq_v2": "GPTQ v2", "awq": "AWQ", "modelopt": "ModelOpt", "torchao": "TorchAO"}


@pytest.mark.parametrize("layout", FOLDERS)
def test_safetensors_opens_every_shard(folder, layout):
    path = folder(FOLDERS[layout], layout)
    index, found, size = json.loads((path / "model.safetensors.index.json").read_text()), {}, 0
    for shard in sorted(path.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                t = file.get_tensor(name)
                size += t.nbytes
                assert not t.dtype.is_floating_point or torch.isfinite(t.float()).all(), name
                assert name not in found
                found[name] = shard.name
    assert found == index["weight_map"] and size == index["metadata"]["total_size"]
    assert not [p for p in path.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".pkl")]
    shards = len(set(found.values()))
    record(f"{NAMES.get(layout, layout)} {FOLDERS[layout]}", "safetensors",
           f"{len(found)} tensors in {shards} shards, {size:,} bytes, as the index says", package="safetensors",
           figures={"tensors": len(found), "shards": shards, "bytes": size})  # fmt: skip


def test_nf4_is_not_written(folder, tmp_path):
    with pytest.raises(ValueError, match="unknown layout 'bitsandbytes'"):
        convert(folder("W8A16"), tmp_path / "out", "bitsandbytes", progress=False)
