"""Lab 11's questions, checked themselves: the files that it draws are files, and configs are compared by what they mean."""

import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.safetensors_file import SafetensorsFile
from qcourse.checks.judge import generator
from qcourse.checks.lab11.configs import COMPRESSED_TENSORS_CONFIG, expected
from qcourse.checks.lab11.configs_reading import Refused, place, same, understood
from qcourse.checks.lab11.containers import READ_SAFETENSORS
from qcourse.checks.task import Refuse


def cases(task, seed):
    return [(p.name, args) for i, p in enumerate(task.properties) for args in p.cases(generator(seed, i))]


def test_the_files_of_11_6_are_read_alike_by_two_other_readers(tmp_path):
    """Each gives the same numbers by the package and by the format's own library; where `expected` refuses, both do, but for
    an absent name, which the library's `load` is never asked for."""
    for name, (data, wanted) in cases(READ_SAFETENSORS, 3):
        (tmp_path / "x").write_bytes(data)
        try:
            right = READ_SAFETENSORS.expected(data, wanted)
        except Refuse:
            with pytest.raises(CheckpointError):
                SafetensorsFile(tmp_path / "x").read(wanted)
            if "name" not in name:
                with pytest.raises(SafetensorError):
                    load(data)
            continue
        for other in (SafetensorsFile(tmp_path / "x").read(wanted), load(data)[wanted]):
            assert other.dtype == right.dtype and torch.equal(other, right)


def test_configs_are_compared_by_their_meaning():
    mine = expected(4, 64, False, ["lm_head"])
    assert same((), mine, expected(4, 64, False, ["lm_head"])) is None
    group = mine["config_groups"]["group_0"]
    brief = {"quant_method": "compressed-tensors", "ignore": ("re:lm_.*",)}
    brief["config_groups"] = {"any name": {k: group[k] for k in ("targets", "weights", "format")}}
    assert same((), brief, mine) is None
    assert "symmetric True, expected False" in same((), expected(4, 64, True, ["lm_head"]), mine)
    assert "group_size=32, expected group_size=64" in same((), expected(4, 32, False, ["lm_head"]), mine)
    assert same((), expected(4, 64, False, []), mine) == "lm_head: is quantized, and should not be"
    assert same((), expected(4, 64, False, ["lm_head", "re:.*q_proj"]), mine).endswith(
        "q_proj: stays in 16 bits, and should not"
    )


WHERE = "quantization_config"


def written(old, new):
    """The config with a piece of its JSON changed."""
    return lambda c: json.loads(json.dumps(c).replace(old, new))


@pytest.mark.parametrize(
    ("broken", "where", "key"),
    [
        (lambda c: c | {"quant_method": "gptq4"}, WHERE, "quant_method"),
        (written("config_groups", "groups"), WHERE, "config_groups"),
        (lambda c: c | {"bits": 4}, WHERE, "unknown key"),
        (written('"num_bits": 4', '"num_bits": "4"'), f"{WHERE}, group_0, weights", "num_bits"),
        (written('"int"', '"int4"'), f"{WHERE}, group_0, weights", "type in pack-quantized"),
        (written('"weights"', '"weight"'), f"{WHERE}, group_0", "weights"),
        (lambda c: [c], WHERE, ""),
        (lambda c: None, WHERE, ""),
        (lambda c: c | {"ignore": torch.nn.Linear}, "json", ""),
    ],
)
def test_a_refused_config_says_where(broken, where, key):
    found = understood(broken(expected(4, 64, True, ["lm_head"])))
    assert isinstance(found, Refused) and found.place == (where, key), found
    right = expected(4, 64, True, ["lm_head"])
    assert same((), broken(right), right) == "the reader refuses it: " + found.text


def test_an_unforeseen_error_is_a_place_of_its_own():
    assert place("no colon here") == ("", "no colon here")


def test_every_config_that_is_asked_for_is_read_as_that():
    for _, args in cases(COMPRESSED_TENSORS_CONFIG, 5):
        num_bits, group_size, symmetric, ignore = args
        found = understood(expected(*args))
        assert (found["lm_head"] is None) == ("lm_head" in ignore)
        w = found["model.layers.1.mlp.gate_proj"]
        assert (w["num_bits"], w["symmetric"], w["format"]) == (num_bits, symmetric, "pack-quantized")
        assert w["scales"] == ("per channel" if group_size is None else f"group_size={group_size}")
