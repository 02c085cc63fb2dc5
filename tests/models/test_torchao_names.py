"""What each shard of a TorchAO folder says of the whole model: readers keep the last, or ask each for every name."""

import json

import pytest
from safetensors import safe_open

from qcourse.models.convert_folder import convert
from qcourse.models.loader import SHIPPED
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.numerics.schemes import PRESETS


@pytest.mark.parametrize("transforms", [(), ("rotation",)])
def test_every_shard_lists_every_parameter(transforms, tmp_path, shipped):
    """A rotated model's head is no longer tied, so it is one parameter more."""
    quantize_to_folder(SHIPPED, tmp_path / "a", PRESETS["W8A16"], Method(transforms), layout="torchao", progress=False)
    made = [tmp_path / "a"]
    if not transforms:
        convert(tmp_path / "a", tmp_path / "b", "compressed-tensors", progress=False)
        convert(tmp_path / "b", tmp_path / "c", "torchao", progress=False)
        made.append(tmp_path / "c")
    names = {n for n, _ in shipped.named_parameters()} | ({"lm_head.weight"} if transforms else set())
    for shard in (p for path in made for p in path.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            said = file.metadata()
        assert set(json.loads(said.pop("tensor_names"))) == names == said.keys() - {"format"}, shard
