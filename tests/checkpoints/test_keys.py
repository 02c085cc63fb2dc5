"""Foreign configs: a key is typed, honoured, harmless, or refused by name; a pattern names layers or is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.keys import Keys
from qcourse.checkpoints.rules import Rule, ignore
from qcourse.models.loader import load_model
from qcourse.numerics.granularity import per_group
from qcourse.numerics.schemes import PRESETS, int_weight
from qcourse.packing.bits import pack_words
from qcourse.packing.gptq import stored_version

FILES = Path(__file__).parent / "files"


class TestKeys:
    def test_synonyms(self):
        assert Keys({"w_bit": 4}, "here").take("bits", "w_bit", kind=int) == 4
        assert Keys({"bits": 4, "w_bit": 4}, "here").take("bits", "w_bit", kind=int) == 4
        with pytest.raises(CheckpointError, match="here: bits and w_bit are one setting, and differ"):
            Keys({"bits": 4, "w_bit": 8}, "here").take("bits", "w_bit", kind=int)

    def test_null_is_absent_where_there_is_a_default(self):
        assert Keys({"sym": None}, "here").take("sym", kind=bool, default=True) is True
        assert Keys({"bits": None, "w_bit": 3}, "here").take("bits", "w_bit", kind=int) == 3
        for config in ({}, {"bits": None}):
            with pytest.raises(CheckpointError, match="here: bits is missing"):
                Keys(config, "here").take("bits", kind=int)

    @pytest.mark.parametrize(
        ("value", "kind"), [("4", int), (4.0, int), (True, int), (1, bool), ([], dict), ({}, list), (4, str)]
    )
    def test_wrong_types(self, value, kind):
        with pytest.raises(CheckpointError, match=f"here: key = .*{kind.__name__} expected"):
            Keys({"key": value}, "here").take("key", kind=kind)

    @pytest.mark.parametrize(("value", "legal"), [(True, (1,)), (1, (True,)), ("int8", ("int32", None)), (0, (False, None))])
    def test_only(self, value, legal):
        with pytest.raises(CheckpointError, match="here: key = .*only .* is read here"):
            Keys({"key": value}, "here").only("key", *legal)
        assert Keys({"key": legal[0]}, "here").only("key", *legal) == legal[0]

    def test_unknown_keys(self):
        keys = Keys({"bits": 4, "meta": {}, "rotate": True}, "here")
        keys.take("bits", kind=int), keys.harmless("meta", "never")
        with pytest.raises(CheckpointError, match="here: unknown key 'rotate'"):
            keys.done()

    @pytest.mark.parametrize("config", [None, [], "gptq", 4])
    def test_no_object(self, config):
        with pytest.raises(CheckpointError, match="an object"):
            Keys.__init__(object.__new__(Keys), config, "here")


class TestRule:
    NAME = "model.layers.1.mlp.down_proj"

    @pytest.mark.parametrize(
        "pattern", ["Linear", NAME, "down_proj", "model.layers.1", "model", "re:.*down", r"re:model\.layers\.1\."]
    )
    def test_means_it(self, pattern):
        assert Rule(pattern, None).matches(self.NAME)

    @pytest.mark.parametrize("pattern", ["linear", "down", "proj", "mlp", "model.layers.1.mlp.down_pro", "layers.1",
                                         "re:down_proj",
                                         r"re:model\.layers\.1$", "model.layers.10"])  # fmt: skip
    def test_does_not_mean_it(self, pattern):
        assert not Rule(pattern, None).matches(self.NAME)

    def test_a_prefix_ends_at_a_dot(self):
        assert not Rule("model.layers.1", None).matches("model.layers.10.mlp.down_proj")

    @pytest.mark.parametrize("pattern", ["re:(", "re:[a", "re:*"])
    def test_no_regular_expression(self, pattern):
        with pytest.raises(ValueError, match="is not a regular expression"):
            Rule(pattern, None)

    @pytest.mark.parametrize("pattern", ["", None, 3, ["down_proj"]])
    def test_no_pattern(self, pattern):
        with pytest.raises(ValueError, match="a rule's pattern is"):
            Rule(pattern, PRESETS["W4A16"])

    def test_ignore(self):
        assert [r.required for r in ignore(["lm_head", "down_proj", "re:.*up"], in_file=True)] == [False, True, False]
        assert [r.required for r in ignore(["lm_head", "down_proj", "re:.*up"])] == [False, True, True]
        for names in ("lm_head", [1], None):
            with pytest.raises(ValueError, match="a list of layer names"):
                ignore(names)


class TestStoredVersion:
    """Symmetric zeros are known, so they say the version; others only where version 1 cannot be."""

    @staticmethod
    def zeros(values: list[int], bits: int) -> torch.Tensor:
        return pack_words(torch.tensor([values], dtype=torch.uint8), bits)

    @pytest.mark.parametrize("bits", [2, 3, 4, 8])
    @pytest.mark.parametrize("said", [1, 2])
    def test_symmetric(self, bits, said):
        half, args = 1 << (bits - 1), int_weight(bits, per_group(32))
        assert stored_version(self.zeros([half - 1] * 32, bits), args, said) == 1
        assert stored_version(self.zeros([half] * 32, bits), args, said) == 2
        with pytest.raises(ValueError, match="qzeros of a symmetric file"):
            stored_version(self.zeros([half] * 31 + [half - 1], bits), args, said)

    @pytest.mark.parametrize("bits", [2, 4, 8])
    def test_asymmetric(self, bits):
        args, top = int_weight(bits, per_group(32), symmetric=False), (1 << bits) - 1
        assert [stored_version(self.zeros([1, 0] * 16, bits), args, said) for said in (1, 2)] == [1, 2]
        assert [stored_version(self.zeros([1, top] * 16, bits), args, said) for said in (1, 2)] == [2, 2]


@pytest.mark.parametrize(("name", "key", "lie", "said"), [
    ("gptq_act_order", "bits", 8, "qweight|qzeros"), ("gptq_act_order", "sym", "yes", "bool expected"),
    ("gptq_v1_asym", "sym", True, "qzeros of a symmetric file"), ("gptq_v1_asym", "group_size", 0, "group_size = 0"),
    ("gptq_v1_asym", "hadamard", True, "unknown key 'hadamard'"),
    ("awq_gemm", "zero_point", False, "qzeros of a file without"),
    ("awq_gemm", "bits", 3, "4-bit codes"), ("awq_gemm", "version", "marlin", "only gemm"),
    ("ct_w4a16", "quantization_status", "frozen", "quantization_status"), ("ct_w4a16", "format", "marlin-24", "marlin-24"),
])  # fmt: skip
def test_a_config_that_lies_is_an_error(tmp_path, name, key, lie, said):
    """Never another model in silence: the key, or the tensor that contradicts it, is named."""
    folder = shutil.copytree(FILES / name, tmp_path / name)
    path = folder / "config.json"  # what it says comes first; only where it is silent is the other file read
    if "quantization_config" not in json.loads(path.read_text()):
        path = folder / "quantize_config.json"
    config = json.loads(path.read_text())
    inside = config.get("quantization_config", config)
    inside[key] = lie
    if key == "format":
        [g.update(format=lie) for g in inside["config_groups"].values()]
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=said):
        load_model(folder)
