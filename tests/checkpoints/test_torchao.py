"""TorchAO's configs: read as they are written, refused by name, and written as the library writes them."""

import json
from pathlib import Path

import pytest
import torch

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.safetensors_file import SafetensorsFile
from qcourse.checkpoints.torchao import rules
from qcourse.checkpoints.torchao_config import config_of, metadata, ready_scale
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.lossless import signed_where_needed
from qcourse.packing.packed import LAYOUTS

FILES = Path(__file__).parent / "files"
FOLDERS = sorted(p.name for p in FILES.glob("ao_*"))


def config_in(name: str) -> dict:
    return json.loads((FILES / name / "config.json").read_text())["quantization_config"]


def said(changes: dict, name: str = "ao_int4_group", where=("quant_type", "default", "_data")) -> dict:
    """A file's config with some keys of an inner object changed."""
    config = config_in(name)
    inner = config
    for key in where:
        inner = inner[key]
    inner.update(changes)
    return config


@pytest.mark.parametrize("name", FOLDERS)
def test_written_as_the_library_writes_it(name):
    """The config, and the metadata of every parameter, key by key; harmless keys may be left out."""
    scheme = rules(config_in(name), name)[-1].scheme
    theirs, ours = config_in(name), config_of(scheme)
    a, b = theirs["quant_type"]["default"], ours["quant_type"]["default"]
    assert {k: v for k, v in theirs.items() if k != "quant_type"} == {k: v for k, v in ours.items() if k != "quant_type"}
    assert a["_type"] == b["_type"] and a["_version"] == b["_version"]
    assert b["_data"].items() <= a["_data"].items()
    file = SafetensorsFile(FILES / name / "model.safetensors")
    apart = {n.removesuffix("._weight_qdata") + ".weight": e.shape[1] for n, e in file.tensors.items() if "_qdata" in n}
    found = metadata(scheme, apart | {n: None for n in file.tensors if "._weight_" not in n})
    names, its_names = (set(json.loads(m["tensor_names"])) for m in (found, file.metadata))
    assert its_names - names <= {"lm_head.weight"} and names <= its_names  # a tied head is named, and is not there
    del found["tensor_names"]
    for parameter, text in found.items():
        mine, its = json.loads(text), json.loads(file.metadata[parameter])
        assert sorted(mine.pop("_tensor_data_names", [])) == sorted(its.pop("_tensor_data_names", []))
        assert mine == its, parameter


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (said({"_type": "Int4WeightOnlyConfig"}, where=("quant_type", "default")), "_type = 'Int4WeightOnlyConfig': one of"),
        (said({"_version": 1}, where=("quant_type", "default")), "_version = 1: only 2"),
        (said({"new": 1}), "unknown key 'new'"),
        (said({"weight_dtype": {"_type": "torch.dtype", "_data": "uint4"}}), "int2 to int8 are read here"),
        (said({"granularity": {"_type": "PerTensor", "_data": {}}}), "PerGroup, or PerAxis of axis 0"),
        (said({"granularity": {"_type": "PerGroup", "_data": {"group_size": 0}}}), "PerGroup, or PerAxis of axis 0"),
        (said({"intx_packing_format": {"_type": "IntxPackingFormat", "_data": "OPAQUE"}}), "UNPACKED_TO_INT8"),
        (said({"mapping_type": {"_type": "MappingType", "_data": "OTHER"}}), "SYMMETRIC or ASYMMETRIC"),
        (said({"granularity": {"_type": "PerTensor", "_data": {}}}, "ao_int8"), "only PerRow"),
        (said({"act_mapping_type": {"_type": "MappingType", "_data": "ASYMMETRIC"}}, "ao_int8_dynamic"), "only SYMMETRIC"),
        (said({"granularity": ["PerRow"]}, "ao_int8"), "an object"),
        (said({"granularity": {"_type": "PerGroup", "_data": "x"}}), "PerGroup, or PerAxis of axis 0"),
        (said({"granularity": {"_type": "PerGroup"}}), "an object"),
        (said({"weight_dtype": {"_type": "torch.dtype", "_data": {}}}), "int2 to int8 are read here"),
        (said({"weight_only_decode": True}, "ao_int8_dynamic"), "weight_only_decode = True"),
        (said({"weight_dtype": {"_type": "torch.dtype", "_data": "float8_e5m2"}}, "ao_float8"), "only float8_e4m3fn"),
        (said({"include_input_output_embeddings": True}, where=()), "include_input_output_embeddings = True"),
        (said({"extra": {}}, where=("quant_type",)), "unknown key 'extra'"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_by_name(config, message):
    with pytest.raises(CheckpointError, match=message):
        rules(config, "config.json")


def writable(name: str) -> bool:
    try:
        return bool(config_of(PRESETS[name]))
    except ValueError:
        return False


def test_what_can_be_written_comes_back(tmp_path):
    names = [name for name in PRESETS if writable(name)]
    assert {"W8A16", "W8A8", "W4A16", "W4A16_CHANNEL", "W3A16", "FP8_DYNAMIC"} <= set(names)
    for name in names:
        scheme = PRESETS[name]
        args = scheme.weights.with_(scale=ready_scale(scheme))
        q = signed_where_needed(quantize(torch.randn(16, 128), args))
        tensors = LAYOUTS["torchao"].pack(q)
        read = rules(config_of(scheme), name)[-1].scheme
        again = LAYOUTS["torchao"].unpack(tensors, read.weights, 16, 128)
        assert torch.equal(again.codes, q.codes) and torch.equal(again.scale, q.scale)
        assert read.input_activations == scheme.input_activations


@pytest.mark.parametrize("name", ["W4A16_FZERO", "FP8", "NVFP4A16", "Q4_1", "W8A8_STATIC", "NF4"])
def test_schemes_without_a_class_are_refused(name):
    with pytest.raises(ValueError, match="TorchAO"):
        config_of(PRESETS[name])
